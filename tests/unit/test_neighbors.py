"""Half neighbor lists against ase's, on molecules, crystals, slabs, wires and cells far smaller
than the cutoff."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import complete_cell
from ase.neighborlist import neighbor_list as ase_neighbor_list

from scdlab.atoms import AtomStore, neighbor_list, neighbors, pairs_within
from scdlab.atoms.cell_list import pairs_of

REAL = Path(
    os.environ.get("SCDLAB_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)


def half_of_ase(atoms, cutoff):
    """ase's full list folded to one entry per unordered pair: a sorted list of (i, j, shift)."""
    i, j, shift = ase_neighbor_list("ijS", atoms, cutoff)
    return sorted(
        {
            min((a, b, *s), (b, a, *-s))
            for a, b, s in zip(i.tolist(), j.tolist(), shift, strict=True)
        }
    )


def ours(batch, cutoff):
    """Our list in the same form, after checking that every entry is once there, with i ≤ j and
    sorted."""
    pairs = neighbor_list(batch, cutoff)
    assert (pairs.i <= pairs.j).all()
    key = pairs.i * len(batch.pos) + pairs.j
    assert (key.diff() >= 0).all()
    shift = torch.zeros(len(pairs), 3) if pairs.shift is None else pairs.shift
    rows = zip(pairs.i.tolist(), pairs.j.tolist(), shift.long().numpy(), strict=True)
    out = [min((a, b, *s), (b, a, *-s)) for a, b, s in rows]
    assert len(set(out)) == len(out)
    return sorted(out), pairs


def random_cell(seed, pbc, n=4, length=3.0):
    rng = np.random.default_rng(seed)
    cell = length * (np.eye(3) + 0.3 * rng.normal(size=(3, 3)))
    return Atoms("CHNO"[:n], scaled_positions=rng.random((n, 3)), cell=cell, pbc=pbc)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_random_cells_agree_with_ase(pbc, seed):
    atoms = random_cell(seed, pbc)
    batch = AtomStore.from_ase(atoms).take([0])
    found, pairs = ours(batch, 5.0)
    assert found == half_of_ase(atoms, 5.0)
    reference = np.sort(ase_neighbor_list("d", atoms, 5.0))[
        ::2
    ]  # every distance stands there twice
    lengths = pairs.vectors(batch.pos, batch).norm(dim=1).sort().values.numpy()
    np.testing.assert_allclose(lengths, reference, atol=2e-5)


def test_one_atom_in_a_tiny_cell_pairs_with_each_image_once():
    atoms = Atoms("Cu", cell=np.eye(3) * 2.0, pbc=True)
    batch = AtomStore.from_ase(atoms).take([0])
    found, pairs = ours(batch, 4.1)
    assert (pairs.i == pairs.j).all()
    # integer vectors with |n| ≤ 2: 6 + 12 + 8 + 6 = 32, in opposite couples
    assert len(pairs) == 16
    assert found == half_of_ase(atoms, 4.1)


def test_atoms_outside_the_cell_and_open_directions_without_cell_vector():
    atoms = Atoms(
        "CO", positions=[[7.5, -3.0, 0.2], [0.4, 9.1, 1.0]], cell=[2.5, 2.6, 0], pbc=(1, 1, 0)
    )
    batch = AtomStore.from_ase(atoms).take([0])
    assert ours(batch, 4.0)[0] == half_of_ase(atoms, 4.0)


def test_mixed_batch_equals_its_parts():
    frames = [
        molecule("CH3CH2OH"),
        bulk("Cu", cubic=True).repeat((2, 1, 1)),
        molecule("H"),
        random_cell(3, (1, 0, 0)),
    ]
    frames.append(
        Atoms("H300", positions=np.random.default_rng(0).random((300, 3)) * 30)
    )  # large: a cell list
    batch = AtomStore.from_ase(frames).take(range(5))
    found, pairs = ours(batch, 4.5)
    expected = []
    first = 0
    for atoms in frames:
        expected += [(i + first, j + first, *s) for i, j, *s in half_of_ase(atoms, 4.5)]
        first += len(atoms)
    assert found == sorted(expected)
    assert (batch.batch[pairs.i] == batch.batch[pairs.j]).all()


def lists(batch, cutoff, monkeypatch, limit):
    """`ours`, with the cell list for structures of more than `limit` atoms."""
    for name in ("ALL_PAIRS_UP_TO", "ALL_IMAGES_UP_TO"):
        monkeypatch.setattr(f"scdlab.atoms.neighbors.{name}", limit)
    return ours(batch, cutoff)


def test_a_batch_of_small_cells_agrees_with_ase_and_with_the_cell_list(monkeypatch):
    rng = np.random.default_rng(5)
    frames = []
    for k in range(40):
        n = int(rng.integers(1, 9))
        cell = rng.uniform(2.0, 7.0, (3, 1)) * (np.eye(3) + 0.35 * rng.normal(size=(3, 3)))
        pbc = [(1, 1, 1), (1, 1, 0), (0, 0, 1), (0, 0, 0)][k % 4]
        # atoms lie up to three cells away from the one at the origin
        frames.append(
            Atoms(f"H{n}", scaled_positions=rng.uniform(-3, 3, (n, 3)), cell=cell, pbc=pbc)
        )
    batch = AtomStore.from_ase(frames, validate=False).take(range(40))
    found, pairs = lists(batch, 4.0, monkeypatch, 200)
    expected = []
    first = 0
    for atoms in frames:
        atoms = Atoms(
            atoms.numbers,
            atoms.positions.astype(np.float32),
            cell=atoms.cell.array.astype(np.float32),
            pbc=atoms.pbc,
        )
        expected += [(i + first, j + first, *s) for i, j, *s in half_of_ase(atoms, 4.0)]
        first += len(atoms)
    assert found == sorted(expected) and len(found) > 1000
    assert (pairs.i == pairs.j).sum() > 100
    by_cells, _ = lists(batch, 4.0, monkeypatch, 0)
    assert by_cells == found


@pytest.mark.parametrize("shear", [0.0, 3.7, -12.2])
def test_a_sheared_cell_has_the_same_neighbors(shear):
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=2)
    cell = copper.cell.array.copy()
    cell[2] += round(shear) * cell[0] + cell[1]  # another cell of the same crystal, flat and long
    sheared = Atoms(copper.numbers, copper.positions, cell=cell, pbc=True)
    batch = AtomStore.from_ase([copper, sheared]).take([0, 1])
    _, pairs = ours(batch, 5.0)
    d = pairs.vectors(batch.pos, batch).norm(dim=1)
    second = batch.batch[pairs.i] == 1
    torch.testing.assert_close(
        d[second].sort().values, d[~second].sort().values, rtol=1e-5, atol=1e-5
    )
    assert ours(AtomStore.from_ase(sheared).take([0]), 5.0)[0] == half_of_ase(sheared, 5.0)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 0)])
def test_a_large_cell_by_cell_list_as_by_all_images(monkeypatch, pbc):
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((3, 3, 4))
    salt.rattle(0.1, seed=3)
    salt.pbc = pbc
    batch = AtomStore.from_ase([salt, random_cell(0, True)]).take([0, 1])
    by_cells, _ = lists(batch, 5.0, monkeypatch, 200)
    by_images, _ = lists(batch, 5.0, monkeypatch, 300)
    assert by_cells == by_images and len(by_cells) > 2000


def test_two_searches_at_the_same_time_do_not_meet():
    from concurrent.futures import ThreadPoolExecutor

    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    batches = [AtomStore.from_ase(salt.repeat((3, 3, k))).take([0]) for k in (3, 4, 5, 6)]
    alone = [neighbor_list(batch, 4.5) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: neighbor_list(batch, 4.5), batches * 5))
    for a, b in zip(alone * 5, together, strict=True):
        assert torch.equal(a.i, b.i) and torch.equal(a.j, b.j) and torch.equal(a.shift, b.shift)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("kind", ["one", "line", "plane", "dense", "far"])
def test_the_cell_list_of_odd_structures_agrees_with_ase(kind, pbc):
    """Cells without width, many images of one atom, more pairs than there is room for at first, and
    atoms many cells away; in order, each pair's shifts too."""
    rng = np.random.default_rng(3)
    pos = {
        "one": [[0.3, 0.2, 0.1]],
        "line": np.outer(np.arange(7), [0, 0, 1.1]),
        "plane": np.append(rng.random((30, 2)) * 9, np.zeros((30, 1)), axis=1),
        "dense": rng.random((220, 3)) * 5,
        "far": rng.random((20, 3)) * 6 + rng.integers(-40, 40, (20, 3)) * 6.0,
    }[kind]
    cell = np.diag({"one": [1.3, 2.1, 1.7], "dense": [5.0, 5, 5]}.get(kind, [6.0, 9.5, 8.0]))
    cell[1, 0] = 0.7
    atoms = Atoms(f"H{len(pos)}", pos, cell=cell, pbc=pbc)
    box = complete_cell(np.where(np.array(pbc)[:, None], cell, 0.0))
    i, j, shift, d2 = pairs_of(atoms.positions, box, atoms.pbc, 4.0)
    found = [(*ij, *s) for *ij, s in zip(i.tolist(), j.tolist(), shift.tolist(), strict=True)]
    assert found == sorted(found) and all(a < b or s > [0, 0, 0] for a, b, *s in found)
    folded = [min((a, b, *s), (b, a, *(-x for x in s))) for a, b, *s in found]
    assert sorted(folded) == half_of_ase(atoms, 4.0)
    r = atoms.positions[j] - atoms.positions[i] + shift @ box
    np.testing.assert_allclose(d2, np.square(r).sum(1), rtol=1e-9, atol=1e-9)
    assert kind != "dense" or len(found) > 220 * 32


def test_pairs_within_leaves_structures_out_and_can_pair_an_atom_with_itself():
    ptr = torch.tensor([0, 2, 5])
    structure = torch.tensor([0, 0, 1, 1, 1])
    i, j = pairs_within(ptr, structure, without=[0], loops=True)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [
        (2, 2),
        (2, 3),
        (2, 4),
        (3, 3),
        (3, 4),
        (4, 4),
    ]


@pytest.mark.parametrize("row", [(4.0, 0, 0), (1.7, 2.9, 0), (0, 0, 0), (float("nan"), 0, 0)])
@pytest.mark.parametrize("repeat", [1, 4])
def test_a_cell_without_volume_is_named(row, repeat):
    batch = AtomStore.from_ase([molecule("H2O"), bulk("Cu", cubic=True).repeat(repeat)]).take(
        [0, 1]
    )
    batch.cell[1, 2] = torch.tensor(row)
    with pytest.raises(
        ValueError, match="Structure 1 of the batch has periodic cell vectors that lie in one plane"
    ):
        neighbor_list(batch, 3.0)


def test_molecules_alone_have_no_shift():
    batch = AtomStore.from_ase([molecule("CH4"), molecule("H2O")]).take([0, 1])
    pairs = neighbor_list(batch, 5.0)
    assert pairs.shift is None and len(pairs) == 10 + 3 and pairs.i.dtype == torch.int64


def test_vectors_are_differentiable_in_positions_and_cell():
    batch = AtomStore.from_ase(random_cell(1, True, n=3)).take([0])
    pairs = neighbor_list(batch, 4.0)
    pos = batch.pos.double().requires_grad_()
    cell = batch.cell.double().requires_grad_()

    def lengths(pos, cell):
        batch.cell = cell
        return pairs.vectors(pos, batch).norm(dim=1)

    assert torch.autograd.gradcheck(lengths, (pos, cell))


def test_data_without_batch_vector_is_one_structure():
    from torch_geometric.data import Data

    data = Data(z=torch.tensor([1, 1, 1]), pos=torch.tensor([[0.0, 0, 0], [1, 0, 0], [9, 0, 0]]))
    assert neighbor_list(data, 2.0).j.tolist() == [1]


@pytest.mark.parametrize("cutoff", [0, -1.0, float("nan"), float("inf"), "4", None])
def test_cutoff_must_be_a_positive_length(cutoff):
    batch = AtomStore.from_ase(molecule("H2O")).take([0])
    with pytest.raises(ValueError, match="must be a positive length in Å"):
        neighbor_list(batch, cutoff)


@pytest.mark.parametrize("pbc", [False, True])
def test_coincident_atoms_are_named(pbc):
    two = Atoms("HH", positions=[[0, 0, 0], [1, 0, 0]], cell=np.eye(3) * 8, pbc=pbc)
    batch = AtomStore.from_ase([two, two]).take([0, 1])
    batch.pos[3] = batch.pos[2]
    with pytest.raises(
        ValueError, match="Structure 1 of the batch has atoms 0 and 1 at the same position"
    ):
        neighbor_list(batch, 3.0)
    batch.pos[3] = float("nan")
    with pytest.raises(ValueError, match="Structure 1 of the batch has a position that is NaN"):
        neighbor_list(batch, 3.0)


# --------------------------------------------------------------------------------------------------
# real structures


def real(name):
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {REAL}: set SCDLAB_DATA to its folder")
    return np.load(path)


@pytest.mark.parametrize("name", ["perov5_valtest.npz", "oc20_30relaxations_eV.npz"])
def test_real_crystals_and_slabs(name):
    data = real(name)
    ptr = np.concatenate([[0], np.cumsum(data["n_atoms"])])
    store = AtomStore.from_arrays(data["z"], data["R"], ptr, cell=data["cell"])
    index = np.linspace(0, len(store) - 1, 6).astype(int)
    batch = store.take(index)
    pairs = neighbor_list(batch, 5.0)
    per_structure = torch.bincount(batch.batch[pairs.i], minlength=len(index)).tolist()
    assert per_structure == [len(ase_neighbor_list("i", store.to_ase(k), 5.0)) // 2 for k in index]
    assert pairs.vectors(batch.pos, batch).norm(dim=1).max() < 5.0001


def test_a_real_protein_by_cell_list_as_by_all_pairs(monkeypatch):
    data = real("pdb_1l2y_trpcage_38models.npz")
    z = [{"H": 1, "C": 6, "N": 7, "O": 8}[e.strip().title()] for e in data["element"]]
    batch = AtomStore.from_ase([Atoms(z, pos) for pos in data["R"][:3]]).take(range(3))
    by_cells = neighbor_list(batch, 6.0)
    monkeypatch.setattr("scdlab.atoms.neighbors.ALL_PAIRS_UP_TO", 1000)
    by_all = neighbor_list(batch, 6.0)
    assert (
        torch.equal(by_cells.i, by_all.i)
        and torch.equal(by_cells.j, by_all.j)
        and by_cells.shift is None
    )


def test_a_very_skewed_cell_is_left_to_the_cell_list(monkeypatch):
    """Along a short dual vector hundreds of images would have to be tried."""
    rng = np.random.default_rng(0)
    cell = np.array([[8.0, 0, 0], [400.0, 8.0, 0], [0, 0, 8.0]])
    atoms = Atoms("H30", scaled_positions=rng.random((30, 3)), cell=cell, pbc=True)
    batch = AtomStore.from_ase([atoms]).take([0])
    expected = neighbors.neighbor_list(batch, 5.0)
    monkeypatch.setattr(neighbors, "MANY", 10**12)
    tried = neighbors.neighbor_list(batch, 5.0)
    assert len(expected) == len(tried) > 0
    assert sorted(expected.vectors(batch.pos, batch).norm(dim=1).tolist()) == pytest.approx(
        sorted(tried.vectors(batch.pos, batch).norm(dim=1).tolist()), abs=1e-3
    )
    monkeypatch.undo()
    monkeypatch.setattr(neighbors, "_all_images", None)  # not called
    neighbors.neighbor_list(batch, 5.0)


def test_both_directions_of_a_half_list():
    batch = AtomStore.from_ase(random_cell(0, (1, 1, 0))).take([0])
    pairs = neighbor_list(batch, 4.0)
    edges = pairs.directed()
    n = len(pairs)
    assert len(edges) == 2 * n > 0
    assert torch.equal(edges.target[:n], pairs.i) and torch.equal(edges.source[:n], pairs.j)
    assert torch.equal(edges.target[edges.reverse], edges.source)
    assert torch.equal(edges.pair[edges.reverse], edges.pair)
    assert torch.equal(edges.reverse[edges.reverse], torch.arange(2 * n))
    r_ij = pairs.vectors(batch.pos, batch)  # (P, 3)
    signed = edges.sign.unsqueeze(-1) * r_ij[edges.pair]
    assert torch.equal(signed, edges.both_signed(r_ij))
    assert torch.equal(edges.both_signed(r_ij)[edges.reverse], -signed)
    assert torch.equal(edges.both(r_ij), r_ij[edges.pair])


def test_no_pairs_have_no_directions():
    none = torch.zeros(0, dtype=torch.long)
    edges = neighbors.Pairs(none, none, None, 5.0).directed()
    assert len(edges) == len(edges.sign) == len(edges.reverse) == len(edges.pair) == 0
