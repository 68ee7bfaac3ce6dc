"""Lessons for the browser: what a page does is looked at here, what a network learns is not.

tests/lessons runs every lesson at its full quick size and looks at its numbers. Here the same cells
run with a few steps of training and a few points in a map.
"""

import ast
from pathlib import Path

import pairs

LARGEST = {"steps": 10, "points": 60}  # the last word of a size's name, and the most that it may be


def shorten_all(folder: Path) -> None:
    """Cut the quick sizes of every lesson in a copy of the notebooks: of both halves of its
    pair."""
    for source in sorted((folder / "src").glob("*.py")):
        source.write_text(
            shorten(source.read_text(encoding="utf-8"), source.name), encoding="utf-8", newline="\n"
        )
    pairs.build(folder)  # JupyterLab takes a lesson's code from src


def shorten(source: str, name: str) -> str:
    """The code of a lesson with smaller sizes: `SIZES = {"quick": dict(…), …}`, or `STEPS =
    {"quick": 600, …}`.

    Raises:
        ValueError: the lesson has no such sizes, or none that could be cut; a full training would
            start.
    """
    found = _quick_sizes(ast.parse(source))
    if not found:
        names = " or ".join(f"…{last}" for last in LARGEST)
        raise ValueError(
            f'{name} has no `SIZES = {{"quick": dict(…), …}}` with a size named {names}, from '
            "which the browser tests could make a short run: add one, or teach "
            "tests/browser/short_lessons.py the lesson's own way."
        )
    lines = source.encode().splitlines(keepends=True)  # ast counts columns in bytes
    for number, largest in sorted(found, key=lambda each: (-each[0].lineno, -each[0].col_offset)):
        line = lines[number.lineno - 1]
        start = number.col_offset
        end = number.end_col_offset
        lines[number.lineno - 1] = (
            line[:start] + str(min(number.value, largest)).encode() + line[end:]
        )
    return b"".join(lines).decode()


def _quick_sizes(tree: ast.Module) -> list[tuple[ast.Constant, int]]:
    """The numbers that a lesson's "quick" entry holds, each with the most that it may be; empty
    when it has none."""
    found = []
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        for table in (each for each in ast.walk(node.value) if isinstance(each, ast.Dict)):
            for key, value in zip(table.keys, table.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "quick":
                    named = {node.targets[0].id.lower(): value}
                    if isinstance(value, ast.Call):  # dict(steps=400, …)
                        named = {keyword.arg: keyword.value for keyword in value.keywords}
                    elif isinstance(value, ast.Dict):  # {"steps": 400, …}
                        named = {k.value: v for k, v in zip(value.keys, value.values, strict=True)}
                    found += [
                        (size, LARGEST[last])
                        for name, size in named.items()
                        if (last := name.split("_")[-1]) in LARGEST
                        and isinstance(size, ast.Constant)
                    ]
    return found
