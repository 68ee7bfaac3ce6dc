"""Structure files that are damaged, promise more than they hold, or are no data: one sentence, in
bounded time and memory."""

import gzip
import itertools
import re
import struct

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab.atoms import AtomStore, promises, reading


def frames(n=3):
    made = [molecule("CH3OH") for _ in range(n)]
    for k, atoms in enumerate(made):
        atoms.rattle(0.05, seed=k)
        forces = np.full((len(atoms), 3), 0.1 * k)
        atoms.calc = SinglePointCalculator(atoms, energy=-float(k), forces=forces)
    return made


@pytest.fixture
def xyz(tmp_path):
    path = tmp_path / "m.xyz"
    ase.io.write(path, frames(), format="extxyz")
    return path


def refused(path, match, **keywords):
    """The sentence with which a file is refused; it names the file and is one line."""
    with pytest.raises((ValueError, OSError, TypeError), match=match) as caught:
        AtomStore.from_file(path, **keywords)
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "'-5:'.")) and len(text) < 700
    assert caught.traceback[-1].path.parts[-3:-1] == ("scdlab", "atoms")
    return text


@pytest.mark.parametrize("count", ["7", "1000000000", "1" + 18 * "0", "9" * 5000, "-1", "6.0", "x"])
def test_an_xyz_frame_states_as_many_atoms_as_follow(xyz, count):
    lines = xyz.read_text().split("\n")
    lines[16] = count  # of the last of three frames
    xyz.write_text("\n".join(lines))
    refused(xyz, r"frame 2|line 17")


def test_nothing_after_an_empty_line_is_lost(xyz):
    whole = xyz.read_text()
    xyz.write_text(whole + "\n\n  \n")  # nothing follows
    assert len(AtomStore.from_file(xyz)) == 3
    lines = whole.split("\n")
    xyz.write_text("\n".join([*lines[:8], "", *lines[8:]]))
    refused(xyz, "empty line 9 before frame 1")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_other_line_ends_are_read(xyz, end):
    expected = AtomStore.from_file(xyz).energy.tolist()
    xyz.write_bytes(xyz.read_bytes().replace(b"\n", end.encode()))
    assert AtomStore.from_file(xyz).energy.tolist() == expected


def test_lines_begin_where_python_begins_them():
    for text in (b"a\nb\r\nc\rd\n\n\re", b"", b"\n", b"x", b"x\r", b"\r\n\r\n"):
        starts = promises._line_starts(text)
        lines = [text[a:b] for a, b in itertools.pairwise(starts)]
        assert lines == text.splitlines(keepends=True)


def test_a_property_has_no_more_columns_than_a_line(xyz):
    text = xyz.read_text()
    for columns in ("1000000000", "١000000000"):  # Python reads digits of any script
        xyz.write_text(text.replace("pos:R:3", f"pos:R:{columns}", 1), encoding="utf-8")
        refused(xyz, "line 2, of frame 0")


def test_vectors_after_the_atoms_are_read(tmp_path):
    path = tmp_path / "v.xyz"
    one = "1\n\nH 0 0 0\nVEC1 5 0 0\nVEC2 0 5 0\nVEC3 0 0 5\n"
    path.write_text(one * 2)
    assert len(AtomStore.from_file(path)) == 2


def test_the_frame_that_fails_is_named(xyz):
    lines = xyz.read_text().split("\n")
    lines[12] = "C 0 0 zero"
    xyz.write_text("\n".join(lines))
    refused(xyz, r"cannot be read as extxyz: frame 1, ValueError")


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"<html>404</html>", b"\xff\xfe1\x00"])
@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.cif", "POSCAR", "a.pdb", "a.json", "a.db"])
def test_files_that_are_something_else(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, re.escape(name))
    assert path.read_bytes() == content  # nothing is written into it


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no structure file .*none\.xyz"):
        reading.read_ase(tmp_path / "none.xyz")
    (tmp_path / "folder.xyz").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.xyz"):
        reading.read_ase(tmp_path / "folder.xyz")
    (tmp_path / "unknown").write_text("hello")
    refused(tmp_path / "unknown", "Neither the name .* pass format")


def test_only_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: pytest.fail("a program was started"))
    monkeypatch.chdir(tmp_path)
    script = "images = [open('ran', 'w')]\n"
    for name in ("a.py", "a.cell", "a.gpw", "mysql.xyz", "postgres.py"):
        (tmp_path / name).write_text(script)
        refused(name, "no format that is read here|cannot be read|states its number of atoms")
    refused("a.py", "no format that is read here", format="castep-cell")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("at", [32, 40])
@pytest.mark.parametrize("value", [-1, 1 << 40, 1 << 62])
def test_counts_and_offsets_of_a_trajectory(tmp_path, at, value):
    path = tmp_path / "m.traj"
    ase.io.write(path, frames())
    data = bytearray(path.read_bytes())
    data[at : at + 8] = struct.pack("<q", value)
    path.write_bytes(data)
    refused(path, r"m\.traj (cannot be read as traj|holds no structure)")


def test_arrays_of_a_trajectory_fit_into_the_file(tmp_path):
    path = tmp_path / "m.traj"
    ase.io.write(path, frames())
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"ndarray": [[6, 3]', b'"ndarray": [[6e9]'[:18].ljust(18)))
    refused(path, "cannot be read as traj")


def test_a_bounded_file_gives_what_there_is(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    with promises.BoundedFile(tmp_path / "f") as file:
        assert file.read(1 << 60) == b"0123456789"
        file.seek(8)
        assert file.read() == b"89" and file.read(5) == b""
        file.seek(1 << 30)
        assert file.read(1 << 60) == b""
        with pytest.raises(OSError, match="its own methods"):
            file.fileno()


def test_counts_of_other_formats(tmp_path):
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    for name, kind in (("POSCAR", "vasp"), ("c.gen", "gen"), ("c.cube", "cube"), ("c.xsf", "xsf")):
        path = tmp_path / name
        ase.io.write(path, crystal, format=kind)
        text, n = re.subn(
            r"(?m)^( *)[12](?=( +1| +[FS]| +0\.0+ | *$))", r"\g<1>1000000000", path.read_text()
        )
        assert n, name
        path.write_text(text)
        refused(path, "states 1000000000 atoms or values")


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
3
ITEM: BOX BOUNDS pp pp pp
0 9
0 9
0 9
ITEM: ATOMS id type x y z fx fy fz
1 1 0 0 0 .1 0 0
2 2 0.96 0 0 0 .1 0
3 2 -0.24 0.93 0 0 0 .1
"""


def test_types_of_lammps_are_no_elements(tmp_path):
    path = tmp_path / "water.lammpstrj"
    path.write_text(DUMP * 2)
    refused(path, "types of atoms and not their elements: pass specorder")
    store = AtomStore.from_file(path, specorder=["O", "H"])
    assert store.elements == [1, 8] and store.has_forces and not store.has_energy
    refused(path, "names 'Q'", specorder=["Q", "H"])
    refused(path, r"more types of atoms than specorder names \(O\)", specorder=["O"])
    with pytest.raises(TypeError, match="must be elements, got 5"):
        AtomStore.from_file(path, specorder=5)
    path.write_text(DUMP.replace("\n3\n", "\n1000000000000\n"))
    refused(path, "frame 0 states 1000000000000 atoms", specorder=["O", "H"])


def test_types_of_a_data_file_of_lammps(tmp_path):
    path = tmp_path / "c.data"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6), format="lammps-data")
    refused(path, "pass specorder", format="lammps-data")
    store = AtomStore.from_file(path, format="lammps-data", specorder="Na,Cl")
    assert store.elements == [11, 17]
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6), format="lammps-data", masses=True)
    assert AtomStore.from_file(path, format="lammps-data").elements == [11, 17]


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ("abc", "'abc' is no index"),
        ("1:2:3:4", "no index"),
        ("::0", "no index"),
        (slice(0, 3, 0), "a step of 0"),
        (9, "no structure at the index 9"),
        (-9, "no structure at the index -9"),
        ("7:", "no structure at the index '7:'"),
        (1.5, "must be a number, a slice or text"),
        (slice(0.5, 2), "slice of whole numbers"),
    ],
)
def test_an_index_that_is_none_or_outside(xyz, index, match):
    refused(xyz, match, index=index)


def test_indices_as_ase_takes_them(xyz, tmp_path):
    energies = AtomStore.from_file(xyz).energy.tolist()
    for index in (0, -1, np.int64(1), ":", "::2", "-2:", slice(None, None, -1), "1"):
        expected = reading.as_ase_index(index)
        expected = energies[expected] if isinstance(expected, slice) else [energies[int(index)]]
        assert AtomStore.from_file(xyz, index=index).energy.tolist() == expected
    ase.io.write(tmp_path / "POSCAR", bulk("Cu"), format="vasp")  # of one structure
    for index in (0, -1, ":", "0:5"):
        assert len(AtomStore.from_file(tmp_path / "POSCAR", index=index)) == 1
    refused(tmp_path / "POSCAR", "no structure at the index 3", index=3)


def test_keywords_of_the_readers(xyz, tmp_path):
    assert len(AtomStore.from_file(xyz, format="extxyz")) == 3
    (tmp_path / "noname").write_bytes(xyz.read_bytes())
    assert len(AtomStore.from_file(tmp_path / "noname", format="extxyz")) == 3
    refused(xyz, "units cannot all be given", units="metal")
    refused(xyz, "no format that is read here", format="nonsense")


def test_compressed_files(xyz, tmp_path, monkeypatch):
    packed = tmp_path / "m.xyz.gz"
    packed.write_bytes(gzip.compress(xyz.read_bytes()))
    assert AtomStore.from_file(packed).energy.tolist() == AtomStore.from_file(xyz).energy.tolist()
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-30])
    refused(packed, "cannot be unpacked")
    monkeypatch.setattr(promises, "UNPACKED", 1000)
    packed.write_bytes(gzip.compress(b"1\n\nH 0 0 0\n" * 100_000))
    refused(packed, "unpacks to more than")


def test_json_arrays_fit_into_the_file(tmp_path):
    path = tmp_path / "m.json"
    ase.io.write(path, frames()[0])
    assert len(AtomStore.from_file(path)) == 1
    text = re.sub(r'("__ndarray__": \[\[)6', r"\g<1>6000000000", path.read_text(), count=1)
    path.write_text(text)
    refused(path, "does not fit into a file")


def test_lines_that_no_program_writes(tmp_path):
    path = tmp_path / "m.com"
    ase.io.write(path, molecule("H2O"), format="gaussian-in")
    path.write_text(path.read_text() + "(" * 100_000)
    refused(path, "has 100,000 characters")


def test_a_reader_that_waits_for_more_lines_than_there_are(tmp_path):
    path = tmp_path / "c.cube"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6), format="cube")
    lines = path.read_text().split("\n")
    assert lines[2].split()[0] == "2"
    lines[2] = lines[2].replace("2", "-1", 1)  # the numbers of orbitals follow, in a real file
    path.write_text("\n".join(lines))
    refused(path, "the file ends where more is expected|cannot be read as cube")


def test_blocks_that_a_reader_would_compare_for_ever_are_refused(tmp_path):
    path = tmp_path / "c.magres"
    path.write_text("#$magres-abinitio-v1.0\n[atoms]\n" + "[/atoms]\n" * 1000)
    with pytest.raises(ValueError, match="it ends 1,000 blocks, and up to 16 are read"):
        AtomStore.from_file(path)


def test_an_array_of_a_number_as_shape_is_compared_too(tmp_path):
    path = tmp_path / "m.json"
    ase.io.write(path, molecule("H2O"))
    text = path.read_text()
    assert '"pbc": {"__ndarray__": [[3]' in text
    path.write_text(
        text.replace('"pbc": {"__ndarray__": [[3]', f'"pbc": {{"__ndarray__": [{10**18}')
    )
    with pytest.raises(ValueError, match="does not fit into a file"):
        AtomStore.from_file(path)
