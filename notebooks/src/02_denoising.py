# %% [markdown]
# # 02 · Denoising: learning from structures alone
#
# **After this lesson you can**
#
# - write the denoising objective in ten lines, and say what noise of 0.005 Å and of 0.04 Å does to
#   a molecule, in bond orders and in kelvin;
# - name the part of the noise that no network can see, and compute what it costs;
# - derive what a denoiser learns (the slope of a logarithm of a density), turn its answer into
#   forces, and measure how far they are right;
# - say where that ends: springs that are all equally stiff, a field with a curl, frames that heat
#   has displaced already.
#
# **Time.** About an hour to read and do. Its computations: quick profile, under two minutes on two
# CPU cores; the full profile is meant for a GPU. Before each training, `fit` says how long it will
# take.
#
# **Papers.** The method, “Coord” for short: S. Zaidi, M. Schaarschmidt, J. Martens, H. Kim, Y. W.
# Teh, A. Sanchez-Gonzalez, P. Battaglia, R. Pascanu, J. Godwin, *Pre-training via Denoising for
# Molecular Property Prediction*, ICLR 2023, [arXiv:2206.00133](https://arxiv.org/abs/2206.00133).
# The network: P. Thölke, G. De Fabritiis, *TorchMD-NET: Equivariant Transformers for Neural Network
# based Molecular Potentials*, ICLR 2022, [arXiv:2202.02541](https://arxiv.org/abs/2202.02541).
# Terms and symbols: [glossary](glossary.md).
#
# **How it goes on.** This lesson asks *what* a denoiser learns. What that is *worth* for other
# tasks is lesson 02b.

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": under two minutes on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import copy
import importlib.util

import numpy as np
import torch
from IPython.display import display
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import analysis, claims, explore, lessons
from scdlab.objectives import CoordinateDenoising, sample_noise

SIZES = {
    "quick": dict(floor_steps=200, pretrain=10_000, pretrain_steps=120, md_steps=250),
    "full": dict(floor_steps=2000, pretrain=120_000, pretrain_steps=20_000, md_steps=10_000),
}
S = SIZES[PROFILE]

# %% [markdown]
# ## The idea
#
# A label costs a quantum-chemical calculation. A structure costs much less, and there are far more
# of them. **What can be learned from structures alone, before anybody computes a label?**
#
# Take a molecule in an energy minimum. Displace every atom by a little random noise. Ask a network
# what the noise was:
#
# $$\tilde{x} = x + \varepsilon, \qquad \varepsilon \sim \mathcal{N}(0, \sigma^2 I), \qquad
# L = \frac{1}{3N} \left\| \hat{\varepsilon}(\tilde{x}) - \frac{\varepsilon}{\sigma} \right\|^2 .$$
#
# - $x \in \mathbb{R}^{N \times 3}$: the positions of the $N$ atoms in Å;
# - $\varepsilon$: the noise, drawn anew each time, every component from a normal distribution of
#   standard deviation $\sigma$ (in Å);
# - $\tilde{x}$: the noisy positions, which are all that the network sees;
# - $\hat{\varepsilon}(\tilde{x})$: its answer, three numbers for each atom, in units of $\sigma$.
#
# The answer “no noise” has the [loss](glossary.md#loss) 1 on average, and a perfect answer 0. To
# answer well, a network must know where atoms like to be: how long a C=O bond is, which angles
# carbon makes, that benzene is flat. No label says so. The smallest example is water:

# %%
water = scdlab.AtomStore.geometry(scdlab.from_smiles("O"))  # "O" is the SMILES text of water
batch = water.take([0])
generator = torch.Generator().manual_seed(SEED)
eps, _ = sample_noise(batch, sigma=0.04, generator=generator, centered=False)
for z, x, e in zip(batch.z.tolist(), batch.pos, eps, strict=True):
    target = (e / 0.04).numpy().round(2)
    print(f"z = {z}   x = {x.numpy().round(2)} Å   ε = {e.numpy().round(3)} Å   ε/σ = {target}")
view = explore.view_molecule(
    (batch.z, batch.pos + eps),
    {"ε": dict(vectors=eps, unit="Å", start=batch.pos)},
    title="Water with noise of 0.04 Å: where the atoms went",
    size=(520, 300),
)
explore.described(
    view, "A water molecule; an arrow at each atom, of its own length and direction, is its noise."
)

# %% [markdown]
# ## How much noise is much?
#
# Two yardsticks. The first is the **bond**. Each order of bond has a typical length: a C–C single
# bond 1.50 Å, a double bond 1.34 Å, a triple bond 1.20 Å (the sum of tabulated radii of the two
# atoms). We *read* a bond as the order whose typical length is nearest, and call it *misread* when
# noise has moved it nearer to another order. Both ends of a bond move, so its length changes by
# about $\sqrt{2}\,\sigma$ (standard deviation).
#
# The second is **heat**. Near a minimum, a molecule of $N$ atoms is a set of $3N - 6$ springs, its
# vibrations. At temperature $T$ each of them holds $k_B T/2$ of potential energy on average
# ([equipartition](glossary.md#equipartition); $k_B = 8.617 \times 10^{-5}$ eV/K is Boltzmann's
# constant). So any rise of the energy can be read as a temperature.
#
# **Write it.** The noise has raised the energy of a molecule of `n_atoms` atoms by `rise` eV. At
# which temperature, in K, does heat raise its mean potential energy by as much?


# %%
def my_temperature(rise, n_atoms):
    return ...


lessons.check_temperature(my_temperature)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def temperature_solution(rise, n_atoms):
    return 2 * rise / ((3 * n_atoms - 6) * 8.617333e-5)


assert lessons.check_temperature(temperature_solution, show=False)

# %%
temperature = lessons.yours(my_temperature, temperature_solution, lessons.check_temperature)
shipped = scdlab.load_pretrained("coord-et")  # trained for longer than a lesson lasts, by Coord
qm9 = scdlab.load_qm9(root=DATA)
held_out, _, rest = qm9.split(min(5000, len(qm9) // 2), 0, seed=0)  # drawn at random
explorer = explore.NoiseExplorer(held_out, model=shipped, molecule=11, sigma=0.005, seed=SEED)

# %% [markdown]
# **Predict.** The explorer below shows a molecule of eleven atoms. Both questions are about it:

# %%
guess_misread = lessons.predict(
    "At which σ is one of this molecule's bonds misread, on average?",
    unit="Å",
    name="02-bond-sigma",
    stored=0.2,
)
guess_hot = lessons.predict(
    "At which σ has the noise raised its energy as much as heat of 300 K would?",
    unit="Å",
    name="02-temperature-sigma",
    stored=0.1,
)

# %% [markdown]
# Three arrows start at each displaced atom: the way back, $-\varepsilon$; the way back that a
# [pretrained](glossary.md#pretraining) network gives, $-\hat\varepsilon$; and the force $F$, from
# [GFN2-xTB](glossary.md#GFN2-xTB), the fast quantum chemistry of lesson 00. The lowest panel
# compares them by cosines, taken over all $3N$ numbers at once: 1 means the same direction, 0 means
# perpendicular. We come back to these in the last part. (The explorer takes the mean off its noise;
# you will soon see why.)
#
# Move $\sigma$, and **find out** which bonds are misread first, and how the energy grows with
# $\sigma$.

# %%
explore.described(
    explorer,
    "A molecule of eleven atoms under noise, with three arrows at each atom. Beside it three "
    "panels: bond lengths in the bands of single, double and triple bonds; the energy against σ, "
    "rising as its square; and three cosines against σ, all between 0.5 and 1 at 0.04 Å.",
)
explorer

# %% [markdown]
# Sliders and Python share one state, so you can also query the explorer from code. Here it counts
# misread bonds over many draws of the noise, and GFN2-xTB gives the energies:

# %%
sigmas = np.geomspace(0.005, 0.14, 12)
misread = []
for sigma in sigmas:
    explorer.sigma = sigma
    misread.append(explorer.state()["bonds_blurred_mean"])
explorer.sigma = 0.04
one_misread = float(np.interp(1.0, misread, sigmas))
figure = explore.compare_curves(
    sigmas, {"measured": misread}, "σ", "bonds misread", x_unit="Å", log="x"
)
guess_misread.reveal(one_misread, figure, axis="x")
explore.described(
    figure,
    f"Misread bonds against σ: next to none at 0.005 Å, one at {one_misread:.3f} Å, "
    f"{misread[-1]:.1f} of {explorer.state()['bonds']} at 0.14 Å.",
)

# %%
gfn2 = analysis.Reference("gfn2") if importlib.util.find_spec("tblite") else None
molecule = explorer.atoms  # relaxed to the minimum of GFN2-xTB
if gfn2:
    rise = analysis.energy_against_sigma(molecule, sigmas, gfn2, seed=SEED, draws=10).mean(0)
    kelvin = [temperature(float(e), len(molecule)) for e in rise]
    figure = explore.compare_curves(
        sigmas,
        {"measured": kelvin},
        "σ",
        "temperature of equal energy",
        x_unit="Å",
        unit="K",
    )
    at_004 = float(np.interp(0.04**2, sigmas**2, kelvin))  # nearly a straight line against σ²
    sigma_300 = float(np.interp(300, kelvin, sigmas**2)) ** 0.5
    guess_hot.reveal(sigma_300, figure, axis="x")
    print(f"0.005 Å: {kelvin[0]:.0f} K; 0.04 Å: {at_004:.0f} K; 0.14 Å: {kelvin[-1]:,.0f} K")
    explore.described(
        figure,
        f"Temperature of equal energy against σ, nearly a straight line of slope 2 on logarithmic "
        f"axes: 300 K at {sigma_300:.3f} Å, {at_004:.0f} K at 0.04 Å.",
    )
    display(figure)
    temperatures = {"kelvin_at_0005_A": kelvin[0], "kelvin_at_004_A": at_004}
    temperatures["kelvin_at_014_A"] = kelvin[-1]
else:
    temperatures = {}
    guess_hot.reveal(0.025)
    print("GFN2-xTB is not installed here; where it was, 0.04 Å came out at about 760 K.")

# %% [markdown]
# Bonds near a border are misread first: here C–N of the amide, 1.36 Å, which lies between single
# and double even without noise. And the energy grows as $\sigma^2$, as that of springs must.
#
# So there are two regimes. Noise of **0.005 Å regularizes**: bonds read as before, and the molecule
# is some ten kelvin warm. Noise of **0.04 Å corrupts**: the first bonds are misread, and the energy
# is that of several hundred kelvin. It is the size used for pretraining, since undoing it takes
# some chemistry. At 0.14 Å, which lesson 02b meets again, the molecule is hotter than the surface
# of the sun.
#
# Heat and noise of equal energy are nevertheless different things. **Heat puts the same energy into
# every vibration; noise moves every atom equally far, on average.** A stiff bond resists, so it
# takes most of the noise's energy; a soft [torsion](glossary.md#torsional-noise) hardly notices.
# Keep this in mind: it decides what the network can learn.
#
# (A detail on minima. The network was trained on those of [QM9](glossary.md#QM9), which come from
# [density functional theory](glossary.md#density-functional-theory), [B3LYP](glossary.md#B3LYP).
# The explorer relaxes with GFN2-xTB, whose minima differ a little:)

# %%
bonds = analysis.bonds_of(molecule)
here, there = (
    analysis.bond_lengths(positions, bonds)
    for positions in (molecule.positions, held_out.to_ase(11).positions)
)
print(f"bond lengths of the two minima differ by {np.abs(here - there).mean():.3f} Å on average")

# %% [markdown]
# ## Write it: the objective in ten lines
#
# **Write it.** Displace only the atoms where `mask` [N] is True, by `eps` [N, 3] (in Å). Return the
# noisy positions [N, 3], and the targets of the displaced atoms in units of `sigma`, [M, 3] for M
# of them. (In this lesson the mask holds all atoms; lesson 03 will need the general form.)


# %%
def my_corrupt(pos, eps, mask, sigma):
    return ...


lessons.check_corrupt(my_corrupt)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def corrupt_solution(pos, eps, mask, sigma):
    return pos + eps * mask[:, None], eps[mask] / sigma


assert lessons.check_corrupt(corrupt_solution, show=False)

# %% [markdown]
# Corrupt, predict, compare. That is the whole objective; does it agree with the library's?

# %%
corrupt = lessons.yours(my_corrupt, corrupt_solution, lessons.check_corrupt)


def denoising_loss(model, batch, sigma, generator, center=None):
    """The mean squared error per component, in units of σ²."""
    eps = sigma * torch.randn(batch.pos.shape, generator=generator)  # ε (N, 3) Å
    if center is not None:
        eps = center(eps, batch.batch)  # for later
    every_atom = torch.ones(len(eps), dtype=torch.bool)
    noisy = copy.copy(batch)  # shallow: the caller's batch keeps its positions
    noisy.pos, target = corrupt(batch.pos, eps, every_atom, sigma)
    answer = model(noisy, noise=True).noise  # (N, 3)
    return (answer - target).square().mean()


def fresh(**options):
    """A new transformer of the shipped one's size; the same first weights whenever SEED is."""
    torch.manual_seed(SEED)
    return scdlab.EquivariantTransformer(**{**shipped.config, **options})


sample = held_out.sample(64, seed=SEED).take(range(64))
model = fresh()
ours = denoising_loss(model, sample, 0.04, torch.Generator().manual_seed(SEED))
library = CoordinateDenoising(sigma=0.04, centered=False)
theirs, _ = library(model, sample, torch.Generator().manual_seed(SEED))
print(f"ours {ours.item():.6f}, the library's {theirs.item():.6f}")
print(f"largest difference: {(ours - theirs).abs().item():.1e}")

# %% [markdown]
# ## An answer that rotates with the molecule
#
# The answer is a vector for each atom. When the molecule is rotated, all of them must rotate with
# it. SchNet's features are made of distances, which do not change; no layer on top of them can say
# “up”. So the **equivariant transformer** gives each atom two kinds of features: scalars
# $s_i \in \mathbb{R}^d$, which stay, and $d$ vectors $v_i \in \mathbb{R}^{3 \times d}$, which
# rotate. A layer updates the vectors like this:
#
# $$v_i \leftarrow v_i
#   + \sum_{j \neq i} a_{ij} \Big( f_{ij} \circ \hat{r}_{ij} + g_{ij} \circ v_j \Big),
#   \qquad a_{ij} = \mathrm{SiLU}\big( q(s_i) \cdot [k(s_j) \circ w(r_{ij})] \big) .$$
#
# $\hat{r}_{ij}$ is the unit vector from atom $i$ to atom $j$, at distance $r_{ij}$. The number
# $a_{ij}$ is the **attention** that $i$ pays to $j$: a *query* $q$ of one atom meets a *key* $k$ of
# the other, weighted by their distance ($q$, $k$, $w$ are learned;
# $\mathrm{SiLU}(t) = t/(1+e^{-t})$ passes positive numbers and all but stops negative ones). $f$
# and $g$ are further scalars made of $s_j$ and $r_{ij}$. At the end each atom's $d$ vectors are
# read out as one, $\hat\varepsilon_i = v_i u$ with learned numbers $u \in \mathbb{R}^d$. (In the
# network $u$ depends on the scalars $s_i$, which each layer updates with the same attention.)
#
# Vectors are only ever added, and multiplied by scalars. Both commute with a rotation, so the
# answer rotates with the molecule, whatever the weights are. You need not believe it; here is one
# layer with random weights, and a test that you can try to break:

# %%
torch.manual_seed(SEED)
d = 8
table, Wq, Wk, Wf = torch.randn(10, d), torch.randn(d, d), torch.randn(d, d), torch.randn(d, d)
u = torch.randn(d)


def one_layer(z, pos):
    """Attention, vectors, read-out: atomic numbers (n), positions (n, 3) -> answers (n, 3)."""
    s = table[z]  # scalars (n, d)
    r = pos[None, :] - pos[:, None]  # (n, n, 3), from i to j
    length = r.norm(dim=-1) + torch.eye(len(pos))  # (n, n); 1 on the diagonal avoids 0/0
    unit = r / length[:, :, None]
    w = torch.exp(-length)[:, :, None]  # (n, n, 1)
    a = torch.nn.functional.silu(((s @ Wq)[:, None] * (s @ Wk)[None] * w).sum(-1))  # (n, n)
    f = (s @ Wf)[None] * w  # (n, n, d)
    v = torch.einsum("ij,ijc,ijk->ikc", a, f, unit)  # (n, 3, d): weights times directions
    return v @ u  # (n, 3)


one = held_out.take([11])
R = torch.tensor(Rotation.random(random_state=SEED).as_matrix(), dtype=torch.float32)


def is_equivariant(answer):
    """Whether the answer of the rotated molecule is the rotated answer, to rounding."""
    before = answer(one.z, one.pos)
    error = (answer(one.z, one.pos @ R.T) - before @ R.T).abs().max() / before.abs().max()
    return bool(error < 1e-4)


print("one layer:           ", is_equivariant(one_layer))
print("its components by |·|:", is_equivariant(lambda z, pos: one_layer(z, pos).abs()))
print("plus a fixed “up”:   ", is_equivariant(lambda z, pos: one_layer(z, pos) + torch.eye(3)[2]))

# %%
rotated = copy.copy(one)
rotated.pos = one.pos @ R.T
with torch.no_grad():
    answer = shipped(one, noise=True).noise
    rotation_error = float((shipped(rotated, noise=True).noise - answer @ R.T).abs().max())
print(f"the transformer: {rotation_error:.0e}, of answers up to {answer.abs().max():.2f}")

# %% [markdown]
# The error of the whole network is rounding, too. The usual alternative, data
# [augmentation](glossary.md#augmentation), shows a network rotated copies until it has learned,
# approximately, to rotate its answer.
#
# ## Break it: noise that nobody can see
#
# Our loss has a flaw. Move all atoms by one and the same vector: no distance changes, and neither
# does the answer. But the noise contains such a move: it is its mean,
# $\bar\varepsilon = \frac{1}{N} \sum_i \varepsilon_i$. What does that cost?
#
# Let $d_i = \hat\varepsilon_i - \varepsilon_i/\sigma$ be the error at atom $i$, and $\bar d$ its
# mean. The loss splits into two parts that add up exactly,
#
# $$\frac{1}{3N} \sum_i |d_i|^2 \;=\; \frac{1}{3N} \sum_i |d_i - \bar d|^2 \;+\;
# \underbrace{\tfrac13 |\bar d|^2}_{\text{the part in the mean}} .$$
#
# **Write it.** A perfect network is right about everything it can see, and answers with the mean 0,
# since it cannot see the mean. Noise is independent for each atom, of variance 1 per component (in
# units of $\sigma$). Which loss per component is left, for a molecule of `N` atoms?


# %%
def my_floor(N):
    return ...


lessons.check_noise_floor(my_floor)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def floor_solution(N):
    # The mean of N independent numbers of variance 1 has variance 1/N. It is independent of the
    # differences, which are all that the network sees, so its best answer to the mean is 0.
    return 1 / N


assert lessons.check_noise_floor(floor_solution, show=False)

# %% [markdown]
# A floor shows only when the loss comes near it. So we train on six small molecules; the smallest
# are memorized in seconds. This time the loop is on the page:

# %%
floor = lessons.yours(my_floor, floor_solution, lessons.check_noise_floor)
SMALL = ("O", "N", "C", "CC", "C1CC1", "c1ccccc1")  # water, ammonia, methane … benzene
six = scdlab.AtomStore.geometry([scdlab.from_smiles(smiles) for smiles in SMALL])
N = six.n_atoms


def trained(center=None, steps=S["floor_steps"], lr=1e-2):
    """A small transformer after so many steps on the six molecules."""
    net = fresh(hidden_channels=32, num_layers=2)
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(steps):
        batch = six.take(torch.randint(6, (32,), generator=generator).numpy())
        optimizer.zero_grad()
        denoising_loss(net, batch, 0.04, generator, center).backward()
        optimizer.step()
        rates.step()
    return net.eval()


def errors(net, k, center=None, draws=500):
    """d_i of molecule k for many draws of the noise, [draws, N, 3], in units of σ."""
    batch = six.take([k] * draws)
    eps = 0.04 * torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(SEED))
    if center is not None:
        eps = center(eps, batch.batch)
    batch.pos = batch.pos + eps
    with torch.no_grad():
        return (net(batch, noise=True).noise - eps / 0.04).view(draws, -1, 3)


def loss_and_mean_part(net, center=None):
    """For each of the six molecules: the loss, and the part of it in the mean. [2, 6]"""
    d = [errors(net, k, center) for k in range(6)]
    return np.array([[e.square().mean(), e.mean(1).square().mean()] for e in d]).T


# %% [markdown]
# **Predict.** Water has three atoms.

# %%
guess_floor = lessons.predict(
    "Which part of water's loss will lie in the mean of the noise, after training?",
    name="02-floor-water",
    stored=0.1,
)

# %%
loss, in_the_mean = loss_and_mean_part(trained())
curves = {
    "your floor(N)": [floor(int(n)) for n in N],
    "loss": loss,
    "part in the mean": in_the_mean,
}
figure = explore.compare_curves(
    N, curves, "number of atoms N", "loss", unit="σ²", title="Noise as it comes", log=""
)
guess_floor.reveal(float(in_the_mean[0]), figure, axis="y")
explore.described(
    figure,
    f"Loss against the number of atoms. The part in the mean falls from {in_the_mean[0]:.2f} for "
    f"water to {in_the_mean[-1]:.2f} for benzene, on the line 1/N; the whole loss lies above it.",
)

# %% [markdown]
# The part in the mean lies on $1/N$, or just above it where the network answers with a mean of its
# own. No training brings it below. **The fix** is one line: before the noise is used, take its mean
# off, $\varepsilon_i \leftarrow \varepsilon_i - \bar\varepsilon$. Then the network is not asked for
# what it cannot see.
#
# **Write it.** A [batch](glossary.md#batch) holds several molecules, and `batch` [N] says for each
# atom which one it belongs to. Take the mean off the noise `eps` [N, 3], for each molecule its own.


# %%
def my_center(eps, batch):
    return ...


lessons.check_center(my_center)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def center_solution(eps, batch):
    count = torch.bincount(batch)[:, None]  # (B, 1)
    mean = torch.zeros(len(count), 3).index_add(0, batch, eps) / count  # (B, 3)
    return eps - mean[batch]


assert lessons.check_center(center_solution, show=False)

# %% [markdown]
# **Predict.** The same molecules, network and steps, with centered noise. Water is learned by heart
# in no time.

# %%
center = lessons.yours(my_center, center_solution, lessons.check_center)
LEFT = ["next to nothing", "about 1/N again", "as much as before"]
guess_centered = lessons.predict(
    "How much of water's loss is left now?", choices=LEFT, name="02-centered-water", stored=LEFT[0]
)

# %%
net = trained(center)
centered_loss, _ = loss_and_mean_part(net, center)
curves["loss, centered noise"] = centered_loss
figure = explore.compare_curves(
    N, curves, "number of atoms N", "loss", unit="σ²", title="Noise with its mean taken off", log=""
)
left = 3 * float(centered_loss[0])  # in units of 1/N
guess_centered.reveal(LEFT[0] if left < 0.5 else LEFT[2] if left > 1.9 else LEFT[1])
print(f"water: {loss[0]:.2f} before, {centered_loss[0]:.2f} with centered noise")
explore.described(
    figure,
    f"The same plot with a fourth curve, the loss with centered noise. It lies below the loss with "
    f"noise as it comes; for water it is {centered_loss[0]:.2f}, near the line 1/N once more.",
)

# %% [markdown]
# The loss has come down for every molecule. (A small part of that is no merit: centered noise is
# smaller, so that even the answer “no noise” has the loss $1 - 1/N$.) But water does not fall to
# zero: it stops near $1/N$ again. The larger molecules are still far above; they need longer
# training. **What else can the network not see?** Think before you read on.
#
# *Rotations.* A molecule does not know how it is oriented, and the noise rotates it a little. That
# hides three more directions out of $3N$, hence $1/N$ once more for any molecule that is not a
# straight line. They can be removed as well, to first order: a small rotation about the axis
# $\omega$ moves atom $i$ by $\omega \times (x_i - \bar x)$, so there are three directions in the
# space of all $3N$ coordinates, and noise can be projected off them.
#
# **Write it.** `eps` [n, 3] is the noise of *one* molecule at positions `pos` [n, 3]. Take off it
# what moves or rotates the molecule as a whole. (The three rotations are not perpendicular to each
# other: `torch.linalg.qr` makes an orthonormal basis of the columns of a matrix.)


# %%
def my_visible(eps, pos):
    return ...


lessons.check_rigid(my_visible)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def visible_solution(eps, pos):
    axes = torch.eye(3, dtype=pos.dtype)
    x = pos - pos.mean(0)
    moves = [axis.expand_as(x) for axis in axes]
    rotations = [torch.linalg.cross(axis.expand_as(x), x) for axis in axes]
    rigid = torch.stack(moves + rotations).flatten(1).T  # (3n, 6)
    q, _ = torch.linalg.qr(rigid)
    return eps - (q @ (q.T @ eps.flatten())).view_as(eps)


assert lessons.check_rigid(visible_solution, show=False)

# %%
visible = lessons.yours(my_visible, visible_solution, lessons.check_rigid)
d = errors(net, 0, center, draws=300)  # water, centered noise
pos = six.take([0]).pos
seen = torch.stack([visible(each, pos) for each in d])
rotations_left = 3 * float(d.square().mean() - seen.square().mean())
print(f"water's loss with centered noise: {d.square().mean():.3f}")
print(f"  in the rotations {rotations_left:.2f}/N, in what is visible {seen.square().mean():.3f}")

# %%
mean_times_N = float((N * in_the_mean).mean())
water_left = float(3 * centered_loss[0])
yours = {"noise_mse_centered": centered_loss.mean(), "noise_mse_uncentered": loss.mean()}
for size, k in (("small", 0), ("large", 5)):  # water, benzene
    yours[f"gap_{size}"] = loss[k] - centered_loss[k]
    yours[f"mean_mse_{size}"] = in_the_mean[k]
    yours[f"floor_{size}"] = 1 / N[k]
claims.compare("coord-noise-floor", yours)

# %% [markdown]
# So most of what water keeps is rotation, and what the network can see is nearly learned. For QM9,
# with 18 atoms on average, each of the two floors is about 0.06: little beside the loss of 1 at the
# start, but a fifth or more of what the shipped network, below, leaves at the end. The released
# code of the paper does not center at all. Now you know what that costs.
#
# (In the table your small molecule is water and your large one benzene. The claim takes the 1,000
# smallest and the 1,000 largest of 5,000 unseen molecules. Its rule wants the part in the mean
# within 10 % of $1/N$ in every seed; a network that answers with a mean of its own misses that.)
#
# ## Train: no labels
#
# Now for the real thing: thousands of molecules of QM9, their geometries, and no label. SchNet
# takes part as well. It has no vectors, but it has an energy, and the gradient of an energy is a
# vector that rotates: $\hat\varepsilon = \partial E / \partial x$, up to a scale. No label says
# what this $E$ should be.

# %%
guess_further = lessons.predict(
    "Which network leaves less of the noise after equally many steps?",
    choices=["transformer", "SchNet"],
    name="02-which-network",
    stored="SchNet",
)

# %%
TRAIN = dict(batch_size=32, seed=SEED, device=DEVICE)
objective = CoordinateDenoising(sigma=0.04)  # centered
pretrain = rest.sample(min(S["pretrain"], len(rest)), seed=SEED)
unseen = held_out.sample(500, seed=SEED)
coord = fresh()
schnet = scdlab.SchNet(hidden_channels=shipped.hidden_channels, num_layers=3)
histories = {}
noise_left = {}
for name, net in (("transformer", coord), ("SchNet", schnet)):
    run = scdlab.fit(net, objective, pretrain, steps=S["pretrain_steps"], lr=3e-3, **TRAIN)
    histories[name] = run.history
    noise_left[name] = scdlab.evaluate(net.cpu(), unseen, objective)["noise_unexplained"]
noise_left["shipped"] = scdlab.evaluate(shipped, unseen, objective)["noise_unexplained"]

# %%
figure = explore.learning_curve(histories, quantity="noise_mse", unit="σ²", title="Denoising QM9")
figure.add_hline(y=noise_left["shipped"], line_dash="dot", annotation_text="shipped")
figure.update_yaxes(type="linear", dtick=0.1)
best = min(("transformer", "SchNet"), key=noise_left.get)
guess_further.reveal(best, figure)
for name, history in histories.items():
    early = history["noise_mse"][: len(history["noise_mse"]) // 2]
    print(f"{name}: mean loss {np.mean(early):.2f} in the first half of the training")
for name, left in noise_left.items():
    print(f"{name} leaves {100 * left:.0f} % of the noise in 500 unseen molecules")
made = shipped.provenance["settings"]
drawn = made["pretrain_steps"] * made["pretrain_batch"]
print(f"shipped saw {drawn:,} molecules, drawn from {made['n_pretrain']:,}")
explore.described(
    figure,
    "Loss against training step for the transformer and SchNet. Both fall; after the last step "
    f"they leave {100 * noise_left['transformer']:.0f} and {100 * noise_left['SchNet']:.0f} % of "
    f"the noise, and the shipped network {100 * noise_left['shipped']:.0f} %.",
)

# %% [markdown]
# SchNet starts faster; whether it is ahead in the end depends on how long you train. A gradient
# costs a second differentiation, but it needs no vectors, so any network with an energy can
# denoise. From here on we keep the transformer. “Shipped” has the same size as yours and was
# trained for longer, by the recipe of one of our claims; the molecules held out here were not among
# those it drew from. Part of what it leaves is the rotations, which no training takes away.
#
# ## What has it learned? One coordinate first
#
# Let $x$ be a single number, the stretch of a spring. Heat makes it normal, with mean 0 and
# standard deviation $s$. We add noise of size $\sigma$ and see $\tilde x = x + \varepsilon$. What
# was the noise? The squared error is smallest for the *mean* of all $\varepsilon$ that may have led
# to this $\tilde x$.
#
# **Write it** (a derivation). Give that mean, $\mathbb{E}[\varepsilon \mid \tilde x]$, in Å. Two
# ways lead there: complete the square in $p(x)\, p(\varepsilon)$ with $x = \tilde x - \varepsilon$;
# or use that for two normal variables of mean 0 the best guess is linear, and that its slope is
# their covariance over the variance of what is known.


# %%
def my_best_answer(noisy, s, sigma):
    return ...


lessons.check_best_answer(my_best_answer)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def best_answer_solution(noisy, s, sigma):
    # cov(ε, x̃) = σ², var(x̃) = s² + σ². Of x̃, the share σ²/(s² + σ²) was noise.
    return sigma**2 / (s**2 + sigma**2) * noisy


assert lessons.check_best_answer(best_answer_solution, show=False)

# %% [markdown]
# Does it agree with an experiment? We draw a hundred thousand pairs for a stiff spring and for a
# soft one, sort them by $\tilde x$, and average the noise (dots). A third case has no heat at all:
# every $x$ is 0, as in a data set of minima.

# %%
best_answer = lessons.yours(my_best_answer, best_answer_solution, lessons.check_best_answer)
rng = np.random.default_rng(SEED)
sigma = 0.04  # Å
edges = np.linspace(-0.1, 0.1, 21)
middle = (edges[1:] + edges[:-1]) / 2
figure = explore.compare_curves(
    middle,
    {
        f"{name}, s = {s:.2f} Å": [best_answer(float(x), s, sigma) for x in middle]
        for name, s in (("minima only", 1e-9), ("stiff", 0.04), ("soft", 0.15))
    },
    "noisy stretch x̃",
    "mean of the noise",
    x_unit="Å",
    unit="Å",
    title="One noise, three springs",
    log="",
)
for s in (1e-9, 0.04, 0.15):  # the first stands for 0, which your formula may divide by
    x = s * rng.standard_normal(100_000)
    e = sigma * rng.standard_normal(100_000)
    which = np.digitize(x + e, edges)
    means = [e[which == k + 1].mean() for k in range(20)]
    figure.add_scatter(x=middle, y=means, mode="markers", marker_color="black", showlegend=False)
explore.described(
    figure,
    "Mean noise against the noisy stretch: three straight lines through zero, with measured dots "
    "on them. Slope 1 where there are minima only, 0.5 for the stiff spring, 0.07 for the soft.",
)

# %% [markdown]
# The best answer is a *share* $\sigma^2/(s^2 + \sigma^2)$ of what one sees: half for the stiff
# spring, 7 % for the soft one. Where a spring is soft, a large $\tilde x$ was probably heat, and
# the network should keep quiet. Where there are minima only, all of $\tilde x$ is noise, **and a
# stiff spring and a soft one look the same**: the slope is 1 for both.
#
# Now write the same answer in another way. The density of noisy values is $p_\sigma$, normal with
# variance $s^2 + \sigma^2$, and the slope of its logarithm is $-\tilde x/(s^2 + \sigma^2)$. So
#
# $$\mathbb{E}[\varepsilon \mid \tilde x] \;=\; -\sigma^2\, \frac{d}{d\tilde x} \log p_\sigma(\tilde x) .$$
#
# This holds for *every* density and in any number of dimensions ([Tweedie's
# formula](glossary.md#Tweedie's-formula), also named after K. Miyasawa, *Bull. Inst. Internat.
# Statist.* 38, 181, 1961; that training on the noise finds it was shown by P. Vincent, *Neural
# Computation* 23, 1661, 2011). The slope $\nabla \log p$ is called the **score**. In units of
# $\sigma$, the best possible answer is
#
# $$\hat\varepsilon(\tilde{x}) = -\sigma\, \nabla \log p_\sigma(\tilde{x}).$$
#
# ## From the score to forces
#
# Suppose that the structures come from a simulation at temperature $T$. Before the noise their
# density is Boltzmann's, $p \propto e^{-E/k_B T}$ with the energy $E$, and the slope of its
# logarithm is the force $F = -\nabla E$ over $k_B T$. So for small $\sigma$, where
# $p_\sigma \approx p$,
#
# $$F \approx -\frac{k_B T}{\sigma}\, \hat\varepsilon .$$
#
# We take [frames](glossary.md#frame) (snapshots) of ethanol at 500 K, *positions only*, and train a
# denoiser on them. No energy and no force enters; the temperature is needed for the scale. Frames
# are 20 fs apart and resemble their neighbors, so we train on the first 1,500 and test on the last
# 500.

# %%
guess_score = lessons.predict(
    "How large is the cosine between the denoiser's forces and the quantum-chemical ones?",
    name="02-score-force",
    stored=0.5,
)

# %%
ethanol = scdlab.load_ethanol()
md_train, _, md_test = ethanol.split(1500, 0, blocks=1)  # by time
SIGMA = 0.02  # Å
KT = 8.617333e-5 * 500  # eV
field = fresh(hidden_channels=48)
scdlab.fit(field, CoordinateDenoising(sigma=SIGMA), md_train, steps=S["md_steps"], lr=5e-3, **TRAIN)
field = field.cpu().eval()
test = md_test.take(range(len(md_test)))
with torch.no_grad():
    force = -KT / SIGMA * field(test, noise=True).noise  # (4500, 3) eV/Å
F, F_true = (f.view(-1, 9, 3).double() for f in (force, test.forces))
score_cos = float(analysis.cosine(F, F_true).mean())
slope = float((F * F_true).sum() / F_true.square().sum())
figure = explore.parity_plot(
    F_true[:30], {"denoiser": F[:30]}, "eV/Å", "force", title="Forces without labels"
)
guess_score.reveal(score_cos)
print(f"size against the true force: {slope:.2f}")
explore.described(
    figure,
    f"Forces of the denoiser against GFN2-xTB's, a narrow band of points of slope {slope:.2f}: the "
    f"right direction (cosine {score_cos:.2f}), too small.",
)

# %% [markdown]
# A field of forces, from nothing but *where atoms are*. Atoms avoid high energies, and that is how
# positions come to know about forces.
#
# It is too small, and you have derived why: it is the force of the *smoothed* density. Heat makes a
# bond's length vary by $s$; noise on both ends adds $2\sigma^2$ to $s^2$. So the spring looks
# softer by $s^2/(s^2 + 2\sigma^2)$. But there is a second suspect: a network that was trained too
# little also gives too small an answer, since “nothing” is where it starts. The two can be told
# apart. By the same derivation, a *perfect* denoiser that sees one bond leaves
# $s^2/(s^2 + 2\sigma^2)$ of the noise along it, and one that sees the rest of the molecule too
# leaves no more than that. An undertrained one leaves more.


# %%
def along(bond, vectors, pos):
    """The part of vectors [frames, 9, 3] that stretches a bond, [frames]."""
    i, j = bond
    direction = torch.nn.functional.normalize(pos[:, j] - pos[:, i], dim=1)
    return ((vectors[:, j] - vectors[:, i]) * direction).sum(1)


noise, _ = sample_noise(test, SIGMA, torch.Generator().manual_seed(SEED))
noisy = copy.copy(test)
noisy.pos = test.pos + noise
with torch.no_grad():
    answer = SIGMA * field(noisy, noise=True).noise
x, x_noisy, eps, guess = (a.view(-1, 9, 3).double() for a in (test.pos, noisy.pos, noise, answer))
frames = md_train.take(range(1500)).pos.view(-1, 9, 3).double()
rows = []
for i, j in analysis.bonds_of(ethanol.to_ase(0)):
    s = float((frames[:, j] - frames[:, i]).norm(dim=1).std())
    predicted = 1 - best_answer(1.0, s, 2**0.5 * SIGMA)  # s²/(s² + 2σ²)
    f, t = (along((i, j), v, x) for v in (F, F_true))
    miss = along((i, j), guess - eps, x_noisy).square().sum()
    left = miss / along((i, j), eps, x_noisy).square().sum()
    rows.append([predicted, float((f * t).sum() / t.square().sum()), float(left)])
predicted, force_size, bond_left = np.mean(rows, axis=0)
print(f"mean over the {len(rows)} bonds: predicted {predicted:.2f}")
print(f"  size of the force along a bond {force_size:.2f}, noise left along it {bond_left:.2f}")
if bond_left <= predicted + 0.03:
    print("The noise left does not exceed the prediction: no sign of too little training.")
else:
    print("More noise is left than predicted: part of what is missing is too little training.")

# %% [markdown]
# One number, derived with pen and paper for one spring, thus predicts two things that were measured
# on ethanol. Smaller noise would give more exact forces, but it is harder to learn.
#
# ## Is it a force field?
#
# A [force field](glossary.md#force-field) is the gradient of an energy: then the work along any
# closed path vanishes, and a simulation conserves energy. Our denoiser's vectors come from a head
# that knows of no energy. The exact score *is* a gradient, of $\log p_\sigma$; nothing makes its
# approximation one.
#
# There is a local test. The matrix of all derivatives of a field, its Jacobian $J$, is symmetric if
# and only if the field is a gradient. So we measure the share of the antisymmetric part,
# $\|(J - J^\top)/2\|^2 / \|J\|^2$, the field's **curl**: 0 for a gradient, one half for a matrix of
# random numbers.

# %%
guess_curl = lessons.predict(
    "Which share of the Jacobian of the ethanol denoiser is antisymmetric?",
    unit="%",
    name="02-curl",
    stored=10,
    within=1,
)


# %%
def curl(net, store, k):
    """The antisymmetric share of the Jacobian of a denoiser's answer at structure k."""
    batch = store.take([k])

    def answer(x):
        moved = copy.copy(batch)
        moved.pos = x.view(-1, 3)
        return net(moved, noise=True).noise.flatten()

    J = torch.autograd.functional.jacobian(answer, batch.pos.flatten())
    return float(((J - J.T) / 2).square().sum() / J.square().sum())


minima = held_out.sample(10, seed=SEED)
few_frames = md_test.sample(10, seed=SEED)
curls = {
    "SchNet, a gradient": [curl(schnet, minima, k) for k in range(10)],
    "ethanol denoiser": [curl(field, few_frames, k) for k in range(10)],
    "shipped": [curl(shipped, minima, k) for k in range(10)],
    "untrained": [curl(fresh(), minima, k) for k in range(10)],
}
curl_percent = {name: 100 * float(np.mean(found)) for name, found in curls.items()}
figure = explore.compare_bars(curl_percent, "antisymmetric share", "%", title="Curl")
guess_curl.reveal(curl_percent["ethanol denoiser"], figure, axis="y")
explore.described(
    figure,
    "Bars of the antisymmetric share of the Jacobian: "
    + ", ".join(f"{name} {value:.1f} %" for name, value in curl_percent.items()),
)

# %% [markdown]
# Training removes most of the curl that an untrained network has, without ever being asked to: the
# field comes near a gradient because the truth is one. It is not a gradient, though. SchNet, which
# differentiates an energy, has none but rounding. Lesson 01 showed what a little curl does to a
# simulation. So: *a field of forces*, close to a force field, and not one.
#
# ## Minima only: springs that are all equally stiff
#
# QM9 holds no simulation but minima, one structure for each molecule. Its density is a spike at
# each of them; that was the line of slope 1 above. Whatever the direction, the best answer is “all
# of it was noise”: a force field in which every spring is equally stiff. True molecules are stiff
# along bonds and soft where they turn about a bond. So the answer cannot be the force; at best it
# points roughly the same way.
#
# **A way out.** Give the soft directions some heat of their own. *Fractional denoising*
# ([Frad](glossary.md#fractional-denoising): S. Feng, Y. Ni, Y. Lan, Z.-M. Ma, W.-Y. Ma, *Fractional
# Denoising for 3D Molecular Pre-training*, ICML 2023,
# [arXiv:2307.10683](https://arxiv.org/abs/2307.10683)) first rotates parts of the molecule about
# its rotatable bonds, by large angles, and then adds Gaussian noise. The network sees the result of
# both. But it is asked for a fraction only: the Gaussian part. Here are the two kinds on 1-butanol,
# at 0.1 Å each:

# %%
butanol = scdlab.AtomStore.geometry(scdlab.from_smiles("CCCCO")).take([0])
kinds = {}
for kind in ("gaussian", "torsional"):
    generator = torch.Generator().manual_seed(SEED)
    eps, _ = sample_noise(butanol, sigma=0.1, generator=generator, kind=kind)
    kinds[kind] = dict(vectors=eps, unit="Å")
view = explore.view_molecule(
    (butanol.z, butanol.pos), kinds, title="Two kinds of noise", size=(640, 340)
)
explore.described(
    view,
    "1-butanol with two arrows at each atom. Those of Gaussian noise point anywhere; those of "
    "torsional noise go around the bonds of the chain, so that neighbors move together.",
)

# %% [markdown]
# **Write it.** `start` [N, 3] are the positions in the minimum, `middle` those after the torsional
# noise, `noisy` those after Gaussian noise of size `sigma` on top. Return Frad's target [N, 3], in
# units of `sigma`.


# %%
def my_target(start, middle, noisy, sigma):
    return ...


lessons.check_fractional(my_target)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def target_solution(start, middle, noisy, sigma):
    return (noisy - middle) / sigma


assert lessons.check_fractional(target_solution, show=False)

# %% [markdown]
# What does it change? A toy molecule with three coordinates: two are stiff, and get Gaussian noise
# only; the third is soft, and is first moved by 0.15 Å. A straight line through the targets is the
# best answer, and its slope the stiffness that a network would learn.

# %%
fractional = lessons.yours(my_target, target_solution, lessons.check_fractional)
generator = torch.Generator().manual_seed(SEED)
start = torch.zeros(20_000, 3)
middle = start + 0.15 * torch.randn(20_000, 3, generator=generator) * torch.tensor([0.0, 0.0, 1.0])
noisy = middle + 0.04 * torch.randn(20_000, 3, generator=generator)
stiffness = {}
for name, target in (
    ("all of the noise", (noisy - start) / 0.04),
    ("the Gaussian part", fractional(start, middle, noisy, 0.04)),
):
    stiffness[name] = (0.04 * (target * noisy).sum(0) / noisy.square().sum(0)).tolist()
    print(f"{name}: stiffness {[round(k, 2) for k in stiffness[name]]}")
print(f"derived for the soft one: {best_answer(1.0, 0.15, 0.04):.2f}")

# %% [markdown]
# Asked for all of the noise, the network learns three equal springs. Asked for the Gaussian part
# alone, it learns that the third is soft, by the very formula you derived: the torsional noise
# plays the part of heat.
#
# ## Far from a minimum
#
# And what about a frame of a simulation? Heat has displaced it already. Was an atom moved by heat,
# or by our noise? A network trained on minima cannot know.

# %%
guess_far = lessons.predict(
    "The shipped network is put on noisy frames of ethanol at 500 K. How much of the noise does it "
    "leave there?",
    unit="%",
    name="02-off-equilibrium",
    stored=40,
    within=20,
)

# %%
off = ethanol.sample(500, seed=SEED)
on_frames = scdlab.evaluate(shipped, off, objective)["noise_unexplained"]
on_yours = scdlab.evaluate(coord, off, objective)["noise_unexplained"]
bars = {
    "no answer": 100.0,
    "minima, shipped": 100 * noise_left["shipped"],
    "500 K, shipped": 100 * on_frames,
    "500 K, yours": 100 * on_yours,
}
figure = explore.compare_bars(bars, "noise left", "%", title="Minima of QM9, frames of ethanol")
guess_far.reveal(bars["500 K, shipped"], figure, axis="y")
explore.described(
    figure, "Noise left: " + ", ".join(f"{name} {value:.0f} %" for name, value in bars.items())
)

# %% [markdown]
# More than 100 % is worse than no answer at all. The shipped network confidently moves the atoms
# back to the minimum, heat and all. (Ethanol's minimum is even in the set that it drew from.)
# Yours, if trained for a few steps only, answers less boldly and does less harm.
#
# And the forces? **Write it.** Return $\cos(-\varepsilon, F)$, one number for each molecule, with
# one dot product over all its atoms and components. (Which value do equally stiff springs give?)


# %%
def my_cosine(eps, forces, batch):
    return ...


lessons.check_noise_force(my_cosine)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def cosine_solution(eps, forces, batch):
    def dot(a, b):  # (N, 3), (N, 3) -> (B)
        products = (a * b).sum(dim=1)
        return products.new_zeros(int(batch.max()) + 1).index_add(0, batch, products)

    return dot(-eps, forces) / (dot(eps, eps) * dot(forces, forces)).sqrt()


assert lessons.check_noise_force(cosine_solution, show=False)

# %% [markdown]
# We put the same noise on the minimum of ethanol (near) and on frames at 500 K (far), and ask
# GFN2-xTB for the force there.

# %%
way_back = lessons.yours(my_cosine, cosine_solution, lessons.check_noise_force)
guess_truth = lessons.predict(
    "At the minimum, how large is the cosine between the true way back −ε and the force?",
    name="02-way-back",
    stored=0.95,
    within=0.1,
)


# %%
def directions(starts):
    """Mean cosines with the force of the network's way back, the true one, and its visible part;
    and of the answer with the noise."""
    eps = np.stack([analysis.displacements(a, 0.04, seed=k) for k, a in enumerate(starts)])
    pos = np.stack([a.positions for a in starts]) + eps
    answer = analysis.denoise(shipped, starts[0], pos)
    force = gfn2(starts[0], pos)[1]
    eps, pos, answer, force = (torch.from_numpy(a) for a in (eps, pos, answer, force))
    seen = torch.stack([visible(e, x) for e, x in zip(eps, pos, strict=True)])
    batch = torch.arange(len(eps)).repeat_interleave(eps.shape[1])
    pairs = {
        "answer_force": (answer, force),
        "noise_force": (eps, force),
        "visible_force": (seen, force),
        "answer_noise": (answer, -eps),
    }
    return {
        name: float(torch.as_tensor(way_back(a.flatten(0, 1), b.flatten(0, 1), batch)).mean())
        for name, (a, b) in pairs.items()
    }


force_cosines = {}
if gfn2:
    minimum = gfn2.relax(ethanol.to_ase(0))
    near = directions([minimum] * 40)
    far = directions([ethanol.to_ase(k) for k in range(0, 2000, 50)])
    guess_truth.reveal(near["noise_force"])
    for where, found in (("near", near), ("far", far)):
        print(f"{where}: cos(−ε, F) = {found['noise_force']:.2f}", end="; ")
        print(f"without rotations {found['visible_force']:.2f}", end="; ")
        print(f"cos(−ε̂, F) = {found['answer_force']:.2f}", end="; ")
        print(f"cos(ε̂, ε) = {found['answer_noise']:.2f}")
        force_cosines |= {f"cos_{name}_{where}": value for name, value in found.items()}
else:
    guess_truth.reveal(0.6)
    print("GFN2-xTB is not installed here: read the recorded column below.")
claims.compare(
    "coord-noise-force",
    {name: value for name, value in force_cosines.items() if "visible" not in name},
)

# %% [markdown]
# Even the *true* way back is far from parallel to the force. Stiff bonds shout, soft angles
# whisper: that is the price of equal springs. And the network's answer is *closer* to the force
# than the truth is, for two reasons. First, the noise also rotates the molecule, which neither the
# force nor the network can see; without that part (your `visible`) the truth comes nearer. Second,
# we think, a stretched bond is easy to recognize, so the network undoes it; a bent soft angle looks
# like any other, so the network leaves it alone. Thus it errs towards the stiff directions, and the
# force leans that way too.
#
# On the frames the answer still leans towards the force, since both point to the minimum. But it
# agrees much less with the noise that we added, as the last cosine shows. (The claim is measured
# with many molecules; yours is ethanol alone.)
#
# ## Paper, recorded, yours
#
# Every claim of this lesson and of 02b: what the papers say, and what this kit measured with three
# seeds on the machine that the record names, or that it is still to be measured. A quick run like
# yours shows that the machinery works; the records are the results we vouch for.

# %%
lessons.display_metrics(
    sigma_one_misread_A=one_misread,
    rotation_error=rotation_error,
    floor_mean_times_N=mean_times_N,
    water_centered_times_N=water_left,
    water_rotations_times_N=rotations_left,
    noise_left_yours=noise_left["transformer"],
    noise_left_schnet=noise_left["SchNet"],
    noise_left_shipped=noise_left["shipped"],
    noise_left_off_equilibrium=on_frames,
    score_force_cosine=score_cos,
    score_force_slope=slope,
    bond_predicted=float(predicted),
    bond_force_size=float(force_size),
    bond_noise_left=float(bond_left),
    curl_schnet_percent=curl_percent["SchNet, a gradient"],
    curl_field_percent=curl_percent["ethanol denoiser"],
    curl_untrained_percent=curl_percent["untrained"],
    stiffness_whole=stiffness["all of the noise"][2],
    stiffness_fractional=stiffness["the Gaussian part"][2],
    **temperatures,
    **force_cosines,
)
claims.table(lesson=2)

# %% [markdown]
# ## What to take away
#
# 1. [Denoising](glossary.md#denoising) asks a network where atoms like to be; no label is needed,
#    and 0.04 Å is the noise at which bonds begin to be misread.
# 2. What an equivariant network cannot see, it cannot learn: the mean of the noise costs $1/N$ of
#    the loss, rotations as much again.
# 3. The best answer is the score, $-\sigma \nabla \log p_\sigma$; on structures from a simulation
#    it is the force of a slightly smoothed energy.
# 4. On minima every spring comes out equally stiff; heat in the soft directions (frames, or Frad's
#    torsional noise) is what tells soft from stiff.
# 5. Its field is nearly a gradient, but not quite; and away from minima noise cannot be told from
#    heat.
#
# ## Departures from the paper
#
# - *Data.* The paper pretrains on 3.4 million structures of PCQM4Mv2, we on up to 120,000 of QM9.
#   Both are minima of density functional theory (B3LYP).
# - *Network.* Ours has 3 layers of 64 [channels](glossary.md#channel) (theirs 8 of 256), no
#   normalization of the vectors, centers of the radial basis that stay, and a cutoff that also
#   fades out the vectors.
# - *Noise.* Ours is centered; their released code does not center it. The loss is in units of
#   $\sigma^2$ in both.
# - *SchNet as a denoiser* by the gradient of an energy is ours.
# - *The ethanol denoiser*, the curl and the split over bonds are ours, as are the frames (GFN2-xTB,
#   500 K).
#
# ## What is contested: is denoising a force field?
#
# - *Yes, nearly.* The paper calls its objective “learning a molecular force field”: around each
#   minimum a Gaussian stands in for Boltzmann's density.
# - *Not a good one.* Frad replies that the field of isotropic noise is isotropic and covers too few
#   structures. Sliced denoising goes on from there, with noise in bonds, angles and torsions
#   (SliDe: Y. Ni, S. Feng, W.-Y. Ma, Z.-M. Ma, Y. Lan, *Sliced Denoising: A Physics-Informed
#   Molecular Pre-Training Method*, ICLR 2024,
#   [arXiv:2311.02124](https://arxiv.org/abs/2311.02124)).
# - *From frames it is.* With structures from dynamics the score served as a force field of
#   coarse-grained proteins (M. Arts et al., *Two for One*, 2023,
#   [arXiv:2302.00600](https://arxiv.org/abs/2302.00600)); others find it inconsistent at small
#   noise (M. Plainer et al., *Consistent Sampling and Simulation: Molecular Dynamics with
#   Energy-Based Diffusion Models*, 2025, [arXiv:2506.17139](https://arxiv.org/abs/2506.17139)).
# - *It does not matter.* Denoising beside a labeled task was first proposed as a regularizer that
#   keeps deep networks from making all atoms alike, with no word of forces ([Noisy
#   Nodes](glossary.md#Noisy-Nodes): J. Godwin et al., *Simple GNN Regularisation for 3D Molecular
#   Property Prediction and Beyond*, ICLR 2022,
#   [arXiv:2106.07971](https://arxiv.org/abs/2106.07971)).
#
# Our numbers above bear on the first three; lesson 02b asks about the use.
#
# ## Quiz

# %%
lessons.quiz("02")

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# - **An experiment.** Train `field` with $\sigma$ = 0.005 Å and 0.08 Å, and predict both sizes
#   first, by $s^2/(s^2 + 2\sigma^2)$ with $s$ = 0.04 Å. Which one gives the better direction, which
#   the better size?
# - **Another.** Type a [SMILES](glossary.md#SMILES) into the explorer: your own molecule. Does the
#   network know it?
# - **Lesson 02b** asks what all this is worth: few labels, distances, leakage, maps.
# - **Lesson 03.** Off equilibrium, denoising is ambiguous: many structures could have been the
#   clean one. [DeNS](glossary.md#DeNS) gives the network the forces of the clean structure, which
#   settles the question.
# - **Lesson 04.** Self-conditioned denoising lets the network describe the clean structure to
#   itself, through a bottleneck.
