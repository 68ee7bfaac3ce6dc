"""What a simulation has made is not lost, and what it cannot do is refused before it begins."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength

import scdlab
from scdlab.atoms import AtomStore, make, simulate

SHORT = {"temperature": 300, "interval": 2, "equilibration": 4, "progress": False}


def copper():
    return bulk("Cu", cubic=True)


class Failing(EMT):
    """EMT that stops working after some calls."""

    def __init__(self, calls, how):
        super().__init__()
        self.calls = calls
        self.how = how

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.calls -= 1
        if self.calls < 0:
            self.how(self)


def not_converged(calculator):
    raise RuntimeError("SCF not converged\n in 250 cycles")


def no_energy(calculator):
    calculator.results["energy"] = float("nan")


def no_forces(calculator):
    calculator.results["forces"] = np.full((4, 3), np.nan)


def far_too_large(calculator):
    calculator.results["forces"] = np.eye(4, 3) * 1e6


def interrupt(calculator):
    raise KeyboardInterrupt


def terminate(calculator):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (not_converged, "Failing failed at step .*RuntimeError: SCF not converged in 250 cycles"),
        (no_energy, "Failing failed at step .*energy that are not finite"),
        (no_forces, "blew up at step|not finite"),
        (far_too_large, "blew up at step"),
        (interrupt, "interrupted .Ctrl-C. at step"),
        (terminate, "interrupted .SIGTERM. at step"),
    ],
)
def test_a_run_that_ends_early_returns_what_it_has_made(how, why, caplog):
    whole = simulate(copper(), 6, calculator="emt", **SHORT)
    before = signal.getsignal(signal.SIGTERM)
    with caplog.at_level("WARNING", "scdlab"):
        store = simulate(copper(), 6, calculator=Failing(12, how), **SHORT)
    assert signal.getsignal(signal.SIGTERM) is before
    n = len(store)
    assert 1 <= n < 6 and f"the first {n} of 6 frames are returned" in caplog.text
    early = store.meta["simulation"]["ended_early"]
    assert early["frames"] == n and early["of"] == 6
    assert re.search(why, early["why"])
    assert np.array_equal(store.take(range(n)).pos, whole.take(range(n)).pos)
    assert np.array_equal(store.energy, whole.energy[:n])


def test_what_ends_before_the_first_frame_is_an_error():
    with pytest.raises(ValueError, match="ended before its first frame: Failing failed at step"):
        simulate(copper(), 6, calculator=Failing(3, not_converged), **SHORT)
    with pytest.raises(KeyboardInterrupt):
        simulate(copper(), 6, calculator=Failing(3, interrupt), **SHORT)
    with pytest.raises(ValueError, match="gives no energy and forces for the structure it would"):
        simulate(copper(), 6, calculator=Failing(0, not_converged), **SHORT)
    with pytest.raises(ValueError, match=r"gives no energy and forces .*NotImplementedError"):
        simulate(molecule("SiH4"), 1, calculator="emt", **SHORT)


@pytest.mark.slow
def test_sigterm_lets_a_script_save_and_a_second_one_ends_it(tmp_path):
    code = (
        "import scdlab, sys, os, signal\n"
        "from ase.build import bulk\n"
        "run = lambda n: scdlab.simulate(bulk('Cu', cubic=True), n, 300, 'emt', interval=1,\n"
        "                                equilibration=0, progress=False)\n"
        "run(1)\n"
        "print('ready', flush=True)\n"
        "s = run(10**7)\n"
        "s.save(sys.argv[1])\n"
        "print('saved', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('still here', flush=True)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(1)
    run.terminate()
    out, _ = run.communicate(timeout=60)
    assert out.endswith("saved\n") and run.returncode == -signal.SIGTERM
    assert len(AtomStore.open(tmp_path / "s")) > 10


def test_a_bar_that_cannot_be_written_does_not_end_the_run(monkeypatch, caplog):
    import importlib

    monkeypatch.setattr(importlib.import_module("scdlab.atoms.simulate"), "_BAR_FROM", 0.0)

    class Closed:
        def write(self, text):
            raise ValueError("I/O operation on closed file")

        def flush(self):
            raise OSError("no space left")

    monkeypatch.setattr(sys, "stderr", Closed())
    with caplog.at_level("WARNING", "scdlab"):
        store = simulate(copper(), 3, 300, "emt", interval=10, equilibration=20)
    assert len(store) == 3 and "no progress can be shown" in caplog.text


def test_notes_do_not_matter_and_what_decides_is_kept():
    start = copper()
    start.info |= {"natoms": 4, "config id": 7, "energy": "unknown", "a": object()}
    start.set_array("x", np.zeros(4))
    start.set_array("forces", np.full((4, 3), np.nan))
    start.set_initial_charges([0.0, 0.0, 0.5, -0.5])
    store = simulate(start, 3, calculator="emt", **SHORT)
    bare = simulate(copper(), 3, calculator="emt", **SHORT)
    assert np.array_equal(store.take(range(3)).pos, bare.take(range(3)).pos)
    assert set(store.atom_properties()) == {"initial_charges"} and not store.property_names
    assert "natoms" in start.info


def test_isotopes_move_slower_and_keep_their_masses():
    water = molecule("H2O")
    water.set_masses([15.999, 2.014, 2.014])
    heavy = simulate(water, 2, calculator="emt", **SHORT)
    light = simulate(molecule("H2O"), 2, calculator="emt", **SHORT)
    assert not np.array_equal(heavy.take([1]).pos, light.take([1]).pos)
    assert heavy.take([0]).masses.tolist() == pytest.approx([15.999, 2.014, 2.014])
    assert not light.atom_properties()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(({"n_frames": value}, "n_frames is") for value in (True, 0, -1, 2.5, None, "3", np.nan)),
        *(({"temperature": value}, "temperature is") for value in (0, -1, np.nan, np.inf, "hot")),
        *(({"timestep": value}, "timestep is") for value in (0, -0.5, None, [0.5])),
        *(({"interval": value}, "interval is") for value in (0, 1.5, False)),
        *(({"equilibration": value}, "equilibration is") for value in (-1, 0.5, "none")),
        *(({"seed": value}, "seed is") for value in (-1, 0.5, None, "a")),
        ({"friction": -0.01}, "friction is"),
        ({"calculator": EMT}, "unknown calculator <class"),
        ({"calculator": None}, "unknown calculator None"),
        ({"calculator": scdlab.SchNet(16, 1)}, "unknown calculator SchNet"),
    ],
)
def test_settings_are_checked_before_anything_moves(change, said):
    arguments = {"n_frames": 1, "calculator": "emt", **SHORT} | change
    with pytest.raises(ValueError, match=said) as caught:
        simulate(copper(), **arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 420


def test_whole_floats_and_numpy_numbers_are_numbers():
    settings = SHORT | {"interval": 2.0, "equilibration": np.int64(4), "temperature": np.float32(9)}
    store = simulate(copper(), np.int32(2), calculator="emt", seed=np.int64(3), **settings)
    assert store.meta["simulation"]["seed"] == 3 and type(store.meta["simulation"]["seed"]) is int
    assert len(store) == 2 and type(store.meta["simulation"]["temperature"]) is float


def test_starts_are_checked_before_anything_moves():
    fixed = copper()
    fixed.set_constraint(FixAtoms([0, 1, 2, 3]))
    flat = copper()
    flat.set_cell([0, 0, 0])
    coincident = Atoms("Cu2", [[0, 0, 0], [0, 0, 0]])
    lost = Atoms("Cu2", [[0, 0, 0], [0, 0, np.nan]])
    massless = copper()
    massless.set_masses([0, 1, 1, 1])
    for start, said in (
        (fixed, "every atom of the structure is fixed"),
        (flat, "no store takes the structure"),
        (coincident, "no store takes the structure"),
        (lost, "no store takes the structure"),
        (Atoms("X"), "no store takes the structure"),
        (massless, "positive mass"),
    ):
        with pytest.raises(ValueError, match=said):
            simulate(start, 1, calculator="emt", **SHORT)
    for thing in ("CCO", [copper()], None, copper):
        with pytest.raises(TypeError, match=r"must be ase\.Atoms, got"):
            simulate(thing, 1, calculator="emt", **SHORT)


def test_lone_atoms_two_fragments_and_constraints_run():
    assert len(simulate(Atoms("Cu"), 2, calculator="emt", **SHORT)) == 2
    two = molecule("H2O")
    two += Atoms("CO", [[9, 0, 0], [9, 0, 1.15]])
    assert len(simulate(two, 2, calculator="emt", **SHORT)) == 2
    stiff = Atoms("CO", [[0, 0, 0], [0, 0, 1.15]])
    stiff.set_constraint(FixBondLength(0, 1))
    kept = simulate(stiff, 2, calculator="emt", **SHORT).to_ase(1)
    assert kept.get_distance(0, 1) == pytest.approx(1.15, abs=1e-3)


def test_a_data_set_is_made_whole_or_set_aside(tmp_path, monkeypatch):
    def cut_short(*arguments, **keywords):
        store = simulate(molecule("CH3CH2OH"), 4, calculator="emt", **SHORT)
        store.meta["simulation"]["ended_early"] = {
            "frames": 4,
            "of": 9,
            "why": "it was interrupted",
        }
        return store

    monkeypatch.setattr(make, "simulate", cut_short)
    with pytest.raises(ValueError, match="ethanol is not made, because it was interrupted; the 4"):
        make.make("ethanol", tmp_path / "e", frames=9)
    assert not (tmp_path / "e").exists()
    assert len(AtomStore.open(tmp_path / "e-partial")) == 4


def test_a_data_set_is_refused_before_it_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "simulate", lambda *_, **__: pytest.fail("nothing is to be computed"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="file is a file, expected a new folder or a saved store"):
        make.make("ethanol", tmp_path / "file")
    with pytest.raises(ValueError, match="notes is a folder that holds other files"):
        make.make("ethanol", tmp_path / "notes")
    for count in (0, -3, True, "all", 1.5):
        with pytest.raises(ValueError, match=r"frames is .*, but must be a whole number"):
            make.make("ethanol", tmp_path / "e", frames=count)
        with pytest.raises(ValueError, match=r"molecules is .*, but must be a whole number"):
            make.make("isomers", tmp_path / "e", molecules=count)
