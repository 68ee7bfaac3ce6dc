"""The three lists of packages, the package's contents and the commands of the README: they agree
with each other."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import scdlab

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ADDRESS = re.compile(r"https?:|file:|--(?:extra-)?index|--find-links|--hash| @ ")
MACHINES = [
    {
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "platform_system": "Linux",
    },
    {
        "sys_platform": "linux",
        "platform_machine": "aarch64",
        "os_name": "posix",
        "platform_system": "Linux",
    },
    {
        "sys_platform": "darwin",
        "platform_machine": "arm64",
        "os_name": "posix",
        "platform_system": "Darwin",
    },
    {
        "sys_platform": "win32",
        "platform_machine": "AMD64",
        "os_name": "nt",
        "platform_system": "Windows",
    },
]


def declared(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def pins(text: str, machine: dict) -> dict[str, str]:
    """name -> version that a lock gives one machine."""
    there = [pin for pin in declared(text) if pin.marker is None or pin.marker.evaluate(machine)]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in there}


def drift(requirements: list[str], lock: str, machine: dict) -> list[str]:
    """The requirements that the lock leaves out or pins outside their range, for one machine."""
    pinned = pins(lock, machine)
    wrong = []
    for requirement in map(Requirement, requirements):
        version = pinned.get(canonicalize_name(requirement.name))
        wanted = requirement.marker is None or requirement.marker.evaluate(machine)
        if wanted and (version is None or not requirement.specifier.contains(version)):
            wrong.append(requirement.name)
    return wrong


EVERYTHING = PROJECT["dependencies"] + [
    line for lines in PROJECT["optional-dependencies"].values() for line in lines
]


@pytest.mark.parametrize(
    "machine", MACHINES, ids=lambda machine: "-".join(list(machine.values())[:2])
)
def test_the_lock_pins_every_requirement_within_its_range(machine):
    assert drift(EVERYTHING, LOCK, machine) == []


def test_a_drift_is_seen():
    assert drift(["numpy>=2", "ase>=3", "scipy<1"], "numpy==1.26.0\nscipy==0.19", MACHINES[0]) == [
        "numpy",
        "ase",
    ]


def test_the_lock_is_exact_and_holds_no_addresses():
    assert "torch==2.13.0\n" in LOCK
    assert not ADDRESS.search(LOCK)
    for pin in declared(LOCK):
        assert re.fullmatch(r"==[^,*+]+", str(pin.specifier)), (
            f"{pin.name} is not pinned to one version"
        )


def test_the_lock_is_closed():
    """What a pinned package requires is pinned too, in a version that it accepts."""
    pinned = pins(LOCK, MACHINES[0])
    open_ends = []
    for name in pinned:
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another machine
        for requirement in map(Requirement, requires):
            own = name == "torch" and any(
                part.operator == "==" for part in requirement.specifier
            )  # CUDA libraries
            if own or not (
                requirement.marker is None
                or requirement.marker.evaluate(MACHINES[0] | {"extra": ""})
            ):
                continue
            version = pinned.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                open_ends.append(f"{name} -> {requirement}")
    assert open_ends == []


def test_the_conda_environment_installs_the_lock_and_the_kit():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    names = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (from_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert from_pip == ["-r requirements.lock", "-e ."]
    assert [name.split()[0] for name in names] == ["python", "pip"], (
        "other packages would drift from the lock"
    )
    supported = SpecifierSet(PROJECT["requires-python"])
    offered = SpecifierSet(names[0].split()[1])
    for minor in range(9, 20):
        assert f"3.{minor}.5" in supported or f"3.{minor}.5" not in offered


def test_the_lock_is_made_of_every_extra():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"-e '\.\[(.+)\]'", makefile)
    assert set(extras.split(",")) == set(PROJECT["optional-dependencies"])


def test_the_version_is_in_the_change_log_and_in_the_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == scdlab.__version__
    assert re.search(rf"^## {re.escape(scdlab.__version__)}\b", changes, re.M)


def imports(path: Path) -> set[str]:
    """Top names of the modules that a file imports, relative imports aside."""
    tops = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            tops.add(node.module.split(".")[0])
    return tops


@pytest.mark.slow
def test_every_import_is_declared():
    """Whatever the kit, its lessons, tools and tests import is required, not there by luck."""
    owners = metadata.packages_distributions()
    required = {canonicalize_name(Requirement(line).name) for line in EVERYTHING}
    folders = ("scdlab", "notebooks/src", "tools", "tests", "benchmarks")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    own = {"scdlab", *sys.stdlib_module_names}
    own |= {name for path in sources for name in (path.stem, path.parent.name)}
    undeclared = {
        f"{path.relative_to(ROOT).as_posix()}: {top}"
        for path in sources
        for top in imports(path) - own
        if not required & {canonicalize_name(owner) for owner in owners.get(top, [top])}
    }
    assert undeclared == set()


@pytest.mark.slow
def test_the_wheel_carries_data_and_lessons(tmp_path):
    """Built without isolation, so that nothing is fetched."""
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        ROOT,
    ]
    subprocess.run(list(map(str, build)), check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "scdlab/_notebooks/00_start_here.ipynb",
        "scdlab/_data/README.md",
        "scdlab/cli/__init__.py",
    } <= names
    assert {
        f"scdlab/explore/static/{name}" for name in ("3Dmol-min.js", "3Dmol-LICENSE.txt", "view.js")
    } <= names
    assert {
        f"scdlab/lessons/static/reveal/{name}"
        for name in ("reveal.js", "reveal.css", "LICENSE.txt")
    } <= names
    packed = [
        name for name in names if name.startswith("scdlab/_data/") and name.endswith("store.json")
    ]
    stores = list((ROOT / "data").rglob("store.json"))
    assert stores
    assert len(packed) == len(stores)
    shipped = list((ROOT / "data" / "checkpoints").glob("*.safetensors"))
    assert shipped and {f"scdlab/_data/checkpoints/{path.name}" for path in shipped} <= names
    assert not [
        name
        for name in names
        if "__pycache__" in name or "/runs/" in name or ".ipynb_checkpoints" in name
    ]


def test_no_address_of_a_package_registry_is_in_the_files_that_install():
    for name in ("requirements.lock", "pyproject.toml", "environment.yml", "Makefile", ".ci/run"):
        assert not ADDRESS.search((ROOT / name).read_text(encoding="utf-8").replace(" @ ", "")), (
            name
        )


def test_the_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
    )
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M))
    assert {"lab", "test"} <= named
    assert named <= targets


def test_the_readme_names_only_commands_that_exist():
    from typer.main import get_command

    from scdlab.cli import app

    text = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
    )
    named = set(re.findall(r"(?:^|`)scdlab ([a-z]+)", text, re.M))
    assert {"lab", "run", "doctor"} <= named
    assert named <= set(get_command(app).commands)


@pytest.mark.slow
def test_the_readme_example_runs(tmp_path):
    """The researcher's quick start, with fewer steps, as it stands in the README."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S
    )
    assert blocks
    short = [re.sub(r"steps=[\d_]+", "steps=2", block) for block in blocks]
    # no block sees another's names
    code = f"for block in {short!r}: exec(block, {{'__name__': '__main__'}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
