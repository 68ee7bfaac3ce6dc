"""Models of one's own: registered by name, rebuilt from their arguments, on disk and back."""

import json
import subprocess
import sys

import pytest
import torch
from ase.build import molecule
from torch import nn

import scdlab
from scdlab.files import content_digest
from scdlab.nn import AtomisticModel, Features, SchNet
from scdlab.nn.registry import describe, registered
from scdlab.objectives import DeNS, EnergyForces, PropertyRegression
from scdlab.renames import RENAMED, RENAMED_ATTRIBUTES, unknown_argument
from scdlab.training.schedule import factor


class MyNet(AtomisticModel):
    """Sums of Gaussians of distances, mixed by the element."""

    has_vectors = False

    def __init__(self, hidden_channels: int = 8, cutoff: float = 4.0, *, widths=(0.5, 1.0)):
        super().__init__(hidden_channels, cutoff)
        self.n_hops = 1
        self.widths = widths
        self.embedding = nn.Embedding(119, hidden_channels)
        self.mix = nn.Linear(len(widths), hidden_channels)

    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None):
        r = pairs.vectors(batch.pos, batch).norm(dim=-1, keepdim=True)  # (P, 1)
        fade = (1 - (r / self.cutoff).clamp(max=1)).square()
        basis = torch.cat([torch.exp(-((r / w) ** 2)) for w in self.widths], 1) * fade
        w = self.mix(basis)
        x = self.embedding(batch.z)
        x = x.index_add(0, pairs.i, w * x[pairs.j])
        return Features(x.index_add(0, pairs.j, w * x[pairs.i]))


def batch_of(*names):
    structures = [molecule(name) for name in names]
    return scdlab.AtomStore.from_ase(structures).take(range(len(structures)))


def same(one, two):
    batch = batch_of("CH3CH2OH", "H2O")
    a, b = (net.eval()(batch, forces=True) for net in (one, two))
    return torch.equal(a.energy, b.energy) and torch.equal(a.forces, b.forces)


# ------------------------------------------------------------------------------------- registration


def test_a_class_is_found_by_its_name_and_its_arguments_are_its_config():
    net = MyNet(16, widths=(0.3, 0.6))
    assert registered("MyNet", __name__) is MyNet and registered("SchNet") is SchNet
    assert net.config == {"hidden_channels": 16, "cutoff": 4.0, "widths": [0.3, 0.6]}
    net.add_property("gap")
    assert net.config["properties"] == {"gap": "scalar_mean"}
    assert SchNet(hidden_channels=8).config["num_layers"] == 6  # defaults too


def test_of_two_classes_of_a_name_the_last_counts():
    first = type("Twice", (MyNet,), {"__module__": "a_notebook"})
    second = type("Twice", (MyNet,), {"__module__": "a_notebook"})
    assert first is not second and registered("Twice", "a_notebook") is second
    other = type("Twice", (MyNet,), {"__module__": "another"})
    assert registered("Twice", "a_notebook") is second
    assert registered("Twice", "a_third") is other and registered("Twice") is None


def test_a_class_never_takes_the_place_of_one_of_the_library(tmp_path):
    mine = type("SchNet", (MyNet,), {"__module__": "lesson"})
    assert registered("SchNet") is SchNet and registered("SchNet", "lesson") is mine
    for k, net in enumerate((mine(), SchNet(hidden_channels=8, num_layers=1))):
        scdlab.save(net, tmp_path / str(k))
        assert type(scdlab.load(tmp_path / str(k))) is type(net)


def test_a_subclass_that_hands_its_arguments_on_is_rebuilt():
    class Handing(MyNet):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    net = Handing(16, widths=(0.4,))
    assert net.config == {"*args": [16], "widths": [0.4]}
    made = scdlab.training.building.build(**describe(net))
    assert type(made) is Handing and made.hidden_channels == 16 and made.cutoff == 4.0


def test_an_abstract_method_is_missed_at_construction():
    class Lazy(AtomisticModel):
        pass

    with pytest.raises(TypeError, match=r"abstract method '?represent'?"):
        Lazy(8, 4.0)


# ------------------------------------------------------------------------------ on disk and in ECSE


def test_a_model_of_ones_own_trains_saves_and_loads(tmp_path):
    torch.manual_seed(0)
    net = MyNet(12)
    train = scdlab.load_ethanol()[::50]
    scdlab.fit(net, EnergyForces(), train, steps=3, batch_size=4, progress=False)
    net.add_property("gap")
    scdlab.save(net, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    assert type(again) is MyNet and same(net, again) and again.config == net.config


def test_a_model_of_ones_own_goes_into_ecse_and_back_from_disk(tmp_path):
    torch.manual_seed(0)
    exact = scdlab.ECSE(MyNet(), beta=4.0)
    exact.add_property("dipole", "per_atom")
    scdlab.save(exact, tmp_path / "exact")
    again = scdlab.load(tmp_path / "exact")
    assert type(again.model) is MyNet and again.beta == 4.0 and same(exact, again)
    assert again.config == exact.config


SAVE = """
import sys, scdlab
sys.path.insert(0, sys.argv[2])
from test_registry import MyNet
scdlab.save(MyNet(), sys.argv[1] + "/plain")
scdlab.save(scdlab.ECSE(MyNet()), sys.argv[1] + "/exact")
"""
LOAD = """
import sys, scdlab
from scdlab.nn import SchNet
for name in ("plain", "exact"):
    try:
        scdlab.load(sys.argv[1] + "/" + name)
    except ValueError as error:
        print(error)
sys.path.insert(0, sys.argv[2])
from test_registry import MyNet
class Renamed(MyNet):
    pass
print([type(scdlab.load(sys.argv[1] + "/plain", cls=cls)).__name__ for cls in (MyNet, Renamed)])
print(type(scdlab.load(sys.argv[1] + "/exact", cls=MyNet).model).__name__)
"""


@pytest.mark.slow
def test_a_class_that_is_not_registered_is_asked_for(tmp_path):
    def run(code):
        command = [sys.executable, "-c", code, str(tmp_path), __file__.rsplit("/", 1)[0]]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run(SAVE)
    *missing, plain, exact = run(LOAD).splitlines()
    assert len(missing) == 2
    for line in missing:
        assert "a MyNet, a class that is not registered; import the module or run the cell" in line
        assert line.endswith("scdlab.load(path, cls=MyNet).")
    assert plain == "['MyNet', 'MyNet']" or plain == "['MyNet', 'Renamed']"
    assert exact == "MyNet"


class Tied(MyNet):
    """One matrix, read by two modules."""

    def __init__(self, hidden_channels: int = 8, tie: bool = True):
        super().__init__(hidden_channels)
        self.one = nn.Linear(hidden_channels, hidden_channels)
        self.two = nn.Linear(hidden_channels, hidden_channels)
        if tie:
            self.two.weight = self.one.weight

    def represent(self, batch, pairs, condition=None, vectors=False, force_input=None):
        features = super().represent(batch, pairs, condition, vectors)
        return Features(self.two(torch.tanh(self.one(features.x))))


def test_tied_weights_are_saved_and_loaded_and_are_tied_again(tmp_path):
    torch.manual_seed(0)
    net = Tied()
    train = scdlab.load_ethanol()[::50]
    run = dict(steps=4, batch_size=4, checkpoint_every=2, out=tmp_path / "run", progress=False)
    scdlab.fit(net, EnergyForces(), train, **run)
    resumed = Tied()
    scdlab.fit(resumed, EnergyForces(), train, resume=True, **run)
    assert same(net, resumed) and resumed.two.weight is resumed.one.weight
    scdlab.save(net, tmp_path / "net")
    again = scdlab.load(tmp_path / "net")
    assert same(net, again) and again.two.weight is again.one.weight
    about = json.loads((tmp_path / "net.json").read_text())
    about["config"]["tie"] = False  # each has what both had
    about["digest"] = content_digest(about)
    (tmp_path / "net.json").write_text(json.dumps(about))
    loose = scdlab.load(tmp_path / "net")
    assert same(net, loose) and loose.two.weight is not loose.one.weight


def test_an_argument_that_json_cannot_hold_is_named(tmp_path):
    class Wrapping(MyNet):
        def __init__(self, net):
            super().__init__()
            self.net = net

    with pytest.raises(TypeError, match="argument 'net' of Wrapping holds what json cannot"):
        scdlab.save(Wrapping(nn.Linear(2, 2)), tmp_path / "net")
    assert not any(tmp_path.iterdir())


# ------------------------------------------------------------------------------------ unknown names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SchNet(hiden_channels=3), "SchNet has no argument 'hiden_channels'; .*'hidden_ch"),
        (
            lambda: SchNet(hidden=3),
            "no argument 'hidden': hidden is now hidden_channels",
        ),
        (lambda: scdlab.PET(heads=3), "PET has no argument 'heads': heads is now num_heads"),
        (lambda: MyNet(widht=1), "MyNet has no argument 'widht'; .*'widths'"),
        (
            lambda: MyNet(zzz=1),
            "no argument 'zzz'; it takes hidden_channels, cutoff, widths",
        ),
        (
            lambda: scdlab.nn.OfficialCT(emb_dimm=3),
            "no argument 'emb_dimm'; .*'emb_dim'",
        ),
    ],
)
def test_an_unknown_argument_names_the_known_one(make, message):
    with pytest.raises(TypeError, match=message) as error:
        make()
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net(batch_of("H2O"), clue=None), "'clue': clue is now force_input."),
        (lambda net: scdlab.ECSE(net)(batch_of("H2O"), clue=None), "clue is now force_input."),
        (lambda net: net(batch_of("H2O"), force=True), "no argument 'force'; .*'forces'"),
        (lambda net: net.add_property("gap", pool="sum"), "'pool': pool is now kind."),
        (lambda net: scdlab.ECSE(net).add_property("gap", pool="sum"), "pool is now kind."),
        (lambda net: scdlab.evaluate(net, None, max_atom=3), "evaluate has .*'max_atoms'"),
        (lambda net: scdlab.load("net", klass=MyNet), "load has .* it takes path, device, cls."),
        (lambda net: scdlab.simulate(None, 3, time_step=1.0), "simulate has .*'timestep'"),
    ],
)
def test_an_unknown_argument_of_a_function_names_the_known_one(call, message):
    with pytest.raises(TypeError, match=message) as error:
        call(MyNet())
    assert str(error.value).endswith(".") and "self" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeNS(force_encoding="own"), "'own' is now 'true'."),
        (lambda: DeNS(force_encoding="other"), "'other' is now 'shuffled'."),
        (lambda: PropertyRegression("gap", kind="sum"), "'sum' is now 'scalar_sum'."),
        (lambda: MyNet().add_property("gap", kind="mean"), "'mean' is now 'scalar_mean'."),
        (lambda: MyNet().add_property("gap", kind="atoms"), "'atoms' is now 'per_atom'."),
        (lambda: factor("paper", 0, 1, 0), "'paper' is now 'exponential'."),
        (
            lambda: scdlab.fit(
                MyNet(), EnergyForces(), scdlab.load_ethanol()[:4], lr={"head": 1e-3, "body": 1e-3}
            ),
            "'body' is now 'backbone'.",
        ),
    ],
)
def test_an_old_value_names_the_new_one(make, message):
    with pytest.raises(ValueError, match=f"; {message}$"):
        make()


def test_an_old_value_that_is_none_of_the_choices_now_is_not_renamed():
    with pytest.raises(ValueError, match=r"got 'atoms'\.$"):
        PropertyRegression("gap", kind="atoms")


@pytest.mark.parametrize(("old", "new"), RENAMED_ATTRIBUTES.items())
@pytest.mark.parametrize("wrap", [lambda net: net, scdlab.ECSE])
def test_an_old_name_of_an_attribute_is_not_set(old, new, wrap):
    net = wrap(MyNet())
    with pytest.raises(AttributeError, match=f"has no attribute '{old}': {old} is now {new} "):
        setattr(net, old, None)
    assert hasattr(net, new) and not hasattr(net, old)


def test_a_class_may_declare_an_attribute_of_an_old_name():
    class Declaring(MyNet):
        table: nn.Embedding

        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(3, 8)

    assert "table.weight" in Declaring().state_dict()


def test_an_old_name_that_was_never_of_this_class_is_not_renamed():
    assert "it takes a, b." in str(unknown_argument("f", "hidden", ["a", "b"]))
    assert "it takes none." in str(unknown_argument("f", "hidden", []))
    assert all(old != new for old, new in RENAMED.items())
