"""Sites that are occupied in part, alternative positions, and elements of PDB files."""

import ase.io
import numpy as np
import pytest

from scdlab.atoms import AtomStore

CIF = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


@pytest.mark.parametrize(
    "sites, told",
    [
        ("Au1 Au 0 0 0 0.75\nAg1 Ag 0 0 0 0.25\n", "Au 0.75"),
        ("Na1 Na 0 0 0 1.0\nCl1 Cl 0.5 0.5 0.5 0.9\n", "Cl 0.9"),
        ("Na1 Na 0 0 0 0.5\nNa2 Na 0.1 0 0 0.5\n", "Na 0.5"),
    ],
)
def test_crystals_that_are_occupied_in_part_are_refused(tmp_path, sites, told):
    path = tmp_path / "x.cif"
    path.write_text(CIF + sites)
    with pytest.raises(ValueError, match=rf"x\.cif: Structure 0 has sites .* in part \(.*{told}"):
        AtomStore.from_file(path)
    with pytest.raises(ValueError, match=r"Structure 0 has sites that are occupied in part"):
        AtomStore.from_ase(ase.io.read(path))


def test_crystals_that_are_occupied_are_read(tmp_path, caplog):
    path = tmp_path / "x.cif"
    path.write_text(CIF + "Na1 Na 0 0 0 1.0\nCl1 Cl 0.5 0.5 0.5 1.0\n")
    assert AtomStore.from_file(path).elements == [11, 17]
    assert not caplog.text


def atom(name, x, occupancy=1.0, alternative=" ", residue="SER", number=1, element=""):
    return (
        f"ATOM      1 {name:4}{alternative}{residue:3} A{number:4}    "
        f"{x:8.3f}{0:8.3f}{0:8.3f}{occupancy:6.2f}  0.00          {element:>2}\n"
    )


def read(tmp_path, text, **keywords):
    path = tmp_path / "x.pdb"
    path.write_text(text)
    return AtomStore.from_file(path, **keywords)


ALTERNATIVES = (
    atom(" N  ", 0, element="N")
    + atom(" CA ", 2, 0.4, "A", element="C")
    + atom(" CA ", 3, 0.6, "B", element="C")
    + atom(" OG ", 5, 0.4, "A", element="O")
    + atom(" OG ", 6, 0.6, "B", element="O")
    + atom(" C  ", 8, 0.5, "A", number=2, element="C")
    + atom(" C  ", 9, 0.5, "B", number=2, element="C")
)


def test_alternative_positions_are_refused_or_resolved_by_the_rule(tmp_path, caplog):
    with pytest.raises(ValueError, match=r"x\.pdb: Structure 0 has alternative .*'CA ASER A 1'"):
        read(tmp_path, ALTERNATIVES)
    store = read(tmp_path, ALTERNATIVES, alternatives="highest")
    assert store.arrays()["pos"][:, 0].tolist() == [0, 3, 6, 8]
    assert store.meta["notes"] == [
        "atoms left out as alternatives of the highest occupancy in their residue: 3"
    ]
    assert store.meta["notes"][0] in caplog.text
    with pytest.raises(ValueError, match="alternatives must be 'refuse' or 'highest', got 'A'"):
        read(tmp_path, ALTERNATIVES, alternatives="A")


def test_another_residue_as_alternative_is_left_out_whole(tmp_path):
    text = (
        atom(" CB ", 0, 0.7, "A", "SER", element="C")
        + atom(" OG ", 2, 0.7, "A", "SER", element="O")
        + atom(" CB ", 0.2, 0.3, "B", "THR", element="C")
        + atom(" CG2", 4, 0.3, "B", "THR", element="C")
        + atom(" CA ", 6, 0.3, "B", "SER", element="C")
    )
    store = read(tmp_path, text, alternatives="highest")
    assert store.arrays()["pos"][:, 0].tolist() == [0, 2, 6]


def test_atoms_that_are_there_in_part_are_kept_with_a_note(tmp_path):
    text = atom(" O  ", 0, 0.5, residue="HOH", element="O") + atom(" N  ", 3, element="N")
    store = read(tmp_path, text)
    assert store.meta["notes"] == ["atoms there in part, without an alternative, and kept whole: 1"]
    unknown = atom(" O  ", 0, 0.0, element="O") + atom(" N  ", 3, 0.0, element="N")
    assert "notes" not in read(tmp_path, unknown).meta  # 0 stands for not known


def test_models_keep_their_cell_and_their_order(tmp_path):
    cell = "CRYST1   30.000   31.000   32.000  90.00  90.00  90.00 P 1           1\n"
    one = atom(" N  ", 0, element="N") + ALTERNATIVES[len(atom(" N  ", 0, element="N")) :]
    two = atom(" O  ", 1, element="O")
    text = f"{cell}MODEL 1\n{one}ENDMDL\nMODEL 2\n{two}ENDMDL\nEND\n"
    store = read(tmp_path, text, alternatives="highest")
    assert store.n_atoms.tolist() == [4, 1]
    assert store.arrays()["pbc"].all()
    np.testing.assert_allclose(store.arrays()["cell"][1].diagonal(), [30, 31, 32])
    assert read(tmp_path, text, index=1).elements == [8]
    dummy = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n"
    assert not read(tmp_path, dummy + two).periodic


def test_elements_are_read_by_the_columns_of_names(tmp_path):
    text = (
        atom(" CA ", 0)
        + atom("HG11", 2)
        + atom(" ND1", 4, residue="HIS")
        + atom("CA  ", 6, residue=" CA")
        + atom("CD  ", 8, residue="GLU")
    )
    store = read(tmp_path, text)
    assert store.arrays()["z"].tolist() == [6, 1, 7, 20, 6]
