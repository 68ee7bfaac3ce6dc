"""The public names: there at run time and for type checkers, and instant to import."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scdlab

ROOT = Path(__file__).resolve().parents[2]


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_import_loads_nothing_heavy():
    loaded = set(run("import scdlab, sys; print(*sys.modules)"))
    heavy = {"torch", "numpy", "ase", "scipy", "torch_geometric", "plotly", "scdlab.atoms"}
    assert "scdlab" in loaded and not heavy & loaded


def test_no_module_loads_torch_geometric_before_there_is_a_batch():
    """It takes longer to load than torch: commands and processes that need no batch do without."""
    early = re.compile(r"^(import|from) torch_geometric", re.MULTILINE)
    sources = list((ROOT / "scdlab").rglob("*.py"))
    assert len(sources) > 100
    assert not [path for path in sources if early.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", [name for name in scdlab.__all__ if name != "__version__"])
def test_every_public_name_is_there(name):
    thing = getattr(scdlab, name)
    assert thing is getattr(scdlab, name)
    assert thing.__doc__ and thing.__module__.startswith("scdlab.")


def test_modules_are_names_too():
    for name in ("atoms", "nn", "objectives", "training", "symmetry", "memory", "units"):
        assert getattr(scdlab, name) is importlib.import_module(f"scdlab.{name}")
    assert {"SchNet", "memory", "objectives"} <= set(dir(scdlab))
    with pytest.raises(AttributeError, match="no attribute 'does_not_exist'"):
        _ = scdlab.does_not_exist


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse((ROOT / "scdlab/__init__.py").read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    (block,) = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {}
    modules = set()
    for node in block.body:
        (alias,) = node.names
        assert alias.asname == alias.name
        if node.module == "scdlab":
            modules.add(alias.name)
        else:
            seen[alias.name] = node.module.removeprefix("scdlab.")
    assert seen == scdlab._NAMES
    assert modules == set(scdlab._MODULES)


SNIPPETS = {
    "right.py": (
        "import scdlab\n"
        "from scdlab import SchNet\n\n"
        "store = scdlab.load_ethanol()\n"
        "train, val, test = store.split(100, 20, blocks=1)\n"
        "model = SchNet(hidden_channels=32)\n"
        "energies = model(train.take(range(4))).energy\n"
        "scdlab.fit(model, scdlab.objectives.EnergyForces(), train, val, steps=5)\n"
    ),
    "wrong.py": "from scdlab import SchNet\n\nSchNet(hiden_channels=3)\n",
}


@pytest.mark.slow
def test_a_type_checker_finds_a_wrong_argument_and_no_other_error(tmp_path):
    for name, code in SNIPPETS.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    checker = Path(sys.executable).with_name("basedpyright")
    command = [checker, "--outputjson", "--pythonpath", sys.executable, "--project", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    found = [
        (Path(each["file"]).name, each["rule"], each["message"])
        for each in json.loads(done.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    ]
    ((file, rule, message),) = found
    assert (file, rule) == ("wrong.py", "reportCallIssue")
    assert "hiden_channels" in message
