"""The part of a submitted notebook that an answer needs, and the verdict of its check.

A whole lesson trains networks for minutes; an answer is a few lines. So of each notebook only the
statements run that give the answer its value, and those that bind the names which these use:
imports, helper functions, constants. Cells that only train, draw or print never run.
"""

import ast
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from scdlab.lessons.checks import AnswerCheck, Check
from scdlab.lessons.solutions import WITHHELD
from scdlab.lessons.statements import bound, calls, used


class Absent(Exception):
    """The notebook gives no answer; the text says why."""


@dataclass(frozen=True)
class Verdict:
    """What is found of one answer.

    Parameters
    ----------
    state : str
        A key of `STATES`.
    message : str
        One or two sentences.
    """

    state: str
    message: str


STATES = {
    "right": "right",
    "wrong": "not right",
    "empty": "no answer",
    "stopped": "stopped: it broke a limit",
    "tampered": "changed what checks it",
    "missing": "not handed in",
}


def needed(cells: list[str], answer: str, check: str, withheld: Collection[str]) -> list[ast.stmt]:
    """The statements of a notebook that an answer needs.

    Parameters
    ----------
    cells : list of str
        Sources of the code cells.
    answer : str
        The answer's name.
    check : str
        Name of its check: what stands below its last call with the answer counts only where
        nothing above gives a value.
    withheld : collection of str
        Names of the kit's solution, of which nothing runs.

    Returns
    -------
    list of ast.stmt
        The statements in their order.

    Raises
    ------
    Absent
        No statement gives the answer a value.
    """
    body, broken = _parsed(cells)
    checked = [n for n, each in enumerate(body) if _is_check(each, check, answer)]
    end = checked[-1] if checked else len(body)
    forbidden = {answer, *withheld}
    giving = [n for n, each in enumerate(body) if answer in bound(each) and not _hands_over(each)]
    own = [n for n in giving if n < end] or giving
    if not own:
        for source, why in broken:
            if answer in source:
                raise Absent(f"The cell with {answer} is no Python: {why}.")
        raise Absent(f"Nothing gives {answer} a value.")
    taken = set(own)
    names = used(body[n] for n in own)
    while True:
        missing = {n: bound(each) for n, each in enumerate(body) if n not in taken}
        more = {
            n
            for n, each in missing.items()
            if (each & names or "*" in each) and not each & forbidden
        }
        above = {name for n in more if n < end for name in bound(body[n])}
        more = {n for n in more if n < end or not bound(body[n]) & above}
        if not more:
            return [body[n] for n in sorted(taken)]
        taken |= more
        names |= used(body[n] for n in more)


def verdict(
    cells: list[str], answer: str, check: AnswerCheck, name: str, withheld: Collection[str]
) -> Verdict:
    """Run what an answer needs, and its check. Only to be called where nothing can be harmed.

    Parameters
    ----------
    cells : list of str
        Sources of the code cells.
    answer : str
        The answer's name.
    check : callable
        The check.
    name : str
        The check's name.
    withheld : collection of str
        Names of the kit's solution.

    Returns
    -------
    Verdict
        What came of it.
    """
    try:
        body = needed(cells, answer, name, withheld)
    except Absent as reason:
        state = "wrong" if "no Python" in str(reason) else "empty"
        return Verdict(state, str(reason))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return Verdict("wrong", f"The notebook's code cannot be read: {_text(error)}.")
    WITHHELD.update(withheld)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(compile(ast.Module(body, []), "<answer>", "exec"), namespace)
        found = check(namespace.get(answer, ...), show=False)
    except NameError as error:
        if error.name and error.name in withheld:
            return Verdict(
                "wrong", f"The answer is the kit's own ({error.name}), and none of its own."
            )
        return Verdict("wrong", f"What {answer} needs stopped with {_text(error)}.")
    except BaseException as error:  # whatever the cells raise, SystemExit too
        return Verdict("wrong", f"What {answer} needs stopped with {_text(error)}.")
    if type(found) is not Check or type(found.passed) is not bool:
        return Verdict("tampered", "The check gave no verdict of its own.")
    if found.pending:
        return Verdict("empty", f"{answer} is still `...`.")
    return Verdict("right" if found.passed else "wrong", str(found.message)[:1000])


def _parsed(cells: list[str]) -> tuple[list[ast.stmt], list[tuple[str, str]]]:
    """Statements of all cells, and (source, reason) of each cell that is no Python."""
    body: list[ast.stmt] = []
    broken: list[tuple[str, str]] = []
    for source in cells:
        try:
            for each in ast.parse(TransformerManager().transform_cell(source)).body:
                body += _single(each)
        except SyntaxError as error:
            broken.append((source, f"{error.msg} in line {error.lineno}"))
        except (ValueError, MemoryError, RecursionError) as error:
            broken.append((source, _text(error)))
    return body, broken


def _single(statement: ast.stmt) -> list[ast.stmt]:
    """A statement; of one that imports several names, one for each."""
    if isinstance(statement, ast.Import):
        return [ast.copy_location(ast.Import([name]), statement) for name in statement.names]
    if isinstance(statement, ast.ImportFrom):
        module, level = statement.module, statement.level
        return [
            ast.copy_location(ast.ImportFrom(module, [name], level), statement)
            for name in statement.names
        ]
    return [statement]


def _is_check(statement: ast.stmt, check: str, answer: str) -> bool:
    """Whether a statement calls the check with the answer, for its verdict alone."""
    return isinstance(statement, ast.Expr) and any(
        call.args and isinstance(call.args[0], ast.Name) and call.args[0].id == answer
        for call in calls(statement, check)
    )


def _hands_over(statement: ast.stmt) -> bool:
    """Whether a statement is `name = lessons.yours(…)`."""
    return isinstance(statement, ast.Assign) and any(
        call is statement.value for call in calls(statement, "yours")
    )


def _text(error: BaseException) -> str:
    """The kind of an error and its first words."""
    try:
        words = " ".join(str(error).split())
    except Exception:  # an error of the answer's own class
        words = ""
    kind = type(error).__name__
    return f"{kind} ({words[:200].rstrip('.')})" if words else kind


def limit_named(message: str) -> str | None:
    """The limit that an error's text tells of.

    Parameters
    ----------
    message : str
        A check's message.

    Returns
    -------
    str or None
        What the answer did, as a verb; None for an error of another kind.
    """
    words = message.lower()
    if "memoryerror" in words or "allocate memory" in words or "cannot allocate" in words:
        return "needed more memory than it may have"
    if os.strerror(27).lower() in words or os.strerror(28).lower() in words:
        return "wrote more than it may"
    return None
