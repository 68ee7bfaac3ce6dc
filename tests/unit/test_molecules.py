"""Molecules from SMILES, and bonds that can turn."""

import numpy as np
import pytest
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

import scdlab
from scdlab.atoms import from_smiles, rotatable_bonds
from scdlab.atoms.molecules import LARGEST, bonds, bridges


def turning(smiles):
    """Which bonds turn, as pairs of heavy atoms in the order of the SMILES."""
    atoms = from_smiles(smiles)
    return {tuple(sorted(bond[:2])) for bond in rotatable_bonds(atoms.numbers, atoms.positions)}


def test_ethanol():
    atoms = scdlab.from_smiles("CCO")
    assert atoms.get_chemical_formula() == "C2H6O" and atoms.info == {
        "smiles": "CCO",
        "force_field": "MMFF94",
    }
    assert atoms.get_distance(0, 1) == pytest.approx(1.51, abs=0.03)
    assert len(bonds(atoms.numbers, atoms.positions)) == 8
    assert not atoms.get_initial_charges().any()


def test_the_same_seed_gives_the_same_atoms_and_another_does_not():
    a, b, c = (from_smiles("CCCCO", seed).positions for seed in (3, 3, 4))
    assert np.array_equal(a, b) and not np.allclose(a, c)


def test_charged_molecules_carry_their_charge():
    assert from_smiles("[NH4+]").get_initial_charges().sum() == 1
    acetate = from_smiles("CC(=O)[O-]")
    assert acetate.get_initial_charges().tolist() == [0, 0, 0, -1, 0, 0, 0]
    glycine = from_smiles("[NH3+]CC(=O)[O-]").get_initial_charges()
    assert glycine.sum() == 0 and sorted(set(glycine)) == [-1, 0, 1]


def test_single_atoms_and_hydrogen():
    assert from_smiles("[He]").get_chemical_formula() == "He"
    assert from_smiles("[H][H]").get_chemical_formula() == "H2"
    assert from_smiles(" C\n").get_chemical_formula() == "CH4"
    assert from_smiles("[Si](C)(C)(C)C").info["force_field"] in ("MMFF94", "UFF")


def test_a_molecule_of_sixty_atoms():
    atoms = from_smiles("C" * 19 + "O")
    assert len(atoms) == 60
    store = scdlab.AtomStore.from_ase(
        [atoms, from_smiles("CC(=O)[O-]")]
    )  # charged and not, side by side
    assert len(store) == 2
    assert len(rotatable_bonds(atoms.numbers, atoms.positions)) == 19


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("C(", "not a SMILES string that rdkit can read"),
        ("molecule", "not a SMILES string that rdkit can read"),
        ("", "is not a SMILES string: write"),
        (None, "is not a SMILES string: write"),
        ("C(C)(C)(C)(C)C", "no possible molecule .*valence.*; correct"),
        ("c1cccc1", "no possible molecule .*kekulize"),
        ("[Na+].[Cl-]", "2 separate molecules or ions"),
        ("CCO.O.O", "3 separate molecules or ions"),
        ("*C", "placeholder"),
        ("[Xx]", "not a SMILES string"),
        ("C" * LARGEST, f"up to {LARGEST} are placed in space"),
    ],
)
def test_what_is_not_one_whole_molecule_is_refused_in_one_sentence(smiles, said, capfd):
    with pytest.raises(ValueError, match=said) as caught:
        from_smiles(smiles)
    assert len(str(caught.value)) < 260 and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # rdkit's own lines are silenced


def test_what_cannot_be_placed_in_space_says_so(monkeypatch):
    from rdkit.Chem import rdDistGeom

    monkeypatch.setattr(rdDistGeom, "EmbedMolecule", lambda *_: -1)
    with pytest.raises(ValueError, match="'CCO' cannot be placed in space"):
        from_smiles("CCO")


def test_rdkit_speaks_again_afterwards(capfd):
    from rdkit import Chem

    with pytest.raises(ValueError, match="no possible molecule"):
        from_smiles("C(C)(C)(C)(C)C")
    assert Chem.MolFromSmiles("C(C)(C)(C)(C)C") is None
    assert "Explicit valence" in capfd.readouterr().err


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_that_rdkit_reads_as_chance_are_refused(seed):
    with pytest.raises(ValueError, match="seed of a conformer"):
        from_smiles("CCO", seed)


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CCO", {(0, 1), (1, 2)}),
        ("C", set()),
        ("O", set()),
        ("C=C", set()),
        ("C#N", set()),
        ("CC#N", set()),  # all on one axis: nothing would change
        ("CC#CC", {(0, 1), (2, 3)}),  # a methyl at either end
        ("CC#CC#C", set()),  # the larger side lies on the axis
        ("c1ccccc1", set()),
        ("C1CCCCC1", set()),
        ("CC(=O)N", {(0, 1)}),  # the amide does not turn
        ("C1CCCCC1c1ccccc1", {(5, 6)}),
        ("C1CC12CC2", set()),  # two rings at one atom
        ("OO", {(0, 1)}),
    ],
)
def test_bonds_that_turn(smiles, expected):
    assert turning(smiles) == expected


def test_the_smaller_side_moves():
    atoms = from_smiles("OCc1ccccc1")
    for i, j, moved in rotatable_bonds(atoms.numbers, atoms.positions):
        assert i not in moved and j not in moved and len(moved) + 1 <= len(atoms) / 2
    assert (1, 0) in {bond[:2] for bond in rotatable_bonds(atoms.numbers, atoms.positions)}


def test_bridges_part_the_molecule_and_other_bonds_do_not():
    """Over real molecules, by cutting every bond; `moved` is what is cut off."""
    store = scdlab.load_qm9(limit=600)
    checked = 0
    for k in range(300, 600, 3):
        atoms = store.to_ase(k)
        z = atoms.numbers
        pos = atoms.positions
        n = len(atoms)
        pairs = bonds(z, pos)
        parts = {}
        for cut in range(len(pairs)):
            rest = np.delete(pairs, cut, axis=0)
            parts[tuple(pairs[cut].tolist())] = connected_components(
                coo_array((np.ones(len(rest)), rest.T), (n, n))
            )
        neighbors = [[int(b if a == i else a) for a, b in pairs if i in (a, b)] for i in range(n)]
        found = {tuple(sorted(bridge[:2])) for bridge in bridges(neighbors)}
        assert found == {bond for bond, (count, _) in parts.items() if count == 2}
        for i, j, moved in rotatable_bonds(z, pos):
            label = parts[tuple(sorted((i, j)))][1]
            assert {*moved.tolist(), j} == set(np.flatnonzero(label == label[j]).tolist())
            checked += 1
    assert checked > 50


def test_turning_the_molecule_changes_nothing():
    atoms = from_smiles("CC(=O)Nc1ccccc1CCN")
    before = rotatable_bonds(atoms.numbers, atoms.positions)
    after = rotatable_bonds(atoms.numbers, Rotation.random(rng=0).apply(atoms.positions) + 5)
    assert [b[:2] for b in before] == [b[:2] for b in after]
    assert all(np.array_equal(b[2], a[2]) for b, a in zip(before, after, strict=True))


def test_bonds_of_large_structures_are_those_of_small_ones():
    """64 atoms are compared all with all, more through a tree."""
    rng = np.random.default_rng(0)
    pos = rng.uniform(0, 14, (200, 3))
    z = rng.choice([1, 6, 8], 200)
    d = np.linalg.norm(pos[:, None] - pos, axis=-1)
    from ase.data import covalent_radii

    near = np.triu(d < 1.2 * (covalent_radii[z][:, None] + covalent_radii[z]), 1)
    assert np.array_equal(bonds(z, pos), np.argwhere(near)) and near.any()
    assert len(bonds([2], [[0.0, 0, 0]])) == 0 and rotatable_bonds([2], [[0.0, 0, 0]]) == []


def test_several_molecules_in_one_structure_turn_each_for_itself():
    ethanol = from_smiles("CCO")
    far = ethanol.copy()
    far.translate([20, 0, 0])
    both: Atoms = ethanol + far
    found = rotatable_bonds(both.numbers, both.positions)
    assert len(found) == 4 and all(
        len({*moved.tolist()} & set(range(9))) in (0, len(moved)) for *_, moved in found
    )
