"""Two small lessons, executed: one of everything that a lesson's page can hold."""

import json
from pathlib import Path

import nbformat
from helpers import rattled

from scdlab import explore
from scdlab.explore import style
from scdlab.lessons.guess_box import GuessBox
from scdlab.lessons.html import PLOTLY, WIDGET
from scdlab.lessons.quizzes import questions, quiz_html

FIRST = """# 00 · Start small

**Time.** A minute to read.

Terms: [glossary](glossary.md#atom). The next one is [lesson 02](02_tiny.ipynb).

## The idea

An energy is a sum over atoms, $E = \\sum_i e_i$, and

$$F = -\\frac{\\partial E}{\\partial x}.$$

| quantity | unit |
|---|---|
| energy | eV |

## What to take away

1. Forces are slopes.
"""
SECOND = """# 02 · Noise, small

## Zirconium appears here

Only this section speaks of **zirconium**.

## What to take away

1. Noise can be undone.
"""
GLOSSARY = """# Glossary

## Structures

### atom

What a molecule is made of. (00)

### kcal/mol

A unit of energy. (00)
"""


def write_lessons(folder: Path) -> Path:
    """The lessons without their results; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cells in {"00_tiny": _first(), "02_tiny": _second()}.items():
        for cell in cells:
            if cell.cell_type == "code":
                cell.outputs = []
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    (folder / "glossary.md").write_text(GLOSSARY, encoding="utf-8")
    return folder


def write_executed(folder: Path, profile: str = "quick") -> Path:
    """The lessons with their results, as `scdlab run` leaves them; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cells in {"00_tiny": _first(), "02_tiny": _second()}.items():
        notebook = nbformat.v4.new_notebook(cells=cells)
        injected = nbformat.v4.new_code_cell(f'PROFILE = "{profile}"')
        injected.metadata["tags"] = ["injected-parameters"]
        notebook.cells.insert(1, injected)
        notebook.metadata["papermill"] = {
            "parameters": {"PROFILE": profile},
            "duration": 1.5,
            "end_time": "2026-11-30T08:00:00",
        }
        view = explore.view_molecule(rattled(), title="Ethanol")
        state = {"scene": view.scene, "webgl": True, "picture": "", "problem": ""}
        notebook.metadata["widgets"] = {
            "application/vnd.jupyter.widget-state+json": {
                "state": {"view": {"model_name": "AnyModel", "state": state}},
                "version_major": 2,
                "version_minor": 0,
            }
        }
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


CHECK = (
    "<div class='scdlab-check' style='border-left:4px solid #8C8C8C'>"
    "<b style='color:#8C8C8C'>… Your turn.</b> Replace the dots.</div>"
)


def _first() -> list:
    view = explore.view_molecule(rattled(), title="Ethanol")
    figure = explore.compare_bars({"a": 1.0, "b": 2.0}, "error", "eV")
    figure.update_layout(meta={"alt": "Two bars: b is twice as high as a."}, width=640)
    return [
        nbformat.v4.new_markdown_cell(FIRST),
        _code("figure", {PLOTLY: json.loads(figure.to_json()), "text/plain": "Figure()"}),
        _code("view", {WIDGET: {"model_id": "view"}, "image/svg+xml": view.to_svg()}),
        _code("lessons.check_pairs(...)", {"text/html": CHECK}),
        _code('lessons.quiz("00")', {"text/html": quiz_html(questions("00"))}),
    ]


def wordy_figures() -> list:
    """Figures that say more than a telephone is wide: curves with a legend, and bars."""
    curves = explore.path_plot(
        [0.01, 0.1, 1.0],
        {f"the curve of network {name}, as it was trained": [1.0, 2.0, 4.0] for name in "abc"},
        x_label="distance from the place where the molecule was found to be at rest",
        title="The energy of three networks along a path that leads away from the minimum",
    )
    curves.update_xaxes(**style.LOG)
    told = ("told its own", "told nothing", "told another's", "not asked")
    bars = explore.compare_bars(
        dict.fromkeys(told, 1.0), "share of the noise that is left on frames not seen", "%"
    )
    note = "stored guess: “told nothing and told another's, both alike”"
    above = dict(xref="paper", yref="paper", xanchor="right", yanchor="bottom", showarrow=False)
    bars.add_annotation(x=1, y=1, text=note, **above)
    return [curves, bars]


def _second() -> list:
    long = "\n".join(f"line_{k} = {k}" for k in range(20))
    view = explore.view_molecule(rattled(), title="Still")
    box = GuessBox(
        question="How large is <σ>?",
        unit="Å",
        choices=[],
        answer="",
        sure="",
        note="",
        closed=False,
        submit=lambda answer, sure: True,
    )
    solution = nbformat.v4.new_code_cell("answer = 42")
    solution.metadata["tags"] = ["solution"]
    return [
        nbformat.v4.new_markdown_cell(SECOND),
        _code(long, {"text/plain": "1 < 2"}),
        _code("guess = lessons.predict(…)", {"text/html": box.still()}),
        solution,
        *(_code("figure", {PLOTLY: json.loads(each.to_json())}) for each in wordy_figures()),
        _code(
            "explorer = explore.NoiseExplorer(held_out)\nexplorer",
            {WIDGET: {"model_id": "gone"}, "image/svg+xml": view.to_svg()},
        ),
    ]


def _code(source: str, data: dict) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("display_data", data)
    return nbformat.v4.new_code_cell(source, outputs=[output])
