# %% [markdown]
# # 01 · SchNet: convolutions without a grid
#
# **After this lesson you can**
#
# - write a continuous-filter convolution, and from it a whole SchNet with its training loop;
# - explain why distances are fed through a radial basis, and show what happens without it;
# - say what forces are worth as labels, and what depth and cutoff let a network see;
# - judge a force field by more than its error: against the cheapest answer, on molecules it has
#   never seen, and by the work its forces do around a closed loop.
#
# **Time.** An hour to read and write. Quick profile: two minutes on two CPU cores. The full profile
# trains larger networks for much longer and is meant for a GPU; before each training, `fit` says
# how long it will take.
#
# **Paper.** K. T. Schütt, P.-J. Kindermans, H. E. Sauceda, S. Chmiela, A. Tkatchenko, K.-R. Müller,
# *SchNet: A continuous-filter convolutional neural network for modeling quantum interactions*,
# NeurIPS 2017, [arXiv:1706.08566](https://arxiv.org/abs/1706.08566). Terms and symbols are in the
# [glossary](glossary.md).

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": two minutes on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import math

import ase
import numpy as np
import torch
from ase import units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from torch import nn

import scdlab
from scdlab import claims, explore, lessons
from scdlab.nn.ops import neighbor_sums
from scdlab.objectives import EnergyForces

SIZES = {
    "quick": dict(width=32, blocks=2, lr=5e-3, steps=800, short_steps=300, qm9_steps=150, md_steps=1000),
    "full": dict(width=128, blocks=6, lr=1e-3, steps=20000, short_steps=4000, qm9_steps=30000, md_steps=4000),
}  # fmt: skip
S = SIZES[PROFILE]  # steps of training, and of dynamics

# %% [markdown]
# ## The idea
#
# An image is a grid, so a convolution needs one weight for each of a few *grid offsets*. Atoms sit
# anywhere. There is no list of offsets, so there can be no list of weights.
#
# SchNet's answer: let a small network *generate* the weight for whatever distance occurs. Atom $i$
# carries a vector of $d$ numbers, its **features** $x_i \in \mathbb{R}^d$, each of which is called
# a **channel**. They start as a learned vector of the element. One **continuous-filter
# convolution** (`cfconv`) is
#
# $$ y_i = \sum_{j \neq i} x_j \circ W(r_{ij}), $$
#
# where $r_{ij}$ is the distance between atoms $i$ and $j$, the **filter** $W(r) \in \mathbb{R}^d$
# comes from the small network, and $\circ$ multiplies channel by channel. The sum runs over the
# neighbors of $i$, the atoms within a cutoff of 5 Å.
#
# Here is one channel of an untrained filter, to be drawn on a plane through an atom.

# %%
guess_shape = lessons.predict(
    "What shape has a filter of SchNet around an atom?",
    choices=["rings", "lobes, up and down", "any shape, once it is trained"],
    name="01-filter-shape",
    stored="any shape, once it is trained",
)

# %%
torch.manual_seed(SEED)
model = scdlab.SchNet(hidden_channels=S["width"], num_layers=S["blocks"])
guess_shape.reveal("rings")
explore.described(
    explore.filter_cuts(model, interaction=0, channel=0),
    "One channel of a filter on a plane through an atom: concentric rings, since it depends on "
    "nothing but the distance.",
)

# %% [markdown]
# Rings, before and after training. $W$ is a function of *one* number, the distance, so it cannot
# tell up from down. That is a limit, to which we come back, and a gift: however the molecule is
# rotated, the filters give the same values.
#
# ## Write it: the convolution
#
# A filter is the same from $i$ to $j$ as from $j$ to $i$. So each pair is stored once, its filter
# is computed once, and it is used in both directions: `i` and `j` are lists of atoms, [P] each, and
# pair number `p` joins `i[p]` and `j[p]`. Given features `x` [N, d] and filters `W` [P, d], return
# $y$ [N, d].


# %%
def cfconv(x, W, i, j):
    return ...


lessons.check_cfconv(cfconv)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def cfconv_solution(x, W, i, j):
    out = torch.zeros_like(x)
    out = out.index_add(0, i, W * x[j])  # what atom i receives from j
    return out.index_add(0, j, W * x[i])  # what atom j receives from i


assert lessons.check_cfconv(cfconv_solution, show=False)

# %%
cfconv = lessons.yours(cfconv, cfconv_solution, check=lessons.check_cfconv)

ethanol = scdlab.load_ethanol()
batch = ethanol.take([0, 1, 2])  # three frames
pairs = scdlab.neighbor_list(batch, cutoff=5.0)
r = (batch.pos[pairs.j] - batch.pos[pairs.i]).norm(dim=1)  # (P) Å
W = model.filter_curves(r)[0]  # (P, d), the filters of the first block at these distances
x = model.embedding(batch.z)  # (N, d)
library = neighbor_sums.cfconv(x, W, neighbor_sums.DirectedEdges(pairs, len(x)))
difference = (cfconv(x, W, pairs.i, pairs.j) - library).abs().max().item()
print(f"{len(batch.z)} atoms, {len(pairs.i)} pairs; difference from the library {difference:.0e}")

# %% [markdown]
# ## Write it: what the filter network reads
#
# The filter network is a **multilayer perceptron** (MLP): two linear maps with an activation
# between them. It does not read $r$ itself but a radial basis of bumps,
# $e_k(r) = \exp(-\gamma (r - \mu_k)^2)$.
#
# **The basis.** Expand distances `r` [P] in Gaussians at `centers` [K] with exponent `gamma`: [P,
# K].


# %%
def basis(r, centers, gamma):
    return ...


lessons.check_rbf(basis)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def basis_solution(r, centers, gamma):
    return torch.exp(-gamma * (r[:, None] - centers) ** 2)


assert lessons.check_rbf(basis_solution, show=False)

# %% [markdown]
# **The activation.** SchNet uses the **shifted softplus**,
# $\mathrm{ssp}(x) = \ln(\tfrac12 e^x + \tfrac12)$: for large $x$ a line of slope 1, for very
# negative $x$ a constant, and smooth between. It must be smooth because a force is the *derivative*
# of the network: a kink in the activation, as the ReLU has, would be a jump of the force. Write it
# so that it and its derivative survive $x = 200$ and $x = -200$.


# %%
def ssp(x):
    return ...


lessons.check_ssp(ssp)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def ssp_solution(x):
    return nn.functional.softplus(x) - math.log(2.0)  # softplus(x) = ln(1 + e^x)


assert lessons.check_ssp(ssp_solution, show=False)

# %%
basis = lessons.yours(basis, basis_solution, check=lessons.check_rbf)
ssp = lessons.yours(ssp, ssp_solution, check=lessons.check_ssp)

# %% [markdown]
# ## Break it: the distance without a basis
#
# Why the bumps? A network that is fed $r$ alone starts out almost linear in $r$. All its filters
# look alike, and so do their gradients. The paper reports that training then gets stuck on a
# **plateau** at its beginning. We train two networks that differ in nothing else: same data, same
# first weights of everything else, same steps.

# %%
guess_plateau = lessons.predict(
    "How many times as many steps does the raw distance need until its loss has halved?",
    name="01-plateau",
    stored=2,
)

# %%
train, val, test = ethanol.split(200, 100, seed=SEED)
test = test.sample(300, seed=SEED)
TRAIN = dict(batch_size=10, lr=S["lr"], seed=SEED, device=DEVICE)  # for every training below


def fresh(**options):
    """A new SchNet; the same weights at the start whenever SEED is the same."""
    torch.manual_seed(SEED)
    return scdlab.SchNet(hidden_channels=S["width"], num_layers=S["blocks"], **options)


history = {}
halved = {}
for name, kind in (("raw distance", "none"), ("Gaussian basis", "gaussian")):
    run = scdlab.fit(
        fresh(basis=kind), EnergyForces(), train, steps=S["short_steps"], log_every=5, **TRAIN
    )
    history[name] = run.history
    halved[name] = claims.schnet.steps_to_halve(run.history["step"], run.history["loss"])
plateau_ratio = halved["raw distance"] / halved["Gaussian basis"]
later = "not within" if halved["raw distance"] >= S["short_steps"] - 5 else "after"
print(f"loss halved after {halved['Gaussian basis']:.0f} steps with the basis,")
print(f"{later} {halved['raw distance']:.0f} steps with the raw distance")
guess_plateau.reveal(plateau_ratio)
explore.described(
    explore.learning_curve(
        history, quantity="force_mae", unit="eV/Å", title="The distance as it is, or in bumps"
    ),
    f"Force error against step. The loss has halved after {halved['Gaussian basis']:.0f} steps with "
    f"the basis; with the raw distance the curve is flat for most of {S['short_steps']} steps.",
)

# %%
claims.compare(
    "schnet-rbf-plateau",
    {
        "steps_to_halve_loss_gaussian": halved["Gaussian basis"],
        "steps_to_halve_loss_raw": halved["raw distance"],
    },
)

# %% [markdown]
# The flat stretch at the beginning of the upper curve is the plateau; the lower one has none.
# (Where the loss has not halved by the end of the run, the ratio is a lower bound.)
#
# You will meet such a table for every claim: the paper, what we recorded, and you. Your numbers
# come from one short run with one seed, so do not expect them to match a record, which names its
# own conditions; expect the same trend. If yours differs, that is worth reporting.
# `scdlab claims run schnet-rbf-plateau --profile cpu` makes a proper measurement, with three seeds.
#
# ## The whole network
#
# Two more pieces, and SchNet is complete. A **cutoff function**
# $c(r) = \tfrac12(\cos(\pi r / r_c) + 1)$ multiplies each filter, so that a neighbor fades out
# smoothly as it leaves the sphere of radius $r_c$. And a **block** wraps the convolution in linear
# maps and adds its result to the features,
#
# $$ x_i \leftarrow x_i + B\,\mathrm{ssp}\bigl(A \sum_{j \neq i} (L x_j) \circ W(r_{ij}) + a\bigr) +
# b , $$
#
# with $A$, $B$, $L$ learned matrices and $a$, $b$ learned vectors. There are $T$ such blocks, each
# with weights of its own. In the end another MLP, the read-out, makes one number of each atom's
# features, and the energy is their sum, $E = \sum_i \mathrm{MLP}(x_i)$.
#
# A total energy is a large number, about −309 eV for ethanol at this level of theory, of which only
# the last digits change with the geometry. A **reference energy** for each element, fitted by least
# squares before training, absorbs the constant part, so that the network learns only what depends
# on geometry. And a `scale`, taken from the size of the forces, lets it work with numbers near 1.
#
# Here it is, made of your functions. `z` [N] are atomic numbers, `molecule` [N] says which molecule
# an atom belongs to.


# %%
class SSP(nn.Module):
    def forward(self, x):
        return ssp(x)


class Block(nn.Module):
    def __init__(self, d, K):
        super().__init__()
        self.filter = nn.Sequential(nn.Linear(K, d), SSP(), nn.Linear(d, d))
        self.lin_in = nn.Linear(d, d, bias=False)
        self.update = nn.Sequential(nn.Linear(d, d), SSP(), nn.Linear(d, d))

    def forward(self, x, bumps, c, i, j):
        W = self.filter(bumps) * c  # (P, K) -> (P, d)
        y = cfconv(self.lin_in(x), W, i, j)  # (N, d)
        return x + self.update(y)


class VisibleSchNet(nn.Module):
    def __init__(self, d, T, K=50, cutoff=5.0):
        super().__init__()
        self.cutoff = cutoff
        self.gamma = 0.5 * ((K - 1) / cutoff) ** 2
        self.embedding = nn.Embedding(119, d)
        self.blocks = nn.ModuleList(Block(d, K) for _ in range(T))
        self.readout = nn.Sequential(nn.Linear(d, d // 2), SSP(), nn.Linear(d // 2, 1))
        self.register_buffer("centers", torch.linspace(0, cutoff, K))
        self.register_buffer("reference", torch.zeros(119, dtype=torch.float64))  # eV
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV

    def forward(self, z, pos, i, j, molecule):
        r = (pos[j] - pos[i]).norm(dim=1)  # (P) Å
        bumps = basis(r, self.centers, self.gamma)  # (P, K)
        c = 0.5 * (torch.cos(math.pi * r / self.cutoff) + 1)[:, None]  # (P, 1)
        x = self.embedding(z)  # (N, d)
        for block in self.blocks:
            x = block(x, bumps, c, i, j)
        energy = self.readout(x)[:, 0].double() * self.scale + self.reference[z]  # (N) eV
        return energy.new_zeros(int(molecule.max()) + 1).index_add(0, molecule, energy)  # (B) eV


# %% [markdown]
# ## Write it: the forces
#
# The force on an atom is the exact derivative of the energy,
# $\mathbf{F}_i = -\partial E / \partial \mathbf{r}_i$. Given energies `E` [B] that were computed
# from `pos` [N, 3], return the forces [N, 3]. Two things to mind: the sign, and that the forces
# will be part of a loss, which must be differentiated *again*, with respect to the weights.


# %%
def forces(E, pos):
    return ...


lessons.check_force(forces)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def forces_solution(E, pos):
    return -torch.autograd.grad(E.sum(), pos, create_graph=True)[0]


assert lessons.check_force(forces_solution, show=False)

# %%
forces = lessons.yours(forces, forces_solution, check=lessons.check_force)

# %% [markdown]
# **Is it SchNet?** Give your network the weights of the library's, and compare energies and forces
# of ten frames.

# %%
ten = train.sample(10, seed=SEED)
batch = ten.take(range(10))
pairs = scdlab.neighbor_list(batch, cutoff=5.0)
structure = (pairs.i, pairs.j, batch.batch)

model = fresh()
EnergyForces().prepare(model, ten)  # fits the reference energies and the scale
RENAMED = {
    "energy_head.mlp": "readout", "energy_head.": "", "basis.": "", "filter.lin1": "filter.0",
    "filter.lin2": "filter.2", "lin_out1": "update.0", "lin_out2": "update.2",
}  # fmt: skip


def copy_weights(model, mine):
    """Give my network the weights of a library's SchNet."""
    weights = {}
    for name, value in model.state_dict().items():
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        weights[name] = value.clone()
    assert not mine.load_state_dict(weights, strict=False).missing_keys


mine = VisibleSchNet(S["width"], S["blocks"])
copy_weights(model, mine)
pos = batch.pos.clone().requires_grad_()
E = mine(batch.z, pos, *structure)
out = model(batch, forces=True)
energy_difference = ((E - out.energy).abs().max() / model.energy_head.scale).item()
force_difference = ((forces(E, pos) - out.forces).norm() / out.forces.norm()).item()
print(
    f"energies differ by {energy_difference:.0e} of their scale, forces by {force_difference:.0e}"
)

# %% [markdown]
# The difference is rounding in single precision. What the library adds is speed (sums over
# neighbors in one pass over memory, and the filter tables of the appendix, lesson 01b), periodic
# cells and checks of what goes in; the mathematics is what you have written.
#
# ## The training loop
#
# The loss weighs squared errors of energies against those of forces (paper, section 4.2):
#
# $$ L = \rho \, (E - \hat{E})^2
# + \frac{1}{n} \sum_{i=1}^{n} \left\| \mathbf{F}_i + \frac{\partial \hat{E}}{\partial \mathbf{r}_i}
# \right\|^2, \qquad \rho = 0.01. $$
#
# The loop takes eight lines. To compare it with `scdlab.fit` we let both do the same thing: all ten
# frames in every step, the same optimizer (Adam), a constant learning rate, nothing else.


# %%
def loop(net, batch, structure, steps, lr=1e-3, rho=0.01):
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        pos = batch.pos.clone().requires_grad_()
        E = net(batch.z, pos, *structure)  # (B)
        F = forces(E, pos)  # (N, 3)
        loss = rho * (E - batch.energy).square().mean()
        loss = loss + (F - batch.forces).square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


my_losses = loop(mine, batch, structure, steps=30)
plain = dict(schedule="constant", warmup=0, ema_decay=None, grad_clip=None, log_every=1)
same = dict(steps=30, batch_size=10, lr=1e-3, seed=SEED, device="cpu", progress=False)
library_losses = scdlab.fit(fresh(), EnergyForces(), ten, **plain, **same).history["loss"]
first = abs(my_losses[0] / library_losses[0] - 1)
last = abs(my_losses[-1] / library_losses[-1] - 1)
print(f"loss: {my_losses[0]:.3f} at the first step, {my_losses[-1]:.3f} at the last")
print(f"differences from the library's: {first:.0e} at the first step, {last:.0e} at the last")

# %% [markdown]
# Eight lines, and the losses agree to rounding. `fit` adds to this: batches drawn at random, a
# learning rate that falls towards the end, an average over the last weights,
# [checkpoints](glossary.md#checkpoint) and a validation set.
#
# ## Train: energies and forces of ethanol
#
# From here on we train the library's network. **Predict**, for 200 training frames:

# %%
guess_energy = lessons.predict(
    "Energy error of the trained network, divided by that of always guessing the mean?",
    unit="%",
    name="01-energy-error",
    stored=10,
)

# %%
model = fresh()
grid = torch.linspace(0.9, 4.6, 371)  # Å
before = model.filter_curves(grid)[0]  # (R, d)
result = scdlab.fit(model, EnergyForces(), train, val, steps=S["steps"], **TRAIN)
model.cpu()
errors = scdlab.evaluate(model, test)
true_forces = test.take(range(len(test))).forces
no_force = float(true_forces.abs().mean())
mean_energy = float(np.abs(np.asarray(test.energy) - np.mean(train.energy)).mean())
guess_energy.reveal(100 * errors["energy_mae"] / mean_energy)
print(
    f"energy: {1e3 * errors['energy_mae']:.0f} meV; guessing the mean {1e3 * mean_energy:.0f} meV"
)
print(f"forces: {1e3 * errors['force_mae']:.0f} meV/Å; guessing none {1e3 * no_force:.0f} meV/Å")
explore.described(
    explore.learning_curve(
        result.history, quantity="force_mae", unit="eV/Å", title="SchNet on 200 frames of ethanol"
    ),
    f"Force error against step; on test frames it ends at {1e3 * errors['force_mae']:.0f} meV/Å.",
)

# %% [markdown]
# Each error stands beside the cheapest answer, and that is how to read it. Good models of one small
# molecule reach a few meV on this kind of test. What about **chemical accuracy**, 1 **kcal/mol**?
# It is the accuracy at which computed *reaction* and *atomization* energies become useful beside
# experiment. Nearly all of ethanol's frames lie within a few tenths of an eV, so even a poor model
# of them comes close to it: the wrong yardstick. It is the right one for QM9, below, so convert it.
#
# **Write it.** Papers quote kcal/mol, we use meV. One kcal is 4184 J, a mole holds 6.022 × 10²³
# molecules, and one eV is 1.602 × 10⁻¹⁹ J. (The library keeps the result as
# `scdlab.units.KCAL_MOL`, in eV.)


# %%
def to_meV(kcal_per_mol):
    return ...


lessons.check_units(to_meV)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def to_meV_solution(kcal_per_mol):
    return kcal_per_mol * 4184 / 6.02214e23 / 1.602177e-19 * 1000


assert lessons.check_units(to_meV_solution, show=False)

# %%
to_meV = lessons.yours(to_meV, to_meV_solution, check=lessons.check_units)
out = model(test.take(range(100)), forces=True)
explore.described(
    explore.parity_plot(
        true_forces[: len(out.forces)], out.forces, unit="eV/Å", quantity="force",
        title="Forces on 100 test frames",
    ),
    "Predicted against true force components of 100 test frames: points along the diagonal, from "
    f"{true_forces.min():.0f} to {true_forces.max():.0f} eV/Å.",
)  # fmt: skip

# %% [markdown]
# Now the filters again. Before training they were random smooth curves. Where a filter is steep,
# the network distinguishes distances.

# %%
REGIONS = {
    "bonds to hydrogen (0.95 to 1.2 Å)": (0.95, 1.2),
    "bonds of C and O (1.35 to 1.65 Å)": (1.35, 1.65),
    "second neighbors (1.9 to 2.6 Å)": (1.9, 2.6),
    "further atoms (3 to 4.5 Å)": (3.0, 4.5),
}
guess_steep = lessons.predict(
    "Where did training make the filters of the first block steeper the most?",
    choices=list(REGIONS),
    name="01-filter-steepest",
    stored="second neighbors (1.9 to 2.6 Å)",
)


# %%
def steepness(curves):
    return (curves[1:] - curves[:-1]).abs().mean(dim=1) / (grid[1] - grid[0])  # (R - 1)


gained = steepness(model.filter_curves(grid)[0]) - steepness(before)
gain = {
    region: gained[(grid[1:] > low) & (grid[1:] < high)].mean().item()
    for region, (low, high) in REGIONS.items()
}
steepest = max(gain, key=gain.get)
guess_steep.reveal(steepest)
for region, more in gain.items():
    print(f"{region:35s} slope of the filters grew by {more:.2f} per Å")
filters = explore.FilterExplorer(model)
explore.described(
    filters,
    "Curves of the learned filters against distance, by block and channel, and their rings. "
    f"Training made the first block's filters steeper most at {steepest}.",
)
filters

# %% [markdown]
# Bonds are stiff: a few hundredths of an ångström there cost as much energy as tenths elsewhere, so
# that is where filters have to be steep. In the explorer, compare the curves at 1.1 Å (C–H bonds),
# 1.5 Å (C–C and C–O bonds) and 2.2 Å (neighbors of neighbors, whose distances measure angles),
# channel by channel.
#
# ## What forces are worth
#
# A frame of ethanol has one energy. How many *independent* numbers do its energy and its
# $3 \times 9 = 27$ force components hold together?
#
# **Write it: a derivation.** Think of the symmetries of the energy: what do they say about the sum
# of all forces, and of all [torques](glossary.md#torque) $\mathbf{r}_i \times \mathbf{F}_i$? Count
# for $n$ atoms (not all in a line).


# %%
def independent_labels(n):
    return ...


lessons.check_independent_labels(independent_labels)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def independent_labels_solution(n):
    # moving all atoms costs nothing: three sums vanish; nor does rotating them: three torques
    return 3 * n - 6 + 1  # forces, and the energy


assert lessons.check_independent_labels(independent_labels_solution, show=False)

# %%
independent_labels = lessons.yours(
    independent_labels, independent_labels_solution, check=lessons.check_independent_labels
)
sums = true_forces.view(-1, 9, 3).sum(dim=1).abs().max().item()
print(f"largest net force in the data: {sums:.0e} eV/Å")
print(f"independent labels of a frame: {independent_labels(9)}, against 1 with energies alone")

# %% [markdown]
# By this count one frame with forces should be worth about 22 frames with energies alone. Is it?
# All trainings below have the same network, number of steps and batch size.

# %%
guess_forces = lessons.predict(
    "How many frames with energies alone are as good as one frame with forces?",
    name="01-worth-of-forces",
    stored=5,
)

# %%
counts = {"energies + forces": (10, 30, 100), "energies only": (100, 300, 1000)}
held = ethanol.split(1000, 0, seed=SEED)[2].sample(300, seed=SEED)
curve = {name: {} for name in counts}
for name, sizes in counts.items():
    for n in sizes:
        few = ethanol.split(1000, 0, seed=SEED)[0].sample(n, seed=SEED)
        net = fresh()
        objective = EnergyForces(forces=name == "energies + forces")
        scdlab.fit(net, objective, few, steps=S["steps"], progress=False, **TRAIN)
        curve[name][n] = 1e3 * scdlab.evaluate(net, held)["energy_mae"]
mean_held = 1e3 * float(np.abs(np.asarray(held.energy) - np.mean(train.energy)).mean())
axis = (10, 30, 100, 300, 1000)
drawn = {name: [points.get(n, np.nan) for n in axis] for name, points in curve.items()}
drawn["guess the mean"] = [mean_held] * len(axis)
worth = curve["energies + forces"][30] / curve["energies only"][300]
target = np.log(curve["energies + forces"][10])  # where do energies alone reach this error?
reached = sorted((np.log(error), np.log(n)) for n, error in curve["energies only"].items())
equal = float(np.exp(np.interp(target, *np.array(reached).T)))
guess_forces.reveal(equal / 10)
print(f"10 frames with forces are as good as some {equal:.0f} with energies alone")
text = [
    f"{name}: " + ", ".join(f"{error:.0f} meV at {n}" for n, error in points.items())
    for name, points in curve.items()
]
print("\n".join(text))
figure = explore.compare_curves(
    axis, drawn, "training frames", "energy MAE", "", "meV", "What forces are worth", log="x"
)
figure.update_yaxes(rangemode="tozero")
explore.described(
    figure,
    f"Energy error against training frames. {'; '.join(text)}. The mean: {mean_held:.0f} meV.",
)

# %%
claims.compare(
    "schnet-forces-few-labels",
    {
        "energy_mae_few_with_forces_meV": curve["energies + forces"][100],
        "energy_mae_many_energies_meV": curve["energies only"][1000],
    },
)

# %% [markdown]
# That is the figure read sideways: at one height, how many frames does each curve need? Ten frames
# with forces do what takes hundreds of energies. The count of labels gives the right order of
# magnitude, and no more than that: a force says how the surface slopes where the atoms are, an
# energy only how high it is. Where a curve flattens, the short training is the limit and not the
# data; the record in the table is of longer trainings. Look at its force errors too: on ten times
# as many frames, the model of energies alone has forces several times worse. And forces are cheap
# labels: a quantum-chemical calculation gives all of them for about the price of one more energy.
#
# ## Depth, cutoff, and what SchNet cannot see
#
# It is often said that stacking blocks lets an atom see the neighbors of its neighbors. In ethanol
# there is nothing more to reach: at 5 Å all 36 pairs are neighbors already. Depth buys something
# else. In the first block, atom $i$ receives from each neighbor its element and its distance, and
# no more. In the second, the neighbor's features hold *its* distances. So only then does atom $i$
# learn how far its neighbors are from each other, and with it the angle between them.
#
# Watch the features of the oxygen in a molecule H–O–H, bent to 90° or straight.


# %%
def features(net, atoms):
    """Features of all atoms [N, d] before the first block, and after each."""
    batch = scdlab.AtomStore.from_ase([atoms]).take([0])
    pairs = scdlab.neighbor_list(batch, cutoff=net.cutoff)
    r = (batch.pos[pairs.j] - batch.pos[pairs.i]).norm(dim=1)
    bumps = basis(r, net.centers, net.gamma)
    c = 0.5 * (torch.cos(math.pi * r / net.cutoff) + 1)[:, None]
    steps = [net.embedding(batch.z)]
    for block in net.blocks:
        steps.append(block(steps[-1], bumps, c, pairs.i, pairs.j))
    return steps


bent = ase.Atoms("OHH", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
straight = ase.Atoms("OHH", [[0, 0, 0], [1, 0, 0], [-1, 0, 0]])
seen = {}
for cutoff in (5.0, 1.2):
    torch.manual_seed(SEED)
    net = VisibleSchNet(32, T=3, cutoff=cutoff)
    change = [
        (a[0] - b[0]).abs().max().item()
        for a, b in zip(features(net, bent), features(net, straight), strict=True)
    ]
    seen[cutoff] = change
    print(f"cutoff {cutoff} Å: features of O differ after 0, 1, 2, 3 blocks by", end=" ")
    print(", ".join(f"{size:.0e}" for size in change))

# %% [markdown]
# After one block the oxygen cannot distinguish the two, after two it can. With a cutoff of 1.2 Å,
# which leaves out the distance between the hydrogens, it never can, at any depth. So what a network
# of distances sees depends on which distances there are.
#
# **Break it.** Six carbon atoms, each with two neighbors at 1.4 Å: in *one* hexagon, or in *two*
# triangles far apart.

# %%
RINGS = (
    "any, if it is deep enough",
    "one whose cutoff holds second neighbors",
    "none: a network of distances cannot",
)
guess_rings = lessons.predict(
    "Which SchNet gives the hexagon and the two triangles different energies?",
    choices=RINGS,
    name="01-hexagon",
    stored=RINGS[0],
)

# %%
angle = np.arange(6) * np.pi / 3
hexagon = 1.4 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
angle = np.arange(3) * 2 * np.pi / 3
triangle = 1.4 / math.sqrt(3) * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
one_ring = ase.Atoms("C6", hexagon)
two_rings = ase.Atoms("C6", np.concatenate([triangle, triangle + np.array([20.0, 0.0, 0.0])]))
apart = {}
for cutoff, T in ((2.0, 1), (2.0, 6), (5.0, 2)):
    torch.manual_seed(SEED)
    net = VisibleSchNet(32, T=T, cutoff=cutoff)
    total = [net.readout(features(net, atoms)[-1]).sum().item() for atoms in (one_ring, two_rings)]
    apart[cutoff, T] = abs(total[0] - total[1])
    print(f"cutoff {cutoff} Å, T = {T}: energies differ by {apart[cutoff, T]:.0e}")
sighted = [apart[2.0, 6] > 1e-5, apart[5.0, 2] > 1e-5]  # deep, and far-sighted
guess_rings.reveal(RINGS[0] if sighted[0] else RINGS[1] if sighted[1] else RINGS[2])

# %% [markdown]
# With a cutoff of 2 Å every atom sees the same in both: two carbons at 1.4 Å, which see the same,
# and so on, block after block. Angles (120° and 60°) would tell them apart at once, and that is why
# the next generation, such as DimeNet of lesson 02b, reads angles. A larger cutoff helps here, but
# not always: there are pairs of different structures that no network of this kind can distinguish
# at any cutoff and depth (S. N. Pozdnyakov and M. Ceriotti, *Incompleteness of graph neural
# networks for points clouds in three dimensions*,
# [arXiv:2201.07136](https://arxiv.org/abs/2201.07136)). SchNet is **incomplete**. Among molecules
# such pairs are rare.
#
# ## QM9: energies of small organic molecules
#
# QM9 holds 130,831 molecules of up to nine heavy atoms, most of them with nine, each in its
# equilibrium geometry. The label here is the **internal energy** $U_0$ at 0 K, computed with the
# density functional **B3LYP** in the basis 6-31G(2df,p), with the energy of the zero-point
# vibrations in it. There are no forces to learn from: at a minimum they vanish.
#
# **Predict.** The energies of QM9 spread by about 1,090 eV (standard deviation), because molecules
# differ in their atoms. Five numbers, a reference energy for each element, explain most of it.

# %%
guess_qm9 = lessons.predict(
    "How large is the mean error that the five reference energies alone leave?",
    unit="eV",
    name="01-qm9-references",
    stored=20,
)

# %%
qm9 = scdlab.load_qm9(root=DATA)
n_train = 100_000 if PROFILE == "full" and len(qm9) > 110_000 else 2000
qm9_train, _, qm9_rest = qm9.split(n_train, 0, seed=SEED)
qm9_test = qm9_rest.sample(300, seed=SEED)
net = fresh()
EnergyForces(forces=False).prepare(net, qm9_train)  # what `fit` does first: the references
probe = qm9_test.take(range(300))
explained = torch.zeros(300, dtype=torch.float64).index_add(
    0, probe.batch, net.energy_head.reference[probe.z]
)
left = float((probe.energy - explained).abs().mean())
guess_qm9.reveal(left)
larger = TRAIN | dict(batch_size=32)
scdlab.fit(net, EnergyForces(forces=False), qm9_train, steps=S["qm9_steps"], **larger)
qm9_error = scdlab.evaluate(net, qm9_test)["energy_mae"]
print(
    f"atoms in a molecule: {qm9_train.n_atoms.mean():.1f} in training, {qm9_test.n_atoms.mean():.1f} in the test"
)
print(f"U0: spread {probe.energy.std().item():.0f} eV, references alone {1e3 * left:.0f} meV, "
      f"network {1e3 * qm9_error:.0f} meV")  # fmt: skip
print(f"the paper, 110,000 molecules: 0.31 kcal/mol = {to_meV(0.31):.0f} meV")

# %% [markdown]
# Here chemical accuracy is the right measure, since $U_0$ compares different molecules, and the
# paper is well below it: the network reproduces B3LYP to a third of a kcal/mol. (B3LYP itself errs
# by several kcal/mol against experiment.) A few seconds on 2,000 molecules cannot get there, and
# are not meant to. They show the division of labor: of more than a thousand eV five numbers leave
# less than one, and the network takes over from there.
#
# ## Molecules it has never seen
#
# C₇H₁₀O₂ has thousands of **isomers**: the same atoms, joined by other bonds. The paper made a set
# of them, ISO17, with molecular dynamics of 129 isomers. Ours is smaller: 50 frames each of sixty
# isomers, 10 fs apart. There are two tests: new *frames of molecules that it trained on* (known),
# and *molecules that it never met* (unknown). The first is interpolation along trajectories that it
# has seen, as in the paper; only the second asks for chemistry.
#
# All isomers have the same atoms, so the references subtract the same constant from all. The
# differences between isomers, nearly 1 eV, are left to the network. Hence the energy gets its full
# weight here, $\rho = 1$.

# %%
guess_unknown = lessons.predict(
    "Energy error on unknown molecules, divided by that on known ones?",
    name="01-unknown-molecules",
    stored=1.5,
)

# %%
parts = scdlab.atoms.isomer_split(scdlab.load_isomers(), seed=SEED)
net = fresh()
scdlab.fit(net, EnergyForces(energy_weight=1.0), parts["train"], steps=S["short_steps"], **TRAIN)
isomers = {}
for part in ("known", "unknown"):
    shown = parts[part].sample(150, seed=SEED)
    found = scdlab.evaluate(net, shown)
    cheap = np.abs(np.asarray(shown.energy) - np.mean(parts["train"].energy)).mean()
    isomers[part] = found | {"mean": float(cheap)}
guess_unknown.reveal(isomers["unknown"]["energy_mae"] / isomers["known"]["energy_mae"])
bars = {}
for part, found in isomers.items():
    bars[part] = 1e3 * found["energy_mae"]
    bars[f"{part}, guess the mean"] = 1e3 * found["mean"]
explore.described(
    explore.compare_bars(bars, "energy MAE", "meV", title="Isomers of C₇H₁₀O₂"),
    "Bars: " + ", ".join(f"{name} {value:.0f} meV" for name, value in bars.items()) + ".",
)

# %%
yours = {}
for part, found in isomers.items():
    yours[f"energy_mae_{part}_meV"] = 1e3 * found["energy_mae"]
    yours[f"force_mae_{part}_meV_per_A"] = 1e3 * found["force_mae"]
claims.compare("schnet-isomers-known-unknown", yours)

# %% [markdown]
# After a short training both errors are large, and the factor between them is small. The record,
# trained for longer, has a factor of about five: the network comes to know the molecules of its
# training, and the unknown ones gain little from that.
#
# ## Does it obey the laws?
#
# A network may have a small error and still be wrong in kind: an energy that changes when the
# molecule is rotated, or forces that are the derivative of nothing. So measure it. The report works
# in double precision, where a law that holds shows as less than $10^{-12}$. (“Noise” in it is an
# answer that lesson 02 will ask for.) Two of its rows are limited by how they are measured: “force
# consistency” compares with finite differences, which are good to about $10^{-7}$, and “smoothness”
# is a jump in eV, not a relative error.

# %%
frame = test.to_ase(0)
report = scdlab.symmetry_report(model, frame)
report

# %% [markdown]
# ## Break it: forces that come from no energy
#
# Forces by differentiation cost time: the pass backward through the network takes one to two times
# as long as the pass forward, and training, which differentiates once more, takes about three times
# as long as without forces. Why not predict forces directly? Many fast models have such **direct
# forces**. Here is a SchNet with a head of its own for forces. They rotate with the molecule, as
# they should. But they are the gradient of nothing.

# %%
direct = fresh(direct_forces=True)
scdlab.fit(direct, EnergyForces(), train, val, steps=S["steps"], **TRAIN)
direct.cpu()
direct_errors = scdlab.evaluate(direct, test)
print(f"force MAE: {1e3 * errors['force_mae']:.0f} meV/Å as a gradient, "
      f"{1e3 * direct_errors['force_mae']:.0f} meV/Å direct")  # fmt: skip

# %% [markdown]
# By the error alone you could not tell which of the two may be used for dynamics. Here is a test
# that does. Move the atoms along a path that returns to its start, and add up the work. If the
# forces are minus the slope of an energy, every step down is a step up on the way back, and the sum
# is zero. If not, each round gains or loses energy: a perpetual motion machine.
#
# **Write it.** `path` [m, n, 3] are the points of a closed path, `F` [m, n, 3] the forces there.
# Return $\oint \mathbf{F} \cdot d\mathbf{r}$ (eV), with the mean of the forces at the two ends of
# each step. The last point is joined to the first.


# %%
def loop_work(path, F):
    return ...


lessons.check_loop_work(loop_work)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def loop_work_solution(path, F):
    step = path.roll(-1, dims=0) - path
    return (0.5 * (F + F.roll(-1, dims=0)) * step).sum()


assert lessons.check_loop_work(loop_work_solution, show=False)

# %%
loop_work = lessons.yours(loop_work, loop_work_solution, check=lessons.check_loop_work)
guess_loop = lessons.predict(
    "All atoms move around small ellipses, some 0.1 Å in radius. How much work do the direct forces "
    "do in one round, on average over such loops?",
    unit="meV",
    name="01-loop-work",
    stored=1,
)


# %%
def work_around(net, radius=0.1, points=48, loops=8):
    """Work of a model's forces around random loops in the space of all coordinates, [loops] eV."""
    generator = torch.Generator().manual_seed(SEED)
    start = torch.tensor(frame.positions)
    work = []
    for _ in range(loops):
        a, b = torch.randn(2, *start.shape, generator=generator, dtype=torch.float64)
        a, b = (radius * v / v.square().sum(dim=1).mean().sqrt() for v in (a, b))
        t = 2 * math.pi * torch.arange(points)[:, None, None] / points
        path = start + a * torch.cos(t) + b * torch.sin(t)  # (points, n, 3)
        around = [ase.Atoms(frame.numbers, p.numpy()) for p in path]
        calculator = scdlab.Calculator(net)
        F = torch.tensor(np.stack([calculator.get_forces(atoms) for atoms in around]))
        work.append(float(loop_work(path, F)))
    return np.array(work)


round_work = {"gradient": work_around(model), "direct": work_around(direct)}
typical = {name: 1e3 * float(np.abs(work).mean()) for name, work in round_work.items()}
guess_loop.reveal(typical["direct"])
for name, size in typical.items():
    print(f"work around a loop, {name} forces: {size:.3g} meV on average")

# %% [markdown]
# The gradient's work is zero up to the error of the sum, however good or bad the model is. That of
# the direct forces is not: nothing makes it vanish.
#
# What does that do in dynamics? Start both models from the same frame with the same velocities at
# 300 K, and integrate Newton's equations without a [thermostat](glossary.md#thermostat) (constant
# energy, **NVE**). The time step is 0.5 fs: the fastest vibration, O–H, takes 9 fs, and needs some
# ten to twenty points. The direct model predicts an energy as well, but nothing ties it to the
# forces. So we look at what needs no model: the **kinetic** energy, as a temperature. It fluctuates
# in every simulation, since it is exchanged with potential energy, and at first it may rise or
# fall, since a frame of 500 K does not go with velocities of 300 K. After that it should have no
# trend.


# %%
def dynamics(net, steps, temperature=300.0):
    """NVE: time (ps), kinetic and total energy (eV) at every fifth step."""
    atoms = frame.copy()
    atoms.calc = scdlab.Calculator(net)
    thermalize_momenta(atoms, temperature_K=temperature, rng=np.random.default_rng(SEED))
    Stationary(atoms)
    ZeroRotation(atoms)
    verlet = VelocityVerlet(atoms, 0.5 * units.fs)
    rows = []
    for step in range(0, steps + 1, 5):
        if step:
            verlet.run(5)
        rows.append((5e-4 * step, atoms.get_kinetic_energy(), atoms.get_total_energy()))
    return np.array(rows).T


runs = {
    "gradient of the energy": dynamics(model, S["md_steps"]),
    "direct forces": dynamics(direct, S["md_steps"]),
}
width = max(1, len(runs["direct forces"][0]) // 10)  # a tenth of the run: averages over vibrations
smooth = {}
for name, (_, kinetic, _) in runs.items():
    kelvin = kinetic / (0.5 * units.kB * (3 * 9 - 6))
    smooth[name] = np.convolve(kelvin, np.ones(width) / width, mode="valid")
change, slope = {}, {}
for name, (time, kinetic, total) in runs.items():
    fifth = max(1, len(time) // 5)
    change[name] = 1e3 * (kinetic[-fifth:].mean() - kinetic[:fifth].mean()) / 9
    slope[name] = abs(np.polyfit(time, 1e3 * total / 9, 1)[0])
    print(f"{name}: kinetic energy changes by {change[name]:+.1f} meV/atom in {time[-1]:.1f} ps")
explore.described(
    explore.compare_curves(
        runs["direct forces"][0][: len(smooth["direct forces"])][::5],
        {name: kelvin[::5] for name, kelvin in smooth.items()}, "time", "temperature",
        "ps", "K", "No thermostat: running mean of the temperature", log="",
    ),
    "Running mean of the temperature against time. "
    + "; ".join(f"{name}: {curve[0]:.0f} K at first, {curve[-1]:.0f} K at the end" for name, curve in smooth.items())
    + ".",
)  # fmt: skip

# %%
claims.compare(
    "schnet-nve-conservative",
    {
        "drift_gradient_meV_per_atom_per_ps": slope["gradient of the energy"],
        "drift_direct_meV_per_atom_per_ps": slope["direct forces"],
        "kinetic_change_gradient_meV_per_atom": change["gradient of the energy"],
        "kinetic_change_direct_meV_per_atom": change["direct forces"],
        "force_mae_gradient_meV_per_A": 1e3 * errors["force_mae"],
        "force_mae_direct_meV_per_A": 1e3 * direct_errors["force_mae"],
    },
)

# %% [markdown]
# In the gradient's run the total energy stays, and the temperature settles. In the direct one
# energy comes from nowhere, or goes there. The rows called *drift* compare total energies, in which
# the direct model's untied energy takes part; the loop is the cleaner test.
#
# **An experiment.** Halve the radius in `work_around`. By what factor does the work of the direct
# forces fall, and why? (Stokes' theorem: the work around a small loop is the
# [curl](glossary.md#curl) times the area.) Then train `direct` four times as long: does its work
# fall as fast as its error?

# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
half = 1e3 * float(np.abs(work_around(direct, radius=0.05)).mean())
print(f"half the radius: {half:.3g} meV, {typical['direct'] / half:.1f} times less")
# An area falls fourfold with half the radius, and over such a short way the curl is nearly constant.

# %%
lessons.display_metrics(
    cfconv_difference=difference,
    energy_difference=energy_difference,
    force_difference=force_difference,
    first_loss_difference=first,
    last_loss_difference=last,
    plateau_ratio=plateau_ratio,
    energy_mae_meV=1e3 * errors["energy_mae"],
    mean_energy_meV=1e3 * mean_energy,
    force_mae_meV_per_A=1e3 * errors["force_mae"],
    no_force_meV_per_A=1e3 * no_force,
    worth_of_forces=worth,
    energies_for_a_force_frame=equal / 10,
    forces_100_meV=curve["energies + forces"][100],
    energies_1000_meV=curve["energies only"][1000],
    mean_held_meV=mean_held,
    angle_after_one=seen[5.0][1],
    angle_after_two=seen[5.0][2],
    angle_short_cutoff=max(seen[1.2]),
    rings_short_cutoff=max(apart[2.0, 1], apart[2.0, 6]),
    rings_long_cutoff=apart[5.0, 2],
    qm9_U0_mae_meV=1e3 * qm9_error,
    qm9_references_alone_meV=1e3 * left,
    isomers_known_meV=1e3 * isomers["known"]["energy_mae"],
    isomers_unknown_meV=1e3 * isomers["unknown"]["energy_mae"],
    rotation_error=report.rotation,
    force_consistency=report.force_consistency,
    loop_gradient_meV=typical["gradient"],
    loop_direct_meV=typical["direct"],
    drift_gradient_meV_per_atom_per_ps=slope["gradient of the energy"],
)

# %% [markdown]
# ## Paper · recorded · yours
#
# Every claim of this lesson: what the paper says, and what this kit measured with three seeds on
# the machine that the record names. A quick run shows that the machinery works; the records are the
# results we vouch for.

# %%
claims.table(lesson=1)

# %% [markdown]
# ## What to take away
#
# 1. A continuous-filter convolution is a sum over neighbors, with weights that a small network
#    makes of the distance.
# 2. The distance should be expanded in a basis, else training starts on a plateau.
# 3. One frame with forces is worth many with energies alone.
# 4. Depth adds angles, the cutoff decides which distances there are, and some structures stay
#    indistinguishable.
# 5. Forces must be the gradient of an energy if dynamics are to conserve it; a test error does not
#    show whether they are.
#
# ## Departures from the paper
#
# - The paper activates the filter network after *both* layers and has no cutoff function; later
#   codes drop the second activation and add the cutoff, and so do we (`filter_activation="twice"`
#   brings the second activation back).
# - Its bumps lie 0.1 Å apart up to 30 Å; ours, 50 of them, reach to the cutoff of 5 Å.
# - Linear maps of blocks and filters start from Xavier weights, as in later codes; heads keep
#   torch's smaller ones.
# - Labels: GFN2-xTB at 500 K for ethanol and the isomers, where the paper has density functional
#   theory. Its [MD17](glossary.md#rMD17) and ISO17 are larger, so errors cannot be compared in
#   size.
# - The learning rate falls as a cosine; the paper lowers it by 4 % every 100,000 steps.
#
# ## What is contested
#
# - **Direct forces.** They are faster, and on the large sets of catalysis (OC20) models with direct
#   forces led for years. F. Bigi, M. Langer and M. Ceriotti, *The dark side of the forces*
#   ([arXiv:2412.11569](https://arxiv.org/abs/2412.11569)), show what goes wrong in dynamics, and
#   how fine-tuning with gradient forces after direct training repairs it; X. Fu and others, *Forces
#   are not enough* ([arXiv:2210.07237](https://arxiv.org/abs/2210.07237)), show that force errors
#   do not predict the stability of simulations.
# - **How much incompleteness matters.** It is proved; whether it limits a model of real molecules
#   depends on the data and on the accuracy that is asked for.
# - **Random frames of MD17 as a benchmark.** Errors there measure interpolation along one
#   trajectory (lesson 00), and differences of a few meV/Å between models say little about use.
#
# ## Quiz

# %%
lessons.quiz("01")

# %% [markdown]
# ## How sure were you?

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# - **01b**, the appendix: filters are functions of one number, so they can be tabulated, and
#   training becomes faster.
# - Train with `fresh(cutoff=2.0)`: the network cannot see most angles then. What does that cost in
#   meV, and what in meV/Å?
# - Your own data: `scdlab.AtomStore.from_file("frames.xyz")` reads whatever ase reads, and
#   `scdlab train` trains from the shell.
# - SchNet needed labels for all this. The next lessons ask what can be learned from structures
#   alone.
