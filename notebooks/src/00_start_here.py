# %% [markdown]
# # 00 · Start here: what a model sees of a molecule
#
# **After this lesson you can**
#
# - say what goes into an atomistic model, what comes out, and in which units;
# - explain why models read distances and not coordinates, and show what goes wrong otherwise;
# - train a first model on energies and forces, and read its errors;
# - find your way around the lessons that follow.
#
# **Time.** Five minutes to read; the cells take about half a minute on two CPU cores.
#
# Run a cell with Shift + Enter, or all of them with *Run → Run All Cells*. Nothing here needs the
# network.

# %% [markdown]
# ## How a lesson is set
#
# Every lesson starts with a cell like the next one. `PROFILE = "quick"` keeps each training to
# seconds; `"full"` trains properly. The command `scdlab run 0 --profile full` runs this lesson
# without a browser, with these values replaced.

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": seconds on two cores; "full": a longer training
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0  # the same seed gives the same numbers
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import numpy as np
import torch
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import explore, lessons
from scdlab.objectives import EnergyForces

STEPS = {"quick": 600, "full": 20_000}[PROFILE]

# %% [markdown]
# ## One molecule
#
# The kit comes with 2,000 snapshots of ethanol, CH₃CH₂OH, from a simulation at 500 K. For each of
# them quantum chemistry (a fast approximate method called GFN2-xTB) gave the energy and the force
# on every atom. Here is the first.

# %%
ethanol = scdlab.load_ethanol()
frame = ethanol.to_ase(0)
forces = frame.get_forces()
explore.molecule_figure(frame, arrows=forces, labels=True, title="Ethanol and its forces")

# %% [markdown]
# To a model this molecule is two arrays and nothing else: the **atomic numbers** $z_i$ (6 for
# carbon, 8 for oxygen, 1 for hydrogen) and the **positions** $\mathbf{r}_i$. There are no bonds in
# the input. The bonds drawn above are only a help for the eye.

# %%
for k in range(4):
    r = frame.positions[k].round(3)
    f = forces[k].round(2)
    print(f"z = {frame.numbers[k]}   r = {r} Å   F = {f} eV/Å")
print(f"… and {len(frame) - 4} more atoms.")
print(f"Energy of the whole molecule: {frame.get_potential_energy():.4f} eV")

# %% [markdown]
# **Units.** Everywhere in the kit: lengths in Å (10⁻¹⁰ m), energies in eV, forces in eV/Å. Some
# sizes to remember:
#
# | | |
# |---|---|
# | a C–H bond | 1.1 Å |
# | thermal energy $k_B T$ at room temperature | 0.026 eV |
# | “chemical accuracy”, 1 kcal/mol | 0.043 eV |
# | a C–C bond | about 3.6 eV |
# | ethanol's energy above | −309 eV |
#
# The last line is large because it counts all valence electrons. Only *differences* of energies
# matter: between the snapshots they are a few tenths of an eV.

# %% [markdown]
# ## Many molecules at once
#
# Molecules differ in size, so a batch cannot be one rectangular array. Instead all atoms stand in
# one long list, and `batch` tells for each atom which molecule it belongs to. Here are three
# molecules of QM9, a set of 130,831 small molecules.

# %%
qm9 = scdlab.load_qm9(limit=100, root=DATA)
batch = qm9.take([0, 1, 6])
print("molecules   ", [qm9.to_ase(k).get_chemical_formula() for k in (0, 1, 6)])
print("z           ", batch.z.tolist())
print("batch       ", batch.batch.tolist())
print("positions   ", list(batch.pos.shape), " energies", list(batch.energy.shape))

# %% [markdown]
# A model maps such a batch to one energy per molecule and one force per atom,
# $\mathbf{F}_i = -\partial E / \partial \mathbf{r}_i$.

# %% [markdown]
# ## The idea: distances
#
# A molecule's energy does not care where the molecule is or how it is turned. A model should know
# that before it has seen any data. The simplest way is to let it see only the **distances** between
# atoms,
#
# $$ r_{ij} = \lVert \mathbf{r}_j - \mathbf{r}_i \rVert . $$
#
# **Predict.** Turn the molecule by 90°. Which of these change, and by how much: the positions, the
# distances, the energy, the forces? Decide before you run the next cell.

# %%
turn = Rotation.from_euler("z", 90, degrees=True)


def distances(pos):
    """Distances of all pairs i < j: [..., n, 3] -> [..., n(n-1)/2], in Å."""
    i, j = np.triu_indices(pos.shape[-2], k=1)
    return np.linalg.norm(pos[..., i, :] - pos[..., j, :], axis=-1)


turned = turn.apply(frame.positions)
change_positions = np.abs(turned - frame.positions).max()
change_distances = np.abs(distances(turned) - distances(frame.positions)).max()
print(f"largest change of a coordinate: {change_positions:.2f} Å")
print(f"largest change of a distance:   {change_distances:.1e} Å")

# %% [markdown]
# Coordinates change by Ångströms, distances by nothing but rounding. The energy stays too; it is
# *invariant*. The forces turn with the molecule; they are *equivariant*. Numbering the atoms in
# another order changes no physics either.
#
# One more step. A network that reads the bare number $r$ learns slowly. So each distance is spread
# over a **radial basis** of $K$ Gaussians with centers $\mu_k$ and width set by $\gamma$:
#
# $$ e_k(r) = \exp\left( -\gamma (r - \mu_k)^2 \right), \qquad k = 1, \dots, K . $$
#
# A short distance lights up the first few of them, a long one the last.

# %% [markdown]
# ## Look
#
# Choose a molecule, and one of its atoms (black ring). The model sees the atoms within the *cutoff*
# (blue). The red line is one of the distances; the bars below are what the network reads instead of
# it. **Find out:** how large must the cutoff be for a carbon atom to see the hydrogens on *its
# neighbor*? What happens to the bars when you step from neighbor to neighbor?

# %%
explorer = explore.NeighborExplorer(qm9, molecule=12)
explorer

# %% [markdown]
# ## Break it
#
# What if we feed coordinates all the same? Take the plainest learner there is, a linear fit (ridge
# regression), and give it the Gaussian basis of all 27 coordinates of ethanol. To make it easy, we
# first turn every snapshot so that it lies on top of the first one. The next cell holds the tools,
# the one after it uses them.

# %%
train, val, test = ethanol.split(1000, 100, seed=SEED)
test = test[:300]


def positions(store):
    pos = store.take(np.arange(len(store))).pos
    return pos.view(len(store), -1, 3).double().numpy()  # (frames, atoms, 3)


def lie_on(first, pos):
    """Each frame centered, and turned to lie on `first` as well as it can."""
    pos = pos - pos.mean(axis=1, keepdims=True)
    return np.stack([Rotation.align_vectors(first, p)[0].apply(p) for p in pos])


def basis(x, low, high, n=12):
    """Each number in x [frames, m] spread over n Gaussians: [frames, m * n]."""
    centers = np.linspace(low, high, n)
    gamma = 0.5 / (centers[1] - centers[0]) ** 2
    return np.exp(-gamma * (x[..., None] - centers) ** 2).reshape(len(x), -1)


def ridge(features, energy, strength=1e-2):
    """A linear fit of the energy; returns a function that predicts from features."""
    mean = features.mean(axis=0)
    a = features - mean
    b = energy - energy.mean()
    weights = np.linalg.solve(a.T @ a + strength * np.eye(a.shape[1]), a.T @ b)
    return lambda new: (new - mean) @ weights + energy.mean()


# %%
first = positions(train)[0]
first = first - first.mean(axis=0)
train_pos = lie_on(first, positions(train))
test_pos = lie_on(first, positions(test))


def from_coordinates(pos):
    return basis(pos.reshape(len(pos), -1), -3, 3)


by_coordinates = ridge(from_coordinates(train_pos), train.energy)


def mae(predicted):
    """Mean absolute error over the test frames, in eV."""
    return float(np.abs(predicted - test.energy).mean())


guess = mae(train.energy.mean())
print(f"always guessing the mean energy:  {guess:.3f} eV")
print(f"linear fit on coordinates:        {mae(by_coordinates(from_coordinates(test_pos))):.3f} eV")

# %% [markdown]
# It learned next to nothing. And now take one test snapshot and turn it slowly. Its true energy
# stays where it is. What does the fit say?

# %%
angles = np.arange(0, 361, 10)
turns = Rotation.from_euler("z", angles[:, None], degrees=True)
spin = np.stack([turn.apply(test_pos[0]) for turn in turns])  # (angles, atoms, 3)
true = test.energy[0]
curves = {
    "truth": np.zeros(len(angles)),
    "fit on coordinates": by_coordinates(from_coordinates(spin)) - true,
}
explore.path_plot(angles, curves, "rotation angle", "°", title="One molecule, turning")

# %% [markdown]
# The fit thinks that a turned molecule has another energy, wrong by electronvolts. More data would
# help only if it showed every molecule in every orientation.
#
# **The fix** changes one line: the same learner, with the same basis, reads the 36 distances.


# %%
def from_distances(pos):
    return basis(distances(pos), 0, 5)


by_distances = ridge(from_distances(train_pos), train.energy)
curves["fit on distances"] = by_distances(from_distances(spin)) - true
explore.path_plot(angles, curves, "rotation angle", "°", title="One molecule, turning")

# %% [markdown]
# The dotted line lies on the truth, at every angle. Over all test frames:

# %%
turned_test = test_pos @ turn.as_matrix().T
errors = {
    "guess the mean": guess,
    "coordinates": mae(by_coordinates(from_coordinates(test_pos))),
    "coordinates, turned": mae(by_coordinates(from_coordinates(turned_test))),
    "distances": mae(by_distances(from_distances(test_pos))),
    "distances, turned": mae(by_distances(from_distances(turned_test))),
}
explore.compare_bars(
    errors, "energy MAE, test frames", "eV", "The same fit on two inputs", log=True
)

# %% [markdown]
# ## Train a first network
#
# The fit on distances is good, but it works for ethanol only: it has one weight per pair of
# *numbered* atoms. A graph network has no such list. Each atom looks at its neighbors, through the
# radial basis, and the energy is a sum over atoms. Lesson 01 takes the network, SchNet, apart. Here
# we only train it, on energies and forces.

# %%
torch.manual_seed(SEED)
model = scdlab.SchNet(hidden_channels=64, num_layers=2, num_rbf=20, cutoff=5.0)
objective = EnergyForces(energy_weight=0.1)  # ρ, the weight of the energies
settings = dict(steps=STEPS, batch_size=8, lr=5e-3, seed=SEED, device=DEVICE)
result = scdlab.fit(model, objective, train, val, **settings)
explore.learning_curve(result.history, "force_mae", "eV/Å", title="SchNet on ethanol")

# %%
score = scdlab.evaluate(model, test)
true_forces = test.take(np.arange(len(test))).forces
print(f"force error when guessing zero: {true_forces.abs().mean():.3f} eV/Å")
print(f"force error of SchNet:          {score['force_mae']:.3f} eV/Å")
errors["SchNet"] = score["energy_mae"]
explore.compare_bars(errors, "energy MAE, test frames", "eV", "…and a small SchNet", log=True)

# %% [markdown]
# In the quick profile its energies are about as good as the linear fit's. But the network also
# gives *forces*, each the exact derivative of its energy, so that molecules can move. And its
# symmetries are exact, as this report shows: the errors are rounding.

# %%
report = scdlab.symmetry_report(model, frame)
report

# %%
lessons.display_metrics(
    distance_change_A=change_distances,
    guess_mae_eV=errors["guess the mean"],
    coordinates_mae_eV=errors["coordinates"],
    coordinates_turned_mae_eV=errors["coordinates, turned"],
    distances_mae_eV=errors["distances"],
    distances_turned_mae_eV=errors["distances, turned"],
    schnet_energy_mae_eV=errors["SchNet"],
    schnet_force_mae_eV_per_A=score["force_mae"],
    zero_force_mae_eV_per_A=true_forces.abs().mean(),
    rotation_error=report.rotation,
)

# %% [markdown]
# ## Exercises
#
# Replace the dots `...`, run the cell, and read what the check says. It tells what is wrong, not
# only that something is. A solution is folded below each exercise.
#
# **1.** How many pairs do $n$ atoms form?


# %%
def pair_count(n):
    return ...


lessons.check_pair_count(pair_count)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
def pair_count_solution(n):
    return n * (n - 1) // 2  # each of n atoms meets n - 1 others, and each pair is met twice


assert lessons.check_pair_count(pair_count_solution, show=False)

# %% [markdown]
# **2.** All distances of a molecule as a matrix: `pos` is a torch tensor [n, 3], the result is [n,
# n].


# %%
def distance_matrix(pos):
    return ...


lessons.check_distances(distance_matrix)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
def distance_matrix_solution(pos):
    difference = pos[:, None] - pos[None, :]  # (n, 1, 3) - (1, n, 3) -> (n, n, 3)
    return difference.norm(dim=-1)


assert lessons.check_distances(distance_matrix_solution, show=False)

# %% [markdown]
# **3.** Invent *one number* for a molecule that stays the same when the molecule is moved, turned,
# or its atoms are numbered in another order, and that still depends on its shape.


# %%
def my_descriptor(z, pos):
    return ...


lessons.check_invariant(my_descriptor)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
def descriptor_solution(z, pos):
    charges = torch.triu(z[:, None] * z[None, :], diagonal=1)
    r = (pos[:, None] - pos[None, :]).norm(dim=-1) + torch.eye(len(z))  # unused diagonal: no 1/0
    return (charges / r).sum()  # how strongly the nuclei repel each other


assert lessons.check_invariant(descriptor_solution, show=False)

# %% [markdown]
# ## Where to go next
#
# - **Lesson 01** opens the network used above, SchNet, and measures what its ideas are worth.
# - From there on each lesson ends with a table: what the *paper* claims, what was *recorded* with
#   this kit, and what *you* just measured. `scdlab claims` prints all of it.
# - `scdlab doctor` tells what your machine has, and `scdlab data` which data sets are there. Set
#   `DATA` above (or the environment variable `SCDLAB_DATA`) to a folder of your own.
# - Everything on these pages works on your own molecules: `scdlab.AtomStore.from_file("my.xyz")`
#   takes the place of `scdlab.load_ethanol()`.
