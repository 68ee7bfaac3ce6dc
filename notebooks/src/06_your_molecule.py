# %% [markdown]
# # 06 · Your molecule, every method
#
# **After this lesson you can**
#
# - put a molecule of your own before every model of this course, and say what each of them learned
#   from;
# - tell which numbers of different models may be compared, and which may not;
# - say which atoms of a molecule a network has never met, before you look at its answer;
# - give a prediction with an interval that keeps its promise, and say when the promise is void;
# - plan a small study: a question, a prediction, a control, an answer with its limits.
#
# **Time.** Quick profile: under a minute on two CPU cores; nothing is trained, all models come with
# the kit. Reading and playing: an hour. Words in doubt: [glossary](glossary.md).
#
# **Papers.** The methods are those of lessons 01 to 05, and each lesson names its papers. Two ideas
# are new. Models that answer together and are believed where they agree: H. S. Seung, M. Opper and
# H. Sompolinsky, *Query by committee*, COLT 1992,
# [doi:10.1145/130385.130417](https://doi.org/10.1145/130385.130417). Intervals with a promise: J.
# Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, *Distribution-free predictive
# inference for regression*, J. Am. Stat. Assoc. 113, 1094 (2018),
# [arXiv:1604.04173](https://arxiv.org/abs/1604.04173).

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": under a minute on two cores; "full": more molecules everywhere
DEVICE = "auto"  # models answer on the CPU here, whatever stands in this line
SEED = 0
DATA = None  # a SMILES or a structure file of your own; None: vanillin

# %%
import math
import re

import numpy as np
import torch

from scdlab import analysis, explore, lessons
from scdlab.explore import style

SIZES = {
    "quick": dict(points=2000, test_points=1500, committee_points=40),
    "full": dict(points=3000, test_points=5000, committee_points=400),
}
S = SIZES[PROFILE]
VANILLIN = "COc1cc(C=O)ccc1O"

bench = explore.Bench(DATA or VANILLIN, points=S["points"], seed=SEED)

# %% [markdown]
# ## The question
#
# So far each lesson came with its molecules, and they were chosen to show something. Yours was not.
# Suppose that you have a molecule and a shelf of trained models, all of them with small errors on
# their own test sets. **Which of their answers can you use, and how would you know?**
#
# ## A molecule
#
# Type a [SMILES](glossary.md#SMILES), or the name of a file; choose a file from your disk (`xyz`,
# `cif`, `extxyz` and whatever else `ase` reads, crystals too; if it holds several frames, a slider
# appears); or take a molecule of QM9 by its number. The panels below follow. What cannot be read is
# refused in one sentence, and the molecule before it stays.
#
# The text of this lesson speaks of vanillin, the smell of vanilla: C₈H₈O₃, 19 atoms. Its elements,
# hydrogen, carbon and oxygen, are those of ethanol. With a molecule of your own the pictures change
# and the text does not, so read once with vanillin, then change it.

# %%
bench.source

# %% [markdown]
# On the shelf:

# %%
for name, model in bench.models.items():
    trained = ", ".join(model.trained_labels.as_json()["forces"])
    print(f"{name} ({type(model).__name__}; forces of {trained})")
    print(f"    {model.provenance['seen'][:118]} …")
print("denoisers:", ", ".join(bench.denoising))

# %% [markdown]
# The first group gives energies and forces. All but one learned from
# [GFN2-xTB](glossary.md#GFN2-xTB), a fast semi-empirical method that we can run here; `pet-ethanol`
# learned from [density functional theory](glossary.md#density-functional-theory), on frames of
# revised MD17. The second group learned without labels, from positions alone.
#
# **What may be compared?** Total energies may not. GFN2-xTB counts valence electrons and density
# functional theory counts all, so for one molecule they differ by thousands of eV, and both can be
# right. *Differences* of energies of one composition may be compared, and forces, which are slopes:
# constants drop out of both. Where two levels of theory truly disagree about a force, that is
# physics and no error of a network. The panel's column **climb** is such a difference: how far the
# energy rises when all atoms are displaced by one and the same noise of 0.05 Å.
#
# ## Forces, beside GFN2-xTB
#
# `schnet-ethanol` saw a thousand frames of ethanol. On other frames of ethanol a component of its
# forces is off by 37 meV/Å, on average. Vanillin has the same three elements.
#
# **Predict.** Vanillin is 19 atoms of H, C and O, placed in space by a force field. A component of
# its forces is 283 meV/Å in the mean.

# %%
guess_ethanol = lessons.predict(
    "How far is a component of the forces of schnet-ethanol off on vanillin, on average?",
    unit="meV/Å",
    name="06-ethanol-on-vanillin",
    stored=150,
)

# %%
forces = bench.panel("forces").state()
errors = {
    name: forces[f"error_{name}"] for name in bench.models if forces[f"error_{name}"] is not None
}
no_force = forces["no_force"]
if errors:
    worst = max(errors, key=errors.get)
    guess_ethanol.reveal(errors.get("schnet-ethanol", errors[worst]))
    print(f"The answer “no force anywhere” is off by {no_force:.0f} meV/Å.")
else:
    print("No comparison here:", bench.missing or "no model knows all elements.")

# %% [markdown]
# Worse than saying nothing. The elements were right, and nothing warned us: the network answered at
# once and with as many digits as ever. Four bonds of ethanol say nothing of a ring. A test error
# holds for molecules like those of the test, and no smaller print comes with the number.
#
# In the panel, choose a model and look at its arrows beside those of GFN2-xTB. Frame 0 is your
# molecule; in frames 1 to 4 it is displaced by 0.02 to 0.2 Å. (The controls below the line
# *corrupt* belong to [DeNS](glossary.md#DeNS), lesson 03.) The table unfolds what each model
# learned from.

# %%
explore.described(
    bench.section("forces"),
    "Arrows of GFN2-xTB and of a model on each atom of the molecule, and a table of all models. "
    + "; ".join(f"{name} is off by {value:.0f} meV/Å" for name, value in errors.items())
    + ".",
)

# %% [markdown]
# ## Break it: who has seen these atoms?
#
# Could we have known before? A network describes each atom by a vector of
# [features](glossary.md#feature), made of what surrounds it. For every atom of your molecule, look
# for the nearest atom *of the training set*, of the same element, in these features, each channel
# in units of its spread. For unseen molecules like those of the training we know how far that
# usually is: 95 in 100 of them have all their atoms nearer than a distance $u$. An atom farther
# than $u$ lies **outside** of what the network has seen. (Some hundred training atoms of each
# network come with the kit, and the first four of these networks' shelves are on it.)
#
# **Predict.** Of vanillin's 19 atoms, eight are hydrogens, as six of ethanol's nine are.

# %%
guess_outside = lessons.predict(
    "How many of the 19 atoms lie outside of what schnet-ethanol has seen?",
    unit="atoms",
    name="06-outside",
    stored=9,
)

# %%
seen = bench.panel("seen")
outside = {name: int((d > 1).sum()) for name, d in getattr(seen, "distances", {}).items()}
if outside:
    guess_outside.reveal(outside.get("schnet-ethanol", max(outside.values())))
    for name, count in outside.items():
        print(f"{name:>22}: {count} of {len(bench.atoms)} atoms outside")

# %%
explore.described(
    bench.section("seen"),
    "A cell for each atom and network, blue inside of what the network has seen, red outside. "
    + "; ".join(f"{name}: {count} atoms outside" for name, count in outside.items())
    + ".",
)

# %% [markdown]
# Even the hydrogens are strangers: by the third layer a network has mixed what lies up to three
# cutoffs away into every atom, and a hydrogen on a ring is not one on a methyl group. For
# `schnet-molecules`, which saw 2,500 molecules, and for the denoisers no atom of vanillin is new.
#
# Outside does not mean wrong. It means that the network has to guess. And inside does not mean
# right: an atom can look familiar and lie in a place that no training frame had the forces of.
#
# ## Noise, and everyone's answer
#
# Lessons 02 to 04 in one picture: noise of size $\sigma$ on your molecule, and what each
# [denoiser](glossary.md#denoising) makes of it.
#
# - **Coord** sees the noisy molecule alone (lesson 02).
# - **DeNS** is told the force on every atom *before* the noise, here by GFN2-xTB (lesson 03).
# - **SCD** is told a description: its own, nothing, or another molecule's (lesson 04).
# - *frames* are the same two, trained on frames at 500 K and on crystals instead of on minima.
# - **SchNet's force** was never asked for noise. Near a minimum $F \approx -H\varepsilon$, so its
#   force points back; $\hat\varepsilon = -(F(\tilde x) - F(x))/k$ with a single stiffness $k$ in
#   the place of the matrix $H$, fitted to other draws.
#
# **Predict.** All draws are of $\sigma$ = 0.04 Å, which every denoiser was trained for.

# %%
found, silent = bench.denoisers()
guess_noise = lessons.predict(
    "Who leaves least of the noise on vanillin, averaged over sixteen draws?",
    choices=["Coord", "SCD, told own", "DeNS, told force", "SchNet's force"],
    name="06-denoisers",
    stored="SCD, told own",
)

# %%
noise = bench.panel("noise")
left = {}
if hasattr(noise, "denoisers"):
    noise.draws = "mean of 16"
    state = noise.state()
    left = {name: 100 * state[f"left_{name}"] for name in noise.denoisers}
    asked = [
        n for n in ("Coord", "SCD, told own", "DeNS, told force", "SchNet's force") if n in left
    ]
    guess_noise.reveal(min(asked, key=left.get))

# %%
explore.described(
    bench.section("noise"),
    "The displaced molecule with arrows back, and bars of the noise that each denoiser leaves: "
    + "; ".join(f"{name} {value:.0f} %" for name, value in left.items())
    + ".",
)

# %% [markdown]
# Three things to find in the panel, each a lesson in short:
#
# 1. Move $\sigma$. At 0.01 Å most denoisers leave *more* than all of the noise: they were trained
#    for 0.04 Å and answer for 0.04 Å, and whatever the geometry's own difference from their
#    training is, they call it noise.
# 2. Compare *told own* with *told none*. At a minimum there is little to tell (lesson 04). For a
#    frame at 500 K there is: run a few hundred steps in the last panel, save the molecule, and load
#    the file as your molecule.
# 3. SchNet's force is the only answer here that is nobody's training target. How far does one
#    number in the place of a matrix carry?
#
# ## A place on the map
#
# Every network describes a whole molecule as well, by its [embedding](glossary.md#embedding). Below
# stand molecules of QM9 that neither network has seen, as Coord and as SCD describe them; the ring
# is your molecule. The two axes are the directions of largest variance (principal components, PCA),
# and the ten nearest are nearest in all 64 channels.

# %%
place = bench.panel("map")
near = place.state() if hasattr(place, "nearest") else None
explore.described(
    bench.section("map"),
    "Two maps of molecules of QM9, with a ring around the place of the reader's molecule, and its "
    "ten nearest molecules drawn below"
    + (": " + ", ".join(near["formulas"]) + "." if near else "."),
)

# %% [markdown]
# Are the ten nearest like your molecule to *you*? Same size, same rings, same groups? A description
# made of sums over atoms knows well how many atoms of which kind there are, and less of how they
# are joined (lesson 02b). Switch the model: neighbors on which both agree are the safer ones.
#
# ## Properties, with an interval
#
# The labels of QM9 at these molecules let us read properties off an embedding by a linear fit. How
# far off is it? The usual answer is the mean error on a test set. A better one is an interval, and
# it costs three lines.
#
# Fit on one half of the molecules, set the other half aside: $n$ molecules with errors
# $r_j = |y_j - \hat y_j|$. A new molecule, drawn as they were, is the $(n+1)$-th of its kind, and
# its own error is as likely to be the smallest of the $n+1$ as the largest. So with $q$ the
# $\lceil (n+1)(1-\alpha) \rceil$-th smallest of the $n$,
#
# $$P\big(|y - \hat y| \le q\big) \ge 1 - \alpha .$$
#
# No word about the network, nor about Gaussians. It is called **conformal prediction**.
#
# **Write it (1).** From errors `r` [n], a tensor with signs, and the share `miss` ($\alpha$) that
# may lie outside, to $q$. Where $n$ is too small to promise anything, the honest answer is
# `math.inf`.


# %%
def my_half_width(r, miss):
    return ...


lessons.check_interval(my_half_width)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. Sizes in order, and the new molecule counts as one of n + 1.
def half_width_solution(r, miss):
    sizes = r.abs().sort().values
    rank = math.ceil((len(r) + 1) * (1 - miss) - 1e-9)
    return float(sizes[rank - 1]) if rank <= len(r) else math.inf


assert lessons.check_interval(half_width_solution, show=False)

# %%
half_width = lessons.yours(
    my_half_width, analysis.conformal_half_width, check=lessons.check_interval
)
explore.described(
    bench.section("properties"),
    "For seven properties a line over the values of QM9, with the prediction for the reader's "
    "molecule and its interval on it.",
)

# %% [markdown]
# Take a molecule of QM9 by its number, and its labels appear as red dots. Nine in ten should lie
# inside. That is the promise *on average* over molecules. Is it kept for the strange ones too?
#
# We take further molecules with labels, sort them by how far their nearest neighbor among those on
# the map is, and count in the tenth that is most alone.
#
# **Predict.** We count all seven properties of the panel together, read off Coord.

# %%
guess_alone = lessons.predict(
    "The intervals hold 90 % of all molecules. Which share of the tenth that is most alone?",
    unit="%",
    name="06-alone",
    stored=70,
)

# %%
atlas = bench.atlas.embeddings["Coord"]
own = bench.source.qm9
others = own.sample(S["test_points"], seed=SEED + 1)
x, _ = analysis.embed(bench.atlas.models["Coord"], others, n=None)
alone = np.array([np.sqrt(((atlas - row) ** 2).sum(1).min()) for row in x])
fresh = alone > 1e-3  # the rest are on the map themselves
hits = []
for name, fit in bench.fits["Coord"].items():
    q = float(half_width(torch.from_numpy(fit.residuals), 0.1))
    hits.append(np.abs(others.property(name) - fit(x))[fresh] <= q)
hits = np.array(hits)[:, np.argsort(alone[fresh])]  # [7, m], the least alone first
tenth = max(1, hits.shape[1] // 10)
inside = {
    "all": 100 * float(hits.mean()),
    "the tenth least alone": 100 * float(hits[:, :tenth].mean()),
    "the tenth most alone": 100 * float(hits[:, -tenth:].mean()),
}
guess_alone.reveal(inside["the tenth most alone"])
explore.described(
    explore.compare_bars(inside, "labels inside", "%", title="Promised: 90 %"),
    f"Share of labels inside of their intervals, for {hits.shape[1]} molecules: "
    + "; ".join(f"{name} {value:.0f} %" for name, value in inside.items())
    + ".",
)

# %% [markdown]
# The promise is kept over all molecules, and it is a promise over all: the lonely ones get less
# than was promised, and the common ones pay with intervals that are wider than they need. A
# molecule with twenty heavy atoms was not drawn as these were at all, and the panel prints its
# interval with the same calm.
#
# ## Symmetry, before and after
#
# One model on the shelf knows nothing of rotations: the [PET](glossary.md#PET) of lesson 05. Turn
# your molecule before it. The gray line is its energy as it is, and should be flat; beside it the
# three averages of lesson 05, of which [ECSE](glossary.md#ECSE) is flat *and* smooth. Below stands
# the symmetry report. (It saw ethanol alone, and can answer for H, C and O. For other elements the
# panel says so.)

# %%
symmetry = bench.panel("symmetry")
turned = symmetry.state() if hasattr(symmetry, "reports") else {}
explore.described(
    bench.section("symmetry"),
    "Energy of PET while the molecule is rotated, as it is, averaged over eight rotations, over "
    "PCA frames, and within ECSE"
    + (
        f": it changes by {turned['spread_raw']:.0f} meV as it is, and by "
        f"{turned['spread_ecse']:.1e} meV within ECSE."
        if turned
        else "; it has no answer for this molecule."
    ),
)

# %% [markdown]
# Twelve digits of symmetry, and the forces are as wrong as before: this network has never seen a
# ring. An exact law removes one kind of error and says nothing of the others.
#
# ## In motion
#
# A short relaxation, or dynamics as a movie, by the model that you choose. The energy of a
# relaxation must fall. In *energy kept* ([NVE](glossary.md#NVE)) the dashed line, potential and
# kinetic energy together, must stay where it is, whatever the model has learned: forces are its
# energy's slope, right or wrong. The models with [direct forces](glossary.md#direct-forces) are the
# exception. Try them.

# %%
motion = bench.panel("motion")
moved = motion.state() if hasattr(motion, "movie") else None
fall = float(motion.movie().energy[-1]) if moved else 0.0
explore.described(
    bench.section("motion"),
    f"The molecule in a relaxation, and its energy against the step: it falls by {-fall:.2f} eV.",
)

# %% [markdown]
# ## Does the committee know its error?
#
# Back to the question. Where there is no GFN2-xTB to compare with, there are still several models.
# A **committee** is believed where its members agree; the **spread** at atom $i$ is the root mean
# square distance of their forces from their mean. Two of our models learned from the same 2,500
# molecules and the same labels, by different networks and different methods: `schnet-molecules` and
# `dens-molecules`. If the spread is to replace the error, then a molecule with a larger spread must
# have a larger error.
#
# **An experiment.** Take molecules of QM9 that neither has seen, displaced by 0.05 Å; for each, the
# spread, and the error of the committee's mean against GFN2-xTB. The verdict should not hang on one
# large value, so we correlate *ranks*.
#
# **Write it (2).** From two sets of numbers `a` [n] and `b` [n] to the correlation of their ranks.
# (A rank is a place in the order. `torch.corrcoef(torch.stack([…, …]))[0, 1]` correlates two rows.)


# %%
def my_rank_correlation(a, b):
    return ...


lessons.check_rank_correlation(my_rank_correlation)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. argsort says who comes first; its own argsort says who has which rank.
def rank_correlation_solution(a, b):
    ranks = [x.argsort().argsort().double() for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


assert lessons.check_rank_correlation(rank_correlation_solution, show=False)

# %%
guess_rank = lessons.predict(
    "How well do the ranks of spread and error agree over unseen molecules? 1: the spread tells "
    "exactly which molecule is worse; 0: nothing.",
    name="06-spread-rank",
    stored=0.7,
)

# %%
members = {name: bench.models[name] for name in ("schnet-molecules", "dens-molecules")}
spreads, mistakes = [], []
if bench.reference is not None:
    rest = own.split(len(own) // 2, 0, seed=0)[2]  # the half that neither has seen
    chosen = rest.sample(S["committee_points"], seed=SEED)
    for k in range(len(chosen)):
        atoms = chosen.to_ase(k)
        atoms.positions += analysis.displacements(atoms, 0.05, k)
        true = bench.reference(atoms)[1]
        answers = np.stack([each.forces for each in analysis.ask(members, atoms)])
        spreads.append(1e3 * analysis.spread(answers).mean())
        mistakes.append(1e3 * analysis.force_error(answers.mean(0), true))
spreads, mistakes = np.array(spreads), np.array(mistakes)
rank_correlation = math.nan
if len(spreads):
    correlate = lessons.yours(
        my_rank_correlation, rank_correlation_solution, check=lessons.check_rank_correlation
    )
    rank_correlation = float(correlate(torch.from_numpy(spreads), torch.from_numpy(mistakes)))
    guess_rank.reveal(rank_correlation)

# %%
scatter = style.figure("spread of the two models (meV/Å)", "force error of their mean (meV/Å)")
scatter.add_scatter(x=spreads, y=mistakes, mode="markers", marker=dict(color=style.BLUE, size=8))
scatter.update_layout(showlegend=False)
explore.described(
    scatter,
    f"Force error of the committee's mean against its spread, a point for each of {len(spreads)} "
    f"unseen molecules; the ranks correlate by {rank_correlation:.2f}.",
)

# %% [markdown]
# On molecules like those of the training the spread puts most molecules in the right order. It is a
# warning, and no measure: its size is not that of the error, and what the training lacks is missing
# in both members, so that there they may agree about nothing in particular. Members that learned
# from different data disagree more honestly.
#
# ## The bench
#
# Everything at once, for a molecule of yours: type it, and go through the tabs. The buttons below
# save the structure with all forces (`xyz`), a table of its atoms (`csv`), the picture in front
# (`png`), and a page with everything that you have looked at, which turns in any browser (`html`;
# beside the [live page](../docs/guides/live.md) it links to the same molecule there, where the
# models run without a kernel).
#
# Bad input is worth a try: `C1CC`, a molecule of 300 atoms, dimethyl sulfide `CSC`, a crystal. A
# model that never saw an element says so, and does not answer.

# %%
bench

# %% [markdown]
# ## A project of your own
#
# Five questions. Each is an afternoon, ends in one page, and has a right way to be wrong. Write
# down your prediction first, and the control that could prove you wrong; then measure. The page
# holds: the question, the prediction, what you did (so that another can repeat it), one figure with
# units, the answer in one sentence with its spread, and what it does *not* show.
#
# **1. How far does a model reach?** Take a series that grows in one way: alkanes from C₂ to C₁₀, or
# ethanol with more and more carbons. Plot the force error of `schnet-ethanol` and
# `schnet-molecules` against length, and beside it how many atoms lie outside. *A good answer* finds
# where the error begins to rise and whether the atoms outside rise before it, with it or after it;
# uses displaced copies (frames 1 to 4) and not one geometry; and has a series as a control in which
# nothing new comes in (say, ethanol rotated, or another [conformer](glossary.md#conformer)). *A
# weak one* shows one curve and calls it extrapolation.
#
# **2. Two levels of theory, or an error?** `pet-ethanol` learned from density functional theory. On
# ethanol itself, how much of its difference from GFN2-xTB is error, and how much is physics? *A
# good answer* notices that `pet-ethanol`'s own test error is known, on its own level (121 meV/Å at
# 3,000 steps: `bench.models["pet-ethanol"].provenance`), sets it beside the difference measured
# here, and looks *where* the two levels differ: along bonds, at angles, on which atoms. It says
# what calculation would settle the rest.
#
# **3. What does a description know?** Take pairs of isomers, and pairs of
# [conformers](glossary.md#conformer) of one isomer (`scdlab.from_smiles(smiles, seed=k)` with
# several `k`). Are two conformers nearer to each other on the map than to the nearest isomer, for
# Coord and for SCD? *A good answer* counts over twenty pairs or more, gives the distance in units
# of the usual nearest neighbor (the panel's *how alone*), and has a control that knows the formula
# alone (`analysis.composition`), for which all isomers coincide.
#
# **4. When does the told force help?** DeNS is told the force before the noise. Move your molecule
# away from its minimum by 0, 0.05, 0.1 and 0.2 Å (frames of the forces panel), and compare DeNS
# with Coord. *A good answer* predicts the direction from lesson 03 (at a minimum the force is zero,
# and zero is a clue as well), separates *told* from *trained on other structures* by telling it a
# wrong force (`analysis.ToldForces(model, forces)` takes any), and gives means over sixteen draws
# with errors.
#
# **5. Can you trust a minimum?** Relax molecules by `schnet-molecules` and by GFN2-xTB from one
# start (`scdlab.dynamics.FIRE`, `bench.reference.relax`). How far apart do they end, in Å and in
# the GFN2-xTB energy of both ends? *A good answer* separates what is stiff from what can turn (a
# torsion of 30° costs little and moves atoms by an Å), reports an energy difference and not only a
# distance, and finds whether the spread of the committee at the end would have told.
#
# ## Paper, recorded, yours
#
# This lesson tests no paper's claim. Its models do, each in its lesson, and `provenance` names the
# claim, the settings and the commit that made it.

# %%
measured = {f"force_error_{name}_meV_per_A": value for name, value in errors.items()}
measured |= {f"outside_{name}": value for name, value in outside.items()}
measured |= {f"left_{name}_percent": value for name, value in left.items()}
measured |= {f"turned_{name}_meV": turned.get(f"spread_{name}") for name in ("raw", "pca", "ecse")}
measured |= dict(
    no_force_meV_per_A=no_force,
    inside_all_percent=inside["all"],
    inside_most_alone_percent=inside["the tenth most alone"],
    relaxation_eV=fall,
    rank_correlation=rank_correlation,
)
lessons.display_metrics(
    **{
        re.sub(r"\W+", "_", name): value
        for name, value in measured.items()
        if value is not None and math.isfinite(value)
    }
)

# %% [markdown]
# ## What to take away
#
# 1. A test error belongs to a test set. On a molecule of another kind a network can be worse than
#    the answer "no force", and nothing in its output shows it.
# 2. Forces, and energy differences of one composition, may be compared between levels of theory;
#    total energies may not.
# 3. Look at inputs before outputs: how far each atom lies from what was seen takes no label.
# 4. A conformal interval keeps its promise for molecules drawn as those that calibrated it, on
#    average over them, and for no others.
# 5. Agreement of models is a hint. Symmetry is a law. Neither is accuracy.
#
# ## Departures from the papers
#
# - Seung and colleagues draw a committee from the posterior of one model; ours are two networks of
#   different kinds that saw the same structures.
# - Conformal prediction here sets one half aside once (*split*); Lei and colleagues also scale the
#   errors, so that intervals become wider where errors are.
# - DeNS is given the force of GFN2-xTB, at which level it was trained. `dens-molecules` was trained
#   with whole structures displaced ($r = 1$), so that it can be compared with the others; the paper
#   displaces a part.
# - All models are small and were trained for minutes; the papers' are larger and were trained for
#   days.
#
# ## What is contested
#
# - **Does the distance in features measure novelty?** Features learn what the task needs; two atoms
#   that differ in something else coincide. J. P. Janet et al., *A quantitative uncertainty metric
#   controls error in neural network-driven chemical discovery*, Chem. Sci. 10, 7913 (2019),
#   [doi:10.1039/C9SC02298H](https://doi.org/10.1039/C9SC02298H), find it useful for molecules.
# - **Are committees worth their price?** A. R. Tan et al., *Single-model uncertainty quantification
#   in neural network potentials does not consistently outperform model ensembles*, npj Comput.
#   Mater. 9, 225 (2023), [arXiv:2305.01754](https://arxiv.org/abs/2305.01754): neither wins
#   everywhere.
# - **One model for all molecules?** Foundation models answer for most elements, and the question of
#   this lesson stays: seen what, at which level, how near?
#
# ## Quiz

# %%
lessons.quiz("06")

# %% [markdown]
# ## How good were your guesses?

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# - In your own code: `atoms.calc = scdlab.Calculator(bench.models["schnet-molecules"])`.
# - A model for your molecule alone: `scdlab.simulate(bench.atoms, 300)` makes frames with GFN2-xTB
#   labels, and lesson 01 trains on such frames in a minute.
# - Your own network on the bench: `bench.models["mine"] = scdlab.load("mine")`, then choose the
#   molecule again.
