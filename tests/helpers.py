"""What several test files share: batches of given structures, rotations, and small networks.

A network starts from seed 0, so that each test sees the same weights whatever ran before it.
"""

import ase
import numpy as np
import torch
from ase.build import molecule
from torch_geometric.data import Batch

import scdlab


def as_atoms(structure: ase.Atoms | str) -> ase.Atoms:
    """Atoms as they are; a name as ase's molecule of this name."""
    return molecule(structure) if isinstance(structure, str) else structure


def stored_batch(*structures: ase.Atoms | str) -> Batch:
    """A batch as a store gives it, positions in float32."""
    return scdlab.AtomStore.from_ase([as_atoms(each) for each in structures]).take(
        range(len(structures))
    )


def batch_of(*structures: ase.Atoms | str) -> Batch:
    """A batch in float64 to the last digit, which a store would round."""
    structures = [as_atoms(each) for each in structures]
    batch = stored_batch(*structures)
    batch.pos = torch.from_numpy(np.concatenate([each.get_positions() for each in structures]))
    if batch.get("cell") is not None:
        batch.cell = torch.from_numpy(np.stack([each.cell.array for each in structures]))
    return batch


def rattled(structure: ase.Atoms | str = "CH3CH2OH", seed: int = 0, amount: float = 0.05):
    """The atoms, displaced in place at random by `amount` in Å."""
    atoms = as_atoms(structure)
    atoms.rattle(amount, seed=seed)
    return atoms


def rotation(seed: int) -> np.ndarray:
    """A random proper rotation (3, 3)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.linalg.det(q)


def rotated(batch: Batch, q: torch.Tensor, shift: float = 0.0) -> Batch:
    """A copy of the batch, turned by q (3, 3) and shifted, cells too."""
    other = batch.clone()
    other.pos = batch.pos @ q.T + shift
    if "cell" in batch:
        other.cell = batch.cell @ q.T
    return other


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of random numbers at this seed."""
    return torch.Generator().manual_seed(seed)


def perturbed(net, seed: int | None = None, amount: float = 0.1, modulations: float | None = None):
    """The network with all weights moved in place, as in the middle of training: some are zero at
    the start. `modulations`: by how much those of adaptive layer norm; seed None: the random state
    as it is."""
    if seed is not None:
        torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            own = modulations is not None and "lin2" in name and "adaln" in name
            p.add_((modulations if own else amount) * torch.randn_like(p))
    return net


def is_subnormal(x: torch.Tensor) -> bool:
    """Whether any of the numbers is too small to be a normal one."""
    if not x.is_floating_point():
        return False
    return bool(((x != 0) & (x.abs() < torch.finfo(x.dtype).tiny)).any())


def schnet(**settings) -> scdlab.SchNet:
    """A small SchNet from seed 0."""
    torch.manual_seed(0)
    return scdlab.SchNet(**(dict(hidden_channels=16, num_layers=2, num_rbf=16) | settings))


def conditional_schnet(**settings) -> scdlab.SchNet:
    """The same with adaptive layer norm."""
    return schnet(**(dict(conditional=True) | settings))


def ct(**settings) -> scdlab.EquivariantTransformer:
    """A small conditional transformer from seed 0."""
    torch.manual_seed(0)
    small = dict(hidden_channels=16, num_layers=2, num_heads=2, num_rbf=12, conditional=True)
    return scdlab.EquivariantTransformer(**(small | settings))


def pet(**settings) -> scdlab.PET:
    """A small PET from seed 0."""
    torch.manual_seed(0)
    small = dict(hidden_channels=8, num_layers=1, num_attention_layers=1, num_heads=2, cutoff=3.5)
    return scdlab.PET(**(small | settings))


def conditional_pet(**settings) -> scdlab.PET:
    """The same with adaptive layer norm."""
    return pet(**(dict(conditional=True) | settings))


def tensor_product(**settings) -> scdlab.TensorProductNet:
    """A small conditional tensor product network from seed 0."""
    torch.manual_seed(0)
    small = dict(hidden_channels=16, num_layers=2, lmax=1, num_rbf=6, conditional=True)
    return scdlab.TensorProductNet(**(small | settings))
