"""Pages that run the models without a kernel, a server or a network, and the site of the lessons.

`web/` holds the models in plain JavaScript, a file each, under the names that they have here;
`bundle` makes one script of them, `export` the weights that they read. `write_live` writes the live
page, without torch. `build_site` writes the lessons with their results, the glossary and the claims
as a site that opens by a double click.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .bundling import bundle
from .live import write_live

if TYPE_CHECKING:
    from .build import build_site as build_site
    from .export import export_model as export_model
    from .export import write_export as write_export

__all__ = ["build_site", "bundle", "export_model", "write_export", "write_live"]

_LATER = {  # build_site needs nbconvert, the others torch, and the live page neither
    "build_site": "scdlab.site.build",
    "export_model": "scdlab.site.export",
    "write_export": "scdlab.site.export",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'scdlab.site' has no attribute {name!r}")
