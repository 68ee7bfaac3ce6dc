"""Pages that run the models without a kernel, a server or a network.

`web/` holds the models in plain JavaScript, a file each, under the names that they have here;
`bundle` makes one script of them, `export` the weights that they read.
"""

from .bundling import bundle
from .export import export_model, write_export

__all__ = ["bundle", "export_model", "write_export"]
