"""Published checkpoints of CT: opened, checked and loaded; the layout's numbers; what it breaks,
and what cures it."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from ase.build import bulk, molecule

import scdlab
from scdlab.atoms import neighbor_list
from scdlab.nn.official_ct import Edges, OfficialCT, Whitening
from scdlab.objectives import PropertyRegression

CONFIG = dict(
    emb_dim=8, num_layers=2, num_heads=2, num_rbf=6, inv_post_norm=True, trainable_rbf=False
)


def release_shapes(d=8, num_layers=2, n=6, max_z=118):
    """The keys of the released layout and their shapes, written down from the release rather than
    from our code."""

    def linear(name, d_in, d_out, bias=True):
        return {f"{name}.weight": (d_out, d_in)} | ({f"{name}.bias": (d_out,)} if bias else {})

    def norm(name):
        return {f"{name}.weight": (d,), f"{name}.bias": (d,)}

    def gated(name, d_in, d_out):
        mlp = f"{name}.update_net.layers"
        parts = linear(f"{name}.vec1_proj", d_in, d_in, False) | linear(
            f"{name}.vec2_proj", d_in, d_out, False
        )
        return parts | linear(f"{mlp}.0", 2 * d_in, d_in) | linear(f"{mlp}.2", d_in, 2 * d_out)

    body = "rep_model"
    shapes = {
        "mean": (),
        "std": (),
        f"{body}.embedding.weight": (max_z, d),
        f"{body}.drop_cond.mask_token": (1, d),
        f"{body}.distance_expansion.means": (n,),
        f"{body}.distance_expansion.betas": (n,),
        f"{body}.neighbor_embedding_module.embedding.weight": (max_z, d),
    }
    shapes |= linear(f"{body}.neighbor_embedding_module.distance_proj", n, d) | norm(
        f"{body}.drop_cond.norm"
    )
    shapes |= linear(f"{body}.neighbor_embedding_module.combine", 2 * d, d)
    for head in ("noise_head", "scalar_head"):
        shapes |= gated(f"{head}.output_network.0", d, d // 2) | gated(
            f"{head}.output_network.1", d // 2, 1
        )
    for name in ("pre_proj.0", "pre_proj.3", "post_agg_mlp.0", "post_agg_mlp.3"):
        shapes |= norm(f"embedding_head.{name}")
    for name in ("pre_proj.1", "post_agg_mlp.1", "post_agg_mlp.4"):
        shapes |= linear(f"embedding_head.{name}", d, d)
    for k in range(num_layers):
        at = f"{body}.attention_layers.{k}"
        shapes |= norm(f"{body}.x_post_norm.{k}") | {f"{body}.v_post_norm.{k}.weight": (d,)}
        shapes |= {
            f"{at}.{s}": () for s in ("conditional_ln.alpha_x", "conditional_ln.x_modulate.alpha")
        }
        shapes |= {
            f"{at}.vec_norm.norm_alpha": (),
            f"{at}.vec_norm.norm_gamma": (d,),
            f"{at}.vec_norm.norm_beta": (d,),
        }
        shapes |= norm(f"{at}.conditional_ln.x_norm") | norm(f"{at}.conditional_ln.fc.2")
        shapes |= linear(f"{at}.conditional_ln.fc.0", 2 * d, d) | linear(
            f"{at}.conditional_ln.fc.3", d, 3 * d
        )
        shapes |= (
            linear(f"{at}.q_proj", d, d)
            | linear(f"{at}.k_proj", d, d)
            | linear(f"{at}.v_proj", d, 3 * d)
        )
        shapes |= linear(f"{at}.o_proj", d, 3 * d) | linear(f"{at}.vec_proj", d, 3 * d, False)
        shapes |= linear(f"{at}.dk_proj", n, d) | linear(f"{at}.dv_proj", n, 3 * d)
    return shapes


def release_state(slope=0.2, bias=0.0):
    """Weights that look random and are the same everywhere, in the released layout; slope and bias
    of its tanh."""
    state = {}
    for k, (key, shape) in enumerate(sorted(release_shapes().items())):
        scrambled = 4e4 * torch.sin(
            12.9898 * torch.arange(1, 1 + int(np.prod(shape)), dtype=torch.float64) + 78.233 * k
        )
        uniform = (2 * (scrambled - scrambled.floor()) - 1).view(shape)  # from -1 to 1
        wide = len(shape) == 2 and "embedding.weight" not in key
        state[key] = (uniform * (shape[1] / 3) ** -0.5 if wide else 0.3 * uniform).float()
        if "norm.weight" in key or key.endswith(
            ("fc.2.weight", "proj.0.weight", "proj.3.weight", "mlp.3.weight")
        ):
            state[key] += 1
    for key in state:
        if key.endswith("vec_norm.norm_alpha"):
            state[key] = torch.tensor(slope)
        elif key.endswith("vec_norm.norm_gamma"):
            state[key] = torch.full((8,), 1 / slope)
        elif key.endswith("vec_norm.norm_beta"):
            state[key] = torch.full((8,), bias)
    state["mean"], state["std"] = torch.tensor(0.25), torch.tensor(2.0)
    state["rep_model.distance_expansion.means"] = torch.linspace(float(np.exp(-5)), 1, 6)
    state["rep_model.distance_expansion.betas"] = torch.full((6,), 9.0)
    return state


def statistics():
    """Running statistics that the release keeps beside the weights and never reads in
    evaluation."""
    return {
        "noise_normalizer.acc_sum": torch.zeros(3),
        "noise_normalizer.acc_count": torch.zeros(1),
    }


def ct(slope=0.2, bias=0.0, **settings):
    return scdlab.load_official_ct(release_state(slope, bias), CONFIG | settings)


def ethanol():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    return atoms


def two():
    return scdlab.AtomStore.from_ase([ethanol(), molecule("H2O")]).take([0, 1])


def same(a, b):
    batch = two()
    with torch.no_grad():
        x = a(batch)
        y = b(batch)
    return all(
        torch.equal(getattr(x, k), getattr(y, k)) for k in ("energy", "noise", "embedding", "atoms")
    )


# ------------------------------------------------------------------ numbers


def numbers(model):
    """A few numbers that every part of the model has a hand in, without and with a condition."""
    batch = two()
    with torch.no_grad():
        clean = model(batch)
        noisy = model(batch, condition=clean.embedding)
    wave = torch.cos(torch.arange(8.0))
    parts = [
        (*o.energy, o.noise[2, 0], o.noise[10, 1], *(o.embedding @ wave), o.atoms[0] @ wave)
        for o in (clean, noisy)
    ]
    return [float(x) for part in parts for x in part]


# made once by a version that agreed with the release's own outputs (test_official_ct.py)
REGRESSION = {
    "released": (
        dict(),
        [
            -2.40384,
            -0.295381,
            -5.43414,
            0.163895,
            -1.2793,
            -0.668339,
            -0.0926283,
            -0.347327,
            -0.408444,
            -8.97092,
            -0.212843,
            -1.83864,
            -1.62155,
            -0.24459,
        ],
    ),
    "small": (
        dict(layernorm_on_vec=True),
        [
            -0.334558,
            0.0665966,
            -0.0253501,
            0.0278556,
            -1.2793,
            -0.668339,
            -0.0926283,
            -0.0175245,
            0.0914171,
            -0.0153823,
            -0.00202938,
            -1.83864,
            -1.62155,
            -0.24459,
        ],
    ),
    "plain": (
        dict(vec_prenorm=False, vector_cutoff=False, inv_post_norm=False, vec_post_norm=True),
        [
            -0.237107,
            0.216877,
            0.0130334,
            -0.0182143,
            0.389814,
            -0.0707061,
            0.309282,
            -0.179905,
            0.165645,
            0.0135004,
            -0.00292384,
            -0.495278,
            -0.552875,
            0.368971,
        ],
    ),
}


@pytest.mark.parametrize("which", REGRESSION)
def test_the_numbers_of_the_layout(which):
    settings, expected = REGRESSION[which]
    np.testing.assert_allclose(numbers(ct(bias=0.02, **settings)), expected, rtol=1e-4, atol=1e-5)


def test_the_whole_layout_is_loaded():
    model = ct()
    assert sum(
        t.numel()
        for k, t in model.state_dict().items()
        if k not in ("trained_elements", "energy_head.reference")
    ) == sum(int(np.prod(shape)) for shape in release_shapes().values())
    torch.testing.assert_close(
        model.mask_token, release_state()["rep_model.drop_cond.mask_token"][0]
    )
    assert not model.training and not model.rep_model["distance_expansion"]["means"].requires_grad


def test_whitened_vectors_have_the_identity_as_covariance():
    v = (
        torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 30
        + 7
    )
    out = Whitening(16).double()(v)
    torch.testing.assert_close(
        out @ out.mT / 16, torch.eye(3).double().expand(5, 3, 3), rtol=1e-4, atol=1e-6
    )


# ------------------------------------------------------------------ as a model of the kit


def test_conditions():
    model = ct(bias=0.02)
    batch = two()
    with torch.no_grad():
        plain = model(batch)
        c = model(batch).embedding
        told = model(batch, condition=c)
        assert (told.noise - plain.noise).abs().max() > 1e-3
        torch.testing.assert_close(model(batch, condition=c[batch.batch]).noise, told.noise)
        mixed = model(batch, condition=torch.stack([model.mask_token, c[1]]))
        masked = model(batch, condition=model.mask_token.expand(2, -1))
    assert torch.equal(masked.noise, plain.noise) and torch.equal(masked.energy, plain.energy)
    torch.testing.assert_close(mixed.noise, torch.cat([plain.noise[:9], told.noise[9:]]))
    with pytest.raises(ValueError, match=r"\[2, 8\].*\[12, 8\].*got \[3, 8\]"):
        model(batch, condition=torch.zeros(3, 8))


def test_the_gradient_passes_through_the_condition():
    model = ct()
    batch = two()
    model(batch, condition=model(batch).embedding).noise.square().sum().backward()
    assert model.embedding_head.mlp[4].weight.grad.abs().max() > 0


def test_pairs_beyond_the_cutoff_do_no_harm():
    for settings in ({}, {"vector_cutoff": False}):
        model = ct(**settings, cutoff_upper=2.0)
        batch = two()
        with torch.no_grad():
            torch.testing.assert_close(
                model(batch, pairs=neighbor_list(batch, 4.0)).noise, model(batch).noise
            )


def test_calculator():
    model = ct(detach=False)
    atoms = ethanol()
    atoms.calc = scdlab.Calculator(model)
    forces = atoms.get_forces()
    assert abs(atoms.get_potential_energy() - float(model(two()).energy[0].detach())) < 1e-3
    moved = atoms.copy()
    moved.calc = atoms.calc
    h = 1e-4
    energy = []
    for sign in (1, -1):
        moved.positions = atoms.positions
        moved.positions[3, 1] += sign * h
        energy.append(moved.get_potential_energy())
    assert abs((energy[1] - energy[0]) / (2 * h) - forces[3, 1]) < 1e-5 * np.abs(forces).max()


def test_fine_tuning():
    store = scdlab.AtomStore.from_ase(
        [ethanol(), molecule("H2O"), molecule("CO2"), molecule("CH4")]
    )
    batch = store.take([0, 1, 2, 3])
    sizes = np.diff(batch.ptr.numpy()).astype(float)
    train = scdlab.AtomStore.from_arrays(
        batch.z.numpy(), batch.pos.numpy(), batch.ptr.numpy(), properties={"atoms_there": sizes}
    )
    model = ct(drop_path=0.2)
    before = ct()
    result = scdlab.fit(
        model, PropertyRegression("atoms_there"), train, steps=5, batch_size=2, progress=False
    )
    assert result is not None and not same(model, before)
    with pytest.raises(ValueError, match="cannot predict anything for"):
        model.eval()(scdlab.AtomStore.from_ase([molecule("SiH4")]).take([0]))


def test_saved_and_opened_again(tmp_path):
    model = ct(bias=0.02, detach=False)
    scdlab.save(model, tmp_path / "ct")
    again = scdlab.load(tmp_path / "ct")
    assert isinstance(again, OfficialCT) and again.config["detach"] is False and same(model, again)


def test_a_crystal_keeps_the_nearest_neighbors():
    cell = bulk("Cu", "fcc", a=3.6)  # within 5 Å: 12 at 2.55 Å, 6 at 3.6, 24 at 4.41
    batch = scdlab.AtomStore.from_ase([cell]).take([0])
    pairs = neighbor_list(batch, 5.0)
    for most, kept in ((42, 42), (41, 42), (20, 42), (18, 42), (17, 18), (12, 18), (11, 12)):
        edges = Edges(batch, pairs, 5.0, most)
        assert len(edges.r) == kept + 1, most  # and the atom itself; a tie is kept whole
    edges = Edges(batch, pairs, 5.0, 32)
    torch.testing.assert_close(
        edges.unit.norm(dim=1), edges.r
    )  # to its own images: vectors as long as they are
    apart = bulk("MgO", "rocksalt", a=4.2)
    apart.rattle(0.1, seed=1)
    edges = Edges(
        batch := scdlab.AtomStore.from_ase([apart]).take([0]), neighbor_list(batch, 5.0), 5.0, 32
    )
    torch.testing.assert_close(
        edges.unit[edges.others].norm(dim=1), torch.ones(int(edges.others.sum()))
    )
    report = scdlab.symmetry_report(ct(vec_prenorm=False, detach=False), apart)
    assert max(report.rotation, report.permutation) < 1e-10, report


def test_an_element_beyond_the_embedding():
    batch = two()
    batch.z = batch.z.clone()
    batch.z[0] = 118
    with pytest.raises(ValueError, match="below 118"):
        ct()(batch)


# ------------------------------------------------------------------ the three faults, and their
# cures


def report(**settings):
    return scdlab.symmetry_report(ct(**settings), ethanol())


def test_fault_one_tanh_of_components_does_not_turn():
    gentle = report(detach=False)
    steep = report(slope=2.0, detach=False)
    biased = report(bias=0.02, detach=False)
    assert 1e-6 < gentle.rotation < 0.2 * min(steep.rotation, biased.rotation)
    assert min(steep.rotation, biased.rotation) > 0.1
    cured = report(slope=2.0, bias=0.02, detach=False, vec_prenorm=False)
    assert max(cured.rotation, cured.reflection, cured.translation, cured.permutation) < 1e-10, (
        cured
    )


def test_fault_two_forces_of_a_detached_copy_are_not_the_gradient():
    for prenorm in (True, False):
        assert report(vec_prenorm=prenorm).force_consistency > 0.02
        assert report(vec_prenorm=prenorm, detach=False).force_consistency < 1e-5
    assert same(ct(bias=0.02), ct(bias=0.02, detach=False))  # only derivatives differ


def test_fault_three_whitening_singles_out_axes():
    for name in ("layernorm_on_vec", "vec_post_norm"):
        broken = report(vec_prenorm=False, detach=False, **{name: True})
        assert broken.rotation > 1e-4 and broken.permutation < 1e-8, broken
    v = torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]
    whiten = Whitening(16).double()
    error = [
        float((whiten(turn @ (s * v)) - turn @ whiten(s * v)).detach().abs().max())
        for s in (1e-2, 1.0)
    ]
    assert error[0] > 0.05 and error[1] < 1e-3, error  # it shows while vectors are short


def test_our_own_ct_has_none_of_them():
    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(
        hidden_channels=8, num_layers=2, num_heads=2, num_rbf=6, conditional=True
    )
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    ours = scdlab.symmetry_report(model, ethanol())
    assert max(ours.rotation, ours.reflection) < 1e-10 and ours.force_consistency < 1e-5, ours


# ------------------------------------------------------------------ files


def lightning(path, **more):
    state = {f"model.{k}": t for k, t in (release_state() | statistics()).items()}
    state |= {f"ema_model.{k}": torch.zeros_like(t) for k, t in release_state().items()}
    hyper = CONFIG | dict(
        model="CET", lr=5e-4, dataset="PCQM4MV2", p_droppath=0.1, aggregation="add"
    )
    torch.save(
        {"state_dict": state, "hyper_parameters": hyper, "optimizer_states": [], "epoch": 3} | more,
        path,
    )
    return path


def test_files(tmp_path):
    expected = ct()
    assert same(scdlab.load_official_ct(lightning(tmp_path / "a.ckpt")), expected)
    torch.save(release_state() | statistics(), tmp_path / "b.pt")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(CONFIG | {"p_dropcond": 0.2}), encoding="utf-8")
    assert same(scdlab.load_official_ct(tmp_path / "b.pt", settings), expected)
    assert same(scdlab.load_official_ct(str(tmp_path / "b.pt"), CONFIG), expected)
    np.savez(tmp_path / "d.npz", **{k: t.numpy() for k, t in release_state().items()})
    with np.load(tmp_path / "d.npz") as arrays:  # a mapping too
        assert same(scdlab.load_official_ct(arrays, CONFIG), expected)
    safetensors.torch.save_file(release_state(), tmp_path / "c.safetensors")
    assert same(scdlab.load_official_ct(tmp_path / "c.safetensors", CONFIG), expected)
    assert same(
        scdlab.load_official_ct({f"model.{k}": t for k, t in release_state().items()}, CONFIG),
        expected,
    )
    with pytest.raises(FileNotFoundError):
        scdlab.load_official_ct(tmp_path / "none.ckpt", CONFIG)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_not_run(tmp_path):
    file = lightning(tmp_path / "a.ckpt", callbacks=Trap(tmp_path / "touched"))
    touched = tmp_path / "touched"
    with pytest.raises(ValueError, match=r"a\.ckpt.*plain data only"):
        scdlab.load_official_ct(file)
    assert not touched.exists()
    (tmp_path / "text.ckpt").write_text("not a checkpoint", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.ckpt"):
        scdlab.load_official_ct(tmp_path / "text.ckpt", CONFIG)
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"holds a Tensor"):
        scdlab.load_official_ct(tmp_path / "tensor.pt", CONFIG)


def test_another_layout_is_named_by_its_first_key():
    state = release_state()
    q = "rep_model.attention_layers.1.q_proj.weight"
    cases = [
        ({k: t for k, t in state.items() if k != q}, q, "no such key", r"shape \(8, 8\)"),
        (state | {q: torch.zeros(4, 8)}, q, r"shape \(4, 8\)", r"shape \(8, 8\)"),
        (
            state | {"prior_model.0.atomref": torch.zeros(3)},
            "prior_model.0.atomref",
            r"shape \(3,\)",
            "no such key",
        ),
    ]
    for wrong, key, has, expected in cases:
        with pytest.raises(
            ValueError, match=f"at '{key}' it has {has}, and {expected} was expected"
        ):
            scdlab.load_official_ct(wrong, CONFIG)
    with pytest.raises(ValueError, match=r"attention_layers\.2\."):
        scdlab.load_official_ct(state, CONFIG | {"num_layers": 3})
    with pytest.raises(ValueError, match=r"attention_layers\.1\."):
        scdlab.load_official_ct(state, CONFIG | {"num_layers": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rbf_type": "gauss"}, "rbf_type='expnorm', got 'gauss'"),
        ({"model": "ET"}, "model='CET', got 'ET'"),
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"num_layers": 0}, "num_layers of OfficialCT must be at least 1"),
        ({"emb_dim": 10**18}, "emb_dim of OfficialCT must be at most"),
        ({"num_rbf": [8]}, "num_rbf of OfficialCT"),
    ],
)
def test_settings_of_another_model(settings, message):
    with pytest.raises(ValueError, match=message):
        scdlab.load_official_ct(release_state(), CONFIG | settings)


def refused(match, *arguments):
    with pytest.raises((ValueError, OSError), match=match) as caught:
        scdlab.load_official_ct(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 700
    assert caught.traceback[-1].path.parent.name in ("nn", "scdlab")


def test_a_large_model_is_compared_with_its_file_before_it_is_built():
    refused("a larger CT than the weights", release_state(), CONFIG | {"emb_dim": 80_000})
    refused("a larger CT than the weights", release_state(), CONFIG | {"num_layers": 90_000})


def test_a_state_dict_of_something_else(tmp_path):
    key = "rep_model.embedding.weight"
    state = release_state()
    for wrong, match in (
        ({1: 2}, "has the key '1' of the type int"),
        (state | {key: [1.0]}, f"has at '{key}' a list that holds no numbers"),
        (state | {key: np.array(["a"])}, "a ndarray that holds no numbers"),
        (state | {key: state[key] * float("nan")}, f"The tensor '{key}' .* NaN or infinity"),
        ({"state_dict": 3}, "is a int, expected tensors"),
        ({"state_dict": state, "hyper_parameters": [1]}, "hyper-parameters .* are a list"),
    ):
        refused(match, wrong, None if "hyper_parameters" in wrong else CONFIG)
    (tmp_path / "o.safetensors").write_bytes(b"junk" * 10)
    refused(r"o\.safetensors is no file of safetensors", tmp_path / "o.safetensors", CONFIG)
    (tmp_path / "o.ckpt").mkdir()
    refused(r"There is no checkpoint .*o\.ckpt", tmp_path / "o.ckpt", CONFIG)
    for text in (b"", b"[" * 100_000, b"\xff", b"[]", b'{"emb_dim": NaN}'):
        (tmp_path / "c.json").write_bytes(text)
        refused(r"c\.json is no readable description of a CT", state, tmp_path / "c.json")
    for size in (0, 10, 1000, 5000):
        file = lightning(tmp_path / "a.ckpt")
        file.write_bytes(file.read_bytes()[:size])
        refused(r"a\.ckpt is no file of torch\.save", file)


def test_missing_settings():
    with pytest.raises(ValueError, match="'emb_dim' of the state dict"):
        scdlab.load_official_ct(release_state())
    with pytest.raises(ValueError, match="'num_heads'"):
        scdlab.load_official_ct(
            release_state(), {k: v for k, v in CONFIG.items() if k != "num_heads"}
        )
