# %% [markdown]
# # 00 · Start here: what a model sees of a molecule
#
# **After this lesson you can**
#
# - say what goes into an atomistic model, what comes out, and in which units;
# - explain why models read distances and not coordinates, and why they sum over atoms, and show
#   what goes wrong otherwise;
# - split a trajectory so that a test means something;
# - train a first model on energies and forces, and judge its errors.
#
# **Time.** Half an hour to read and write; the cells take about half a minute on two CPU cores.
#
# **Where this comes from.** The two ideas of this lesson, inputs that no rotation changes and an
# energy that is a sum over atoms, were put together by J. Behler and M. Parrinello, *Generalized
# neural-network representation of high-dimensional potential-energy surfaces*, [Phys. Rev. Lett.
# 98, 146401 (2007)](https://doi.org/10.1103/PhysRevLett.98.146401).
#
# Run a cell with Shift + Enter, or all of them with *Run → Run All Cells*. Nothing here needs the
# network. Terms and symbols are explained where they first appear, and collected in the
# [glossary](glossary.md).

# %% [markdown]
# ## How a lesson works
#
# Every lesson starts with a cell like the next one. `PROFILE = "quick"` keeps each training to
# seconds; `"full"` trains properly. The command `scdlab run 0 --profile full` runs this lesson
# without a browser.
#
# Three things come back in every lesson. A *prediction* box asks for your guess before a result
# appears; the result is then drawn beside your guess. A **Write it** cell asks for a few lines of
# code; the check below it says what is wrong, and once your function is right the lesson uses it. A
# **Break it** section shows the failure that makes the next idea necessary.

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": seconds on two cores; "full": a longer training
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0  # the same seed gives the same numbers
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import numpy as np
import torch
from ase import units
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import explore, lessons
from scdlab.objectives import EnergyForces

STEPS = {"quick": 600, "full": 20_000}[PROFILE]

# %% [markdown]
# ## One molecule
#
# The kit comes with 2,000 snapshots of ethanol, CH₃CH₂OH, from a simulation at 500 K. A snapshot of
# a simulation is called a **frame**. For each frame a quantum-chemical method, **GFN2-xTB**, gave
# the energy and the force on every atom. GFN2-xTB is approximate: hundreds of times faster than the
# **density functional theory** that most papers use, and less accurate. That is fine here, because
# we study how models learn *given* **labels**, as such energies and forces are called. Here is the
# first frame.

# %%
ethanol = scdlab.load_ethanol()
frame = ethanol.to_ase(0)
forces = frame.get_forces()
explore.described(
    explore.molecule_figure(frame, arrows=forces, labels=True, title="Ethanol and its forces"),
    "A ball-and-stick picture of ethanol with an arrow on each of its nine atoms. The longest "
    f"arrow is a force of {np.linalg.norm(forces, axis=1).max():.1f} eV/Å.",
)

# %% [markdown]
# To a model this molecule is two arrays: the **atomic numbers** $z_i$ (6 for carbon, 8 for oxygen,
# 1 for hydrogen) and the **positions** $\mathbf{r}_i$. There are no bonds in the input. The bonds
# in the picture are there for you; the model never sees them. (In general three more things belong
# to the input: the total charge, the spin, and for crystals the unit cell. All molecules of the
# lessons are neutral, have all electrons paired, and stand alone.)

# %%
for k in range(4):
    r = frame.positions[k].round(3)
    f = forces[k].round(2)
    print(f"z = {frame.numbers[k]}   r = {r} Å   F = {f} eV/Å")
print(f"… and {len(frame) - 4} more atoms.")
print(f"Energy of the whole molecule: {frame.get_potential_energy():.4f} eV")

# %% [markdown]
# The energy as a function of all positions, $E(\mathbf{r}_1, \dots, \mathbf{r}_n)$, is the
# **potential-energy surface**: nuclei are heavy and slow, so the electrons settle into their lowest
# state for each arrangement of nuclei, and $E$ is the energy of that state. The force on atom $i$
# is its downhill slope,
#
# $$ \mathbf{F}_i = -\frac{\partial E}{\partial \mathbf{r}_i} . $$
#
# A model that gives $E$ and these forces is a **force field**. With one, atoms can move: beside the
# forces, Newton's equations need only the masses.
#
# **Units.** Everywhere in the kit, lengths are in Å (10⁻¹⁰ m), energies in eV and forces in eV/Å.
# Some sizes to remember:
#
# | | |
# |---|---|
# | a C–H bond | 1.1 Å |
# | thermal energy $k_B T$ at room temperature; at 500 K | 0.026 eV; 0.043 eV |
# | 1 kcal/mol, called “chemical accuracy” | 0.043 eV |
# | energy to break a C–C bond (mean bond enthalpy) | about 3.6 eV |
# | ethanol's energy above | −309 eV |
#
# The last number is so large because its zero is bare ions and free electrons. We never use it as
# such: only *differences* of energies matter.
#
# ## How far do energies spread?
#
# You can know the scale of the energies before you look at any. Near its minimum a molecule of $n$
# atoms is a set of $3n - 6$ springs: $3n$ coordinates, less three translations and three rotations,
# which cost no energy. At temperature $T$ each spring holds $\tfrac12 k_B T$ of potential energy on
# average (**equipartition**). Its extension $x$ is Gaussian, hence
# $\langle x^4 \rangle = 3 \langle x^2 \rangle^2$, and the *variance* of its energy is
# $\tfrac12 (k_B T)^2$. Springs are independent, so variances add.
#
# **Write it: a derivation.** From this, find the standard deviation of the potential energy of $n$
# atoms at temperature $T$, in eV. Boltzmann's constant is `units.kB` = 8.617 × 10⁻⁵ eV/K.


# %%
def thermal_spread(n, T):
    return ...


lessons.check_thermal_spread(thermal_spread)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
def thermal_spread_solution(n, T):
    return np.sqrt((3 * n - 6) / 2) * units.kB * T  # a sum of 3n - 6 variances of (k_B T)²/2 each


assert lessons.check_thermal_spread(thermal_spread_solution, show=False)

# %%
thermal_spread = lessons.yours(
    thermal_spread, thermal_spread_solution, check=lessons.check_thermal_spread
)

# %% [markdown]
# **Predict.** Not every motion is a spring: the methyl and the OH group rotate. How well does the
# formula do for the 2,000 frames?

# %%
guess_spread = lessons.predict(
    "What is the ratio of the measured spread of the energies to that of the formula?",
    name="00-thermal-spread",
    stored=0.7,
    within=0.1,
)

# %%
expected_spread = thermal_spread(len(frame), 500)
measured_spread = float(np.std(ethanol.energy))
guess_spread.reveal(measured_spread / expected_spread)
print(f"formula {expected_spread:.3f} eV, frames {measured_spread:.3f} eV")

# %% [markdown]
# Springs are a good first picture of ethanol at 500 K. Keep the number in mind for the rest of the
# lesson: a model of these energies is worth something when its error is far below it.
#
# ## Many molecules at once
#
# Molecules differ in size, so several of them, a **batch**, cannot be one rectangular array.
# Instead we join all atoms into one long list; `batch` gives, for each atom, the molecule it
# belongs to. Here are three molecules of **QM9**, a set of small organic molecules of H, C, N, O
# and F with up to nine heavy (non-hydrogen) atoms. Of its 133,885 molecules, 130,831 passed the
# authors' consistency check, and those are the ones we use.

# %%
qm9 = scdlab.load_qm9(root=DATA)
small = qm9.take([0, 1, 6])
print("molecules   ", [qm9.to_ase(k).get_chemical_formula() for k in (0, 1, 6)])
print("z           ", small.z.tolist())
print("batch       ", small.batch.tolist())
print("positions   ", list(small.pos.shape), " energies", list(small.energy.shape))

# %% [markdown]
# A model maps such a batch to one energy for each molecule and one force for each atom.
#
# QM9 is sorted by size: these three are among the smallest. Whoever takes “the first 500” of it,
# for a test or for a look, sees nothing but small molecules. So throughout the kit a part of a data
# set is drawn at random, by `store.sample(n, seed)`.

# %%
some = qm9.sample(100, seed=SEED)
first_atoms = qm9[:100].n_atoms.mean()
print(
    f"atoms in a molecule: {first_atoms:.1f} in the first 100, {some.n_atoms.mean():.1f} in 100 drawn"
)

# %% [markdown]
# ## The idea: distances
#
# A molecule's energy does not depend on where the molecule is or how it is oriented. A model should
# know that before it has seen any data. The simplest way is to let it see only the **distances**
# between atoms,
#
# $$ r_{ij} = \lVert \mathbf{r}_j - \mathbf{r}_i \rVert . $$
#
# **Write it.** How many distances are there between $n$ atoms?


# %%
def pair_count(n):
    return ...


lessons.check_pair_count(pair_count)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
def pair_count_solution(n):
    return n * (n - 1) // 2  # each of n atoms meets n - 1 others, and each pair is met twice


assert lessons.check_pair_count(pair_count_solution, show=False)

# %%
pair_count = lessons.yours(pair_count, pair_count_solution, check=lessons.check_pair_count)
print(f"{len(frame)} atoms of ethanol: {pair_count(len(frame))} distances")

# %% [markdown]
# **Write it.** Now all distances of a molecule as a matrix: `pos` is a torch tensor [n, 3], the
# result is [n, n]. Forces will be made of its derivatives, so these must be finite, also where an
# atom meets itself.


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

# %%
distance_matrix = lessons.yours(
    distance_matrix, distance_matrix_solution, check=lessons.check_distances
)

# %% [markdown]
# **Predict.** Rotate the molecule by 90°. The distances stay. What else stays, and what changes?

# %%
guess_rotated = lessons.predict(
    "Which of these change when a molecule is rotated?",
    choices=[
        "its coordinates only",
        "its coordinates and its forces",
        "its coordinates, its forces and its energy",
    ],
    name="00-rotated",
    stored="its coordinates only",
)

# %% [markdown]
# To test it we need an energy that we can write down. One part of the true energy is simple: the
# nuclei repel each other, $\sum_{i<j} k z_i z_j / r_{ij}$ with $k$ = 14.4 eV Å. (Without the
# electrons that hold them together its forces are huge.) They come from torch's automatic
# differentiation (`autograd`).

# %%
z = torch.tensor(frame.numbers)
rotation = torch.tensor(Rotation.from_euler("z", 90, degrees=True).as_matrix())
i, j = torch.triu_indices(len(z), len(z), offset=1)  # each pair once, i < j


def repulsion(pos):
    """Energy (eV) and forces (eV/Å) of bare nuclei at pos [n, 3]."""
    pos = pos.clone().requires_grad_()
    energy = (14.4 * z[i] * z[j] / distance_matrix(pos)[i, j]).sum()
    return energy.detach(), -torch.autograd.grad(energy, pos)[0]


pos = torch.tensor(frame.positions)
energy, force = repulsion(pos)
energy_rotated, force_rotated = repulsion(pos @ rotation.T)
change = {
    "coordinates (Å)": (pos @ rotation.T - pos).abs().max().item(),
    "distances (Å)": (distance_matrix(pos @ rotation.T) - distance_matrix(pos)).abs().max().item(),
    "energy (eV)": (energy_rotated - energy).abs().item(),
    "forces (eV/Å)": (force_rotated - force).abs().max().item(),
    "forces, rotated along (eV/Å)": (force_rotated - force @ rotation.T).abs().max().item(),
}
for what, size in change.items():
    print(f"{what:30s} change by {size:.1e}")
energy_stays = change["energy (eV)"] < 1e-9
guess_rotated.reveal(
    "its coordinates and its forces"
    if energy_stays
    else "its coordinates, its forces and its energy"
)

# %% [markdown]
# The coordinates change by about 2 Å, the distances only by rounding error, and so does the energy
# that is made of them: it is **invariant**. The forces change, but in one way only: they rotate
# with the molecule (last line). Such a quantity is **equivariant**. Numbering the atoms in another
# order changes no physics either.
#
# One more step. A network that reads the bare number $r$ learns slowly; lesson 01 measures how
# slowly and says why. So each distance is expanded in a **radial basis** of $K$ Gaussians with
# centers $\mu_k$ and a width set by $\gamma$:
#
# $$ e_k(r) = \exp\left( -\gamma (r - \mu_k)^2 \right), \qquad k = 1, \dots, K . $$
#
# A short distance gives large values in the first few of them, a long one in the last.
#
# ## Look
#
# Choose a molecule, and one of its atoms (black ring). The model sees the atoms within the
# **cutoff**, drawn in full color, with blue lines to them; pairs further apart do not exist for it.
# The orange line is one of the distances; the bars are what the network reads in its place. Step
# from neighbor to neighbor and watch the bars.
#
# **Predict.** Look at a carbon atom, then at the hydrogens *on the carbon next to it*.

# %%
guess_cutoff = lessons.predict(
    "How large must the cutoff be for a carbon atom to see the hydrogens on its neighbor?",
    unit="Å",
    name="00-cutoff",
    stored=2.5,
    within=0.2,
)

# %%
explorer = explore.NeighborExplorer(some, molecule=12)
explore.described(
    explorer,
    "A molecule of QM9 with one atom ringed and its neighbors within the cutoff in full color; "
    "beside it its distances on an axis, and the Gaussians of one of them. A larger cutoff brings "
    "out more atoms.",
)
explorer

# %%
carbon = frame.get_distances(0, range(len(frame)))  # from the carbon of the methyl group
second = np.sort(carbon[frame.numbers == 1])[3:5]  # its own three hydrogens come first
guess_cutoff.reveal(float(second.max()))

# %% [markdown]
# Its own hydrogens sit at 1.1 Å, those one bond further at a little over 2 Å. A cutoff of 5 Å, the
# usual choice, holds all of ethanol and a good part of every molecule of QM9.
#
# ## Break it: rotate
#
# What if we feed in raw coordinates anyway? We take a learner that is simple and yet able to learn
# any smooth function, **kernel ridge regression**. It compares a new frame with every training
# frame, and adds up what they say,
#
# $$ \hat{E}(\mathbf{x}) = \bar{E} + \sum_k \alpha_k \,
# \exp\left( -\frac{\lVert \mathbf{x} - \mathbf{x}_k \rVert^2}{2 w^2} \right), $$
#
# where $\mathbf{x}$ are the inputs of a frame, $\bar{E}$ is the mean energy, and the weights
# $\alpha_k$ follow from one system of linear equations. (“Ridge” is a small number added to its
# diagonal, so that noise is not fitted.) The width $w$ is many times the spread of the inputs.
# Since whole frames are compared, all inputs act together.
#
# The frames are divided first. The **training** set is what the weights are fitted to. The
# **validation** set is for choices, such as when to stop. The **test** set is for the result, and
# decides nothing; 300 of its frames, drawn at random, will do here. Errors are given as the mean
# absolute error (**MAE**).
#
# To make it easy for coordinates, every frame is first moved so that its two carbons and its oxygen
# lie where those of the first frame lie.

# %%
train, val, test = ethanol.split(1000, 100, seed=SEED)
test = test.sample(300, seed=SEED)


def positions(store):
    """[frames, atoms, 3] Å."""
    return store.take(np.arange(len(store))).pos.view(len(store), -1, 3).double()


def energies(store):
    return torch.as_tensor(np.asarray(store.energy))


def oriented(pos):
    """Each frame moved so that its heavy atoms lie on those of the first frame."""
    heavy = frame.numbers > 1
    center = frame.positions[heavy].mean(axis=0)
    moved = pos.numpy() - pos.numpy()[:, heavy].mean(axis=1, keepdims=True)
    target = frame.positions[heavy] - center
    best = [Rotation.align_vectors(target, p[heavy])[0].apply(p) for p in moved]
    return torch.tensor(np.stack(best))


def kernel_ridge(x, y, width=16.0, ridge=1e-9):
    """Fit y [frames] by inputs x [frames, m]; returns a function that predicts."""
    mean, scale = x.mean(dim=0), x.std(dim=0).mean() * x.shape[1] ** 0.5

    def kernel(a, b):
        exact = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist((a - mean) / scale, (b - mean) / scale, compute_mode=exact)
        return torch.exp(-0.5 * (distance / width).square())

    alpha = torch.linalg.solve(kernel(x, x) + ridge * torch.eye(len(x)), y - y.mean())
    return lambda new: y.mean() + kernel(new, x) @ alpha


def mae(predicted):
    """Mean absolute error over the test frames, in eV."""
    return (predicted - energies(test)).abs().mean().item()


# %%
train_pos, test_pos = oriented(positions(train)), oriented(positions(test))


def coordinates(pos):
    return pos.flatten(start_dim=1)  # (frames, 27)


by_coordinates = kernel_ridge(coordinates(train_pos), energies(train))
errors = {
    "guess the mean": mae(energies(train).mean()),
    "coordinates": mae(by_coordinates(coordinates(test_pos))),
}
for name, error in errors.items():
    print(f"{name:20s} {1000 * error:4.0f} meV")

# %% [markdown]
# It works: on frames that all lie the same way, coordinates leave about 60 % of the error of the
# mean. Now rotate the test frames. Their true energies stay what they are.

# %%
guess_fails = lessons.predict(
    "The test frames are rotated by 90°. How large is the mean error of the coordinate fit now?",
    unit="eV",
    name="00-coordinates-rotated",
    stored=0.2,
)

# %%
angles = np.array([0, 2, 5, 10, 20, 45, 90, 135, 180])
spins = torch.tensor(Rotation.from_euler("z", angles[:, None], degrees=True).as_matrix())
rotated_errors = [mae(by_coordinates(coordinates(test_pos @ R.T))) for R in spins]
errors["coordinates, rotated by 90°"] = rotated_errors[list(angles).index(90)]
fails_at = int(angles[np.argmax(np.array(rotated_errors) > errors["guess the mean"])])


def rotation_figure(curves, text):
    figure = explore.compare_curves(
        angles, curves, "rotation", "energy MAE", "°", "eV", "Test frames, rotated", log="y"
    )
    return explore.described(figure, text)


curves = {
    "guess the mean": [errors["guess the mean"]] * len(angles),
    "coordinates": rotated_errors,
}
figure = rotation_figure(
    curves,
    f"Error against angle. The fit on coordinates has {errors['coordinates']:.2f} eV at 0°, is worse "
    f"than the mean from {fails_at}° on, and has {rotated_errors[-1]:.0f} eV at 180°.",
)
guess_fails.reveal(errors["coordinates, rotated by 90°"], figure, axis="y")
figure

# %% [markdown]
# To the fit, a rotated molecule is another molecule. A few degrees make it worse than the mean, and
# further on its energies are absurd, off by more than any bond is worth, since it has never seen
# such inputs. One remedy is to train on rotated copies, which takes more data and is never exact
# (lesson 05 comes back to it). The other is to choose inputs that do not change.
#
# **The fix** changes the input and nothing else: the same learner, with the same settings, reads
# the 36 distances.


# %%
def distances(pos):
    return torch.stack([distance_matrix(p)[i, j] for p in pos])  # (frames, 36)


by_distances = kernel_ridge(distances(train_pos), energies(train))
curves["distances"] = [mae(by_distances(distances(test_pos @ R.T))) for R in spins]
errors["distances"] = curves["distances"][0]
errors["distances, rotated by 90°"] = curves["distances"][list(angles).index(90)]
print(f"distances: {1000 * errors['distances']:.0f} meV at every angle")
rotation_figure(
    curves,
    f"The same with a fit on distances: a flat line at {errors['distances']:.3f} eV, below the mean "
    "at every angle.",
)

# %% [markdown]
# The line is flat, and it is lower than that of the coordinates even at 0°: a bond length is *one*
# of the inputs now, and need not be put together from six coordinates.
#
# ## Break it: renumber
#
# Rotation is one symmetry. The other is easily forgotten. The three hydrogens of the methyl group
# have the numbers 6, 7 and 8 (the first is 0), and nobody can say which is which. Exchange the
# numbers of two of them: the molecule is the same, atom for atom.

# %%
guess_renumbered = lessons.predict(
    "Two methyl hydrogens swap their numbers. How large is the error of the distance fit now?",
    unit="eV",
    name="00-renumbered",
    stored=0.03,
)

# %%
swap = [0, 1, 2, 3, 4, 5, 7, 6, 8]
errors["distances, renumbered"] = mae(by_distances(distances(test_pos[:, swap])))
times = errors["distances, renumbered"] / errors["distances"]
guess_renumbered.reveal(errors["distances, renumbered"])
print(f"{times:.0f} times the error before the swap")

# %% [markdown]
# The inputs of the fit belong to *numbered* pairs of atoms. Swap two numbers, and the distance of
# one hydrogen from the oxygen, say 2.6 Å, stands where the fit expects that of the other, 3.4 Å;
# the picture of the molecule has not changed at all. For the same reason this fit can never be used
# for a second molecule.
#
# **An experiment.** Pass on the numbers of all three methyl hydrogens in a circle, 6 → 7 → 8 → 6.
# Or swap a hydrogen of CH₂ (number 4) with that of OH (number 3). Which is worse than the swap
# above, which is not? Decide first, then change `swap`. What does the answer say about what the
# simulation has visited?

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
for what, order in (
    ("circle of CH₃", [0, 1, 2, 3, 4, 5, 7, 8, 6]),
    ("swap in CH₃", swap),
    ("CH₂ and OH", [0, 1, 2, 4, 3, 5, 6, 7, 8]),
):
    print(f"{what:13s} {mae(by_distances(distances(test_pos[:, order]))):6.2f} eV")
# In 40 ps the methyl group rotates many times. A rotation passes its hydrogens on in a circle, so
# the training frames hold all three circles, and the fit knows them. No rotation swaps two of them
# and leaves the third, and no frame has the hydrogen of OH on a carbon.

# %% [markdown]
# **Write it.** So we need numbers that change neither with rotation nor with numbering. Invent
# *one*: it must stay the same when the molecule is moved, rotated, or its atoms are numbered in
# another order, and it must depend on the shape. `z` is [n], `pos` is [n, 3].


# %%
def my_descriptor(z, pos):
    return ...


lessons.check_invariant(my_descriptor)


# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution: click to unfold.
def descriptor_solution(z, pos):
    i, j = torch.triu_indices(len(z), len(z), offset=1)
    return (z[i] * z[j] / distance_matrix(pos)[i, j]).sum()  # how strongly nuclei repel each other


assert lessons.check_invariant(descriptor_solution, show=False)

# %%
my_descriptor = lessons.yours(my_descriptor, descriptor_solution, check=lessons.check_invariant)


def described_by(pos):
    return torch.stack([torch.as_tensor(my_descriptor(z, p)).double() for p in pos])[:, None]


by_descriptor = kernel_ridge(described_by(train_pos), energies(train))
errors["your one number"] = mae(by_descriptor(described_by(test_pos)))
print(
    f"one number leaves {errors['your one number'] / errors['guess the mean']:.0%} of the mean's error"
)

# %% [markdown]
# One number is not enough to know an energy by: very different shapes share it. The way to many
# invariant numbers is the same, though. Take a function of each pair and **sum** it over all pairs
# of one kind; a sum does not know the order of its terms. With 24 Gaussians for each kind of pair
# (C–C, C–O, C–H, O–H, H–H) these are 120 numbers.


# %%
def sums_over_pairs(pos):
    """Gaussians of the distances, summed over the pairs of each two elements: [frames, 120]."""
    centers = torch.linspace(0, 5, 24)
    gamma = 0.5 / (centers[1] - centers[0]) ** 2
    bumps = torch.exp(-gamma * (distances(pos)[..., None] - centers) ** 2)  # (frames, 36, 24)
    kind = 100 * torch.minimum(z[i], z[j]) + torch.maximum(z[i], z[j])  # (36)
    return torch.cat([bumps[:, kind == k].sum(dim=1) for k in kind.unique()], dim=1)


by_sums = kernel_ridge(sums_over_pairs(train_pos), energies(train))
errors["sums over pairs"] = mae(by_sums(sums_over_pairs(test_pos)))
errors["sums over pairs, renumbered"] = mae(by_sums(sums_over_pairs(test_pos[:, swap])))
print(f"sums: {1000 * errors['sums over pairs']:.0f} meV, in every numbering")
shown = {
    name.replace(" by 90°", "").replace(", ", ",<br>"): error
    for name, error in errors.items()
    if name not in ("distances, rotated by 90°", "sums over pairs, renumbered")  # as without
}
figure = explore.compare_bars(
    shown, "energy MAE", "eV", "One learner, four inputs: errors on test frames", log=True
)
figure.update_xaxes(tickfont_size=12)
explore.described(
    figure,
    "Bars on a logarithmic axis. "
    + "; ".join(f"{name}: {error:.3f} eV" for name, error in errors.items())
    + ".",
)

# %% [markdown]
# The sums hold in every numbering and for every molecule of these elements. They pay for it in
# accuracy: a sum forgets which distances belong to the same atom, so the fit errs about twice as
# much as on numbered distances. A graph network, below, keeps both: it sums around *each atom*,
# step by step, and then over the atoms. That the energy is a sum over atoms has one more reason:
# two molecules far apart must have the sum of their energies, and they do where each atom's term
# depends on its neighbors alone.
#
# ## Break it: split by time
#
# All tests so far were easy in a way that we have not mentioned. The frames come from one
# simulation, 20 fs apart, and were dealt out at random: most test frames have a training frame as
# their neighbor in time. Within 20 fs fast vibrations have changed, but slow rotations of the OH
# and CH₃ groups hardly have. Such a test measures **interpolation** between frames that were seen.
# To measure more, cut the trajectory: train on its beginning, test on what comes after.
#
# **Predict.** With 300 training frames, a random split leaves an error near that of the mean. What
# about the *first* 300 frames, the first 6 ps, as the training set?

# %%
guess_blocked = lessons.predict(
    "Error after training on the first 300 frames, divided by that after 300 drawn at random?",
    name="00-split-by-time",
    stored=1.2,
)

# %%
counts = (100, 300, 1000)
by_split = {"drawn at random": [], "the beginning": []}
for n in counts:
    for name, blocks in (("drawn at random", None), ("the beginning", 1)):
        some_train, _, later = ethanol.split(n, 0, seed=SEED, blocks=blocks)
        later = later.sample(300, seed=SEED)
        fit = kernel_ridge(distances(positions(some_train)), energies(some_train))
        error = fit(distances(positions(later))) - energies(later)
        by_split[name].append(error.abs().mean().item())
time_ratio = by_split["the beginning"][1] / by_split["drawn at random"][1]
guess_blocked.reveal(time_ratio)
explore.described(
    explore.compare_curves(
        counts, by_split, "training frames", "energy MAE", unit="eV", title="Two ways to split"
    ),
    "Error against the number of training frames. Frames from the beginning of the trajectory give "
    + f"{time_ratio:.1f} times the error of random ones at 300, and the same error at 1,000.",
)

# %%
for k, n in enumerate(counts):
    drawn, beginning = by_split["drawn at random"][k], by_split["the beginning"][k]
    print(f"{n:5d} frames: {drawn:.3f} eV drawn at random, {beginning:.3f} eV from the beginning")

# %% [markdown]
# The same number of frames, the same learner, the same molecule. In its first picoseconds the
# simulation has not yet seen all that ethanol does, and the fit fails on what comes later. A
# thousand frames, half of the trajectory, have seen it, and there the two ways agree. So what
# counts is not the number of frames but the number of *independent* ones. Lessons that claim
# generalization split by time or by molecule; where a lesson draws frames at random, read its error
# as one of interpolation.
#
# ## Train a first network
#
# A **graph network** has no list of numbered pairs. Each atom sums over its neighbors, through the
# radial basis, and the energy is a sum over atoms. Lesson 01 builds the network, **SchNet**, from
# its parts. Here we only train it, on energies and forces together. The **loss**, the number that
# training makes small, weighs the two: with `energy_weight=0.1` a squared error of 1 eV² in the
# energy counts as much as 0.1 eV²/Å² in the forces. (SchNet's paper has 0.01; our training is
# short, and energies are what we compare here.) In the plot, the thin line is the error on training
# batches, the thick one that on the validation set. (Before it starts, `fit` warns that from one
# molecule nobody can learn how its energy divides among the elements. Here that does no harm.)

# %%
guess_network = lessons.predict(
    "Which has the smaller energy error on the test frames after this short training?",
    choices=["the network", "the kernel fit on numbered distances"],
    name="00-network",
    stored="the network",
)

# %%
torch.manual_seed(SEED)
model = scdlab.SchNet(hidden_channels=64, num_layers=2, num_rbf=20, cutoff=5.0)
objective = EnergyForces(energy_weight=0.1)
settings = dict(steps=STEPS, batch_size=8, lr=5e-3, seed=SEED, device=DEVICE)
result = scdlab.fit(model, objective, train, val, **settings)
validation = [v for v in result.history["val_force_mae"] if v == v]
explore.described(
    explore.learning_curve(result.history, "force_mae", "eV/Å", title="SchNet on ethanol"),
    f"Force error against training step, falling to {validation[-1]:.3f} eV/Å on validation frames.",
)

# %%
score = scdlab.evaluate(model, test)
true_forces = test.take(np.arange(len(test))).forces
zero_force = true_forces.abs().mean().item()
errors["SchNet"] = score["energy_mae"]
better = errors["SchNet"] < errors["distances"]
guess_network.reveal("the network" if better else "the kernel fit on numbered distances")
print(f"energy: mean {errors['guess the mean']:.3f} eV, distances {errors['distances']:.3f} eV, "
      f"SchNet {errors['SchNet']:.3f} eV")  # fmt: skip
print(f"forces: “no force” {zero_force:.3f} eV/Å, SchNet {score['force_mae']:.3f} eV/Å")

# %% [markdown]
# Always compare with the cheapest answer, the mean energy or no force at all: an error means
# nothing without it. The two energy errors may come out either way after so few steps. But the
# network also gives *forces*, the exact derivatives of its energy, and it does not mind how atoms
# are numbered.
#
# ## Prove it, then test it
#
# That distances do not rotate and sums do not know an order is a proof. A test guards against
# mistakes in the code. Here it is, in lines that you can change. **Predict** the one case that we
# have not spoken about: the **mirror image**. Many molecules are left- or right-handed, as gloves
# are.

# %%
guess_mirror = lessons.predict(
    "What happens to the energy of a model of distances when a molecule is mirrored?",
    choices=["it stays the same", "it changes sign", "it changes a little"],
    name="00-mirror",
    stored="it changes a little",
)

# %%
frame.calc = scdlab.Calculator(model)
before = frame.get_potential_energy()
order = np.random.default_rng(SEED).permutation(len(frame))
symmetry = {}
for what, numbers, where in (
    ("moved by 3 Å", frame.numbers, frame.positions + np.array([3.0, 0.0, 0.0])),
    ("rotated by 90°", frame.numbers, frame.positions @ rotation.numpy().T),
    ("renumbered", frame.numbers[order], frame.positions[order]),
    ("mirrored", frame.numbers, frame.positions * [1, 1, -1]),
    (
        "one atom moved by 0.1 Å",
        frame.numbers,
        frame.positions + 0.1 * (np.arange(len(frame)) == 8)[:, None],
    ),
):
    changed = frame.copy()
    changed.numbers, changed.positions = numbers, where
    changed.calc = scdlab.Calculator(model)
    symmetry[what] = abs(changed.get_potential_energy() - before)
    print(f"{what:25s} the energy changes by {symmetry[what]:.0e} eV")
guess_mirror.reveal("it stays the same" if symmetry["mirrored"] < 1e-3 else "it changes a little")

# %% [markdown]
# The first four are zero, up to the last digit of double precision; the last line shows that the
# model does not simply ignore its input. Blindness to mirror images is right for energies: the laws
# that hold molecules together do not distinguish left from right (the weak nuclear force does, by
# less than 10⁻¹⁰ eV). It would be wrong for a quantity such as the rotation of polarized light.

# %%
lessons.display_metrics(
    distance_change_A=change["distances (Å)"],
    spread_ratio=measured_spread / expected_spread,
    guess_mae_eV=errors["guess the mean"],
    coordinates_mae_eV=errors["coordinates"],
    coordinates_rotated_mae_eV=errors["coordinates, rotated by 90°"],
    distances_mae_eV=errors["distances"],
    distances_rotated_mae_eV=errors["distances, rotated by 90°"],
    distances_renumbered_mae_eV=errors["distances, renumbered"],
    descriptor_mae_eV=errors["your one number"],
    sums_mae_eV=errors["sums over pairs"],
    sums_renumbered_mae_eV=errors["sums over pairs, renumbered"],
    time_ratio_few=time_ratio,
    time_ratio_many=by_split["the beginning"][2] / by_split["drawn at random"][2],
    schnet_energy_mae_eV=errors["SchNet"],
    schnet_force_mae_eV_per_A=score["force_mae"],
    zero_force_mae_eV_per_A=zero_force,
    rotation_error_eV=symmetry["rotated by 90°"],
    mirror_error_eV=symmetry["mirrored"],
)

# %% [markdown]
# ## What to take away
#
# 1. A model maps atomic numbers and positions to one energy and to forces, its downhill slope.
# 2. A fit on coordinates works until the molecule is rotated; a fit on distances does not notice.
# 3. A fit on numbered distances works until atoms are renumbered; sums do not notice.
# 4. A test is worth what its split is worth: draw at random from sorted sets, cut trajectories in
#    time.
# 5. An error means something only beside the cheapest answer: the mean energy, or no force.
#
# ## What is simplified here
#
# - Labels are GFN2-xTB, not density functional theory; its energies cannot be compared with others.
# - One molecule at one temperature. Models for many molecules need many kinds of data.
# - Kernel ridge regression with one kernel and fixed settings. Better kernels of atomic
#   surroundings (SOAP, FCHL) are both invariant and accurate, and were the state of the art before
#   networks.
#
# ## What is contested
#
# Does a symmetry have to be built in? With enough data and rotated copies, networks that read
# coordinates learn it well enough for many purposes, and some of the largest models of 2024 and
# later do just that; they then depend a little on orientation, which matters for long simulations
# and for exact conservation laws. Lesson 05 measures how much. That energies do not depend on the
# numbering, on the other hand, hardly anybody leaves to learning.
#
# ## Quiz

# %%
lessons.quiz("00")

# %% [markdown]
# ## How sure were you?

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# - **Lesson 01** builds the network used above, SchNet, from four functions that you write.
# - From there on each lesson has a table: what the *paper* claims, what was *recorded* with this
#   kit, and what *you* just measured. `scdlab claims` prints all of it.
# - `scdlab doctor` reports what your machine has, and `scdlab data` which data sets are there. Set
#   `DATA` above (or the environment variable `SCDLAB_DATA`) to a folder of your own.
# - Everything on these pages works on your own molecules: `scdlab.AtomStore.from_file("my.xyz")`
#   takes the place of `scdlab.load_ethanol()`.
