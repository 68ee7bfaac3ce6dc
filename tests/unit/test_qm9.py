"""QM9: the whole set from the installed package, the sample without it, and files that are not what
they should be."""

import importlib.util
import os
import warnings

import numpy as np
import pytest

from scdlab import files
from scdlab.atoms import AtomStore, load_qm9, qm9
from scdlab.units import HARTREE


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """All of QM9, parsed once per session unless it is in the cache already."""
    if importlib.util.find_spec("qm9pack") is None:
        pytest.skip("qm9pack is not installed: the whole QM9 is not there")
    with pytest.MonkeyPatch.context() as patch:
        if not (files.cache_dir() / qm9.CACHE).exists():
            patch.setenv("SCDLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_qm9()


def test_every_molecule_is_there_with_its_numbers(whole):
    assert len(whole) == 130_831 and whole.elements == [1, 6, 7, 8, 9]
    methane = whole.take([0])
    assert methane.z.tolist() == [6, 1, 1, 1, 1]
    assert whole.property("U0")[0] / HARTREE == pytest.approx(-40.47893, abs=1e-9)
    assert methane.energy.item() == whole.property("U0")[0] == methane.U0.item()
    np.testing.assert_allclose(
        methane.pos[1], [0.002150416, -0.0060313176, 0.0019761204], atol=1e-7
    )
    assert whole.property("homo")[0] / HARTREE == pytest.approx(-0.3877)
    assert whole.property("Cv")[0] == 6.469 and whole.property("alpha")[0] == 13.21
    assert whole.property("mu")[1] == 1.6256
    assert {name: whole.units(name) for name in ("mu", "alpha", "gap", "r2", "Cv")} == {
        "mu": "D",
        "alpha": "a0^3",
        "gap": "eV",
        "r2": "a0^2",
        "Cv": "cal/mol/K",
    }


def test_the_numbers_agree_with_one_another(whole):
    """Thermodynamics and geometry that hold for every molecule: a shifted column or a lost line
    would break them."""
    u0, u, h, g = (whole.property(name) for name in ("U0", "U", "H", "G"))
    assert ((u0 < u) & (u < h) & (g < h)).all()
    np.testing.assert_allclose(h - u, 0.0256926, atol=2e-4)  # k_B T at 298.15 K, eV
    np.testing.assert_allclose(
        whole.property("lumo") - whole.property("homo"), whole.property("gap"), atol=0.006
    )
    batch = whole.take(range(0, len(whole), 97))
    from scdlab.atoms import neighbor_list

    pairs = neighbor_list(batch, 2.0)
    nearest = pairs.vectors(batch.pos, batch).norm(dim=1)
    assert nearest.min() > 0.7 and len(pairs) > len(
        batch.pos
    )  # no overlaps, and molecules hold together


def test_later_opens_read_the_cache(whole, monkeypatch):
    monkeypatch.setattr(qm9, "parse", lambda *a: pytest.fail("parsed again"))
    assert isinstance(load_qm9()._arrays["pos"], np.memmap)
    assert len(load_qm9(limit=1000)) == 1000
    with pytest.raises(ValueError, match=r"limit must be positive.*got 0"):
        load_qm9(limit=0)


def test_the_sample_is_part_of_the_whole_and_stands_in_for_it(whole, monkeypatch):
    monkeypatch.setattr(qm9, "_installed", lambda: None)
    with pytest.warns(
        UserWarning, match="qm9pack is not installed: this is the kit's sample of 5,000 molecules"
    ):
        sample = load_qm9()
    assert len(sample) == 5000 and sample.property_names == whole.property_names
    assert np.isin(sample.energy, whole.energy).all() and sample.units("gap") == "eV"


# -------------------------------------------------------------------------------------------------
# files of our own

HEAD = (
    "XYZ_file,Index,SMILES,InChi,N_atoms,Stoichiometry,Elements,XYZ_Ang,Mulliken_pop,Harmonic_Freq_cmi,"
    + ",".join(column for column, _, _ in qm9.PROPERTIES.values())
)
WATER = (
    '"dsgdb9nsd_000003.xyz",3,"O","InChI=1S/H2O/h1H2",3,"[2,0,0,1,0]","[\'O\',\'H\',\'H\']",'
    '"[[0.0,0.0,0.0],[0.0,0.0,{0}],[0.9,0.0,-0.2]]","[-0.6,0.3,0.3]","[1671.4,3803.8,3907.7]",'
    "1.85,6.31,-.2928,0.0687,0.3615,19.0002,0.021375,-76.404702,-76.401867,-76.400922,-76.422349,6.002"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small set in qm9pack's layout, two waters in each of its three files."""
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(qm9, "MOLECULES", 6)
    (tmp_path / "csv").mkdir()
    for k, name in enumerate(qm9.PARTS):
        lines = [HEAD, WATER.format(0.96 + k), WATER.format(1.06 + k)]
        (tmp_path / "csv" / name).write_text("\n".join(lines) + "\n")
    return tmp_path / "csv"


def test_root_is_parsed_in_file_order(folder):
    store = load_qm9(root=folder)
    assert len(store) == 6 and store.take([5]).pos[1, 2].item() == pytest.approx(3.06)
    assert store.property("homo")[0] == pytest.approx(-0.2928 * HARTREE)


def test_a_truncated_file_is_named_and_nothing_is_cached(folder):
    path = folder / qm9.PARTS[1]
    text = path.read_text()
    for cut in (300, 5, len(text) - len(HEAD)):
        path.write_text(text[:-cut])
        with pytest.raises(ValueError, match=r"qm9_part2\.csv is truncated"):
            load_qm9(root=folder)
    path.write_text("\n".join(text.splitlines()[:2]) + "\n")  # whole lines, but one fewer
    with pytest.raises(ValueError, match="holds 5 molecules, not 6: a file is incomplete"):
        load_qm9(root=folder)
    path.write_text(text.replace("HOMO_au", "homo"))
    with pytest.raises(ValueError, match="lacks the columns"):
        load_qm9(root=folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks qm9_part2\.csv"):
        load_qm9(root=folder)
    assert not (files.cache_dir() / qm9.CACHE).exists()
    path.write_text(text)
    assert len(load_qm9(root=folder)) == 6


def test_an_interrupted_or_outdated_cache_is_made_again(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load_qm9(root=folder)
    assert not list(files.cache_dir().iterdir())
    load_qm9(root=folder)
    pos = files.cache_dir() / qm9.CACHE / "pos.npy"
    pos.write_bytes(pos.read_bytes()[:-7])  # damaged: parsed again, without a word
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_qm9(root=folder).take([0]).natoms.item() == 3
    path = folder / qm9.PARTS[0]
    path.write_text(
        path.read_text().replace("0.96]", "0.9700]")
    )  # other files than those in the cache
    assert load_qm9(root=folder).take([0]).pos[1, 2].item() == pytest.approx(0.97)
    assert isinstance(AtomStore.open(files.cache_dir() / qm9.CACHE)._arrays["z"], np.memmap)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("['O','H','H']", "['O','H','Xx']", "damaged in line 3"),
        ("['O','H','H']", "['O','H']", "3 atoms, 2 elements, 9 coordinates and 12 values"),
        (',3,"[2,0', ',2,"[2,0', "2 atoms, 3 elements"),
        (',3,"[2,0', ',-3,"[2,0', "-3 atoms"),
        ("[0.9,0.0,-0.2]", "[0.9,0.0]", "8 coordinates"),
        ("[0.9,0.0,-0.2]", "[0.9,zero,-0.2]", "'zero' in line 3, where a number"),
        ("[0.9,0.0,-0.2]", "[0.9,nan,-0.2]", "'nan' in line 3"),
        ("19.0002", "inf", "'inf' in line 3"),
        ("19.0002,", "", "11 values"),
    ],
)
def test_a_damaged_line_is_named(folder, old, new, match):
    path = folder / qm9.PARTS[2]
    head, first, second, end = path.read_text().split("\n")
    assert old in second
    path.write_text("\n".join([head, first, second.replace(old, new), end]))
    with pytest.raises(ValueError, match=match) as caught:
        load_qm9(root=folder)
    assert "qm9_part3.csv" in str(caught.value) and "reinstall qm9pack" in str(caught.value)


def test_columns_and_limits_that_are_none(folder):
    path = folder / qm9.PARTS[0]
    text = path.read_text()
    for old, new, match in (
        ("Harmonic_Freq_cmi", "frequencies", "lacks the columns Harmonic_Freq_cmi"),
        ("ZPVE_au", "zpve", "lacks the columns ZPVE_au"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=match):
            load_qm9(root=folder)
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match="lacks the columns"):
        load_qm9(root=folder)
    path.write_text(text)
    with pytest.raises(TypeError, match="limit must be a whole number"):
        load_qm9(limit=2.5, root=folder)


def test_a_cache_that_cannot_be_used_costs_time_alone(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "file"))
    assert len(load_qm9(root=folder)) == 6
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "cache"))
    expected = load_qm9(root=folder).energy.tolist()
    (tmp_path / "cache" / qm9.CACHE / "pos.npy").write_bytes(b"damaged")
    assert load_qm9(root=folder).energy.tolist() == expected
    assert isinstance(load_qm9(root=folder)._arrays["pos"], np.memmap)
