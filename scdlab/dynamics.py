"""Dynamics of many structures at once: each step is one evaluation of all of them.

A network hardly notices whether it is given one molecule or sixty; a loop over `ase` pays for each
of them. Here a batch moves together: energy-conserving dynamics (`NVE`), dynamics in a bath
(`Langevin`), relaxation (`FIRE`). The steps are those of ase, in its units of time, so one
structure follows the same trajectory here and there, to rounding:

    dynamics = scdlab.dynamics.Langevin(model, frames, timestep=0.5, temperature=300, seed=0)
    dynamics.run(1000, every=10, call=lambda now: print(now.energies))
    frames = dynamics.frames()

Energies are in eV, lengths in Å, forces in eV/Å, velocities in ase's unit (Å per 10.18 fs), time
steps in fs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Self

import ase
import numpy as np
import torch
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab.atoms import AtomStore
from scdlab.atoms.ase_frames import as_frames
from scdlab.nn import Model
from scdlab.nn.inference import Evaluator, Structures

__all__ = ["FIRE", "NVE", "Dynamics", "Langevin"]


class Dynamics(ABC):
    """What all kinds of dynamics share: the structures, their energies and forces.

    Parameters
    ----------
    model : Model
        A model that gives energies and forces; it is read once, and stays as it is.
    frames : ase.Atoms, iterable of ase.Atoms, or AtomStore
        The structures. Momenta are taken from them, masses too; nothing is written into them.
    dtype : torch.dtype, default torch.float64
        In what precision the network is computed, float64 or float32; positions are float64.

    Attributes
    ----------
    pos, velocities, forces : ndarray
        Of all atoms, one structure after the other, [N, 3] each, in Å, ase's unit of velocity, and
        eV/Å.
    energies : ndarray
        Potential energies of the structures, [B] eV.
    ptr : ndarray
        Where the atoms of each structure begin, [B + 1].
    steps : int
        How many have been made.

    Raises
    ------
    TypeError
        For what is no model, and no structures.
    ValueError
        For no structures, constraints, elements that the model was not trained on, and models
        without energies.
    """

    def __init__(
        self,
        model: Model,
        frames: "ase.Atoms | Iterable[ase.Atoms] | AtomStore",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self._frames = _copied(frames)
        sizes = [len(atoms) for atoms in self._frames]
        self.ptr = np.cumsum([0, *sizes])
        self.pos = np.concatenate([atoms.positions for atoms in self._frames])
        self.velocities = np.concatenate([atoms.get_velocities() for atoms in self._frames])
        self._z = np.concatenate([atoms.numbers for atoms in self._frames]).astype(np.int64)
        self._cell = np.stack([atoms.cell.array for atoms in self._frames])
        self._pbc = np.stack([atoms.pbc for atoms in self._frames])
        self._masses = np.concatenate([atoms.get_masses() for atoms in self._frames])[:, None]
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        self._evaluate = Evaluator(model, dtype)
        self._evaluate.check(self._z, self._owner)
        self.steps = 0
        self.energies, self.forces = self._now()

    def __len__(self) -> int:
        return len(self._frames)

    def run(
        self,
        steps: int,
        every: int = 1,
        call: "Callable[[Self], object] | None" = None,
    ) -> Self:
        """Make some steps.

        Parameters
        ----------
        steps : int
            How many.
        every : int, default 1
            After how many steps each `call` is made.
        call : callable, optional
            Given this object; what it returns is not looked at. Arrays that it keeps must be
            copied: the next steps write into them.

        Returns
        -------
        Dynamics
            This object.

        Raises
        ------
        ValueError
            For numbers that are none of steps, and where atoms have met or flown apart.
        """
        for name, number in (("steps", steps), ("every", every)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
                raise ValueError(f"{name} must be a whole number of steps, at least 1: {number!r}.")
        for k in range(1, steps + 1):
            if self._ended():
                break
            self._step()
            self.steps += 1
            if call is not None and k % every == 0:
                call(self)
        return self

    def kinetic_energies(self) -> np.ndarray:
        """Kinetic energies of the structures, [B] eV."""
        each = 0.5 * (self._masses * self.velocities**2).sum(1)
        return np.bincount(self._owner, each, len(self))

    def temperatures(self) -> np.ndarray:
        """Temperatures of the structures, [B] K: 2 E_kin / (3 n k_B) with n atoms."""
        return 2.0 * self.kinetic_energies() / (3.0 * np.diff(self.ptr) * units.kB)

    def frames(self) -> list[ase.Atoms]:
        """The structures as they are now, with momenta, energies and forces.

        Returns
        -------
        list of ase.Atoms
            One for each structure; copies.
        """
        frames = []
        for k, atoms in enumerate(self._frames):
            rows = slice(self.ptr[k], self.ptr[k + 1])
            now = atoms.copy()
            now.positions = self.pos[rows]
            now.set_velocities(self.velocities[rows])
            now.calc = SinglePointCalculator(
                now, energy=float(self.energies[k]), forces=self.forces[rows].copy()
            )
            frames.append(now)
        return frames

    @abstractmethod
    def _step(self) -> None:
        """Move all atoms by one step."""

    def _ended(self) -> bool:
        """Whether no more steps are to be made."""
        return False

    def _now(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies [B] and forces [N, 3] where the atoms are now."""
        structures = Structures(self._z, self.pos, self.ptr, self._cell, self._pbc)
        answers = self._evaluate(structures)
        return answers.energies, answers.forces


class NVE(Dynamics):
    """Dynamics that conserves energy: velocity Verlet, as ase's `VelocityVerlet`.

        v ← v + F Δt / 2m,   x ← x + v Δt,   v ← v + F Δt / 2m   with the new force

    Parameters
    ----------
    model, frames, dtype
        As of `Dynamics`.
    timestep : float, default 0.5
        Time step Δt in fs.

    Raises
    ------
    ValueError
        For a time step that is not positive, and as `Dynamics`.
    """

    def __init__(
        self,
        model: Model,
        frames: "ase.Atoms | Iterable[ase.Atoms] | AtomStore",
        timestep: float = 0.5,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self._dt = _positive("timestep", timestep, "fs") * units.fs
        super().__init__(model, frames, dtype)

    def _step(self) -> None:
        self.velocities += 0.5 * self._dt * self.forces / self._masses
        self.pos += self._dt * self.velocities
        self.energies, self.forces = self._now()
        self.velocities += 0.5 * self._dt * self.forces / self._masses


class Langevin(Dynamics):
    """Dynamics in a bath: friction, and random kicks that keep the temperature.

    The integrator of ase's `Langevin` with `fixcm=False` (Vanden-Eijnden and Ciccotti, Chem. Phys.
    Lett. 429, 310, 2006). Each structure has random numbers of its own, so it moves as it would
    alone.

    Parameters
    ----------
    model, frames, dtype
        As of `Dynamics`.
    timestep : float, default 0.5
        Time step in fs.
    temperature : float, default 300
        Temperature in K.
    friction : float, default 0.01
        Friction in 1/fs.
    seed : int, default 0
        Structure k draws from `numpy.random.default_rng((seed, k))`.

    Raises
    ------
    ValueError
        For a time step or friction that is not positive, a temperature below zero, and as
        `Dynamics`.
    """

    def __init__(
        self,
        model: Model,
        frames: "ase.Atoms | Iterable[ase.Atoms] | AtomStore",
        timestep: float = 0.5,
        temperature: float = 300.0,
        friction: float = 0.01,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        dt = _positive("timestep", timestep, "fs") * units.fs
        rate = _positive("friction", friction, "1/fs") / units.fs
        if not (np.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature must be a temperature in K, got {temperature!r}.")
        super().__init__(model, frames, dtype)
        sigma = np.sqrt(2.0 * units.kB * temperature * rate / self._masses)  # (N, 1)
        self._dt = dt
        self._c1 = dt / 2.0 - dt * dt * rate / 8.0
        self._c2 = dt * rate / 2.0 - dt * dt * rate * rate / 8.0
        self._c3 = np.sqrt(dt) * sigma / 2.0 - dt**1.5 * rate * sigma / 8.0
        self._c5 = dt**1.5 * sigma / (2.0 * np.sqrt(3.0))
        self._c4 = rate / 2.0 * self._c5
        self._draws = [np.random.default_rng((seed, k)) for k in range(len(self))]

    def _step(self) -> None:
        xi = np.empty_like(self.pos)
        eta = np.empty_like(self.pos)
        for k, rng in enumerate(self._draws):
            rows = slice(self.ptr[k], self.ptr[k + 1])
            xi[rows] = rng.standard_normal(xi[rows].shape)
            eta[rows] = rng.standard_normal(eta[rows].shape)
        kick = self._c3 * xi - self._c4 * eta
        v = self.velocities
        v += self._c1 * self.forces / self._masses - self._c2 * v + kick
        self.pos += self._dt * v + self._c5 * eta
        self.energies, self.forces = self._now()
        v += self._c1 * self.forces / self._masses - self._c2 * v + kick


class FIRE(Dynamics):
    """Relaxation: downhill with inertia (Bitzek et al., Phys. Rev. Lett. 97, 170201, 2006), with
    the steps and constants of ase's `FIRE`.

    A structure rests once no force on its atoms is larger than `fmax`; `run` ends when all rest.

    Parameters
    ----------
    model, frames, dtype
        As of `Dynamics`; momenta of the frames are not read, as masses play no part.
    fmax : float, default 0.05
        Largest force at rest, in eV/Å.

    Attributes
    ----------
    relaxed : ndarray
        Which structures rest, [B] bool.

    Raises
    ------
    ValueError
        For a force that is not positive, and as `Dynamics`.
    """

    _LONGEST = 0.2  # Å, of a step
    _LONGEST_TIME = 1.0
    _PATIENCE = 5  # steps downhill before the time step grows
    _START = 0.1  # how much of the velocity is turned along the force

    def __init__(
        self,
        model: Model,
        frames: "ase.Atoms | Iterable[ase.Atoms] | AtomStore",
        fmax: float = 0.05,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.fmax = _positive("fmax", fmax, "eV/Å")
        super().__init__(model, frames, dtype)
        self.velocities[:] = 0.0
        self._time = np.full(len(self), 0.1)  # (B)
        self._mix = np.full(len(self), self._START)  # (B)
        self._downhill = np.zeros(len(self), np.int64)  # (B)
        self._first = True
        self.relaxed = self._at_rest()

    def _ended(self) -> bool:
        return bool(self.relaxed.all())

    def _step(self) -> None:
        moving = ~self.relaxed
        f = self.forces
        v = self.velocities
        if not self._first:
            power = self._summed((f * v).sum(1))
            force = np.sqrt(self._summed((f * f).sum(1)))
            speed = np.sqrt(self._summed((v * v).sum(1)))
            down = power > 0.0
            turned = self._mix * np.divide(speed, force, out=np.zeros_like(force), where=force > 0)
            v[:] = np.where(
                down[self._owner, None],
                (1.0 - self._mix)[self._owner, None] * v + turned[self._owner, None] * f,
                0.0,
            )
            patient = down & (self._downhill > self._PATIENCE)
            self._time = np.where(
                patient, np.minimum(1.1 * self._time, self._LONGEST_TIME), self._time
            )
            self._time = np.where(down, self._time, 0.5 * self._time)
            self._mix = np.where(patient, 0.99 * self._mix, self._mix)
            self._mix = np.where(down, self._mix, self._START)
            self._downhill = np.where(down, self._downhill + 1, 0)
        self._first = False
        v += self._time[self._owner, None] * f
        step = self._time[self._owner, None] * v
        length = np.sqrt(self._summed((step * step).sum(1)))
        shrink = np.where(length > self._LONGEST, self._LONGEST / np.maximum(length, 1e-300), 1.0)
        self.pos += np.where(moving[self._owner, None], shrink[self._owner, None] * step, 0.0)
        self.energies, self.forces = self._now()
        self.relaxed |= self._at_rest()

    def _at_rest(self) -> np.ndarray:
        force = np.sqrt((self.forces**2).sum(1))
        return np.maximum.reduceat(force, self.ptr[:-1]) < self.fmax

    def _summed(self, of_atoms: np.ndarray) -> np.ndarray:
        return np.bincount(self._owner, of_atoms, len(self))


def _copied(frames: "ase.Atoms | Iterable[ase.Atoms] | AtomStore") -> list[ase.Atoms]:
    """The structures, as copies without calculators."""
    if isinstance(frames, AtomStore):
        frames = [frames.to_ase(k) for k in range(len(frames))]
    found = as_frames(frames)
    for k, atoms in enumerate(found):
        if atoms.constraints:
            raise ValueError(
                f"Structure {k} has constraints, which dynamics of batches does not keep: remove "
                "them, or use ase's dynamics with scdlab.Calculator."
            )
        if not len(atoms):
            raise ValueError(f"Structure {k} has no atoms: leave it out.")
    return [atoms.copy() for atoms in found]


def _positive(name: str, value: float, unit: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number in {unit}, got {value!r}.")
    return float(value)
