"""The runner on tiny lessons made for the purpose: it sees every way to fail, and says where."""

import json
import sys

import nbformat
import pytest

from scdlab import lessons
from scdlab.lessons import runner

PARAMETERS = 'PROFILE = "quick"\nSEED = 0\nDATA = None'


@pytest.fixture
def lesson(tmp_path):
    """Write a lesson of the given code cells; return a function that runs it."""

    def write(*cells, number=0, name="tiny"):
        code = [nbformat.v4.new_code_cell(source) for source in cells]
        first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        title = nbformat.v4.new_markdown_cell("# Tiny")
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        nbformat.write(
            nbformat.v4.new_notebook(cells=[title, first, *code]),
            folder / f"{number:02d}_{name}.ipynb",
        )

        def run(numbers=None, **options):
            return lessons.run(numbers, out=tmp_path / "out", folder=folder, **options)

        return run

    return write


SLIDER = "import ipywidgets as w\nslider = w.IntSlider(max=9, description='k')\n"
FAIL = "def react(change):\n    raise KeyError('broken callback')\n"
FROM_THE_BROWSER = """
slider.observe(react, 'value')
data = {'method': 'update', 'state': {'value': 5}}
message = {'content': {'comm_id': slider.comm.comm_id, 'data': data}, 'buffers': []}
get_ipython().kernel.comm_manager.comm_msg(None, None, message)
slider.unobserve_all()
"""
FAILURES = {
    "a cell": ("1 / 0", "ZeroDivisionError: division by zero", 3),
    "interact, in an Output widget": (
        "import ipywidgets as w\n"
        "def f(k):\n"
        "    return 1 / k\n"
        "w.interact(f, k=w.IntSlider(value=0, max=9));",
        "ZeroDivisionError",
        3,
    ),
    "a change made from Python": (
        SLIDER + FAIL + "slider.observe(react, 'value')\nslider.value = 3",
        "KeyError",
        3,
    ),
    "a change made in the browser": (
        SLIDER + FAIL + FROM_THE_BROWSER,
        "KeyError: 'broken callback'",
        3,
    ),
    "a change that no cell makes": (
        SLIDER + FAIL + "slider.observe(react, 'value')\nslider",
        "input was moved",
        None,
    ),
    "a slider of powers": (
        SLIDER.replace("IntSlider(max=9", "FloatLogSlider(0.04, min=-3, max=0")
        + FAIL
        + "slider.observe(react, 'value')\nslider",
        "input was moved",
        None,
    ),
    "a button": (
        "import ipywidgets as w\nb = w.Button()\nb.on_click(lambda b: 1 / 0)\nb.click()",
        "ZeroDivisionError",
        3,
    ),
    "a thread": (
        "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()",
        "ZeroDivisionError: division by zero",
        3,
    ),
    "the kernel": ("import os\nos._exit(1)", "kernel died", 3),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_seen_and_told(lesson, tmp_path, kind):
    code, error, cell = FAILURES[kind]
    (result,) = lesson(code, "print('later')")()
    assert not result.ok and result.status == "failed"
    assert error in result.error and "\n" not in result.error
    assert result.cell == cell, result
    page = result.page.read_text(encoding="utf-8")
    assert "This run failed" in page and result.error.split(":")[0] in page
    executed = nbformat.read(result.notebook, as_version=4)
    nbformat.validate(executed)
    assert "This run failed" in executed.cells[0].source
    assert not [c for c in executed.cells if "_move_inputs" in c.source]
    summary = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert summary["lessons"]["00_tiny"]["error"] == result.error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "00_tiny.html",
        "00_tiny.ipynb",
        "metrics.json",
    ]


GOOD = """
from scdlab.lessons import display_metrics
import sys
slider_values = []
display_metrics(seed=SEED, quick=PROFILE == "quick", mae_eV=0.25)
print(sys.executable)
"""
MOVED = SLIDER + "slider.observe(lambda change: slider_values.append(change.new), 'value')\nslider"


def test_a_good_lesson(lesson, tmp_path, monkeypatch):
    impostor = tmp_path / "jupyter" / "kernels" / "python3"  # another kernel under the same name
    impostor.mkdir(parents=True)
    spec = {
        "argv": ["no-such-program", "{connection_file}"],
        "display_name": "impostor",
        "language": "python",
    }
    (impostor / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    (result,) = lesson(GOOD, MOVED)(seed=7)
    assert result.ok, result
    assert result.metrics == {"seed": 7, "quick": True, "mae_eV": 0.25}
    executed = nbformat.read(result.notebook, as_version=4)
    printed = "".join(
        o.text for c in executed.cells for o in c.get("outputs", ()) if o.output_type == "stream"
    )
    assert printed.strip() == sys.executable
    summary = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert summary["profile"] == "quick"
    assert summary["lessons"]["00_tiny"]["metrics"] == result.metrics
    assert summary["lessons"]["00_tiny"]["status"] == "ok"


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(600)",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_a_lesson_that_does_not_end_is_ended(lesson, code):
    run = lesson(code)
    lesson("pass", number=1, name="next")
    first, second = run(timeout=8)
    assert first.cell == 3 and "time limit of 8 s" in first.error
    assert second.ok  # a failure does not stop the others


def test_an_error_that_the_lesson_shows_on_purpose_is_none(lesson, tmp_path):
    run = lesson("1 / 0")
    path = tmp_path / "notebooks" / "00_tiny.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    (result,) = run()
    assert result.ok, result


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbers": 7}, "no lesson 7: the lessons are 00, 01"),
        ({"numbers": ["x"]}, "no lesson x: the lessons are 00, 01"),
        ({"profile": "fast"}, "no profile 'fast': choose from quick, full"),
        (
            {"parameters": {"STEPS": 3}},
            "00_tiny has no parameter STEPS: its parameters are PROFILE, SEED, DATA",
        ),
        ({"device": "cpu"}, "no parameter DEVICE"),
        ({"timeout": 0}, "time limit must be a positive"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(lesson, tmp_path, options, message):
    run = lesson("pass")
    lesson("pass", number=1)
    with pytest.raises(ValueError, match=message):
        run(**options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("numbers", "chosen"),
    [
        (None, ["00_a", "02_b", "02b_c"]),
        (2, ["02_b"]),
        ("02", ["02_b"]),
        ("2b", ["02b_c"]),
        (["02b", 0], ["02b_c", "00_a"]),
        (["02b", "2b"], ["02b_c"]),
    ],
)
def test_a_lesson_that_goes_on_from_another_has_its_number_and_a_letter(tmp_path, numbers, chosen):
    for name in ("00_a", "02_b", "02b_c", "notes", "2_d"):
        (tmp_path / f"{name}.ipynb").touch()
    found = runner.choose(numbers, lessons.list_lessons(tmp_path))
    assert [path.stem for path in found] == chosen


def test_the_kit_has_lessons_in_order():
    names = [path.name for path in lessons.list_lessons()]
    assert names[0] == "00_start_here.ipynb"
    assert names == sorted(names)


def test_links_to_the_glossary_lead_to_its_page(lesson, tmp_path):
    run = lesson("print(1)")
    folder = tmp_path / "notebooks"
    (folder / "glossary.md").write_text("# Glossary\n\n### GFN2-xTB\n\nFast: $E$.\n", "utf-8")
    path = next(folder.glob("*.ipynb"))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "# Tiny\n\nBy [GFN2-xTB](glossary.md#GFN2-xTB)."
    nbformat.write(notebook, path)
    (result,) = run()
    assert 'href="glossary.html#GFN2-xTB"' in result.page.read_text(encoding="utf-8")
    page = (tmp_path / "out" / "glossary.html").read_text(encoding="utf-8")
    assert 'id="GFN2-xTB"' in page and "<math" in page and "<title>Glossary</title>" in page
