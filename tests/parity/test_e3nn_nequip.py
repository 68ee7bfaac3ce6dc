"""One interaction of TensorProductNet against the same one out of e3nn's modules, with the same
weights."""

import math

import pytest
import torch
from ase.build import bulk, molecule
from e3nn import o3

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.blocks.bessel import BesselBasis
from scdlab.nn.blocks.harmonics import Harmonics
from scdlab.nn.nequip import Interaction, act

D = 4


def flat(x):
    """Our [N, 2l + 1, d] of each degree as e3nn's [N, Σ d (2l + 1)]."""
    return torch.cat([f.transpose(1, 2).flatten(1) for f in x], dim=1)


def linear(irreps_in, irreps_out, weights):
    """e3nn's linear layer with our weights; it divides by the square root of the number of inputs
    itself."""
    layer = o3.Linear(irreps_in, irreps_out)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([w.T.flatten() for w in weights]) * math.sqrt(D))
    return layer


@pytest.mark.parametrize("lmax", [1, 2, 3])
@pytest.mark.parametrize(
    "atoms", [molecule("CH3CH2OH"), bulk("MgO", "rocksalt", a=4.2)], ids=["ethanol", "MgO"]
)
def test_one_interaction(atoms, lmax):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn keeps its coefficients in it
    try:
        compare(atoms, lmax)
    finally:
        torch.set_default_dtype(before)


def compare(atoms, lmax):
    torch.manual_seed(0)
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    pairs = neighbor_list(batch, 4.0)
    n = len(atoms)
    r_ij = pairs.vectors(batch.pos.double(), batch)
    basis = BesselBasis(5, 4.0)
    ours = Interaction(D, 5, lmax, lmax, lmax)
    x = [torch.randn(n, 2 * k + 1, D) for k in range(lmax + 1)]
    harmonics = Harmonics(basis, r_ij, pairs, n, lmax)
    sums = ours.convolution([f(y) for f, y in zip(ours.before, x, strict=True)], harmonics, lmax)

    irreps = o3.Irreps([(D, (k, (-1) ** k)) for k in range(lmax + 1)])
    sh = o3.Irreps.spherical_harmonics(lmax)
    paths = ours.convolution.paths
    every = {
        (a, b, c)
        for a, (_, x1) in enumerate(irreps)
        for b, (_, x2) in enumerate(sh)
        for c, (_, x3) in enumerate(irreps)
        if x3 in x1 * x2
    }
    assert set(paths) == every and len(paths) == len(every)  # all that rotations and mirrors allow
    product = o3.TensorProduct(
        irreps,
        sh,
        irreps,
        [(*path, "uvu", True) for path in paths],
        shared_weights=False,
        internal_weights=False,
    )
    edges = pairs.directed()
    y = o3.spherical_harmonics(
        sh, edges.both_signed(r_ij), normalize=True, normalization="component"
    )
    into = [sum(c == path[2] for path in paths) for *_, c in paths]
    share = torch.tensor(into).sqrt().view(-1, 1, 1)  # e3nn divides by it in the product
    radial = act(basis(r_ij.norm(dim=1)) @ ours.convolution.hidden) @ (
        ours.convolution.radial * share
    )
    weights = radial.transpose(0, 1).flatten(1)  # (paths, P, d) -> (P, paths · d)
    z = linear(irreps, irreps, [f.weight for f in ours.before])(flat(x))
    messages = product(z[edges.source], y, torch.cat([weights, weights]))
    theirs = torch.zeros(n, irreps.dim).index_add(0, edges.target, messages)
    torch.testing.assert_close(flat(sums), theirs, rtol=1e-10, atol=1e-10)

    after = linear(irreps, irreps, [f.weight for f in ours.after])(theirs)
    updates = [after[:, part].unflatten(1, (D, -1)).transpose(1, 2) for part in irreps.slices()]
    gates = (2 * (theirs[:, :D] @ ours.gates.weight.T).sigmoid()).unsqueeze(1).split(D, dim=2)
    expected = [act(updates[0]), *(g * u for g, u in zip(gates, updates[1:], strict=True))]
    for out, before, update in zip(ours(x, harmonics, lmax), x, expected, strict=True):
        torch.testing.assert_close(out, (before + update) / math.sqrt(2), rtol=1e-10, atol=1e-10)
