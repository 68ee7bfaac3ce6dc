"""DeNS on validation frames: share, size and weight of its corruptions against plain training.

    python tools/dens_search.py [--steps 2500] [--seeds 100 101] [--only NAME …] [--direct]

Ethanol, 100 frames, as the claims on DeNS have them, but other seeds, and errors on 500 frames that
are neither trained on nor tested on: what is chosen here is chosen before any claim is measured.
Each training is kept in the folder --out, so that a search may be interrupted, and two processes
may share it, with a seed each. Printed is the force error of each variant, and how much lower it is
than that of plain training, seed by seed.
"""

import argparse
import json
from pathlib import Path

VARIANTS = {  # name -> settings of the tuned arm where they differ from the published ones
    "plain": None,
    "published": {},
    "p 0.125": {"prob": 0.125},
    "σ 0.025": {"sigma": 0.025},
    "p 0.125, σ 0.025": {"prob": 0.125, "sigma": 0.025},
    "λ / 4": {"denoising_weight": 0.0625 / 4},
    "λ × 4": {"denoising_weight": 0.0625 * 4},
    "no labels": {"labels_of_corrupted": False},
    "p 0.125, no labels": {"prob": 0.125, "labels_of_corrupted": False},
}
PUBLISHED = {
    "prob": 0.25,
    "sigma": 0.05,
    "corrupt_ratio": 0.25,
    "denoising_weight": 0.0625,
    "labels_of_corrupted": True,
}


def settings_of(name: str, steps: int, direct: bool) -> dict:
    """The recipe's settings for a variant."""
    from scdlab.claims import dens_rules

    tuned = {f"tuned_{key}": value for key, value in (PUBLISHED | (VARIANTS[name] or {})).items()}
    return dens_rules.NIGHT | tuned | {"steps": steps, "direct_forces": direct, "n_test": 500}


def measured(name: str, steps: int, direct: bool, seed: int) -> dict:
    """Force errors of a variant on frames of its own, and on its training frames, meV/Å."""
    import scdlab
    from scdlab.claims import dens, dens_frames
    from scdlab.objectives import EnergyForces

    settings = settings_of(name, steps, direct)
    model = dens.learned("plain" if VARIANTS[name] is None else "tuned", settings, seed, "cpu")
    train, _, unseen = dens_frames.frames(settings, seed)
    return {
        what: 1e3 * scdlab.evaluate(model, store, EnergyForces())["force_mae"]
        for what, store in (("validation", unseen), ("training", train))
    }


def path_of(folder: Path, name: str, steps: int, direct: bool, seed: int) -> Path:
    """Where a result is kept."""
    word = name.replace(" ", "").replace("/", "over").replace(",", "_").replace("×", "x")
    kind = "direct" if direct else "gradient"
    return folder / f"{word}.{kind}.{steps}.seed{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2_500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--direct", action="store_true", help="forces from a head of their own")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/dens-search"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, int], dict] = {}
    for seed in args.seeds:
        for name in args.only:
            path = path_of(args.out, name, args.steps, args.direct, seed)
            if not path.is_file() and not args.table:
                result = measured(name, args.steps, args.direct, seed)
                path.write_text(json.dumps(result))
            if path.is_file():
                found[name, seed] = json.loads(path.read_text())
                print(name, seed, found[name, seed], flush=True)
    print("\n| variant | " + " | ".join(f"seed {s}" for s in args.seeds) + " | gain, % |")
    for name in args.only:
        errors = [found.get((name, seed), {}).get("validation") for seed in args.seeds]
        plain = [found.get(("plain", seed), {}).get("validation") for seed in args.seeds]
        gains = [100 * (1 - e / p) for e, p in zip(errors, plain, strict=True) if e and p]
        shown = " | ".join("–" if e is None else f"{e:.1f}" for e in errors)
        print(f"| {name} | {shown} | {', '.join(f'{gain:+.1f}' for gain in gains) or '–'} |")


if __name__ == "__main__":
    main()
