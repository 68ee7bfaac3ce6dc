"""The parts of `make gpu`: training steps on a GPU beside those of peers, pretraining in molecules
a second, and the ceilings of the card. `tools/gpu.py` runs them, each in a process of its own.

    python benchmarks/gpu_parts.py ceilings       what the card reaches: copies, and matrix products
    python benchmarks/gpu_parts.py schnet-128     SchNet against PyG and schnetpack, 128 molecules
    python benchmarks/gpu_parts.py …              any name of PARTS; prints its results as json

Sides take turns, as on a processor; times are medians, with the device waited for at both ends of
some steps in a row. Memory is what a step allocates at its peak beyond weights and optimizer.
Before anything is timed, all sides must predict the same and have the same loss.
"""

import argparse
import itertools
import json
import statistics
import time
from importlib.util import find_spec

from harness import floor, loss_differences

SCD_STEPS = 40
LOG_EVERY = 10


def ceilings(device: str, n: int = 8192, megabytes: int = 1024, repeats: int = 9) -> dict:
    """What a device reaches, medians: products of float32 matrices, exact and (on a GPU) in TF32,
    and a copy in its memory; bandwidth counts bytes read and bytes written."""
    import torch

    def median_seconds(task):
        task()
        times = []
        for _ in range(repeats):
            wait(device)
            start = time.perf_counter()
            task()
            wait(device)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    a, b, out = (torch.rand(n, n, device=device) for _ in range(3))
    before = torch.get_float32_matmul_precision()
    found = {}
    try:
        for name, precision in (("matmul_GFLOPs", "highest"), ("tf32_GFLOPs", "high")):
            if name == "tf32_GFLOPs" and device == "cpu":
                continue
            torch.set_float32_matmul_precision(precision)
            found[name] = 2e-9 * n**3 / median_seconds(lambda: torch.mm(a, b, out=out))
    finally:
        torch.set_float32_matmul_precision(before)
    source = torch.ones(megabytes << 18, device=device)
    target = torch.empty_like(source)
    copy = median_seconds(lambda: target.copy_(source))
    return found | {"copy_GBs": 2e-9 * source.numel() * 4 / copy}


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def peak_MB(step, device: str) -> float | None:
    """What a step allocates at its peak beyond what is there before it, None on a processor."""
    import torch

    if device == "cpu":
        return None
    step()
    wait(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    wait(device)
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def turns(steps: dict, device: str, rounds: int = 7, seconds: float = 0.2) -> dict:
    """Interleaved timings of steps, the first one ours: for each side, its median in ms and its
    peak memory; for each peer, the median and spread of theirs / ours by round."""
    repeats = {}
    for name, step in steps.items():
        step()  # compiles kernels
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        each = max(time.perf_counter() - start, 1e-4)
        repeats[name] = max(1, min(50, int(seconds / each)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            wait(device)
            start = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            wait(device)
            times[name].append(1e3 * (time.perf_counter() - start) / repeats[name])
    ours, *peers = steps
    rows = {
        name: {"ms": statistics.median(times[name]), "MB": peak_MB(step, device)}
        for name, step in steps.items()
    }
    for name in peers:
        ratios = [theirs / own for theirs, own in zip(times[name], times[ours], strict=True)]
        rows[name] |= {
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
    return rows


def compared(steps: dict, device: str, rounds: int) -> dict:
    """The timings of steps that compute the same, with ours as a share of a ceiling."""
    differences = loss_differences(steps)
    rows = turns(steps, device, rounds)
    ours = next(iter(steps))
    small = {"n": 512, "megabytes": 16} if device == "cpu" else {}
    under = floor(steps[ours], ceilings(device, **small))
    share = under["floor_ms"] / rows[ours]["ms"]
    return {"sides": rows, "loss_differences": differences, **under, "share_of_ceiling": share}


def plain_too(step):
    """A step of ours by plain torch: what the kernels are worth."""
    from scdlab.nn.ops import neighbor_sums

    def plain():
        with neighbor_sums.reference_kernels():
            return step()

    def predict():
        with neighbor_sums.reference_kernels():
            return step.predict()

    plain.predict = predict
    return plain


def schnet(n: int, forces: bool, device: str, rounds: int) -> dict:
    """SchNet's step beside PyG's, schnetpack's where it is installed, and our own plain torch."""
    import schnet as benchmark

    steps = benchmark.sides(n, forces, device)
    missing = {} if find_spec("schnetpack") else {"schnetpack": "is not installed"}
    again = benchmark.sides(n, forces, device)["ours"]  # a step changes the weights of its model
    steps["plain torch"] = plain_too(again)
    return compared(steps, device, rounds) | {"skipped": missing}


def et(n: int, forces: bool, device: str, rounds: int) -> dict:
    """The transformer's step beside torchmd-net's, where it is installed, and our plain torch."""
    if find_spec("torchmdnet") is None:
        return {"skipped": {"torchmd-net": "is not installed"}}
    import et as benchmark

    steps = benchmark.sides(n, forces, device)
    again = benchmark.sides(n, forces, device)["ours"]  # a step changes the weights of its model
    steps["plain torch"] = plain_too(again)
    return compared(steps, device, rounds) | {"skipped": {}}


def two_passes(n: int, device: str, rounds: int) -> dict:
    """The step of self-conditioned denoising beside the obvious way to write it."""
    import two_pass as benchmark

    loss, gradient = benchmark.check(n, device)
    steps = benchmark.sides(n, device)
    rows = turns({name: steps[name] for name in ("ours", benchmark.PEER)}, device, rounds)
    return {"sides": rows, "loss_difference": loss, "gradient_difference": gradient, "skipped": {}}


def pretraining(
    hidden: int, layers: int, n: int, device: str, steps: int = SCD_STEPS, every: int = LOG_EVERY
) -> dict:
    """Molecules a second that `scdlab.fit` pretrains on, batches, optimizer and averages of weights
    included; the first row of the log, in which kernels are compiled, does not count."""
    import torch

    import scdlab
    from scdlab.objectives import SelfConditionedDenoising

    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(
        hidden_channels=hidden, num_layers=layers, num_heads=8, num_rbf=50, conditional=True
    )
    store = scdlab.load_qm9(limit=60_000)
    times = []
    scdlab.fit(
        model,
        SelfConditionedDenoising(),
        store,
        steps=steps,
        batch_size=n,
        log_every=every,
        ema_decay=0.999,
        device=device,
        progress=False,
        callbacks=[lambda step, row, model: times.append(time.perf_counter())],
    )
    each = [(later - sooner) / every for sooner, later in itertools.pairwise(times)]
    seconds = statistics.median(each)
    return {
        "ms": 1e3 * seconds,
        "molecules_per_second": n / seconds,
        "atoms_per_second": n * float(store.n_atoms.mean()) / seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "skipped": {},
    }


PARTS = {"ceilings": (ceilings, {})}
for _n in (128, 1024):
    for _name, _part in (("schnet", schnet), ("et", et)):
        for _forces in (True, False):
            PARTS[f"{_name}-{_n}{'-forces' if _forces else ''}"] = (
                _part,
                {"n": _n, "forces": _forces, "rounds": 7},
            )
    PARTS[f"two-pass-{_n}"] = (two_passes, {"n": _n, "rounds": 7})
    for _hidden, _layers in ((128, 6), (256, 8)):
        PARTS[f"pretraining-{_hidden}x{_layers}-{_n}"] = (
            pretraining,
            {"hidden": _hidden, "layers": _layers, "n": _n},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    part, settings = PARTS[options.part]
    print(json.dumps(part(device=options.device, **settings)))


if __name__ == "__main__":
    main()
