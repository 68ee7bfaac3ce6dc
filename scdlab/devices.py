"""Where models compute: a device's name, checked before anything is moved there."""

import torch
from torch import Tensor

_KNOWN = "'auto' (a GPU if there is one), 'cpu' or 'cuda'"


def reads_freely(device: torch.device) -> bool:
    """Whether reading a number costs nothing, as on a processor.

    A GPU works behind the program, which must wait for all that it was given to read one number. So
    a training step reads none there, and what a processor would refuse at once is found by
    `training.guard`, one step later.

    Parameters
    ----------
    device : torch.device
        Where the number is.
    """
    return device.type == "cpu"


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor of the processor on a device, which is not waited for.

    Parameters
    ----------
    x : Tensor
        In the processor's memory.
    device : torch.device
        Where to.
    """
    if device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device, copy=True)


def seed_torch(device: torch.device, seed: int) -> None:
    """Seed the random numbers of torch that a program on a device draws when it names no generator.

    The numbers are those that follow `torch.manual_seed`, which takes 0.2 ms, in a training step of
    some ms: it formats the stack of its caller for each kind of device that this machine lacks.

    Parameters
    ----------
    device : torch.device
        Where models compute; the processor's own numbers are seeded too.
    seed : int
        The seed.
    """
    if device.type in ("cpu", "cuda"):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed_all(seed)
    else:
        torch.manual_seed(seed)


def checked_device(device: str | torch.device) -> torch.device:
    """The torch device of a name, when this machine has it.

    Parameters
    ----------
    device : str or torch.device
        "cpu"; "cuda" ("gpu" for short), "cuda:1" or another accelerator that torch knows; "auto"
        for a GPU if there is one, else the processor.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ValueError
        For a name that is none, and for a device that torch does not see.
    TypeError
        For what is neither a name nor a device.
    """
    if not isinstance(device, (str, torch.device)):
        raise TypeError(
            f"device must be a name or a torch.device, got {device!r} ({type(device).__name__}); "
            f"use {_KNOWN}."
        )
    name = str(device).strip()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "gpu":
        name = "cuda"
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be {_KNOWN}, got {str(device)!r}.") from error
    if found.type == "cpu":
        return torch.device("cpu")
    if found.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not there:
            raise ValueError(
                f"device={str(device)!r} was asked for and torch sees no GPU; use device='auto' or "
                "'cpu'."
            )
        if found.index is not None and found.index >= there:
            raise ValueError(
                f"device={str(device)!r} was asked for and torch sees {there} GPU"
                f"{'s' if there > 1 else ''}, numbered from 0; use device='cuda:{there - 1}'."
            )
        return found
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type != found.type:
        raise ValueError(
            f"device={str(device)!r} was asked for and torch cannot compute there on this machine; "
            f"use {_KNOWN}."
        )
    return found
