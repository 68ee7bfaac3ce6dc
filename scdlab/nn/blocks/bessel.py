"""Bessel bases: the natural functions of a distance, and of a distance and an angle, inside a
sphere of radius c.

A particle in a spherical box has the standing waves j_l(z_ln r/c) Y_lm, where z_ln is the n-th zero
of the spherical Bessel function j_l: all of them vanish at the cutoff c, and they are orthonormal
in the ball. DimeNet (Gasteiger et al., ICLR 2020, arXiv:2003.03123, section 5) expands a distance
in the waves that do not depend on direction, and a distance with an angle in those that are
symmetric about one axis (m = 0). With x = r/c, so that the ball has radius 1:

    radial:       e_n(x)    = √2 sin(nπx) / x                               ∫ e_n e_m x² dx = δ_nm
    spherical:    a_ln(x,α) = √2 / |j_{l+1}(z_ln)| · j_l(z_ln x) · Y_l0(α)
                  Y_l0(α)   = √((2l+1)/4π) P_l(cos α)
    envelope:     u(x)      = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2)
                  u = u' = u'' = 0 at x = 1

P_l is a polynomial in cos α, so the angle itself, whose slope is infinite for atoms in a line, is
never computed.
"""

import functools
import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn


def polynomial_envelope(x: Tensor, p: int = 6) -> Tensor:
    """u(x) for x < 1, else 0: value, slope and curvature are zero at x = 1 (DimeNet, eq. 8).

    Parameters
    ----------
    x : Tensor
        Distances in units of the cutoff, of any shape.
    p : int, default 6
        Exponent.

    Returns
    -------
    Tensor
        u, of the shape of x.
    """
    a = -(p + 1) * (p + 2) / 2
    b = p * (p + 2)
    c = -p * (p + 1) / 2
    return (1 + x.pow(p) * (a + x * (b + x * c))) * (x < 1).to(x.dtype)


@functools.lru_cache
def spherical_bessel_zeros(num_spherical: int, num_rbf: int) -> np.ndarray:
    """The first zeros z_ln of the spherical Bessel functions j_l.

    Those of j_0 = sin(x)/x are nπ, and between two zeros of j_l lies exactly one of j_{l+1}.

    Parameters
    ----------
    num_spherical, num_rbf : int
        Number of degrees l = 0, 1, …, and of zeros of each.

    Returns
    -------
    np.ndarray
        [num_spherical, num_rbf] float64.
    """
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    zeros = [math.pi * np.arange(1, num_rbf + num_spherical)]
    for order in range(1, num_spherical):
        wave = functools.partial(spherical_jn, order)
        zeros.append(
            np.array([brentq(wave, a, b, xtol=1e-13) for a, b in itertools.pairwise(zeros[-1])])
        )
    return np.stack([z[:num_rbf] for z in zeros])


def spherical_bessel(order: int, x: Tensor) -> Tensor:
    """The spherical Bessel function j_l, with derivatives of any order.

    Upwards, j_{l+1} = (2l+1)/x j_l - j_{l-1} loses digits once x is well below l; there the power
    series is summed, j_l(x) = x^l/(2l+1)!! Σ_k (-x²/2)^k / (k! (2l+3)(2l+5)…(2l+2k+1)). Both meet
    at x = max(1, l/2).

    Parameters
    ----------
    order : int
        Degree l.
    x : Tensor
        x ≥ 0, of any shape.

    Returns
    -------
    Tensor
        j_l(x), of the shape of x.
    """
    meet = max(1.0, order / 2)
    # each branch is finite where the other is taken
    large = x.clamp(min=meet)
    small = x.clamp(max=meet)
    # j_{-1}, j_0
    before = torch.cos(large) / large
    now = torch.sin(large) / large
    for k in range(order):
        before, now = now, (2 * k + 1) / large * now - before
    half = -0.5 * small.square()
    series = torch.ones_like(small)
    for k in range(10 + order, 0, -1):  # Horner: 1 + y/(1·(2l+3)) (1 + y/(2·(2l+5)) (…))
        series = 1 + half / (k * (2 * order + 2 * k + 1)) * series
    series = series * small.pow(order) / math.prod(range(1, 2 * order + 2, 2))
    return torch.where(x < meet, series, now)


class BesselBasis(nn.Module):
    """u(x) √2 sin(ω_n x)/x, x = r/c: [P] -> [P, n].

    The frequencies start at ω_n = nπ and are trained.

    Parameters
    ----------
    n : int
        Number of functions.
    cutoff : float
        Cutoff c in Å.
    """

    def __init__(self, n: int, cutoff: float) -> None:
        super().__init__()
        self.n = n
        self.cutoff = cutoff
        self.frequencies = nn.Parameter(
            math.pi * torch.arange(1, n + 1, dtype=torch.get_default_dtype())
        )

    def waves(self, x: Tensor) -> Tensor:
        """The functions without their envelope, orthonormal before training.

        Parameters
        ----------
        x : Tensor
            Distances in units of the cutoff, [P].

        Returns
        -------
        Tensor
            [P, n].
        """
        x = x.unsqueeze(-1)
        return math.sqrt(2) * torch.sin(self.frequencies * x) / x

    def forward(self, r: Tensor) -> Tensor:
        """The functions at distances r [P] in Å, [P, n]."""
        x = r / self.cutoff
        return self.waves(x) * polynomial_envelope(x).unsqueeze(-1)


class SphericalBesselBasis(nn.Module):
    """The radial half of the spherical basis, √2 / |j_{l+1}(z_ln)| j_l(z_ln x): [P] -> [P, l, n].

    It is multiplied by u(x)/x, as in the released code; the paper writes u(x).

    Parameters
    ----------
    num_spherical, num_rbf : int
        Number of degrees l, and of roots n of each.
    cutoff : float
        Cutoff in Å.
    """

    zeros: Tensor
    norm: Tensor

    def __init__(self, num_spherical: int, num_rbf: int, cutoff: float) -> None:
        super().__init__()
        from scipy.special import spherical_jn

        zeros = spherical_bessel_zeros(num_spherical, num_rbf)
        norm = math.sqrt(2) / np.abs([spherical_jn(order + 1, z) for order, z in enumerate(zeros)])
        self.cutoff = cutoff
        self.register_buffer(
            "zeros", torch.as_tensor(zeros, dtype=torch.get_default_dtype()), persistent=False
        )
        self.register_buffer(
            "norm", torch.as_tensor(norm, dtype=torch.get_default_dtype()), persistent=False
        )

    def waves(self, x: Tensor) -> Tensor:
        """The functions without their envelope, orthonormal for each l.

        Parameters
        ----------
        x : Tensor
            Distances in units of the cutoff, [P].

        Returns
        -------
        Tensor
            [P, l, n].
        """
        args = x.view(-1, 1, 1) * self.zeros  # (P, l, n)
        waves = [spherical_bessel(order, args[:, order]) for order in range(len(self.zeros))]
        return torch.stack(waves, dim=1) * self.norm

    def forward(self, r: Tensor) -> Tensor:
        """The functions at distances r [P] in Å, [P, l, n]."""
        x = r / self.cutoff
        return self.waves(x) * (polynomial_envelope(x) / x).view(-1, 1, 1)


def zonal_harmonics(cos: Tensor, n: int) -> list[Tensor]:
    """The spherical harmonics Y_00, Y_10, … that are symmetric about an axis.

    Their Legendre polynomials are (k+1) P_{k+1} = (2k+1) cos P_k - k P_{k-1}.

    Parameters
    ----------
    cos : Tensor
        Cosine of the angle to the axis, of any shape.
    n : int
        Number of harmonics.

    Returns
    -------
    list of Tensor
        n tensors of the shape of cos.
    """
    legendre = [torch.ones_like(cos), cos]
    for k in range(1, n - 1):
        legendre.append(((2 * k + 1) * cos * legendre[-1] - k * legendre[-2]) / (k + 1))
    return [math.sqrt((2 * order + 1) / (4 * math.pi)) * p for order, p in enumerate(legendre[:n])]
