"""The models in JavaScript: how often a second they answer in a page that is opened from disk.

A real Chromium on one core, without a network. Answers are compared with torch in double precision
before anything is timed, to 1e-5. Each case is timed in runs of ten answers; quoted are the median
over the runs, and the fastest, which other processes disturbed least. "First" is the first answer
after the weights are decoded: the browser has compiled nothing yet, and tables are made. The live
page is opened anew for each run, in a fresh profile: how long after its opening the scene that was
computed before stands there, and how long until a model has answered.

    python benchmarks/web.py     half a minute; writes results/web.json and its table in
                                 benchmarks/README.md
    python benchmarks/web.py --page     the live page alone, beside what was timed before
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from harness import machine, put_into, write

HERE = Path(__file__).resolve()
GOALS = {"SchNet 64 × 3, exact filters": 30, "SchNet 64 × 3, filter tables": 100}
GOAL_FIRST_MS = 1000
PAGES = 7  # openings of the live page
TABLE = 512
TIME = """([name, structure, options, cells, runs, size]) => {
    const model = models[name];
    model.filterTableSize = cells;
    const s = structureOf(structure);
    const start = performance.now();
    model.forward(s, options);
    const times = [performance.now() - start];
    for (let run = 0; run < runs; run++) {
        const from = performance.now();
        for (let k = 0; k < size; k++) model.forward(s, options);
        times.push((performance.now() - from) / size); }
    return times; }"""


def cases() -> dict:
    """What is timed, by name: the model's name in the page, options of a pass, cells of tables."""
    forces = {"forces": True}
    return {
        "SchNet 64 × 3, exact filters": ("schnet", forces, None),
        "SchNet 64 × 3, filter tables": ("schnet", forces, TABLE),
        "CT 64 × 3, exact filters": ("ct", {}, None),
        "CT 64 × 3, filter tables": ("ct", {}, TABLE),
        "PET 64 × 1": ("pet", {}, None),
        "PET 64 × 1 with ECSE": ("ecse", {}, None),
    }


OUTPUTS = {
    "schnet": ("energy", "forces"),
    "ct": ("noise", "embedding"),
    "pet": ("energy",),
    "ecse": ("energy",),
}


def largest_difference(web, name: str, model, atoms, options: dict, cells: int | None) -> float:
    """From torch with exact filters in double precision, relative to the largest number of each
    output. Of energies, what the network adds to those of the elements."""
    from helpers import batch_of
    from web_models import difference

    model = model.double()
    there = model(batch_of(atoms), noise=name == "ct", **options)
    web.run("([name, cells]) => { models[name].filterTableSize = cells; }", name, cells)
    here = web(name, atoms, **options)
    reference = model.energy_head.reference[atoms.numbers].sum().item()
    model.float()
    original = {
        "energy": (there.energy - reference).detach(),
        "forces": there.forces,
        "noise": there.noise,
        "embedding": there.embedding[0],
    }
    here["energy"] = [here["energy"] - reference]
    return max(difference(here[output], original[output]) for output in OUTPUTS[name])


def measure(browser, folder: Path, runs: int) -> list[dict]:
    """All cases, one after another, of aspirin for SchNet and CT and of ethanol for PET."""
    import torch
    from ase.build import molecule
    from helpers import perturbed
    from web_models import WebModels, plain

    import scdlab

    torch.manual_seed(0)
    pet = scdlab.load_pretrained("pet-ethanol")
    models = {
        "schnet": perturbed(scdlab.SchNet(64, 3), 1).eval(),
        "ct": scdlab.load_pretrained("scd-ct"),
        "pet": pet,
        "ecse": scdlab.ECSE(pet).eval(),
    }
    page = browser.new_page()
    page.asked = []
    web = WebModels(page, folder, "float32", **models)
    aspirin = scdlab.load_aspirin().to_ase(0)
    results = []
    for case, (name, options, cells) in cases().items():
        atoms = molecule("CH3CH2OH") if name in ("pet", "ecse") else aspirin
        off = largest_difference(web, name, models[name], atoms, options, cells)
        if not off <= 1e-5:
            raise SystemExit(f"{case} differs from torch by {off:.1e}; nothing was written.")
        fresh = browser.new_page()  # nothing is compiled yet
        fresh.asked = []
        timed = WebModels(fresh, folder, "float32", **models)
        size = 10 if name in ("schnet", "ct") else 2
        first, *times = timed.run(TIME, name, plain(atoms), options, cells, runs, size)
        fresh.close()
        warm = times[2:]
        results.append(
            {
                "case": case,
                "gives": ", ".join(OUTPUTS[name]),
                "atoms": len(atoms),
                "difference": off,
                "first_ms": first,
                "median_ms": statistics.median(warm),
                "fastest_ms": min(warm),
                "runs": len(warm),
            }
        )
        print(results[-1], flush=True)
    page.close()
    return results


def live_page(browser, folder: Path, runs: int) -> dict:
    """Times in ms from the opening of the live page, and how long its thread worked till then,
    since the process of the tab began; medians over fresh profiles."""
    from scdlab.site import write_live

    path = write_live(folder / "live.html")
    times: dict[str, list[float]] = {"scene": [], "answer": []}
    worked: dict[str, list[float]] = {"scene": [], "answer": []}
    for _ in range(runs):
        context = browser.new_context(offline=True)
        page = context.new_page()
        browser.start_tracing(page=page, categories=["blink.user_timing"])
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        marks = {each["name"]: each for each in json.loads(browser.stop_tracing())["traceEvents"]}
        for mark, found in times.items():
            script = "(mark) => performance.getEntriesByName(mark)[0].startTime"
            found.append(page.evaluate(script, mark))
            worked[mark].append(marks[mark]["tts"] / 1e3)  # µs of its thread's processor time
        context.close()
    medians = {f"{mark}_ms": statistics.median(found) for mark, found in times.items()}
    medians |= {f"{mark}_work_ms": statistics.median(found) for mark, found in worked.items()}
    report = medians | {"size_MB": path.stat().st_size / 1e6, "runs": runs}
    print(report, flush=True)
    return report | {"load": os.getloadavg()[0]}


def table(report: dict) -> str:
    """The report as benchmarks/README.md shows it."""
    rows = [
        "| model | answers with | atoms | a second | fastest run | first answer | from torch |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for r in report["results"]:
        goal = GOALS.get(r["case"])
        aim = f" (goal {goal})" if goal else ""
        rows.append(
            f"| {r['case']} | {r['gives']} | {r['atoms']} | **{1000 / r['median_ms']:,.0f}**{aim} "
            f"| {1000 / r['fastest_ms']:,.0f} | {r['first_ms']:.0f} ms | {r['difference']:.0e} |"
        )
    m = report["machine"]
    about = (
        f"Medians of {report['results'][0]['runs']} runs, float32, Chromium {m['chromium']} on one "
        f"of {m['cores']} cores of {m['processor']}, {m['date']}, while {m['load']:.1f} processes "
        f"wanted the cores on average: `{report['command']}`."
    )
    live = report["live_page"]
    opening = (
        f"The live page ({live['size_MB']:.1f} MB, one file): its first scene stands "
        f"**{live['scene_ms']:.0f} ms** after opening (goal {GOAL_FIRST_MS}), and a model has "
        f"answered after {live['answer_ms']:.0f} ms. Its thread worked for "
        f"{live['scene_work_ms']:.0f} ms and {live['answer_work_ms']:.0f} ms of them and waited "
        f"for a core in the others. Medians of {live['runs']} fresh profiles, while "
        f"{live['load']:.1f} processes wanted the cores: `python benchmarks/web.py --page`."
    )
    return "\n".join([*rows, "", opening, "", about])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="of ten answers each")
    parser.add_argument("--page", action="store_true", help="time the live page alone")
    options = parser.parse_args()
    root = HERE.parents[1]
    sys.path[:0] = [str(root / "tests" / "browser"), str(root / "tests"), str(root / "tools")]
    from conftest import launched

    path = HERE.parent / "results" / "web.json"
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        if options.page:
            report = json.loads(path.read_text(encoding="utf-8"))
        else:
            report = {
                "command": f"python benchmarks/web.py --runs {options.runs}",
                "goals_per_second": GOALS,
                "results": measure(browser, Path(folder), options.runs),
            }
            load = os.getloadavg()[0]
            report["machine"] = machine() | {"chromium": browser.version, "load": load}
        report["live_page"] = live_page(browser, Path(folder), PAGES)
    write(path, report)
    put_into(HERE.with_name("README.md"), "web", table(report))


if __name__ == "__main__":
    main()
