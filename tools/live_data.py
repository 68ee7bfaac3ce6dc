"""What the live page (`scdlab live`) holds beside the weights: molecules with their places on a
map, frames, crystals, and what each network knows.

SCDLAB_DATA=FOLDER python tools/live_data.py     some minutes; writes data/live/live.json

FOLDER holds rmd17_ethanol.npz, from which `pet-ethanol` has learned. Needs QM9 (qm9pack), tblite
and umap-learn too.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import molecule
from live_models import SETTINGS, disturbed, sample

import scdlab
from scdlab.analysis.denoising import Reference
from scdlab.analysis.embeddings import embed, extensivity, reduce_embedding, smoothness
from scdlab.atoms import AtomStore
from scdlab.claims import get
from scdlab.claims.common import molecules
from scdlab.claims.self_conditioned_frames import mixed_frames
from scdlab.explore.style import element_color
from scdlab.files import package_dir, write_json

OUT = package_dir("data") / "live" / "live.json"
UNIT = 1e-3  # Å of positions, which are whole numbers
STEP = 0.05  # spreads of a feature, which is a whole number of them
MOLECULES = 2000
REFERENCE_ATOMS = 450
FAR_STEP = 0.01  # of distances, which are whole numbers of it
RARE = 40  # atoms of each element at least, where there are so many
FRAMES = {"ethanol": 8, "aspirin": 4, "isomers": 10, "alloys": 12}
TRAINED_ON = {"ethanol": 1500, "aspirin": 800}
HEAVIEST = 96  # the last element with a radius
PULLED = 0.35  # Å, of the hydroxyl's hydrogen in the first scene, along its bond


def text_of(array: np.ndarray) -> str:
    """An array's numbers in base64, little-endian."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def whole(pos: np.ndarray) -> np.ndarray:
    """Positions in whole numbers of UNIT."""
    return np.round(np.asarray(pos, float) / UNIT).astype(int)


def unseen(store: AtomStore, *seen: AtomStore) -> AtomStore:
    """Structures of a store that are in none of others."""

    def places(each: AtomStore) -> list[bytes]:
        batch = each.take(np.arange(len(each)))
        return [x.tobytes() for x in np.split(batch.pos.numpy(), batch.ptr[1:-1].numpy())]

    known = {x for each in seen for x in places(each)}
    return store.subset(np.array([k for k, x in enumerate(places(store)) if x not in known]))


def plain(store: AtomStore, centered: bool = True) -> list[dict[str, Any]]:
    """Structures as the page reads them."""
    found = []
    for k in range(len(store)):
        atoms = store.to_ase(k)
        pos = atoms.positions - (atoms.positions.mean(0) if centered else 0)
        entry = {"z": atoms.numbers.tolist(), "pos": whole(pos).ravel().tolist()}
        if atoms.pbc.any():
            entry["cell"] = np.round(atoms.cell.array, 5).ravel().tolist()
        found.append(entry)
    return found


def frames() -> dict[str, list[dict[str, Any]]]:
    """Frames and crystals that no network of the page has learned from; first, ethanol at rest."""
    settings = SETTINGS["schnet-molecules"]
    found = {}
    for name in ("ethanol", "aspirin", "isomers"):
        store = getattr(scdlab, f"load_{name}")()
        own = store.split(settings[f"n_{name}"], 0, seed=0)[0]
        if name == "isomers":
            others = store.split(2500, 0, seed=0, groups="molecule")[0]
            left = unseen(store, own, others)
            of = left.property("molecule")
            rows = [np.flatnonzero(of == m)[0] for m in sorted(set(of))][: FRAMES[name]]
            found[name] = plain(left.subset(np.array(rows)))
            continue
        others = store.split(TRAINED_ON[name], 0, seed=0)[0]
        pair = store.split(1000, 0, seed=0)[0] if name == "ethanol" else own
        found[name] = plain(unseen(store, own, others, pair).sample(FRAMES[name], seed=0))
    at_rest = Reference("gfn2").relax(molecule("CH3CH2OH"), fmax=0.002, steps=500)
    found["ethanol"] = [*plain(AtomStore.from_ase([at_rest])), *found["ethanol"]]
    alloys = scdlab.load_alloys().split(572, 0, seed=0)[2]
    found["alloys"] = plain(alloys.sample(FRAMES["alloys"], seed=0), centered=False)
    return found


def qm9() -> dict[str, Any]:
    """Molecules that no network of the page has learned from, and their map."""
    rest = sample().split(SETTINGS["schnet-molecules"]["n_molecules"], 0, seed=0)[2]
    store = rest.sample(MOLECULES, seed=1)
    x, index = embed(scdlab.load_pretrained("scd-ct"), store, n=None)
    xy = reduce_embedding(x, "umap", seed=0)
    far, farthest = from_training(store.subset(index), store)
    low, high = xy.min(0), xy.max(0)
    atoms = [store.to_ase(int(k)) for k in index]
    size = np.array([len(a) for a in atoms])
    gap = np.array([store.property("gap")[k] for k in index])
    pos = np.concatenate([whole(a.positions - a.positions.mean(0)) for a in atoms])
    return {
        "size": text_of(size.astype(np.uint8)),
        "z": text_of(np.concatenate([a.numbers for a in atoms]).astype(np.uint8)),
        "pos": text_of(pos.astype(np.int16)),
        "gap": text_of(gap.astype(np.float32)),
        "map": text_of(np.round(65535 * (xy - low) / (high - low)).astype(np.uint16)),
        "extensivity": extensivity(x, size),
        "smoothness": smoothness(x, gap),
        "far": text_of(np.minimum(np.round(far / FAR_STEP), 65535).astype(np.uint16)),
        "far_step": FAR_STEP,
        "farthest": text_of(farthest.astype(np.uint8)),
    }


def from_training(store: AtomStore, shown: AtomStore) -> tuple[np.ndarray, np.ndarray]:
    """How far molecules are from what the network of the map has learned from, in units of what is
    usual for unseen molecules that are not shown, and the atom that is farthest, of each."""
    model = scdlab.load_pretrained("scd-ct")
    seen, held_out = molecules(get("scd-extensivity").settings("cpu"), 0)
    others = unseen(held_out, shown).sample(300, seed=2)
    about = known(model, seen.sample(120, seed=0), others)
    found = [farthest_atom(about, z, x) for z, x in features(model, store)]
    largest, atoms = (np.array(each) for each in zip(*found, strict=True))
    return largest / about["usual"], atoms


def shaken(store: AtomStore, sigma: float = 0.04) -> AtomStore:
    """Structures with noise, as a denoiser is trained on them."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(len(store)):
        atoms = store.to_ase(k)
        atoms.calc = None
        atoms.positions += sigma * rng.standard_normal(atoms.positions.shape)
        found.append(atoms)
    return AtomStore.from_ase(found)


def features(model: Any, store: AtomStore) -> list[tuple[np.ndarray, np.ndarray]]:
    """Atomic numbers and features of each structure; a conditional model is told nothing."""
    found = []
    with torch.no_grad():
        for k in range(len(store)):
            batch = store.take(np.array([k]))
            atoms = model(batch, noise=False).atoms
            found.append((batch.z.numpy(), atoms.double().numpy()))
    return found


def known(model: Any, train: AtomStore, test: AtomStore) -> dict[str, Any]:
    """Features of atoms of a training set, and how far those of unseen structures usually are."""
    there = features(model, train)
    z = np.concatenate([z for z, _ in there])
    x = np.concatenate([x for _, x in there])
    rng = np.random.default_rng(0)
    rows = list(rng.permutation(len(z))[:REFERENCE_ATOMS])
    for element in np.unique(z):
        rows += list(rng.permutation(np.flatnonzero(z == element))[:RARE])
    rows = np.unique(rows)
    mean = x.mean(0)
    spread = np.maximum(x.std(0), 1e-6)
    kept = np.clip(np.round((x[rows] - mean) / spread / STEP), -127, 127).astype(np.int8)
    about = {
        "z": z[rows].tolist(),
        "features": text_of(kept),
        "step": STEP,
        "mean": np.round(mean, 6).tolist(),
        "spread": np.round(spread, 6).tolist(),
    }
    largest = [farthest_atom(about, *own)[0] for own in features(model, test)]
    return about | {"usual": float(np.quantile(largest, 0.95))}


def farthest_atom(about: dict[str, Any], z: np.ndarray, x: np.ndarray) -> tuple[float, int]:
    """The largest distance of a structure's atoms to the nearest that `known` has kept, and which
    atom it is; as the page's Reference has it."""
    whole_numbers = np.frombuffer(base64.b64decode(about["features"]), np.int8)
    reference = about["step"] * whole_numbers.reshape(len(about["z"]), -1).astype(float)
    own = (x - np.array(about["mean"])) / np.array(about["spread"])
    elements = np.array(about["z"])
    distances = []
    for element, row in zip(z, own, strict=True):
        squares = ((reference[elements == element] - row) ** 2).sum(1)
        distances.append(np.sqrt(squares.min(initial=np.inf)))
    atom = int(np.argmax(distances))
    return float(distances[atom]), atom


def references() -> dict[str, Any]:
    """What the networks of the page know, by name."""
    settings = SETTINGS["schnet-molecules"]
    some, _, rest = sample().split(settings["n_molecules"], 0, seed=0)
    of_frames = {
        name: getattr(scdlab, f"load_{name}")().split(settings[f"n_{name}"], 0, seed=0)
        for name in ("ethanol", "aspirin", "isomers")
    }

    def with_frames(disturbed_ones: AtomStore, part: int, n: int) -> AtomStore:
        each = [split[part].sample(n, seed=0) for split in of_frames.values()]
        return AtomStore.concat([disturbed_ones, *each], meta={})

    molecules_train = with_frames(disturbed(some.sample(120, seed=2), settings, seed=2), 0, 12)
    molecules_test = with_frames(disturbed(rest.sample(60, seed=3), settings, seed=3), 2, 12)
    ethanol = scdlab.load_ethanol().split(1000, 0, seed=0)
    pretrained = get("coord-extensivity").settings("cpu")
    geometries, held_out = molecules(pretrained, 0)
    mixed = mixed_frames(0)
    md17 = scdlab.load_md17("ethanol").split(950, 0, seed=0)
    sets = {
        "schnet-molecules": (molecules_train, molecules_test),
        "schnet-ethanol": (ethanol[0].sample(80, seed=0), ethanol[2].sample(80, seed=0)),
        "schnet-ethanol-direct": (ethanol[0].sample(80, seed=0), ethanol[2].sample(80, seed=0)),
        "coord-et": (shaken(geometries.sample(100, seed=0)), shaken(held_out.sample(100, seed=0))),
        "scd-ct-frames": (mixed.train.sample(120, seed=0), mixed.test.sample(100, seed=0)),
        "pet-ethanol": (md17[0].sample(80, seed=0), md17[2].sample(80, seed=0)),
    }
    found = {}
    for name, (train, test) in sets.items():
        model = scdlab.load_pretrained(name)
        found[name] = known(model, train, test)
        print(name, "usual", round(found[name]["usual"], 2), flush=True)
    return found


def first(scene: dict[str, Any]) -> dict[str, Any]:
    """The scene that the page shows before any weights are decoded."""
    import ase
    from ase.data import covalent_radii

    model = scdlab.load_pretrained("schnet-molecules")
    atoms = ase.Atoms(scene["z"], UNIT * np.reshape(scene["pos"], (-1, 3)))
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[0])
    away = atoms.positions - atoms.positions[oxygen]
    length = np.linalg.norm(away, axis=1)
    atom = int(np.where(atoms.numbers == 1, length, np.inf).argmin())
    step = np.round(PULLED * away[atom] / length[atom], 3).tolist()
    atoms.calc = scdlab.Calculator(model)
    start = atoms.get_potential_energy()
    moved = atoms.copy()
    moved.positions[atom] += step
    moved.calc = scdlab.Calculator(model)
    elements = range(1, HEAVIEST + 1)
    return {
        "values": {
            "stop": 1,
            "from": "ethanol.0",
            "moved": {str(atom): step},
            "atom": -1,
            "distance": 1.5,
            "temperature": 300,
            "time": 0,
            "sigma": 0.1,
            "draw": 1,
            "tolerance": 0,
            "mix": 0,
            "other": "aspirin.1",
            "color": "size",
            "angle": 0,
            "show": "forces",
        },
        "scene": {"z": scene["z"], "pos": atoms.positions.ravel().tolist(), "cell": None},
        "answer": {
            "energy": float(moved.get_potential_energy()),
            "start": float(start),
            "forces": np.round(moved.get_forces(), 4).ravel().tolist(),
        },
        "elements": {
            "colors": {str(z): element_color(z).lower() for z in elements},
            "radii": {str(z): round(float(covalent_radii[z]), 2) for z in elements},
        },
    }


def main() -> int:
    """Write the file."""
    there = frames()
    content = {
        "unit": UNIT,
        "first": first(there["ethanol"][0]),
        "qm9": qm9(),
        "frames": there,
        "references": references(),
    }
    Path(OUT).parent.mkdir(parents=True, exist_ok=True)
    write_json(OUT, content)
    print(f"{OUT.name}: {OUT.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
