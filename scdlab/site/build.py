"""The static site: every lesson with its results, the glossary, the claims, and a search in all of
them, as files that open by a double click."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

import scdlab
from scdlab import files
from scdlab.lessons.listed import list_lessons
from scdlab.locks import locked
from scdlab.log import show

from .assets import write_assets
from .claim_pages import claim_pages, forgotten, verdicts_in_words
from .executed import KEPT, executed_lessons
from .lesson_page import LessonPage, headings, lesson_page, prose, sections
from .live import write_live
from .reference import Reference
from .search import Searched, write_index

MARK = "site.json"
"""The file by which a folder is known as a site that may be replaced."""


@dataclass
class Context:
    """What all templates know of the site.

    Parameters
    ----------
    version : str
        Of the kit.
    docs : bool
        Whether the reference is there.
    menu : list of dict
        Title and address of the pages in the bar.
    pages : dict of str to str
        Number of a lesson -> its page.
    """

    version: str
    docs: bool = False
    menu: list[dict[str, str]] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)


def build_site(
    out: str | Path = Path("build") / "site",
    executed: str | Path | None = None,
    docs: str | Path | None = None,
    may_run: bool = True,
    folder: str | Path | None = None,
    kept: str | Path = KEPT,
    say: Callable[[str], None] = show,
) -> Path:
    """Write the site: whole or not at all, in place of the one that was there.

    Parameters
    ----------
    out : path, default "build/site"
        Folder of the site.
    executed : path, optional
        Executed lessons, as `scdlab run --out FOLDER` writes them: those are taken that match
        their source and were run in the quick profile.
    docs : path, optional
        The reference as `make docs` builds it, which becomes part of the site; without it, no page
        links to it.
    may_run : bool, default True
        Whether the other lessons are run.
    folder : path, optional
        Where the lessons are; the kit's own by default.
    kept : path, default "runs/site"
        Where lessons that are run stay for the next time.
    say : callable (str), optional
        Is told what happens; printed by default.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        A lesson failed, or is missing and may not be run; the folder holds something else than a
        site; the reference is not where it was said to be.
    OSError
        The folder cannot be written, or another process writes it (Busy).
    """
    out = Path(out)
    reference = Reference(Path(docs)) if docs is not None else None
    if executed is not None and not Path(executed).is_dir():
        raise ValueError(
            f"{executed} must be a folder of executed lessons, as `scdlab run --out FOLDER` writes "
            "them: name one that is there, or leave it out."
        )
    paths = list_lessons(folder)
    with locked(out), files.atomic_folder(out, check=_refuse_other) as new:
        found = executed_lessons(
            paths, [] if executed is None else [Path(executed)], Path(kept), may_run, say
        )
        pages = [lesson_page(each, path.stem) for each, path in zip(found, paths, strict=True)]
        _write(new, pages, paths[0].parent, reference)
    megabytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    say(f"the site is in {out}: open {out / 'index.html'} ({megabytes:.0f} MB)")
    return out


def _refuse_other(out: Path) -> None:
    """Raise ValueError where a folder holds something else than a site."""
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / MARK).is_file())):
        raise ValueError(
            f"{out} must be a new folder, an empty one or an earlier site, for it is replaced as a "
            "whole: choose another."
        )


def _write(
    new: Path,
    lessons: list[LessonPage],
    folder: Path,
    reference: Reference | None,
) -> None:
    """Fill the folder of a site."""
    write_assets(new / "assets")
    context = Context(scdlab.__version__)
    write_live(new / "live.html", home="index.html")
    context.docs = reference is not None
    context.pages = {each.number: each.name for each in lessons}
    if reference is not None:
        alone = shutil.ignore_patterns("404.html")  # its links begin at a server's root
        shutil.copytree(reference.folder, new / "docs", ignore=alone)
    glossary = folder / "glossary.md"
    context.menu = _menu(context, glossary.is_file())
    write = _writer(new, context)
    write(
        "index.html.j2",
        "index.html",
        title="scdlab",
        about="Learn self-supervised learning on atoms by doing it.",
        lessons=lessons,
    )
    write(
        "take_aways.html.j2",
        "take-aways.html",
        title="Take-aways",
        about="What each lesson asks you to keep.",
        lessons=lessons,
    )
    searched = [_write_lesson(write, lessons, k, reference) for k in range(len(lessons))]
    if glossary.is_file():
        searched.append(_write_glossary(write, glossary, context.pages))
    searched.append(_write_claims(write))
    write_index(new / "assets" / "search-index.js", searched)
    files.write_json(new / MARK, {"written_by": "scdlab site", "version": scdlab.__version__})


def _write_lesson(
    write: Callable[..., None], lessons: list[LessonPage], k: int, reference: Reference | None
) -> Searched:
    """Write the page of the k-th lesson; what the search reads of it."""
    lesson = lessons[k]
    names = reference.names_in(lesson.code) if reference else []
    write(
        "lesson.html.j2",
        lesson.name,
        title=f"{lesson.number} · {lesson.title}",
        about=lesson.entry.line,
        lesson=lesson,
        before=lessons[k - 1] if k else None,
        after=lessons[k + 1] if k + 1 < len(lessons) else None,
        names=[(name, f"docs/{address}") for name, address in names],
    )
    title = f"Lesson {lesson.number} · {lesson.title}"
    return Searched(lesson.name, title, "lesson", lesson.sections)


def _write_glossary(write: Callable[..., None], path: Path, pages: dict[str, str]) -> Searched:
    """Write the glossary, its numbers of lessons as links; what the search reads of it."""

    def linked(found: re.Match) -> str:
        numbers = re.sub(
            r"\d\d[a-z]?",
            lambda one: f'<a href="{pages[one[0]]}">{one[0]}</a>' if one[0] in pages else one[0],
            found[0],
        )
        return numbers

    written = prose(path.read_text(encoding="utf-8"))
    written = re.sub(r"\(\d\d[a-z]?(?:, \d\d[a-z]?)*\)(?=</p>)", linked, written)
    write(
        "text.html.j2",
        "glossary.html",
        title="Glossary",
        about="Terms and symbols of the lessons.",
        content=written,
        headings=[each for each in headings(written) if each.level == 2],
    )
    return Searched("glossary.html", "Glossary", "glossary", sections(written))


def _write_claims(write: Callable[..., None]) -> Searched:
    """Write the table of claims and a page for each; what the search reads of them."""
    pages = claim_pages()
    groups = [
        (number, list(listed)) for number, listed in groupby(pages, key=lambda page: page.lesson)
    ]
    measured = [page for page in pages if page.record]
    write(
        "claims.html.j2",
        "claims.html",
        title="Claims",
        about="What papers claim, and what was measured here.",
        pages=pages,
        groups=groups,
        counts={"measured": len(measured), "words": verdicts_in_words(pages)},
        forgotten=forgotten(),
    )
    for page in pages:
        about = page.claim.paper
        write("claim.html.j2", page.name, title=page.claim.title, about=about, page=page)
    return Searched("claims.html", "Claim", "claim", [page.section for page in pages])


def _menu(context: Context, glossary: bool) -> list[dict[str, str]]:
    """The bar above every page."""
    listed = [
        ("Course", "index.html", True),
        ("Live", "live.html", True),
        ("Take-aways", "take-aways.html", True),
        ("Glossary", "glossary.html", glossary),
        ("Claims", "claims.html", True),
        ("Reference", "docs/index.html", context.docs),
    ]
    return [{"title": title, "href": href} for title, href, there in listed if there]


def _writer(folder: Path, context: Context) -> Callable[..., None]:
    """A function that fills a template and writes the page: the template's name, the page's file
    name, and what it shows."""
    environment = Environment(
        loader=PackageLoader("scdlab.site"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )

    def write(template: str, name: str, **values: Any) -> None:
        page = environment.get_template(template).render(site=context, here=name, **values)
        (folder / name).write_text(page, encoding="utf-8")

    return write
