"""The fused tensor product against plain torch in float64: every argument, to the second
derivative, with products that a network has and with random ones; odd graphs, threads, layouts, and
when the loops run at all."""

import pytest
import torch
from ase import Atoms

import scdlab
from scdlab.atoms import Pairs
from scdlab.nn.blocks.harmonics import product_paths, terms_of
from scdlab.nn.ops import runtime
from scdlab.nn.ops.edges import DirectedEdges
from scdlab.nn.ops.neighbor_sums import reference_kernels
from scdlab.nn.ops.tensor_product import Terms, takes, tensor_product

GRAPHS = {  # atoms, pairs
    "many": (70, [(k * 7 % 61, (k * k + 3) % 61) for k in range(300)]),  # 9 atoms hear none
    "few": (5, [(0, 1), (0, 1), (0, 2), (3, 3), (2, 1), (3, 3), (0, 0)]),
    "one atom": (1, [(0, 0), (0, 0)]),
    "no pairs": (3, []),
    "nothing": (0, []),
}
CPU = torch.device("cpu")


def random_terms(q=17, paths=3, rows_in=4, rows_out=5, harmonics=6):
    """Terms in no order, of which two are the same but for their number."""
    torch.manual_seed(q)
    path = torch.cat([torch.arange(paths), torch.randint(paths, (q - paths,))])
    into = torch.randint(rows_out, (q,))
    source = torch.randint(rows_in, (q,))
    path[-1], into[-1], source[-1] = path[0], into[0], source[0]
    mirrored = torch.where(torch.rand(q) < 0.5, -1.0, 1.0)
    numbers = torch.randn(harmonics, q)
    return Terms(path, into, source, numbers, mirrored, paths, rows_in, rows_out)


TERMS = {
    "of a network": lambda: terms_of(tuple(product_paths(2, 2, 2)), 2),
    "of a first layer": lambda: terms_of(tuple(product_paths(0, 2, 2)), 2),
    "random": random_terms,
}


def plain(x, filters, numbers, terms, edges):
    """The sum as it is written."""
    target = torch.cat([edges.i, edges.j])
    source = torch.cat([edges.j, edges.i])
    out = x.new_zeros(edges.n_atoms, terms.rows_out, x.shape[-1])
    both = torch.cat([filters, filters])
    for q in range(len(terms)):
        message = both[:, terms.path[q]] * x[source, terms.source[q]] * numbers[:, q, None]
        place = torch.zeros_like(out)
        place[:, terms.into[q]] = torch.zeros_like(out[:, 0]).index_add(0, target, message)
        out = out + place
    return out


def inputs(graph, terms, d):
    n, pairs = GRAPHS[graph]
    torch.manual_seed(0)
    i, j = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t().contiguous()
    edges = DirectedEdges(Pairs(i, j, None, 5.0), n)
    x = torch.randn(n, terms.rows_in, d)
    filters = torch.randn(len(i), terms.paths, d)
    return edges, [x, filters, terms.of_edges(torch.randn(len(i), len(terms.numbers)))]


def derivatives(product, edges, terms, tensors, dtype=torch.float32):
    """Value, first derivatives of a contraction of it, and second."""
    leaves = [x.to(dtype).requires_grad_() for x in tensors]
    value = product(*leaves, terms, edges)
    torch.manual_seed(1)
    weight = torch.randn(value.shape).to(value).requires_grad_()
    first = torch.autograd.grad((value * weight).sum(), leaves, create_graph=True)
    contraction = sum((g * torch.randn(g.shape).to(g)).sum() for g in first)
    return [value, *first, *torch.autograd.grad(contraction, [*leaves, weight])]


@pytest.mark.parametrize("d", [8, 32, 40])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", TERMS)
def test_value_and_two_derivatives(kind, graph, d):
    terms = TERMS[kind]()
    edges, tensors = inputs(graph, terms, d)
    found = derivatives(tensor_product, edges, terms, tensors)
    right = derivatives(plain, edges, terms, tensors, torch.float64)
    for k, (x, y) in enumerate(zip(found, right, strict=True)):
        assert x.dtype == torch.float32 and x.shape == y.shape
        if y.numel():
            error = (x.double() - y).abs().max().item()
            assert error <= 1e-5 * max(y.abs().max().item(), 1.0), k


def test_threads_repeats_and_layouts_change_no_bit(monkeypatch):
    terms = TERMS["of a network"]()
    edges, tensors = inputs("many", terms, 24)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = derivatives(tensor_product, edges, terms, tensors)
        torch.set_num_threads(2)
        others = [derivatives(tensor_product, edges, terms, tensors)]
        monkeypatch.setattr(runtime, "TEAM", None)
        others.append(derivatives(tensor_product, edges, terms, tensors))
    finally:
        torch.set_num_threads(before)
    turned = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in tensors]
    assert not any(x.is_contiguous() for x in turned)
    others.append(derivatives(tensor_product, edges, terms, turned))
    for answers in others:
        assert all(torch.equal(x, y) for x, y in zip(alone, answers, strict=True))


def test_tensors_of_other_pairs_or_terms_are_refused():
    terms = random_terms()
    edges, (x, filters, numbers) = inputs("many", terms, 8)
    for wrong in (
        (x[:-1], filters, numbers),
        (x[:, :-1], filters, numbers),
        (x, filters[1:], numbers),
        (x, filters[:, :-1], numbers),
        (x, filters, numbers[:300]),
        (x, filters[..., :-1], numbers),
    ):
        with pytest.raises(ValueError, match="A tensor product of 17 terms over 300 pairs"):
            tensor_product(*wrong, terms, edges)


def test_when_loops_run():
    x = torch.zeros(3, 4, 16)
    assert takes(x)
    assert not takes(x.double()) and not takes(x[..., :12])
    with reference_kernels():
        assert not takes(x)


def of_network(d, lmax, dtype=torch.float32, **options):
    """Energies, forces, noise, and gradients of a loss on them by all parameters."""
    torch.manual_seed(0)
    model = scdlab.TensorProductNet(d, 3, lmax=lmax, **options).to(dtype).train()
    batch = scdlab.load_ethanol().take([0, 500, 1000])
    batch.pos = batch.pos.to(dtype)
    force_input = batch.forces.to(dtype) if "force_input" in options else None
    out = model(batch, forces=True, noise=True, force_input=force_input)
    loss = out.forces.square().sum() + out.noise.square().sum()
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss.backward(inputs=parameters)
    return [out.energy, out.forces, out.noise], [p.grad for p in parameters]


def test_an_atom_alone_goes_through_a_network():
    torch.manual_seed(0)
    model = scdlab.TensorProductNet(16, 2).train()
    batch = scdlab.AtomStore.from_ase([Atoms("H")]).take([0])
    out = model(batch, forces=True, noise=True)
    assert out.energy.isfinite().all() and not out.forces.any() and not out.noise.any()


@pytest.mark.parametrize("lmax", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"force_input": True}], ids=["plain", "told forces"])
def test_a_network_is_the_same_with_and_without_loops(lmax, options):
    fused, gradients = of_network(16, lmax, **options)
    with reference_kernels():
        right, right_gradients = of_network(16, lmax, torch.float64, **options)
    for x, y in zip(fused, right, strict=True):
        assert (x.double() - y).abs().max() <= 1e-5 * y.abs().max()
    compared = 0
    for x, y in zip(gradients, right_gradients, strict=True):
        assert (x is None) == (y is None)
        if y is not None:
            assert (x.double() - y).abs().max() <= 2e-5 * max(y.abs().max(), 1e-3)
            compared += 1
    assert compared > 10
