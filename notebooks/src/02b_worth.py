# %% [markdown]
# # 02b · What pretraining is worth: few labels, leakage, distances, maps
#
# **After this lesson you can**
#
# - fine-tune a pretrained network on few labels beside two controls, and say whether a difference
#   is larger than chance;
# - make a test leak on purpose, and see how much of it is memory;
# - write the denoising loss in pairwise distances, and count the pairs that mean nothing;
# - read a map of embeddings with numbers beside it, and with the control that most maps lack: the
#   composition alone.
#
# **Time.** About forty minutes to read and do. Its computations: quick profile, under two minutes
# on two CPU cores; the full profile is meant for a GPU.
#
# **Papers.** “Coord”: S. Zaidi et al., *Pre-training via Denoising for Molecular Property
# Prediction*, ICLR 2023, [arXiv:2206.00133](https://arxiv.org/abs/2206.00133). “SCD”: T. J. Perez,
# R. Gómez-Bombarelli, *Self-Conditioned Denoising for Atomistic Representation Learning*, 2026,
# [arXiv:2603.17196](https://arxiv.org/abs/2603.17196). The post: *Applying self pre-training method
# to GNN for quantum chemistry*, [medium.com/p/7933e4e40a6](https://medium.com/p/7933e4e40a6), with
# code by its author, akirasosa. Terms and symbols: [glossary](glossary.md). Lesson 02 is taken for
# granted: noise, its floor, the transformer, “shipped”.

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": under two minutes on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import copy

import numpy as np
import torch

import scdlab
from scdlab import analysis, claims, explore, lessons
from scdlab.objectives import CoordinateDenoising, PairwiseDenoising, PropertyRegression

SIZES = {
    "quick": dict(pretrain_steps=120, labels=200, tune_steps=80, leak_steps=250, pair_steps=120,
                  points=400),
    "full": dict(pretrain_steps=20_000, labels=1000, tune_steps=5000, leak_steps=5000,
                 pair_steps=5000, points=4000),
}  # fmt: skip
S = SIZES[PROFILE]
TRAIN = dict(seed=SEED, device=DEVICE)  # for every training below

shipped = scdlab.load_pretrained("coord-et")
qm9 = scdlab.load_qm9(root=DATA)
held_out, _, rest = qm9.split(min(5000, len(qm9) // 2), 0, seed=0)  # drawn at random
pretrain = rest.sample(min(10_000, len(rest)), seed=SEED)


def fresh(seed=SEED, **options):
    """A new transformer of the shipped one's size; equal seeds give the same first weights."""
    torch.manual_seed(seed)
    return scdlab.EquivariantTransformer(**{**shipped.config, **options})


# %% [markdown]
# ## The question, and two controls
#
# A network that was pretrained without labels is a *start* for another task. Is it a better start
# than random weights? Everything else must then be equal: network, labels, steps, learning rate.
#
# The task is the **HOMO energy**: the energy of the highest occupied molecular orbital, which says
# how tightly the outermost electrons are held. Its labels, in eV, come from density functional
# theory (B3LYP).
#
# An error means nothing without something to beat. The first control guesses the *median* of the
# labels for every molecule. The second knows the *composition alone*: which share of a molecule's
# atoms is H, C, N, O or F. It sees no geometry, and it is a control that papers often leave out.
#
# **Write it.** A batch has atomic numbers `z` [N], and `batch` [N] says which molecule each atom
# belongs to. Return the shares of H, C, N, O and F (atomic numbers 1, 6, 7, 8, 9) in each of the B
# molecules, [B, 5].


# %%
def my_composition(z, batch):
    return ...


lessons.check_composition(my_composition)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def composition_solution(z, batch):
    one_hot = (z[:, None] == torch.tensor([1, 6, 7, 8, 9])).double()  # (N, 5)
    size = torch.bincount(batch).double()[:, None]  # (B, 1)
    return torch.zeros(len(size), 5).double().index_add(0, batch, one_hot) / size


assert lessons.check_composition(composition_solution, show=False)

# %%
composition = lessons.yours(my_composition, composition_solution, lessons.check_composition)


def shares(store):
    """The composition of every molecule of a store, as an array [n, 5]."""
    batch = store.take(range(len(store)))
    return np.asarray(composition(batch.z, batch.batch), dtype=float)


def with_constant(x):
    return np.hstack([x, np.ones((len(x), 1))])


def linear(x, y, x_new):
    """Fit y linearly to x by least squares, and predict at x_new."""
    return with_constant(x_new) @ np.linalg.lstsq(with_constant(x), y, rcond=1e-8)[0]


few, _, others = held_out.split(S["labels"], 0, seed=SEED)
test = others.sample(500, seed=SEED)  # drawn at random: the store is in order of size
known = few.property("homo")
true = test.property("homo")
miss = {  # the absolute errors on the test molecules, eV
    "the median": np.abs(true - np.median(known)),
    "composition alone": np.abs(true - linear(shares(few), known, shares(test))),
}
print("\n".join(f"{name}: {1e3 * e.mean():.0f} meV" for name, e in miss.items()))

# %% [markdown]
# ## Few labels
#
# Three starts: random weights, a network that we pretrain now for a few steps, and the shipped one,
# which was pretrained for longer. All are fine-tuned for the same few steps on the same few labels.

# %%
ORDER = ["shipped, yours, scratch", "scratch, yours, shipped", "another order"]
guess_order = lessons.predict(
    "In which order do they end up, the smallest error first?",
    choices=ORDER,
    name="02b-order",
    stored=ORDER[2],
)

# %%
coord = fresh()
denoising = CoordinateDenoising(sigma=0.04)
scdlab.fit(coord, denoising, pretrain, steps=S["pretrain_steps"], lr=3e-3, batch_size=32, **TRAIN)
homo = PropertyRegression("homo")
STARTS = {"scratch": fresh(), "yours": coord.cpu(), "shipped": shipped}


def predictions(net, store, name):
    """A network's predictions of a property, [n]."""
    with torch.no_grad():
        parts = [net(store[k : k + 50].take(range(50))) for k in range(0, len(store), 50)]
    return torch.cat([part.properties[name] for part in parts]).double().numpy()


def tuned(start, seed=SEED):
    """The absolute errors in eV on the test molecules, after fine-tuning."""
    net = copy.deepcopy(start)  # the pretrained weights are needed again
    options = TRAIN | dict(seed=seed)
    scdlab.fit(net, homo, few, steps=S["tune_steps"], lr=1e-3, batch_size=16, **options)
    return np.abs(predictions(net.cpu().eval(), test, "homo") - true)


miss |= {name: tuned(start) for name, start in STARTS.items()}

# %%
homo_mae = {name: 1e3 * float(e.mean()) for name, e in miss.items()}
figure = explore.compare_bars(homo_mae, "HOMO MAE", "meV", title=f"{len(few)} labels")
ranked = sorted(STARTS, key=homo_mae.get)
order = ", ".join(ranked)
guess_order.reveal(order if order in ORDER else ORDER[2])
explore.described(
    figure,
    "Bars of the mean absolute error of the HOMO energy: "
    + ", ".join(f"{name} {value:.0f} meV" for name, value in homo_mae.items()),
)

# %% [markdown]
# The composition hardly beats the median: what counts is how the atoms are put together. Among the
# networks the bars have an order. Is it real, or chance? Two kinds of chance are at work here.
#
# **Which molecules are tested.** With 500 test molecules a mean has a standard error. But both
# networks were tested on the *same* molecules, and a molecule that is hard for one is mostly hard
# for the other; so compare them molecule by molecule.
#
# **Write it.** `a` and `b` [n] are the absolute errors of two models on the same n molecules.
# Return the mean of `b − a`, and the standard error of that mean.


# %%
def my_paired(a, b):
    return ...


lessons.check_paired(my_paired)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def paired_solution(a, b):
    gap = b - a
    return gap.mean(), gap.std() / len(gap) ** 0.5


assert lessons.check_paired(paired_solution, show=False)

# %%
paired = lessons.yours(my_paired, paired_solution, lessons.check_paired)
for a, b in (("shipped", "scratch"), ("yours", "scratch"), ("shipped", "the median")):
    gap, error = (1e3 * float(x) for x in paired(torch.tensor(miss[a]), torch.tensor(miss[b])))
    apart = 1e3 * float(np.sqrt((miss[a].var() + miss[b].var()) / len(test)))
    print(f"{a} against {b}: {gap:+.0f} ± {error:.0f} meV (unpaired it would be ± {apart:.0f})")

# %% [markdown]
# **Which training it was.** Another seed draws other first weights and another order of the labels.
# That is not in the standard error above, and it is often the larger of the two.
#
# **Write it** (an experiment). Run `tuned` for three seeds from both starts, as in the line that is
# commented out (it takes about as long as the cell above, twice), enter the mean errors, and give
# your verdict: "pretraining helps", "pretraining hurts", or "tie". The rule of this kit's claims: a
# direction is seen when all seeds show it and the mean gap exceeds its standard deviation over
# seeds.

# %%
# for k in (1, 2, 3): print(1e3 * tuned(shipped, k).mean(), 1e3 * tuned(fresh(k), k).mean())
my_verdict = (..., ..., ...)  # ([errors, shipped], [errors, scratch], "…")

lessons.check_verdict(my_verdict)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. What we measured, with SEED = 0 in the quick profile (meV):
verdict_solution = ([333.1, 320.9, 340.6], [418.9, 434.9, 415.9], "pretraining helps")

assert lessons.check_verdict(verdict_solution, show=False)

# %%
claims.compare(
    "coord-few-labels-homo",
    {
        "homo_mae_coord_meV": homo_mae["yours"],
        "homo_mae_scratch_meV": homo_mae["scratch"],
        "homo_mae_guess_meV": homo_mae["the median"],
    },
)

# %% [markdown]
# You see a few steps on few labels, where a good start shows most clearly. Does the head start last
# when both are trained to the end? That is another question, and the claim asks it: 1,000 labels, a
# little denoising beside them, the weights of the lowest [validation](glossary.md#validation)
# error, and a third [arm](glossary.md#arm) that is trained from scratch for longer. An earlier
# record of ours, with 500 labels and a thousand steps, was a *tie*: the random start had caught up.
# (It was withdrawn, since pretraining changed; `scdlab claims --history` shows it.)
#
# In the literature a gain is left even with many labels. The [SCD](glossary.md#SCD) paper, with a
# larger network, 110,000 labels, and 3.4 million molecules for pretraining, has 17.7 meV after
# [Coord](glossary.md#Coord) against 20.3 from scratch. The README of Coord's own code reports 15.5
# meV for the same pretraining; its [fine-tuning](glossary.md#fine-tuning) keeps a little denoising
# beside the labels (*Noisy Nodes*). So compare numbers within one table only.
#
# That trick is one line. In the released code $\sigma = 0.005$ Å and the weight is 0.1; the noise
# is so small that the label of the clean molecule is still right:

# %%
helper = CoordinateDenoising(sigma=0.005, supervised=homo, weight=0.1)
net = copy.deepcopy(shipped)
helper.prepare(net, few)
loss, parts = helper(net, few.take(range(16)), torch.Generator().manual_seed(SEED))
aside = 0.1 * float(parts["noise_mse"])
print(f"loss {loss.item():.3f}, of which {aside:.3f} is denoising")

# %% [markdown]
# ## Break it: a test that was seen before
#
# Pretraining needs no labels, so nothing stops one from pretraining on the very molecules that will
# be tested. No label leaks, but the geometry does. Such a setting is called *transductive*, and a
# paper must say so. How much can it matter? Let us make it bad on purpose: a network that meets the
# same 8 molecules again and again, and one that meets 64.

# %%
guess_leak = lessons.predict(
    "After pretraining on 8 molecules: how many times as much noise is left in molecules that were "
    "not among them as in those that were?",
    name="02b-leak",
    stored=5,
    within=0.3,
)

# %%
plain = held_out.sample(400, seed=SEED)  # in random order
plain = plain.subset(np.flatnonzero(shares(plain)[:, 4] == 0))  # no F: too rare for so few
left = {}
for n in (8, 64):
    seen, unseen = plain[:n], plain[64:264]
    small = fresh(hidden_channels=48, num_layers=2)
    scdlab.fit(
        small, denoising, seen, steps=S["leak_steps"], lr=5e-3, batch_size=min(n, 32), **TRAIN
    )
    for name, store in (("seen", seen.subset(np.arange(200) % n)), ("unseen", unseen)):
        found = scdlab.evaluate(small.cpu(), store, denoising)
        left[f"{n}: {name}"] = 100 * found["noise_unexplained"]
for name, store in (("half seen once", rest), ("unseen", held_out)):
    store = store.sample(min(500, len(store)), seed=1)
    found = scdlab.evaluate(shipped, store, denoising)
    left[f"shipped: {name}"] = 100 * found["noise_unexplained"]
figure = explore.compare_bars(left, "noise left", "%", title="Seen and unseen molecules")
guess_leak.reveal(left["8: unseen"] / left["8: seen"])
explore.described(
    figure, "Noise left: " + ", ".join(f"{name} {value:.0f} %" for name, value in left.items())
)

# %% [markdown]
# Eight molecules are learned by heart in part: the test on them flatters the network. With 64 the
# difference has all but gone, although each was met many times, since the noise is new each time
# and the same bonds recur. The shipped network met 64,000 molecules of QM9 once each, about half of
# the pool in the figure, and nothing is to be seen of it. So the leak is a question of *memory*: it
# matters with few molecules and many passes, and it should be measured rather than assumed. The
# post below pretrained for 200 passes over all of QM9, the test molecules included.
#
# ## Another view: distances
#
# That post took another road to pretraining, with DimeNet, a network that knows the angles between
# bonds. Its network corrects the noisy molecule, and the loss compares *pairwise distances* before
# and after:
#
# $$L = \frac{1}{2 \sigma^2 |P|}
#   \sum_{(i,j) \in P} \Big( |\hat{x}_i - \hat{x}_j| - |x_i - x_j| \Big)^2 ,$$
#
# with $\hat{x}$ the corrected positions and $P$ the pairs of atoms. Distances do not change under a
# rotation or a shift, so the floors of lesson 02 are gone without any centering. The noise is
# large, $\sigma = 0.14$ Å. Then the network is fine-tuned on the size of the [dipole
# moment](glossary.md#dipole-moment) $\mu$; the post reports an error of 0.0285 D without and 0.0261
# D with pretraining, one run each, on one of four parts of the data. (Denoising of distances with a
# derivation from score matching: GeoSSL-DDM, S. Liu, H. Guo, J. Tang, *Molecular Geometry
# Pretraining with SE(3)-Invariant Denoising Distance Matching*, ICLR 2023,
# [arXiv:2206.13602](https://arxiv.org/abs/2206.13602).)
#
# **Write it.** The mean over all pairs *within molecules* of
# $(|\hat{x}_i - \hat{x}_j| - |x_i - x_j|)^2$.


# %%
def my_pairwise(pos, corrected, batch):
    return ...


lessons.check_pairwise(my_pairwise)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def pairwise_solution(pos, corrected, batch):
    i, j = torch.triu_indices(len(pos), len(pos), offset=1)  # each pair once, without i = j
    same = batch[i] == batch[j]
    i, j = i[same], j[same]
    before, after = ((p[i] - p[j]).norm(dim=1) for p in (pos, corrected))
    return (after - before).square().mean()


assert lessons.check_pairwise(pairwise_solution, show=False)

# %% [markdown]
# In the post's code $P$ holds the pairs of the *whole batch*, so that most terms compare atoms of
# different molecules, whose distance is an accident of the file.
#
# **Write it** (a derivation). A batch has `B` molecules of `N` atoms each. Which share of all its
# pairs of atoms joins two molecules?


# %%
def my_cross_pairs(B, N):
    return ...


lessons.check_cross_pairs(my_cross_pairs)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def cross_pairs_solution(B, N):
    # An atom has BN − 1 partners, and BN − N of them belong to other molecules.
    return (B * N - N) / (B * N - 1)


assert lessons.check_cross_pairs(cross_pairs_solution, show=False)

# %%
pairwise = lessons.yours(my_pairwise, pairwise_solution, lessons.check_pairwise)
cross = lessons.yours(my_cross_pairs, cross_pairs_solution, lessons.check_cross_pairs)
pair_batch = held_out.sample(16, seed=SEED).take(range(16))
within = int((torch.bincount(pair_batch.batch) * (torch.bincount(pair_batch.batch) - 1) // 2).sum())
total = len(pair_batch.z) * (len(pair_batch.z) - 1) // 2
counted = 100 * (1 - within / total)
print(f"counted in a batch of 16: {counted:.1f} % of {total:,} pairs join two molecules")
print(f"derived for 16 molecules of 18 atoms: {100 * cross(16, 18):.1f} %")

# %% [markdown]
# **Predict.** Two small DimeNets are pretrained for a few steps, one with the pairs within
# molecules, one with those of the whole batch. The network's answer is the noise, as before, and
# $\hat{x} = \tilde{x} - \sigma \hat\varepsilon$. Then we measure the distances *within* unseen
# molecules.

# %%
BETTER = ["pairs within molecules", "pairs of the whole batch", "no difference (within 5 %)"]
guess_scope = lessons.predict(
    "Which of the two restores the distances within molecules better?",
    choices=BETTER,
    name="02b-scope",
    stored=BETTER[0],
)


# %%
def fresh_dimenet():
    """A small DimeNet; the same first weights whenever SEED is."""
    torch.manual_seed(SEED)
    return scdlab.DimeNet(
        hidden_channels=48, num_layers=2, int_emb_size=32, out_emb_channels=64, num_spherical=5
    )


def restored(net):
    """Root mean square error of distances within unseen molecules, before and after, Å."""
    batch = held_out.sample(200, seed=1).take(range(200))
    noise = 0.14 * torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(SEED))
    noisy = copy.copy(batch)
    noisy.pos = batch.pos + noise
    with torch.no_grad():
        corrected = noisy.pos - 0.14 * net(noisy, noise=True).noise
    found = (pairwise(batch.pos, x, batch.batch) for x in (noisy.pos, corrected))
    return [float(x) ** 0.5 for x in found]


distance_error = {}
for scope in ("molecule", "batch"):
    net = fresh_dimenet()
    objective = PairwiseDenoising(sigma=0.14, scope=scope)
    scdlab.fit(net, objective, pretrain, steps=S["pair_steps"], lr=1e-2, batch_size=16, **TRAIN)
    untreated, distance_error[scope] = restored(net.cpu().eval())
    if scope == "molecule":
        dimenet = net
ratio = distance_error["batch"] / distance_error["molecule"]
guess_scope.reveal(BETTER[0] if ratio > 1.05 else BETTER[1] if ratio < 0.95 else BETTER[2])
print(f"error of distances: untreated {untreated:.3f} Å, ", end="")
print(f"within molecules {distance_error['molecule']:.3f} Å, ", end="")
print(f"whole batch {distance_error['batch']:.3f} Å")

# %% [markdown]
# So the terms that mean nothing do little harm. (Trained for 40, 60 and 120 steps, the whole batch
# was 13 % worse, 17 % better and 2 % worse when we tried: one run each cannot rank the two.) Why so
# little? Our explanation, which these numbers do not prove: atoms of other molecules are fixed
# points to measure from. A distance to a far atom is the *position* along one direction, so the
# loss over the whole batch asks where each atom was, as Coord does.
#
# Whether pretraining of this kind helps the dipole moment takes more than a quick run: with so few
# labels and steps no network gets far below the median. The claim has 2,000 labels, three seeds,
# and an arm that leaks on purpose; it counts as tested only where both arms get below half the
# error of the median.

# %%
mu_few = few.property("mu")
mu_true = test.property("mu")
mu_mae = {
    "mu_mae_guess_D": float(np.abs(mu_true - np.median(mu_few)).mean()),
    "distance_mae_clean_A": float(
        scdlab.evaluate(dimenet, test, PairwiseDenoising(sigma=0.14))["distance_mae"]
    ),
}
mu_composition = float(np.abs(mu_true - linear(shares(few), mu_few, shares(test))).mean())
print(f"dipole moment by the median {mu_mae['mu_mae_guess_D']:.2f} D, ", end="")
print(f"by composition alone {mu_composition:.2f} D")
claims.compare("dimenet-pairwise-mu", mu_mae)

# %% [markdown]
# (Run it: `scdlab claims run dimenet-pairwise-mu --profile night`. One run each, as in the post,
# could not tell.)
#
# ## A map of what it knows
#
# Each molecule's [embedding](glossary.md#embedding), the mean of its atoms' features, is a point in
# 64 dimensions. [UMAP](glossary.md#UMAP) draws such points in two dimensions and keeps neighbors
# together (L. McInnes et al., *UMAP: Uniform Manifold Approximation and Projection for Dimension
# Reduction*, 2018, [arXiv:1802.03426](https://arxiv.org/abs/1802.03426)). We color by the number of
# atoms. A picture persuades easily, so we put a number beside it: how well the size can be *read
# off*.
#
# **Write it.** Fit `n` [m] linearly, with a constant, to features `x` [m, d], and return $R^2$ on
# other molecules `x_new`, `n_new`: $1 - \sum (n - \hat n)^2 / \sum (n - \bar n)^2$. 1 means that
# the size can be read off, 0 that the mean size is as good a guess.


# %%
def my_read_off(x, n, x_new, n_new):
    return ...


lessons.check_read_off(my_read_off)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def read_off_solution(x, n, x_new, n_new):
    x, x_new = (torch.cat([y, torch.ones_like(y[:, :1])], dim=1) for y in (x, x_new))
    w = torch.linalg.lstsq(x, n[:, None]).solution[:, 0]
    return 1 - (n_new - x_new @ w).square().sum() / (n_new - n_new.mean()).square().sum()


assert lessons.check_read_off(read_off_solution, show=False)

# %%
guess_size = lessons.predict(
    "How well can the size be read off the composition alone: R²?",
    name="02b-size-composition",
    stored=0.3,
    within=0.1,
)
guess_homo = lessons.predict(
    "Guess each molecule's HOMO energy as the mean of its ten nearest neighbors in composition. "
    "R²?",
    name="02b-homo-composition",
    stored=0.4,
    within=0.1,
)

# %%
read_off = lessons.yours(my_read_off, read_off_solution, lessons.check_read_off)
points = held_out.sample(min(S["points"], len(held_out)), seed=SEED)
size = points.n_atoms
half = 2 * len(points) // 3


def size_read_off(x):
    """R² of the number of atoms, fitted on two thirds of the molecules, judged on the others."""
    x, n = torch.tensor(x).double(), torch.tensor(size).double()
    return float(read_off(x[:half], n[:half], x[half:], n[half:]))


features = {"composition": shares(points)}
for name, net in (("untrained", fresh()), ("yours", coord), ("shipped", shipped)):
    features[name] = analysis.embed(net, points, n=None, pool="mean")[0]
rows = {
    name: {
        "size": size_read_off(x),
        "HOMO, neighbors": analysis.smoothness(x, points.property("homo")),
        "HOMO, linear": analysis.linear_probe(x, points.property("homo"), seed=SEED),
    }
    for name, x in features.items()
}
guess_size.reveal(rows["composition"]["size"])
guess_homo.reveal(rows["composition"]["HOMO, neighbors"])
print(f"{'R²':>12}" + "".join(f"{name:>18}" for name in rows["composition"]))
for name, row in rows.items():
    print(f"{name:>12}" + "".join(f"{value:18.2f}" for value in row.values()))

# %%
maps = {
    name: scdlab.reduce_embedding(x, method="umap", seed=SEED)  # or method="pca"
    for name, x in features.items()
    if name != "composition"
}
formulas = [points.to_ase(k).get_chemical_formula() for k in range(len(points))]
figure = explore.compare_maps(
    maps,
    size,
    "atoms",
    numbers={name: round(rows[name]["size"], 2) for name in maps},
    formulas=formulas,
)
explore.described(
    figure,
    "Three maps of the same molecules, untrained, yours and shipped, colored by the number of "
    "atoms. In each, large and small molecules lie in different parts; R² of the size is "
    + ", ".join(f"{rows[name]['size']:.2f}" for name in maps)
    + ".",
)

# %% [markdown]
# *Size.* It can be read off every map, also that of a network which was never trained. But look at
# the first row of the table: the composition alone does nearly as well. Large molecules of QM9 have
# relatively more hydrogen, so most of what looks like size is composition. (Papers call this
# *extensive*. A quantity is [extensive](glossary.md#extensive) if it doubles for two copies of a
# molecule; a mean over atoms does not change at all, so it is intensive by construction, however
# well size can be read off it. A *sum* over atoms grows with size, trained or not.)
#
# *HOMO energy.* The ten nearest neighbors in composition say next to nothing about it; those in an
# untrained network say some, those in the shipped one more. No label was used to place them, so
# here pretraining did order the molecules by chemistry.
#
# *But the last column has another order.* A linear fit reads the HOMO energy off features that were
# never trained as well as off the shipped network's, or better. The two columns ask different
# questions: the neighbors, whether what is *large* in the features is the HOMO energy; the linear
# fit, whether it is in there at all. Pretraining has changed what is large; it need not have added
# anything that was not there. Which [probe](glossary.md#linear-probe) is right depends on what you
# want to do with the features. A claim that names one number should say which.

# %%
yours = {}
for name, arm in (("untrained", "untrained"), ("yours", "coord")):
    total = features[name] * size[:, None]
    yours[f"r2_size_mean_{arm}"] = rows[name]["size"]
    yours[f"r2_size_sum_{arm}"] = size_read_off(total)
    yours[f"r2_homo_neighbors_{arm}"] = rows[name]["HOMO, neighbors"]
claims.compare("coord-extensivity", yours)

# %% [markdown]
# (The claim takes ten times as many points as a quick run. Neighbors are nearer there, and the
# numbers higher. Its name keeps the papers' word.)
#
# The SCD paper shows such maps for three networks: untrained, clustered by size; after Coord,
# smooth but “extensive”; after its own method, less so. Its argument: noise is local, so that
# denoising alone teaches little about the molecule as a whole. Lesson 04 looks into it.

# %%
lessons.display_metrics(
    homo_mae_median_meV=homo_mae["the median"],
    homo_mae_composition_meV=homo_mae["composition alone"],
    **{f"homo_mae_{name}_meV": homo_mae[name] for name in STARTS},
    noise_left_8_seen_percent=left["8: seen"],
    noise_left_8_unseen_percent=left["8: unseen"],
    noise_left_64_seen_percent=left["64: seen"],
    noise_left_64_unseen_percent=left["64: unseen"],
    noise_left_shipped_pool_percent=left["shipped: half seen once"],
    noise_left_shipped_unseen_percent=left["shipped: unseen"],
    cross_pairs_percent=counted,
    cross_pairs_derived_percent=100 * float(cross(16, 18)),
    distance_error_untreated_A=untreated,
    distance_error_molecule_A=distance_error["molecule"],
    distance_error_batch_A=distance_error["batch"],
    mu_mae_median_D=mu_mae["mu_mae_guess_D"],
    mu_mae_composition_D=mu_composition,
    **{
        f"{what.replace(', ', '_').lower()}_{name}": value
        for name, row in rows.items()
        for what, value in row.items()
    },
)

# %% [markdown]
# ## What to take away
#
# 1. A pretrained start is worth most with few labels and few steps; whether it lasts must be
#    measured, with equal labels and steps for all arms.
# 2. Two kinds of chance: which molecules are tested (pair the errors) and which training it was
#    (seeds).
# 3. Pretraining on test geometries leaks as far as the network remembers them: with few molecules
#    and many passes.
# 4. Distances need no centering; and a sum with 94 % of meaningless pairs still trained the
#    network.
# 5. Every probe needs the control “composition alone”; and what neighbors and a linear fit find are
#    two different things.
#
# ## Departures from the papers
#
# - *Size.* 64 channels and 3 layers, hundreds of labels, QM9; the papers have 256 channels and 8
#   layers, 110,000 labels, PCQM4Mv2 for pretraining.
# - *DimeNet* is here DimeNet++ (J. Gasteiger et al., *Fast and Uncertainty-Aware Directional
#   Message Passing for Non-Equilibrium Molecules*, 2020,
#   [arXiv:2011.14115](https://arxiv.org/abs/2011.14115)) with a vector head of ours, whose answer
#   is the noise; in the post three numbers are read off [invariant](glossary.md#invariant)
#   features.
# - *Pairs* within molecules, and a split in which no test geometry is seen.
# - *The dipole moment* is predicted as a mean over atoms of one number each, where DimeNet adds
#   them up, and where physics would add charges times positions.
# - *Controls, standard errors and the leak on purpose* are ours.
#
# ## What is contested
#
# - *Does pretraining by denoising help with many labels?* SCD's table says yes, by 13 % for the
#   HOMO energy (17.7 against 20.3 meV); with the fine-tuning of Coord's own code it would be 24 %
#   (15.5). Part of the second gain is then due to denoising *beside* the labels, which also a
#   random start can have.
# - *Is it the structures or the objective?* Denoising on frames off equilibrium is reported to help
#   force fields as well (Y. Wang, C. Xu, Z. Li, A. Barati Farimani, *Denoise Pretraining on
#   Nonequilibrium Molecules for Accurate and Transferable Neural Potentials*, 2023,
#   [arXiv:2303.02216](https://arxiv.org/abs/2303.02216)), where lesson 02 found its target
#   ambiguous.
# - *Do maps show what was learned?* UMAP keeps neighbors and little else; and untrained networks
#   have maps, too.
#
# ## Quiz

# %%
lessons.quiz("02b")

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# - **An experiment.** How many labels is the pretraining worth? Set
#   `few = rest.sample(2 * S["labels"], seed=SEED)`, none of which is tested, and run
#   `tuned(fresh())` again, until scratch has caught up.
# - **Lesson 03** denoises off equilibrium, with forces as input.
# - **Lesson 04** asks whether a network can describe a molecule to itself, and what such a
#   description is worth.
