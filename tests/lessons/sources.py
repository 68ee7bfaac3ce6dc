"""The sources of the lessons, read as cells, for tests of what they say and show."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext
from pairs import NOTEBOOKS

SOURCES = {path.stem: path for path in sorted((NOTEBOOKS / "src").glob("[0-9][0-9]*.py"))}

_PREDICT = re.compile(r"^#+ +Predict\b|\*\*Predict\b", re.MULTILINE)

# what draws: the last name of a call, `explore.path_plot(…)`, `style.figure(…)`
FIGURES = {
    "candidate_figure",
    "claim_curves",
    "compare_bars",
    "compare_curves",
    "compare_maps",
    "drift_plot",
    "embedding_map",
    "filter_curves",
    "filter_cuts",
    "filter_figure",
    "learning_curve",
    "molecule_figure",
    "neighbor_figure",
    "parity_plot",
    "path_plot",
    "view_molecule",
    "figure",
    "Figure",
    "FigureWidget",
    "make_subplots",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a lesson: its number, its kind ("markdown" or "code"), its text and its tags."""

    number: int
    kind: str
    text: str
    tags: tuple[str, ...] = ()


def cells_of(source: Path | str) -> list[Cell]:
    """The cells of a source, given as its path or its text."""
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    read = jupytext.reads(text, fmt="py:percent")
    return [
        Cell(number, cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ())))
        for number, cell in enumerate(read.cells)
    ]


def unanswered_predictions(cells: list[Cell]) -> list[str]:
    """One line for each "Predict" without a box, and each box without a later reveal."""
    found = []
    waiting: Cell | None = None
    boxes: dict[str, int] = {}
    revealed: dict[str, int] = {}
    names: list[str] = []
    for cell in cells:
        if cell.kind == "markdown":
            marks = len(_PREDICT.findall(cell.text))
            if marks and waiting is not None:
                found.append(_without_box(waiting))
            waiting = cell if marks else waiting
            continue
        if cell.kind != "code":
            continue
        for name, label in _predictions(cell.text):
            if name is None:
                found.append(f"cell {cell.number}: a lessons.predict is not kept in a variable")
                continue
            if name in boxes and revealed.get(name, -1) < boxes[name]:
                found.append(f"cell {boxes[name]}: {name} is never revealed")
            boxes[name] = cell.number
            names.append(label)
            waiting = None
        for name in _reveals(cell.text):
            if boxes.get(name, cell.number) < cell.number:
                revealed[name] = cell.number
    if waiting is not None:
        found.append(_without_box(waiting))
    found += [
        f"cell {number}: {name} is not revealed in a later cell"
        for name, number in boxes.items()
        if revealed.get(name, -1) < number
    ]
    found += [f"the name {name!r} is used twice" for name in set(names) if names.count(name) > 1]
    return found


def _without_box(cell: Cell) -> str:
    line = next(line for line in cell.text.splitlines() if _PREDICT.search(line))
    return f"cell {cell.number}: no lessons.predict follows “{line[:60]}”"


def _predictions(code: str) -> list[tuple[str | None, str]]:
    """The variable (None without one) and the name of each `lessons.predict` in a cell."""
    tree = _tree(code)
    targets = {
        id(node.value): ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
    }
    return [
        (targets.get(id(node)), _keyword(node, "name"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lessons.predict"
    ]


def _keyword(call: ast.Call, name: str) -> str:
    """The text that a call gives to a keyword."""
    values = [each.value for each in call.keywords if each.arg == name]
    return str(values[0].value) if values and isinstance(values[0], ast.Constant) else ""


def _reveals(code: str) -> list[str]:
    """The variables whose `.reveal` a cell calls."""
    return [
        ast.unparse(node.func.value)
        for node in ast.walk(_tree(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "reveal"
    ]


def fronts_of_splits(cells: list[Cell]) -> list[str]:
    """One line for each `part[:n]` of a part that `split` gave.

    Parts are in the order of the store: the front holds the smallest molecules, or the earliest
    frames.
    """
    found = []
    parts: set[str] = set()
    for cell in cells:
        if cell.kind != "code":
            continue
        tree = _tree(cell.text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                names = {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
                parts = parts | names if _is_split(node.value) else parts - names
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.slice, ast.Slice)
                and node.slice.lower is None
                and (ast.unparse(node.value) in parts or _is_split(node.value))
            ):
                found.append(f"cell {cell.number}: {ast.unparse(node)}: draw it with sample()")
    return found


def _is_split(value: ast.expr) -> bool:
    """Whether an expression is what `store.split(n_train, n_val, …)` gave, or one part of it."""
    if isinstance(value, ast.Subscript) and not isinstance(value.slice, ast.Slice):
        value = value.value
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "split"
        and len(value.args) >= 2
    )


def unused_functions(cells: list[Cell]) -> list[str]:
    """One line for each function that a reader writes, has checked, and that the lesson never uses
    by `lessons.yours(…, check=…)`, or uses before its solution."""
    asked: dict[str, int] = {}
    used: dict[str, int] = {}
    solved: dict[str, int] = {}
    for cell in cells:
        if cell.kind != "code":
            continue
        checks = re.findall(r"lessons\.(check_\w+)", cell.text)
        if "solution" in cell.tags:
            solved |= dict.fromkeys(checks, cell.number)
        elif re.search(r"^    return \.\.\.$", cell.text, re.MULTILINE):
            asked |= dict.fromkeys(checks, cell.number)
        elif "lessons.yours(" in cell.text:
            used |= {check: cell.number for check in checks if check not in used}
    return [
        f"cell {number}: {check} is asked for, and its function is used nowhere after its solution"
        for check, number in asked.items()
        if not number < solved.get(check, -1) < used.get(check, -1)
    ]


def _tree(code: str) -> ast.Module:
    """A cell's code; lines of magics are left out."""
    lines = ["" if re.match(r"\s*[%!]", line) else line for line in code.splitlines()]
    return ast.parse("\n".join(lines))


def undescribed_figures(cells: list[Cell]) -> list[str]:
    """One line for each figure, view or explorer that is shown without an alternative text."""
    found = []
    known = _Figures()
    for cell in cells:
        if cell.kind != "code":
            continue
        tree = _tree(cell.text)
        known.learn(tree)
        for shown in _shown(tree):
            if known.draws(shown) and not known.is_described(shown):
                words = " ".join(ast.unparse(shown).split())
                found.append(f"cell {cell.number}: no alternative text for {words[:60]}")
    return found


def _shown(tree: ast.Module) -> list[ast.expr]:
    """What a cell shows: its last expression, and the arguments of `display`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    shown = [arg for call in calls if ast.unparse(call.func) == "display" for arg in call.args]
    shown += [
        call.func.value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "show" and not call.args
    ]
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        shown.append(tree.body[-1].value)
    return shown


class _Figures:
    """What a lesson's names stand for, as far as its code says."""

    def __init__(self):
        self.drawing: set[str] = set()  # variables that hold figures, and functions that return one
        self.described: set[str] = set()

    def learn(self, tree: ast.Module) -> None:
        """Take in the definitions of a cell."""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                self._learn_returns(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self._learn_name(ast.unparse(target), node.value)
            elif isinstance(node, ast.Call) and _last_name(node) == "described" and node.args:
                self.described.add(ast.unparse(node.args[0]))

    def _learn_returns(self, function: ast.FunctionDef) -> None:
        inside = _Figures()
        inside.drawing = set(self.drawing)
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    inside._learn_name(ast.unparse(target), node.value)
            elif isinstance(node, ast.Call) and _last_name(node) == "described" and node.args:
                inside.described.add(ast.unparse(node.args[0]))
        returns = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value]
        if any(inside.draws(value) for value in returns):
            self.drawing.add(function.name)
            if all(inside.is_described(value) for value in returns if inside.draws(value)):
                self.described.add(function.name)

    def _learn_name(self, name: str, value: ast.expr) -> None:
        self.drawing.discard(name)
        self.described.discard(name)
        if self.draws(value):
            self.drawing.add(name)
        if self.is_described(value):
            self.described.add(name)

    def draws(self, value: ast.expr) -> bool:
        """Whether an expression is a figure, a view or an explorer."""
        if isinstance(value, ast.Call):
            name = _last_name(value)
            if name == "described":
                return True
            return (
                name in FIGURES
                or name.endswith("Explorer")
                or ast.unparse(value.func) in self.drawing
            )
        return ast.unparse(value) in self.drawing

    def is_described(self, value: ast.expr) -> bool:
        """Whether it has been given an alternative text."""
        if isinstance(value, ast.Call):
            return _last_name(value) == "described" or ast.unparse(value.func) in self.described
        return ast.unparse(value) in self.described


def _last_name(call: ast.Call) -> str:
    return ast.unparse(call.func).split(".")[-1]
