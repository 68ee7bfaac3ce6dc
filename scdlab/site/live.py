"""The live page: eight stops at which a reader's browser runs trained models.

One html file, opened by a double click: from `file://` browsers fetch nothing, and one file can be
sent. A scene that was computed before is drawn first; molecules and weights stand below it in the
file, as json, and are decoded when a stop needs them. All comes from the package as it stands, so
the page is written when it is asked for and is not shipped a second time.
"""

import json
import os
from pathlib import Path
from typing import Any

from scdlab.files import atomic_file, inside_script, package_dir, package_text

from .bundling import bundle
from .live_words import error_of, trained_on
from .stored import described, export_stored

MODELS = (  # in the order in which the stops need them
    "schnet-molecules",
    "schnet-ethanol",
    "schnet-ethanol-direct",
    "coord-et",
    "scd-ct-frames",
    "pet-ethanol",
)
MAP = "scd-ct"  # whose descriptions the map was laid out by; the page does not run it
DATA = ("live", "live.json")  # in the folder of the data; made by tools/live_data.py


def live_page(home: str | None = None) -> str:
    """The live page as one html text.

    Parameters
    ----------
    home : str, optional
        Address of a page that the title links to, such as "index.html".

    Returns
    -------
    str
        The page.

    Raises
    ------
    FileNotFoundError
        The page's data are not there.
    ValueError
        A checkpoint is missing or damaged.
    """
    data = json.loads(package_dir("data").joinpath(*DATA).read_text(encoding="utf-8"))
    first = data.pop("first")
    for name in (*MODELS, MAP):
        origin = described(name)["provenance"]
        about = data["references"].setdefault(name, {})
        about |= {"trained": trained_on(name), "error": error_of(name, origin)}
    parts = {
        "style": package_text("scdlab.site", "web", "live.css"),
        "first": _block("first", {**first, "home": home}),
        "script": inside_script(bundle("live.js", "scdlabLive")),
        "data": _block("data", data),
        "weights": "\n".join(_block(f"weights-{name}", export_stored(name)) for name in MODELS),
    }
    text = package_text("scdlab.site", "web", "live.html")
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    return text


def write_live(path: str | os.PathLike, home: str | None = None) -> Path:
    """Write the live page, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The html file. Missing folders are made.
    home : str, optional
        As of `live_page`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `live_page`.
    OSError
        The file cannot be written.
    """
    path = Path(path)
    text = live_page(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as new:
        new.write_text(text, encoding="utf-8")
    return path


def _block(name: str, content: dict[str, Any]) -> str:
    """Json that a script of the page reads by its name."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f'<script type="application/json" id="{name}">{inside_script(text)}</script>'
