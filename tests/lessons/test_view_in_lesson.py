"""The 3-D view in a lesson that runs headless: sliders move it, and its still picture reaches the
offline page."""

import base64
import re

import nbformat

from scdlab import lessons
from scdlab.lessons.failures import WIDGET_STATE

CELLS = [
    'PROFILE = "quick"',
    """import ipywidgets as widgets
import numpy as np
from ase.build import molecule
from scdlab.explore import view_molecule
forces = np.random.default_rng(0).normal(size=(9, 3))
arrows = {"force": {"vectors": forces, "unit": "eV/Å"}}
view = view_molecule(molecule("CH3CH2OH"), arrows, arrow_scale=0.5)
slider = widgets.FloatSlider(value=1, min=0.1, max=2, description="factor")
slider.observe(lambda change: view.show(arrows={"force": change["new"] * forces}), "value")
widgets.VBox([slider, view])""",
    "view",
]


def test_a_view_moves_and_leaves_its_picture(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "00_view.ipynb")
    (result,) = lessons.run(out=tmp_path / "out", folder=tmp_path / "notebooks")
    assert result.ok, result
    page = result.page.read_text(encoding="utf-8")
    pictures = [
        base64.b64decode(p).decode()
        for p in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)', page)
    ]
    assert len(pictures) == 1  # a view in a box is the box's to show
    assert "force (1 Å drawn = 2 eV/Å)" in pictures[0] and "<path" in pictures[0]
    assert "3dmol" not in page.lower()  # the page needs the picture alone
    notebook = nbformat.read(result.notebook, as_version=4)
    states = notebook.metadata["widgets"][WIDGET_STATE]["state"].values()
    assert sum("scene" in each["state"] for each in states) == 1
    assert len(result.notebook.read_bytes()) < 500_000  # 3Dmol once, compressed
