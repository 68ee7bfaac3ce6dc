"""One recipe for all domains: molecules, frames in motion, crystals and a peptide, mixed in one run
of pretraining."""

import json

import ase.io
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

import scdlab
from scdlab import cli, files
from scdlab.objectives import SelfConditionedDenoising

BUDGET = 160  # atoms of a batch
DECAALANINE = "C[C@H](N)C(=O)" + 9 * "N[C@@H](C)C(=O)" + "O"
SAMPLE = files.package_dir("data") / "qm9-sample"


@pytest.fixture(scope="module")
def peptide():
    """A stretched and a folded deca-alanine, 103 atoms each, without labels."""
    return [scdlab.from_smiles(DECAALANINE, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def domains(peptide):
    return {
        "molecules": scdlab.AtomStore.open(SAMPLE)[::50],
        "frames": scdlab.load_ethanol()[::20],
        "crystals": scdlab.load_alloys()[::7],
        "peptide": scdlab.AtomStore.from_ase(peptide),
    }


@pytest.fixture(scope="module")
def pretrained(domains):
    """A model after a short run on all domains, and of each of its batches (structures, periodic
    ones, atoms)."""
    sizes = []

    class Watched(SelfConditionedDenoising):
        def __call__(self, model, batch, generator=None):
            sizes.append(
                (
                    batch.num_graphs,
                    int(batch.pbc.any(1).sum()) if "pbc" in batch else 0,
                    batch.num_nodes,
                )
            )
            return super().__call__(model, batch, generator)

    torch.manual_seed(0)
    model = scdlab.EquivariantTransformer(
        hidden_channels=16, num_layers=2, num_heads=2, num_rbf=12, conditional=True
    )
    train, val, _ = scdlab.AtomStore.concat(domains.values()).split(250, 20)
    result = scdlab.fit(
        model, Watched(), train, val, steps=300, max_atoms=BUDGET, lr=5e-3, progress=False
    )
    return model, result, np.array(sizes)


@pytest.mark.slow
def test_the_loss_falls_in_every_domain_and_in_the_mixture(domains, pretrained):
    model, result, _ = pretrained
    assert np.isfinite(result.history["loss"]).all()
    assert (
        np.mean(result.history["noise_unexplained"][-5:])
        < 0.95 * result.history["noise_unexplained"][0]
    )
    for name, store in domains.items():
        left = scdlab.evaluate(model, store[:40], SelfConditionedDenoising(), max_atoms=BUDGET)[
            "noise_unexplained"
        ]
        assert left < 0.97, (name, left)  # an untrained model leaves all of the noise, or more


def test_no_batch_is_over_its_budget_and_most_are_mixed(pretrained):
    structures, periodic, atoms = pretrained[2].T
    assert atoms.max() <= BUDGET and np.median(atoms) > 0.85 * BUDGET
    assert ((periodic > 0) & (periodic < structures)).mean() > 0.8
    assert (
        structures.max() > 2 * structures[structures > 1].min()
    )  # as many as go in, not a number of them


def test_a_crystal_is_answered_alone_as_among_molecules(domains, pretrained):
    model = pretrained[0]
    everything = scdlab.AtomStore.concat(domains.values())
    first = len(domains["molecules"]) + len(domains["frames"])
    rows = [0, first, first + 5, 150, len(everything) - 1]
    together = model(everything.take(rows), noise=True)
    start = 0
    for k, row in enumerate(rows):
        alone = model(everything.take([row]), noise=True)
        end = start + len(alone.noise)
        torch.testing.assert_close(together.noise[start:end], alone.noise, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.embedding[k], alone.embedding[0], rtol=1e-4, atol=1e-5)
        start = end


def test_the_noise_of_a_turned_crystal_is_turned(domains, pretrained):
    model = pretrained[0].double()
    batch = domains["crystals"].take([1, 2, 5])
    displaced = 0.05 * torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(0))
    batch.pos = batch.pos.double() + displaced.double()  # noise to find
    batch.cell = batch.cell.double()
    mirrored = -Rotation.random(rng=3).as_matrix()  # a rotation and an inversion
    turn = torch.from_numpy(mirrored)
    turned = batch.clone()
    turned.pos = batch.pos @ turn.T
    turned.cell = batch.cell @ turn.T
    try:
        with torch.no_grad():
            condition = model(batch).embedding
            own = model(batch, condition=condition, noise=True)
            other = model(turned, condition=model(turned).embedding, noise=True)
    finally:
        model.float()
    assert float(own.noise.norm(dim=1).mean()) > 1e-2
    assert float((other.noise - own.noise @ turn.T).abs().max()) < 1e-10
    assert float((other.embedding - own.embedding).abs().max()) < 1e-10


def test_the_whole_recipe_from_the_shell(peptide, tmp_path):
    """Mixed pretraining, then energies and forces of alloys from it, then its errors on some of
    them."""
    ase.io.write(tmp_path / "peptide.xyz", peptide)

    def call(*words):
        return CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200"})

    small = ["--device", "cpu", "--steps", 3]
    result = call(
        "train",
        "--data",
        f"{SAMPLE}@::100",
        "--data",
        "ethanol@::40",
        "--data",
        "alloys@::13",
        "--data",
        tmp_path / "peptide.xyz",
        "--objective",
        "SelfConditionedDenoising",
        "--model",
        "EquivariantTransformer(conditional=True, num_heads=2, num_rbf=8)",
        "--hidden-channels",
        8,
        "--num-layers",
        1,
        "--max-atoms",
        BUDGET,
        "--weight-decay",
        0.05,
        "--out",
        tmp_path / "first",
        *small,
    )
    assert result.exit_code == 0, result.output
    assert "test noise_unexplained = " in result.output
    settings = json.loads((tmp_path / "first/run.json").read_text())["settings"]
    assert (settings["max_atoms"], settings["weight_decay"], settings["structures"]) == (
        BUDGET,
        0.05,
        123,
    )
    seen = scdlab.load(tmp_path / "first/model").trained_elements.nonzero().flatten().tolist()
    assert {1, 6, 7, 8, 13, 28, 29, 46, 47, 78, 79} <= set(seen)

    result = call(
        "train",
        "--data",
        "alloys@::20",
        "--init",
        tmp_path / "first/model",
        "--head-lr",
        1e-3,
        "--lr",
        1e-4,
        "--max-atoms",
        64,
        "--out",
        tmp_path / "tuned",
        *small,
    )
    assert result.exit_code == 0, result.output
    result = call("evaluate", tmp_path / "tuned/model", "--data", "alloys@:20", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "energy_mae = " in result.output and "force_mae = " in result.output


def test_a_budget_below_the_peptide_is_one_sentence(peptide, tmp_path):
    ase.io.write(tmp_path / "peptide.xyz", peptide)
    result = CliRunner().invoke(
        cli.app,
        [
            "train",
            "--data",
            "ethanol@::40",
            "--data",
            str(tmp_path / "peptide.xyz"),
            "--objective",
            "CoordinateDenoising",
            "--max-atoms",
            "100",
            "--out",
            str(tmp_path / "out"),
        ],
    )
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    (line,) = result.output.strip().splitlines()
    assert (
        "Structure 50 (C30H52N10O11) has 103 atoms" in line
        and "max_atoms=100" in line
        and "allow 103" in line
    )
