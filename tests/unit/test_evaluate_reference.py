"""A hint where a model and data count energies from different zeros."""

import numpy as np
import torch

import scdlab
from scdlab.atoms import AtomStore, load_ethanol
from scdlab.objectives import EnergyForces


def shifted(store, energy):
    """The same frames with energies that are off by so much, in eV."""
    arrays = store.arrays()
    return AtomStore.from_arrays(
        arrays["z"],
        arrays["pos"],
        arrays["ptr"],
        energy=np.asarray(store.energy) + energy,
        forces=arrays["forces"],
        meta={"source": "another method"},
    )


def test_energies_of_another_zero_are_named(caplog):
    torch.manual_seed(0)
    frames = load_ethanol()[:8]
    model = scdlab.SchNet(hidden_channels=16, num_layers=1)
    scdlab.fit(model, EnergyForces(), frames, steps=2, batch_size=4, estimate=False)
    for objective in (None, EnergyForces()):
        caplog.clear()
        with caplog.at_level("WARNING", "scdlab"):
            scdlab.evaluate(model, frames, objective)
        assert "different zeros" not in caplog.text
        with caplog.at_level("WARNING", "scdlab"):
            errors = scdlab.evaluate(model, shifted(frames, 900.0), objective)
        assert "off by 1" in caplog.text
        assert "data (another method) seem to come from methods with different" in caplog.text
        assert abs(errors["energy_mae"] - 900) < 20
