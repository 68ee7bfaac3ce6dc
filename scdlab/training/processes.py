"""Data-parallel training: the processes of a run, and how they compute what one would."""

from __future__ import annotations

import builtins
import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from scdlab.atoms.batch import Batch
from scdlab.atoms.shares import Share
from scdlab.devices import checked_device
from scdlab.objectives.base import Mean

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.multiprocessing.spawn import ProcessRaisedException


@dataclasses.dataclass(frozen=True)
class OneProcess:
    """The process of a run that has no other: what the loop asks of a Fabric, with nothing to load.

    Parameters
    ----------
    device : torch.device
        Where it computes.
    """

    device: torch.device
    world_size: int = 1
    global_rank: int = 0
    local_rank: int = 0
    is_global_zero: bool = True

    def backward(self, loss: Tensor, inputs: list[Parameter]) -> None:
        """The gradient of a loss by parameters."""
        loss.backward(inputs=inputs)

    def all_reduce(self, x: Tensor, reduce_op: str) -> Tensor:
        """A sum, mean or maximum over one process: what it holds."""
        return x


Processes: TypeAlias = "Fabric | OneProcess"
"""The processes of a run, as each of them sees them."""


def make_processes(device: str | torch.device, devices: int, nodes: int) -> Processes:
    """The processes of a run: a Fabric where there are several.

    Parameters
    ----------
    device : str or torch.device
        "auto" (a GPU if there is one), "cpu" or "cuda"; "cuda:1" for a certain one.
    devices, nodes : int
        Processes on each machine, and machines.

    Raises
    ------
    ValueError
        For an unknown device, and for a GPU that torch does not see.
    """
    found = checked_device(device)
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {str(device)!r}.")
    if devices * nodes == 1:
        index = 0 if found.index is None and found.type == "cuda" else found.index
        return OneProcess(torch.device(found.type, index))
    if found.index is not None:
        raise ValueError(
            f"device={str(device)!r} is one GPU and devices={devices} asks for several; give "
            "device='cuda'."
        )
    from lightning_fabric import Fabric

    strategy = "ddp" if launched() else "ddp_spawn"
    return Fabric(accelerator=found.type, devices=devices, num_nodes=nodes, strategy=strategy)


def launched() -> bool:
    """Whether torchrun has made the processes already, this one among them."""
    return "LOCAL_RANK" in os.environ


def is_first() -> bool:
    """Whether this process is the first of those that torchrun made, or made by nobody."""
    return int(os.environ.get("RANK", "0")) == 0 if launched() else True


def share_gradients(parameters: list[Parameter], fabric: Processes) -> None:
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


def agree(flag: bool, fabric: Processes) -> bool:
    """True in every process when it is true in one."""
    if fabric.world_size == 1:
        return flag
    return bool(fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="max"))


def share(
    every: np.ndarray,
    own: np.ndarray,
    n_atoms: np.ndarray,
    seed: int,
    fabric: Processes,
    make_whole: Callable[[], Batch],
) -> Share:
    """What this process knows of the batch that it has a share of.

    Parameters
    ----------
    every : ndarray of int, [all]
        Indices of the structures of the whole batch.
    own : ndarray of int, [B]
        Which of these are this process's.
    n_atoms : ndarray of int
        Atoms of each structure, by index.
    seed : int
        Of the random numbers, the same in each process.
    fabric : Fabric or OneProcess
        The processes.
    make_whole : function
        Makes the whole batch.
    """
    size = n_atoms[every]
    start = np.concatenate([[0], np.cumsum(size)])
    rows = np.concatenate([np.arange(*start[k : k + 2].tolist()) for k in own])
    device = fabric.device

    def total(x: Tensor) -> Tensor:
        found = fabric.all_reduce(x, reduce_op="sum")
        assert isinstance(found, Tensor)
        return found

    return Share(
        atoms=torch.from_numpy(rows).to(device),
        structures=torch.from_numpy(own).to(device),
        n_atoms=int(start[-1]),
        n_structures=len(every),
        generator=torch.Generator(device).manual_seed(seed),
        of_model=torch.Generator(device).manual_seed(seed),
        processes=fabric.world_size,
        total=total,
        make_whole=make_whole,
    )


def combined(
    loss: Tensor, parts: dict[str, Mean], fabric: Processes
) -> tuple[Tensor, dict[str, Mean]]:
    """Loss and parts of a whole batch from those of each process's share.

    Parameters
    ----------
    loss : Tensor
        Of the share, balanced.
    parts : dict of str to Mean
        Parts of the share.
    fabric : Fabric or OneProcess
        The processes.
    """
    if fabric.world_size == 1:
        return loss, parts
    names = sorted(parts)
    numbers = [loss.detach().double() / fabric.world_size]
    for name in names:
        count = torch.as_tensor(parts[name].count, dtype=torch.float64, device=loss.device)
        value = parts[name].value.detach().double().to(loss.device)
        numbers += [torch.where(count > 0, value * count, 0.0), count]
    total = fabric.all_reduce(torch.stack(numbers), reduce_op="sum")
    assert isinstance(total, Tensor)
    found = {}
    for name, (weighted, count) in zip(names, total[1:].view(-1, 2), strict=True):
        found[name] = Mean(weighted / count.clamp(min=1), count, parts[name].selected)
    return total[0], {name: found[name] for name in parts}


def failed_process(error: ProcessRaisedException) -> Exception:
    """The error that ended a process of the run, as this one would have raised it.

    Parameters
    ----------
    error : ProcessRaisedException
        What came of it: its traceback as text.
    """
    last = str(error).rstrip().splitlines()[-1]
    kind, _, message = last.partition(": ")
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, ValueError | TypeError | OSError):
        return found(message)
    return RuntimeError(f"A process of the run has failed: {last}")
