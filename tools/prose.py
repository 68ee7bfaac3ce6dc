"""The prose of lessons, wrapped evenly: paragraphs and list items of markdown cells.

    python tools/prose.py wrap      rewrite notebooks/src/*.py
    python tools/prose.py check     name every paragraph that is wrapped otherwise

A line holds at most 100 characters, "# " included. Headings, tables, formulas between $$, code
between fences and lines of HTML stay as they are; so does a line that ends in two spaces, which is
a line break. Words between a pair of single dollars or backticks stay on one line.
"""

import argparse
import re
import sys
import textwrap
from pathlib import Path

WIDTH = 100
SOURCES = Path(__file__).resolve().parent.parent / "notebooks" / "src"
ITEM = re.compile(r"(?:[-*+]|\d+\.) +")
KEPT = re.compile(r"#|\||<|!\[|---|>|    ")  # starts of lines that are no prose
INLINE = re.compile(r"\$[^$]+\$|`[^`]+`")
GLUE = "\ue000"  # stands for a space that must not become a line break


def wrapped(paragraph: list[str]) -> list[str]:
    """The lines of one paragraph or list item, wrapped to the width less the "# "."""
    text = " ".join(line.strip() for line in paragraph)
    start = re.match(r" *", paragraph[0]).group()
    item = ITEM.match(text)
    indent = start + " " * (len(item.group()) if item else 0)
    glued = INLINE.sub(lambda found: found.group().replace(" ", GLUE), text)
    lines = textwrap.wrap(
        glued,
        WIDTH - 2,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines]


def wrapped_cell(lines: list[str]) -> list[str]:
    """The lines of a markdown cell, without their "# ", with every paragraph wrapped."""
    out: list[str] = []
    paragraph: list[str] = []
    fence = ""

    def flush() -> None:
        out.extend(wrapped(paragraph) if paragraph else [])
        paragraph.clear()

    for line in lines:
        text = line.strip()
        marks = "```" if text.startswith("```") else "$$" if text.count("$$") == 1 else ""
        if fence or marks or "$$" in text or not text or KEPT.match(line):
            flush()
            out.append(line)
            if marks and (not fence or marks == fence):
                fence = "" if fence else marks
            continue
        if ITEM.match(text):
            flush()
        paragraph.append(line)
        if line.endswith("  "):
            out.extend(paragraph)
            paragraph.clear()
    flush()
    return out


def wrapped_source(source: str) -> str:
    """A py:percent source with the prose of its markdown cells wrapped."""
    out: list[str] = []
    cell: list[str] = []
    in_markdown = False

    def flush() -> None:
        blank = 0
        while cell and not cell[-1]:
            cell.pop()
            blank += 1
        inner = wrapped_cell([line[2:] for line in cell])
        out.extend(("# " + line).rstrip() if line else "#" for line in inner)
        out.extend([""] * blank)
        cell.clear()

    for line in source.splitlines():
        if line.startswith("# %%"):
            flush()
            in_markdown = "[markdown]" in line
            out.append(line)
        elif in_markdown:
            cell.append(line)
        else:
            out.append(line)
    flush()
    return "\n".join(out) + "\n"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("wrap", "check"))
    action = parser.parse_args().action
    different = []
    for path in sorted(SOURCES.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if (new := wrapped_source(source)) == source:
            continue
        different.append(path.name)
        if action == "wrap":
            path.write_text(new, encoding="utf-8")
    if different and action == "check":
        sys.exit(
            f"The prose of {', '.join(different)} is not wrapped at {WIDTH}: "
            "run `python tools/prose.py wrap`, then `make pairs`."
        )


if __name__ == "__main__":
    main()
