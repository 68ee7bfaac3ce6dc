"""The bench of lesson 06: what it takes, what it refuses, and that each panel shows what the
functions behind it compute."""

import datetime
import io
import math

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import scdlab
from scdlab import analysis, explore
from scdlab.analysis import seen
from scdlab.atoms import AtomStore
from scdlab.explore.bench import TABS
from scdlab.explore.bench_files import file_of
from scdlab.explore.downloads import live_address
from scdlab.explore.source import MoleculeSource
from scdlab.explore.words import DESCRIPTION


@pytest.fixture(scope="module")
def bench():
    """A bench without GFN2-xTB, on ethanol."""
    return explore.Bench("CCO", points=60, reference=None)


def test_each_panel_has_numbers_and_a_picture(bench):
    bench.source.choose("CCO")
    for name in TABS:
        if name == "symmetry":  # slow; below
            continue
        panel = bench.panel(name)
        assert panel.state()
        assert bench.section(name).to_svg().startswith("<svg") or name == "forces"
    assert bench.panel("noise") is bench.panel("noise")  # made once for a structure


def test_a_panel_is_announced_while_it_is_computed():
    bench = explore.Bench("CCC", points=20, reference=None)
    shown = []
    bench.place.observe(lambda change: shown.append(change["new"]), names=["children"])
    bench.tab = "seen"
    assert "Computing" in shown[0][0].value
    assert shown[1:] == [(bench.section("seen"),)]
    bench.tab = "noise"
    bench.tab = "seen"
    assert shown[-2:] == [(bench.section("noise"),), (bench.section("seen"),)]  # made before


def test_the_chosen_structure_has_a_picture_in_words(bench):
    bench.source.choose("CCO")
    shown = bench.source._repr_mimebundle_()
    words = shown[DESCRIPTION]
    assert "CCO: C2H6O, 9 atoms" in words and words in shown["image/svg+xml"]


def test_the_map_flows_in_a_narrow_page(bench):
    bench.source.choose("CCO")
    panel = bench.panel("map")
    page = panel.drawing.value
    assert page.count("flex-wrap") == 2
    assert page.count("<svg ") >= len(panel.atlas.models) + 10
    still = panel.picture()
    for words in panel.state()["formulas"]:
        assert words in page and words in still
    panel.neighbor = 2
    assert panel.drawing.value != page
    panel.neighbor = 1
    assert panel.drawing.value == page


def test_without_a_reference_the_view_draws_what_it_holds(bench):
    bench.source.choose("CCO")
    committee = bench.panel("forces")
    assert len(committee.explorer.arrows) == 4 < len(committee.forces())
    (left,) = set(committee.forces()) - set(committee.explorer.arrows)
    assert f"Not drawn: {left}." in committee.table.value


def test_maps_and_properties_read_sums_over_atoms(bench):
    bench.source.choose("CCO")
    store = AtomStore.geometry(bench.atoms)
    for name, model in bench.atlas.models.items():
        with torch.no_grad():
            features = model(store.take([0]), noise=False).atoms.double().numpy()
        for panel in ("map", "properties"):
            own = np.ravel(bench.panel(panel).own[name])
            np.testing.assert_allclose(own, features.sum(0), rtol=1e-4, atol=1e-4)


def test_a_panel_keeps_what_was_set(bench):
    bench.source.choose("CCO")
    bench.panel("noise").sigma = 0.1
    bench.panel("properties").inside = 0.5
    bench.source.choose("CCN")
    assert bench.panel("noise").sigma == pytest.approx(0.1)
    assert bench.panel("properties").inside == pytest.approx(0.5)
    assert bench.panel("noise").state()["formula"] == "C2H7N"


def test_models_without_an_element_say_so(bench):
    bench.source.choose("CSC")
    for name in TABS:
        panel = bench.panel(name)
        words = getattr(panel, "value", "") or panel.table.value
        assert ("S" in words and "trained" in words) or "learned" in words, name
    bench.source.choose("CCN")
    assert bench.panel("forces").state()["able"] == [
        name for name, model in bench.models.items() if bool(model.trained_elements[7])
    ]


def test_a_panel_that_cannot_answer_says_so_without_a_kernel(bench, caplog):
    bench.source.choose("CSC")
    section = explore.described(bench.section("map"), "A map.")
    still = section._repr_mimebundle_()["image/svg+xml"]
    assert still.startswith("<svg") and "trained" in still and "A map." not in still
    assert caplog.text == ""
    bench.source.choose("CCO")


def test_a_crystal_goes_to_those_who_know_its_elements(bench, tmp_path):
    file = tmp_path / "copper.cif"
    ase.io.write(file, bulk("Cu", cubic=True))
    bench.source.choose(str(file))
    assert set(bench.panel("noise").denoisers) == {
        "Coord, frames",
        "SCD frames, own",
        "SCD frames, none",
    }
    assert list(bench.panel("seen").distances) == ["scd-ct-frames"]
    assert "Lattice" in file_of(bench, "xyz").content.decode()
    bench.source.choose("CCO")


def test_labels_of_qm9_stand_beside_predictions(bench):
    bench.source.take(7)
    state = bench.panel("properties").state()
    assert state["true_gap"] == pytest.approx(float(bench.source.qm9.property("gap")[7]))
    bench.source.choose("CCO")
    assert bench.panel("properties").state()["true_gap"] is None


def test_what_cannot_be_read_is_refused(tmp_path):
    source = MoleculeSource("CCO")
    calls = []
    source.listen(lambda: calls.append(source.title))
    for text, words in (("C1CC", "not a SMILES"), ("C" * 100, "302 atoms"), ("no.xyz", "no file")):
        source.text.value = text
        assert words in source.message.value and len(source.atoms) == 9
    assert calls == []
    with pytest.raises(ValueError, match="not a SMILES"):
        source.choose("C1CC")
    with pytest.raises(ValueError, match="QM9 number"):
        source.take(10**9)
    (tmp_path / "empty.xyz").write_text("")
    with pytest.raises(ValueError, match=r"empty\.xyz"):
        source.choose(str(tmp_path / "empty.xyz"))


def test_several_frames_get_a_slider(tmp_path):
    source = MoleculeSource("CCO")
    assert source.slider.layout.display == "none"
    frames = [molecule("H2O"), molecule("CH4"), molecule("NH3")]
    ase.io.write(tmp_path / "three.extxyz", frames)
    calls = []
    source.listen(lambda: calls.append(source.atoms.get_chemical_formula()))
    source.choose(str(tmp_path / "three.extxyz"))
    assert source.slider.layout.display is None and source.slider.max == 2
    source.slider.value = 2
    assert calls == ["H2O", "H3N"]
    with pytest.raises(ValueError, match="between 0 and 2"):
        source.frame = 3
    source.choose("CCO")
    assert source.frame == 0 and source.slider.layout.display == "none"


def test_an_uploaded_file_is_read():
    source = MoleculeSource("CCO")
    text = io.StringIO()
    ase.io.write(text, molecule("H2O"), format="xyz")
    content = text.getvalue().encode()
    about = {"type": "", "size": len(content), "last_modified": datetime.datetime.now()}
    source.upload.value = (about | {"name": "water.xyz", "content": content},)
    assert source.atoms.get_chemical_formula() == "H2O" and source.source == "water.xyz"
    source.upload.value = (about | {"name": "other.xyz", "content": b"nonsense"},)
    assert "other.xyz" in source.message.value and source.source == "water.xyz"


def test_a_source_is_a_picture_where_no_kernel_runs():
    source = MoleculeSource("CCO")
    shown = source._repr_mimebundle_()["image/svg+xml"]
    assert "CCO: C2H6O" in shown and shown.count("<circle") >= 9


def test_files_hold_what_is_shown(bench):
    bench.source.choose("CCO")
    forces = bench.panel("forces").forces()
    read = ase.io.read(io.StringIO(file_of(bench, "xyz").content.decode()), format="extxyz")
    np.testing.assert_allclose(read.positions, bench.atoms.positions, atol=1e-5)
    for name, each in forces.items():
        column = "forces_" + "".join(c if c.isalnum() else "_" for c in name)
        np.testing.assert_allclose(read.arrays[column], each, atol=1e-5)
    table = file_of(bench, "csv").content.decode().splitlines()
    assert len(table) == 10 and len(table[0].split(",")) == len(table[1].split(","))
    page = file_of(bench, "html").content.decode()
    assert live_address(bench.atoms) in page and "3Dmol" in page
    with pytest.raises(ValueError, match="got 'pdf'"):
        file_of(bench, "pdf")


def test_a_tab_is_one_of_the_panels(bench):
    with pytest.raises(ValueError, match="tab must be one of"):
        bench.tab = "weather"
    with pytest.raises(ValueError, match="panel must be one of"):
        bench.section("weather")


def test_the_spread_is_zero_where_all_agree():
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(5, 3))
    np.testing.assert_allclose(analysis.spread([forces, forces, forces]), 0, atol=1e-12)
    off = np.zeros((2, 5, 3))
    off[0, 2] = [3.0, 4.0, 0.0]
    np.testing.assert_allclose(analysis.spread(off), [0, 0, 2.5, 0, 0])
    with pytest.raises(ValueError, match="two models"):
        analysis.spread([forces])


def test_an_interval_holds_what_it_promises():
    assert analysis.conformal_half_width(range(1, 100), 0.1) == 90
    assert math.isinf(analysis.conformal_half_width([1, 2, 3, 4, 5], 0.1))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 6))
    y = x @ rng.normal(size=6) + rng.standard_t(3, size=4000)  # no Gaussian
    fit = analysis.predictor(x[:2000], y[:2000])
    inside = np.abs(y[2000:] - fit(x[2000:])) <= fit.half_width(0.1)
    assert 0.87 < inside.mean() < 0.93
    with pytest.raises(ValueError, match="20 structures"):
        analysis.predictor(x[:10], y[:10])


def test_training_atoms_are_inside_and_strangers_outside():
    known = seen.training_atoms()["schnet-ethanol"]
    model = scdlab.load_pretrained("schnet-ethanol")
    frame = scdlab.load_ethanol().split(1000, 0, seed=0)[0].to_ase(0)
    assert seen.distances(model, frame, known).max() < 1
    benzene = molecule("C6H6")
    assert seen.distances(model, benzene, known).min() > 1


def test_a_force_is_a_denoiser_on_a_spring():
    """For a model whose forces are those of one stiffness, the answer is the noise itself."""

    class Springs(torch.nn.Module):
        def __init__(self, rest):
            super().__init__()
            self.rest = torch.nn.Parameter(torch.as_tensor(rest))

        def forward(self, batch, forces=False):
            from types import SimpleNamespace

            rest = self.rest.repeat(batch.num_graphs, 1)
            return SimpleNamespace(forces=-7.0 * (batch.pos - rest))

    atoms = molecule("H2O")
    answer = analysis.ByForce.fitted(Springs(atoms.positions), atoms)
    assert answer.stiffness == pytest.approx(7.0)
    left = analysis.noise_left_by({"spring": answer}, atoms, 0.05, draws=4)["spring"]
    assert left.max() < 1e-20


def test_some_laws_of_a_report():
    model = scdlab.SchNet(hidden_channels=8, num_layers=1)
    whole = scdlab.symmetry_report(model, molecule("H2O"))
    some = scdlab.symmetry_report(model, molecule("H2O"), laws=("rotation", "permutation"))
    assert list(some.as_dict()) == ["rotation", "permutation"]
    assert some.rotation == whole.rotation and math.isnan(some.smoothness)
    with pytest.raises(ValueError, match="laws must be"):
        scdlab.symmetry_report(model, molecule("H2O"), laws=("beauty",))
