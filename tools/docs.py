"""Build the documentation into build/docs, and fail where it has a hole.

    python tools/docs.py          check the docstrings, build the pages, check what was built
    python tools/docs.py check    only check the docstrings

`mkdocs.yml` loads this file as a hook: it writes the reference pages, one for each floor, from the
names in the floors' `__all__`. The build fails for

- a broken link or reference (mkdocs in strict mode);
- a public name, or a public method of a public class, without a docstring;
- a parameter that the docstring of its function or class does not describe;
- a public name that is missing in the reference;
- a page that would load anything from another host.
"""

import argparse
import ast
import importlib
import importlib.util
import inspect
import itertools
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import code_blocks

import scdlab

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "docs"
FLOORS = (
    "files",
    "memory",
    "units",
    "atoms",
    "nn",
    "objectives",
    "symmetry",
    "training",
    "calculator",
    "dynamics",
    "torchsim",
    "analysis",
    "explore",
    "claims",
    "lessons",
    "site",
)
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}[ ]*$", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, *\*{0,2}\w+)*) *(?::.*)?$", re.MULTILINE)


def floor_module(floor: str) -> ModuleType:
    """The module of a floor."""
    return importlib.import_module(f"scdlab.{floor}")


def public_names(module: ModuleType) -> dict[str, object]:
    """Public names of a floor and what they stand for, modules left out.

    They are those in its `__all__`, or else those that it defines, and those that `scdlab` itself
    offers from one of its modules.
    """
    own = [name for name, value in vars(module).items() if is_own(module, name, value)]
    found = {name: getattr(module, name) for name in getattr(module, "__all__", own)}
    for name in scdlab.__all__:
        value = getattr(scdlab, name)
        if getattr(value, "__module__", "").startswith(f"{module.__name__}."):
            found.setdefault(name, value)
    return {name: value for name, value in found.items() if not isinstance(value, ModuleType)}


def is_own(module: ModuleType, name: str, value: object) -> bool:
    """Whether a module defines a public class or function."""
    defined = inspect.isclass(value) or inspect.isroutine(value)
    return defined and not name.startswith("_") and value.__module__ == module.__name__


def is_definition(value: object) -> bool:
    """Whether a value is a class or function of the library; an alias of a type is neither."""
    defined = inspect.isclass(value) or inspect.isroutine(value)
    return defined and value.__module__.split(".")[0] == "scdlab"


def home(module: ModuleType, name: str, value: object) -> str:
    """The module that defines a public name."""
    if is_definition(value):
        return value.__module__
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return importlib.util.resolve_name(
                "." * node.level + (node.module or ""), module.__name__
            )
    return module.__name__


# Docstrings


def parameters_described(docstring: str) -> set[str]:
    """Names in the sections Parameters, Other Parameters and Attributes of a numpydoc docstring."""
    parts = SECTION.split(docstring)
    found: set[str] = set()
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        if title in ("Parameters", "Other Parameters", "Attributes"):
            for names in ENTRY.findall(text):
                found |= {name.strip().lstrip("*") for name in names.split(",")}
    return found


def parameters_of(value: object) -> list[str]:
    """Names of the parameters of a function or of a class's constructor, `self` left out."""
    maker = getattr(value, "__init__", None)
    if inspect.isclass(value) and not getattr(maker, "__module__", "").startswith("scdlab"):
        return []  # made as its base class is, which is not ours to describe
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # no signature to be had: an exception class, an enumeration
        return []
    return [name for name in signature.parameters if name not in ("self", "cls")]


def members(owner: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties of a class, inherited ones of the library included."""
    for name in dir(owner):
        if name.startswith("_"):
            continue
        origin = next((c for c in owner.__mro__ if name in vars(c)), None)
        value = vars(origin)[name] if origin else None
        if origin is None or not origin.__module__.startswith("scdlab"):
            continue
        if isinstance(value, (staticmethod, classmethod, property)) or inspect.isfunction(value):
            yield name, value


def holes_of(label: str, value: object, documentation: str | None) -> Iterator[str]:
    """What a function's or class's docstring lacks."""
    if not documentation:
        yield f"{label} has no docstring"
        return
    if isinstance(value, property):
        return
    described = parameters_described(documentation)
    lacking = [name for name in parameters_of(value) if name not in described]
    if lacking:
        yield f"{label} does not describe {', '.join(lacking)}"


def class_holes(label: str, owner: type) -> Iterator[str]:
    """What the docstrings of a class and of its members lack."""
    documentation = inspect.cleandoc(owner.__doc__) if owner.__doc__ else None
    own = vars(owner).get("__init__")
    if documentation and own is not None and own.__doc__ and inspect.isfunction(own):
        documentation += "\n\n" + inspect.cleandoc(own.__doc__)
    yield from holes_of(label, owner, documentation)
    for name, value in members(owner):
        member = getattr(owner, name)
        shown = value if isinstance(value, property) else member
        yield from holes_of(f"{label}.{name}", shown, documentation_of(owner, name))


def documentation_of(owner: type, name: str) -> str:
    """The docstring of a method, followed by those of the methods that it overrides: parameters are
    described where a method is first declared, and an override says what it does with them."""
    methods = [vars(c)[name] for c in owner.__mro__ if name in vars(c)]
    return "\n\n".join(inspect.getdoc(method) or "" for method in methods).strip()


def is_constant_described(path: str, name: str) -> bool:
    """Whether a module assigns a name with a string right below that says what it is."""
    body = ast.parse(inspect.getsource(importlib.import_module(path))).body
    found: set[str] = set()
    for first, second in itertools.pairwise(body):
        is_text = isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant)
        if isinstance(first, (ast.Assign, ast.AnnAssign)) and is_text:
            targets = first.targets if isinstance(first, ast.Assign) else [first.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return name in found


def holes() -> list[str]:
    """One line for everything public that is not documented; empty when all is."""
    found: list[str] = []
    for floor in FLOORS:
        module = floor_module(floor)
        if not module.__doc__:
            found.append(f"scdlab.{floor} has no docstring")
        for name, value in public_names(module).items():
            label = f"scdlab.{floor}.{name}"
            if not is_definition(value):
                if not is_constant_described(home(module, name, value), name):
                    found.append(f"{label} has no string below its assignment that says what it is")
            elif inspect.isclass(value):
                found += class_holes(label, value)
            else:
                found += holes_of(label, value, inspect.getdoc(value))
    return found


# Pages of the reference


def reference_page(floor: str) -> str:
    """The page of a floor: each module's docstring, followed by its public names."""
    module = floor_module(floor)
    groups: dict[str, list[str]] = {}
    for name, value in public_names(module).items():
        groups.setdefault(home(module, name, value), []).append(name)
    lines = [f"# {floor}", "", inspect.cleandoc(module.__doc__ or ""), ""]
    for path, names in sorted(groups.items(), key=lambda group: group[0]):
        lines += [f"::: {path}", "    options:", "      members:"]
        lines += [f"        - {name}" for name in sorted(names)]
        lines += ["      heading_level: 2", ""]
        if path == module.__name__:  # its docstring stands above
            lines[-1:] = ["      show_root_heading: false", "      show_root_docstring: false", ""]
    return "\n".join(lines)


def summary(value: object) -> str:
    """The first sentence of a docstring, as a cell of a table."""
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def index_page() -> str:
    """The page of all names that can be imported from `scdlab` itself."""
    lines = ["# Reference", "", "Names that `scdlab` itself offers:", "", "| | |", "|---|---|"]
    for name in sorted(scdlab.__all__, key=str.lower):
        value = getattr(scdlab, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            path = f"{value.__module__}.{name}"
            lines.append(f"| [`{name}`][{path}] | {summary(value)} |")
    lines += ["", "## Floors", "", "Each imports only from those above it:", ""]
    for floor in FLOORS:
        first = summary(floor_module(floor))
        lines.append(f"- [`scdlab.{floor}`]({floor}.md): {first}")
    return "\n".join(lines) + "\n"


def on_files(files, config):
    """mkdocs: add the reference and the change log, which are written nowhere."""
    from mkdocs.structure.files import File

    pages = {f"reference/{floor}.md": reference_page(floor) for floor in FLOORS}
    pages["reference/index.md"] = index_page()
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """mkdocs: put the code block of CONTRIBUTING.md that defines a class where a guide names it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    codes = [code for _, code in code_blocks.blocks(text)]

    def block(found: re.Match) -> str:
        defining = [code for code in codes if f"class {found[1]}(" in code]
        if len(defining) != 1:
            raise ValueError(
                f"{page.file.src_uri}: no block of CONTRIBUTING.md defines {found[1]}."
            )
        return f"```python\n{defining[0]}```"

    return re.sub(r"^\{\{ block (\w+) \}\}$", block, markdown, flags=re.MULTILINE)


# What was built


def in_the_reference(site: Path) -> set[str]:
    """Every name that has a place in the built reference."""
    data = (site / "objects.inv").read_bytes()
    header = 0
    for _ in range(4):  # lines of text before the compressed part
        header = data.index(b"\n", header) + 1
    lines = zlib.decompress(data[header:]).decode().splitlines()
    return {line.split(" ", 1)[0] for line in lines}


def absent(site: Path) -> list[str]:
    """Public names without a place in the built reference."""
    found = []
    there = in_the_reference(site)
    for floor in FLOORS:
        module = floor_module(floor)
        for name, value in public_names(module).items():
            path = f"{home(module, name, value)}.{name}"
            wanted = [path]
            if is_definition(value) and inspect.isclass(value):
                wanted += [f"{path}.{member}" for member in vars(value) if is_shown(value, member)]
            found += [f"{one} is not in the reference" for one in wanted if one not in there]
    return found


def is_shown(owner: type, name: str) -> bool:
    """Whether the reference shows a member of a class: a public method or property of its own.

    One that overrides another and has no docstring is described there, in the class above.
    """
    value = vars(owner)[name]
    kinds = (staticmethod, classmethod, property)
    is_method = isinstance(value, kinds) or inspect.isfunction(value)
    return is_method and not name.startswith("_") and bool(getattr(value, "__doc__", None))


class Loads(HTMLParser):
    """Addresses from which a page would load something without being asked."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        """Collect what a tag loads; a link that a reader may follow loads nothing."""
        given = dict(attrs)
        key = "href" if tag == "link" else "src"
        address = given.get(key) or ""
        if tag == "link" and given.get("rel") in ("canonical", "prev", "next", "alternate"):
            return
        if tag != "a" and re.match(r"(https?:)?//", address):
            self.found.append(f"<{tag}> loads {address}")
        if "mermaid" in (given.get("class") or "").split():
            self.found.append("a diagram would load its renderer")


def requests(site: Path) -> list[str]:
    """What the built pages would load from other hosts."""
    found = []
    for path in sorted(site.rglob("*.html")):
        parser = Loads()
        parser.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {what}" for what in parser.found]
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        outside = re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^)'\"]+)", text)
        found += [f"{path.relative_to(site)}: loads {address}" for address in outside]
    return found


def build(folder: Path = ROOT) -> int:
    """Run mkdocs in a folder with a `mkdocs.yml`; its exit status."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # --quiet: no warning counts
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # the theme's news about its own future
    return subprocess.run(command, cwd=folder, env=os.environ | quiet).returncode


def main() -> int:
    """Check, build, check; 1 when something is missing or broken."""
    parser = argparse.ArgumentParser(description="Build the documentation.")
    parser.add_argument("action", nargs="?", choices=["build", "check"], default="build")
    options = parser.parse_args()
    wrong = holes()
    if options.action == "build":
        if build():
            return 1
        wrong += absent(SITE) + requests(SITE)
    print("\n".join(wrong) or "every public name is documented")
    if wrong:
        print(f"{len(wrong)} places to mend")
    elif options.action == "build":
        print(f"wrote {(SITE / 'index.html').relative_to(ROOT).as_posix()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
