"""A molecule displaced by noise: what the forces and the answer of a network are there.

    x̃ = x + ε,   ε ~ N(0, σ²)      x: clean positions, ε: the noise, σ in Å

    noise      ε as a training would draw it                     `displacements`
    energy     E(x + ε) − E(x): how far up the wall it pushes    `energy_against_sigma`
    forces     near a minimum F(x̃) ≈ −H ε, H the Hessian         `Reference`, `cosine(-eps, F)`
    a network  ε̂ = σ · model(x̃).noise, its answer                `denoise`, `cosine(answer, eps)`

Signs. Every cosine is written so that +1 is what one hopes for: cos(−ε, F), since a force that
undoes the noise points along −ε; cos(ε̂, ε), since the answer should be the noise; and cos(−ε̂, F),
since −ε̂ is the network's way back. They never agree fully, not even for an exact network: H is
stiff along bonds and soft elsewhere, so F leans towards the stiff directions and cos(−ε, F) stays
below 1.

A cosine is taken over all 3n components at once: cos(a, b) = Σ a·b / (|a| |b|).

Coordinate denoising: S. Zaidi et al., ICLR 2023, arXiv:2206.00133.
"""

from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError
from numpy.typing import ArrayLike

from scdlab.analysis.inputs import bare_copy, batch_at
from scdlab.atoms import AtomStore
from scdlab.calculator import Calculator
from scdlab.nn.model import evaluating
from scdlab.objectives.noise import sample_noise

SIGMAS = np.geomspace(0.003, 0.5, 10)  # Å; where the curves over σ are computed
MAX_ATOMS = 200  # of a molecule under noise
MAX_ATOMS_GFN2 = 40  # for GFN2-xTB, which keeps a slider's move below a second


def displacements(
    atoms: ase.Atoms,
    sigma: float,
    seed: int = 0,
    kind: str = "gaussian",
    draws: int | None = None,
) -> np.ndarray:
    """Draw the noise that `CoordinateDenoising` would draw with this seed.

    Of gaussian noise, equal seeds give the same directions at every σ, so that a slider moves along
    a ray.

    Parameters
    ----------
    atoms : ase.Atoms
        The clean molecule of n atoms.
    sigma : float
        Size of the noise in Å.
    seed : int, default 0
        Seed of the generator.
    kind : {"gaussian", "torsional"}, default "gaussian"
        Kind of the noise.
    draws : int, optional
        Number of draws; by default one, without its axis.

    Returns
    -------
    numpy.ndarray
        The noise ε [n, 3] in Å, or [draws, n, 3].

    Raises
    ------
    ValueError
        For a sigma that is not positive, and for torsional noise of a crystal.
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(
            f"sigma must be a positive length in Å, got {sigma}; 0.005 and 0.04 are the usual ones."
        )
    batch = AtomStore.geometry(atoms).take([0] * (draws or 1))
    eps, _ = sample_noise(batch, sigma, torch.Generator().manual_seed(int(seed)), kind=kind)
    eps = eps.double().numpy().reshape(-1, len(atoms), 3)
    return eps[0] if draws is None else eps


def denoise(model: torch.nn.Module, atoms: ase.Atoms, pos: ArrayLike) -> np.ndarray:
    """The network's answer ε̂/σ, `model(batch, noise=True).noise`, in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        A model that can denoise.
    atoms : ase.Atoms
        The molecule.
    pos : array_like
        Displaced positions [..., n, 3] in Å.

    Returns
    -------
    numpy.ndarray
        The answer in units of σ, of the shape of `pos`.

    Raises
    ------
    ValueError
        For a model that cannot denoise, and for elements that it was not trained on.
    """
    x = np.asarray(pos, float)
    batch = batch_at(model, atoms, x)
    with evaluating(model), torch.no_grad():
        noise = model(batch, noise=True).noise
    return noise.double().cpu().numpy().reshape(x.shape)


def cosine(a: ArrayLike, b: ArrayLike) -> Any:
    """cos(a, b) = Σ a·b / (|a| |b|) over the last two axes.

    Parameters
    ----------
    a, b : array_like
        Vectors of atoms [..., n, 3].

    Returns
    -------
    float or numpy.ndarray
        Cosines [...]; NaN where one of the two is zero.
    """
    a = np.asarray(a, float)
    b = np.asarray(b, float)
    length = np.sqrt((a**2).sum((-2, -1)) * (b**2).sum((-2, -1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 0, (a * b).sum((-2, -1)) / length, np.nan)[()]


def unexplained_noise(answer: np.ndarray, eps: np.ndarray) -> Any:
    """The share |ε̂ − ε|² / |ε|² of the noise that is left, over the last two axes.

    Parameters
    ----------
    answer, eps : numpy.ndarray
        The answer ε̂ and the noise ε [..., n, 3] in Å.

    Returns
    -------
    float or numpy.ndarray
        Shares [...]: 0 is perfect, 1 is what the blind guess ε̂ = 0 gets, NaN without noise.
    """
    blind = (eps**2).sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(blind > 0, ((answer - eps) ** 2).sum((-2, -1)) / blind, np.nan)[()]


class Reference:
    """Where energies and forces come from: GFN2-xTB, a trained model, or an ase calculator.

    Parameters
    ----------
    reference : "gfn2", torch.nn.Module or ase calculator, default "gfn2"
        "gfn2" is GFN2-xTB, by tblite; a model must have been trained on energies.

    Attributes
    ----------
    name : str
        What the reference is called.
    max_atoms : int
        The size of the largest molecule that it takes.

    Raises
    ------
    ValueError
        For "gfn2" where tblite is missing, a model without energies, and anything else.
    """

    def __init__(self, reference: Any = "gfn2"):
        self.calculator: Any = reference
        self.max_atoms = MAX_ATOMS
        if isinstance(reference, str) and reference == "gfn2":
            self.calculator = _gfn2()
            self.name = "GFN2-xTB"
            self.max_atoms = MAX_ATOMS_GFN2
            return
        self.name = type(reference).__name__
        if isinstance(reference, torch.nn.Module):
            _check_trained_on_energies(reference)
            self.calculator = Calculator(reference)
        elif not hasattr(reference, "get_potential_energy"):
            raise ValueError(
                "The reference must be 'gfn2', a trained model or an ase calculator, got "
                f"{reference!r}."
            )

    def __call__(self, atoms: ase.Atoms, pos: ArrayLike | None = None) -> tuple[Any, np.ndarray]:
        """Energies and forces at one or several sets of positions.

        Parameters
        ----------
        atoms : ase.Atoms
            The molecule.
        pos : array_like, optional
            Positions [..., n, 3] in Å; by default those of `atoms`.

        Returns
        -------
        energy : float or numpy.ndarray
            Energies [...] in eV; NaN where the calculator finds no solution.
        forces : numpy.ndarray
            Forces [..., n, 3] in eV/Å, likewise.

        Raises
        ------
        ValueError
            For elements that the reference lacks, and for more than `max_atoms` atoms.
        """
        if len(atoms) > self.max_atoms:
            raise ValueError(
                f"{self.name} takes molecules of up to {self.max_atoms} atoms here, got "
                f"{len(atoms)}."
            )
        x = atoms.positions if pos is None else np.asarray(pos, float)
        flat = x.reshape(-1, len(atoms), 3)
        energy = np.full(len(flat), np.nan)
        forces = np.full(flat.shape, np.nan)
        probe = bare_copy(atoms)
        probe.calc = self.calculator
        threads = torch.get_num_threads()
        # It reaches the OpenMP runtime that tblite shares: threads slow down such small systems.
        torch.set_num_threads(1)
        try:
            for k, each in enumerate(flat):
                self.calculator.reset()
                probe.positions = each
                try:
                    forces[k] = probe.get_forces()
                    energy[k] = probe.get_potential_energy()
                except CalculationFailed:
                    continue  # no solution: NaN
        except (CalculatorSetupError, NotImplementedError) as error:
            # ase's own calculators raise the latter
            raise ValueError(
                f"{self.name} cannot treat {atoms.get_chemical_formula()}: {error}"
            ) from error
        finally:
            torch.set_num_threads(threads)
        return energy.reshape(x.shape[:-2])[()], forces.reshape(x.shape)

    def relax(self, atoms: ase.Atoms, fmax: float = 0.01, steps: int = 200) -> ase.Atoms:
        """Go to this reference's nearest minimum.

        Only from there do forces measure what the noise has done, and nothing else.

        Parameters
        ----------
        atoms : ase.Atoms
            The molecule; it is left as it is.
        fmax : float, default 0.01
            Largest force in eV/Å at the end.
        steps : int, default 200
            Largest number of steps.

        Returns
        -------
        ase.Atoms
            The relaxed copy, without calculator.

        Raises
        ------
        ValueError
            As for a call, and where the calculator finds no solution on the way.
        """
        from ase.optimize import BFGS

        self(atoms)  # the checks of size and elements
        relaxed = bare_copy(atoms)
        relaxed.calc = self.calculator
        try:
            BFGS(relaxed, logfile=None).run(fmax=fmax, steps=steps)
        except CalculationFailed as error:
            raise ValueError(
                f"{self.name} could not relax {atoms.get_chemical_formula()}: {error}"
            ) from error
        relaxed.calc = None
        return relaxed


def as_reference(reference: Any) -> Reference:
    """`reference` itself if it is a `Reference`, else one made of it.

    Parameters
    ----------
    reference : Reference, "gfn2", torch.nn.Module or ase calculator
        As `Reference` takes it.

    Returns
    -------
    Reference
        The reference.
    """
    return reference if isinstance(reference, Reference) else Reference(reference)


def energy_against_sigma(
    atoms: ase.Atoms,
    sigmas: ArrayLike = SIGMAS,
    reference: Any = "gfn2",
    seed: int = 0,
    kind: str = "gaussian",
    draws: int | None = None,
) -> np.ndarray:
    """E(x + ε) − E(x) for noise of several sizes: at a minimum and for small σ, ½ εᵀHε ∝ σ².

    Parameters
    ----------
    atoms : ase.Atoms
        The clean molecule.
    sigmas : array_like, default `SIGMAS`
        Sizes [s] of the noise in Å.
    reference : Reference, "gfn2", torch.nn.Module or ase calculator, default "gfn2"
        Where the energies come from.
    seed : int, default 0
        Seed of the noise, the same at every σ.
    kind : {"gaussian", "torsional"}, default "gaussian"
        Kind of the noise.
    draws : int, optional
        Number of draws at each σ; by default one, without its axis.

    Returns
    -------
    numpy.ndarray
        Rises [s] in eV, or [draws, s].
    """
    source = as_reference(reference)
    eps = np.stack(
        [displacements(atoms, sigma, seed, kind, draws) for sigma in np.asarray(sigmas, float)],
        axis=-3,
    )  # ([draws,] s, n, 3)
    return source(atoms, atoms.positions + eps)[0] - source(atoms)[0]


def noise_response(
    atoms: ase.Atoms,
    sigmas: ArrayLike,
    reference: Reference | None = None,
    energy: float | None = None,
    model: torch.nn.Module | None = None,
    seed: int = 0,
    kind: str = "gaussian",
) -> dict[str, Any]:
    """What noise of several sizes does to a molecule, and what a network makes of it.

    What cannot be had is None (arrays of vectors) or NaN (numbers), and "notes" hold the reasons.

    Parameters
    ----------
    atoms : ase.Atoms
        The clean molecule of n atoms.
    sigmas : array_like
        Sizes [s] of the noise in Å.
    reference : Reference, optional
        Where energies and forces come from.
    energy : float, optional
        The reference's energy of the clean molecule in eV.
    model : torch.nn.Module, optional
        A model that can denoise.
    seed : int, default 0
        Seed of the noise, the same at every σ.
    kind : {"gaussian", "torsional"}, default "gaussian"
        Kind of the noise.

    Returns
    -------
    dict
        eps and answer [s, n, 3] in Å, forces [s, n, 3] in eV/Å, rise [s] in eV, the cosines
        cos_back_force, cos_answer_noise and cos_answer_force [s], notes, and drawn: whether there
        is noise at all.
    """
    sizes = np.asarray(sigmas, float)
    notes = []
    drawn = True
    try:
        eps = np.stack([displacements(atoms, sigma, seed, kind) for sigma in sizes])
    except ValueError as error:  # of torsional noise, for a crystal
        eps = np.zeros((len(sizes), len(atoms), 3))
        drawn = False
        notes.append(f"No noise: {error}")
    forces = None
    rise = np.full(len(eps), np.nan)
    if reference is not None and energy is not None:
        displaced, forces = reference(atoms, atoms.positions + eps)
        rise = displaced - energy
    answer = None
    if model is not None:
        try:
            answer = denoise(model, atoms, atoms.positions + eps) * sizes[:, None, None]
        except ValueError as error:
            notes.append(f"No answer of the network: {error}")
    back = None if answer is None else -answer
    pairs = {
        "cos_back_force": (-eps, forces),
        "cos_answer_noise": (answer, eps),
        "cos_answer_force": (back, forces),
    }
    cosines = {
        name: np.full(len(eps), np.nan) if a is None or b is None else cosine(a, b)
        for name, (a, b) in pairs.items()
    }
    found = dict(eps=eps, rise=rise, forces=forces, answer=answer, notes=notes, drawn=drawn)
    return found | cosines


def _gfn2() -> Any:
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise ValueError(
            "The reference 'gfn2' needs tblite, which is not installed (Windows and ARM Linux have "
            "no wheels): install it, from conda-forge where need be, or give a trained model as "
            "the reference."
        ) from error
    return TBLite(method="GFN2-xTB", verbosity=0)


def _check_trained_on_energies(model: Any) -> None:
    if not bool(model.energy_head.reference.any()):
        raise ValueError(
            f"This {type(model).__name__} was never trained on energies, so it is no reference for "
            "energies and forces; train it with EnergyForces, or use 'gfn2'."
        )
