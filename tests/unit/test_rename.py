"""tools/rename_0_2.py: a script of 0.1 gets the names of 0.2, and what is not scdlab's stays."""

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("libcst", reason="libcst, of the extra `dev`, rewrites scripts")

import rename_0_2

OLD = '''\
"""My run."""

import scdlab
from scdlab import files
from scdlab.explore import maps, noise
from scdlab.explore.frames import FrameExplorer, turned
from scdlab.nn import forms
from scdlab.nn.kernels import prepare
from scdlab.objectives import DeNS, PropertyRegression, draw_noise
from scdlab.objectives import SelfConditionedDenoising as SCD
from scdlab.symmetry.checks import SymmetryReport

scdlab.keep_pages()
prepare()
train, val, test = scdlab.load_ethanol().split(100, 50)
batch = test.take([0])
model = scdlab.EquivariantTransformer(hidden=64, layers=2, force_encoding=True)
other = scdlab.DimeNet(64, n_radial=6, int_emb=32)
dens = DeNS(0.5, ratio=0.2, weight=0.1, told="own", only_below=1.0)
dens = DeNS(0.5, 0.2, 0.05, 0.1, True, "other")
scd = SCD(regularize=0.01, drop=0.1, frozen=False, main=PropertyRegression("homo", "mean"))
scd = SCD(part="mask", weight=2.0)
scdlab.fit(model, dens, train, val, clip=1.0, ema=None, schedule="paper")
scdlab.fit(model, scd, train, lr={"head": 1e-3, "body": 1e-4})
model.add_property("mu", pool="atoms")
model.add_property("alpha", "sum")
model = model.eval()
out = model(batch, clue=batch.forces)
print(out.shares, model.d, model.seen, model.hops, model.config["hidden"], dens.told)
exact = scdlab.ECSE(model, outer=4.0, width=0.1, angle=0.3, angle_width=0.1)
frames = exact.frames(batch)
print(frames.of, frames.rest, frames.first, frames.second, frames.inner)
vectors, rows = maps.embed(model, test)
xy = scdlab.explore.maps.reduce_embedding(vectors)
figure = maps.embedding_map(xy, rows)
eps = noise.displacements(test.to_ase(0), 0.04), draw_noise(batch, 0.04)
with forms.plain_torch():
    model(batch)
explorer = FrameExplorer(model)
print(explorer.still(), files.home("data"), turned, SymmetryReport)
'''
NEW = '''\
"""My run."""

import scdlab
from scdlab import analysis
from scdlab import files
from scdlab.explore import maps
from scdlab.explore.frames import FrameExplorer
from scdlab.analysis import rotated
from scdlab.nn.ops import neighbor_sums
from scdlab.nn.ops.runtime import compile_all
from scdlab.objectives import DeNS, PropertyRegression, sample_noise
from scdlab.objectives import SelfConditionedDenoising as SCD
from scdlab.symmetry.report import SymmetryReport

scdlab.memory.tune_malloc()
compile_all()
train, val, test = scdlab.load_ethanol().split(100, 50)
batch = test.take([0])
model = scdlab.EquivariantTransformer(hidden_channels=64, num_layers=2, force_input=True)
other = scdlab.DimeNet(64, num_rbf=6, int_emb_size=32)
dens = DeNS(0.5, corrupt_ratio=0.2, denoising_weight=0.1, force_encoding="true", max_rms_force=1.0)
dens = DeNS(0.5, 0.2, 0.05, 0.1, True, "shuffled")
scd = SCD(reg_sigma=0.01, p_drop_condition=0.1, freeze_element_embeddings=False, \
supervised=PropertyRegression("homo", "scalar_mean"))
scd = SCD(context="mask", weight=2.0)
scdlab.fit(model, dens, train, val, grad_clip=1.0, ema_decay=None, schedule="exponential")
scdlab.fit(model, scd, train, lr={"head": 1e-3, "backbone": 1e-4})
model.add_property("mu", kind="per_atom")
model.add_property("alpha", "scalar_sum")
model = model.eval()
out = model(batch, force_input=batch.forces)
print(out.per_atom, model.hidden_channels, model.trained_elements, model.n_hops, \
model.config["hidden_channels"], dens.force_encoding)
exact = scdlab.ECSE(model, outer_radius=4.0, radius_width=0.1, sin2_min=0.3, sin2_width=0.1)
frames = exact.frames(batch)
print(frames.cluster, frames.auxiliary_weight, frames.j, frames.k, frames.inner_radius)
vectors, rows = analysis.embed(model, test)
xy = scdlab.analysis.reduce_embedding(vectors)
figure = maps.embedding_map(xy, rows)
eps = analysis.displacements(test.to_ase(0), 0.04), sample_noise(batch, 0.04)
with neighbor_sums.reference_kernels():
    model(batch)
explorer = FrameExplorer(model)
print(explorer.to_svg(), files.package_dir("data"), rotated, SymmetryReport)
'''
FOREIGN = '''\
import argparse
from pathlib import Path

import scdlab
from mine import DeNS, fit, prepare
from sklearn.linear_model import Ridge


class Table:
    """A table; `hidden=` is mine."""

    def __init__(self, hidden, layers, table, main=None, ratio=0.5, d=3):
        self.hidden = hidden
        self.d = d
        self.table = table  # told="own"
        self.home = Path.home()


def build(hidden=64, layers=3, told="own", pool="sum", clip=1.0, ema=0.9):
    settings = {"hidden": hidden, "layers": layers, "told": told}
    table = Table(hidden=hidden, layers=layers, table={}, main=print)
    return fit(table, clip=clip, ema=ema, schedule="paper", lr={"body": 1.0}), settings


def model(hidden, clip):
    return Ridge(alpha=hidden).fit(clip=clip)


parser = argparse.ArgumentParser()
options = parser.parse_args()
DeNS(ratio=0.5, told="own", drop=0.1, main=None)
prepare()
scores = {"heads": 1, "main": 2}
print(scdlab.load_ethanol(), options.hidden, model(hidden=1, clip=2))
'''


def lines_of(source: str) -> list[tuple[int, str]]:
    _, lines = rename_0_2.renamed(textwrap.dedent(source))
    return [(line.number, line.reason) for line in lines]


def test_a_script_of_0_1_gets_the_new_names():
    new, lines = rename_0_2.renamed(OLD)
    assert new == NEW
    assert lines == []
    assert rename_0_2.renamed(NEW) == (NEW, [])


def test_what_is_not_of_scdlab_stays():
    assert rename_0_2.renamed(FOREIGN) == (FOREIGN, [])


def test_a_script_without_scdlab_stays():
    text = "def fit(hidden, model):\n    return model.d + hidden\n"
    assert rename_0_2.renamed(text) == (text, [])


def test_a_name_that_is_taken_is_imported_under_the_old_one():
    text = "from scdlab.nn.kernels import prepare\n\ncompile_all = 1\nprepare()\n"
    new, _ = rename_0_2.renamed(text)
    assert new == (
        "from scdlab.nn.ops.runtime import compile_all as prepare\n\ncompile_all = 1\nprepare()\n"
    )


def test_what_cannot_be_decided_is_a_line_to_look_at():
    found = lines_of(
        """\
        import scdlab
        from scdlab.nn import AtomisticModel

        class Mine(AtomisticModel):
            pass

        def width(net, hidden):
            net.add_property("mu", "sum")
            return net.d + hidden

        def build(pool, settings):
            scdlab.objectives.PropertyRegression("homo", pool=pool)
            return scdlab.SchNet(**settings)
        """
    )
    assert [number for number, _ in found] == [4, 8, 9, 12, 13]
    assert found[2][1] == "if this is scdlab's, .d is now .hidden_channels"
    assert "settings" in found[4][1]


def test_every_new_name_exists():
    for new in rename_0_2.MOVED.values():
        parent, _, name = new.rpartition(".")
        module = importlib.import_module(parent)
        assert hasattr(module, name) or importlib.import_module(new)


def test_the_command_rewrites_files_and_prints_lines(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(
        "import scdlab\n\nnet = scdlab.SchNet(hidden=8)\n\n\ndef f(x):\n    return x.hops\n"
    )
    command = [sys.executable, str(Path(rename_0_2.__file__)), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "scdlab.SchNet(hidden_channels=8)" in path.read_text()
    assert done.stdout.splitlines() == [
        f"renamed in {path}",
        f"{path}:7: look at this line: if this is scdlab's, .hops is now .n_hops",
    ]
