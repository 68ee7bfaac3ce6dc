# %% [markdown]
# # 04 · Self-conditioned denoising: say what it is, then repair it
#
# **After this lesson you can**
#
# - name three shortcomings of plain denoising, and show each of them with a few lines of code;
# - write the two-pass step of self-conditioned denoising (SCD) in twenty lines;
# - explain how a vector tells a network what to do: adaptive layer norm (adaLN);
# - read a map of embeddings with two numbers beside it, and fine-tune on few labels;
# - find three bugs in published code, with one report.
#
# **Time.** Quick profile: under two minutes on two CPU cores. The full profile is meant for a GPU;
# before each training, `fit` says how long it will take.
#
# **Papers.** The method: arXiv:2603.17196, with released code. adaLN: W. Peebles, S. Xie, *Scalable
# Diffusion Models with Transformers* (DiT), ICCV 2023, arXiv:2212.09748. Lesson 02 is taken for
# granted: noise, its floor, the equivariant transformer, “Coord”.

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": under two minutes on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import copy

import numpy as np
import torch
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import analysis, claims, explore, lessons
from scdlab.analysis import displacements, linear_probe, mixed, noise_left, self_embedding
from scdlab.nn.official_ct import OfficialCT
from scdlab.objectives import (
    CoordinateDenoising,
    PropertyRegression,
    SelfConditionedDenoising,
    sample_noise,
)

SIZES = {
    "quick": dict(pretrain=10_000, steps=50, points=800, labels=500, tune_steps=80),
    "full": dict(pretrain=120_000, steps=10_000, points=4000, labels=1000, tune_steps=5000),
}
S = SIZES[PROFILE]
TRAIN = dict(batch_size=32, seed=SEED, device=DEVICE)  # for every training below

# Four networks of one size, pretrained by the claims' recipes. The first two have seen 100,000
# minima of QM9, none of them held out here; the others frames off equilibrium: ethanol, aspirin,
# isomers of C7H10O2 and alloys, mixed. Coord took twice as many steps as SCD: as many passes.
coord = scdlab.load_pretrained("coord-ct")
scd = scdlab.load_pretrained("scd-ct")
coord_off = scdlab.load_pretrained("coord-ct-frames")
off = scdlab.load_pretrained("scd-ct-frames")

qm9 = scdlab.load_qm9(root=DATA)
held_out, _, rest = qm9.split(min(5000, len(qm9) // 2), 0, seed=0)
unseen, _, _ = qm9.split(min(5000, len(qm9)), 0, seed=0)  # the same where all of QM9 is there
frames, _, new_frames = scdlab.load_ethanol().split(1500, 0, seed=0)


def fresh(**options):
    """A new network of the shipped ones' size; the same first weights whenever SEED is."""
    torch.manual_seed(SEED)
    return scdlab.EquivariantTransformer(**{**scd.config, **options})


# %% [markdown]
# ## Break it: three shortcomings of denoising
#
# Lesson 02 ended with a doubt. Denoising gave a head start, and the head start did not last. The
# paper on SCD blames three shortcomings. Each can be tested.
#
# **1. Noise is local.** Each atom is moved by itself. To see where it was, a look at its neighbors
# is enough. So why should the network learn anything about the molecule as a whole?
#
# **Predict.** Take an atom in the middle of a large molecule. Cut away everything farther than $R$
# from it. From which $R$ on is the answer for that atom what it was in the whole molecule?

# %%
big = np.argsort(-held_out.n_atoms, kind="stable")[:40]  # the largest molecules held out
noisy = []
for k in big:
    atoms = held_out.to_ase(k)
    atoms.info.clear()  # no labels
    atoms.positions += displacements(atoms, 0.04, seed=SEED)
    noisy.append(atoms)
middle = [int(np.linalg.norm(a.positions - a.positions.mean(0), axis=1).argmin()) for a in noisy]


def answers(net, radius):
    """The answers [40, 3] for the middle atoms when only atoms within `radius` (Å) are there."""
    cut = []
    where = []
    for atoms, m in zip(noisy, middle, strict=True):
        near = np.linalg.norm(atoms.positions - atoms.positions[m], axis=1) <= radius
        cut.append(atoms[near])
        where.append(int(near[:m].sum()))
    batch = scdlab.AtomStore.from_ase(cut).take(range(len(cut)))
    with torch.no_grad():
        return net(batch, noise=True).noise[batch.ptr[:-1] + torch.tensor(where)]


R = np.array([2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0])
whole = answers(coord, np.inf)
change = np.array([float((answers(coord, r) - whole).norm() / whole.norm()) for r in R])
explore.compare_curves(
    R,
    {"Coord": change},
    "radius R",
    "change of the answer",
    "Å",
    "share",
    title="How far it looks",
    log="",
)

# %% [markdown]
# The network could look 15 Å far: three layers of 5 Å each. It looks about 4 Å far, to the
# neighbors of neighbors. Everything beyond could be another molecule.
#
# **2. The target is a vector.** Vectors come out of the vector features. Properties such as the
# HOMO energy are read off the *scalar* features. Denoising needs these only as helpers, so nothing
# presses them to hold what a property needs. A simple test is a **linear probe**: average the
# scalar features over the atoms, fit a property linearly to these 64 numbers, and see how much of
# its variance the fit explains on molecules left out ($R^2$: 1 all, 0 nothing).
#
# A probe is easily unfair. With few molecules it measures the fit, so we take all 5,000 and let the
# fit choose its own ridge. And features of any network tell which atoms there are, so we need a
# **control**: the same probe from the composition alone, the numbers of H, C, N, O and F.
#
# **Predict.** By how much does denoising raise the $R^2$ of the HOMO energy over that of a network
# with random weights? And what does the composition alone explain?


# %%
random = fresh().eval()
means = {}  # of the scalar features, for each network [n, 64]
probes = {}
homo_of = unseen.property("homo")
for name, net in (("untrained", random), ("Coord", coord), ("SCD", scd)):
    means[name], _ = analysis.embed(net, unseen, n=None, pool="mean")
    probes[name] = linear_probe(means[name], homo_of)
atoms_there = analysis.composition(unseen)
probes["composition"] = linear_probe(atoms_there, homo_of)
beyond = linear_probe(np.hstack([means["Coord"], atoms_there]), homo_of)
for name in ("composition", "untrained", "Coord"):
    print(f"{name:>11}: R² of the HOMO energy {probes[name]:.2f}")
print(f"Coord and the composition together: {beyond:.2f}")

# %% [markdown]
# It does not raise it, it *lowers* it. The composition is not the reason: alone it explains little,
# and beside Coord's numbers it adds next to nothing. A random network's features hold something
# else, who is whose neighbor and how far, and that says much about the HOMO energy. Denoising has
# put other things in its place. (A linear fit is no verdict: fine-tuning changes all weights, and
# we come back to it.)
#
# **3. Off equilibrium the question has no answer.** Atoms in a simulation are displaced by heat
# already. Which part of a displacement is noise? Here are two frames of ethanol at 500 K that
# resemble each other, laid on top of each other, and the structure halfway between them.

# %%
pool = frames.take(range(400)).pos.view(-1, 9, 3).double().numpy()
pool = pool - pool.mean(1, keepdims=True)
pairwise = np.linalg.norm(pool[:, :, None] - pool[:, None], axis=-1)  # distances within frames
pairwise = pairwise.reshape(400, -1)
apart = np.linalg.norm(pairwise[:, None] - pairwise[None], axis=-1) + 1e9 * np.eye(400)
a, b = np.unravel_index(apart.argmin(), apart.shape)
x_a = pool[a]
x_b = Rotation.align_vectors(pool[a], pool[b])[0].apply(pool[b])
half = (x_a + x_b) / 2
for name, x in (("A", x_a), ("B", x_b)):
    rms = np.sqrt(((half - x) ** 2).mean())
    print(f"halfway = frame {name} + noise of {rms:.3f} Å per component, and σ is 0.040 Å")
explore.view_molecule(
    (frames.to_ase(0).numbers, half),
    {
        "to frame A": dict(vectors=x_a - half, unit="Å", scale=10, color="#0072B2"),
        "to frame B": dict(vectors=x_b - half, unit="Å", scale=10, color="#E69F00"),
    },
    title="One noisy structure, two clean ones",
    size=(520, 320),
)

# %% [markdown]
# (Arrows are drawn ten times as long.) Both frames are as likely. Their arrows are opposite, so the
# best blind answer is their mean: *nothing*. A network that denoises frames must stay vague, and
# one that was trained on minima is worse than vague. It removes the heat as well:

# %%
left = {}
for name, net, store in (
    ("minima, trained on minima", coord, held_out[:500]),
    ("frames, trained on minima", coord, new_frames),
    ("frames, trained on frames", coord_off, new_frames),
):
    left[name] = scdlab.evaluate(net, store, CoordinateDenoising(0.04))["noise_unexplained"]
explore.compare_bars(left, "noise left", title="Coord; 1: no better than no answer")

# %% [markdown]
# ## The idea
#
# All three shortcomings have one cure, says the paper: **let the network look at the clean
# structure first, and say in a few numbers what it is.** Then let it denoise with this description
# at hand. Two passes of one network:
#
# $$c = \mathrm{embedding}(x + \varepsilon_1), \qquad
# \hat\varepsilon = \mathrm{model}(x + \varepsilon_2 \mid c), \qquad
# L = \frac{1}{3N} \left\| \hat\varepsilon - \frac{\varepsilon_2}{\sigma} \right\|^2 .$$
#
# - $x \in \mathbb{R}^{N \times 3}$: the clean positions of $N$ atoms in Å;
# - $\varepsilon_1$: noise of 0.005 Å, which merely regularizes; $\varepsilon_2$: noise of $\sigma$
#   = 0.04 Å, to be predicted;
# - $c \in \mathbb{R}^{64}$: the **condition**. It does not turn with the molecule. $\mid c$ reads
#   “told $c$”.
#
# Why is this not cheating? Because $c$ is a **bottleneck**. It cannot carry noise: the first pass
# has not seen $\varepsilon_2$. It cannot carry $x$ in full either: 64 numbers, pooled over all
# atoms. What is worth a place in them? What cannot be read off the ruins: which of many
# conformations this was, what the molecule is as a whole. The gradient of $L$ runs through *both*
# passes, so it presses the scalar features to know such things (shortcoming 2), for the whole
# molecule (1), and off equilibrium too (3).
#
# Nobody tells the network at the end: in fine-tuning there is one pass and no condition. So in
# pretraining a fifth of the conditions are dropped, and replaced by a learned vector that means
# “not told”, the **mask token**.
#
# ## The code, in twenty lines


# %%
def scd_loss(model, batch, generator, sigma=0.04, reg_sigma=0.005, p_drop_condition=0.2):
    """Two passes: describe the clean structure, then denoise it with the description."""
    eps1, _ = sample_noise(batch, reg_sigma, generator, centered=False)  # ε₁ (N, 3) Å
    eps2, _ = sample_noise(batch, sigma, generator)  # ε₂ (N, 3) Å, centered: lesson 02
    # shallow: the caller's batch keeps its positions
    clean = copy.copy(batch)
    noisy = copy.copy(batch)
    clean.pos = batch.pos + eps1
    noisy.pos = batch.pos + eps2

    c = model(clean, noise=False).embedding  # pass 1: (B, 64), one vector for each molecule
    dropped = torch.rand(len(c), generator=generator) < p_drop_condition
    c = torch.where(dropped[:, None], model.mask_token, c)  # "not told"
    answer = model(noisy, condition=c, noise=True).noise  # pass 2: (N, 3)
    return (answer - eps2 / sigma).square().mean()


sample = held_out.take(range(64))
net = copy.deepcopy(scd).train()
ours = scd_loss(net, sample, torch.Generator().manual_seed(SEED))
theirs, _ = SelfConditionedDenoising()(net, sample, torch.Generator().manual_seed(SEED))
loss_difference = (ours - theirs).abs().item()
print(
    f"ours {ours.item():.6f}, the library's {theirs.item():.6f}, difference {loss_difference:.1e}"
)
ours.backward()
through = net.embedding_head.mlp[-1].weight.grad.norm().item()
print(f"gradient that reaches the embedding through the condition: {through:.1e}")

# %% [markdown]
# Two things the library does besides. It searches neighbors once for both passes: at the midpoint
# of the two sets of positions, with a margin. (How large must the margin be? Exercise 4.) And it
# **freezes the embeddings of the elements** while pretraining. The less the network knows of
# elements, the less noise they add to the answer, and they would slowly fade away, says the paper;
# fine-tuning would start from there. (So does plain denoising here: the same parameters are frozen
# in both, and the two differ in nothing but the condition.)
#
# ## How a vector tells a network what to do
#
# How does $c$ get in? Adding it to the atoms' features is the first thing one would try. **DiT**, a
# transformer that makes pictures, found something better: let $c$ set the *knobs of every layer*. A
# layer normalizes its input, works on it, and adds the result to what was there. adaLN sets scale,
# shift and gate of each layer. In DiT $c$ alone sets them; for atoms the release of SCD lets them
# depend on the atom as well, and so do we, so that one description can say different things to
# different atoms:
#
# $$\beta, \gamma, \alpha = \mathrm{Linear}\Big(\mathrm{LN}\big(\mathrm{SiLU}(
#   \mathrm{Linear}([\mathrm{LN}(c), \mathrm{LN}(x)]))\big)\Big),$$
#
# $$x \leftarrow x
#   + (1 + \tanh \alpha) \circ \mathrm{block}\big((1 + \gamma) \circ \mathrm{LN}(x) + \beta\big).$$
#
# - $x \in \mathbb{R}^{N \times d}$: scalar features; $[c, x]$: the structure's condition beside the
#   features of each of its atoms; $\mathrm{LN}$: layer norm; $\circ$: channel by channel;
# - $\beta$ shifts, $\gamma$ scales, $\alpha$ is the **gate**: from 0 (the layer is silent) to 2
#   (twice as loud).
#
# Our transformer with adaLN is called **CT**. The start matters. In DiT the last Linear begins at
# zero. Then no condition has any effect, and no gradient reaches the description in the first step.
# Ours begins with weights drawn at random (Xavier's, halved), so that the condition acts, and is
# trained, from the first step on. (Does it matter in the end? `scd-adaln`, below.) Try both:

# %%
pulls = {}
for name, factor in (("zero", 0.0), ("half of Xavier", 1.0)):  # times the weights as they start
    net = fresh().train()
    with torch.no_grad():
        for layer in net.adaln:
            layer.lin2.weight.mul_(factor)
    scd_loss(net, sample, torch.Generator().manual_seed(SEED)).backward()
    pulls[name] = net.embedding_head.mlp[-1].weight.grad.norm().item()
    print(f"started from {name}: gradient that reaches the embedding {pulls[name]:.1e}")
c = torch.randn(64, 64, generator=torch.Generator().manual_seed(SEED))


def moved(net):
    """By which share of its size a random condition changes the answer."""
    with torch.no_grad():
        blind = net(sample).noise
        return float((net(sample, condition=c).noise - blind).norm() / blind.norm())


start = moved(random)
listening = moved(scd)
print(f"a random condition changes the answer of an untrained network by {100 * start:.1f} %,")
print(f"and after SCD on minima by {100 * listening:.1f} %")

# %% [markdown]
# (A random vector is no description that any training has seen: it spoils the answer. What true
# descriptions do is the next question.)
#
# Vector features are not modulated. They meet $c$ only through scalars, so turning the molecule
# must still turn the answer, *whatever the condition*. And gradients run through all that adaLN
# reads, so forces at a given $c$ stay the exact gradient of an energy. Both can be checked:

# %%
one = held_out.take([3])
turned = copy.copy(one)
Q = torch.tensor(Rotation.random(random_state=SEED).as_matrix(), dtype=torch.float32)
turned.pos = one.pos @ Q.T
with torch.no_grad():
    before, after = (scd(b, condition=c[:1]).noise for b in (one, turned))
rotation_error = (after - before @ Q.T).abs().max().item()
print(f"largest error after turning, under a random condition: {rotation_error:.1e}")
scdlab.symmetry_report(scd, held_out.to_ase(3))

# %% [markdown]
# ## Predict: what is a description worth?
#
# The network `off` was pretrained by SCD on frames, ethanol at 500 K among them. We shake a frame
# that it has not seen and let it denoise under four conditions: its **own** embedding of the clean
# frame; **none**, the mask token; the embedding of the **other** frame; and a **mix** of own and
# other.
#
# **Write down the order** of the four, from the least noise left to the most. Then look, and move
# the sliders.

# %%
explorer = explore.ConditionExplorer(off, new_frames, molecule=0, other=7, seed=SEED)
explorer

# %% [markdown]
# **Find out:**
#
# - What happens to the bars when you move *mix* from 0 to 1?
# - The wrong description does harm. More than none at all?
# - Below are the gates. Which layer listens most?
#
# A widget shows one frame. Now all 500, and a fourth network beside them: `coord_off`, plain
# denoising of the same frames, with as many passes.
#
# **Predict.** Where will Coord stand: with *own*, or with *none*?

# %%
GIVEN = {
    "own": dict(p_drop_condition=0),
    "none": dict(p_drop_condition=1),
    "other": dict(p_drop_condition=0, condition="other"),  # of the next structure in its batch
}


def noise_left_under(net, plain, store):
    """Noise left by a network after SCD under each condition, and by plain denoising."""
    arms = {name: (net, options) for name, options in GIVEN.items()}
    arms["coord"] = (plain, GIVEN["none"])
    return {
        name: scdlab.evaluate(model, store, SelfConditionedDenoising(**options))[
            "noise_unexplained"
        ]
        for name, (model, options) in arms.items()
    }


told = {"frames": noise_left_under(off, coord_off, new_frames)}
gain = {"frames": 1 - told["frames"]["own"] / told["frames"]["none"]}
for name, value in told["frames"].items():
    print(f"{name:>5}: {value:.3f} of the noise is left")
print(f"Coord over none: {told['frames']['coord'] / told['frames']['none']:.3f}")
print(f"gain of the condition, 1 - own/none: {100 * gain['frames']:.1f} %")
names = {
    "own": "SCD, its own",
    "none": "SCD, none",
    "coord": "Coord",
    "other": "SCD, another's",
}
explore.compare_bars(
    {text: told["frames"][name] for name, text in names.items()},
    "noise left",
    title="Unseen frames of ethanol",
)

# %% [markdown]
# Told nothing, SCD faces the same question as Coord, the ruins and no more, and stands about where
# Coord stands. That is shortcoming 3 as a number: what neither can know. Its own description tells
# it some of that, and a stranger's misleads: worse than none. So the network has learned to read
# the description, and the description says something that the ruins do not.
#
# ## Where it says nothing: minima
#
# The paper's table of QM9 is about a network that saw minima. Here is the same count for them, and
# for unseen frames of all kinds, molecules and crystals: the line that our record judges.

# %%
told["minima"] = noise_left_under(scd, coord, held_out[:500])
told["mixed"] = noise_left_under(
    off, coord_off, claims.self_conditioned_frames.mixed_frames(0).test
)
for where in ("mixed", "frames", "minima"):
    gain[where] = 1 - told[where]["own"] / told[where]["none"]
    shares = ", ".join(f"{name} {value:.3f}" for name, value in told[where].items())
    print(f"{where:>6}: {shares}; gain {100 * gain[where]:.1f} %")
measured = {
    f"left_{name}_{where}": value for where, each in told.items() for name, value in each.items()
}
measured |= {f"gain_{where}": value for where, value in gain.items()}
asked = claims.get("scd-condition").quantities
claims.compare("scd-condition", {k: v for k, v in measured.items() if k in asked})

# %% [markdown]
# On minima own, none and a stranger's leave practically the same. Why? At a minimum the elements
# around an atom fix its bond lengths and angles: *where it belongs* can be read off the ruins, and
# nothing is left for a description to say. (Shortcoming 3 is about heat, and there is none.) The
# mechanism is **off**, and SCD is Coord with half as many updates.
#
# This has a consequence for everything below. A comparison of SCD with Coord after pretraining on
# minima *tests nothing* while the condition is not used. Our ledger knows that: claims on the worth
# of SCD have a **precondition**, a gain of own over none of at least 2 %, measured in the same run.
# Where it fails, the verdict is neither a tie nor a loss, but *not tested: mechanism off*.
#
# Three more questions belong here, each a claim of its own in the table at the end: which part of
# adaLN makes a network use its condition (`scd-adaln`); whether the worth of the description grows
# with training, and falls behind where pass 1 is not trained by pass 2 (`scd-growth`); and whether
# larger noise, a wider network or a smaller set switches the mechanism on at minima (`scd-minima`).
#
# How the noise left depends on the description, frame by frame: from its own to another's.

# %%
t = np.linspace(0, 1, 6)
mixes = []
for k in range(6):
    atoms = new_frames.to_ase(k)
    stranger = new_frames.to_ase(k + 20)
    ends = self_embedding(off, atoms), self_embedding(off, stranger)
    none = noise_left(off, atoms, 0.04, None, seed=k).mean
    mixes.append([noise_left(off, atoms, 0.04, mixed(*ends, s), seed=k).mean - none for s in t])
explore.compare_curves(
    t,
    {"frames": np.array(mixes)},
    "share of the other's embedding",
    "noise left, less that of none",
    title="From own to other",
    log="",
)

# %% [markdown]
# Below zero the description helps, above it misleads.
#
# ## Train: two passes against one
#
# A step of SCD costs two passes. So a comparison at *equal passes* gives plain denoising twice as
# many steps; at *equal updates* it gets as many. The claims measure both. (What a step costs in
# time is among the claims as well.)
#
# **Predict.** On minima, whose loss will be lower after a short run?

# %%
pretrain, _, _ = rest.split(min(S["pretrain"], len(rest)), 0, seed=SEED)
yours = {}
histories = {}
for name, objective, steps in (
    ("Coord", CoordinateDenoising(0.04), 2 * S["steps"]),
    ("SCD", SelfConditionedDenoising(0.04), S["steps"]),
):
    yours[name] = fresh()
    run = scdlab.fit(yours[name], objective, pretrain, steps=steps, lr=3e-3, **TRAIN)
    yours[name].cpu()
    histories[name] = run.history
curve = explore.learning_curve(histories, quantity="noise_mse", unit="σ²", title="Denoising QM9")
curve.update_yaxes(type="linear", dtick=0.1)

# %% [markdown]
# ## A map of what they know
#
# Each point is a molecule that no network has seen. UMAP puts neighbors together. Two numbers stand
# beside the map: **extensivity**, the $R^2$ of the number of atoms from a linear fit, and
# **smoothness**, the $R^2$ of a property guessed as the mean of the ten nearest neighbors.
#
# **Predict.** The paper shows three maps colored by the number of atoms: *untrained*, clustered by
# size; *Coord*, smooth but extensive; *SCD*, smooth and less extensive. Which order of the two
# numbers would that be?
#
# Point at the map to see a molecule. Switch the network, the color, and what is mapped. (Do you
# have a published checkpoint of CT? Put `scdlab.load_official_ct("its.ckpt")` among the networks.)

# %%
NETS = {"untrained": random, "Coord": coord, "SCD": scd}
atlas = explore.EmbeddingExplorer(held_out, NETS, n=S["points"], seed=SEED)
atlas

# %%
found = {}
size = unseen.n_atoms
some = np.random.default_rng(SEED).permutation(len(unseen))[: S["points"]]
for arm, name in (("scd", "SCD"), ("coord", "Coord"), ("scratch", "untrained")):
    heads, _ = analysis.embed(NETS[name], unseen, n=None, pool="embedding")
    for what, x in (("condition", heads), ("mean", means[name])):
        found[f"r2_size_{what}_{arm}"] = analysis.extensivity(x, size)
        found[f"r2_homo_neighbors_{what}_{arm}"] = analysis.smoothness(x[some], homo_of[some])
print("linear probe, R² of the HOMO energy:", ", ".join(f"{k} {v:.2f}" for k, v in probes.items()))
asked = claims.get("scd-extensivity").quantities
claims.compare("scd-extensivity", found | {k: v for k, v in measured.items() if k in asked})

# %% [markdown]
# Read the column *yours*: one network an arm, linear fits on all 5,000 molecules, neighbors among
# as many as the map has. The points of the paper's figure are outputs of the **embedding head**,
# which SCD alone trains; in the other two arms it is as random as at the start. The means over
# atoms know no such difference, so both are listed. (A mean over atoms removes size by
# construction; what is left is composition, see lesson 02.) The paper's pictures have no numbers,
# so we wrote down a rule. And a precondition: networks that do not use their condition can say
# nothing about what using it does to embeddings.
#
# And shortcoming 2? The linear probe answers for these networks: neither pretraining on minima
# presses the HOMO energy into the scalar features. The untrained network stands above both.
#
# ## Few labels
#
# Fine-tuning in three lines: load, name the property, `fit`. One pass, no condition. The head reads
# the scalar features, and beside them the lengths of the vectors, which denoising trains most.
#
# **Predict.** Scratch, Coord, SCD: in which order, and how far apart?

# %%
labeled = rest.split(S["labels"], 0, seed=SEED)[0]
test = held_out[:500]
homo = PropertyRegression("homo", vector_lengths=True)
homo_mae = {}
for name, pretrained in (("scratch", fresh()), ("Coord", coord), ("SCD", scd)):
    net = copy.deepcopy(pretrained)  # the pretrained weights are needed again
    scdlab.fit(net, homo, labeled, steps=S["tune_steps"], lr=1e-3, **TRAIN)
    homo_mae[name] = 1e3 * scdlab.evaluate(net.cpu(), test, homo)["homo_mae"]
guess = np.median(labeled.property("homo"))
homo_mae["the median"] = 1e3 * float(np.abs(test.property("homo") - guess).mean())
explore.compare_bars(homo_mae, "HOMO MAE", "meV", title=f"{len(labeled)} labels")

# %%
names = {"scd": "SCD", "coord": "Coord", "scratch": "scratch"}
asked = claims.get("scd-few-labels-homo").quantities
claims.compare(
    "scd-few-labels-homo",
    {f"homo_mae_{arm}_few_meV": homo_mae[name] for arm, name in names.items()}
    | {k: v for k, v in measured.items() if k in asked},
)

# %% [markdown]
# Yours is a short run on few labels, one seed, and no more than a first look. The claim has longer
# runs, two sizes of training sets, the regularizers of the release and six seeds. And it has the
# precondition: while the condition is not used on minima, a difference between SCD and Coord here
# is one of updates and chance.
#
# What does the paper compare? Its table has 20.3 meV from scratch, 17.7 after Coord and 12.7 after
# SCD, and its row of backbones reads **ET, ET, CT**: the plain transformer, the plain one, and the
# conditional one. So between the second number and the third the *network* changes as well, and
# with it the number of parameters; no CT from scratch and no Coord on CT is given for QM9. Nothing
# is said about equal passes. And an earlier paper reports 15.5 meV for Coord where this one's table
# has 17.7. “SCD beats Coord in one network, at as many passes” is therefore *our* question and a
# stricter one; the paper's own contrast, ET against CT at equal updates, is measured beside it.
# Compare within one network, at one budget, and count the seeds.
#
# A good fine-tuning run has more knobs, all of them arguments of `fit`: a learning rate for the new
# head and another for the pretrained backbone, drop-path that fades, a little denoising beside the
# labels that fades as well:

# %%
net = copy.deepcopy(scd)
beside = CoordinateDenoising(sigma=0.005, supervised=homo, weight=0.1)
run = scdlab.fit(
    net,
    beside,
    labeled,
    steps=10,
    lr={"head": 1e-3, "backbone": 3e-4},
    anneal={"drop_path": (0.15, 0.1), "weight": (0.1, 0.0)},
    **TRAIN,
)
out = net.cpu().eval()(test.take([0]))
formula = test.to_ase(0).get_chemical_formula()
label = test.property("homo")[0]
predicted = float(out.properties["homo"][0].detach())
print(
    f"HOMO of {formula}: {predicted:.2f} {net.units['homo']}, label {label:.2f} "
    f"{test.units('homo')}"
)

# %% [markdown]
# ## Find the bug
#
# The released code of the paper contains this network too, with three differences. We rebuilt its
# layout, number for number, so that published checkpoints load:
# `scdlab.load_official_ct("checkpoint.ckpt")`. Here it is with random weights. One report tells
# three stories. **Before you read on: which lines of the report are wrong, and what could be the
# cause of each?**

# %%
probe_atoms = scdlab.from_smiles("CO")
LAYOUT = dict(emb_dim=32, num_layers=2, num_heads=4, num_rbf=16)


def released(steeper=1.0, **options):
    """The released layout with random weights; `steeper` multiplies the slope of its tanh."""
    torch.manual_seed(SEED)
    net = OfficialCT(**LAYOUT, **options).eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("norm_alpha"):
                p.mul_(steeper)
    return net


reports = {"as released": scdlab.symmetry_report(released(steeper=10), probe_atoms)}
reports["as released"]

# %% [markdown]
# **Bug 1.** Vectors are bounded by tanh, *component by component*: $v \leftarrow \tanh(\alpha v)$.
# Turn a vector by 45° and its components change, and so does what tanh makes of them. At the start
# of training, where tanh is almost a straight line, the error is tiny. Then the slope is learned.
# The cure: bound the *length*, keep the direction (exercise 5).
#
# **Bug 2.** Each layer's adaLN reads the condition *and a copy of the features*, `h.detach()`, cut
# off from the gradient. Energies are right; but what autograd returns as the force is not the slope
# of the energy. The cure: do not detach. (Ours reads the features as well, and lets the gradient
# through.)
#
# **Bug 3.** An option whitens the vectors: divides by their covariance, with a small matrix
# $\epsilon\,\mathrm{diag}(1, 2, 3)$ added to keep it regular. That matrix prefers the axes of
# space. The cure: a multiple of the unit matrix.
#
# Each alone, and cured:

# %%
variants = {
    "tanh at the start": released(detach=False),
    "tanh, slope × 10": released(10, detach=False),
    "detached copy": released(vec_prenorm=False),
    "whitening": released(vec_prenorm=False, detach=False, layernorm_on_vec=True),
    "all cured": released(vec_prenorm=False, detach=False),
    "our CT, after SCD": scd,
}
reports |= {name: scdlab.symmetry_report(net, probe_atoms) for name, net in variants.items()}
for name, report in reports.items():
    print(
        f"{name:>18}: rotation {report.rotation:.0e}, forces against finite differences "
        f"{report.force_consistency:.0e}"
    )
claims.compare(
    "ct-faults",
    {
        "rotation_ours": reports["our CT, after SCD"].rotation,
        "rotation_tanh": reports["tanh at the start"].rotation,
        "rotation_tanh_steep": reports["tanh, slope × 10"].rotation,
        "rotation_whitened": reports["whitening"].rotation,
        "rotation_cured": reports["all cured"].rotation,
        "force_error_ours": reports["our CT, after SCD"].force_consistency,
        "force_error_detached": reports["detached copy"].force_consistency,
        "force_error_cured": reports["all cured"].force_consistency,
    },
)

# %% [markdown]
# None of this shows in a table of errors on QM9. A network can learn to be *almost* equivariant.
# But in dynamics an error of the forces becomes heat (lesson 01), and a rotation error becomes a
# torque on a molecule in empty space.
#
# ## Paper, recorded, yours
#
# Every claim of this lesson, whichever way it comes out: the condition and what makes a network use
# it, few labels, forces of ethanol (where the paper itself reports a loss) and of molecules that no
# pretraining has seen, pretraining off equilibrium, other networks in the transformer's place, and
# what a step costs. A line without a record was not measured yet with these networks; records of
# earlier ones were withdrawn (`scdlab claims --history` shows them, and why).

# %%
lessons.display_metrics(
    answer_change_4A=float(change[R == 4.0][0]),
    noise_left_minima=left["minima, trained on minima"],
    noise_left_heat_as_noise=left["frames, trained on minima"],
    probe_untrained=probes["untrained"],
    probe_coord=probes["Coord"],
    probe_scd=probes["SCD"],
    probe_composition=probes["composition"],
    probe_coord_and_composition=beyond,
    loss_difference=loss_difference,
    rotation_error=rotation_error,
    gradient_from_zero=pulls["zero"],
    gradient_from_xavier=pulls["half of Xavier"],
    condition_changes_untrained=start,
    condition_changes_scd=listening,
    **{name: float(value) for name, value in measured.items()},
    **{name: float(value) for name, value in found.items()},
    homo_mae_scratch_meV=homo_mae["scratch"],
    homo_mae_coord_meV=homo_mae["Coord"],
    homo_mae_scd_meV=homo_mae["SCD"],
    homo_mae_median_meV=homo_mae["the median"],
    released_rotation=reports["as released"].rotation,
    released_force_error=reports["as released"].force_consistency,
    ours_rotation=reports["our CT, after SCD"].rotation,
    ours_force_error=reports["our CT, after SCD"].force_consistency,
)
claims.table(lesson=4)

# %% [markdown]
# Read it in this order.
#
# - *Is the mechanism on?* `scd-condition`, off equilibrium: own, none, another's, and Coord beside
#   them. Everything else rests on it.
# - *Does it pay where it is on?* `scd-frames-transfer` pretrains on frames of several molecules and
#   goes on with few labels of another one; `scd-nonequilibrium` goes on to HOMO energies.
# - *Minima.* Lines that pretrain on minima are tested only where the condition is used there.
# - *Forces of ethanol.* The paper reports a loss after SCD on minima, in ET, ET and CT. One table
#   does not speak for another network, nor for other labels: ours are GFN2-xTB's.
# - *Costs.* A step of SCD has two passes, which share their list of neighbors. A step on forces as
#   gradients goes through the network twice as well, forwards and backwards to the positions.
#
# So is SCD worth its second pass? As a way to make denoising better posed off equilibrium, yes:
# your bars and their negative control say so. As a pretraining on minima, the question is not even
# put while the condition is not used. Where it is used, what a pretraining is worth is for the
# records to say: six seeds, paired, Coord at equal passes and at equal updates.

# %% [markdown]
# ## Exercises
#
# Replace `...`, run the cell, and read what the check says. Each solution is folded below its
# exercise. B is the number of structures in a batch, N the number of all their atoms, d the number
# of channels.
#
# **1. Modulate.** Adaptive layer norm by hand. Norm the features `x` [N, d] of each atom over its
# channels: take off their mean $\mu$ and divide by $\sqrt{\mathrm{var} + 10^{-5}}$, where var is
# the mean of $(x - \mu)^2$. Then multiply by 1 + `scale` and add `shift`. Both are [N, d], as adaLN
# gives them. There are no learned weights.


# %%
def my_modulate(x, scale, shift):
    return ...


lessons.check_modulate(my_modulate)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def modulate_solution(x, scale, shift):
    centered = x - x.mean(dim=1, keepdim=True)
    variance = centered.square().mean(dim=1, keepdim=True)  # (N, 1)
    return (1 + scale) * centered / (variance + 1e-5).sqrt() + shift


assert lessons.check_modulate(modulate_solution, show=False)

# %% [markdown]
# **2. Drop.** Of the conditions `c` [B, d], replace the rows with `u` < `p` by `token` [d], the
# mask token. Keep the others exactly as they are. `u` [B] are random numbers between 0 and 1, one
# for each structure. `p` is the share that is dropped, on average.


# %%
def my_drop(c, token, u, p):
    return ...


lessons.check_drop_condition(my_drop)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def drop_solution(c, token, u, p):
    # No 1/(1 - p), which dropout needs to keep sums as large as they were: here nothing is summed.
    return torch.where((u < p)[:, None], token, c)


assert lessons.check_drop_condition(drop_solution, show=False)

# %% [markdown]
# **3. Somebody else's.** The negative control: give each structure of a batch the condition of
# another one. `c` is [B, d], with B at least 2. Nobody may keep its own, and each condition is used
# once.


# %%
def my_other(c):
    return ...


lessons.check_other_condition(my_other)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def other_solution(c):
    return c.roll(1, dims=0)  # everybody gets the one before; the first gets the last


assert lessons.check_other_condition(other_solution, show=False)

# %% [markdown]
# **4. The margin.** The two passes see the same atoms in two places, `first` and `second` [N, 3]
# (Å). They share one list of pairs. The list is made at the midpoint of the two, with the cutoff
# plus a margin. It must hold every pair that is within the cutoff in either pass. Of all moves from
# `first` to `second` you may use one number: the length of the longest. Which is the smallest
# margin that is always enough?


# %%
def my_margin(first, second):
    return ...


lessons.check_margin(my_margin)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def margin_solution(first, second):
    # From either pass to the midpoint an atom makes half its move. Two atoms that do so in opposite
    # directions come apart by half a move each: by one largest move, if both have made that.
    return (first - second).norm(dim=1).max()


assert lessons.check_margin(margin_solution, show=False)

# %% [markdown]
# **5. Find the bug.** Before each layer the released network bounds its vectors `v` [N, 3, d] (for
# each atom and each channel one vector x, y, z) by `torch.tanh(v)`. Why is it no longer
# equivariant? Write a bound that is: each vector becomes shorter than 1, longer ones stay longer,
# directions stay. It must be smooth and finite at `v` = 0, and so must its gradient. Try
# `torch.tanh` first, and read what the check says.


# %%
def my_normalize(v):
    return ...


lessons.check_vector_norm(my_normalize)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def normalize_solution(v):
    # v tanh(|v|)/|v|: the length does not change when the vector turns, x, y and z do. The tiny
    # number keeps the square root, its slope and 0/0 finite at v = 0.
    length = (v.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()  # (N, 1, d)
    return v * torch.tanh(length) / length


assert lessons.check_vector_norm(normalize_solution, show=False)

# %% [markdown]
# ## Where to go next
#
# - Type your own molecule: `scdlab.from_smiles("CC(=O)O")`, `explore.ConditionExplorer(scd, store)`
#   on a store of it.
# - Ablate: `SelfConditionedDenoising(stop_gradient=True)`, `condition="other"`,
#   `condition="atoms"`, `p_drop_condition=0`.
# - From the shell, on any files that ASE reads, several kinds mixed: `scdlab train` pretrains,
#   fine-tunes with `--init`, and `scdlab evaluate` tests. The README has the commands.
# - Off equilibrium there is another cure for the ambiguity: **DeNS** tells the network the forces
#   of the clean structure.
# - Our networks are exactly equivariant by design. **ECSE** makes any network so. That is the next
#   lesson.
