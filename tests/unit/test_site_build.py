"""The static site: pages from executed lessons, and what is refused in a sentence."""

import html
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import tiny_site
from typer.testing import CliRunner

from scdlab import claims, cli
from scdlab.claims.curves import Arm, Curves
from scdlab.claims.show import pending
from scdlab.claims.withdrawn import withdrawn
from scdlab.explore.bench import TABS
from scdlab.explore.words import STRUCTURE
from scdlab.lessons.failures import banner
from scdlab.lessons.html import WIDGET
from scdlab.site import build_site, lesson_page, outputs
from scdlab.site.claim_pages import claim_pages
from scdlab.site.course import BENCH, COURSE, EXPLORERS, PANELS, STOPS, TOUR
from scdlab.site.executed import Executed
from scdlab.site.reference import Reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    return tiny_site.write_lessons(tmp_path_factory.mktemp("lessons"))


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    return tiny_site.write_executed(tmp_path_factory.mktemp("executed"))


@pytest.fixture(scope="module")
def built(lessons, executed, tmp_path_factory):
    said = []
    out = tmp_path_factory.mktemp("site") / "out"
    build_site(out, executed=executed, folder=lessons, may_run=False, say=said.append)
    assert str(out) in said[-1]
    return out


def page(built: Path, name: str) -> str:
    return (built / name).read_text(encoding="utf-8")


class Links(HTMLParser):
    """What a page links to, loads and names."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif given.get("src") or given.get("href"):
            self.loads.append(given.get("src") or given["href"])


def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(built):
    pages = {path.name: Links(page(built, path.name)) for path in built.glob("*.html")}
    assert {"index.html", "00_tiny.html", "02_tiny.html", "glossary.html"} <= pages.keys()
    for name, found in pages.items():
        assert len(set(found.ids)) == len(found.ids), name
        for load in found.loads:
            assert load.startswith("data:") or (built / load).is_file(), (name, load)
        for link in found.links:
            target, _, anchor = link.partition("#")
            if re.match(r"https?:", link):
                continue
            other = pages[target or name]
            if target == "live.html":  # the scene is named, no place on the page
                assert re.fullmatch(r"(stop=[1-9](&from=pasted&xyz=[^&]+)?)?", anchor), (name, link)
                continue
            assert not anchor or unquote(anchor) in other.ids, (name, link)


def test_libraries_are_there_once_and_pages_are_small(built):
    for name in ("plotly.js", "3Dmol.js", "view.js", "site.js", "site.css", "search-index.js"):
        assert (built / "assets" / name).is_file()
    pages = [path for path in built.glob("*.html") if path.name != "live.html"]
    for path in pages:
        assert path.stat().st_size < 3e6
    whole = "".join(page(built, path.name) for path in pages)
    assert "plotly.js v" not in whole and "http-equiv" not in whole


def test_a_lesson_shows_what_it_holds(built):
    first = page(built, "00_tiny.html")
    assert "<math" in first and "$" not in re.sub(r"<script.*?</script>", "", first, flags=re.S)
    assert 'href="glossary.html#atom"' in first and 'href="02_tiny.html"' in first
    assert 'aria-label="Two bars: b is twice as high as a."' in first
    assert 'aria-current="page"' not in first and 'rel="next" href="02_tiny.html"' in first
    assert 'class="paper view"' in first and "data-right" in first
    assert "injected" not in first and "PROFILE" not in first
    second = page(built, "02_tiny.html")
    assert "Code, 20 lines" in second and "<summary>Solution</summary>" in second
    assert "1 &lt; 2" in second and "How large is &lt;σ&gt;?" in second
    assert 'rel="prev" href="00_tiny.html"' in second
    assert 'href="live.html#stop=4">Try it live</a> <span class="quiet">Stop 4, noise' in second
    assert '<button type="button" data-live="stop=4" data-title="Noise, live" hidden>' in second
    assert 'alt="' in second and "its cells took\n    2 s" in second


def test_figures_and_views_travel_as_data(built):
    first = page(built, "00_tiny.html")
    figure, scene = map(
        json.loads, re.findall(r'<script type="application/json">(.*?)</script>', first)
    )
    assert figure["data"][0]["type"] == "bar"
    assert "width" not in figure["layout"]  # the page decides
    assert len(scene["frame"]["z"]) == 9


def test_panels_beside_one_another_are_known():
    below = {"xaxis": {"title": {"text": "r"}}, "yaxis2": {"domain": [0.5, 1]}}
    beside = {"scene": {"domain": {"x": [0, 0.4]}}, "xaxis": {"domain": [0.5, 1]}}
    assert not outputs.figure_part({"data": [], "layout": below}, "").panels
    assert outputs.figure_part({"data": [], "layout": beside}, "").panels


def test_the_search_knows_every_section(built):
    text = (built / "assets" / "search-index.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("globalThis.scdlabIndex = ").rstrip().removesuffix(";"))
    by_title = {entry["title"]: entry for entry in index}
    assert by_title["Zirconium appears here"]["address"] == "02_tiny.html#Zirconium-appears-here"
    assert "zirconium" in by_title["Zirconium appears here"]["text"]
    assert by_title["kcal/mol"]["address"] == "glossary.html#kcal/mol"
    assert by_title["kcal/mol"]["kind"] == "glossary"
    assert all("<" not in entry["text"] for entry in index)


def test_take_aways_are_on_one_page(built):
    text = page(built, "take-aways.html")
    assert "Forces are slopes." in text and "Noise can be undone." in text
    assert 'href="00_tiny.html#What-to-take-away"' in text


def test_every_claim_has_a_page_with_its_rule_and_its_record(built):
    table = page(built, "claims.html")
    for claim in claims.claims():
        text = html.unescape(page(built, f"claim-{claim.id}.html"))
        assert f'href="claim-{claim.id}.html"' in table
        assert claim.title in text and claim.rule in text
        assert claim.source[1:].rstrip(".") in text and claim.paper[1:].rstrip(".") in text
        record = claims.load_record(claim.id)
        if record is None:
            assert "to be measured" in text and pending()[claim.id] in text
            continue
        assert record.verdict in text and record.commit in text and record.command in text
        for name in claim.quantities:
            assert record.text(name) in text
        for setting, value in record.settings.items():
            assert f"<code>{setting}</code>" in text and f"<code>{json.dumps(value)}</code>" in text
    assert len(pending()) == table.count('class="label waiting"')


def test_withdrawn_records_are_kept_with_their_reason(built):
    everything = {each.record.claim: each for each in withdrawn()}
    assert everything
    for name, each in everything.items():
        path = built / f"claim-{name}.html"
        text = path.read_text(encoding="utf-8") if path.is_file() else page(built, "claims.html")
        assert each.reason in html.unescape(text) and f"withdrawn {each.date[:10]}" in text


def test_curves_of_a_claim_are_a_figure(monkeypatch):
    claim = claims.claims()[0]
    arm = Arm("told", True, [[1, 2], [1, 2]], [[3.0, 2.0], [4.0, 1.0]])
    kept = Curves(claim.id, "night", "meV/Å", [0, 1], {"a": arm})
    monkeypatch.setattr(
        claims.curves, "load_curves", lambda name, profile: kept if name == claim.id else None
    )
    shown = {each.claim.id: each.curves for each in claim_pages()}
    figure = json.loads(shown.pop(claim.id).data)
    assert len(figure["data"]) == 3 and not any(shown.values())


def test_a_site_replaces_a_site_and_nothing_else(built, lessons, executed, tmp_path):
    (built / "old.html").write_text("old", encoding="utf-8")
    build_site(built, executed=executed, folder=lessons, may_run=False, say=str)
    assert not (built / "old.html").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="must be a new folder, an empty one or an earlier site"):
        build_site(other, executed=executed, folder=lessons, may_run=False, say=str)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_written_is_said(lessons, executed, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError):
        build_site(tmp_path / "file" / "site", executed=executed, folder=lessons, say=str)


def test_missing_and_changed_lessons_are_named(lessons, executed, tmp_path):
    def refused(done):
        with pytest.raises(ValueError) as error:
            build_site(
                tmp_path / "out",
                executed=done,
                folder=lessons,
                may_run=False,
                kept=tmp_path / "kept",
                say=str,
            )
        assert not (tmp_path / "out").exists()
        return str(error.value)

    empty = tmp_path / "empty"
    assert "must be a folder of executed lessons" in refused(empty)
    empty.mkdir()
    assert "matches the source of lesson 00 02" in refused(empty)
    assert "of lesson 00 02" in refused(tiny_site.write_executed(tmp_path / "full", "full"))
    changed = tiny_site.write_executed(tmp_path / "changed")
    notebook = nbformat.read(changed / "02_tiny.ipynb", 4)
    notebook.cells[-1].source += "  # changed"
    nbformat.write(notebook, changed / "02_tiny.ipynb")
    assert "of lesson 02 in" in refused(changed)
    (changed / "00_tiny.ipynb").write_text("no json", encoding="utf-8")
    assert "00_tiny.ipynb" in refused(changed)


def test_a_lesson_that_failed_is_named(lessons, tmp_path):
    failed = tiny_site.write_executed(tmp_path / "failed")
    notebook = nbformat.read(failed / "02_tiny.ipynb", 4)
    notebook.cells.insert(0, banner(3, "ValueError: too hot"))
    nbformat.write(notebook, failed / "02_tiny.ipynb")
    with pytest.raises(
        ValueError, match=r"The run of lesson 02 in .* failed \(ValueError: too hot"
    ):
        build_site(tmp_path / "out", executed=failed, folder=lessons, say=str)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "nowhere"], "nowhere must be a folder of executed lessons"),
        (["--docs", "nowhere"], "nowhere must hold the reference as `make docs` builds it"),
        (["--out", "file/site", "--no-run"], "file"),
        (["--out", ".", "--no-run"], "must be a new folder"),
    ],
)
def test_the_command_says_in_a_sentence_what_it_cannot_do(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["site", *words])
    assert result.exit_code == 1 and said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_reference_is_copied_and_its_names_are_linked(lessons, executed, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    listed = (
        "scdlab.explore.view.view_molecule py:function 1 reference/explore.html#$ -\n"
        "scdlab.training.fit.fit py:function 1 reference/training.html#$ -\n"
    )
    head = b"# Sphinx inventory version 2\n# Project: scdlab\n# Version: 0\n# zlib\n"
    (docs / "objects.inv").write_bytes(head + zlib.compress(listed.encode()))
    (docs / "index.html").write_text("<title>Reference</title>", encoding="utf-8")
    found = Reference(docs)
    code = "view = explore.view_molecule(x)\nscdlab.fit(model)\nscdlab.load_qm9()\nfit(y)"
    assert found.names_in(code) == [
        ("explore.view_molecule", "reference/explore.html#scdlab.explore.view.view_molecule"),
        ("scdlab.fit", "reference/training.html#scdlab.training.fit.fit"),
    ]
    out = build_site(
        tmp_path / "out", executed=executed, docs=docs, folder=lessons, may_run=False, say=str
    )
    assert (out / "docs" / "index.html").is_file()
    assert 'href="docs/index.html"' in page(out, "index.html")


@pytest.mark.slow
def test_missing_lessons_are_run_once_and_kept(tmp_path):
    folder = tmp_path / "lessons"
    folder.mkdir()
    parameters = nbformat.v4.new_code_cell('PROFILE = "quick"')
    parameters.metadata["tags"] = ["parameters"]
    cells = [nbformat.v4.new_markdown_cell("# 00 · One"), parameters]
    cells.append(nbformat.v4.new_code_cell("print(6 * 7)"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "00_one.ipynb")
    said = []
    for _ in range(2):
        build_site(tmp_path / "out", folder=folder, kept=tmp_path / "kept", say=said.append)
        assert ">42\n</pre>" in page(tmp_path / "out", "00_one.html")
    assert [words for words in said if words.startswith("running lesson")] == [
        "running lesson 00, 1 of 1: about 20 s, 20 s for all that are left"
    ]
    notebook = nbformat.read(folder / "00_one.ipynb", 4)
    notebook.cells[-1].source = "1 / 0"
    nbformat.write(notebook, folder / "00_one.ipynb")
    with pytest.raises(ValueError, match=r"Lesson 00 failed in cell \[\d\] \(ZeroDivisionError"):
        build_site(tmp_path / "out", folder=folder, kept=tmp_path / "kept", say=said.append)
    assert ">42\n</pre>" in page(tmp_path / "out", "00_one.html")  # the earlier site stays


def test_the_course_is_that_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d[a-z]?) \| \*\*.*?\*\*: (.*) \| (.*) \|$", readme, re.MULTILINE)
    assert len(rows) >= 7
    for number, line, time in rows:
        assert (COURSE[number].line, COURSE[number].time) == (line, time)
    sources = sorted((ROOT / "notebooks" / "src").glob("[0-9]*.py"))
    assert [path.name.partition("_")[0] for path in sources] == list(COURSE)


def test_each_lesson_builds_on_earlier_ones_and_stops_are_there():
    before: list[str] = []
    for number, entry in COURSE.items():
        assert set(entry.needs) <= set(before)
        assert all(1 <= each <= len(STOPS) for each in entry.stops)
        before.append(number)
    numbers = {each.number for each in STOPS}
    assert {each for entry in COURSE.values() for each in entry.stops} == numbers == {*TOUR, BENCH}
    assert {*EXPLORERS.values(), *PANELS.values()} <= numbers
    assert PANELS.keys() == TABS.keys() - {"properties"}


def test_panels_of_a_bench_are_tried_with_its_structure():
    structure = "from=pasted&xyz=O,0,0,0"
    shown = {"image/svg+xml": "<svg/>", WIDGET: {"model_id": "gone"}, STRUCTURE: structure}
    sources = {
        'explore.described(\n    bench.section("noise"),\n    words,\n)': f"stop=4&{structure}",
        'bench.section("symmetry")': "stop=8",  # has a molecule of its own
        'bench.section("properties")': None,
        "bench.source": None,
        "bench": f"stop=9&{structure}",
    }
    cells = [nbformat.v4.new_code_cell("bench = explore.Bench(DATA)")]
    for source in sources:
        output = nbformat.v4.new_output("display_data", shown)
        cells.append(nbformat.v4.new_code_cell(source, outputs=[output]))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# 06 · Yours"), *cells]
    )
    written = lesson_page.lesson_page(Executed("06", notebook, {}), "06_yours")
    stops = [part.stop for block in written.blocks for part in block.parts]
    assert [each and each.scene for each in stops] == list(sources.values())
    assert stops[-1].name == "free play" and stops[0].name == "stop 4, noise"


def test_links_of_lessons_lead_to_pages_of_the_site():
    written = lesson_page.prose("[a](01_schnet.ipynb#b), [c](../docs/guides/live.md)")
    assert 'href="01_schnet.html#b"' in written and 'href="live.html"' in written
