"""Write torchmdnet_et.npz: a small transformer of the torchmd-net package, its weights and what it
answers.

    python tests/parity/make_torchmdnet_et.py      needs the extra `bench`

Seeded random weights, biases and LayerNorm included; four molecules of QM9; x, v, energies and
noise, all float32.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import scdlab

CONFIG = dict(hidden_channels=16, num_layers=3, num_heads=4)
MOLECULES = [5, 100, 2000, 40]


def answers(batch, model) -> dict:
    """x [N, d], v [N, 3, d], energies [B] and noise [N, 3] of the package's model."""
    x, v, z, pos, owner = model["body"](batch.z, batch.pos.clone(), batch.batch)
    energy = (
        model["energy"].reduce(model["energy"].pre_reduce(x, v, z, pos, owner), owner).squeeze(-1)
    )
    return {
        "x": x,
        "v": v,
        "energy": energy,
        "noise": model["noise"].pre_reduce(x, v, z, pos, owner),
    }


def seeded_peer():
    """The package's model with every weight away from its initial value, so that none can be
    forgotten unnoticed."""
    from et import peer  # of benchmarks/

    torch.manual_seed(0)
    model = peer(**CONFIG)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def main():
    model = seeded_peer()
    weights = {
        f"w/{k}": w.numpy() for k, w in model.state_dict().items() if w.dtype == torch.float32
    }
    batch = scdlab.load_qm9(limit=3000).take(MOLECULES)
    with torch.no_grad():
        out = {k: a.numpy() for k, a in answers(batch, model).items()}
    inputs = {k: batch[k].numpy() for k in ("z", "pos", "batch", "ptr")}
    path = Path(__file__).with_name("torchmdnet_et.npz")
    np.savez_compressed(
        path, torchmdnet=np.array(version("torchmd-net")), **weights, **inputs, **out
    )
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
