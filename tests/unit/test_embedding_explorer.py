"""The explorer of embeddings: every trait, hover and click, and numbers that equal those of the
functions behind it."""

import json
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from ase.build import molecule
from plotly.callbacks import InputDeviceState, Points

import scdlab
from scdlab import analysis
from scdlab.analysis import embeddings
from scdlab.explore import maps
from scdlab.explore.embedding import EmbeddingExplorer
from scdlab.nn import OfficialCT


@pytest.fixture(scope="module")
def qm9():
    return scdlab.AtomStore.open(scdlab.files.package_dir("data") / "qm9-sample")[:200]


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return {
        "SchNet": scdlab.SchNet(hidden_channels=16, num_layers=1, num_rbf=16),
        "CT": scdlab.EquivariantTransformer(16, 1, num_rbf=16, conditional=True),
        "official": OfficialCT(emb_dim=16, num_layers=1, num_heads=2, num_rbf=8),
    }


@pytest.fixture
def laid(monkeypatch):
    """UMAP, whose first use compiles for half a minute, stood in for; how often it was asked."""
    calls = []
    monkeypatch.setattr(
        embeddings,
        "_umap",
        lambda x, few, seed: calls.append(seed) or embeddings._pca(x, few)[:, ::-1] + seed,
    )
    return calls


def explorer(store, models, **options):
    return EmbeddingExplorer(store, models, **{"n": 60, "method": "pca", **options})


def point_at(widget, kind, *which):
    """What plotly does when the pointer is over points of the map, or has clicked on them."""
    trace = widget.figure.data[0]
    points = Points(point_inds=list(which), xs=[], ys=[], trace_name=None, trace_index=0)
    getattr(trace, f"_dispatch_on_{kind}")(points, InputDeviceState())


@contextmanager
def messages(widget, monkeypatch):
    """The messages that the figure sends to the browser."""
    sent = []
    with monkeypatch.context() as patch:
        for name in ("restyle", "relayout", "update"):
            patch.setattr(
                widget.figure,
                f"_send_{name}_msg",
                lambda *a, name=name, **k: sent.append((name, str(a) + str(k))),
            )
        yield sent


def test_state_is_what_the_functions_say(qm9, models, laid):
    widget = explorer(qm9, models)
    told = widget.state()
    assert {name: told[name] for name in widget.names} == {
        "model": "SchNet",
        "color": "atoms",
        "method": "pca",
        "pool": "mean",
        "point": 0,
    }
    for name, color, pool, point in (
        ("CT", "lumo", "embedding", 7),
        ("official", "atoms", "sum", 59),
    ):
        widget.model = name
        widget.color = color
        widget.pool = pool
        widget.point = point
        x, index = analysis.embed(models[name], qm9, n=60, pool=pool)
        values = qm9.n_atoms[index] if color == "atoms" else qm9.property(color)[index]
        guessed = qm9.property("homo" if color == "atoms" else color)[index]
        assert widget.state() == {
            "model": name,
            "color": color,
            "method": "pca",
            "pool": pool,
            "point": point,
            "formula": qm9.to_ase(int(index[point])).get_chemical_formula(),
            "row": index[point],
            "value": values[point],
            "extensivity": analysis.extensivity(x, qm9.n_atoms[index]),
            "smoothness": analysis.smoothness(x, guessed),
        }
        json.dumps(widget.state())
        xy = analysis.reduce_embedding(x, "pca")
        np.testing.assert_allclose(
            np.stack([widget.figure.data[0].x, widget.figure.data[0].y], axis=1), xy
        )
        np.testing.assert_array_equal(widget.figure.data[0].marker.color, values)
        assert widget.figure.layout.shapes[-1].xanchor == pytest.approx(xy[point, 0])
        assert np.allclose(widget.view.atoms.positions, qm9.to_ase(int(index[point])).positions)
    widget.method = "umap"
    np.testing.assert_allclose(widget.figure.data[0].x, analysis.reduce_embedding(x, "umap")[:, 0])


def test_hover_and_click_choose_a_structure(qm9, models, monkeypatch):
    widget = explorer(qm9, models)
    for kind, which in (("hover", 12), ("click", 31)):
        with messages(widget, monkeypatch) as sent:
            point_at(widget, kind, which)
        assert widget.point == widget.state()["point"] == which == widget.controls["point"].value
        xy = widget.xy()[which]
        for ring in widget.figure.layout.shapes:
            assert (ring.xanchor, ring.yanchor) == pytest.approx(tuple(xy))
        assert (
            len(sent) == 1 and "xanchor" in sent[0][1] and "marker" not in sent[0][1]
        )  # the ring moves, no more
        assert widget.view.atoms.get_chemical_formula() == widget.state()["formula"]
        assert f"row {widget.state()['row']:,}" in widget.view.scene["title"]
        assert widget.state()["formula"] in widget.words.value
    point_at(widget, "hover")  # over none
    assert widget.point == 31
    formula = widget.state()["formula"]
    assert (
        widget.figure.data[0].text[31] == formula
        and "%{text}" in widget.figure.data[0].hovertemplate
    )


def test_one_message_per_change(qm9, models, monkeypatch):
    widget = explorer(qm9, models)
    for name, value in (("model", "CT"), ("color", "homo"), ("pool", "sum"), ("point", 5)):
        with messages(widget, monkeypatch) as sent:
            setattr(widget, name, value)
        assert len(sent) == 1, name
    with messages(widget, monkeypatch) as sent, widget.hold_trait_notifications():
        widget.model = "official"
        widget.color = "gap"
        widget.point = 6
    assert len(sent) == 1
    with messages(widget, monkeypatch) as sent:
        widget.point = 6
    assert sent == []


def test_a_zoom_stays_until_the_map_changes(qm9, models):
    widget = explorer(qm9, models)
    low, high = widget.figure.layout.xaxis.range
    assert low < widget.xy()[:, 0].min() < widget.xy()[:, 0].max() < high
    widget.figure.layout.xaxis.range = [0, 1]  # as the pointer does
    widget.point = 3
    widget.color = "homo"
    assert tuple(widget.figure.layout.xaxis.range) == (0, 1)
    widget.model = "CT"
    low, high = widget.figure.layout.xaxis.range
    assert low < widget.xy()[:, 0].min() < widget.xy()[:, 0].max() < high


def test_another_model_keeps_the_structure(qm9, models):
    widget = explorer(qm9, models, point=9)
    before = widget.state()
    widget.controls["model"].value = "CT"  # as a reader would
    after = widget.state()
    assert {k: after[k] for k in ("point", "formula", "row", "value")} == {
        k: before[k] for k in ("point", "formula", "row", "value")
    }
    assert after["extensivity"] != before["extensivity"] and after["model"] == widget.model == "CT"
    assert (
        widget.figure.layout.title.text == "CT · PCA · mean over atoms"
        and widget.message.value == ""
    )


def test_controls_follow_the_traits(qm9, models, laid):
    widget = explorer(qm9, models)
    assert set(widget.controls) == set(widget.names) and all(
        c.description for c in widget.controls.values()
    )
    assert [value for _, value in widget.controls["color"].options] == [
        "atoms",
        *qm9.property_names,
    ]
    for name, value in (
        ("model", "CT"),
        ("color", "gap"),
        ("method", "umap"),
        ("pool", "embedding"),
        ("point", 4),
    ):
        setattr(widget, name, value)
        assert widget.controls[name].value == value
    for name, value in (
        ("model", "SchNet"),
        ("color", "mu"),
        ("method", "pca"),
        ("pool", "sum"),
        ("point", 2),
    ):
        widget.controls[name].value = value
        assert getattr(widget, name) == widget.state()[name] == value
    assert "mu (D)" in widget.figure.layout.coloraxis.colorbar.title.text


@pytest.mark.slow
def test_everything_is_computed_once(qm9, models, laid, monkeypatch):
    widget = explorer(qm9, models)
    asked = []
    embed = embeddings.embed
    monkeypatch.setattr(embeddings, "embed", lambda *a, **k: asked.append(a[0]) or embed(*a, **k))
    choices = [("CT", "mean"), ("SchNet", "sum"), ("CT", "sum")]
    for _ in range(3):
        for model, pool in choices:
            for method in ("pca", "umap"):
                widget.model = model
                widget.pool = pool
                widget.method = method
                widget.color = "homo"
                widget.point = 3
                widget.state()
    pairs = {("SchNet", "mean"), *choices}  # and those on the way from one choice to the next
    assert len(asked) == len(pairs) - 1 and len(laid) <= len(pairs)
    models["CT"].embedding_head.mlp[0].bias.data += 1.0
    widget.pool = "embedding"
    before = widget.state()
    models["CT"].embedding_head.mlp[0].bias.data -= 1.0
    assert widget.state() == before
    widget.refresh()
    assert widget.state()["extensivity"] != before["extensivity"]


def test_the_seed_draws_the_structures_and_the_map(qm9, models, laid):
    one, other = (explorer(qm9, models, seed=seed, method="umap") for seed in (1, 2))
    assert laid == [1, 2] and one.state()["row"] != other.state()["row"]
    assert one.state()["row"] == analysis.embed(models["SchNet"], qm9, n=60, seed=1)[1][0]


@pytest.mark.parametrize("n", [None, 10**6])
def test_a_store_smaller_than_n_is_shown_whole(qm9, models, n):
    widget = explorer(qm9[:30], models, n=n)
    assert len(widget.figure.data[0].x) == 30 and widget.controls["point"].max == 29
    widget.point = 29
    assert widget.state()["row"] == 29


def test_a_store_without_properties(models):
    store = scdlab.AtomStore.from_ase([molecule(k) for k in ("CH4", "C2H6", "C2H4", "H2O") * 3])
    widget = explorer(store, models)
    told = widget.state()
    assert (
        told["smoothness"] is None
        and told["value"] in (3, 5, 6, 8)
        and told["extensivity"] is not None
    )
    assert "no properties" in widget.words.value
    assert len(widget.controls["color"].options) == 1


def test_numbers_that_mean_nothing_are_left_out_with_the_reason(qm9, models):
    same = scdlab.AtomStore.from_ase([molecule("C2H6") for _ in range(12)], properties=[])
    moved = same.take(np.arange(12))
    pos = moved.pos.numpy() + np.random.default_rng(0).normal(scale=0.05, size=moved.pos.shape)
    frames = scdlab.AtomStore.from_arrays(
        moved.z.numpy(),
        pos,
        moved.ptr.numpy(),
        properties={"flat": np.ones(12), "gap": [np.nan, *range(11)]},
    )
    widget = explorer(frames, models)
    told = widget.state()
    assert told["extensivity"] is None and told["smoothness"] is None
    assert (
        "same number of atoms" in widget.words.value
        and "All values are equal" in widget.words.value
    )
    widget.color = "gap"
    told = widget.state()
    assert told["value"] is None and told["smoothness"] is None and "unknown" in widget.words.value
    assert "NaN" in widget.words.value and np.isfinite(widget.figure.layout.coloraxis.cmin)
    ElementTree.fromstring(widget.to_svg())


def test_the_scale_leaves_the_strangest_hundredth_to_its_ends():
    color = np.arange(1001.0)
    fig = maps.map_figure(np.random.default_rng(0).normal(size=(1001, 2)), color, "x")
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (10, 990)


def test_a_still_picture(qm9, models):
    widget = explorer(qm9, models, color="homo", point=3)
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    figure = go.Figure(bundle["application/vnd.plotly.v1+json"])
    assert (
        len(figure.data[0].text) == 60
        and figure.data[0].type == "scattergl"
        and len(figure.layout.shapes) == 2
    )
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    words = "".join(root.itertext())
    told = widget.state()
    for said in (told["formula"], "SchNet · PCA", "homo (eV)", f"{told['extensivity']:.2f}"):
        assert said in words, said
    drawing = next(iter(root))
    dots = sum(
        path.get("d").count("M") for path in drawing.iter("{http://www.w3.org/2000/svg}path")
    )
    assert dots == 60
    width = float(drawing.get("width"))
    height = float(drawing.get("height"))
    for circle in drawing.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.get("cx")) < width and 0 < float(circle.get("cy")) < height
    bottom = float(root.get("viewBox").split()[3])
    assert all(height <= float(text.get("y")) <= bottom for text in root.findall("{*}text"))
    assert len(json.dumps(bundle)) < 150_000


def test_what_is_not_there_is_refused(qm9, models):
    widget = explorer(qm9, models)
    before = widget.state()
    for name, value, said in (
        ("model", "SCD", "model must be one of 'SchNet', 'CT', 'official', got 'SCD'"),
        ("color", "charm", "color must be one of 'atoms', 'mu'.*, got 'charm'"),
        ("method", "tsne", "method must be one of 'umap', 'pca', got 'tsne'"),
        ("pool", "max", "pool must be one of 'embedding', 'mean', 'sum', got 'max'"),
        ("point", 60, "point must be between 0 and 59.*, got 60"),
        ("point", -1, "point must be between 0 and 59.*, got -1"),
    ):
        with pytest.raises(ValueError, match=said):
            setattr(widget, name, value)
        assert widget.state() == before
        if name != "model":
            with pytest.raises(ValueError, match=said):
                explorer(qm9, models, **{name: value})


def test_models_that_cannot_be_shown(qm9, models):
    for given in ({}, None, models["CT"], [models["CT"]]):
        with pytest.raises(ValueError, match=r"needs models as \{name: model\}, at least one"):
            explorer(qm9, given)
    with pytest.raises(ValueError, match=r"Model 'a' must be a model, got 'scd-ct'; scdlab\.load"):
        explorer(qm9, {"a": "scd-ct"})
    torch.manual_seed(0)
    narrow = scdlab.SchNet(hidden_channels=16, num_layers=1, num_rbf=16)
    narrow.trained_elements[[1, 6]] = True
    with pytest.raises(
        ValueError,
        match=r"Model 'hydrocarbons' cannot be shown: The model was trained on H, C only",
    ):
        explorer(qm9, {**models, "hydrocarbons": narrow})  # at once, not when it is chosen
    with pytest.raises(ValueError, match="nothing to embed"):
        explorer(qm9, models, n=0)


def test_a_map_that_cannot_be_laid_out_is_refused_and_told(qm9, models):
    with pytest.raises(
        ValueError, match="Model 'SchNet' cannot be shown: umap needs at least 16 points, got 12"
    ):
        explorer(qm9[:12], models, method="umap")
    widget = explorer(qm9[:12], models)
    before = widget.state()
    with pytest.raises(ValueError, match="use pca"):
        widget.controls["method"].value = "umap"
    assert widget.state() == before and widget.controls["method"].value == "pca"
    assert "umap needs at least 16 points" in widget.message.value
    widget.point = 3
    assert widget.message.value == ""


def test_a_diverged_model_is_named(qm9, models):
    torch.manual_seed(0)
    lost = scdlab.SchNet(hidden_channels=16, num_layers=1, num_rbf=16)
    lost.load_state_dict(
        {k: v * float("nan") if v.is_floating_point() else v for k, v in lost.state_dict().items()}
    )
    with pytest.raises(
        ValueError, match="Model 'lost' cannot be shown: The embedding of structure 0 is NaN"
    ):
        explorer(qm9, {**models, "lost": lost})
