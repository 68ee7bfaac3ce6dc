"""What all pages share, once: plotly.js, 3Dmol.js with the script of the 3-D view, the site's own
script and style."""

import re
from pathlib import Path

from plotly.offline import get_plotlyjs

from scdlab.explore.view import static_file
from scdlab.files import package_text

from .bundling import bundle

OWN = ("site.css", "icon.svg", "drawing.svg")


def write_assets(folder: Path) -> None:
    """Write the files that all pages share.

    Parameters
    ----------
    folder : Path
        The folder, which is made.

    Raises
    ------
    OSError
        It cannot be written.
    """
    folder.mkdir()
    texts = {name: package_text("scdlab.site", "static", name) for name in OWN}
    texts["plotly.js"] = get_plotlyjs()
    texts["3Dmol.js"] = static_file("3Dmol-min.js")
    texts["view.js"] = view_script()
    texts["site.js"] = bundle("pages.js", "scdlabPages") + "scdlabPages.start();\n"
    texts["site.css"] += static_file("view.css")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def view_script() -> str:
    """The script of the 3-D view as a classic one, which sets `scdlabView`: browsers load no
    modules from disk.

    Returns
    -------
    str
        The script.
    """
    text = re.sub(r"^export (?!default)", "", static_file("view.js"), flags=re.MULTILINE)
    text = re.sub(r"^export default .*$", "return { draw };", text, flags=re.MULTILINE)
    return f'globalThis.scdlabView = (() => {{\n"use strict";\n{text}}})();\n'
