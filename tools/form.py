"""Measure the form of the code: how dense it is, and how much of it is annotated and documented.

    python tools/form.py                 a table: version 0.1.0 beside the working tree
    python tools/form.py --before HEAD~5 another commit beside the working tree

Measured over the library (`scdlab/**/*.py`). The counts, in the order of the table:

- AST nodes a code line: nodes of the syntax tree (`ast.walk`) over the lines that hold code (no
  blank line, no comment, no docstring).
- parallel assignments: of all assignments, those with several targets and as many values
  (`a, b = x, y`); a true swap, whose targets are its values, does not count.
- functions over 50 lines: without docstring, from `def` to the last line.
- public: the name does not begin with an underscore; a parameter is one other than `self` and
  `cls`. "Reachable" counts what can be reached from outside: nested functions and members of
  private classes are left out, the parameters of constructors are counted.
- private names across modules: imports of a name that begins with an underscore from another
  module of the library, and `thing._name` where `_name` is defined in another file alone.
"""

import argparse
import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "57bb51e"  # the last commit of 0.1.0
LIBRARY = "scdlab"
LONG = 50  # lines of a function
Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
SKIP = "# fmt: " + "skip"


@dataclass
class Counts:
    """Sums over some files."""

    files: int = 0
    lines: int = 0
    code_lines: int = 0
    nodes: int = 0
    assignments: int = 0
    parallel: int = 0
    conditional: int = 0
    lengths: list[int] = field(default_factory=list)  # of functions, docstring off
    functions: int = 0  # those with a public name, and so on
    documented: int = 0
    parameters: int = 0
    annotated: int = 0
    reachable_functions: int = 0
    reachable_documented: int = 0
    reachable_parameters: int = 0
    reachable_annotated: int = 0

    def add(self, other: "Counts") -> None:
        """Add the counts of more files."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def docstring(node: ast.AST) -> ast.Expr | None:
    """The statement that is the docstring of a module, class or function."""
    if not isinstance(node, (ast.Module, *DEFINITIONS)) or not node.body:
        return None
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return first if isinstance(first.value.value, str) else None
    return None


def code_lines(text: str, tree: ast.Module) -> int:
    """How many lines are neither blank nor a comment nor part of a docstring."""
    documentation = set()
    for node in ast.walk(tree):
        if found := docstring(node):
            documentation.update(range(found.lineno, (found.end_lineno or found.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in documentation
        for number, line in enumerate(text.splitlines(), start=1)
    )


def is_parallel(node: ast.Assign) -> bool:
    """Whether an assignment binds several names to as many values, and is no swap."""
    target = node.targets[0]
    if not isinstance(target, ast.Tuple) or not isinstance(node.value, ast.Tuple):
        return False
    names = sorted(ast.unparse(item) for item in target.elts)
    values = sorted(ast.unparse(item) for item in node.value.elts)
    return len(names) > 1 and names != values


def length(function: Function) -> int:
    """Lines of a function from `def` to its end, docstring off."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    found = docstring(function)
    return total - ((found.end_lineno or found.lineno) - found.lineno + 1 if found else 0)


def reachable(tree: ast.Module | ast.ClassDef) -> Iterator[Function]:
    """Public functions of a module, and public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from reachable(node)
            else:
                yield node


def constructors(tree: ast.Module) -> Iterator[Function]:
    """`__init__` of the public classes: its parameters are public, its docstring is the class's."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    yield part


def parameters(function: Function) -> list[ast.arg]:
    """The parameters of a function, `self` and `cls` left out."""
    given = function.args
    found = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    found += [star for star in (given.vararg, given.kwarg) if star]
    return [one for one in found if one.arg not in ("self", "cls")]


def count(path: Path) -> Counts:
    """The counts of one file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    every = list(ast.walk(tree))
    assignments = [node for node in every if isinstance(node, ast.Assign)]
    functions = [node for node in every if isinstance(node, FUNCTIONS)]
    public = [function for function in functions if not function.name.startswith("_")]
    declared = [one for function in public for one in parameters(function)]
    shown = list(reachable(tree))
    shown_declared = [one for f in [*shown, *constructors(tree)] for one in parameters(f)]
    return Counts(
        files=1,
        lines=len(text.splitlines()),
        code_lines=code_lines(text, tree),
        nodes=len(every),
        assignments=len(assignments),
        parallel=sum(map(is_parallel, assignments)),
        conditional=sum(isinstance(node, ast.IfExp) for node in every),
        lengths=[length(function) for function in functions],
        functions=len(public),
        documented=sum(docstring(function) is not None for function in public),
        parameters=len(declared),
        annotated=sum(one.annotation is not None for one in declared),
        reachable_functions=len(shown),
        reachable_documented=sum(docstring(function) is not None for function in shown),
        reachable_parameters=len(shown_declared),
        reachable_annotated=sum(one.annotation is not None for one in shown_declared),
    )


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def private_definitions(tree: ast.Module) -> set[str]:
    """Names with a leading underscore that a file defines, as a name or as an attribute."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS):
            found.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if is_private(name)}


def private_doors(paths: list[Path]) -> tuple[list[str], list[str]]:
    """Where private names cross modules: ("file:line: name" of imports, of attributes)."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    defined = {path: private_definitions(tree) for path, tree in trees.items()}
    everywhere = set().union(*defined.values())
    imports: list[str] = []
    attributes: list[str] = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.level or is_own(node.module)):
                names = [alias.name for alias in node.names if is_private(alias.name)]
                imports += [f"{path}:{node.lineno}: {name}" for name in names]
            elif isinstance(node, ast.Attribute) and node.attr in everywhere - defined[path]:
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                if owner not in ("self", "cls"):
                    attributes.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    return imports, attributes


def is_own(module: str | None) -> bool:
    """Whether an absolute module name is one of the library."""
    return (module or "").split(".")[0] == LIBRARY


def measure(root: Path) -> dict[str, str]:
    """The table's rows for the tree in `root`: name -> value."""
    paths = sorted((root / LIBRARY).rglob("*.py"))
    total = Counts()
    floors: dict[str, Counts] = {}
    for path in paths:
        counts = count(path)
        total.add(counts)
        parts = path.relative_to(root / LIBRARY).parts
        floors.setdefault(parts[0] if len(parts) > 1 else "(top)", Counts()).add(counts)
    imports, attributes = private_doors(paths)
    repository = [
        path
        for path in sorted(root.rglob("*.py"))
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.relative_to(root).parts[0] not in ("build", "dist", "runs")
    ]
    long = sum(lines > LONG for lines in total.lengths)
    largest = max(paths, key=lines_of)

    def each(value) -> str:
        return ", ".join(f"{name} {value(one)}" for name, one in sorted(floors.items()))

    def density(one: Counts) -> str:
        return f"{one.nodes / max(one.code_lines, 1):.1f}"

    def annotated(one: Counts) -> str:
        return percent(one.annotated, one.parameters, 0)

    readme = root / "README.md"
    return {
        "library: files": str(total.files),
        "library: lines; code lines": f"{total.lines:,}; {total.code_lines:,}",
        "AST nodes a code line": density(total),
        "… a floor": each(density),
        "parallel assignments": percent(total.parallel, total.assignments),
        "conditional expressions per 100 code lines": (
            f"{100 * total.conditional / total.code_lines:.1f}"
        ),
        f"`{SKIP}`: library; repository": f"{skips(paths)}; {skips(repository)}",
        f"functions over {LONG} lines": (
            f"{long} of {len(total.lengths):,} ({percent(long, len(total.lengths))})"
        ),
        "median lines of a function": f"{statistics.median(total.lengths):g}",
        "public functions with a docstring": percent(total.documented, total.functions, 0),
        "… reachable ones": percent(total.reachable_documented, total.reachable_functions, 0),
        "public parameters with a type": annotated(total),
        "… a floor ": each(annotated),
        "… reachable ones ": percent(total.reachable_annotated, total.reachable_parameters, 0),
        "private names across modules: imports; attributes": f"{len(imports)}; {len(attributes)}",
        "largest file": f"{lines_of(largest)} lines (`{largest.relative_to(root).as_posix()}`)",
        "README": f"{lines_of(readme)} lines" if readme.exists() else "none",
    }


def percent(part: int, whole: int, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * part / max(whole, 1):.{digits}f} %"


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def skips(paths: list[Path]) -> int:
    """How many lines keep the formatter out."""
    return sum(path.read_text(encoding="utf-8").count(SKIP) for path in paths)


def measure_commit(commit: str) -> dict[str, str]:
    """`measure` of another commit of this repository, unpacked into a temporary folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        sys.exit(f"Commit {commit} cannot be read ({reason}): fetch the whole history first.")
    with (
        tempfile.TemporaryDirectory() as folder,
        tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar,
    ):
        tar.extractall(folder, filter="data")
        return measure(Path(folder))


def main() -> None:
    """Print the table, or with --doors every place where a private name crosses modules."""
    parser = argparse.ArgumentParser(description="Measure the form of the code.")
    parser.add_argument("--before", default=BEFORE, help="Commit of the first column.")
    parser.add_argument("--doors", action="store_true", help="List private names across modules.")
    options = parser.parse_args()
    if options.doors:
        imports, attributes = private_doors(sorted((ROOT / LIBRARY).rglob("*.py")))
        print("\n".join([*imports, *attributes]))
        return
    before = measure_commit(options.before)
    now = measure(ROOT)
    print(f"| | before ({options.before}) | now |\n|---|---|---|")
    for name, value in now.items():
        print(f"| {name.strip()} | {before[name]} | {value} |")


if __name__ == "__main__":
    main()
