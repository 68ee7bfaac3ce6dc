"""The arrow keys in menus of widgets, which JupyterLab takes for its cells otherwise."""

import anywidget
import ipywidgets as widgets

from scdlab.files import package_text


class Menus(anywidget.AnyWidget):
    """Nothing to see: on a page that shows it, every menu of a widget has its arrow keys."""

    _esm = package_text("scdlab.explore", "static", "menus.js")

    def __init__(self):
        super().__init__(layout=widgets.Layout(width="0", height="0", margin="0"))
