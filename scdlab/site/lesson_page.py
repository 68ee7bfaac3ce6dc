"""An executed lesson as the content of its page: cells, headings, texts for the search."""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from nbconvert.filters.highlight import Highlight2HTML
from nbformat import NotebookNode

from scdlab.lessons.html import first_heading, markdown

from .course import BENCH, COURSE, EXPLORERS, OTHER, PANELS, Entry, Stop, stop
from .executed import Executed
from .outputs import Part, parts_of

LONG = 14
"""Lines of code above which a cell is folded."""
_HEADING = re.compile(r'<h([1-6]) id="([^"]*)"[^>]*>(.*?)</h\1>', re.DOTALL)
_ASSIGNED = re.compile(r"^(\w+) = explore\.(\w+)\(", re.MULTILINE)
_WITHIN = re.compile(r"</?(?:a|b|code|em|i|small|span|strong|sub|sup)\b[^>]*>")  # within a line
_SECTION = re.compile(r'\.section\("(\w+)"\)')
_HIDDEN = ("injected-parameters", "remove-input", "hide-input")


@dataclass
class Heading:
    """A heading of a page.

    Parameters
    ----------
    level : int
        1 to 6.
    anchor : str
        What a link to it ends with.
    title : str
        Its text, as html.
    """

    level: int
    anchor: str
    title: str


@dataclass
class Section:
    """A part of a page that the search finds.

    Parameters
    ----------
    title : str
        Its heading, plain text.
    anchor : str
        What a link to it ends with; empty for the page's beginning.
    text : str
        What it says, plain text.
    page : str, default ""
        File name of a page of its own.
    """

    title: str
    anchor: str
    text: str
    page: str = ""


@dataclass
class Block:
    """A cell of a lesson on its page.

    Parameters
    ----------
    kind : {"prose", "code"}
        What it is.
    content : str
        Html of the text or of the code.
    lines : int
        Lines of code.
    folded : str
        What is written on a folded cell; empty for one that is open.
    parts : list of Part
        Its outputs.
    """

    kind: str
    content: str
    lines: int = 0
    folded: str = ""
    parts: list[Part] = field(default_factory=list)


@dataclass
class LessonPage:
    """What the page of a lesson is made of.

    Parameters
    ----------
    number : str
        Such as "02b".
    name : str
        File name of the page.
    title : str
        Its first heading, without the number.
    entry : Entry
        What the course map says of it.
    blocks : list of Block
        Its cells.
    headings : list of Heading
        Those of the second level.
    sections : list of Section
        For the search.
    take_aways : str
        Its section "What to take away" as html; empty without one.
    time : str
        What the lesson says of the time it takes, as html.
    seconds : float or None
        How long its cells took.
    day : str
        When it was run.
    code : str
        All of its code.
    """

    number: str
    name: str
    title: str
    entry: Entry
    blocks: list[Block]
    headings: list[Heading]
    sections: list[Section]
    take_aways: str
    time: str
    seconds: float | None
    day: str
    code: str

    @property
    def stops(self) -> list[Stop]:
        """The stops of the live page that belong to it."""
        return [stop(each) for each in self.entry.stops]


def lesson_page(executed: Executed, stem: str) -> LessonPage:
    """The page of an executed lesson.

    Parameters
    ----------
    executed : Executed
        The lesson.
    stem : str
        Name of its notebook, without suffix.

    Returns
    -------
    LessonPage
        What the page is made of.

    Raises
    ------
    ValueError
        A formula cannot be converted.
    """
    notebook = executed.notebook
    explorers = dict(_ASSIGNED.findall("\n".join(_code_of(notebook))))
    blocks = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            blocks.append(Block("prose", prose(cell.source, cell.get("attachments"))))
        elif cell.cell_type == "code":
            blocks.append(_code_block(cell, executed, explorers))
    whole = "".join(block.content for block in blocks if block.kind == "prose")
    title = first_heading(notebook)
    number, _, rest = title.partition(" · ")
    return LessonPage(
        number=executed.number,
        name=f"{stem}.html",
        title=rest if number == executed.number else title,
        entry=COURSE.get(executed.number, OTHER),
        blocks=[block for block in blocks if block.content or block.parts],
        headings=[each for each in headings(whole) if each.level == 2],
        sections=sections(whole),
        take_aways=_take_aways(whole),
        time=_time(whole),
        seconds=executed.seconds,
        day=executed.day,
        code="\n".join(_code_of(notebook)),
    )


def prose(text: str, attachments: dict | None = None) -> str:
    """A markdown text as html whose links lead to the site's pages.

    Parameters
    ----------
    text : str
        The text.
    attachments : dict, optional
        Pictures that came with its cell.

    Returns
    -------
    str
        The html.

    Raises
    ------
    ValueError
        A formula cannot be converted.
    """
    written = markdown(text, attachments)
    written = re.sub(r'href="(\w+)\.(?:ipynb|md)(?=["#])', r'href="\1.html', written)
    written = written.replace('href="../docs/guides/live.md"', 'href="live.html"')
    written = re.sub(r"<table\b", '<div class="wide"><table', written)
    return written.replace("</table>", "</table></div>")


def headings(written: str) -> list[Heading]:
    """The headings of a page.

    Parameters
    ----------
    written : str
        Its html.

    Returns
    -------
    list of Heading
        In order.
    """
    return [
        Heading(int(level), html.unescape(anchor), title)
        for level, anchor, title in _HEADING.findall(written)
    ]


def sections(written: str) -> list[Section]:
    """The parts of a page between headings, as the search reads them.

    Parameters
    ----------
    written : str
        Its html.

    Returns
    -------
    list of Section
        In order, what stands before the first heading left out.
    """
    found = []
    parts = _HEADING.split(written)
    for k in range(1, len(parts), 4):
        level, anchor, title, text = parts[k : k + 4]
        own = "" if level == "1" else html.unescape(anchor)
        found.append(Section(plain_text(title), own, plain_text(text)))
    return found


def plain_text(written: str) -> str:
    """What html says, with dots for its formulas.

    Parameters
    ----------
    written : str
        The html.

    Returns
    -------
    str
        Plain text on one line.
    """
    written = re.sub(r"<math\b.*?</math>", "…", written, flags=re.DOTALL)
    written = _WITHIN.sub("", written)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", written)).split())


def highlighted(code: str) -> str:
    """Python code as html, with a class for each kind of word.

    Parameters
    ----------
    code : str
        The code.

    Returns
    -------
    str
        The html.
    """
    return Highlight2HTML(pygments_lexer="ipython3")(code)


def _code_of(notebook: NotebookNode) -> Iterable[str]:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            yield cell.source


def _code_block(cell: NotebookNode, executed: Executed, explorers: dict[str, str]) -> Block:
    """A cell of code with its outputs."""
    tags = cell.metadata.get("tags", [])
    parts = parts_of(cell.outputs, executed.widgets, _live(cell.source, explorers), executed.number)
    hidden = any(tag in tags for tag in _HIDDEN) or not cell.source.strip()
    lines = len(cell.source.splitlines())
    folded = ""
    if "solution" in tags:
        folded = "Solution"
    elif lines > LONG:
        folded = f"Code, {lines} lines"
    return Block("code", "" if hidden else highlighted(cell.source), lines, folded, parts)


def _live(source: str, explorers: dict[str, str]) -> Stop | None:
    """Where the widget that a cell shows can be tried; None for one that no stop has."""
    for name, kind in explorers.items():
        if kind in EXPLORERS and re.search(rf"\b{name}\b", source):
            return stop(EXPLORERS[kind])
        if kind == "Bench" and source.strip() == name:
            return stop(BENCH)
    panel = _SECTION.search(source)
    return stop(PANELS[panel[1]]) if panel and panel[1] in PANELS else None


def _take_aways(written: str) -> str:
    """What stands below the heading "What to take away", up to the next one."""
    parts = _HEADING.split(written)
    for k in range(1, len(parts), 4):
        if plain_text(parts[k + 2]) == "What to take away":
            return parts[k + 3]
    return ""


def _time(written: str) -> str:
    """The paragraph that begins with "Time.", without this word."""
    found = re.search(r"<p><strong>Time\.</strong>\s*(.*?)</p>", written, re.DOTALL)
    return found[1].strip() if found else ""
