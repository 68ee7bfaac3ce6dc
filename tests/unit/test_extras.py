"""A package that only an extra brings is asked for with the name of that extra."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import scdlab
from scdlab import extras

ROOT = Path(__file__).resolve().parents[2]


def test_the_extra_brings_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    owners = metadata.packages_distributions()
    for package, extra in extras.EXTRAS.items():
        lines = project["optional-dependencies"][extra]
        names = {canonicalize_name(Requirement(line).name) for line in lines}
        assert names & {canonicalize_name(owner) for owner in owners[package]}, package


def test_a_missing_package_names_its_extra(monkeypatch):
    def without_plotly(name):
        raise ModuleNotFoundError("No module named 'plotly'", name="plotly.graph_objects")

    monkeypatch.setattr(scdlab.importlib, "import_module", without_plotly)
    with pytest.raises(ModuleNotFoundError, match=r"scdlab.NoiseExplorer needs plotly.*'lessons'"):
        scdlab.NoiseExplorer  # noqa: B018


def test_another_missing_module_stays_what_it_is():
    other = ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")
    assert extras.missing("scdlab.fit", other) is other
