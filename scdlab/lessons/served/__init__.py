"""A lesson as a page without code, for a booth or a class: `scdlab lab --app`."""

from scdlab.lessons.served.page import lesson_page as lesson_page
from scdlab.lessons.served.server import PORT as PORT
from scdlab.lessons.served.server import serve as serve

__all__ = ["PORT", "lesson_page", "serve"]
