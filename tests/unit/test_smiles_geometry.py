"""Geometries of from_smiles: lengths and contacts that elements allow, bounded time, isotopes."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import scdlab
from scdlab.atoms import conformers
from scdlab.atoms.bond_lengths import usual_length
from scdlab.atoms.molecules import bonds

MEASURED = {  # Å, gas phase: the first bond of the string
    "[H][H]": 0.741,
    "F": 0.917,
    "Br": 1.414,
    "I": 1.609,
    "N#N": 1.098,
    "O=O": 1.208,
    "FF": 1.412,
    "[C-]#[O+]": 1.128,
    "O=C=O": 1.160,
    "S=C=S": 1.553,
    "O=S=O": 1.431,
    "O=S(=O)=O": 1.420,
    "[N-]=[N+]=O": 1.128,
    "[O-][O+]=O": 1.272,
    "[LiH]": 1.595,
    "FB(F)F": 1.313,
    "F[Xe]F": 1.977,
    "Cl[Al](Cl)Cl": 2.06,
    "Cl[Ti](Cl)(Cl)Cl": 2.17,
    "C#CC#C": 1.205,
    "OO": 1.475,
    "NN": 1.449,
    "ClCl": 1.988,
    "C": 1.087,
}
LIGANDS = {
    "F[P-](F)(F)(F)(F)F": 6,
    "P(Cl)(Cl)(Cl)(Cl)Cl": 5,
    "FP(F)(F)(F)F": 5,
    "FS(F)(F)(F)(F)F": 6,
    "F[Se](F)(F)(F)(F)F": 6,
    "F[Sb-](F)(F)(F)(F)F": 6,
    "F[Xe](F)(F)F": 4,
}


def of(smiles):
    """The molecule, or None where it is refused in one sentence."""
    try:
        return scdlab.from_smiles(smiles)
    except ValueError as error:
        assert "cannot be placed in space" in str(error) and "\n" not in str(error)
        return None


@pytest.mark.slow
@pytest.mark.parametrize(("smiles", "length"), MEASURED.items())
def test_bonds_are_as_long_as_measured(smiles, length):
    pytest.importorskip("tblite", reason="tblite is not installed: some of these are refused")
    atoms = of(smiles)
    assert atoms.get_distance(0, 1) == pytest.approx(length, abs=0.1)
    assert atoms.info["force_field"] in ("MMFF94", "GFN2-xTB", "UFF", "none")


def test_bent_molecules_are_bent():
    pytest.importorskip("tblite", reason="tblite is not installed: these are refused")
    assert of("O=S=O").get_angle(0, 1, 2) == pytest.approx(119, abs=4)
    assert of("[O-][O+]=O").get_angle(0, 1, 2) == pytest.approx(117, abs=6)
    assert of("O=C=O").get_angle(0, 1, 2) > 177


@pytest.mark.slow
@pytest.mark.parametrize(("smiles", "number"), LIGANDS.items())
def test_ligands_are_apart_and_all_bonded(smiles, number):
    pytest.importorskip("tblite", reason="tblite is not installed: some of these are refused")
    atoms = of(smiles)
    assert len(bonds(atoms.numbers, atoms.positions)) == number
    apart = atoms.get_all_distances()[np.triu_indices(len(atoms), 1)]
    assert apart.min() > 1.5


@pytest.mark.parametrize("smiles", ["N#N", "O=C=O", "FS(F)(F)(F)(F)F", "O=S=O", "CCO"])
def test_without_gfn2_the_rest_is_right_or_refused(smiles, monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    atoms = of(smiles)
    if atoms is None:
        assert smiles in ("FS(F)(F)(F)(F)F", "O=S=O")
        return
    assert atoms.info["force_field"] in ("MMFF94", "UFF")
    assert atoms.get_distance(0, 1) == pytest.approx(MEASURED.get(smiles, 1.51), abs=0.1)


@pytest.mark.slow
def test_what_no_method_places_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"F0 and F5, not bonded, only 1\.\d\d Å apart"):
        scdlab.from_smiles("F[U](F)(F)(F)(F)F")
    with pytest.raises(ValueError, match=r"a bond C\d+-\w+ of .* Å, expected|not bonded, only"):
        scdlab.from_smiles("CC(C)(C)C(C(C)(C)C)(C(C)(C)C)C(C)(C)C")  # nobody has made it


@pytest.mark.parametrize(
    "smiles",
    [
        *("CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C12C3C4C1C5C2C3C45", "CN=[N+]=[N-]"),
        *("C[N+](=O)[O-]", "[NH3+]CC(=O)[O-]", "CS(=O)(=O)C", "OP(=O)(O)O", "C[Si](C)(C)C"),
    ],
)
def test_what_mmff94_knows_stays_mmff94(smiles):
    assert scdlab.from_smiles(smiles).info["force_field"] == "MMFF94"


@pytest.mark.slow
def test_rings_with_triple_bonds_and_strained_cages():
    for smiles, number in {"C1CCC#CCCC1": 20, "C1#CC1": 5, "C1C2CC3CC1CC(C2)C3": 28}.items():
        atoms = scdlab.from_smiles(smiles)
        assert len(bonds(atoms.numbers, atoms.positions)) == number


def test_stereochemistry_is_kept():
    molecule = conformers_input("N[C@@H](C)C(=O)O")
    pos, _ = conformers.place(molecule, 0)
    assert conformers.problem(molecule, pos) == ""
    mirrored = pos * [1, 1, -1]
    assert "another configuration at atom 1" in conformers.problem(molecule, mirrored)
    cis = conformers_input("F/C=C\\F")
    trans, _ = conformers.place(conformers_input("F/C=C/F"), 0)
    assert "double bond" in conformers.problem(cis, trans)


def conformers_input(smiles):
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(smiles))


def test_isotopes_carry_their_masses():
    heavy = scdlab.from_smiles("[2H]O[2H]")
    assert sorted(heavy.get_masses()) == pytest.approx([2.014, 2.014, 15.999], abs=1e-3)
    assert scdlab.from_smiles("[13CH4]").get_masses()[0] == pytest.approx(13.003, abs=1e-3)
    assert not scdlab.from_smiles("O").has("masses")
    with pytest.raises(ValueError, match="names the isotope 99C, whose mass is not known"):
        scdlab.from_smiles("[99C]")


@pytest.mark.parametrize("seed", [True, 1.5, "1", None])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(ValueError, match="seed of a conformer must be an integer"):
        scdlab.from_smiles("CCO", seed)


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        *((text, "has a blank in it") for text in ("C\nO", "C\tO", "CCO ethanol", "CC |$a;b$|")),
        *((text, "with a charge of") for text in ("[Fe+99]", "[H+2]", "[C-10]", "[Cl-5]")),
    ],
)
def test_nothing_of_a_text_is_left_out_or_impossible(smiles, said):
    with pytest.raises(ValueError, match=said) as caught:
        scdlab.from_smiles(smiles)
    assert len(str(caught.value)) < 260


def test_six_ligands_are_an_octahedron():
    pytest.importorskip("tblite", reason="tblite is not installed: this is refused")
    atoms = of("F[Si-2](F)(F)(F)(F)F")
    angles = [atoms.get_angle(0, 1, k) for k in range(2, 7)]
    assert sorted(angles) == pytest.approx([90, 90, 90, 90, 180], abs=3)


def test_a_biradical_is_not_a_single_bond():
    pytest.importorskip("tblite", reason="tblite is not installed: this is refused")
    assert of("[O][O]").get_distance(0, 1) == pytest.approx(1.208, abs=0.05)


@pytest.mark.parametrize("text", ["C" * 1_000_000, "(" * 100_000, "C" * 5_000, b"CCO", ["CCO"]])
def test_texts_without_end_and_other_things_are_refused(text):
    with pytest.raises(ValueError, match="SMILES") as caught:
        scdlab.from_smiles(text)
    assert len(str(caught.value)) < 300


def test_a_search_that_takes_too_long_is_given_up(monkeypatch):
    begun = threading.Event()

    def never(molecule, seed, stop):
        begun.set()
        stop.wait(10)
        raise conformers.NoConformer("stopped")

    monkeypatch.setattr(conformers, "_search", never)
    monkeypatch.setattr(conformers, "SECONDS", 0.1)
    with pytest.raises(ValueError, match="none was found within"):
        scdlab.from_smiles("CCO")
    assert begun.is_set()


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once():
    """In a process of its own: rdkit takes the signal while it embeds, and Python must get it."""
    code = (
        "import scdlab\n"
        "scdlab.from_smiles('C')\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    scdlab.from_smiles('C' * 66)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "ready\n"
    time.sleep(0.4)
    os.kill(run.pid, signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert (out, run.returncode) == ("interrupted\n", 0)


@pytest.mark.parametrize(
    ("pair", "order", "length"),
    [
        *((("C", "C"), 1, 1.53), (("C", "C"), 2, 1.34), (("C", "C"), 3, 1.20)),
        *((("C", "O"), 2, 1.21), (("N", "N"), 3, 1.10), (("F", "B"), 1, 1.31)),
        *((("P", "Cl"), 1, 2.04), (("Ti", "Cl"), 1, 2.17), (("H", "I"), 1, 1.61)),
        *((("Os", "O"), 2, 1.71), (("Na", "Cl"), 1, 2.36), (("Pt", "Cl"), 1, 2.32)),
    ],
)
def test_usual_lengths_are_near_measured_ones(pair, order, length):
    from ase.data import atomic_numbers

    first, second = (atomic_numbers[symbol] for symbol in pair)
    assert usual_length(first, second, order) == pytest.approx(length, abs=0.2)
    assert usual_length(second, first, order) == usual_length(first, second, order)
