"""Lessons in pairs: people write and review `notebooks/src/NN_name.py`; `notebooks/NN_name.ipynb`
is built from it.

    python tools/pairs.py build     write every .ipynb
    python tools/pairs.py check     name every .ipynb that differs from its source, or carries
                                    results

The same source gives the same bytes on every machine: cell ids come from position and content, and
there are no outputs, no execution counts, no widget state and no marks of who ran it.
`notebooks/jupytext.toml` tells JupyterLab of the pairs, so that saving a lesson there writes its
source too.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import jupytext
import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def to_ipynb(source: str) -> str:
    """The text of the .ipynb that belongs to a py:percent source."""
    read = jupytext.reads(source, fmt="py:percent")
    cells = [
        {
            "id": hashlib.sha256(f"{number}\n{cell.source}".encode()).hexdigest()[:8],
            "cell_type": cell.cell_type,
            "metadata": dict(cell.metadata),
            "source": cell.source,
            **({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {}),
        }
        for number, cell in enumerate(read.cells)
    ]
    notebook = nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": METADATA, "cells": cells}
    )
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def stored_results(text: str) -> list[str]:
    """What a tracked .ipynb must not hold, each in a few words; empty when it is clean."""
    notebook = json.loads(text)
    code = [
        (number, cell)
        for number, cell in enumerate(notebook["cells"])
        if cell["cell_type"] == "code"
    ]
    found = [f"cell {number} stores outputs" for number, cell in code if cell.get("outputs")]
    found += [
        f"cell {number} stores an execution count"
        for number, cell in code
        if cell.get("execution_count")
    ]
    return found + (["it stores widget state"] if "widgets" in notebook["metadata"] else [])


def complaints(folder: Path = NOTEBOOKS) -> list[str]:
    """One sentence for everything that is wrong with the pairs in `folder`; empty when all is
    well."""
    found = []
    sources = {path.stem: path for path in sorted((folder / "src").glob("*.py"))}
    built = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    for name in sorted(sources.keys() | built.keys()):
        if name not in built:
            found.append(f"notebooks/{name}.ipynb is missing: run `make pairs`.")
        elif name not in sources:
            found.append(
                f"notebooks/{name}.ipynb has no source notebooks/src/{name}.py: add one or remove "
                "it."
            )
        else:
            text = built[name].read_text(encoding="utf-8")
            results = stored_results(text)
            found += [f"notebooks/{name}.ipynb: {what}; run `make pairs`." for what in results]
            if not results and text != to_ipynb(sources[name].read_text(encoding="utf-8")):
                found.append(
                    f"notebooks/{name}.ipynb differs from notebooks/src/{name}.py: run `make "
                    "pairs`."
                )
    return found


def build(folder: Path = NOTEBOOKS) -> list[Path]:
    """Write the .ipynb of every source whose text has changed; return the paths written."""
    written = []
    for source in sorted((folder / "src").glob("*.py")):
        path = folder / f"{source.stem}.ipynb"
        text = to_ipynb(source.read_text(encoding="utf-8"))
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            written.append(path)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Build or check the pairs of lesson source and notebook."
    )
    parser.add_argument("action", choices=["build", "check"])
    if parser.parse_args().action == "build":
        print(
            "\n".join(f"wrote notebooks/{path.name}" for path in build())
            or "every notebook is up to date"
        )
        return 0
    wrong = complaints()
    print("\n".join(wrong) or "every notebook agrees with its source and stores no results")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
