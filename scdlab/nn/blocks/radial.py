"""Functions of the distance r between two atoms: radial bases, cutoffs, and the shifted softplus.

A network that reads r itself starts out almost linear in r and trains slowly; a basis of bumps

    Gaussian:   e_k(r) = exp(-γ (r - μ_k)²),   μ_k = start … stop evenly spaced

lets each distance switch on its own few inputs (SchNet, Schütt et al. 2017, section 4.1). A cutoff
c(r) with c(r_c) = 0 and c'(r_c) = 0 makes a pair vanish smoothly as it leaves the sphere around an
atom.

Exponents are clamped at -30. The far tail of a Gaussian otherwise underflows to subnormal numbers
(below 1.2e-38), which many processors multiply up to fifty times more slowly than others; e^-30 =
9e-14 is as good a zero.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SMALLEST_EXPONENT = -30.0
# of x in (-1, 1): here a smooth step is 0 or 1 to the last bit of float64, with all derivatives
_ENDS = 0.998


class GaussianBasis(nn.Module):
    """Gaussians with evenly spaced centers: [P] -> [P, n].

    Parameters
    ----------
    n : int, default 50
        Number of functions.
    start, stop : float, default 0.0 and 5.0
        First and last center in Å.
    gamma : float or None, default None
        Exponent in Å⁻²; None for ½/Δ², where Δ is the spacing of the centers: neighbors overlap at
        e^-½. The original SchNet code uses Δ = 0.1 Å and γ = 10 Å⁻².

    Raises
    ------
    ValueError
        For fewer than two functions, and where start is not below stop.
    """

    centers: Tensor

    def __init__(
        self, n: int = 50, start: float = 0.0, stop: float = 5.0, gamma: float | None = None
    ) -> None:
        super().__init__()
        if n < 2 or not start < stop:
            raise ValueError(
                f"A Gaussian basis needs n ≥ 2 and start < stop, not n={n}, start={start}, "
                f"stop={stop}."
            )
        self.n = n
        self.gamma = gamma if gamma is not None else 0.5 * ((n - 1) / (stop - start)) ** 2
        self.register_buffer("centers", torch.linspace(start, stop, n))

    def forward(self, r: Tensor) -> Tensor:
        """The functions at distances r [P] in Å, [P, n]."""
        arg = -self.gamma * (r.unsqueeze(-1) - self.centers).square()  # (P) -> (P, n)
        return arg.clamp(min=_SMALLEST_EXPONENT).exp()


class ExpNormalBasis(nn.Module):
    """Bumps evenly spaced in exp(-r) rather than in r, so that they crowd where atoms are close.

        e_k(r) = c(r) exp(-β (exp(-5 r / r_c) - μ_k)²),   μ_k = e^-r_c … 1 evenly spaced,
                                                          β = (2/n (1 - e^-r_c))⁻²

    with the cosine cutoff c: [P] -> [P, n].

    Parameters
    ----------
    n : int, default 50
        Number of functions.
    cutoff : float, default 5.0
        Cutoff r_c in Å.

    Raises
    ------
    ValueError
        For fewer than two functions, and a cutoff that is not positive.

    References
    ----------
    PhysNet: Unke and Meuwly, J. Chem. Theory Comput. 15, 3678, 2019, eq. 7. TorchMD-Net: Thölke
    and De Fabritiis, ICLR 2022.
    """

    centers: Tensor

    def __init__(self, n: int = 50, cutoff: float = 5.0) -> None:
        super().__init__()
        if n < 2 or not cutoff > 0:
            raise ValueError(
                f"An exp-normal basis needs n ≥ 2 and a cutoff above 0, not n={n}, cutoff={cutoff}."
            )
        self.n = n
        self.cutoff = float(cutoff)
        start = math.exp(-cutoff)
        self.beta = (2 / n * (1 - start)) ** -2
        self.register_buffer("centers", torch.linspace(start, 1.0, n))

    def forward(self, r: Tensor) -> Tensor:
        """The functions at distances r [P] in Å, [P, n]."""
        x = torch.exp(-5.0 / self.cutoff * r).unsqueeze(-1)  # (P, 1)
        arg = -self.beta * (x - self.centers).square()  # (P, n)
        return cosine_cutoff(r, self.cutoff).unsqueeze(-1) * arg.clamp(min=_SMALLEST_EXPONENT).exp()


class RawDistance(nn.Module):
    """No basis at all: the distance in Å itself, [P] -> [P, 1]. Kept to show what it costs."""

    n = 1

    def forward(self, r: Tensor) -> Tensor:
        """Distances r [P] in Å, as [P, 1]."""
        return r.unsqueeze(-1)


def cosine_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """½(cos(πr/r_c) + 1) for r < r_c, else 0: value and slope are zero at r_c.

    Parameters
    ----------
    r : Tensor
        Distances in Å, of any shape.
    cutoff : float
        Cutoff r_c in Å.

    Returns
    -------
    Tensor
        c, of the shape of r.
    """
    return 0.5 * (torch.cos(r * (math.pi / cutoff)) + 1.0) * (r < cutoff).to(r.dtype)


def step_logit(r: Tensor, stop: float | Tensor, width: float | Tensor) -> Tensor:
    """ln(f / (1 - f)) = 2/(x+1) + 2/(x-1) of f = `smooth_step`.

    From about 1000 inside to about -1000 outside, where it is constant, so that derivatives of any
    order are finite everywhere.

    Parameters
    ----------
    r, stop, width : Tensor or float
        As of `smooth_step`.

    Returns
    -------
    Tensor
        Of the shape that r and stop share.
    """
    x = (2.0 * (r - stop) / width + 1.0).clamp(-_ENDS, _ENDS)
    return 4.0 * x / (x.square() - 1.0)


def smooth_step(r: Tensor, stop: float | Tensor, width: float | Tensor) -> Tensor:
    """A cutoff with all derivatives: 1 for r ≤ stop - width, 0 for r ≥ stop, both exactly, and
    between

        ½(1 + tanh(1/(x+1) + 1/(x-1))),   x = 2(r - (stop - ½ width)) / width   from -1 to 1

    The cutoff of PET and ECSE.

    Parameters
    ----------
    r : Tensor
        Distances, or any other number, of any shape.
    stop, width : float or Tensor
        Where the step ends and how wide it is, in the unit of r. Tensors broadcast against r and
        may carry gradients.

    Returns
    -------
    Tensor
        The step, of the shape that r and stop share.

    References
    ----------
    Pozdnyakov and Ceriotti, NeurIPS 2023, arXiv:2305.19302.
    """
    return step_logit(r, stop, width).sigmoid()  # ½(1 + tanh(u)) = sigmoid(2u)


def shifted_softplus(x: Tensor) -> Tensor:
    """ssp(x) = ln(½eˣ + ½): smooth everywhere, ssp(0) = 0."""
    return F.softplus(x).sub_(math.log(2.0))  # in place: its derivatives need x alone
