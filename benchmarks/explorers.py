"""How soon the explorers of the lessons answer: each control moved many times, at the size that
the lesson uses.

    python benchmarks/explorers.py    some minutes; writes results/explorers.json and its table in
                                      benchmarks/README.md

In a Jupyter kernel, from a control's new value until traits, words, figure and view are up to date
and sent to the browser: by the processor's time, which other programs change little, and by the
clock. Values are drawn at random, so that hardly one of them has been shown before; menus and ticks
have few, and what an explorer keeps of them counts as it does for a reader. `--browser` adds one
explorer after the other in a JupyterLab: from the key that moves a slider until its picture has
changed for the last time, and so until all stands. At its end a slider goes back.

NoiseExplorer asks GFN2-xTB, an approximate quantum-chemical method, for energies and forces; the
same explorer without it has a row of its own. A path or a full turn that FrameExplorer has not
shown before needs thousands of evaluations of a network: it sends a sketch first, which counts as
the answer, and "whole" is when all stands. The first maps of EmbeddingExplorer are laid out by
UMAP, and it says so meanwhile. The report holds the times on the clock, and the slowest moves.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_lab
from harness import machine, put_into, write

HERE = Path(__file__).resolve()
GOAL = 150  # ms
SECONDS = 20  # of moves of one control at most, beyond the third
QUIET = 400  # ms without a change, after which a picture is taken as final
LESSONS = {  # explorer: the lesson, and how the lesson makes it; its model is as large, not as good
    "NeighborExplorer": (
        "00",
        "qm9 = scdlab.load_qm9()\n"
        "explorer = explore.NeighborExplorer(qm9.sample(100, seed=0), molecule=12)",
    ),
    "FilterExplorer": (
        "01",
        "explorer = explore.FilterExplorer(scdlab.SchNet(hidden_channels=32, num_layers=2))",
    ),
    "NoiseExplorer": (
        "02",
        "model = scdlab.load_pretrained('coord-et')\n"
        "held_out = scdlab.load_qm9().split(5000, 0, seed=0)[0]\n"
        "options = dict(model=model, molecule=11, sigma=0.005, seed=0)\n"
        "explorer = explore.NoiseExplorer(held_out, **options)",
    ),
    "NoiseExplorer without GFN2-xTB": (
        "02",
        "model = scdlab.load_pretrained('coord-et')\n"
        "held_out = scdlab.load_qm9().split(5000, 0, seed=0)[0]\n"
        "options = dict(model=model, molecule=11, sigma=0.005, seed=0, reference=None)\n"
        "explorer = explore.NoiseExplorer(held_out, **options)",
    ),
    "ForceExplorer": (
        "03",
        "ethanol = scdlab.load_ethanol()\n"
        "test = ethanol[int(0.8 * len(ethanol)) :].sample(200, seed=0)\n"
        "sizes = dict(hidden_channels=48, num_layers=3, num_heads=4, num_rbf=32)\n"
        "plain = scdlab.EquivariantTransformer(**sizes, force_input=True)\n"
        "scdlab.fit(plain, scdlab.objectives.EnergyForces(), test, steps=1, batch_size=4)\n"
        "explorer = explore.ForceExplorer(test, {'plain': plain}, atom=8)",
    ),
    "ConditionExplorer": (
        "04",
        "model = scdlab.load_pretrained('scd-ct-frames')\n"
        "frames = scdlab.load_ethanol().split(1500, 0, seed=0)[2]\n"
        "explorer = explore.ConditionExplorer(model, frames, molecule=0, other=7)",
    ),
    "EmbeddingExplorer": (
        "04",
        "held_out = scdlab.load_qm9().split(5000, 0, seed=0)[0]\n"
        "names = {'Coord': 'coord-ct', 'SCD': 'scd-ct'}\n"
        "nets = {name: scdlab.load_pretrained(file) for name, file in names.items()}\n"
        "explorer = explore.EmbeddingExplorer(held_out, nets, n=800)",
    ),
    "FrameExplorer": (
        "05",
        "net = scdlab.load_pretrained('pet-ethanol')\n"
        "frame = scdlab.load_ethanol().split(1500, 0, seed=0)[2].to_ase(0)\n"
        "explorer = explore.FrameExplorer(net, frame)",
    ),
    "FrameExplorer in a full turn": (
        "05",
        "net = scdlab.load_pretrained('pet-ethanol')\n"
        "frame = scdlab.load_ethanol().split(1500, 0, seed=0)[2].to_ase(0)\n"
        "explorer = explore.FrameExplorer(net, frame, shows='turn')",
    ),
}
IMPORTS = """import scdlab, torch
from scdlab import explore
torch.manual_seed(0)
"""
QUANTUM = ("molecule", "sigma", "seed", "kind", "relaxed")  # ask GFN2-xTB, where it is there
MOVED = """
import json, sys
sys.path.insert(0, {folder!r})
import explorers
print("the times are", json.dumps(explorers.moved(explorer, {moves})))
"""
WATCH = """() => {
    const widget = document.querySelector('.widget-vbox');
    const now = () => { window.last = performance.now(); };
    new MutationObserver(now).observe(
        widget, {subtree: true, childList: true, attributes: true, characterData: true});
    widget.addEventListener('drawn', now, {capture: true});
    addEventListener('keydown', () => { window.pressed = performance.now(); }, {capture: true});
}"""
STILL = "quiet => performance.now() - Math.max(window.last, window.pressed) > quiet"


def values(control: Any, moves: int) -> list:
    """So many values of a control, each another than the one before: in turn where there are few,
    else at random."""
    import ipywidgets as widgets

    rng = random.Random(0)
    if isinstance(control, widgets.Checkbox):
        return [bool(k % 2) is bool(control.value) for k in range(moves)]
    if isinstance(control, widgets.Dropdown):
        known = [value for _, value in control._options_full]
        first = known.index(control.value)
        return [known[(first + k) % len(known)] for k in range(1, moves + 1)]
    if isinstance(control, widgets.IntSlider):
        drawn = [rng.randint(control.min, control.max) for _ in range(3 * moves)]
    else:
        steps = round((control.max - control.min) / control.step)
        drawn = [control.min + control.step * rng.randint(0, steps) for _ in range(3 * moves)]
    if isinstance(control, widgets.FloatLogSlider):
        drawn = [control.base**value for value in drawn]
    return [new for new, old in zip(drawn, [control.value, *drawn], strict=False) if new != old][
        :moves
    ]


@contextlib.contextmanager
def pictures_of(explorer: Any, shown: list[float]) -> Iterator[None]:
    """Note the processor's time, s, of each svg that an explorer sends within this context."""

    def note(change: Any) -> None:
        shown.append(time.process_time())

    svg = "value" in explorer.drawing.traits()
    if svg:
        explorer.drawing.observe(note, "value")
    yield
    if svg:
        explorer.drawing.unobserve(note, "value")


def moved(explorer: Any, moves: int) -> list[dict]:
    """Move each control of an explorer `moves` times, or for `SECONDS`: times in ms."""
    rows = []
    for name, control in explorer.controls.items():
        before = control.value
        taken = []
        first = []
        begun = time.perf_counter()
        for value in values(control, moves):
            if len(taken) > 2 and time.perf_counter() - begun > SECONDS:
                break
            shown: list[float] = []
            start = time.process_time(), time.perf_counter()
            with pictures_of(explorer, shown):
                control.value = value
            end = time.process_time(), time.perf_counter()
            first.append(1000 * ((shown[0] if shown else end[0]) - start[0]))
            taken.append([1000 * (b - a) for a, b in zip(start, end, strict=True)])
        control.value = before
        if not taken:  # a menu of one entry
            continue
        processor, clock = zip(*taken, strict=True)
        rows.append(
            {
                "control": name,
                "label": control.description,
                "moves": len(taken),
                "processor_ms": statistics.median(processor),
                "first_ms": statistics.median(first),
                "slowest_ms": max(processor),
                "clock_ms": statistics.median(clock),
            }
        )
    return rows


def in_kernel(moves: int) -> list[dict]:
    """`moved` for every explorer, in a Jupyter kernel, which sends its messages as in a
    notebook."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    results = []
    try:
        for name, (lesson, source) in LESSONS.items():
            said = []

            def hear(message: dict, said=said) -> None:
                if message["msg_type"] == "error":
                    raise SystemExit("\n".join(message["content"]["traceback"]))
                said.append(message["content"].get("text", ""))

            code = IMPORTS + source + MOVED.format(folder=str(HERE.parent), moves=moves)
            client.execute_interactive(code, output_hook=hear, timeout=3600)
            rows = json.loads("".join(said).split("the times are ")[-1])
            results += [{"explorer": name, "lesson": lesson} | row for row in rows]
            for row in rows:
                print(name, row, flush=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return results


def in_browser(browser: Any, lab: str, source: str, moves: int) -> dict[str, float]:
    """Median time in ms until the picture stands, for each slider of an explorer in JupyterLab."""
    from test_lab import ASK

    taken = {}
    with in_lab.ran(browser, lab, "explorer.ipynb", IMPORTS + source + "\nexplorer") as page:
        page.locator(".widget-vbox .widget-slider").first.wait_for()
        page.wait_for_timeout(3000)
        page.evaluate(WATCH)
        for slider in page.locator(".widget-slider").all():
            handle = slider.locator(".noUi-handle")
            if slider.locator("[disabled]").count():
                continue
            times = []
            key = "ArrowRight"
            for _ in range(moves):
                handle.focus()
                before = handle.get_attribute("aria-valuetext")
                page.keyboard.press(key)
                if handle.get_attribute("aria-valuetext") == before:  # at its end
                    key = "ArrowLeft" if key == "ArrowRight" else "ArrowRight"
                    page.keyboard.press(key)
                page.wait_for_timeout(50)
                page.evaluate(ASK, "pass")  # the kernel answers in turn: it has seen the move
                page.wait_for_function(STILL, arg=QUIET)
                times.append(page.evaluate("window.last - window.pressed"))
            taken[slider.locator("label").inner_text()] = statistics.median(times)
        problem = page.evaluate(ASK, "print(explorer.message.value)")
    if problem:
        raise SystemExit(f"An explorer reports {problem}; nothing was written.")
    return taken


def table(report: dict) -> str:
    """The report as benchmarks/README.md shows it: a row for each explorer."""
    rows = [
        "| explorer | lesson | controls within the goal | beyond it, or asking GFN2-xTB |",
        "|---|---|---|---|",
    ]
    for name, (lesson, _) in LESSONS.items():
        within = []
        beyond = []
        for r in report["results"]:
            if r["explorer"] != name:
                continue
            asks = name == "NoiseExplorer" and r["control"] in QUANTUM
            first = r.get("first_ms", r["processor_ms"])
            slow = asks or first > GOAL
            seen = f" (in the browser {r['browser_ms']:.0f})" if "browser_ms" in r else ""
            whole = f", whole {r['processor_ms']:,.0f}" if r["processor_ms"] > 2 * first else ""
            words = f"{r['control']} **{first:,.0f}**{whole}{seen}"
            (beyond if slow else within).append(words)
        rows.append(f"| {name} | {lesson} | {', '.join(within)} | {', '.join(beyond)} |")
    m = report["machine"]
    about = (
        f"Milliseconds of one processor, medians of up to {report['moves']} moves; goal {GOAL}. On "
        f"{m['cores']} cores of {m['processor']}, while {m['busy']:.0f} processes wanted the cores "
        f"on average, {m['date']}: `{report['command']}`."
    )
    return "\n".join([*rows, "", about])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=20, help="of each control")
    parser.add_argument("--browser", type=int, default=0, help="moves of each slider in a browser")
    options = parser.parse_args()
    results = in_kernel(options.moves)
    if options.browser:
        look(results, options.browser)
    about = machine() | {"busy": os.getloadavg()[2]}
    command = f"python benchmarks/explorers.py --moves {options.moves}"
    command += f" --browser {options.browser}" if options.browser else ""
    report = {"command": command, "moves": options.moves, "machine": about, "results": results}
    write(HERE.parent / "results" / "explorers.json", report)
    put_into(HERE.with_name("README.md"), "explorers", table(report))


def look(results: list[dict], moves: int) -> None:
    """Add to each slider's row how long its picture takes in a browser."""
    with in_lab.lab_and_browser() as (lab, browser):
        for name, (_, source) in LESSONS.items():
            rows = {row["label"]: row for row in results if row["explorer"] == name}
            taken = in_browser(browser, lab, source, moves)
            print(name, taken, flush=True)
            for label, milliseconds in taken.items():
                rows[label]["browser_ms"] = milliseconds


if __name__ == "__main__":
    main()
