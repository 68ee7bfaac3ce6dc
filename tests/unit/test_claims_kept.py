"""What a kept result depends on, and who may measure what at the same time."""

import functools
import shutil
import threading
from pathlib import Path

import pytest

import scdlab
from scdlab import claims
from scdlab.claims import common, ecse_cost, provenance
from scdlab.claims.kept import Bench, lend
from scdlab.locks import Busy, locked, locked_in_turn

OWN = ("scdlab.claims.ecse_cost",)


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """A copy of the package, whose files may be edited; the digest is read anew each time."""
    root = tmp_path / "scdlab"
    shutil.copytree(
        Path(scdlab.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__", "*.json")
    )
    monkeypatch.setattr(provenance, "_ROOT", root)
    fresh = functools.lru_cache(provenance.deciding_digest.__wrapped__)
    monkeypatch.setattr(provenance, "deciding_digest", fresh)
    return root


@pytest.mark.parametrize(
    ("edited", "decides"),
    [
        ("nn/schnet.py", True),
        ("nn/blocks/adaln.py", True),
        ("objectives/dens.py", True),
        ("training/loop.py", True),
        ("atoms/neighbors.py", True),
        ("symmetry/report.py", True),
        ("analysis/denoising.py", True),
        ("calculator.py", True),
        ("units.py", True),
        ("claims/ecse_cost.py", True),
        ("claims/common.py", True),
        ("claims/ecse.py", True),  # imported by it
        ("claims/dens.py", True),  # imported by that
        ("claims/self_conditioned.py", False),
        ("claims/claim.py", False),
        ("claims/show.py", False),
        ("claims/night.py", False),
        ("cli/claims.py", False),
        ("explore/noise.py", False),
        ("lessons/metrics.py", False),
        ("doctor.py", False),
    ],
)
def test_an_edit_of_what_decides_no_number_keeps_a_nights_work(copied, edited, decides):
    before = provenance.deciding_digest(OWN)
    assert provenance.is_as_loaded(OWN)
    whole = provenance.source_digest()
    path = copied / edited
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    assert provenance.deciding_digest(OWN) == before, "what is loaded is what was on disk then"
    assert provenance.is_as_loaded(OWN) is not decides
    assert provenance.source_digest() != whole, "a record holds the whole source"


def test_line_ends_decide_nothing(copied):
    before = provenance.deciding_digest(OWN)
    path = copied / "nn" / "schnet.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert provenance.is_as_loaded(OWN) and provenance.deciding_digest(OWN) == before


def test_modules_are_those_of_all_that_a_recipe_encloses():
    assert provenance.modules_of(common.draw) == ("scdlab.claims.common",)
    partial = functools.partial(ecse_cost.exactly, batch=common.draw)
    assert provenance.modules_of(partial) == ("scdlab.claims.common", "scdlab.claims.ecse")

    def outer(settings, seed, device):
        return partial(settings)

    assert set(provenance.modules_of(outer)) == {__name__, *provenance.modules_of(partial)}


def test_a_recipe_of_another_package_counts_with_its_file():
    own = provenance.deciding_digest((__name__,))
    assert own != provenance.deciding_digest(())
    assert provenance.deciding_digest(("__main__", "no.such.module"))


def test_all_claims_have_a_key():
    for claim in claims.claims():
        modules = provenance.modules_of(claim.recipe)
        assert any(name.startswith("scdlab.claims.") for name in modules), claim.id


# one model, two processes


class Done:
    """Stands for the result of a training."""

    interrupted = False
    seconds = 2.0

    def __init__(self, model):
        self.model = model


def _model():
    return scdlab.SchNet(hidden_channels=4, num_layers=1, num_rbf=4)


def test_a_model_that_another_trains_is_waited_for(tmp_path):
    said = []
    trained = []
    begun = threading.Event()
    go_on = threading.Event()

    def train(folder):
        trained.append(folder)
        begun.set()
        assert go_on.wait(60)
        model = _model()
        scdlab.save(model, folder / "model")
        return Done(model)

    def waits(line):
        said.append(line)
        go_on.set()

    benches = [Bench(tmp_path, {"torch": "t", "device": "cpu"}, echo=waits) for _ in range(2)]
    models = {}

    def work(k):
        with lend(benches[k]):
            models[k] = claims.keep("shared", {}, 0, train)

    first = threading.Thread(target=work, args=(0,))
    first.start()
    assert begun.wait(60)
    second = threading.Thread(target=work, args=(1,))
    second.start()
    first.join(60)
    second.join(60)
    assert len(trained) == 1 and set(models) == {0, 1}
    assert "shared, seed 0" in said[0] and "is being written by process" in said[0]
    assert benches[0].waited == 0 and benches[1].waited > 0
    assert benches[1].seconds == 2.0, "the time of a model found ready counts"


def test_half_a_training_is_not_kept(tmp_path):
    class Half(Done):
        interrupted = True

    bench = Bench(tmp_path, {"torch": "t", "device": "cpu"})
    with lend(bench), pytest.raises(KeyboardInterrupt):
        claims.keep("half", {}, 0, lambda folder: Half(_model()))
    assert not list(tmp_path.rglob("kept.json"))


def test_the_time_before_an_interruption_counts(tmp_path):
    def train(folder):
        model = _model()
        scdlab.save(model, folder / "model")
        result = Done(model)
        result.seconds = 100.0  # of which 98 and more in an earlier process
        return result

    bench = Bench(tmp_path, {"torch": "t", "device": "cpu"})
    with lend(bench):
        claims.keep("resumed", {}, 0, train)
    assert 50 < bench.seconds < 100


def test_a_lock_is_waited_for_and_its_holder_named(tmp_path):
    said = []
    with locked_in_turn(tmp_path / "a", said.append) as waited:
        assert waited == 0 and said == []
    holds = threading.Event()
    free = threading.Event()

    def hold():
        with locked(tmp_path / "a"):
            holds.set()
            free.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert holds.wait(60)

    def waits(busy):
        said.append(busy)
        free.set()

    with locked_in_turn(tmp_path / "a", waits, every=0.01) as waited:
        assert waited > 0
    other.join(60)
    (busy,) = said
    assert isinstance(busy, Busy) and "this very process" in str(busy)
