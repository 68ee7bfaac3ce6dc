"""What known mistakes give in the exercises of lesson 04, and what is wrong about each."""

import torch


def normed(x: torch.Tensor, dim: int = 1, unbiased: bool = False) -> torch.Tensor:
    """Channels with mean 0 and variance 1.

    Parameters
    ----------
    x : Tensor [N, d]
        Features.
    dim : int, default 1
        Along which dimension.
    unbiased : bool, default False
        Divide the sum of squares by one less than their number.

    Returns
    -------
    Tensor [N, d]
        The norm, 1e-5 added to the variance.
    """
    variance = x.var(dim, unbiased=unbiased, keepdim=True)
    return (x - x.mean(dim, keepdim=True)) / (variance + 1e-5).sqrt()


def modulated_wrongly(
    x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
) -> list[tuple[torch.Tensor, str]]:
    """What known mistakes give for (1 + scale) ∘ LN(x) + shift.

    Parameters
    ----------
    x, scale, shift : Tensor [N, d]
        As the reader's function takes them.

    Returns
    -------
    list of (Tensor, str)
        The result of each mistake, and what is wrong about it.
    """
    right = normed(x)
    centered = x - x.mean(1, keepdim=True)
    for_all = "One mean and one variance for all; each atom has its own, over its channels (dim=1)."
    return [
        (
            scale * right + shift,
            "You multiply by scale; multiply by 1 + scale, or an untrained condition (scale = 0) "
            "erases x.",
        ),
        (
            (1 + scale) * normed(x, dim=0) + shift,
            "You average over atoms; take mean and variance of each atom by itself, over its "
            "channels (dim=1).",
        ),
        ((1 + scale) * (x - x.mean()) / x.std(unbiased=False) + shift, for_all),
        ((1 + scale) * (x - x.mean()) / x.std(unbiased=True) + shift, for_all),
        (
            (1 + scale) * x + shift,
            "The norm is missing: first take off the mean and divide by the standard deviation.",
        ),
        (
            (1 + scale) * centered + shift,
            "The mean is off, but you do not divide by the standard deviation.",
        ),
        (
            (1 + scale) * normed(x, unbiased=True) + shift,
            "Your variance divides by d − 1; LayerNorm divides by d: var(dim=1, unbiased=False).",
        ),
        (
            (1 + scale) * centered / centered.square().mean(1, keepdim=True) + shift,
            "You divide by the variance; divide by its square root.",
        ),
        (
            (1 + shift) * right + scale,
            "Scale and shift have changed places: 1 + scale multiplies, shift is added.",
        ),
        ((1 + scale) * right, "The shift is missing."),
        ((1 + scale) * (right + shift), "You add the shift before you scale; add it last."),
    ]


def wrong_margins(
    delta: torch.Tensor, move: torch.Tensor
) -> list[tuple[tuple[torch.Tensor, ...], str]]:
    """What known mistakes give for the largest move of an atom.

    Parameters
    ----------
    delta : Tensor [N, 3]
        The moves in Å.
    move : Tensor [N]
        Their lengths in Å.

    Returns
    -------
    list of (tuple of Tensor, str)
        The results that point to each mistake, and what is wrong about it.
    """
    right = move.max()
    return [
        (
            (2 * right,),
            "Twice too large: at the midpoint each atom is half its move away from either pass.",
        ),
        (
            (right / 2,),
            "Half of what is needed: both atoms of a pair may move, in opposite directions.",
        ),
        (
            (move.mean(), move.square().mean().sqrt(), move.median()),
            "An average: a pair of two atoms that moved farther would be lost. Take the maximum.",
        ),
        (
            (delta.abs().max(),),
            "That is the largest component; the length of a move is √(Δx² + Δy² + Δz²).",
        ),
        ((right**2,), "That is its square: the square root is missing."),
        (
            (delta.norm(),),
            "That is the length of all moves together; take the norm of each row: dim=1.",
        ),
        ((move.sum(),), "You add up all moves; a pair has two atoms only."),
        (
            (move.sort().values[-2:].mean(), torch.pdist(delta).max() / 2),
            "Enough, and even sharper! But asked is what the largest move alone tells.",
        ),
    ]
