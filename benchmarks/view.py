"""The 3-D view's answer to a slider: from the key that moves it to the picture that has been
redrawn.

A real JupyterLab and a real Chromium, as a reader has them. The slider's key goes down in the
browser; the browser sends it to the kernel, Python makes new noise and new arrows and sets the
view's trait, the browser draws; the clock stops in the frame after the one that was drawn. Two
kinds of arrows, one of each per atom. "From the trait" starts the clock where Python begins to
make the scene. Chromium draws without a graphics card here: with one it is faster.

    python benchmarks/view.py     about two minutes; writes results/view.json and its table in
                                  benchmarks/README.md
"""

import argparse
import statistics
from pathlib import Path

import in_lab
from harness import machine, put_into, write

HERE = Path(__file__).resolve()
GOAL = 100  # ms for 50 atoms
CASES = {  # atoms: the structure
    50: 'scdlab.from_smiles("C" * 16)',
    5000: "(bulk('Cu', cubic=True) * (11, 11, 11))[:5000]",
}
CELL = """import json, time, warnings
import ipywidgets as widgets
import numpy as np
import scdlab
from ase.build import bulk
from scdlab.explore import view_molecule
warnings.simplefilter("ignore")
atoms = {atoms}
rest, rng, begun = atoms.get_positions(), np.random.default_rng(0), []
slider = widgets.IntSlider(value=0, min=0, max=1000, description="step")
def arrows(noise):
    return {{
        "noise": {{"vectors": noise, "unit": "Å"}},
        "answer": {{"vectors": -0.8 * noise, "unit": "Å"}},
    }}
view = view_molecule(atoms, arrows(rng.normal(0, 0.04, rest.shape)))
def moved(change):
    begun.append(1000 * time.time())
    noise = rng.normal(0, 0.04, rest.shape)
    atoms.positions = rest + noise
    view.show(atoms, arrows(noise))
    begun.append(1000 * time.time())
slider.observe(moved, names="value")
widgets.VBox([slider, view])"""
WATCH = """() => {
    window.moves = [];
    addEventListener('keydown', () => { window.pressed = performance.now(); }, {capture: true});
    addEventListener('drawn', () => {
        const now = performance.now();
        window.moves.push([now - window.pressed, performance.timeOrigin + now]); });
}"""


def measure(browser, lab: str, atoms: int, moves: int) -> dict:
    """Move the slider `moves` times, each when the picture of the last move stands; medians in
    ms."""
    from test_lab import ASK
    from test_molecule_view import DRAWN

    with in_lab.ran(browser, lab, "view.ipynb", CELL.format(atoms=CASES[atoms])) as page:
        page.wait_for_function(DRAWN, arg=1)
        page.wait_for_timeout(1000)
        page.locator(".widget-slider .noUi-handle").first.focus()
        page.evaluate(WATCH)
        for k in range(moves + 3):  # the first three warm up
            page.keyboard.press("ArrowRight")
            page.wait_for_function("k => window.moves.length > k", arg=k)
            page.wait_for_timeout(50)
        seen = page.evaluate("window.moves")[3:]
        begun = [float(word) for word in page.evaluate(ASK, "print(*begun)").split()][6:]
        size = int(page.evaluate(ASK, "print(len(json.dumps(view.scene)))"))
        problem = page.evaluate(ASK, "print(view.problem)")
    if problem or len(begun) != 2 * len(seen):
        raise SystemExit(
            f"{len(seen)} pictures came of {len(begun) // 2} moves ({problem}); nothing was "
            "written."
        )
    slider = sorted(pressed for pressed, _ in seen)
    return {
        "atoms": atoms,
        "arrows": 2 * atoms,
        "moves": moves,
        "slider_ms": statistics.median(slider),
        "slider_ms_90": slider[int(0.9 * len(slider))],
        "trait_ms": statistics.median(
            drawn - start for (_, drawn), start in zip(seen, begun[::2], strict=True)
        ),
        "python_ms": statistics.median(
            end - start for start, end in zip(begun[::2], begun[1::2], strict=True)
        ),
        "message_kB": size / 1000,
    }


def table(report: dict) -> str:
    """The report as benchmarks/README.md shows it."""
    rows = [
        "| a slider moves | until redrawn | nine in ten within | from the trait | of it Python | "
        "message |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for r in report["results"]:
        rows.append(
            f"| {r['atoms']:,} atoms, {r['arrows']:,} arrows | **{r['slider_ms']:.0f} ms** "
            f"| {r['slider_ms_90']:.0f} ms | {r['trait_ms']:.0f} ms "
            f"| {r['python_ms']:.0f} ms | {r['message_kB']:.0f} kB |"
        )
    m = report["machine"]
    about = (
        f"Medians of {report['results'][0]['moves']} moves on {m['cores']} cores of "
        f"{m['processor']}, Chromium {m['chromium']} without a graphics card, {m['date']}: "
        f"`{report['command']}`."
    )
    return "\n".join([*rows, "", about])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of ten moves each")
    options = parser.parse_args()
    results = []
    with in_lab.lab_and_browser() as (lab, browser):
        for atoms in CASES:
            results.append(measure(browser, lab, atoms, 10 * options.rounds))
            print({k: round(v, 1) for k, v in results[-1].items()}, flush=True)
        about = machine() | {"chromium": browser.version}
    command = f"python benchmarks/view.py --rounds {options.rounds}"
    report = {"command": command, "goal_ms": GOAL, "machine": about, "results": results}
    write(HERE.parent / "results" / "view.json", report)
    put_into(HERE.with_name("README.md"), "view", table(report))


if __name__ == "__main__":
    main()
