"""Lesson 06 in a real browser: Run All; every control of the bench, at two widths; files that are
saved, bad input, and a kernel that has stopped."""

import json
import statistics

import ase.io
import pytest
from ase.build import molecule
from test_lab import ASK, CODE_CELLS, RAN, is_local
from test_molecule_view import put_notebook

LESSON = "06_your_molecule"
VANILLIN = "COc1cc(C=O)ccc1O"
CELL = f"""from scdlab import explore
bench = explore.Bench({VANILLIN!r}, points=60)
bench"""
READY = """() => { const context = window.jupyterapp?.shell.currentWidget?.context;
    return context?.path == 'bench.ipynb'
        && context.sessionContext.session?.kernel?.status == 'idle'; }"""
# tab -> its controls: what stands beside them, and their kind
CONTROLS = {
    "forces": [
        ("frame", "slider"),
        ("atom", "slider"),
        ("degree", "slider"),
        ("model", "menu"),
        ("predicted − true", "box"),  # before the next, which switches it off
        ("corrupt", "box"),
        ("σ (Å)", "slider"),
        ("ratio", "slider"),
        ("seed", "slider"),
    ],
    "seen": [("model", "menu")],
    "noise": [("denoiser", "menu"), ("σ (Å)", "slider"), ("seed", "slider"), ("draws", "menu")],
    "map": [("model", "menu"), ("color", "menu"), ("neighbor", "slider")],
    "properties": [("model", "menu"), ("inside", "slider")],
    "symmetry": [("rotation (°)", "slider")],
    "motion": [("motion", "menu"), ("frame", "slider"), ("model", "menu")],
}
KERNEL = """p = bench.panel({tab!r}); p = getattr(p, 'explorer', p)
view = getattr(p, 'view', None)
print(hash((p.key(), )), hash((p.drawing.value, p.words.value, str(view and view.scene))))"""
PAGE = """cell => [...cell.querySelectorAll('.jp-OutputArea svg, .scdlab-view, table')]
    .map(e => e.tagName == 'svg' ? e.outerHTML : e.textContent).join()"""
# what the kernel computes for a move of a slider, without anybody else's share of the processor
PROCESSOR = """import time
bench.source.choose('CC(=O)Nc1ccc(O)cc1')
p = bench.panel('noise'); p.draws = 'one'; q = bench.panel('seen'); m = bench.panel('map')
spent = []
for k in range(9):
    for change in (lambda: setattr(p, 'sigma', 0.02 + 0.004 * k),
                   lambda: setattr(m, 'neighbor', 2 + k % 8)):
        start = time.process_time(); change(); spent.append(time.process_time() - start)
print(len(bench.atoms), *spent)"""

TIMED = """cell => { window.took = []; let pressed = null;
    cell.addEventListener('keydown', () => { pressed = performance.now(); }, true);
    new MutationObserver(changes => {
        const drawn = changes.some(c => c.target.closest?.('.widget-html-content')
            && [...c.addedNodes].some(n => n.querySelector?.('svg') || n.nodeName == 'svg'));
        if (drawn && pressed !== null) { took.push(performance.now() - pressed); pressed = null; }
    }).observe(cell, { subtree: true, childList: true }); }"""


@pytest.fixture(scope="module")
def bench(window, lab):
    """A bench with few molecules on its maps, in a notebook of its own; the page and the cell."""
    page = window
    page.goto(put_notebook(lab, "bench.ipynb", CELL))
    page.wait_for_function(READY)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(RAN, timeout=600_000)
    cell = page.locator(".jp-CodeCell").first
    cell.locator(".widget-toggle-buttons").wait_for()
    yield page, cell
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def move(cell, label: str, kind: str, times: int = 2) -> None:
    """Change a control by its keys."""
    if kind == "box":
        cell.locator(".widget-checkbox", has_text=label).locator("input").first.press("Space")
        return
    name = {"slider": ".widget-slider", "menu": ".widget-dropdown"}[kind]
    lines = cell.locator(name, has=cell.page.get_by_text(label, exact=True))
    line = lines.locator("visible=true").first
    inner = line.locator(".noUi-handle" if kind == "slider" else "select")
    inner.focus()
    if kind == "menu":
        inner.press("ArrowUp" if inner.evaluate("e => e.selectedIndex") else "ArrowDown")
        return
    for _ in range(times):
        inner.press("ArrowRight")


def look_at(page, cell, tab: str) -> None:
    """Choose a tab by its keys, and wait for its panel."""
    words = page.evaluate(ASK, f"from scdlab.explore.bench import TABS; print(TABS[{tab!r}])")
    button = cell.locator(".widget-toggle-buttons button", has_text=words).first
    button.focus()
    button.press("Enter")
    page.wait_for_function(
        "([ask, tab]) => eval(ask)('print(bench.tab)').then(now => now == tab)", arg=[ASK, tab]
    )
    page.wait_for_timeout(300)


@pytest.mark.browser
@pytest.mark.slow
def test_run_all(page, lab):
    page.goto(lab.format(f"{LESSON}.ipynb"))
    page.wait_for_function(READY.replace("bench.ipynb", f"{LESSON}.ipynb"))
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(RAN, timeout=600_000)
    cells = page.evaluate(CODE_CELLS)
    assert len(cells) > 20
    for each in cells:
        for output in each["outputs"]:
            assert output["type"] != "error", (each["source"], output["text"])
            for trouble in ("Traceback", "Warning"):
                assert trouble not in output["text"], (each["source"], output["text"])
    assert [address for address in page.asked if not is_local(address)] == []
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


@pytest.mark.browser
@pytest.mark.slow
def test_every_control(bench, screens):
    page, cell = bench
    for tab, controls in CONTROLS.items():
        look_at(page, cell, tab)
        for label, kind in controls:
            before = page.evaluate(ASK, KERNEL.format(tab=tab)).split()
            drawn = cell.evaluate(PAGE)
            move(cell, label, kind)
            for _ in range(120):
                page.wait_for_timeout(250)
                after = page.evaluate(ASK, KERNEL.format(tab=tab)).split()
                now = cell.evaluate(PAGE)
                if after[0] != before[0] and after[1] != before[1] and now != drawn:
                    break
            assert after[0] != before[0], (tab, label, "changes no state")
            assert after[1] != before[1], (tab, label, "changes no picture")
            assert now != drawn, (tab, label, "changes nothing on the page")
        for width in (1280, 800):
            page.set_viewport_size({"width": width, "height": 1000})
            page.wait_for_timeout(400)
            page.screenshot(path=screens / f"{LESSON}_{tab}_{width}.png")
        page.set_viewport_size({"width": 1280, "height": 1000})
    assert [address for address in page.asked if not is_local(address)] == []

    atoms, *spent = map(float, page.evaluate(ASK, PROCESSOR).split())
    assert atoms == 20
    look_at(page, cell, "noise")
    cell.evaluate(TIMED)
    for k in range(1, 10):
        move(cell, "seed", "slider", times=1)
        page.wait_for_function("k => took.length >= k", arg=k)
    took = page.evaluate("took")
    (screens / f"{LESSON}_milliseconds.json").write_text(
        json.dumps(
            {
                "processor": {"median": 1e3 * statistics.median(spent)},
                "from key to picture": {"median": statistics.median(took), "all": took},
            }
        )
    )
    assert statistics.median(spent) < 0.15


@pytest.mark.browser
@pytest.mark.slow
def test_files_bad_input_and_a_kernel_that_stops(bench, tmp_path):
    page, cell = bench
    page.evaluate(ASK, f"bench.source.choose({VANILLIN!r})")
    for kind in ("xyz", "csv", "html", "png"):
        with page.expect_download() as saved:
            cell.get_by_role("button", name=f"save {kind}").press("Enter")
        assert saved.value.suggested_filename.endswith(f".{kind}")
        content = saved.value.path().read_bytes()
        start = {"xyz": b"19\n", "csv": b"atom,", "html": b"<!doctype", "png": b"\x89PNG"}[kind]
        assert content.startswith(start) and len(content) > 500

    said = "print(bench.source.message.value)"
    for typed, words in (("C1CC", "not a SMILES"), ("C" * 100, "302 atoms")):
        box = cell.locator(".widget-text input").first
        box.fill(typed)
        box.press("Enter")
        page.wait_for_function(
            "([ask, code, words]) => eval(ask)(code).then(now => now.includes(words))",
            arg=[ASK, said, words],
        )
        assert page.evaluate(ASK, "print(len(bench.atoms))") == "19"  # what was shown stays
    box.fill("CSC")
    box.press("Enter")
    cell.get_by_text("cannot predict anything for S").first.wait_for()

    frames = tmp_path / "three.extxyz"
    ase.io.write(frames, [molecule(name) for name in ("H2O", "CH4", "NH3")])
    with page.expect_file_chooser() as chooser:
        cell.get_by_role("button", name="choose a file").press("Enter")
    chooser.value.set_files(frames)
    cell.get_by_text("; 3 frames").wait_for()
    move(cell, "frame", "slider", times=2)
    page.wait_for_function(
        "ask => eval(ask)('print(bench.atoms.symbols)').then(now => now == 'NH3')", arg=ASK
    )

    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown()")
    cell.get_by_role("button", name="save xyz").press("Enter")
    cell.get_by_text("restart it and run all cells again").wait_for()
