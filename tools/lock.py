"""Write requirements.lock: the exact version of everything that the kit and its tests import,
however indirectly.

    python tools/lock.py            from the environment that runs it (`make lock` updates that
                                    first)

Versions are those installed. The walk starts at pyproject.toml and follows requirements as Linux,
macOS and Windows with the first release of every supported Python would read them; a package that
only some machines need carries a marker, and one that is needed elsewhere but not here, or does not
suit there, is asked of pip. Left out: what torch pins itself (its CUDA libraries), local version
labels ("+cpu"), addresses and hashes, so that the reader's own pip settings decide where wheels
come from.
"""

import functools
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = {  # name: (marker variables, wheel tag)
    "linux": ({"sys_platform": "linux", "platform_machine": "x86_64"}, "manylinux_2_28_x86_64"),
    "linux arm": (
        {"sys_platform": "linux", "platform_machine": "aarch64"},
        "manylinux_2_28_aarch64",
    ),
    "macos": ({"sys_platform": "darwin", "platform_machine": "arm64"}, "macosx_15_0_arm64"),
    "windows": ({"sys_platform": "win32", "platform_machine": "AMD64"}, "win_amd64"),
}
NAMES = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}
HEADER = """\
# Everything that the kit and its tests import, exactly, on Linux, macOS and Windows, Python {}.
# No addresses and no hashes: your own pip settings decide where the wheels come from.
# On Linux the CUDA libraries that torch asks for are pinned by torch itself. Remake: `make lock`.
"""


def environment(machine: str, python: str) -> dict[str, str]:
    """The marker variables of another machine, with the first release of that Python."""
    variables, _ = MACHINES[machine]
    os_name, platform_system = NAMES[variables["sys_platform"]]
    rest = {"python_version": python, "python_full_version": f"{python}.0"}
    return (
        default_environment()
        | variables
        | rest
        | {"os_name": os_name, "platform_system": platform_system}
    )


@functools.cache
def look_up(name: str, machine: str, python: str) -> tuple[str, list[str]]:
    """(version, requirements) of a distribution: as installed here if it suits that Python, else as
    pip says."""
    try:
        found = metadata.distribution(name)
        if f"{python}.0" in SpecifierSet(found.metadata.get("Requires-Python", "")):
            return found.version, found.requires or []
    except metadata.PackageNotFoundError:
        print(f"{name} is not needed here: asking pip about {machine}, Python {python}")
    options = [
        "--dry-run",
        "--quiet",
        "--no-deps",
        "--ignore-installed",
        "--only-binary",
        ":all:",
        "--report",
        "-",
    ]
    there = ["--platform", MACHINES[machine][1], "--python-version", python, "--target", "unused"]
    command = [sys.executable, "-m", "pip", "install", *options, *there, name]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = report["install"][0]["metadata"]
    return found["version"], found.get("requires_dist", [])


def closure(roots: list[Requirement], machine: str, python: str) -> dict[str, str]:
    """Every distribution that `roots` need on that machine: name -> version."""
    values = environment(machine, python)
    versions = {}
    seen = set()

    def wanted_there(needed: Requirement, extra: str = "") -> bool:
        return needed.marker is None or needed.marker.evaluate(values | {"extra": extra})

    queue = [root for root in roots if wanted_there(root)]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            versions[name], requires = look_up(name, machine, python)
            for text in requires:
                needed = Requirement(text)
                own = name == "torch" and any(part.operator == "==" for part in needed.specifier)
                if wanted_there(needed, extra) and not own:
                    queue.append(needed)
    return versions


def marker(machines: set[str]) -> str:
    """The environment marker for "on these machines"."""
    if len(machines) == 1:
        return f' ; sys_platform == "{MACHINES[min(machines)][0]["sys_platform"]}"'
    absent = sorted(set(MACHINES) - machines)
    unless = {
        "linux": '(sys_platform != "linux" or platform_machine != "x86_64")',
        "linux arm": '(sys_platform != "linux" or platform_machine != "aarch64")',
        "macos": 'sys_platform != "darwin"',
        "windows": 'sys_platform != "win32"',
    }
    return " ; " + " and ".join(unless[machine] for machine in absent) if absent else ""


def lock_text() -> str:
    """The text of requirements.lock for the environment that runs this."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    roots = [Requirement(line) for line in project["dependencies"] + extras]
    where = {}
    versions = {}
    for machine in MACHINES:
        for python in PYTHONS:
            for name, version in closure(roots, machine, python).items():
                where.setdefault(name, set()).add(machine)
                versions.setdefault(name, set()).add(Version(version))
    lines = [
        f"{name}=={min(versions[name]).public}{marker(where[name])}\n" for name in sorted(versions)
    ]
    return HEADER.format(", ".join(PYTHONS)) + "".join(lines)


if __name__ == "__main__":
    (ROOT / "requirements.lock").write_text(lock_text(), encoding="utf-8", newline="\n")
    print("wrote requirements.lock")
