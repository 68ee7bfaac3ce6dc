"""A lesson's notebook, read and checked before anything of it runs."""

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import nbformat
import nbformat.reader
from nbformat import NotebookNode

from scdlab import files

_OTHERS = ("widgets", "papermill")  # what an earlier run left in the metadata
_REMEDY = "save it again in JupyterLab, or take the kit's own copy"

_BRACKETS = 1_000  # in a cell of parameters


def read_notebook(path: str | Path) -> NotebookNode:
    """A notebook in the present format, checked against its schema.

    Parameters
    ----------
    path : path
        The notebook.

    Returns
    -------
    NotebookNode
        The notebook, without what an earlier run left in its metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no notebook, or one that breaks the format.
    """
    path = Path(path)
    content = files.read_json(path, "notebook", _REMEDY, finite=False)
    version = content.get("nbformat")
    if not isinstance(version, int) or not 3 <= version <= 4:
        raise ValueError(
            f"The notebook {path} must be of format 3 or 4, got nbformat = {version!r}: {_REMEDY}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ids that old notebooks lack
        try:
            notebook = nbformat.reader.reads(json.dumps(content))
            if version != 4:
                notebook = nbformat.convert(notebook, 4)
            nbformat.validate(notebook)
        except Exception as error:  # nbformat raises whatever its own reading of a part does
            problem = getattr(error, "message", None) or str(error) or type(error).__name__
            raise ValueError(
                f"The notebook {path} breaks the format ({_short(problem)}): {_REMEDY}."
            ) from error
    for part in (notebook, *notebook.cells):
        for name in _OTHERS:
            part.metadata.pop(name, None)
    return notebook


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:117]}…"


def parameters_of(path: str | Path) -> list[str]:
    """The names assigned in a lesson's cell tagged `parameters`.

    Parameters
    ----------
    path : path
        The notebook.

    Returns
    -------
    list of str
        The names.

    Raises
    ------
    ValueError
        It is no notebook, or the cell holds what is no plain Python, such as a magic.
    """
    for cell in read_notebook(path).cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ()):
            return _assigned(cell.source, Path(path))
    return []


def _assigned(source: str, path: Path) -> list[str]:
    """Names that a cell assigns."""
    try:
        if (
            sum(map(source.count, "([{")) > _BRACKETS
        ):  # Python takes deep nesting for a lack of memory
            raise ValueError("it has too many brackets")
        nodes: list[Any] = ast.parse(source).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line} ({source.splitlines()[line - 1].strip()[:60]!r})" if line else ""
        raise ValueError(
            f"The cell tagged 'parameters' of {path} must hold assignments alone, but is no plain "
            f"Python{where}: move magics and whatever else it holds into another cell."
        ) from error
    targets = [t for node in nodes if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in nodes if isinstance(node, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
