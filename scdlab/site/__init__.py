"""Pages that run the models without a kernel, a server or a network, and the site of the lessons.

`web/` holds the models in plain JavaScript, a file each, under the names that they have here;
`bundle` makes one script of them, `export` the weights that they read. `build_site` writes the
lessons with their results, the glossary and the claims as a site that opens by a double click.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .bundling import bundle
from .export import export_model, write_export

if TYPE_CHECKING:
    from .build import build_site as build_site

__all__ = ["build_site", "bundle", "export_model", "write_export"]


def __getattr__(name: str) -> Any:
    if name == "build_site":  # needs nbconvert, which the models' pages do not
        return importlib.import_module("scdlab.site.build").build_site
    raise AttributeError(f"module 'scdlab.site' has no attribute {name!r}")
