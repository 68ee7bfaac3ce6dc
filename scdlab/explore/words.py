"""Words of widgets and figures as html: numbers, errors, texts for who sees no picture."""

import html
import re
from collections.abc import Sequence

from scdlab.explore import style
from scdlab.explore.svg import escape

# beside a figure in the output of a cell: its alternative text
DESCRIPTION = "application/vnd.scdlab.description+json"
# beside a panel: its structure, as an address of the live page names it
STRUCTURE = "application/vnd.scdlab.structure+json"
# for screen readers alone: nothing of it is drawn, and it takes no room
_UNSEEN = (
    "position:absolute;width:1px;height:1px;margin:-1px;padding:0;overflow:hidden;"
    "clip-path:inset(50%);white-space:nowrap;border:0"
)


def lines_table(lines: Sequence[tuple[str, str]], look: str) -> str:
    """Lines as an html table: names in bold, then their texts.

    Parameters
    ----------
    lines : sequence of (str, str)
        (what, text) each.
    look : str
        The table's style.

    Returns
    -------
    str
        The table.
    """
    rows = "".join(
        "<tr><td style='padding: 0 10px 2px 0; font-weight: bold; vertical-align: top; "
        f"white-space: nowrap'>{html.escape(what)}</td><td style='padding-bottom: "
        f"2px'>{html.escape(text)}</td></tr>"
        for what, text in lines
    )
    return f"<table style='{look}'>{rows}</table>"


def error_text(words: str) -> str:
    """An error as html.

    Parameters
    ----------
    words : str
        What has failed, escaped.

    Returns
    -------
    str
        The text in bold red.
    """
    return f"<b style='color:{style.VERMILION}'>{words}</b>"


def unseen(text: str) -> str:
    """The alternative text of a figure as html that screen readers find and that is not drawn.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
        The html.
    """
    return f"<p class='scdlab-unseen' style='{_UNSEEN}'>Figure: {html.escape(text)}</p>"


def labeled(picture: str, about: str) -> str:
    """A picture with other words for readers who do not see it.

    Parameters
    ----------
    picture : str
        The picture as svg text, as `document` makes it.
    about : str
        The picture in words; where they are empty, the picture keeps its own.

    Returns
    -------
    str
        The picture as svg text.
    """
    if not about:
        return picture
    head, rest = picture.split(">", 1)
    head = re.sub(r' (aria-label="[^"]*"|role="img")', "", head)
    return f'{head} role="img" aria-label="{escape(about)}">{rest}'
