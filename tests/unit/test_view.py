"""The 3-D view's Python half: the scene holds the numbers that were given, and bad input is refused
in one sentence."""

import hashlib
import json
import re
import warnings
import xml.etree.ElementTree as ElementTree

import ase
import ipywidgets as widgets
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from scdlab import AtomStore, analysis
from scdlab.explore import scene as scenes
from scdlab.explore import style, view, view_molecule

ETHANOL = molecule("CH3CH2OH")
FORCES = np.random.default_rng(0).normal(size=(9, 3))


def rows(flat) -> np.ndarray:
    return np.reshape(flat, (-1, 3))


def test_the_scene_holds_the_atoms():
    frame = view_molecule(ETHANOL).scene["frame"]
    assert frame["z"] == ETHANOL.numbers.tolist()
    assert np.allclose(rows(frame["pos"]), ETHANOL.positions, atol=5e-5)
    assert np.array_equal(np.reshape(frame["bonds"], (-1, 2)), analysis.bonds_of(ETHANOL))
    assert set(frame["elements"]) == {"1", "6", "8"}
    assert frame["elements"]["1"]["color"] == style.element_color(1)
    assert frame["cell"] == []


def test_the_scene_holds_the_arrows_on_the_scale_of_the_legend():
    shown = view_molecule(ETHANOL, {"force": {"vectors": FORCES, "unit": "eV/Å"}}, arrow_scale=0.5)
    (kind,) = shown.scene["arrows"]
    assert kind["atoms"] == list(range(9))
    assert np.allclose(rows(kind["start"]), ETHANOL.positions, atol=5e-5)
    assert np.allclose(rows(kind["step"]), 0.5 * FORCES, atol=5e-5)
    assert kind["legend"] == "force (1 Å drawn = 2 eV/Å)"
    assert np.array_equal(shown.arrows["force"]["vectors"], FORCES)  # as given, not as rounded


def test_kinds_of_one_unit_share_a_scale():
    kinds = {
        "force": {"vectors": FORCES, "unit": "eV/Å"},
        "answer": {"vectors": torch.tensor(0.3 * FORCES, requires_grad=True), "unit": "eV/Å"},
        "noise": {"vectors": 0.04 * FORCES, "unit": "Å"},
    }
    shown = view_molecule(ETHANOL, kinds)
    force, answer, noise = shown.scene["arrows"]
    assert np.allclose(rows(answer["step"]), 0.3 * rows(force["step"]), atol=1e-4)
    for kind in (force, noise):
        longest = np.linalg.norm(rows(kind["step"]), axis=1).max()
        assert 0.6 * scenes.LONGEST < longest <= scenes.LONGEST + 1e-3
    told = re.fullmatch(r"noise \(1 Å drawn = ([\d.]+) Å\)", noise["legend"])
    assert np.allclose(rows(noise["step"]) * float(told[1]), 0.04 * FORCES, atol=1e-4)


def test_the_scale_can_be_fixed_for_one_kind_or_within_it():
    kinds = {"a": FORCES, "b": FORCES, "c": {"vectors": FORCES, "scale": 0.1}}
    steps = [
        rows(kind["step"])
        for kind in view_molecule(ETHANOL, kinds, arrow_scale={"b": 0.2}).scene["arrows"]
    ]
    assert np.allclose(steps[1], 0.2 * FORCES, atol=1e-4) and np.allclose(
        steps[2], 0.1 * FORCES, atol=1e-4
    )
    assert np.linalg.norm(steps[0]) > np.linalg.norm(steps[1])


def test_arrows_may_start_elsewhere():
    start = ETHANOL.positions + 1.0
    kind = view_molecule(ETHANOL, {"noise": {"vectors": FORCES, "start": start}}).scene["arrows"][0]
    assert np.allclose(rows(kind["start"]), start, atol=5e-5)


def test_kinds_differ_by_outline_and_by_color():
    kinds = view_molecule(ETHANOL, dict.fromkeys("abcd", FORCES)).scene["arrows"]
    for entry in ("profile", "color"):
        assert len({json.dumps(kind[entry]) for kind in kinds}) == 4
    assert {kind["color"] for kind in kinds} <= set(style.COLORS)
    assert (
        view_molecule(ETHANOL, {"a": {"vectors": FORCES, "color": "#123456"}}).scene["arrows"][0][
            "color"
        ]
        == "#123456"
    )


def test_arrows_that_would_be_dots_are_left_out_and_the_legend_says_so():
    one = np.zeros((9, 3))
    one[4] = [0, 0, 2.0]
    assert view_molecule(ETHANOL, one).scene["arrows"][0]["atoms"] == [4]
    assert view_molecule(ETHANOL, 0 * one).scene["arrows"][0]["legend"] == "arrows: all zero"
    tiny = view_molecule(ETHANOL, one, arrow_scale=1e-3).scene["arrows"][0]
    assert tiny["step"] == [] and "too short to draw" in tiny["legend"]


def test_one_change_is_one_message(monkeypatch):
    shown = view_molecule(ETHANOL, FORCES)
    sent = []
    monkeypatch.setattr(shown.comm, "send", lambda data=None, **_: sent.append(data))
    moved = ETHANOL.copy()
    moved.rattle(0.1)
    shown.show(moved, -FORCES)
    assert [list(message["state"]) for message in sent] == [["scene"]]
    assert len(json.dumps(sent)) < 5_000
    assert shown.atoms == moved and np.array_equal(shown.arrows["arrows"]["vectors"], -FORCES)


def test_show_keeps_what_it_is_not_told():
    shown = view_molecule(ETHANOL, FORCES, title="first", arrow_scale=0.3)
    shown.show(arrows={"other": 2 * FORCES})
    assert shown.scene["title"] == "first" and shown.atoms == ETHANOL
    assert np.allclose(rows(shown.scene["arrows"][0]["step"]), 0.6 * FORCES, atol=1e-4)
    shown.show(title="second")
    assert shown.scene["title"] == "second" and shown.scene["arrows"] == []


def test_what_a_refused_call_leaves():
    shown = view_molecule(ETHANOL, FORCES, title="good")
    before = shown.scene
    for bad in (
        lambda: shown.show(arrows=FORCES[:3], title="bad"),
        lambda: shown.show(ase.Atoms(), title="bad"),
    ):
        with pytest.raises(ValueError):
            bad()
    assert shown.scene == before and shown.atoms == ETHANOL
    shown.show(arrows=FORCES)
    assert shown.scene == before


def test_every_kind_of_structure_is_accepted():
    store = AtomStore.from_ase([ETHANOL, molecule("H2O")])
    batch = store.take([0])
    for same in (
        store[:1],
        store.to_ase(0),
        batch,
        (ETHANOL.numbers, ETHANOL.positions),
        (batch.z, batch.pos),
    ):
        frame = view_molecule(same).scene["frame"]
        assert frame["z"] == ETHANOL.numbers.tolist()
        assert np.allclose(rows(frame["pos"]), ETHANOL.positions, atol=1e-4)


def test_a_cell_is_sent_when_there_is_one():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    assert np.allclose(rows(view_molecule(salt).scene["frame"]["cell"]), salt.cell.array, atol=1e-4)


NAN = ETHANOL.positions * np.nan
WRONG = [
    ((ase.Atoms(),), {}, "no atoms to draw"),
    (((ETHANOL.numbers, NAN),), {}, "position of atom 0 is not a finite number"),
    (((ETHANOL.numbers, ETHANOL.positions[:3]),), {}, r"\[9\] and \[3, 3\]"),
    ((([115], [[0, 0, 0]]),), {}, "no element 115"),
    (("C2H6O",), {}, "got str"),
    ((AtomStore.from_ase([ETHANOL, ETHANOL]),), {}, "store of 2"),
    ((ETHANOL, FORCES[:3]), {}, r"shape \(3, 3\).*shape \(9, 3\)"),
    ((ETHANOL, {"f": np.where(np.eye(9, 3) > 0, np.inf, FORCES)}), {}, "Row 0 of the arrows 'f'"),
    ((ETHANOL, {"f": {"vector": FORCES}}), {}, "'f' has no vectors"),
    ((ETHANOL, {"f": {"vectors": FORCES, "units": "Å"}}), {}, "unknown entry 'units'"),
    ((ETHANOL, {"f": {"vectors": FORCES, "start": FORCES[:1]}}), {}, "starts of the arrows 'f'"),
    ((ETHANOL, dict.fromkeys("abcde", FORCES)), {}, "at most 4 kinds"),
    ((ETHANOL, FORCES), {"arrow_scale": 0}, "positive number of Å per unit, got 0"),
    ((ETHANOL, {"f": FORCES}), {"arrow_scale": {"g": 1}}, r"drawn \(f\), got 'g'"),
    (((np.ones(20_001), np.zeros((20_001, 3))),), {}, "at most 20,000 atoms, got 20,001"),
]


@pytest.mark.parametrize(
    ("arguments", "keywords", "told"), WRONG, ids=[told[:20] for *_, told in WRONG]
)
def test_bad_input_is_refused_in_one_sentence(arguments, keywords, told):
    with pytest.raises(ValueError, match=told) as caught:
        view_molecule(*arguments, **keywords)
    assert (
        str(caught.value).endswith(".")
        and "\n" not in str(caught.value)
        and len(str(caught.value)) < 160
    )


def test_five_thousand_atoms_are_drawn_simply_and_say_so():
    many = (bulk("Cu", cubic=True) * (11, 11, 11))[:5000]
    vectors = np.random.default_rng(0).normal(size=(5000, 3))
    with pytest.warns(UserWarning, match="5,000 atoms: drawn simply"):
        shown = view_molecule(many, vectors, labels=True)
    scene = shown.scene
    assert scene["note"].startswith("5,000 atoms") and "300 longest" in scene["note"]
    assert scene["large"] and not scene["labels"]
    kept = scene["arrows"][0]["atoms"]
    assert len(kept) == scenes.MANY_ARROWS
    length = np.linalg.norm(vectors, axis=1)
    assert length[kept].min() >= np.sort(length)[-scenes.MANY_ARROWS]
    assert len(json.dumps(scene)) < 600_000
    assert len(shown.to_svg()) < 150_000
    with warnings.catch_warnings():  # said once, not at every move of a slider
        warnings.simplefilter("error")
        shown.show(many, -vectors)


def outlines(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [e.get("d") for e in root.iter("{http://www.w3.org/2000/svg}path")]


def test_the_still_picture_shows_arrows_and_their_scale():
    shown = view_molecule(
        ETHANOL, {"force": {"vectors": FORCES, "unit": "eV/Å"}}, title="a<b", arrow_scale=0.5
    )
    still = shown.to_svg()
    root = ElementTree.fromstring(still)
    assert "C2H6O" in root.get("aria-label") and root.get("role") == "img"
    assert "force (1 Å drawn = 2 eV/Å)" in still and "a&lt;b" in still
    (path,) = outlines(still)
    assert path.count("M") == 9
    assert outlines(view_molecule(ETHANOL).to_svg()) == []
    shown.show(arrows={"force": -FORCES})
    assert outlines(shown.to_svg()) != [path]


def test_arrows_of_the_still_picture_point_where_they_should():
    """The tip's place in the picture is the projection of start + step: the picture is a map of the
    scene."""
    vectors = np.zeros((9, 3))
    vectors[0] = [0, 0, 1.0]  # upwards in the picture
    (path,) = outlines(view_molecule(ETHANOL, vectors, arrow_scale=1.0).to_svg())
    points = np.array([pair.split(",") for pair in path.strip("MZ").split()], float)
    tail = points[[len(points) // 2 - 1, len(points) // 2]].mean(0)
    step = points[0] - tail
    assert step[1] < -20 and abs(step[0]) < 1


def test_without_a_kernel_there_is_a_picture():
    bundle, _ = view_molecule(ETHANOL, FORCES)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    ElementTree.fromstring(bundle["image/svg+xml"])


def test_a_browser_without_webgl_gets_the_picture():
    shown = view_molecule(ETHANOL, FORCES)
    assert shown.picture == ""  # costs nothing while it is not needed
    shown.webgl = False
    assert shown.picture == shown.to_svg()
    shown.show(arrows=-FORCES)
    assert shown.picture == shown.to_svg()


def test_views_share_one_copy_of_3dmol_and_stand_in_layouts():
    one = view_molecule(ETHANOL)
    two = view_molecule(ETHANOL)
    assert one.library is two.library
    assert len(one.library.text) < 250_000 and len(one._esm) < 30_000
    assert widgets.HBox([one, widgets.VBox([two])]).children[0] is one
    one.library.close()
    assert view_molecule(ETHANOL).library.comm is not None


def test_a_page_of_its_own_asks_nobody(tmp_path):
    path = tmp_path / "view.html"
    page = view_molecule(ETHANOL, {"</script><b>": FORCES}, title="<i>").to_html(path)
    assert path.read_text(encoding="utf-8") == page
    assert page.count("</script>") == 2 and "<title>&lt;i&gt;</title>" in page
    assert not re.search(r"(src|href)\s*=\s*.?(https?:)?//", page)
    assert view.static_file("3Dmol-min.js")[:500] in page


def test_3dmol_is_the_published_file_with_its_license():
    """What npm's 3dmol 2.5.5 has as build/3Dmol-min.js, byte for byte."""
    assert "3dmol v2.5.5" in view.static_file("3Dmol-min.js.LICENSE.txt")
    assert "BSD-3-Clause" in view.static_file("3Dmol-LICENSE.txt")
    digest = hashlib.sha256(view.static_file("3Dmol-min.js").encode()).hexdigest()
    assert digest == "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"


def test_a_batch_is_one_structure_and_keeps_its_cell():
    crystal = AtomStore.from_ase([bulk("Cu", cubic=True)])
    assert len(view_molecule(crystal.take([0])).scene["frame"]["cell"]) == 9
    with pytest.raises(ValueError, match="got a batch of 2"):
        view_molecule(crystal.take([0, 0]))


def test_atoms_can_be_marked():
    shown = view_molecule(ETHANOL, FORCES, marked={"corrupted": [0, 4], "chosen": np.array([2])})
    corrupted, chosen = shown.scene["marked"]
    assert (corrupted["atoms"], chosen["atoms"]) == ([0, 4], [2]) and corrupted["color"] != chosen[
        "color"
    ]
    assert "corrupted: C0, H4; chosen: O2" in shown.scene["aria"]
    circles = ElementTree.fromstring(shown.to_svg()).findall("{*}circle")
    for mark, count in ((corrupted, 3), (chosen, 2)):  # one in the legend
        assert (
            sum(
                circle.get("stroke") == mark["color"] and circle.get("fill") == "none"
                for circle in circles
            )
            == count
        )
    shown.show(marked={"corrupted": []})
    assert shown.scene["marked"][0]["atoms"] == [] and "corrupted: none" in shown.scene["aria"]
    shown.show()
    assert shown.scene["marked"] == []
    for marked, told in (
        ({"m": [9]}, "'m' must mark atoms from 0 to 8, got 9"),
        ({key: [0] for key in "abc"}, "at most 2"),
    ):
        before = shown.scene
        with pytest.raises(ValueError, match=told) as caught:
            shown.show(marked=marked)
        assert str(caught.value).endswith(".") and shown.scene == before
