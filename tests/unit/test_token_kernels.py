"""SiLU, normalization and attention among tokens by fused loops: against plain torch, their
gradients and the gradients of those against differences, atoms with any number of tokens, and PET
as a whole."""

import pytest
import torch

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.ops.activations import normalize, silu
from scdlab.nn.ops.neighbor_sums import fused_on_processor, reference_kernels
from scdlab.nn.ops.token_attention import TokensOfAtoms, attend

COUNTS = {  # tokens of each atom
    "ragged": [3, 1, 7, 2, 12, 9, 9],
    "alike": [9] * 12,
    "alone": [1],
    "large": [17, 33],
}


def tokens_of(counts):
    """Atoms first, then the others; by atom where all have as many."""
    n = len(counts)
    width = max(counts)
    if n * width == sum(counts):
        slot = torch.arange(n * width)
        return TokensOfAtoms(slot // width, slot, n, width)
    atom = [*range(n)]
    rank = [0] * n
    for a, count in enumerate(counts):
        atom += [a] * (count - 1)
        rank += [*range(1, count)]
    atom = torch.tensor(atom)
    return TokensOfAtoms(atom, atom * width + torch.tensor(rank), n, width)


def derivatives(function, inputs, seed=0):
    """The value, its gradients along random directions, and those of them along others."""
    generator = torch.Generator().manual_seed(seed)

    def like(x):
        return torch.randn(x.shape, generator=generator).to(x.dtype)

    inputs = [x.clone().requires_grad_() for x in inputs]
    y = function(*inputs)
    g = like(y).requires_grad_()
    first = torch.autograd.grad(y, inputs, g, create_graph=True)
    whole = sum((like(x) * x).sum() for x in (y, *first))
    return [y, *first, *torch.autograd.grad(whole, [*inputs, g])]


def check_parity(function, inputs, dtype):
    """The same as plain torch in float64, to the rounding of the precision."""
    bound = 2e-6 if dtype == torch.float32 else 1e-13
    found = derivatives(function, [x.to(dtype) for x in inputs])
    with reference_kernels():
        expected = derivatives(function, [x.to(dtype).double() for x in inputs])
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == dtype
        assert float((x - y).detach().norm()) <= bound * max(float(y.detach().norm()), 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [silu, normalize])
@pytest.mark.parametrize("shape", [(1, 8), (70, 24), (33, 128)])
def test_of_numbers_and_rows(function, shape, dtype):
    torch.manual_seed(0)
    check_parity(function, [3 * torch.randn(shape, dtype=torch.float64)], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d, num_heads", [(8, 1), (24, 3), (64, 2), (96, 1)])
@pytest.mark.parametrize("counts", COUNTS)
def test_attention(counts, d, num_heads, dtype):
    torch.manual_seed(0)
    tokens = tokens_of(COUNTS[counts])
    T = sum(COUNTS[counts])
    qkv = torch.randn(T, 3 * d, dtype=torch.float64)
    bias = -10 * torch.rand(T, dtype=torch.float64)
    check_parity(lambda x, b: attend(x, b, num_heads, tokens), [qkv, bias], dtype)


@pytest.mark.slow
def test_gradients_are_those_of_differences():
    torch.manual_seed(0)
    tokens = tokens_of([3, 1, 2])
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    qkv = torch.randn(6, 24, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert fused_on_processor(8, 1, x, qkv, bias)
    for function, inputs in (
        (silu, (x,)),
        (normalize, (x,)),
        (lambda a, b: attend(a, b, 1, tokens), (qkv, bias)),
    ):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_third_derivatives_are_those_of_plain_torch():
    torch.manual_seed(0)
    tokens = tokens_of([3, 2])
    x = torch.randn(5, 8, dtype=torch.float64)
    qkv = torch.randn(5, 24, dtype=torch.float64)
    bias = torch.randn(5, dtype=torch.float64)

    def third(function, *inputs):
        inputs = [x.clone().requires_grad_() for x in inputs]
        total = 0.1 * function(*inputs).pow(3).sum()
        for _ in range(3):
            slopes = torch.autograd.grad(total, inputs, create_graph=True)
            total = sum(s.sin().sum() for s in slopes)
        return slopes

    def written_out(x):  # torch's layer_norm takes its scale for a constant here
        far = x - x.mean(1, keepdim=True)
        return far * (far.square().mean(1, keepdim=True) + 1e-5).rsqrt()

    def attention(a, b):
        return attend(a, b, 1, tokens)

    for function, plain, inputs in (
        (silu, silu, (x,)),
        (normalize, written_out, (x,)),
        (attention, attention, (qkv, bias)),
    ):
        found = third(function, *inputs)
        with reference_kernels():
            expected = third(plain, *inputs)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_large_numbers_are_as_torch_has_them():
    x = torch.tensor([-1e4, -200.0, -90.0, -20.0, 0.0, 20.0, 200.0, 1e4])
    assert torch.allclose(silu(x), torch.nn.functional.silu(x), atol=1e-7)
    assert silu(torch.full((8,), torch.nan)).isnan().all()


def test_far_tokens_have_no_part():
    tokens = tokens_of([3, 3])
    qkv = torch.randn(6, 24)
    bias = torch.tensor([0.0, 0.0, -1e6, 0.0, -torch.inf, 0.0])
    y = attend(qkv, bias, 1, tokens)
    qkv[[2, 4]] = 100.0
    assert torch.allclose(attend(qkv, bias, 1, tokens)[[0, 1, 3, 5]], y[[0, 1, 3, 5]], atol=1e-6)


def step(model, batch, pairs):
    """Energies, forces, and the gradients of a loss of both by all weights."""
    out = model(batch, forces=True, pairs=pairs)
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = out.energy.square().sum() + out.forces.square().sum()
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [out.energy, out.forces, *(s for s in slopes if s is not None)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_qm9", [False, True])
def test_pet_is_that_of_plain_torch(of_qm9, dtype):
    store = scdlab.load_qm9(limit=300) if of_qm9 else scdlab.load_ethanol()
    batch = store.take([0, 7, 80, 200])
    torch.manual_seed(0)
    model = scdlab.PET(32, num_layers=2, num_heads=2, noise_head=False).to(dtype).train()
    pairs = neighbor_list(batch, model.cutoff)
    found = step(model, batch, pairs)
    with reference_kernels():
        expected = step(model.double(), batch, pairs)
    bound = 1e-4 if dtype == torch.float32 else 1e-10
    for x, y in zip(found, expected, strict=True):
        assert float((x - y).detach().norm()) <= bound * max(float(y.detach().norm()), 1.0)
