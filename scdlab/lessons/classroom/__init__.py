"""For whoever teaches a class: copies of the lessons for students, grading of what they hand in,
and slides.

from scdlab.lessons import classroom

classroom.make("for_students", ["1", "2"])
classroom.grade("handed_in", out="runs/class")
classroom.slides(["1"], out="runs/slides")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scdlab.lessons.classroom.copies import make as make
    from scdlab.lessons.classroom.fence import Limits as Limits
    from scdlab.lessons.classroom.grading import Grades as Grades
    from scdlab.lessons.classroom.grading import grade as grade
    from scdlab.lessons.classroom.reveal import slides as slides

_LAZY = {
    "Grades": "grading",
    "Limits": "fence",
    "grade": "grading",
    "make": "copies",
    "slides": "reveal",
}

__all__ = ["Grades", "Limits", "grade", "make", "slides"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
