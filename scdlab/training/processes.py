"""Data-parallel training: the processes of a run, and how their gradients become one."""

import os

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import Parameter


def make_fabric(device: str, devices: int, nodes: int) -> Fabric:
    """The processes of a run.

    Parameters
    ----------
    device : str
        "auto" (a GPU if there is one), "cpu" or "cuda".
    devices, nodes : int
        Processes on each machine, and machines.

    Raises
    ------
    ValueError
        For an unknown device, and for a GPU that torch does not see.
    """
    accelerator = {"auto": "cuda" if torch.cuda.is_available() else "cpu"}.get(device, device)
    if accelerator not in ("cpu", "cuda", "gpu"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}.")
    if accelerator != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for and torch sees no GPU; use device='auto' or 'cpu'."
        )
    if devices * nodes == 1:
        return Fabric(accelerator=accelerator, devices=1)
    launched = "LOCAL_RANK" in os.environ  # by torchrun, which has made the processes already
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if launched else "ddp_spawn",
    )


def share_gradients(parameters: list[Parameter], fabric: Fabric) -> None:
    """Replace each parameter's gradient by the mean over all processes, zero counting where a
    process has none."""
    if fabric.world_size == 1:
        return
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=grads[0].device)
    flat = torch.cat([there, *(g.flatten() for g in grads)])
    total = fabric.all_reduce(flat, reduce_op="mean")
    assert isinstance(total, Tensor)
    there, *means = total.split([len(grads), *(g.numel() for g in grads)])
    for p, g, some in zip(parameters, means, there.tolist(), strict=True):
        # without a gradient anywhere, weight decay leaves it alone as well
        p.grad = g.view_as(p) if some else None


def agree(flag: bool, fabric: Fabric) -> bool:
    """True in every process when it is true in one."""
    if fabric.world_size == 1:
        return flag
    return bool(fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="max"))
