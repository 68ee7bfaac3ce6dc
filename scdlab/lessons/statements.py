"""What statements of a notebook bind and use: cells as Python's own syntax trees."""

import ast
import symtable
from collections.abc import Iterable, Iterator

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def bound(statement: ast.AST) -> set[str]:
    """Names that a statement gives a value at the level of the notebook.

    Parameters
    ----------
    statement : ast.AST
        The statement.

    Returns
    -------
    set of str
        The names: of functions, classes, imports and assignments, also within `if` and loops, and
        of a list or table of which an entry is set. "*" stands for those of a starred import.
    """
    names: set[str] = set()
    for node in _outside_scopes(statement):
        if isinstance(node, _SCOPES) and not isinstance(node, ast.Lambda):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            names |= _root(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(each.asname or each.name).partition(".")[0] for each in node.names}
    return names


def used(statements: ast.AST | Iterable[ast.AST]) -> set[str]:
    """Names of the notebook that statements read, in the bodies of functions too.

    Parameters
    ----------
    statements : ast.AST or iterable of them
        The statements.

    Returns
    -------
    set of str
        The names.
    """
    nodes = [statements] if isinstance(statements, ast.AST) else list(statements)
    text = "\n".join(map(ast.unparse, nodes))
    return set(_of_notebook(symtable.symtable(text, "<cells>", "exec")))


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Calls of a function of `scdlab.lessons`, in the order in which they stand there.

    Parameters
    ----------
    tree : ast.AST
        Where to look.
    name : str
        The function's name; one that ends in "_" stands for all that begin with it.

    Yields
    ------
    ast.Call
        `lessons.name(…)`.
    """
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        function = call.func
        if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
            continue
        said = function.attr
        if function.value.id == "lessons" and (
            said == name or (name.endswith("_") and said.startswith(name))
        ):
            yield call


def _of_notebook(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that a scope reads from the notebook: neither arguments nor its own variables."""
    whole = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (whole or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _of_notebook(inner)


def _outside_scopes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what it holds, without the bodies of functions and classes."""
    yield node
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _outside_scopes(child)


def _root(node: ast.AST) -> set[str]:
    """The name at the left end of `name[…].part[…]`."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()
