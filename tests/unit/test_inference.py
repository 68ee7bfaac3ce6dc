"""Models within modes of torch that their callers set: inference mode, autocast, other precisions,
torch.compile, copies."""

import copy
import pickle
import warnings

import pytest
import torch
from ase.build import bulk
from helpers import ct, pet, rattled, schnet, stored_batch

import scdlab
from scdlab.nn.modes import ordinary_mode


def _made(kind: str) -> scdlab.nn.Model:
    torch.manual_seed(0)
    small = dict(hidden_channels=16, num_layers=1)
    if kind == "SchNet":
        return schnet(num_layers=1)
    if kind == "CT":
        return ct(num_layers=1, force_input=True)
    if kind == "PET":
        return pet()
    if kind == "direct PET":
        return pet(direct_forces=True)
    if kind == "ECSE":
        return scdlab.ECSE(pet())
    if kind == "RandomRotations":
        return scdlab.symmetry.RandomRotations(pet(), n=2)
    if kind == "OfficialCT":
        return scdlab.nn.OfficialCT(emb_dim=16, num_layers=1, num_heads=2, num_rbf=8)
    return getattr(scdlab, kind)(**small)


KINDS = (
    "SchNet",
    "CT",
    "DimeNet",
    "TensorProductNet",
    "PET",
    "direct PET",
    "ECSE",
    "RandomRotations",
    "OfficialCT",
)


def _batch():
    return stored_batch("CH3CH2OH", rattled(bulk("MgO", "rocksalt", a=4.2)))


def _outputs(model, batch, **settings) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*auxiliary model")
        out = model(batch, forces=True, **settings)
    fields = (out.energy, out.forces, out.noise, out.embedding)
    return torch.cat([x.detach().double().flatten() for x in fields if x is not None])


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_inference_mode_gives_what_no_grad_gives(kind):
    model = _made(kind).eval()
    with torch.no_grad():
        right = _outputs(model, _batch())
    with torch.inference_mode():
        assert torch.equal(_outputs(model, _batch()), right)
        batch = _batch()
        pairs = scdlab.neighbor_list(batch, model.cutoff)
    with torch.no_grad():
        assert torch.equal(_outputs(model, batch, pairs=pairs), right)
    torch.testing.assert_close(_outputs(model, batch), right, rtol=1e-5, atol=1e-6)


def test_a_model_made_within_inference_mode_has_forces_and_trains(kind):
    with torch.no_grad():
        right = _outputs(_made(kind).eval(), _batch())
    with torch.inference_mode():
        model = _made(kind).eval()
        assert torch.equal(_outputs(model, _batch()), right)
    out = model.train()(_batch(), forces=True)
    (out.energy.sum() + out.forces.square().sum()).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(kind, dtype):
    model = _made(kind).eval()
    with torch.no_grad():
        right = _outputs(model, _batch())
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(_outputs(model, _batch()), right)


def test_gradients_within_autocast_are_those_without(kind):
    model = _made(kind).train()
    found = []
    for enabled in (False, True):
        model.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = model(_batch(), forces=True)
            loss = out.energy.sum() + out.forces.square().sum()
        loss.backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("forces", [True, False])
def test_a_backward_pass_runs_within_autocast(kind, forces):
    model = _made(kind).train()
    found = []
    for enabled in (False, True):
        model.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = model(_batch(), forces=forces)
            loss = out.energy.sum()
            if forces:
                loss = loss + out.forces.square().sum()
            loss.backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    scale = max(float(x.abs().max()) for x in found[0])
    assert scale > 0
    for x, y in zip(*found, strict=True):
        assert float((x - y).abs().max()) < 0.05 * scale  # autograd's own products are rounded


def test_the_default_precision_changes_nothing(kind):
    for dtype in (torch.float32, torch.float64):
        model = _made(kind).to(dtype).eval()
        with torch.no_grad():
            right = _outputs(model, _batch())
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64 if dtype == torch.float32 else torch.float32)
            try:
                torch.testing.assert_close(_outputs(model, _batch()), right, rtol=1e-6, atol=1e-7)
            finally:
                torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(kind, dtype):
    model = _made(kind).to(dtype)
    with pytest.raises(ValueError, match=r"torch\.float32 or torch\.float64, with model\.float\("):
        model(_batch(), forces=True)


def test_copies_and_pickles_give_the_same(kind):
    model = _made(kind).eval()
    with torch.no_grad():
        right = _outputs(model, _batch())
        assert torch.equal(_outputs(copy.deepcopy(model), _batch()), right)
        assert torch.equal(_outputs(pickle.loads(pickle.dumps(model)), _batch()), right)


def test_weights_converted_within_inference_mode_are_refused():
    model = schnet()
    with torch.inference_mode():
        model.double()
    with pytest.raises(ValueError, match=r"made within torch\.inference_mode, so no gradient"):
        model(_batch(), forces=True)
    assert copy.deepcopy(model)(_batch(), forces=True).forces.isfinite().all()
    with torch.inference_mode():
        calculator = scdlab.Calculator(model)
    atoms = bulk("MgO", "rocksalt", a=4.2)
    atoms.calc = calculator
    assert atoms.get_stress().shape == (6,)


def test_tracing_is_refused():
    batch = stored_batch("H2O")
    model = schnet().eval()

    class Wrapped(torch.nn.Module):
        def forward(self, pos):
            other = copy.copy(batch)
            other.pos = pos
            return model(other).energy

    with pytest.raises(ValueError, match=r"torch\.jit\.trace would keep the neighbors"):
        torch.jit.trace(Wrapped(), batch.pos)


def test_input_that_does_not_go_with_the_weights_is_named():
    model = scdlab.SchNet(hidden_channels=8, num_layers=1, num_rbf=8)
    batch = scdlab.load_ethanol().take([0])
    with pytest.raises(ValueError, match="pos is on cpu and the weights of the model on meta"):
        copy.deepcopy(model).to("meta")(batch)
    for name in ("condition", "force_input"):
        for context in (torch.no_grad(), torch.enable_grad()):
            with context, pytest.raises(TypeError, match=f"{name} must be a tensor, got"):
                model(batch, **{name: [0.0] * 8})


def test_ordinary_mode_keeps_whether_gradients_are_kept():
    for context, expected in ((torch.no_grad(), False), (torch.enable_grad(), True)):
        with context, ordinary_mode(torch.device("cpu")):
            assert torch.is_grad_enabled() == expected
    with torch.inference_mode(), ordinary_mode(torch.device("cpu")):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_a_compiled_model_gives_the_same_from_the_first_call_on(kind):
    """With the default backend, which would need a C++ compiler and minutes."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for train in (False, True):
            model = _made(kind).train(train)
            compiled = torch.compile(model)
            for batch in (_batch(), stored_batch("CH4"), _batch()):
                found = []
                for each in (model, compiled):
                    torch.manual_seed(0)
                    model.zero_grad()
                    out = each(batch, forces=True)
                    (out.energy.sum() + out.forces.square().sum()).backward()
                    gradients = [p.grad for p in model.parameters() if p.grad is not None]
                    found.append([out.energy, out.forces, *gradients])
                assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_compiled_function_of_a_model_gives_the_same():
    torch._dynamo.reset()
    model = _made("TensorProductNet").eval()
    batch = stored_batch("CH4", "H2O")

    def difference(scale):
        energy = model(batch).energy
        return scale * (energy[0] - energy[1])

    right = difference(torch.tensor(2.0))
    compiled = torch.compile(difference, backend="eager")
    for _ in range(2):
        assert torch.equal(compiled(torch.tensor(2.0)), right)


def test_mirrored_harmonics_have_signs_that_torch_compile_keeps():
    """(-1) ** l of a degree that torch.compile makes symbolic is printed as -1 ** l."""
    from scdlab.nn.blocks.harmonics import Harmonics

    model = _made("TensorProductNet")
    batch = stored_batch("CH4")
    pairs = scdlab.neighbor_list(batch, model.cutoff)
    r_ij = pairs.vectors(batch.pos, batch)
    harmonics = Harmonics(model.basis, r_ij, pairs, len(batch.z), 2)
    for l1, l2, l3 in ((0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 1, 2), (1, 2, 1)):
        there, back = harmonics.matrices(l1, l2, l3)
        assert torch.equal(back, there if l2 % 2 == 0 else -there)
