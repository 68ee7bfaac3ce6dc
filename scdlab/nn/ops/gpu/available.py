"""Whether the Triton kernels can run on a GPU, and if not, why.

`trouble` answers once a process and device: it looks for Triton, at the card, and runs one kernel
against plain torch. What is missing is said once, in the log; `scdlab doctor` says it too.
"""

import functools
import importlib.metadata
import os
from typing import Any

import torch

from scdlab.log import logger

OLDEST_TRITON = 3, 2
OLDEST_CARD = 8, 0  # compute capability: Triton's own limit
_PLAIN = "sums over neighbors run as plain torch there"


def triton_version() -> str | None:
    """The version of the installed Triton, or None."""
    for name in ("triton", "triton-windows"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def interpreted() -> bool:
    """Whether Triton is here and interprets kernels instead of compiling them: TRITON_INTERPRET=1
    in the environment when it was imported."""
    return os.environ.get("TRITON_INTERPRET") == "1" and triton_version() is not None


def wrong_version(version: str | None) -> str | None:
    """What is wrong with a version of Triton, or None.

    Parameters
    ----------
    version : str or None
        Such as "3.7.1"; None where it is not installed.
    """
    oldest = ".".join(map(str, OLDEST_TRITON))
    if version is None:
        return f"Triton is not installed: python -m pip install 'triton>={oldest}'"
    parts = version.split(".")
    number = tuple(int(part) for part in parts[:2] if part.isdigit())
    if number < OLDEST_TRITON:
        return f"Triton {version} is older than {oldest}: install the one that torch names"
    return None


def wrong_card(name: str, capability: tuple[int, int]) -> str | None:
    """What is wrong with a card, or None.

    Parameters
    ----------
    name : str
        The card's name.
    capability : tuple of int
        Its compute capability, such as (9, 0).
    """
    if capability < OLDEST_CARD:
        return (
            f"the card {name} has compute capability {capability[0]}.{capability[1]}, and Triton "
            f"compiles for {OLDEST_CARD[0]}.{OLDEST_CARD[1]} or newer"
        )
    return None


def trouble(device: torch.device) -> str | None:
    """Why the Triton kernels cannot run on a GPU, or None. The first answer stays.

    Parameters
    ----------
    device : torch.device
        The GPU.

    Returns
    -------
    str or None
        A clause without a full stop.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    return _trouble(torch.device("cuda", index))


def usable(device: torch.device) -> bool:
    """Whether the Triton kernels run on a GPU; where they do not, says why in the log, once.

    Parameters
    ----------
    device : torch.device
        The GPU.
    """
    reason = trouble(device)
    if reason is not None:
        _say(reason)
    return reason is None


@functools.cache
def _say(reason: str) -> None:
    logger.warning("The fused kernels do not run on this GPU, %s: %s.", _PLAIN, reason)


def forget() -> None:
    """Look again at the next question, and say again what is missing."""
    _trouble.cache_clear()
    _say.cache_clear()


@functools.cache
def _trouble(device: torch.device) -> str | None:
    if torch.version.hip is not None:
        return "they are written for NVIDIA's cards and were never run on another"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "TRITON_INTERPRET=1 is set, and Triton would interpret them"
    reason = wrong_version(triton_version())
    if reason is None:
        card = torch.cuda.get_device_name(device)
        reason = wrong_card(card, torch.cuda.get_device_capability(device))
    if reason is not None:
        return reason
    try:
        wrong = probe(device)
    except Exception as error:  # a compiler or driver that does not fit may raise anything
        words = " ".join(str(error).split())[:200] or "no message"
        return f"Triton {triton_version()} does not compile them ({type(error).__name__}: {words})"
    return wrong


def probe(device: torch.device) -> str | None:
    """Run one kernel and compare it with plain torch; what is wrong, or None.

    Parameters
    ----------
    device : torch.device
        Where it runs; a processor only in Triton's interpreter.
    """
    from scdlab.nn.ops.gpu import kernels

    d = 8
    u = torch.arange(24, dtype=torch.float32, device=device).view(3, d)
    filters = torch.full((2, d), 0.5, device=device)  # pairs 0-1 and 0-2
    start = torch.tensor([0, 2, 3, 4], device=device)
    source = torch.tensor([1, 2, 0, 0], device=device)
    edge = torch.tensor([0, 1, 2, 3], device=device)
    out = torch.empty_like(u)
    given = start, source, edge, None, None, filters, u, out, 2, d
    kernel: Any = kernels.cfconv_sum
    kernel[(3, 1)](*given, 1, 1, 4, 8)
    expected = 0.5 * torch.stack([u[1] + u[2], u[0], u[0]])
    if torch.equal(out, expected):
        return None
    return f"Triton {triton_version()} computes a sum wrongly ({(out - expected).abs().max():.1e})"
