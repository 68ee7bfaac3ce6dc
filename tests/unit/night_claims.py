"""Tiny claims that the tests of a night measure, in processes that import this file.

Each seed of a claim trains two networks; one of them is shared by all claims. NIGHT_CLAIMS names
the claims to register, NIGHT_DELAY the seconds that a step takes at least, NIGHT_RECORDS the folder
of records.
"""

import os
import time
from pathlib import Path

import torch

import scdlab
from scdlab import claims
from scdlab.claims import provenance
from scdlab.claims import record as records
from scdlab.claims.directions import graded, paired_direction

STEPS = 20


def _train(name, seed, device, delay):
    """A trained network of a seed; each row of the log takes a while."""

    def train(folder):
        torch.manual_seed(seed)
        store = scdlab.load_ethanol()[:8]
        model = scdlab.SchNet(hidden_channels=4, num_layers=1, num_rbf=4)
        return scdlab.fit(
            model,
            scdlab.objectives.EnergyForces(),
            store,
            steps=STEPS,
            batch_size=2,
            seed=seed,
            device=device,
            progress=False,
            out=folder,
            resume=folder is not None,
            log_every=1,
            checkpoint_every=1,
            callbacks=[lambda step, row, model: time.sleep(delay)],
        )

    return claims.keep(name, {"steps": STEPS}, seed, train)


def recipe(settings, seed, device):
    """Energies of two networks, as errors."""
    if settings.get("data") and not (Path(settings["data"]) / "there").is_file():
        raise FileNotFoundError("There are no frames of gold: set SCDLAB_MD17 to their folder.")
    if settings.get("broken"):
        raise KeyError("broken")
    delay = float(os.environ.get("NIGHT_DELAY", "0"))
    batch = scdlab.load_ethanol().take([0])
    values = {}
    for name in ("shared", settings["own"]):
        model = _train(name, seed, device, delay)
        with torch.no_grad():
            values[name] = float(model(batch).energy)
    return {"a_meV": values["shared"], "b_meV": values[settings["own"]] + 1}


def judge(values, settings):
    """Paired."""
    return graded(paired_direction(values["a_meV"], values["b_meV"]), False)


def make(claim_id, worth, hours=0.001, n_seeds=2, **settings):
    """A claim with a quick and a night profile."""
    night = {"seeds": n_seeds, "own": claim_id, **settings}
    return claims.Claim(
        id=claim_id,
        lesson=1,
        title="It helps.",
        source="A paper",
        paper="in words",
        quantities={"a_meV": "error, with", "b_meV": "error, without"},
        rule="Compare the errors.",
        judge=judge,
        recipe=recipe,
        profiles={"quick": {**night, "seeds": 1}, "night": night},
        hours={} if hours is None else {"night": hours},
        worth=worth,
    )


ALL = {
    "night-low": make("night-low", 1),
    "night-high": make("night-high", 5),
    "night-nodata": make("night-nodata", 9, data="/nowhere"),
    "night-broken": make("night-broken", 2, n_seeds=1, broken=True),
    "night-unknown": make("night-unknown", 7, hours=None),
    "night-long": make("night-long", 50, hours=40.0),
}
for _name in os.environ.get("NIGHT_CLAIMS", "").split():
    claims.register(ALL[_name])


def main():
    """The command line, with these claims alone, records of its own and a clean tree."""
    from scdlab.claims.claim import REGISTRY
    from scdlab.cli import app

    for name in set(REGISTRY) - set(ALL):
        del REGISTRY[name]
    records.RECORDS = Path(os.environ["NIGHT_RECORDS"])
    provenance.checkout = lambda: ("a" * 40, False)
    app()
