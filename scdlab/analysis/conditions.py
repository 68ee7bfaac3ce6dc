"""What a condition does to a conditional model: the noise that is left, and the gates.

    c = embedding(x)              the model's embedding of the clean molecule     `self_embedding`
    ε̂ = σ · model(x + ε | c).noise                                               `answer`
    |ε̂ − ε|² / |ε|²               the share of the noise that is left             `noise_left`
    1 + tanh α(c)                 the factor on each channel of each layer        `gates`

All conditions can be compared on the same draws of the noise. What one draw leaves differs much
from draw to draw, and hardly from condition to condition, so two conditions are to be compared draw
by draw: the error of the mean difference is far below that of either mean.

Self-conditioned denoising: arXiv:2603.17196; gates: `nn/blocks/adaln.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike

from scdlab.analysis.denoising import displacements, unexplained_noise
from scdlab.analysis.inputs import array, batch_at
from scdlab.atoms.neighbors import neighbor_list
from scdlab.nn.model import AtomisticModel, evaluating

DRAWS = 32  # of the noise behind a mean


class MeanAndError(NamedTuple):
    """A mean over draws of the noise, and the standard error of that mean.

    Attributes
    ----------
    mean : float
        The mean.
    error : float
        Its standard error.
    """

    mean: float
    error: float

    @classmethod
    def over(cls, values: np.ndarray) -> "MeanAndError":
        """Mean and standard error of values [draws].

        Parameters
        ----------
        values : numpy.ndarray
            One value a draw.

        Returns
        -------
        MeanAndError
            Of those values.
        """
        return cls(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))


def self_embedding(model: Any, atoms: ase.Atoms) -> np.ndarray:
    """The model's own embedding of a molecule as it stands, without regularizing noise.

    Parameters
    ----------
    model : AtomisticModel
        A conditional model.
    atoms : ase.Atoms
        The molecule.

    Returns
    -------
    numpy.ndarray
        The embedding [d].

    Raises
    ------
    ValueError
        For a model that takes no condition, and for elements that it was not trained on.
    """
    check_conditional(model)
    batch = batch_at(model, atoms, atoms.positions)
    with evaluating(model), torch.no_grad():
        return model(batch, noise=False).embedding[0].double().cpu().numpy()


def mixed(own: ArrayLike, other: ArrayLike, mix: float) -> np.ndarray:
    """(1 − mix) · own + mix · other: exactly `own` at 0 and `other` at 1.

    Parameters
    ----------
    own, other : array_like
        Two conditions [d].
    mix : float
        The share of `other`, from 0 to 1.

    Returns
    -------
    numpy.ndarray
        The mixture [d].

    Raises
    ------
    ValueError
        For a share outside 0 … 1.
    """
    if not 0 <= mix <= 1:
        raise ValueError(
            f"mix, the other molecule's share in the condition, must be between 0 and 1, got {mix}."
        )
    return (1 - mix) * array(own) + mix * array(other)


def answer(
    model: Any, atoms: ase.Atoms, pos: ArrayLike, condition: ArrayLike | None = None
) -> np.ndarray:
    """The network's answer ε̂/σ under a condition.

    Parameters
    ----------
    model : AtomisticModel
        A conditional model.
    atoms : ase.Atoms
        The molecule.
    pos : array_like
        Displaced positions [..., n, 3] in Å.
    condition : array_like, optional
        One vector [d] for all of them; by default the mask token.

    Returns
    -------
    numpy.ndarray
        The answer in units of σ, of the shape of `pos`.

    Raises
    ------
    ValueError
        As for `self_embedding`, and for a condition of another width.
    """
    return _answers(model, atoms, np.asarray(pos, float), [condition])[0]


def shares_left(
    model: Any,
    atoms: ase.Atoms,
    sigma: float,
    condition: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> np.ndarray:
    """|ε̂ − ε|² / |ε|² of each of several draws of the noise.

    0 is perfect, and 1 what the blind guess ε̂ = 0 gets. Equal seeds give the same draws whatever
    the condition, so that two conditions can be compared draw by draw.

    Parameters
    ----------
    model : AtomisticModel
        A conditional model.
    atoms : ase.Atoms
        The clean molecule, of two atoms or more.
    sigma : float
        Size of the noise in Å.
    condition : array_like, optional
        One vector [d]; by default the mask token.
    seed : int, default 0
        Seed of the noise.
    draws : int, default 32
        Number of draws.

    Returns
    -------
    numpy.ndarray
        Shares [draws].

    Raises
    ------
    ValueError
        As for `answer`, for a sigma that is not positive, and for a single atom.
    """
    return shares_left_under(model, atoms, sigma, [condition], seed, draws)[0]


def shares_left_under(
    model: Any,
    atoms: ase.Atoms,
    sigma: float,
    conditions: Sequence[ArrayLike | None],
    seed: int = 0,
    draws: int = DRAWS,
) -> np.ndarray:
    """`shares_left` under several conditions, on the same draws: their neighbors are searched once.

    Parameters
    ----------
    model, atoms, sigma, seed, draws
        As for `shares_left`.
    conditions : sequence
        Vectors [d]; None is the mask token.

    Returns
    -------
    numpy.ndarray
        Shares [conditions, draws].

    Raises
    ------
    ValueError
        As for `shares_left`.
    """
    if len(atoms) < 2:
        raise ValueError(
            "A single atom cannot be displaced against others, so there is no noise to be left: "
            "choose a molecule of two atoms or more."
        )
    eps = displacements(atoms, sigma, seed, draws=draws)
    answers = _answers(model, atoms, atoms.positions + eps, conditions)
    return np.stack([unexplained_noise(sigma * each, eps) for each in answers])


def noise_left(
    model: Any,
    atoms: ase.Atoms,
    sigma: float,
    condition: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> MeanAndError:
    """The share of the noise that is left under a condition: its mean over several draws.

    Parameters
    ----------
    model, atoms, sigma, condition, seed
        As for `shares_left`.
    draws : int, default 32
        Number of draws, 2 or more.

    Returns
    -------
    MeanAndError
        The mean over the draws, and its standard error.

    Raises
    ------
    ValueError
        As for `shares_left`, and for fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"A standard error needs 2 draws of the noise or more, got {draws}.")
    return MeanAndError.over(shares_left(model, atoms, sigma, condition, seed, draws))


def gates(model: Any, atoms: ase.Atoms, condition: ArrayLike | None = None) -> np.ndarray:
    """The gates 1 + tanh α that a condition sets, from 0 to 2.

    A gate is the factor of what a layer adds to a channel: 1 as without adaLN, 0 closed. Every atom
    has its own, since adaLN reads its features too; these are means over the molecule's atoms.

    Parameters
    ----------
    model : AtomisticModel
        A conditional model.
    atoms : ase.Atoms
        The molecule.
    condition : array_like, optional
        One vector [d]; by default the mask token.

    Returns
    -------
    numpy.ndarray
        Gates [layers, width], one for each channel that a layer's scalars have.

    Raises
    ------
    ValueError
        As for `answer`.
    """
    c = _as_condition(model, condition)
    batch = batch_at(model, atoms, atoms.positions)
    means = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, out: means.append(out[2].mean(0)))
        for layer in model.adaln
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(batch, c, noise=False)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(means).double().cpu().numpy()


def check_conditional(model: Any) -> None:
    """Refuse what is no conditional model of scdlab.

    Parameters
    ----------
    model : AtomisticModel
        The model.

    Raises
    ------
    ValueError
        For any other object, and for a model without a condition.
    """
    if not isinstance(model, AtomisticModel) or model.adaln is None:
        raise ValueError(
            "ConditionExplorer and its functions take a conditional model of scdlab, such as "
            f"EquivariantTransformer(conditional=True), got {type(model).__name__}."
        )


def _answers(
    model: Any, atoms: ase.Atoms, pos: np.ndarray, conditions: Sequence[ArrayLike | None]
) -> list[np.ndarray]:
    """`answer` to positions [..., n, 3] under each condition."""
    each = [_as_condition(model, condition) for condition in conditions]
    batch = batch_at(model, atoms, pos)
    pairs = neighbor_list(batch, model.cutoff)
    found = []
    with evaluating(model), torch.no_grad():
        for c in each:
            c = None if c is None else c.expand(batch.num_graphs, -1)
            eps = model(batch, c, noise=True, pairs=pairs).noise
            found.append(eps.double().cpu().numpy().reshape(pos.shape))
    return found


def _as_condition(model: Any, condition: ArrayLike | None) -> torch.Tensor | None:
    """The condition as the model takes it, [1, d]; None stays None."""
    check_conditional(model)
    if condition is None:
        return None
    vector = array(condition)
    if vector.shape != (model.hidden_channels,) or not np.isfinite(vector).all():
        raise ValueError(
            f"The condition must be one vector of {model.hidden_channels} finite numbers, the "
            f"model's width, got the shape {list(vector.shape)}."
        )
    return torch.from_numpy(vector[None]).to(model.mask_token)
