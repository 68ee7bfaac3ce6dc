"""The index of the site's search: a script with the text of every section of every page."""

from dataclasses import dataclass
from pathlib import Path

from .lesson_page import Section
from .outputs import json_for_page


@dataclass(frozen=True)
class Searched:
    """A page as the search has it.

    Parameters
    ----------
    name : str
        Its file name.
    title : str
        What it is called among the hits.
    kind : {"lesson", "glossary", "claim", "page"}
        Terms of the glossary stand a little higher.
    sections : list of Section
        Its parts.
    """

    name: str
    title: str
    kind: str
    sections: list[Section]


def write_index(path: Path, pages: list[Searched]) -> int:
    """Write the index.

    Parameters
    ----------
    path : Path
        The script.
    pages : list of Searched
        All pages.

    Returns
    -------
    int
        How many sections it has.

    Raises
    ------
    OSError
        It cannot be written.
    """
    index = [
        {
            "page": page.title,
            "kind": page.kind,
            "title": section.title,
            "address": section.page or page.name + (f"#{section.anchor}" if section.anchor else ""),
            "text": section.text,
        }
        for page in pages
        for section in page.sections
    ]
    path.write_text(f"globalThis.scdlabIndex = {json_for_page(index)};\n", encoding="utf-8")
    return len(index)
