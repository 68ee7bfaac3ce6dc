"""Functions of the distance r between two atoms: radial bases, cutoffs, and the shifted softplus.

A network that reads r itself starts out almost linear in r and trains slowly; a basis of bumps

    Gaussian:   e_k(r) = exp(-γ (r - μ_k)²),   μ_k = start … stop evenly spaced

lets each distance switch on its own few inputs (SchNet, Schütt et al. 2017, section 4.1). A cutoff
c(r) with c(r_c) = 0 and c'(r_c) = 0 makes a pair vanish smoothly as it leaves the sphere that an
atom sees.

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
    """`n` Gaussians with centers evenly spaced on [start, stop] Å: [P] -> [P, n].

    gamma: exponent in Å⁻²; the default ½/Δ² (Δ = spacing of the centers) makes neighbors overlap at
    e^-½. The original SchNet code uses Δ = 0.1 Å and γ = 10 Å⁻².
    """

    def __init__(
        self, n: int = 50, start: float = 0.0, stop: float = 5.0, gamma: float | None = None
    ):
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
        arg = -self.gamma * (r.unsqueeze(-1) - self.centers).square()  # (P) -> (P, n)
        return arg.clamp(min=_SMALLEST_EXPONENT).exp()


class ExpNormalBasis(nn.Module):
    """`n` bumps evenly spaced in exp(-r) rather than in r, so that they crowd where atoms are
    close: [P] -> [P, n].

        e_k(r) = c(r) exp(-β (exp(-5 r / r_c) - μ_k)²),   μ_k = e^-r_c … 1 evenly spaced,
                                                          β = (2/n (1 - e^-r_c))⁻²

    with the cosine cutoff c (PhysNet, Unke and Meuwly 2019, eq. 7; TorchMD-Net, Thölke and De
    Fabritiis 2022).
    """

    def __init__(self, n: int = 50, cutoff: float = 5.0):
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
        arg = (
            -self.beta * (torch.exp(-5.0 / self.cutoff * r).unsqueeze(-1) - self.centers).square()
        )  # (P) -> (P, n)
        return cosine_cutoff(r, self.cutoff).unsqueeze(-1) * arg.clamp(min=_SMALLEST_EXPONENT).exp()


class RawDistance(nn.Module):
    """No basis at all: the distance itself, in Å, as the only input: [P] -> [P, 1]. Kept to show
    what it costs."""

    n = 1

    def forward(self, r: Tensor) -> Tensor:
        return r.unsqueeze(-1)


def cosine_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """½(cos(πr/r_c) + 1) for r < r_c, else 0: [P] -> [P]. Value and slope are zero at r_c."""
    return 0.5 * (torch.cos(r * (math.pi / cutoff)) + 1.0) * (r < cutoff).to(r.dtype)


def step_logit(r: Tensor, stop: float | Tensor, width: float | Tensor) -> Tensor:
    """ln(f / (1 - f)) = 2/(x+1) + 2/(x-1) of f = `smooth_step`, of the shape that r and stop share:
    from about 1000 inside to about -1000 outside, where it is constant, so that derivatives of any
    order are finite everywhere."""
    x = (2.0 * (r - stop) / width + 1.0).clamp(-_ENDS, _ENDS)
    return 4.0 * x / (x.square() - 1.0)


def smooth_step(r: Tensor, stop: float | Tensor, width: float | Tensor) -> Tensor:
    """A cutoff with all derivatives: 1 for r ≤ stop - width, 0 for r ≥ stop, both exactly, and
    between

        ½(1 + tanh(1/(x+1) + 1/(x-1))),   x = 2(r - (stop - ½ width)) / width   from -1 to 1

    r: distances (or any other number) of any shape; stop and width, in the unit of r, may be
    tensors that broadcast against it and carry gradients. The cutoff of PET and ECSE (Pozdnyakov
    and Ceriotti, NeurIPS 2023, arXiv:2305.19302).
    """
    return step_logit(r, stop, width).sigmoid()  # ½(1 + tanh(u)) = sigmoid(2u)


def shifted_softplus(x: Tensor) -> Tensor:
    """ssp(x) = ln(½eˣ + ½): smooth everywhere, ssp(0) = 0."""
    return F.softplus(x).sub_(math.log(2.0))  # in place: its derivatives need x alone
