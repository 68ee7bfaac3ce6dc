# %% [markdown]
# # 01 · SchNet: convolutions without a grid
#
# **After this lesson you can**
#
# - say what a continuous-filter convolution computes, and write one in six lines;
# - explain why distances are fed through a radial basis, and show what happens without it;
# - train a network on energies *and* forces, and say why forces are worth so much;
# - judge a force field by its symmetries, by molecules it has never seen, and by whether it
#   conserves energy.
#
# **Time.** Quick profile: one minute on two CPU cores. The full profile trains fifty times as long
# and is meant for a GPU; before each training, `fit` says how long it will take.
#
# **Paper.** K. T. Schütt, P.-J. Kindermans, H. E. Sauceda, S. Chmiela, A. Tkatchenko, K.-R. Müller,
# *SchNet: A continuous-filter convolutional neural network for modeling quantum interactions*,
# NeurIPS 2017, arXiv:1706.08566.

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": a minute on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import sys

import numpy as np
import torch
from ase import units
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from tqdm import tqdm

import scdlab
from scdlab import claims, explore, lessons
from scdlab.nn.ops import neighbor_sums
from scdlab.objectives import EnergyForces

SIZES = {
    "quick": dict(hidden_channels=48, num_layers=3, lr=1e-2, steps=400, plateau_steps=150,
                  curve_steps=150, curve=(10, 30, 100), qm9=2000, qm9_steps=200, isomer_steps=400,
                  md_steps=600),
    "full": dict(hidden_channels=128, num_layers=6, lr=1e-3, steps=20000, plateau_steps=4000,
                 curve_steps=4000, curve=(10, 30, 100, 300, 1000), qm9=100000, qm9_steps=30000,
                 isomer_steps=10000, md_steps=4000),
}  # fmt: skip
S = SIZES[PROFILE]
TRAIN = dict(batch_size=10, lr=S["lr"], seed=SEED, device=DEVICE)  # for every training below


def fresh(**options):
    """A new SchNet; the same weights at the start whenever SEED is the same."""
    torch.manual_seed(SEED)
    return scdlab.SchNet(
        hidden_channels=S["hidden_channels"], num_layers=S["num_layers"], **options
    )


# %% [markdown]
# ## The idea
#
# An image is a grid, so a convolution needs one weight for each of a few *grid offsets*. Atoms sit
# anywhere. There is no list of offsets, so there can be no list of weights.
#
# SchNet's answer: let a small network *generate* the weight for whatever distance occurs. Atom $i$
# carries a feature vector $x_i \in \mathbb{R}^d$, which starts as a learned vector of its element.
# One **continuous-filter convolution** is
#
# $$x_i \leftarrow \sum_{j \neq i} x_j \circ W(r_{ij}),$$
#
# where $r_{ij}$ is the distance between atoms $i$ and $j$ in Å, $W(r) \in \mathbb{R}^d$ is the
# filter, and $\circ$ multiplies channel by channel. Two details make it work:
#
# - $W(r) = \mathrm{MLP}(e(r))\, c(r)$: the filter network does not see $r$ itself but a **radial
#   basis** $e(r)$ of bumps $e_k(r) = \exp(-\gamma (r - \mu_k)^2)$, and a **cutoff** $c(r)$ lets a
#   neighbor fade out smoothly at 5 Å.
# - an **interaction block** wraps the convolution:
#   $x_i \leftarrow x_i + \mathrm{MLP}(\mathrm{cfconv}(x)_i)$. Stacking $T$ blocks lets an atom hear
#   from neighbors of neighbors.
#
# The energy is a sum over atoms, $E = \sum_i \mathrm{MLP}(x_i)$, and the force on atom $i$ is its
# exact derivative,
#
# $$F_i = -\frac{\partial E}{\partial r_i}.$$
#
# *Which variant is this?* The first SchNet code activates the filter network after both of its
# layers and has no cutoff; later codes drop the second activation and add the cutoff. We use the
# later form.
#
# ## Predict
#
# The filter $W$ is drawn below on a plane through an atom. **Before you scroll: what shape must it
# have? Can SchNet learn a filter that looks up and down only?** Decide, then look.

# %%
model = fresh()
explore.filter_cuts(model, interaction=0, channel=0)

# %% [markdown]
# Rings, always. $W$ is a function of *one* number, the distance, so it cannot tell up from down.
# That is a limit (one atom cannot see an angle in one step) and a gift: whatever the molecule is
# turned to, nothing changes.
#
# ## The code, in six lines
#
# A filter is the same from $i$ to $j$ as from $j$ to $i$. So each pair is stored once, its filter
# is computed once, and used in both directions. Here is the whole convolution, and a check against
# the library: the same numbers?

# %%
ethanol = scdlab.load_ethanol()
batch = ethanol.take([0, 1, 2])
pairs = scdlab.neighbor_list(batch, cutoff=5.0)


def cfconv(x, W, i, j):
    """x [n, d] features, W [p, d] filters, pairs (i, j) [p] stored once -> [n, d]."""
    out = torch.zeros_like(x)
    out = out.index_add(0, i, W * x[j])  # what atom i hears from j
    return out.index_add(0, j, W * x[i])  # what atom j hears from i


r = pairs.vectors(batch.pos, batch).norm(dim=-1)  # (p) distances, Å
W = model.filter_curves(r)[0]  # (p, d) the first block's filters at just these distances
x = model.embedding(batch.z)  # (n, d)
ours = cfconv(model.blocks[0].lin_in(x), W, pairs.i, pairs.j)
edges = neighbor_sums.DirectedEdges(pairs, len(x))
theirs = neighbor_sums.cfconv(model.blocks[0].lin_in(x), W, edges)
print(f"{len(batch.z)} atoms, {len(pairs.i)} pairs")
print(f"largest difference: {(ours - theirs).abs().max().item():.1e}")

# %% [markdown]
# ## Break it: the distance without a basis
#
# Why the bumps? A network fed with $r$ alone starts out almost linear in $r$: all its filters look
# alike, and so do its gradients. The paper reports that training then gets stuck on a **plateau**.
# Same data, same seed, same steps:

# %%
train, val, test = ethanol.split(200, 100, seed=SEED)
plateau = {}
for name, basis in (("raw distance", "none"), ("Gaussian basis", "gaussian")):
    broken = fresh(basis=basis)
    steps = S["plateau_steps"]
    run = scdlab.fit(
        broken, EnergyForces(), train, val, steps=steps, val_every=max(1, steps // 15), **TRAIN
    )
    plateau[name] = run.history
explore.learning_curve(
    plateau, quantity="force_mae", unit="eV/Å", title="The distance as it is, or in bumps"
)

# %%
final = {
    name: 1e3 * next(v for v in reversed(h["val_force_mae"]) if v == v)
    for name, h in plateau.items()
}
plateau_ratio = final["raw distance"] / final["Gaussian basis"]
print(f"After {steps} steps: {plateau_ratio:.1f} times the force error of the basis")
yours = {
    "force_mae_gaussian_meV_per_A": final["Gaussian basis"],
    "force_mae_raw_meV_per_A": final["raw distance"],
}
claims.compare("schnet-rbf-plateau", yours)

# %% [markdown]
# You will meet such a table for every claim: the paper, what we recorded, and you. Your numbers
# come from one short run with one seed, so do not expect them to match a record, which names its
# own conditions; expect the same story, and say so when it is not.
# `scdlab claims run schnet-rbf-plateau --profile cpu` makes a proper measurement, with three seeds.
# “Not measured yet” means that nobody has made it since the method last changed: records of an
# earlier SchNet, whose layers started from other weights, were withdrawn, and
# `scdlab claims --history` shows what they said.
#
# ## Train: energies and forces of ethanol
#
# The loss weighs energies against forces (paper, section 4.2):
#
# $$L = \rho\, \|E - \hat{E}\|^2
# + \frac{1}{n} \sum_{i=1}^{n} \left\| F_i + \frac{\partial \hat{E}}{\partial r_i} \right\|^2,
# \qquad \rho = 0.01.$$
#
# A total energy is a large number (about −309 eV for ethanol at this level of theory) of which only
# the last digits change with the geometry. A **reference energy** per element, fitted by least
# squares before training, takes the constant part off; the network learns the rest.

# %%
model = fresh()
result = scdlab.fit(model, EnergyForces(), train, val, steps=S["steps"], **TRAIN)
errors = scdlab.evaluate(model, test[:500])
print(f"energies of test frames: MAE {1e3 * errors['energy_mae']:.0f} meV")
print(f"forces of test frames: MAE {1e3 * errors['force_mae']:.0f} meV/Å")
explore.learning_curve(
    result.history, quantity="force_mae", unit="eV/Å", title="SchNet on 200 frames of ethanol"
)

# %% [markdown]
# Is that good? Two yardsticks. A model that always answers "no force" has the mean size of the
# forces as its error. And *chemical accuracy*, 1 kcal/mol, is 43 meV.

# %%
sample = test.take(range(100))
out = model.cpu()(sample, forces=True)
no_force = float(sample.forces.abs().mean())
print(f"answering 'no force': {1e3 * no_force:.0f} meV/Å")
explore.parity_plot(
    sample.forces, out.forces, unit="eV/Å", quantity="force", title="Forces on 100 unseen frames"
)

# %% [markdown]
# Look at the filters again: each of the $T$ blocks has one per channel. They were smooth noise; now
# they have learned which distances matter. Move the sliders. Which distances do the first block's
# filters tell apart, and why those?

# %%
filters = explore.FilterExplorer(model)
filters

# %% [markdown]
# ## A curve needs few numbers
#
# The filters of a batch are made at thousands of distances, in every step, and all of them lie on
# the same few curves. So why not evaluate each curve on a grid, and draw a smooth line (a cubic
# spline) through the points?
#
# **Predict.** How many points does it take until the forces agree to one part in a thousand: ten, a
# hundred, a thousand? Think of the width of the bumps, a tenth of an ångström.

# %%
frames = test.take(range(60))  # 2,160 pairs
exact = model.eval()(frames, forces=True).forces
model.train()  # tables are for training; elsewhere filters are exact
cells = [16, 32, 64, 128, 256, 512, 1024]
table_errors = []
for size in cells:
    model.filter_table_size = size
    difference = model(frames, forces=True).forces - exact
    table_errors.append((difference.norm() / exact.norm()).item())
model.filter_table_size = 512  # as it was
model.eval()
explore.compare_curves(
    cells,
    {"forces": table_errors},
    "intervals of the grid",
    "relative error of the forces",
    title="Filters from a table",
)

# %% [markdown]
# Once the grid is finer than the bumps, the error falls with the third power of the spacing, as the
# slope of a cubic spline's does, down to what single precision can tell apart. The kit uses 512
# intervals in training, as soon as there are more pairs than twice that: then most of the work of
# the filter networks is gone, from the backward pass too. `scdlab.nn.ops.filter_tables` is the
# whole method, on two pages.

# %% [markdown]
# ## Forces on few labels, energies on many
#
# One frame of ethanol gives *one* energy and $3 \times 9 = 27$ force components.
#
# **Predict.** How many frames with energies alone are worth one frame with forces? Write down a
# number. Then run: both curves get the same network, steps and batch size.

# %%
curves = {"energies only": [], "energies + forces": []}
for n in S["curve"]:
    few, _, rest = ethanol.split(n, 0, seed=SEED)
    for name, forces in (("energies only", False), ("energies + forces", True)):
        net = fresh()
        scdlab.fit(net, EnergyForces(forces=forces), few, steps=S["curve_steps"], **TRAIN)
        curves[name].append(1e3 * scdlab.evaluate(net, rest[:300])["energy_mae"])
explore.compare_curves(
    S["curve"], curves, "training frames", "energy MAE", unit="meV", title="What forces are worth"
)

# %%
few_forces = curves["energies + forces"][0]
many_energies = curves["energies only"][-1]
print(f"{S['curve'][0]} frames with forces: {few_forces:.0f} meV")
print(f"{S['curve'][-1]} frames with energies only: {many_energies:.0f} meV")
yours = {
    "energy_mae_few_with_forces_meV": few_forces,
    "energy_mae_many_energies_meV": many_energies,
}
claims.compare("schnet-forces-few-labels", yours)

# %% [markdown]
# ## QM9: energies of small organic molecules
#
# QM9 holds 130,831 molecules of up to nine heavy atoms, each in its equilibrium geometry; the label
# here is the internal energy $U_0$ at 0 K (B3LYP). There are no forces to learn from: at a minimum
# they vanish.
#
# **Predict.** Energies spread over some 1,000 eV. How much of that do five numbers explain, one
# energy for each element?

# %%
qm9 = scdlab.load_qm9(root=DATA) if PROFILE == "full" else scdlab.load_qm9(limit=20_000, root=DATA)
qm9_train, qm9_val, qm9_test = qm9.split(S["qm9"], 200, seed=SEED)
net = fresh()
EnergyForces(forces=False).prepare(net, qm9_train)  # what `fit` does first: the references
probe = qm9_test.take(range(500))
explained = torch.zeros(500, dtype=torch.float64).index_add(
    0, probe.batch, net.energy_head.reference[probe.z]
)
rest = probe.energy - explained
print(f"spread of U0: {probe.energy.std().item():.0f} eV")
print(f"spread of what the references leave over: {rest.std().item():.2f} eV")

# %%
larger = TRAIN | dict(batch_size=32)
scdlab.fit(net, EnergyForces(forces=False), qm9_train, qm9_val, steps=S["qm9_steps"], **larger)
qm9_error = scdlab.evaluate(net, qm9_test[:500])["energy_mae"]
left = float(rest.abs().mean())
print(f"U0 of 500 unseen molecules: MAE {1e3 * qm9_error:.0f} meV")
print(f"the references alone: {1e3 * left:.0f} meV")

# %% [markdown]
# The paper reports 0.31 kcal/mol (13 meV) with 110,000 training molecules. A few seconds on 2,000
# do not get there, and need not: the point is how far the references go, and how much further the
# network.
#
# ## Molecules it has never seen
#
# C₇H₁₀O₂ has thousands of isomers: same atoms, other bonds. Our set holds molecular dynamics of
# sixty of them. Two tests: new *frames of molecules the network trained on* (known), and *molecules
# it never met* (unknown).
#
# All have the same atoms, so the references take the same energy off each of them: what tells
# isomers apart, nearly 1 eV, is left to the network. Hence the energy gets its full weight here,
# $\rho = 1$.
#
# **Predict.** Which error is larger, and by what factor?

# %%
isomers = scdlab.load_isomers()
parts = scdlab.atoms.isomer_split(isomers, seed=SEED)
net = fresh()
scdlab.fit(net, EnergyForces(energy_weight=1.0), parts["train"], steps=S["isomer_steps"], **TRAIN)
known, unknown = (
    scdlab.evaluate(net, parts[p][:: max(1, len(parts[p]) // 200)]) for p in ("known", "unknown")
)
explore.compare_bars(
    {"known": 1e3 * known["energy_mae"], "unknown": 1e3 * unknown["energy_mae"]},
    "energy MAE",
    "meV",
    title="Isomers of C₇H₁₀O₂",
)

# %%
yours = {}
for name, found in (("known", known), ("unknown", unknown)):
    yours[f"energy_mae_{name}_meV"] = 1e3 * found["energy_mae"]
    yours[f"force_mae_{name}_meV_per_A"] = 1e3 * found["force_mae"]
claims.compare("schnet-isomers-known-unknown", yours)

# %% [markdown]
# ## Does it obey the laws?
#
# A network may have a small error and still be wrong in kind: an energy that changes when the
# molecule turns, or forces that are the derivative of nothing. So measure it. The report works in
# double precision, where a law that holds shows as about $10^{-12}$.

# %%
frame = test.to_ase(0)
report = scdlab.symmetry_report(model, frame)
report

# %% [markdown]
# ## Break it: forces that come from no energy
#
# Differentiating the energy costs about as much again as computing it. Why not predict forces
# directly? Many fast models do. Here is a SchNet with a head of its own for forces: it turns with
# the molecule, as it should. But its forces are the gradient of nothing.
#
# **Predict.** Both models have a small force error. We start both from the same frame with the same
# velocities and integrate Newton's equations with no thermostat, so that the total energy should
# stay what it was. What will you see?

# %%
direct = fresh(direct_forces=True)
scdlab.fit(direct, EnergyForces(), train, val, steps=S["steps"], **TRAIN)
direct_errors = scdlab.evaluate(direct, test[:500])
mae = errors["force_mae"]
direct_mae = direct_errors["force_mae"]
print(f"force MAE: {1e3 * mae:.0f} meV/Å as a gradient, {1e3 * direct_mae:.0f} meV/Å direct")
mismatch = scdlab.symmetry_report(direct, frame).force_consistency
print(f"direct forces differ from the gradient of their energy by {100 * mismatch:.0f} %")


# %%
def dynamics(model, steps, temperature=300.0):
    """NVE: (time [n] in fs, total energy [n] in eV); every model starts from the same state."""
    atoms = frame.copy()
    atoms.calc = scdlab.Calculator(model)
    thermalize_momenta(atoms, temperature_K=temperature, rng=np.random.default_rng(SEED))
    Stationary(atoms)
    verlet = VelocityVerlet(atoms, 0.5 * units.fs)
    total = [atoms.get_total_energy()]
    for _ in tqdm(range(steps // 5), desc="dynamics", file=sys.stdout):
        verlet.run(5)  # 2.5 fs
        total.append(atoms.get_total_energy())
    return 2.5 * np.arange(len(total)), np.array(total)


runs = {
    "gradient of the energy": dynamics(model, S["md_steps"]),
    "direct forces": dynamics(direct, S["md_steps"]),
}
explore.drift_plot(runs, per_atom=9, title="Total energy without a thermostat: it should not move")

# %%
drift = {name: float(np.abs(e - e[0]).max()) / 9 for name, (t, e) in runs.items()}
for name, change in drift.items():
    print(f"largest change of the total energy, {name}: {1e3 * change:.1f} meV/atom")
slope = {}  # meV/atom/ps
for name, (time, energy) in runs.items():
    slope[name] = abs(np.polyfit(1e-3 * time, 1e3 * energy / 9, 1)[0])
yours = {
    "drift_gradient_meV_per_atom_per_ps": slope["gradient of the energy"],
    "drift_direct_meV_per_atom_per_ps": slope["direct forces"],
    "force_mae_gradient_meV_per_A": 1e3 * mae,
    "force_mae_direct_meV_per_A": 1e3 * direct_mae,
}
claims.compare("schnet-nve-conservative", yours)

# %%
further = drift["direct forces"] / drift["gradient of the energy"]
print(f"direct forces: {direct_mae / mae:.2f} times the force error of the gradient,")
print(f"and a total energy that wanders {further:.0f} times as far")

# %% [markdown]
# Look at the two force errors again. They are of one size, and yet one total energy wanders many
# times as far as the other: an error on test frames does not say whether a force field can be used
# for dynamics. (The direct model has an energy head too, trained beside its forces; nothing ties
# the two together.)
#
# ## Paper, recorded, yours
#
# Every claim of this lesson: what the paper says, and what this kit measured with three seeds on
# the machine that the record names, or that it is still to be measured. A quick run like yours
# shows mechanics; a record is what we stand by.

# %%
lessons.display_metrics(
    energy_mae_meV=1e3 * errors["energy_mae"],
    force_mae_meV_per_A=1e3 * errors["force_mae"],
    no_force_meV_per_A=1e3 * no_force,
    plateau_ratio=plateau_ratio,
    few_forces_meV=few_forces,
    many_energies_meV=many_energies,
    qm9_U0_mae_meV=1e3 * qm9_error,
    qm9_references_alone_meV=1e3 * left,
    isomers_known_meV=1e3 * known["energy_mae"],
    isomers_unknown_meV=1e3 * unknown["energy_mae"],
    rotation_error=report.rotation,
    force_consistency=report.force_consistency,
    drift_gradient_meV_per_atom=1e3 * drift["gradient of the energy"],
    drift_direct_meV_per_atom=1e3 * drift["direct forces"],
)
claims.table(lesson=1)

# %% [markdown]
# ## Exercises
#
# Replace `...`, run the cell, and read what the check says. Each solution is folded below its
# exercise.
#
# **1. The activation.** SchNet uses the shifted softplus,
# $\mathrm{ssp}(x) = \ln(\tfrac12 e^x + \tfrac12)$. Write it so that it survives $x = 200$. Why must
# an activation in a force field be smooth?


# %%
def my_ssp(x):
    return ...


lessons.check_ssp(my_ssp)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def ssp_solution(x):
    # softplus(x) = ln(1 + e^x). Forces are derivatives: a kink here would be a jump there.
    return torch.nn.functional.softplus(x) - np.log(2.0)


assert lessons.check_ssp(ssp_solution, show=False)

# %% [markdown]
# **2. The basis.** Expand distances $r$ [P] in Gaussians at `centers` [K] with exponent `gamma`:
# [P, K].


# %%
def my_basis(r, centers, gamma):
    return ...


lessons.check_rbf(my_basis)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def basis_solution(r, centers, gamma):
    return torch.exp(-gamma * (r[:, None] - centers) ** 2)


assert lessons.check_rbf(basis_solution, show=False)

# %% [markdown]
# **3. The convolution.** Write `cfconv` for pairs stored once, without looking up.


# %%
def my_cfconv(x, W, i, j):
    return ...


lessons.check_cfconv(my_cfconv)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def cfconv_solution(x, W, i, j):
    out = torch.zeros_like(x)
    return out.index_add(0, i, W * x[j]).index_add(0, j, W * x[i])


assert lessons.check_cfconv(cfconv_solution, show=False)

# %% [markdown]
# **4. The force.** Given a function `energy(pos)` and positions [n, 3], return the forces. Mind the
# sign.


# %%
def my_forces(energy, pos):
    return ...


lessons.check_force(my_forces)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def forces_solution(energy, pos):
    pos = pos.detach().requires_grad_()
    return -torch.autograd.grad(energy(pos), pos)[0]


assert lessons.check_force(forces_solution, show=False)

# %% [markdown]
# **5. Units.** Papers quote kcal/mol, we use meV. Convert.


# %%
def to_meV(kcal_per_mol):
    return ...


lessons.check_units(to_meV)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def to_meV_solution(kcal_per_mol):
    return 1000 * scdlab.units.KCAL_MOL * kcal_per_mol


assert lessons.check_units(to_meV_solution, show=False)

# %% [markdown]
# ## Where to go next
#
# - Change `cutoff` in `fresh(...)` to 2 Å and train again. Which error suffers first, and why?
# - Try `filter_activation="twice"`, the variant of the first code. Does it matter here?
# - Your own data: `scdlab.AtomStore.from_file("frames.xyz")` reads whatever ase reads, and
#   `scdlab train` trains from the shell.
# - SchNet needed labels for all this. The next lessons ask what can be learned from structures
#   alone.
