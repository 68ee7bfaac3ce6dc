"""Maps of embeddings: layouts, the numbers beside them, and what is said when they cannot be
drawn."""

import logging

import numpy as np
import pytest
import torch

import scdlab
from scdlab import analysis, explore
from scdlab.analysis import embeddings
from scdlab.explore import maps
from scdlab.nn import OfficialCT


@pytest.fixture(scope="module")
def qm9():
    return scdlab.load_qm9(limit=300)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return scdlab.SchNet(hidden_channels=16, num_layers=1, num_rbf=16)


def cloud(n=60, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) * np.arange(d, 0, -1) + 3.0


def test_embeddings_are_the_predictions_own(qm9, model):
    model.train()
    x, index = analysis.embed(model, qm9, n=50, batch_size=16)
    assert model.training and x.shape == (50, 16) and len(set(index)) == 50
    model.eval()
    with torch.no_grad():
        batch = qm9.take(index)
        out = model(batch).embedding
    np.testing.assert_allclose(x, out.numpy(), rtol=1e-5, atol=1e-6)
    mean, same = analysis.embed(model, qm9, n=50, pool="mean")
    assert np.array_equal(index, same)
    np.testing.assert_allclose(mean, x / qm9.n_atoms[index][:, None], rtol=1e-5)
    assert analysis.embed(model, qm9, n=None)[1].tolist() == list(range(300))
    assert analysis.embed(model, qm9, n=10**6)[0].shape == (300, 16)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_three_pools(qm9, conditional):
    """Written out from what the model says about each molecule alone."""
    torch.manual_seed(0)
    net = scdlab.EquivariantTransformer(16, 1, num_rbf=16, conditional=conditional).eval()
    pools = {pool: analysis.embed(net, qm9, n=5, pool=pool)[0] for pool in embeddings.POOLS}
    for k, row in enumerate(analysis.embed(net, qm9, n=5)[1]):
        with torch.no_grad():
            alone = net(qm9.take([row]))
        for pool, x in (
            ("embedding", alone.embedding[0]),
            ("sum", alone.atoms.sum(0)),
            ("mean", alone.atoms.mean(0)),
        ):
            np.testing.assert_allclose(pools[pool][k], x, rtol=1e-4, atol=1e-5, err_msg=pool)
    assert (
        np.array_equal(pools["embedding"], pools["sum"]) != conditional
    )  # a conditional model has a head for it


def test_a_released_model_has_embeddings_as_well(qm9):
    torch.manual_seed(0)
    net = OfficialCT(emb_dim=16, num_layers=1, num_heads=2, num_rbf=8).eval()
    x, _ = analysis.embed(net, qm9, n=4)
    assert x.shape == (4, 16) and not np.allclose(x, analysis.embed(net, qm9, n=4, pool="sum")[0])


def test_sums_over_atoms_tell_the_size_of_a_molecule(qm9, model):
    x, index = analysis.embed(model, qm9)
    assert analysis.extensivity(x, qm9.n_atoms[index]) > 0.9


def test_pca_is_the_projection_on_the_directions_of_largest_variance():
    x = cloud()
    xy = scdlab.reduce_embedding(x, "pca")
    centered = x - x.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered / len(x))
    np.testing.assert_allclose(xy.var(0), values[::-1][:2], rtol=1e-9)
    np.testing.assert_allclose(np.abs(xy), np.abs(centered @ vectors[:, ::-1][:, :2]), atol=1e-9)
    np.testing.assert_allclose(
        scdlab.reduce_embedding(x + 7.0, "pca"), xy, atol=1e-9
    )  # the signs are fixed, too
    np.testing.assert_allclose(scdlab.reduce_embedding(torch.tensor(x), "pca"), xy)
    part = scdlab.reduce_embedding(x, "pca", max_points=30)
    assert part.shape == (60, 2) and not np.allclose(part, xy)


@pytest.mark.slow
def test_umap_keeps_groups_apart_and_comes_from_the_cache(tmp_path, monkeypatch, caplog, recwarn):
    """One test only, since the first map compiles for long."""
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path))
    caplog.set_level(logging.INFO, "scdlab")
    x = np.concatenate([cloud(30), cloud(30, seed=1) + 60.0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    xy = scdlab.reduce_embedding(x, max_points=50)
    assert torch.get_num_threads() == 1  # what the layout runs on is none of torch's business
    torch.set_num_threads(threads)
    assert xy.shape == (60, 2) and "UMAP of 60 points" in caplog.text
    caplog.clear()
    group = np.arange(60) < 30
    middle = np.array([xy[group].mean(0), xy[~group].mean(0)])
    nearer = np.linalg.norm(xy[:, None] - middle, axis=-1).argmin(axis=1)
    assert np.array_equal(nearer, (~group).astype(int))
    (kept,) = (tmp_path / "maps").iterdir()
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "other"))
    import umap

    own = umap.UMAP(n_neighbors=15, random_state=0, n_jobs=1).fit_transform(x - x.mean(axis=0))
    ours = scdlab.reduce_embedding(x)  # with neighbors that were found for it
    np.testing.assert_allclose(ours, own, atol=1e-4)
    caplog.clear()
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(umap, "UMAP", None)
    assert np.array_equal(
        scdlab.reduce_embedding(x, max_points=50), xy
    )  # nothing is laid out again
    assert caplog.text == ""
    monkeypatch.undo()
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path))
    kept.write_bytes(b"damaged")
    assert np.array_equal(
        scdlab.reduce_embedding(x, max_points=50), xy
    )  # made anew, with the same seed
    assert len(np.load(kept)) == 60
    assert not [w for w in recwarn if "n_jobs" in str(w.message)]


def test_rows_left_out_are_put_between_their_neighbors():
    laid = np.random.default_rng(1).normal(size=(40, 2))
    few = cloud(40)
    np.testing.assert_allclose(embeddings._between(few, few, laid), laid, atol=1e-9)
    between = embeddings._between(few[:1] + 1e-3, few, laid)
    np.testing.assert_allclose(between, laid[:1], atol=0.05)
    assert (embeddings._between(cloud(200, seed=2), few, laid).max(0) <= laid.max(0)).all()
    same = np.zeros((6, 8))
    assert np.isfinite(embeddings._between(same, same, laid[:6])).all()  # points that coincide


def test_extensivity_is_one_for_a_linear_embedding_and_zero_for_none():
    rng = np.random.default_rng(0)
    n = rng.integers(5, 30, 400)
    linear = np.outer(n, rng.normal(size=6)) + 0.01 * rng.normal(size=(400, 6))
    assert analysis.extensivity(linear, n) > 0.99
    assert analysis.extensivity(rng.normal(size=(400, 6)), n) < 0.05
    half = np.outer(n - n.mean(), np.ones(1)) / n.std() + rng.normal(
        size=(400, 1)
    )  # signal and noise alike
    assert analysis.extensivity(half, n) == pytest.approx(0.5, abs=0.12)
    wide = np.concatenate(
        [linear, linear, np.zeros((400, 500))], axis=1
    )  # redundant and empty channels
    assert analysis.extensivity(wide, n) > 0.99


def test_extensivity_is_held_out():
    """More channels than structures fit anything; what they have not seen they do not predict."""
    rng = np.random.default_rng(0)
    assert analysis.extensivity(rng.normal(size=(60, 200)), rng.integers(5, 30, 60)) < 0.3


def test_smoothness_is_high_where_neighbors_are_alike():
    x = np.random.default_rng(0).uniform(size=(500, 2))
    assert analysis.smoothness(x, np.sin(3 * x[:, 0])) > 0.95
    assert analysis.smoothness(x, np.random.default_rng(1).normal(size=500)) < 0.05
    twice = np.repeat(x[:50], 2, axis=0)  # pairs that coincide: a point is never its own neighbor
    y = np.tile([1.0, -1.0], 50)
    assert analysis.smoothness(twice, y, k=1) == 0.0
    crowd = np.zeros((30, 2))  # more points on one spot than neighbors asked for
    assert analysis.smoothness(crowd, np.arange(30.0), k=5) < 1


@pytest.mark.parametrize(
    ("x", "method", "said"),
    [
        (cloud(), "tsne", "must be one of 'umap', 'pca', got 'tsne'"),
        (
            cloud(10),
            "umap",
            "umap needs at least 16 points, got 10; give more structures, or use pca",
        ),
        (cloud(2), "pca", "pca needs at least 3 points, got 2"),
        (cloud(d=1), "pca", "at least 2 channels"),
        (np.zeros(5), "pca", r"one row a structure, \[n, d\]"),
        (
            np.where(np.arange(60)[:, None] == 7, np.nan, cloud()),
            "umap",
            "Row 7 of the embeddings is NaN",
        ),
        (
            np.where(np.arange(60)[:, None] == 9, np.inf, cloud()),
            "pca",
            "Row 9 of the embeddings is NaN or infinite",
        ),
    ],
)
def test_maps_that_cannot_be_drawn(x, method, said):
    with pytest.raises(ValueError, match=said):
        scdlab.reduce_embedding(x, method)


def test_numbers_that_mean_nothing_are_refused(qm9, model):
    for call, said in (
        (lambda: analysis.extensivity(cloud(), np.full(60, 9)), "same number of atoms"),
        (lambda: analysis.extensivity(cloud(), np.arange(59)), "one value each"),
        (lambda: analysis.extensivity(cloud(5), np.arange(5)), "at least 9 structures"),
        (lambda: analysis.smoothness(cloud(), np.full(60, 1.0)), "nothing to predict"),
        (lambda: analysis.smoothness(cloud(), np.full(60, np.nan)), "Value 0 is NaN"),
        (lambda: analysis.embed(model, qm9, pool="max"), "'embedding', 'mean', 'sum', got 'max'"),
        (lambda: analysis.embed(model, qm9, n=0), "nothing to embed"),
        (lambda: explore.compare_maps({}, []), "no map to draw"),
        (
            lambda: explore.compare_maps({"a": np.zeros((3, 2))}, np.zeros(4)),
            "Map 'a' has the shape",
        ),
        (
            lambda: explore.embedding_map(np.zeros((3, 2)), np.zeros(3), formulas=["C"]),
            "3 points and 1 formulas",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_maps_stand_side_by_side_on_one_scale():
    xy = cloud(40, 2)
    color = np.arange(40)
    fig = explore.compare_maps(
        {"untrained": xy, "Coord": -xy},
        color,
        "atoms",
        {"Coord": 0.876, "untrained": "R² 0.9"},
        ["CH4"] * 40,
    )
    assert [a.text for a in fig.layout.annotations] == ["untrained · R² 0.9", "Coord · 0.88"]
    assert {trace.marker.coloraxis for trace in fig.data} == {"coloraxis"} and len(fig.data) == 2
    assert (
        fig.layout.coloraxis.colorbar.title.text == "atoms"
        and fig.layout.template.layout.colorway[0] == "#0072B2"
    )
    np.testing.assert_array_equal(fig.data[1].x, -xy[:, 0])
    assert fig.data[0].text[0] == "CH4" and "%{text}" in fig.data[0].hovertemplate
    one = explore.embedding_map(xy, torch.tensor(color), "HOMO (eV)", "Coord")
    assert one.layout.annotations[0].text == "Coord" and "HOMO (eV)" in one.data[0].hovertemplate
    assert not explore.embedding_map(xy, color).layout.annotations


def test_the_color_scale_stays_in_order_without_hue():
    """Lightness grows all along, so the scale reads the same to color-blind eyes and in gray."""
    from plotly.colors import get_colorscale, hex_to_rgb

    rgb = np.array([hex_to_rgb(c) for _, c in get_colorscale(maps.SCALE)]) / 255
    luminance = rgb @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
