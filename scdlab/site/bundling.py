"""The modules of `site/web` as one script, as a page that is opened from disk needs it: browsers
load no modules from `file://`.

Each module becomes a function that returns what it exports, called once, those that others import
first. So names that a module keeps to itself stay its own, and nothing needs to be renamed. The
modules use three forms of statement, each of them at the start of a line, and no other:

    import { a, b } from "./other.js";
    export { a, b } from "./other.js";
    export function | class | const name
"""

import re
from functools import cache

from scdlab.files import package_text

ENTRY = "index.js"

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";\n', re.MULTILINE)
_PASSED_ON = re.compile(r'^export \{([^}]*)\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:function|class|const) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def source(name: str) -> str:
    """The text of a module in `site/web`.

    Parameters
    ----------
    name : str
        Its file name.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    ValueError
        Where there is no such module.
    """
    try:
        return package_text("scdlab.site", "web", name)
    except FileNotFoundError:
        raise ValueError(f"scdlab/site/web has no module {name!r}; correct the import.") from None


@cache
def bundle(entry: str = ENTRY, name: str = "scdlab") -> str:
    """One classic script that holds a module and all that it imports.

    Parameters
    ----------
    entry : str, default "index.js"
        The module.
    name : str, default "scdlab"
        The global object that gets what the module exports.

    Returns
    -------
    str
        The script.

    Raises
    ------
    ValueError
        For modules that import one another in a circle, and for a form of import or export that is
        none of the three.
    """
    parts = [
        f"const {_variable(module)} = (() => {{\n{_as_function_body(module)}}})();\n"
        for module in _in_order(entry)
    ]
    body = "\n".join(parts)
    return (
        f'globalThis.{name} = (() => {{\n"use strict";\n{body}return {_variable(entry)};\n}})();\n'
    )


def _in_order(entry: str) -> list[str]:
    """The module and all that it imports, each after those that it imports itself."""
    done: list[str] = []
    open_modules: list[str] = []

    def visit(module: str) -> None:
        if module in done:
            return
        if module in open_modules:
            circle = " → ".join([*open_modules[open_modules.index(module) :], module])
            raise ValueError(
                f"Modules of scdlab/site/web import one another in a circle, {circle}; move what "
                "both need into a module of its own."
            )
        open_modules.append(module)
        text = source(module)
        for _, other in (*_IMPORT.findall(text), *_PASSED_ON.findall(text)):
            visit(other)
        open_modules.pop()
        done.append(module)

    visit(entry)
    return done


def _as_function_body(module: str) -> str:
    """A module without its imports and exports, and with a return of what it exports."""
    text = source(module)
    exported: list[str] = []

    def passed_on(found: re.Match) -> str:
        names = _names(found[1])
        exported.extend(names)
        return f"const {{ {', '.join(names)} }} = {_variable(found[2])};\n"

    def imported(found: re.Match) -> str:
        return f"const {{ {', '.join(_names(found[1]))} }} = {_variable(found[2])};\n"

    def own(found: re.Match) -> str:
        exported.append(found[1])
        return ""

    text = _PASSED_ON.sub(passed_on, text)
    text = _IMPORT.sub(imported, text)
    text = _EXPORT.sub(own, text)
    if left := _OTHER.search(text):
        raise ValueError(
            f"{module} has the line {left[0]!r}, which no classic script can hold; write it in one "
            "of the forms that scdlab/site/bundling.py names."
        )
    return f"{text}return {{ {', '.join(exported)} }};\n"


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _variable(module: str) -> str:
    return module.replace(".", "_")
