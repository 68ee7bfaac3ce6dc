# %% [markdown]
# # 02 · Denoising: learning from structures alone
#
# **After this lesson you can**
#
# - write the denoising objective in ten lines, and say what noise of 0.005 Å and of 0.04 Å does to
#   a molecule;
# - name the part of the noise that no network can see, and compute what it costs;
# - explain why denoising learns forces, measure how far that is true, and find where it ends;
# - pretrain without a label, fine-tune on few labels, and judge what the pretraining was worth.
#
# **Time.** Quick profile: under two minutes on two CPU cores. The full profile is meant for a GPU;
# before each training, `fit` says how long it will take.
#
# **Papers.** S. Zaidi et al., *Pre-training via Denoising for Molecular Property Prediction*, ICLR
# 2023, arXiv:2206.00133: the method, “Coord” for short. The network: P. Thölke, G. De Fabritiis,
# *TorchMD-NET: Equivariant Transformers for Neural Network based Molecular Potentials*, ICLR 2022,
# arXiv:2202.02541.

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
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import analysis, claims, explore, lessons
from scdlab.analysis import Reference, cosine, denoise, displacements
from scdlab.objectives import (
    CoordinateDenoising,
    PairwiseDenoising,
    PropertyRegression,
    sample_noise,
)

SIZES = {
    "quick": dict(floor_steps=200, pretrain=10_000, pretrain_steps=120, md_steps=250, labels=200,
                  tune_steps=80, pair_steps=30, pair_tune_steps=30, points=400),
    "full": dict(floor_steps=2000, pretrain=120_000, pretrain_steps=20_000, md_steps=10_000,
                 labels=1000, tune_steps=5000, pair_steps=5000, pair_tune_steps=5000, points=4000),
}  # fmt: skip
S = SIZES[PROFILE]
TRAIN = dict(batch_size=32, seed=SEED, device=DEVICE)  # for every training below

# Our networks were pretrained by the claims' recipes. They have seen none of the molecules held out
# here.
shipped = scdlab.load_pretrained("coord-et")
qm9 = scdlab.load_qm9(root=DATA)
held_out, _, rest = qm9.split(min(5000, len(qm9) // 2), 0, seed=0)


def fresh(**options):
    """A new transformer of the shipped one's size; the same first weights whenever SEED is."""
    torch.manual_seed(SEED)
    return scdlab.EquivariantTransformer(**{**shipped.config, **options})


# %% [markdown]
# ## The idea
#
# A label costs a quantum-chemical calculation. A structure costs much less, and there are far more
# of them. **What can be learned from structures alone, before anybody computes a label?**
#
# Take a molecule at rest. Shake it. Ask the network where the atoms were:
#
# $$\tilde{x} = x + \varepsilon, \qquad \varepsilon \sim \mathcal{N}(0, \sigma^2 I), \qquad
# L = \frac{1}{3N} \left\| \hat{\varepsilon}(\tilde{x}) - \frac{\varepsilon}{\sigma} \right\|^2 .$$
#
# - $x \in \mathbb{R}^{N \times 3}$: the positions of the $N$ atoms in Å, in an energy minimum;
# - $\varepsilon$: the noise, drawn anew each time; $\sigma$: its size in Å per component;
# - $\tilde{x}$: what the network gets to see, and $\hat{\varepsilon}(\tilde{x})$: its answer, three
#   numbers for each atom, in units of $\sigma$.
#
# The answer “no noise” has the loss 1; a perfect answer has 0. To give it, a network must know
# where atoms like to be: how long a C=O bond is, which angles carbon makes, that benzene is flat.
# Nobody tells it. Here is the smallest example, a water molecule:

# %%
water = scdlab.AtomStore.from_ase([scdlab.from_smiles("O")])
batch = water.take([0])
eps, _ = sample_noise(batch, sigma=0.04, generator=torch.Generator().manual_seed(SEED))
for z, x, e in zip(batch.z.tolist(), batch.pos, eps, strict=True):
    target = (e / 0.04).numpy().round(2)
    print(f"z = {z}   x = {x.numpy().round(2)} Å   ε = {e.numpy().round(3)} Å   ε/σ = {target}")
shaken = batch.pos + eps
explore.view_molecule(
    (batch.z, shaken),
    {"ε": dict(vectors=eps, unit="Å", start=batch.pos)},
    title="Water, shaken: where the atoms went",
    size=(520, 300),
)

# %% [markdown]
# ## Predict: how much is too much?
#
# A C–C bond is about 1.5 Å long, a C=C bond 1.34 Å. A bond's length changes by about
# $\sqrt{2}\,\sigma$ when both of its ends are shaken. **At which $\sigma$ can one no longer tell a
# single bond from a double bond? At which has the molecule gained 4 eV, about what it takes to
# break a C–C bond?** Write down two numbers, then move $\sigma$.

# %%
explorer = explore.NoiseExplorer(held_out, model=shipped, molecule=11, sigma=0.005, seed=SEED)
explorer

# %% [markdown]
# Three arrows start at each shaken atom: the way back, $-\varepsilon$; the way back that a
# pretrained network answers, $-\hat\varepsilon$; and the force $F$. **Find out:**
#
# - which bonds change their reading first, and at which $\sigma$;
# - how the energy grows with $\sigma$, and where it passes 1 eV;
# - whether the force points along the way back. We come back to that.
#
# A slider and a line of Python move the same state. So the explorer can also be asked. (It counts
# the bonds that can have more than one order.)

# %%
for sigma in (0.005, 0.04, 0.14):
    explorer.sigma = sigma
    state = explorer.state()
    blurred = f"{state['bonds_blurred_mean']:.1f} of {state['bonds']} bonds"
    line = f"σ = {sigma:.3f} Å: {blurred} misread on average"
    if state["energy_rise"] is not None:  # a reference is there
        line += f", energy + {state['energy_rise']:.2f} eV"
    print(line)
explorer.sigma = 0.04

# %% [markdown]
# Two regimes have names. Noise of **0.005 Å regularizes**: bonds keep their order, all but those
# that sit on a border, and the molecule has only been blurred a little. Noise of **0.04 Å
# corrupts**: it begins to mix up bond orders without breaking bonds, so undoing it takes some
# chemistry. That is the size used for pretraining. At 0.14 Å, which we meet again with DimeNet, the
# molecule has gained more energy than any of its bonds is worth.
#
# ## The code, in ten lines
#
# Corrupt, predict, compare. Is it what the library does?


# %%
def denoising_loss(model, batch, sigma, generator):
    """The mean squared error per component, in units of σ²."""
    eps = sigma * torch.randn(batch.pos.shape, generator=generator)  # ε (N, 3) Å
    noisy = copy.copy(batch)  # shallow: the caller's batch keeps its positions
    noisy.pos = batch.pos + eps  # corrupt
    answer = model(noisy, noise=True).noise  # predict: (N, 3)
    return (answer - eps / sigma).square().mean()  # compare


sample = held_out.take(range(64))
model = fresh()
ours = denoising_loss(model, sample, 0.04, torch.Generator().manual_seed(SEED))
library = CoordinateDenoising(sigma=0.04, centered=False)
theirs, _ = library(model, sample, torch.Generator().manual_seed(SEED))
print(f"ours {ours.item():.6f}, the library's {theirs.item():.6f}")
print(f"largest difference: {(ours - theirs).abs().item():.1e}")

# %% [markdown]
# ## An answer that turns with the molecule
#
# The answer is a vector for each atom. Turn the molecule, and all of them must turn with it.
# SchNet's features are made of distances, which do not turn: no layer on top of them can say “up”.
# So the **equivariant transformer** gives each atom two kinds of features: scalars
# $s_i \in \mathbb{R}^d$, which stay, and vectors $v_i \in \mathbb{R}^{3 \times d}$, which turn. Its
# recipe for vectors, in one line:
#
# $$v_i \leftarrow v_i
#   + \sum_{j \neq i} \Big( a(s_i, s_j, r_{ij})\, \hat{r}_{ij} + b(s_i, s_j, r_{ij})\, v_j \Big),$$
#
# with $\hat{r}_{ij}$ the unit vector from atom $i$ to atom $j$ at distance $r_{ij}$, and $a$, $b$
# scalar weights from attention: how much does $i$ listen to $j$? Vectors are only added up and
# scaled by scalars. Both commute with turning, so nothing can go wrong. The first half of that line
# as code, and the library's whole network, both turned:


# %%
def vectors(pos, charge):
    """v_i = Σ_j a_ij r̂_ij with weights a_ij made of scalars: [n, 3] -> [n, 3]."""
    r = pos[None, :] - pos[:, None]  # (n, n, 3) from i to j
    d = r.norm(dim=-1) + torch.eye(len(pos))  # (n, n); the 1 on the diagonal avoids 0/0
    a = charge[None, :] * torch.exp(-d)  # any function of scalars will do
    return (a[:, :, None] * r / d[:, :, None]).sum(1)


one = held_out.take([0])
turned = copy.copy(one)
R = torch.tensor(Rotation.random(random_state=SEED).as_matrix(), dtype=torch.float32)
turned.pos = one.pos @ R.T
charge = one.z.float()
error = vectors(turned.pos, charge) - vectors(one.pos, charge) @ R.T
print(f"three lines: largest error after turning {error.abs().max().item():.1e}")
answer = shipped(one, noise=True).noise
after = shipped(turned, noise=True).noise
rotation_error = (after - answer @ R.T).abs().max().item()
print(f"the transformer: {rotation_error:.1e}, of answers up to {answer.abs().max().item():.2f}")

# %% [markdown]
# Nothing but rounding. Compare with augmentation, where a network is shown turned copies until it
# has learned to turn its answer, more or less.
#
# ## Break it: noise that nobody can see
#
# Our loss has a flaw. Move all atoms by one and the same vector: no distance changes, and neither
# does the answer. But the noise contains such a move. It is its mean,
# $\bar\varepsilon = \frac{1}{N} \sum_i \varepsilon_i$.
#
# **Predict.** Three of the $3N$ components of the noise are invisible, so no training helps with
# them. What is the smallest loss that a translation-invariant network can reach, for water
# ($N = 3$) and for benzene ($N = 12$)? Sketch the loss against $N$.
#
# To see a floor one must get near it. So we train on six small molecules only. The smallest it soon
# knows by heart.

# %%
NAMES = {
    "water": "O",
    "ammonia": "N",
    "methane": "C",
    "ethane": "CC",
    "cyclopropane": "C1CC1",
    "benzene": "c1ccccc1",
}
six = scdlab.AtomStore.from_ase([scdlab.from_smiles(s) for s in NAMES.values()])
copies = six.subset(np.repeat(range(6), 5))
N = six.n_atoms


def losses_by_size(centered):
    """Train with this noise. For each of the six molecules: the loss, and its share in the mean."""
    objective = CoordinateDenoising(sigma=0.04, centered=centered)
    net = fresh(hidden_channels=32, num_layers=2)
    scdlab.fit(net, objective, copies, steps=S["floor_steps"], lr=1e-2, **TRAIN)
    draws = [six.subset([k] * 500) for k in range(6)]
    found = [claims.denoising.noise_losses(net, s, objective, SEED).mean(0) for s in draws]
    return np.array(found).T  # (2, 6)


def floor_plot(title):
    return explore.compare_curves(N, curves, "number of atoms N", "loss", title=title, log="")


loss, in_the_mean = losses_by_size(centered=False)
curves = {"1/N": 1 / N, "loss": loss, "its share in the mean": in_the_mean}
floor_plot("Noise as it comes")

# %% [markdown]
# The share in the mean lies on the line, or just above it where the network answers with a mean of
# its own. No training brings it below. **The fix** is one line: take the mean off,
# $\varepsilon_i \leftarrow \varepsilon_i - \bar\varepsilon$, molecule by molecule. Then nothing is
# asked that cannot be seen. Same molecules, same network, same plot:

# %%
centered_loss, _ = losses_by_size(centered=True)
curves["loss, centered noise"] = centered_loss
floor_plot("Noise with its mean taken off")

# %%
mean_times_N = float((N * in_the_mean).mean())
water_left = float(3 * centered_loss[0])
print(f"share in the mean: {mean_times_N:.2f}/N, mean over the six molecules")
print(f"water, centered: {water_left:.2f}/N is left")
yours = {"noise_mse_centered": centered_loss.mean(), "noise_mse_uncentered": loss.mean()}
for size, k in (("small", 0), ("large", 5)):  # water, benzene
    yours[f"gap_{size}"] = loss[k] - centered_loss[k]
    yours[f"mean_mse_{size}"] = in_the_mean[k]
    yours[f"floor_{size}"] = 1 / N[k]
claims.compare("coord-noise-floor", yours)

# %% [markdown]
# (Your small molecule is water and your large one benzene; the claim takes the 1,000 smallest and
# the 1,000 largest of 5,000 unseen ones, and its rule wants the share in the mean within 10 % of
# $1/N$ in every seed. Where the recorded column says “not measured yet”, an earlier record was
# withdrawn because the pretraining changed: `scdlab claims --history` shows it.)
#
# The whole loss has come down. But water does not fall to zero: it stops near the line again. (The
# larger molecules are still far above; they need longer training.) **What else can the network not
# see?** Think before you read on.
#
# *Rotations.* A molecule does not know how it was turned, and the noise turns it a little. That
# hides three more directions: $1/N$ again, for any molecule that is not a straight line, and it
# cannot be centered away so easily. For QM9, with 18 atoms on average, each of the two is about
# 0.06. That is little beside the loss of 1 at the start, and a good part of what is left at the
# end. The code of the paper does not center at all. Now you know what that costs.
#
# ## Train: no labels
#
# Now for the real thing: thousands of molecules of QM9, their geometries, and no label. SchNet
# takes part as well. It has no vectors, but it has an energy, and the gradient of that is a vector
# that turns: $\hat\varepsilon = \partial E / \partial x$, up to a scale. Nobody labels this $E$.
#
# **Predict.** Which one gets further in the same number of steps?

# %%
pretrain, _, _ = rest.split(min(S["pretrain"], len(rest)), 0, seed=SEED)
objective = CoordinateDenoising(sigma=0.04)
coord = fresh()
schnet = scdlab.SchNet(hidden_channels=shipped.hidden_channels, num_layers=3)
histories = {}
for name, net in (("transformer", coord), ("SchNet", schnet)):
    run = scdlab.fit(net, objective, pretrain, steps=S["pretrain_steps"], lr=3e-3, **TRAIN)
    histories[name] = run.history
unseen = {
    name: scdlab.evaluate(net.cpu(), held_out[:500], objective)
    for name, net in (("yours", coord), ("SchNet", schnet), ("shipped", shipped))
}
curve = explore.learning_curve(histories, quantity="noise_mse", unit="σ²", title="Denoising QM9")
curve.add_hline(y=unseen["shipped"]["noise_mse"], line_dash="dot", annotation_text="shipped")
curve.update_yaxes(type="linear", dtick=0.1)

# %%
noise_left = {name: found["noise_unexplained"] for name, found in unseen.items()}
for name, left in noise_left.items():
    print(f"{name} leaves {100 * left:.0f} % of the noise in unseen molecules")
made = shipped.provenance["settings"]
print(f"shipped: {made['pretrain_steps']:,} steps on {made['n_pretrain']:,} molecules")

# %% [markdown]
# Both learn from the same steps; the lines above say which got further. A gradient costs a second
# differentiation, but it needs no vectors: any network with an energy can denoise. From here on we
# keep the transformer. “Shipped” has the same size, and was trained for longer, by our recipe. Part
# of what it leaves is the rotations, which no training takes away.

# %% [markdown]
# ## What has it learned? Forces
#
# There is a theorem behind this (Vincent, *Neural Computation* 23, 1661, 2011). Let
# $p_\sigma(\tilde{x})$ be the density of shaken structures. The best possible answer is the slope
# of its logarithm, the **score**, up to a factor:
#
# $$\hat\varepsilon(\tilde{x}) = -\sigma\, \nabla \log p_\sigma(\tilde{x}).$$
#
# Now suppose that the structures come from a simulation at temperature $T$. Before the noise their
# density is $p \propto e^{-E/k_B T}$, with the energy $E$ and Boltzmann's constant $k_B$. The slope
# of its logarithm is the force $F = -\nabla E$ over $k_B T$. So for small $\sigma$, where
# $p_\sigma \approx p$,
#
# $$F \approx -\frac{k_B T}{\sigma}\, \hat\varepsilon .$$
#
# **Predict.** We take frames of ethanol at 500 K, *positions only*, and train a denoiser on them.
# No energy, no force enters. Will its answer agree with the quantum-chemical forces?

# %%
ethanol = scdlab.load_ethanol()
md_train, _, md_test = ethanol.split(1800, 0, seed=SEED)
SIGMA = 0.02  # Å
KT = 8.617333e-5 * 500  # eV
field = fresh(hidden_channels=48)
scdlab.fit(field, CoordinateDenoising(sigma=SIGMA), md_train, steps=S["md_steps"], lr=5e-3, **TRAIN)
test = md_test.take(range(100))
with torch.no_grad():
    answer = field.cpu()(test, noise=True).noise
guess = -KT / SIGMA * answer
score_cos = float(cosine(guess.view(-1, 9, 3), test.forces.view(-1, 9, 3)).mean())
slope = float((guess * test.forces).sum() / test.forces.square().sum())
print(f"cosine of answer and force, mean over 100 unseen frames: {score_cos:.2f}")
print(f"size of the answer against the force: {slope:.2f}")
pos = md_train.take(range(1800)).pos.view(-1, 9, 3)
s2 = float((pos[:, 0] - pos[:, 1]).norm(dim=1).var())  # of the length of the C–C bond, Å²
print(f"the C–C bond varies by s = {s2**0.5:.3f} Å: s²/(s² + 2σ²) = {s2 / (s2 + 2 * SIGMA**2):.2f}")
answers = {"answer": guess[:270]}
explore.parity_plot(test.forces[:270], answers, "eV/Å", "force", title="Forces without labels")

# %% [markdown]
# A force field, learned from nothing but *where atoms are*. Atoms avoid high energies; their
# positions tell the rest.
#
# The answer is too small, and the theorem says why: it is the force of the *smoothed* density. Heat
# makes a bond's length vary by $s$. Noise on both ends widens $s^2$ to $s^2 + 2\sigma^2$, a softer
# spring by the ratio of the two, and that is about what we find. Smaller noise would be more exact,
# and harder to learn.
#
# ## Near a minimum, and far from it
#
# QM9 holds no simulation but minima, one structure for each molecule. Its density is a spike.
# Smoothed, a spike is a Gaussian, equally wide in all directions: the network learns springs that
# are *all equally stiff*. True molecules are stiff along bonds and soft where they turn. So the
# answer cannot be the force; at best it points roughly the same way.
#
# And away from a minimum? Shake a frame of the simulation. It was displaced by heat already. Was an
# atom moved by heat, or by our noise? The network trained on minima cannot know.
#
# **Predict.** The shipped network leaves only part of the noise unexplained when it is put on a
# minimum. How much on a frame of the simulation?

# %%
on_minima = noise_left["shipped"]
on_frames = scdlab.evaluate(shipped.cpu(), ethanol[::4], objective)["noise_unexplained"]
on_yours = scdlab.evaluate(coord.cpu(), ethanol[::4], objective)["noise_unexplained"]
left = {
    "no answer": 1.0,
    "minima": on_minima,
    "500 K": on_frames,
    "500 K, yours": on_yours,
}
explore.compare_bars(left, "noise left", title="On minima (QM9), and off equilibrium (ethanol)")

# %% [markdown]
# A value above 1 is worse than no answer at all. The shipped network confidently moves the atoms
# back to the minimum, heat and all. Yours, if trained for a few steps only, answers less boldly and
# does less harm. And the forces? We put the same noise on the minimum and on frames, and ask
# GFN2-xTB for the force there.

# %%
gfn2 = Reference("gfn2") if importlib.util.find_spec("tblite") else None  # no wheels for Windows


def cosines(starts):
    """Mean cosines of (−answer, force), (−noise, force), (answer, noise); noise of 0.04 Å."""
    rows = []
    for k, start in enumerate(starts):
        noise = displacements(start, 0.04, seed=k)
        pos = start.positions + noise
        answer = denoise(shipped, start, pos)
        force = gfn2(start, pos)[1]
        rows.append([cosine(-answer, force), cosine(-noise, force), cosine(answer, noise)])
    return np.mean(rows, axis=0)


force_cosines = {}
if gfn2:
    minimum = gfn2.relax(ethanol.to_ase(0))
    frames = [ethanol.to_ase(k) for k in range(0, 2000, 50)]
    for where, found in (("near", cosines([minimum] * 40)), ("far", cosines(frames))):
        shown = [f"{value:.2f}" for value in found]
        print(
            f"{where:>4}: cos(−answer, force) = {shown[0]}, cos(−noise, force) = {shown[1]}, "
            f"cos(answer, noise) = {shown[2]}"
        )
        names = (f"cos_{what}_{where}" for what in ("answer_force", "noise_force", "answer_noise"))
        force_cosines |= dict(zip(names, found, strict=True))
else:
    print("GFN2-xTB is not installed here: read the recorded column below.")
claims.compare("coord-noise-force", force_cosines)

# %% [markdown]
# Read the middle number of the first line. Even the *true* way back is far from parallel to the
# force: stiff bonds shout, soft angles whisper. That is the price of equal springs. Now compare it
# with the first number: the answer is *closer* to the force than the truth is. Part of the reason
# you know: the noise also turns the molecule, which neither the force nor the network can see. The
# rest, we think: what bonds did, a network can read; what soft angles did, it can hardly, and keeps
# quiet. (Try it: take the turning off $\varepsilon$ and compute the middle number again.)
#
# On the frames the answer still leans towards the force, since both point to the minimum. But it is
# much less the noise that we added: the last number says so. (The claim is measured with many
# molecules; yours is ethanol alone.)
#
# ## Few labels
#
# Now the test that matters. Is a pretrained network better at something it was never asked? The
# HOMO energy says how tightly the outermost electrons are held. We give each network few labels and
# the same number of steps. Three starts: random weights, the network you pretrained just now, and
# the shipped one.
#
# **Predict.** In which order will they end up?

# %%
few, _, others = held_out.split(S["labels"], 0, seed=SEED)
test_set = others[:500]
homo = PropertyRegression("homo")
STARTS = {"scratch": fresh(), "yours": coord, "shipped": shipped}
homo_mae = {}
for name, start in STARTS.items():
    net = copy.deepcopy(start)  # the pretrained weights are needed again
    scdlab.fit(net, homo, few, steps=S["tune_steps"], lr=1e-3, **TRAIN | dict(batch_size=16))
    homo_mae[name] = 1e3 * scdlab.evaluate(net, test_set, homo)["homo_mae"]
median = np.median(few.property("homo"))
homo_mae["the median"] = 1e3 * float(np.abs(test_set.property("homo") - median).mean())
explore.compare_bars(homo_mae, "HOMO MAE", "meV", title=f"{len(few)} labels")

# %%
yours = {
    "homo_mae_coord_meV": homo_mae["yours"],
    "homo_mae_scratch_meV": homo_mae["scratch"],
    "homo_mae_guess_meV": homo_mae["the median"],
}
for name, value in homo_mae.items():
    print(f"{name}: {value:.0f} meV")
claims.compare("coord-few-labels-homo", yours)

# %% [markdown]
# You see a few steps on few labels, where a good start shows most. Does the head start last when
# both are trained to the end? That is another question. An earlier record of ours, with 500 labels
# and a thousand steps, had a *tie*: the random start had caught up. It was withdrawn, since
# pretraining changed and the arms had not been given the protocol that suits few labels. The claim
# is now tried with 1,000 labels, a little denoising beside them and the weights of the lowest
# validation error: `scdlab claims run coord-few-labels-homo --profile night`. The paper on
# self-conditioned denoising trains a larger network on 110,000 labels, after pretraining on 3.4
# million molecules, and there a gain is left: 17.7 meV against 20.3. So a head start is easy to
# have; whether it lasts must be measured. One more caution: the README of Coord's own code reports
# 15.5 meV for the same pretraining, so compare numbers within one table.
#
# ## Another view: distances
#
# A blog post took another road, with DimeNet, which knows angles between bonds. Its network
# corrects the shaken molecule, and the loss compares *pairwise distances* before and after:
#
# $$L = \frac{1}{2 \sigma^2 |P|}
#   \sum_{(i,j) \in P} \Big( |\hat{x}_i - \hat{x}_j| - |x_i - x_j| \Big)^2 ,$$
#
# with $\hat{x}$ the corrected positions and $P$ the pairs of atoms. The noise is large:
# $\sigma = 0.14$ Å. Distances do not turn, so neither frame nor mean matters. Then the network is
# fine-tuned on the dipole moment $\mu$; the post reports 0.0285 D without and 0.0261 D with
# pretraining, one run each.
#
# We read the code. Two things in it are worth knowing:
#
# - $P$ held the pairs of the *whole batch*, so most terms compare atoms of different molecules,
#   whose distance is an accident of the file. (Undoing the noise restores it all the same. Does it
#   matter, then?)
# - pretraining saw *all* of QM9, the geometries of the test molecules included. No label leaks, but
#   the test is no longer unseen. One calls it *transductive*, and must say so.
#
# Both are easy to do differently, so let us measure. Our network answers with the noise, as before:
# $\hat{x} = \tilde{x} - \sigma \hat\varepsilon$.

# %%
pair_batch = held_out.take(range(16))
within = len(scdlab.atoms.pairs_within(pair_batch.ptr, pair_batch.batch)[0])
total = len(pair_batch.z) * (len(pair_batch.z) - 1) // 2
print(f"of {total:,} pairs in a batch of 16, {100 * (1 - within / total):.0f} % join two molecules")

few_mu, _, others = held_out.split(S["labels"], 0, seed=SEED)
test_mu = others[:300]
mu = PropertyRegression("mu")
leak = qm9.subset(np.concatenate([pretrain.index[len(test_mu) :], test_mu.index]))
small = TRAIN | dict(batch_size=16, lr=1e-2)


def fresh_dimenet():
    """A small DimeNet; the same first weights whenever SEED is."""
    torch.manual_seed(SEED)
    return scdlab.DimeNet(
        hidden_channels=48, num_layers=2, int_emb_size=32, out_emb_channels=64, num_spherical=5
    )


dimenets = {"scratch": fresh_dimenet()}
for name, store, scope in (
    ("clean", pretrain, "molecule"),
    ("leaky", leak, "molecule"),
    ("whole batch", pretrain, "batch"),
):
    net = fresh_dimenet()
    scdlab.fit(net, PairwiseDenoising(scope=scope), store, steps=S["pair_steps"], **small)
    dimenets[name] = net
    found = scdlab.evaluate(net, test_mu, PairwiseDenoising())
    print(
        f"{name}: distances within molecules are wrong by {found['distance_mae']:.3f} Å, "
        f"untreated by {found['blind_mae']:.3f} Å"
    )

# %%
mu_mae = {}
for name in ("scratch", "clean", "leaky"):
    net = copy.deepcopy(dimenets[name])
    scdlab.fit(net, mu, few_mu, steps=S["pair_tune_steps"], **small | dict(lr=3e-3))
    mu_mae[f"mu_mae_{name}_D"] = scdlab.evaluate(net, test_mu, mu)["mu_mae"]
median = np.median(few_mu.property("mu"))
mu_mae["mu_mae_guess_D"] = float(np.abs(test_mu.property("mu") - median).mean())
claims.compare("dimenet-pairwise-mu", mu_mae)

# %% [markdown]
# In the quick profile no arm gets far below the median: the dipole moment takes more labels and
# more steps than that. An earlier record of ours had too few of both, and a *tie*: its seeds
# differed from one another by more than its arms did. It was withdrawn, and the claim now counts as
# tested only where both arms get below half the error of the median:
# `scdlab claims run dimenet-pairwise-mu --profile night`. One run each, as in the post and here,
# cannot tell.
#
# And the whole batch? In a quick run it restores the distances *within* molecules no worse than the
# clean arm. Our guess: atoms of other molecules are fixed points to measure from, so this loss asks
# where each atom was, as Coord does.
#
# ## A map of what it knows
#
# Each molecule's embedding is a point in 64 dimensions. UMAP draws it in two and keeps neighbors
# together. We color by the number of atoms. A picture persuades easily, so put a number beside it:
# the **extensivity**, $R^2$ of a linear fit from the embedding to the number of atoms, on molecules
# that were left out of the fit. 1 means that size can be read off; 0 that it cannot.
#
# **Predict.** Is size easier to read before or after pretraining? And does it matter whether the
# atoms' features are *added up* or *averaged*?

# %%
MODELS = {"untrained": fresh(), "yours": coord, "shipped": shipped}
maps = {}
extensivity = {}
near = {}
yours = {}
lines = ["R² of the number of atoms"]
for name, net in MODELS.items():
    total, index = analysis.embed(net, held_out, n=S["points"], seed=SEED)
    size = held_out.n_atoms[index]
    mean = total / size[:, None]
    maps[name] = scdlab.reduce_embedding(mean, method="umap", seed=SEED)  # or method="pca"
    extensivity[name] = analysis.extensivity(mean, size)
    summed = analysis.extensivity(total, size)
    near[name] = analysis.smoothness(mean, held_out.property("homo")[index])
    lines.append(f"{name:>10}: {extensivity[name]:.3f} from the mean, {summed:.3f} from the sum")
    if name != "shipped":
        arm = {"untrained": "untrained", "yours": "coord"}[name]
        yours |= {
            f"r2_size_mean_{arm}": extensivity[name],
            f"r2_size_sum_{arm}": summed,
            f"r2_homo_neighbors_{arm}": near[name],
        }
print("\n".join(lines))
formulas = [held_out.to_ase(k).get_chemical_formula() for k in index]
explore.compare_maps(maps, size, "atoms", numbers=extensivity, formulas=formulas)

# %% [markdown]
# *Before or after?* Look at how little the three numbers from the mean differ. Pretraining neither
# makes extensivity nor removes it. (Which of them is ahead by a little is a question for several
# seeds; the claim below asks it.)
#
# *Sum or mean?* A sum over atoms grows with their number, trained or not: its $R^2$ says nothing
# about learning. That is why the map shows means. But a mean still knows the *share* of hydrogen,
# and large molecules of QM9 have more of it. So part of what looks like size is composition, even
# in a network that was never trained.
#
# Does the embedding know more than size? Guess each molecule's HOMO energy as the mean of its ten
# nearest neighbors in the embedding. No label was used to place them:

# %%
for name, value in near.items():
    print(f"{name:>10}: R² of the HOMO energy from ten neighbors {value:.2f}")
claims.compare("coord-extensivity", yours)

# %% [markdown]
# More than size, then, and more after pretraining. (The claim takes ten times as many points as a
# quick run. Neighbors are nearer there, and the numbers higher.)
#
# The paper on self-conditioned denoising shows such maps for three networks: untrained, clustered
# by size; after Coord, smooth but extensive; after its own method, less extensive. Its argument:
# noise is local, so denoising alone teaches little about the molecule as a whole.
#
# ## Two variations
#
# **Beside the labels.** While fine-tuning, a little noise regularizes, and the same pass can
# denoise. In one line, with $\sigma = 0.005$ Å and weight 0.1, as the released code has it:

# %%
helper = CoordinateDenoising(sigma=0.005, supervised=PropertyRegression("homo"), weight=0.1)
net = copy.deepcopy(shipped)
helper.prepare(net, few)
loss, parts = helper(net, few.take(range(16)), torch.Generator().manual_seed(SEED))
aside = 0.1 * float(parts["noise_mse"])
print(f"loss {loss.item():.3f}, of which {aside:.3f} is denoising")

# %% [markdown]
# **Along what is soft.** Gaussian noise spends most of its energy on stiff bonds. *Torsional* noise
# turns parts of the molecule around the bonds that can turn, and leaves bond lengths alone. Here is
# 1-butanol, both ways, at $\sigma = 0.1$ Å:

# %%
butanol = scdlab.AtomStore.from_ase([scdlab.from_smiles("CCCCO")]).take([0])
kinds = {}
for kind in ("gaussian", "torsional"):
    generator = torch.Generator().manual_seed(SEED)
    eps, _ = sample_noise(butanol, sigma=0.1, generator=generator, kind=kind)
    kinds[kind] = dict(vectors=eps, unit="Å")
explore.view_molecule((butanol.z, butanol.pos), kinds, title="Two kinds of noise", size=(640, 340))

# %% [markdown]
# ## Paper, recorded, yours
#
# Every claim of this lesson: what the papers say, and what this kit measured with three seeds on
# the machine that the record names, or that it is still to be measured. A quick run like yours
# shows mechanics; a record is what we stand by.

# %%
lessons.display_metrics(
    rotation_error=rotation_error,
    floor_mean_times_N=mean_times_N,
    water_centered_times_N=water_left,
    noise_left_yours=noise_left["yours"],
    noise_left_schnet=noise_left["SchNet"],
    noise_left_shipped=noise_left["shipped"],
    noise_left_off_equilibrium=on_frames,
    score_force_cosine=score_cos,
    score_force_slope=slope,
    **{name: float(value) for name, value in force_cosines.items()},
    homo_mae_scratch_meV=homo_mae["scratch"],
    homo_mae_yours_meV=homo_mae["yours"],
    homo_mae_shipped_meV=homo_mae["shipped"],
    homo_mae_median_meV=homo_mae["the median"],
    **mu_mae,
    extensivity_untrained=extensivity["untrained"],
    extensivity_yours=extensivity["yours"],
    extensivity_shipped=extensivity["shipped"],
    homo_neighbors_untrained=near["untrained"],
    homo_neighbors_shipped=near["shipped"],
)
claims.table(lesson=2)

# %% [markdown]
# ## Exercises
#
# Replace `...`, run the cell, and read what the check says. Each solution is folded below its
# exercise. A batch holds several molecules: `batch` [N] says for each atom which one it belongs to.
#
# **1. Center.** Take the mean off the noise `eps` [N, 3], for each molecule its own.


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
# **2. The floor.** The $N$ atoms of a molecule get independent noise, of variance 1 in each
# component, *not* centered. Which loss per component is left to a perfect translation-invariant
# network?


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
# **3. The way back and the force.** Return cos(−ε, F), one number for each molecule, with one dot
# product over all its atoms and components. Which value do equally stiff springs give?


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
# **4. Corrupt some.** Displace only the atoms of `mask` [N] by `eps` [N, 3] (in Å). Return the
# noisy positions [N, 3], and the targets of the corrupted atoms, in units of `sigma`: [M, 3].
# Lesson 03 needs this.


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
# **5. Distances.** The mean over all pairs *within molecules* of
# $(|\hat{x}_i - \hat{x}_j| - |x_i - x_j|)^2$.


# %%
def my_pairwise(pos, corrected, batch):
    return ...


lessons.check_pairwise(my_pairwise)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def pairwise_solution(pos, corrected, batch):
    i, j = torch.triu_indices(len(pos), len(pos), offset=1)  # each pair once, without i = j
    i, j = i[batch[i] == batch[j]], j[batch[i] == batch[j]]
    before, after = ((p[i] - p[j]).norm(dim=1) for p in (pos, corrected))
    return (after - before).square().mean()


assert lessons.check_pairwise(pairwise_solution, show=False)

# %% [markdown]
# **6. Extensivity.** Fit `n` [m] linearly (with a constant) to `x` [m, d], and return $R^2$ on
# `x_new`, `n_new`.


# %%
def my_extensivity(x, n, x_new, n_new):
    return ...


lessons.check_read_off(my_extensivity)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def extensivity_solution(x, n, x_new, n_new):
    x, x_new = (torch.cat([y, torch.ones_like(y[:, :1])], dim=1) for y in (x, x_new))
    w = torch.linalg.lstsq(x, n[:, None]).solution[:, 0]
    return 1 - (n_new - x_new @ w).square().sum() / (n_new - n_new.mean()).square().sum()


assert lessons.check_read_off(extensivity_solution, show=False)

# %% [markdown]
# ## Where to go next
#
# - Train `field` with $\sigma$ = 0.005 Å and 0.08 Å. Which one gives the better direction, which
#   the better size?
# - Type a SMILES into the explorer: your own molecule. Does the network know it?
# - Off equilibrium, denoising is ambiguous: many structures could have been the clean one. **DeNS**
#   tells the network the forces of the clean structure, which settles the question. That is the
#   next lesson.
# - **Self-conditioned denoising** lets the network tell itself, through a bottleneck, what the
#   clean structure was. The lesson after.
