"""The terms of the glossary, and where a lesson uses them before it has defined them.

A term is defined where it stands in bold in a lesson's text, or where a link leads from it to the
glossary; that holds for the lessons that follow as well.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pairs import NOTEBOOKS
from sources import Cell

GLOSSARY = NOTEBOOKS / "glossary.md"

# Terms that lessons also use as plain words before the lesson that gives them their meaning.
EVERYDAY = {
    "bottleneck",
    "canonicalization",
    "clue",
    "composition",
    "condition",
    "control",
    "corrupt",
    "degree",
    "equilibrium",
    "feature",
    "gate",
    "head",
    "leakage",
    "message",
    "noise floor",
    "normal mode",
    "pooling",
    "quadrature",
    "record",
    "score",
    "seed",
    "training step",
    "weights",
}

_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_UNREAD = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|https?://\S+", re.DOTALL)


@dataclass(frozen=True)
class Term:
    """A term of the glossary, its other forms, and its lessons."""

    name: str
    forms: tuple[str, ...]
    lessons: tuple[str, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the term in a text: acronyms as they are written, words in any case, plurals."""
        words = "|".join(re.escape(form).replace(r"\ ", r"[\s-]+") for form in self.forms)
        flags = 0 if any(form.isupper() for form in self.forms) else re.IGNORECASE
        return re.compile(rf"(?<![\w-])(?:{words})(?:s|es)?(?![\w-])", flags)


def glossary(text: str | None = None) -> list[Term]:
    """The terms of the glossary, given as text or read from its file."""
    text = GLOSSARY.read_text(encoding="utf-8") if text is None else text
    found = []
    for entry in re.split(r"^### ", text.split("\n## Symbols")[0], flags=re.MULTILINE)[1:]:
        name, _, body = entry.partition("\n")
        body = body.split("\n## ")[0]
        also = re.search(r"\*Also:\* (.*?)\.\n", body, re.DOTALL)
        forms = [name.strip(), *(re.split(r",\s+", also[1]) if also else [])]
        places = re.findall(r"\(((?:\d\d[a-z]?(?:,\s)?)+)\)", body)
        lessons = [each for place in places for each in re.split(r",\s", place)]
        found.append(Term(name.strip(), tuple(forms), tuple(lessons)))
    return found


def used_too_early(cells: list[Cell], terms: list[Term], known: set[str]) -> list[str]:
    """One line for each term that a lesson uses before it defines it; adds what the lesson defines
    to `known`. What stands before the parameters (aims, papers) and headings are no uses."""
    body = next((cell.number for cell in cells if "parameters" in cell.tags), -1)
    blocks = [
        (cell.number, block)
        for cell in cells
        if cell.kind == "markdown"
        for block in re.split(r"\n\s*\n", cell.text)
    ]
    found = []
    for term in terms:
        for number, block in blocks:
            if term.name in known:
                break
            if _defines(block, term):
                known.add(term.name)
            elif term.name in EVERYDAY or number <= body:
                continue
            elif use := term.pattern.search(_read(block)):
                words = " ".join(use.group().split())
                found.append(f"cell {number}: “{words}” is not defined yet")
                break
        if term.name not in known and any(_defines(block, term) for _, block in blocks):
            known.add(term.name)
    return found


def _defines(block: str, term: Term) -> bool:
    """Whether a paragraph defines a term: in bold, or by a link to the glossary."""
    bold = re.findall(r"\*\*(.+?)\*\*", block, re.DOTALL)
    linked = [words for words, target in _LINK.findall(block) if "glossary.md#" in target]
    anchors = [
        target.split("#")[1].replace("-", " ")
        for _, target in _LINK.findall(block)
        if "glossary.md#" in target
    ]
    return any(term.pattern.search(words) for words in (*bold, *linked, *anchors))


def _read(block: str) -> str:
    """The words of a paragraph that a reader has to know: no code, formulas, links, titles or
    headings."""
    text = _LINK.sub(" ", _UNREAD.sub(" ", block))
    text = re.sub(r"(?<!\*)\*[^*]+\*(?!\*)", " ", text)
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s*(#|<|\|)", line))


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a markdown text."""
    names = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {name.strip().replace(" ", "-") for name in names}


def links(source: Path | str) -> list[str]:
    """The anchors that a text links to in the glossary."""
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    return re.findall(r"\]\(glossary\.md#([^)\s]*)\)", text)
