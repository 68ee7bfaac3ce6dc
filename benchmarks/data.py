"""Batches and neighbor lists: how long before a model sees its atoms.

    batches     AtomStore.take of 128 QM9 molecules against torch_geometric's DataLoader, given the
                same molecules as a list of Data: only its collate, without the loader's own work.
                Once with all that our batch has, each property by its name too, and once with no
                more than z, pos, energy and y.
    neighbors   neighbor_list within 5 Å against vesin alone, a search per structure, and against
                ase's neighbor_list: large and small periodic cells, and molecules. vesin gives each
                pair once, as ours; ase gives it twice. vesin works on threads of its own, ours and
                ase on one.

All sides take turns in one process, as they come; the median over rounds counts. Before anything is
timed, the batches are compared tensor by tensor and the neighbor lists pair by pair.

    python benchmarks/data.py       about a minute; writes results/data.json and its table in
                                    benchmarks/README.md
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
from harness import Others, about, machine, put_into, warn_if_busy, write

HERE = Path(__file__).resolve()
CUTOFF = 5.0  # Å
MOLECULES = 128


def same_batches(store, index) -> dict:
    """{side: task} that gathers the molecules `index` of a store, after a check that all give equal
    tensors."""
    import torch
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader

    ours = store.take(index)
    sides = {"ours": lambda: store.take(index)}
    everything = sorted(set(ours.keys()) - {"batch", "ptr"})
    for side, names in (("PyG", everything), ("PyG, fewer fields", ["z", "pos", "energy", "y"])):
        data = [
            Data(**{name: one[name].clone() for name in names})
            for one in (store.take([k]) for k in index)
        ]
        sides[side] = partial(DataLoader(data, batch_size=len(data)).collate_fn, data)
        theirs = sides[side]()
        for name in (*names, "batch", "ptr"):
            if not torch.equal(ours[name], theirs[name]):
                raise SystemExit(
                    f"The batches of scdlab and {side} differ in {name!r}; nothing was timed."
                )
    return sides


def same_neighbors(frames: list) -> dict:
    """{side: task} that finds the neighbors of some ase.Atoms, after a check that all find the same
    pairs."""
    import vesin
    from ase.neighborlist import neighbor_list as ase_neighbor_list

    import scdlab

    batch = scdlab.AtomStore.from_ase(frames).take(range(len(frames)))
    frames = [a.copy() for a in frames]
    for atoms in frames:  # the single precision of a batch, for all
        atoms.positions = atoms.positions.astype(np.float32)
        atoms.cell = atoms.cell.array.astype(np.float32)
    search = vesin.NeighborList(cutoff=CUTOFF, full_list=False)
    search.n_threads = 1  # a team of its own would spin into the turns of the others
    sides = {
        "ours": lambda: scdlab.neighbor_list(batch, CUTOFF),
        "vesin": lambda: [search.compute(a.positions, a.cell.array, a.pbc, "ijS") for a in frames],
        "ase": lambda: [ase_neighbor_list("ijS", a, CUTOFF) for a in frames],
    }
    pairs = sides["ours"]()
    shift = np.zeros((len(pairs), 3)) if pairs.shift is None else pairs.shift.numpy()
    found = {"ours": _unordered(pairs.i.numpy(), pairs.j.numpy(), shift)}
    for side in ("vesin", "ase"):
        lists = [
            (i + first, j + first, s)
            for first, (i, j, s) in zip(batch.ptr.numpy(), sides[side](), strict=False)
        ]
        found[side] = _unordered(*(np.concatenate(part) for part in zip(*lists, strict=True)))
        if found[side] != found["ours"]:
            raise SystemExit(f"{side} and scdlab do not find the same pairs; nothing was timed.")
    return sides


def _unordered(i, j, shift) -> set:
    """A neighbor list as a set in which (i, j, shift) and (j, i, -shift) are one."""
    rows = zip(i.tolist(), j.tolist(), shift.astype(int).tolist(), strict=True)
    return {min((a, b, *s), (b, a, *(-x for x in s))) for a, b, s in rows}


def tasks(n_molecules: int = MOLECULES, repeat: int = 5, cells: int = 32) -> dict:
    """{what: sides}: everything that is timed, checked."""
    from ase.build import bulk

    import scdlab

    store = scdlab.load_qm9(limit=5_000)
    index = np.random.default_rng(0).permutation(len(store))[:n_molecules]
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    copper = bulk("Cu", cubic=True)
    small = [salt.copy() for _ in range(cells)]
    large = {"NaCl": salt.repeat(repeat), "Cu": copper.repeat((repeat, repeat, 2 * repeat))}
    for seed, atoms in enumerate((*small, *large.values())):
        atoms.rattle(0.1, seed=seed)
    out = {f"a batch of {n_molecules} molecules, gathered": same_batches(store, index)}
    for name, atoms in large.items():
        out[f"neighbors in {len(atoms):,} atoms of {name}, periodic"] = same_neighbors([atoms])
    out[f"neighbors in {cells} cells of {len(salt)} atoms"] = same_neighbors(small)
    out[f"neighbors in {n_molecules} molecules"] = same_neighbors(
        [store.to_ase(int(k)) for k in index]
    )
    return out


def race(sides: dict, rounds: int, repeats: int) -> list[dict]:
    """Interleaved timings, one row per peer: medians in ms, and the median and spread of theirs /
    ours by round."""
    times = {side: [] for side in sides}
    for _ in range(rounds):
        for side, task in sides.items():
            once = []
            for _ in range(repeats):
                start = time.perf_counter()
                task()
                once.append(time.perf_counter() - start)
            times[side].append(1e3 * statistics.median(once))
    rows = []
    for peer in list(sides)[1:]:
        ratios = [theirs / ours for ours, theirs in zip(times["ours"], times[peer], strict=True)]
        rows.append(
            {
                "peer": peer,
                "ours_ms": statistics.median(times["ours"]),
                "theirs_ms": statistics.median(times[peer]),
                "ratio": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
        )
    return rows


def table(report: dict) -> str:
    """The report as a markdown table, with the machine it was measured on."""
    rows = ["| | scdlab | | peer | ratio |", "|---|--:|---|--:|--:|"]
    for row in report["results"]:
        cells = [row["what"], f"{row['ours_ms']:.2f} ms", row["peer"], f"{row['theirs_ms']:.2f} ms"]
        rows.append(f"| {' | '.join(cells)} | **{row['ratio']:.1f}×** |")
    return "\n".join([*rows, "", about(report)])


def main():
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="folder of the report"
    )
    options = parser.parse_args()
    before = warn_if_busy()
    results = []
    for what, sides in tasks().items():
        others = Others()
        rows = race(sides, options.rounds, options.repeats)
        load = others.report()
        for row in rows:
            results.append({"what": what, **row, **load})
            times = f"scdlab {row['ours_ms']:7.2f} ms   {row['peer']:5s} {row['theirs_ms']:7.2f} ms"
            busy = f"   BUSY: others used {load['others']} cores" if load["busy"] else ""
            spread = f"({row['ratio_min']:.1f}–{row['ratio_max']:.1f})"
            print(f"{what:46s} {times}   {row['ratio']:5.1f}× {spread}{busy}", flush=True)
    report = {
        "command": (
            f"python benchmarks/data.py --rounds {options.rounds} --repeats {options.repeats}"
        ),
        "machine": machine() | {name: version(name) for name in ("vesin", "ase")},
        "before": before,
        "busy": any(row["busy"] for row in (before, *results)),
        "results": results,
    }
    write(options.out / "data.json", report)
    if options.out == HERE.parent / "results":
        put_into(HERE.with_name("README.md"), "data", table(report))


if __name__ == "__main__":
    main()
