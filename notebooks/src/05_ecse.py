# %% [markdown]
# # 05 · ECSE: exact symmetry for a model that has none
#
# **After this lesson you can**
#
# - measure how far a model is from being symmetric, and say what that does to energies, forces and
#   dynamics;
# - explain why averages over rotations are never exact, and why a single frame jumps;
# - build a smooth set of frames from pairs of neighbors, one factor of the weight at a time;
# - make any model of this kit exactly symmetric after its training, and say what that costs, where
#   it needs a second model, and what can go wrong there.
#
# **Time.** An hour and a half to read, write and try; the cells take under two minutes on two CPU
# cores. The full profile is meant for a GPU; before each training, `fit` says how long it will
# take.
#
# **Paper.** S. Pozdnyakov, M. Ceriotti, *Smooth, exact rotational symmetrization for deep learning
# on point clouds*, NeurIPS 2023, [arXiv:2305.19302](https://arxiv.org/abs/2305.19302): the network,
# PET, and the method, ECSE (*equivariant coordinate system ensemble*).
#
# You need lessons 00 and 01 (energies, forces, distances). Terms and symbols are collected in the
# [glossary](glossary.md).

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": under two minutes on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import copy
import importlib.util
import time
import warnings

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import claims, explore, lessons
from scdlab.analysis.denoising import Reference
from scdlab.explore import style
from scdlab.nn import OfficialCT
from scdlab.objectives import EnergyForces, PropertyRegression, SelfConditionedDenoising
from scdlab.symmetry import NearestPair, PCAFrames, Quadrature, RandomRotations

SIZES = {
    "quick": dict(frames=400, test=50, steps=240, hidden_channels=64, num_layers=1,
                  water_steps=400, aux_steps=160, joint_steps=60, dipole_steps=160, md_steps=150,
                  ct_steps=40, rotations=6),
    "full": dict(frames=950, test=500, steps=50_000, hidden_channels=128, num_layers=2,
                 water_steps=10_000, aux_steps=10_000, joint_steps=5000, dipole_steps=10_000,
                 md_steps=2000, ct_steps=5000, rotations=64),
}  # fmt: skip
S = SIZES[PROFILE]
TRAIN = dict(batch_size=16, seed=SEED, device=DEVICE)  # for every training below

ethanol = scdlab.load_md17("ethanol", root=DATA) if DATA else scdlab.load_ethanol()
train, _, rest = ethanol.split(S["frames"], 0, seed=SEED)
test = rest.sample(S["test"], seed=SEED)


def fresh(hidden_channels=S["hidden_channels"], **more):
    """A new PET; the same first weights whenever SEED is the same."""
    torch.manual_seed(SEED)
    arguments = dict(num_layers=S["num_layers"], num_attention_layers=2, num_heads=4) | more
    return scdlab.PET(hidden_channels, noise_head=False, **arguments)


# %% [markdown]
# ## The question
#
# Every network so far was symmetric by construction. Rotate the molecule, and its energy stays the
# same while the forces rotate with it. This law is bought with strict limits on what a layer may
# contain: distances, vectors that are only scaled and added, or products of spherical harmonics.
#
# What if we drop the law? Then any network will do, and the obvious one today is a **transformer**.
# **PET**, the *point-edge transformer*, gives every atom $i$ a list of *tokens*, feature vectors:
# one for the atom itself, and one for each neighbor $j$ within the cutoff. The token of a neighbor
# is made from the vector $\mathbf{r}_{ij}$ as it is, three numbers along $x$, $y$ and $z$. The
# tokens attend to each other; what comes out for the bond $ij$ is passed across to atom $j$, and
# the next layer begins. The energy is a sum over atoms, $E = \sum_i E_i$, as in every lesson.
#
# One property PET must not give up: a neighbor that leaves through the cutoff has to fade out. That
# is easy to get wrong with attention, because its weights always add up to one. PET multiplies each
# weight by a cutoff function of the distance first, and only then makes them add up to one.
#
# Since PET knows nothing of rotations, it must *learn* that they do not matter: every structure of
# every batch is rotated at random, and every second one mirrored. `fit` does that for any model
# that declares itself not symmetric. **How well does it learn the law? And can the rest be repaired
# afterwards, exactly and without doing harm?**

# %%
labels = EnergyForces(energy_weight=0.02, loss="norm")
pet = fresh()
scdlab.fit(pet, labels, train, steps=S["steps"], lr=5e-3, **TRAIN)
pet.cpu().eval()
at_rest = float(np.abs(test.take(range(len(test))).forces.numpy()).mean())
error = scdlab.evaluate(pet, test, EnergyForces())["force_mae"]
print(
    f"force error {1e3 * error:.0f} meV/Å; always answering “no force”: {1e3 * at_rest:.0f} meV/Å"
)

# %% [markdown]
# ## How wrong is it?
#
# Yours is a short run, and its error is one of [interpolation](glossary.md#interpolation): training
# and test frames are drawn at random from one trajectory (lesson 00). The kit brings a run of 3,000
# steps, trained by the same recipe on [revised MD17](glossary.md#rMD17), the data set of lesson 03.
# We put both to the test, and work with the longer one from here on. Take a frame of ethanol and
# rotate it once all the way around. Its energy should stay flat.

# %%
guess_wobble = lessons.predict(
    "The network has seen thousands of rotated molecules. In one full rotation, how far apart are "
    "the highest and the lowest of the energies it gives? (For scale: at 500 K the heat in the "
    "nine atoms of ethanol is about 1,000 meV.)",
    unit="meV",
    name="05-wobble",
    stored=10,
)

# %%
net = scdlab.load_pretrained("pet-ethanol")
# in float64 a law that holds can be told from one that nearly does
exactly = copy.deepcopy(net).double()
frame = ethanol.to_ase(int(rest.index[0]))


def batch_of(structures):
    """ase.Atoms in one batch, with float64 positions."""
    batch = scdlab.AtomStore.from_ase(structures).take(range(len(structures)))
    batch.pos = torch.from_numpy(np.concatenate([atoms.positions for atoms in structures]))
    return batch


def rotated(atoms, rotation):
    atoms = atoms.copy()
    atoms.positions = rotation.apply(atoms.positions)
    return atoms


@torch.no_grad()
def energies(model, structures):
    """Energies [n] in meV, relative to the first."""
    e = torch.cat(
        [model(batch_of(structures[k : k + 40])).energy for k in range(0, len(structures), 40)]
    )
    return 1e3 * (e - e[0]).numpy()


AXIS = np.array([1.0, 2.0, 3.0]) / 14**0.5
angles = np.linspace(0, 360, 61)
around = [rotated(frame, Rotation.from_rotvec(a * AXIS, degrees=True)) for a in angles]
wobble = {
    "PET, your run": energies(copy.deepcopy(pet).double(), around),
    "PET, 3,000 steps": energies(exactly, around),
}
swing = {name: float(np.ptp(values)) for name, values in wobble.items()}  # meV
guess_wobble.reveal(swing["PET, 3,000 steps"])
explore.described(
    explore.path_plot(
        angles, wobble, "angle", "degrees", "meV", title="Ethanol, rotated once around"
    ),
    "Energy against the angle of a full rotation. A symmetric model would give a flat line; your "
    f"run wobbles by {swing['PET, your run']:.0f} meV, the longer one by "
    f"{swing['PET, 3,000 steps']:.0f} meV.",
)

# %% [markdown]
# Training shrinks the violation along with the error, and never brings it to zero. A small
# violation is not a small matter:
#
# - the energy of a molecule depends on its orientation, so the model exerts a **torque** that
#   nature does not, and a molecule left alone begins to spin;
# - two runs that should agree to the last digit do not, so a test of symmetry can no longer say
#   *right* or *wrong*, only *small* or *large*.
#
# ## Averages: never quite there
#
# The obvious remedy is to evaluate the model in many orientations and take the mean,
#
# $$\bar{E}(x) = \frac{1}{n} \sum_{k=1}^{n} E(R_k^{\top} x) ,$$
#
# where $x$ are the positions of all atoms and $R_k$ are rotations. They may be drawn at random,
# once and for all (drawn anew in each call, the energy would not even be a function of $x$). Or
# they may be chosen cleverly. A **quadrature** of degree $l$ is a set of rotations, with weights,
# whose mean is exact for every function of the rotation that contains spherical harmonics up to
# degree $l$ only: slow variations are averaged away without any error, faster ones are not.

# %%
guess_many = lessons.predict(
    "The error of a mean of n random numbers falls as one over the square root of n. Over all "
    "orientations PET's energies scatter by some 20 meV. How many random orientations does it take "
    "to bring that below 0.001 meV?",
    unit="orientations",
    name="05-orientations",
    stored=30_000,
)


# %%
def sphere(rules):
    """Rotations as points on a sphere: the direction from which a molecule is seen, with a short
    line for how it is rotated about that direction."""
    drawn = style.figure(height=330, showlegend=False, margin=dict(l=0, r=0, t=40, b=0))
    for k, (name, rule) in enumerate(rules.items()):
        axes = rule.frames(batch_of([frame])).axes.numpy()  # [K, 3, 3], columns are axes
        view = axes[:, :, 2]
        tick = view + 0.25 * axes[:, :, 0]
        line = np.stack([view, tick, np.full_like(view, np.nan)], 1).reshape(-1, 3)
        scene = f"scene{k + 1}" if k else "scene"
        look = dict(scene=scene, hoverinfo="skip")
        x, y, z = line.T
        drawn.add_scatter3d(x=x, y=y, z=z, mode="lines", line=dict(color=style.color(k)), **look)
        x, y, z = view.T
        points = dict(size=4, color=style.color(k))
        drawn.add_scatter3d(x=x, y=y, z=z, mode="markers", marker=points, **look)
        u, v = np.meshgrid(np.linspace(0, np.pi, 13), np.linspace(0, 2 * np.pi, 25))
        shell = [np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)]
        drawn.add_surface(
            x=0.97 * shell[0], y=0.97 * shell[1], z=0.97 * shell[2], scene=scene, showscale=False,
            opacity=0.35, colorscale=[[0, "#E6E6E6"], [1, "#E6E6E6"]], hoverinfo="skip",
        )  # fmt: skip
        hidden = dict(visible=False)
        left = k / len(rules)
        axis = dict(xaxis=hidden, yaxis=hidden, zaxis=hidden, aspectmode="data")
        drawn.update_layout({scene: axis | dict(domain=dict(x=[left, left + 1 / len(rules)]))})
        drawn.add_annotation(
            x=left + 0.5 / len(rules), y=1.08, xref="paper", yref="paper", showarrow=False,
            text=name, xanchor="center",
        )  # fmt: skip
    return drawn


explore.described(
    sphere(
        {
            "random: 24": RandomRotations(exactly, 24, inversion=False, seed=SEED),
            "degree 3: 24": Quadrature(exactly, 3),
            "degree 5: 84": Quadrature(exactly, 5),
        }
    ),
    "Three spheres with rotations as points, each with a short line for the rotation about its "
    "direction. The 24 random ones leave large gaps; the 24 of degree 3 stand four by four on the "
    "six corners of an octahedron; the 84 of degree 5 stand six by six on 14 directions, evenly.",
)

# %% [markdown]
# Each point is a direction from which the network sees the molecule, and each short line is a
# rotation about that direction. Random rotations leave gaps and pile up elsewhere; the rules cover
# the sphere evenly, four rotations about each of 6 directions, or six about each of 14. How much
# does that help?

# %%
copies = [rotated(frame, r) for r in Rotation.random(S["rotations"], random_state=SEED)]
copies += [frame.copy()]
mirrored = frame.copy()
mirrored.positions[:, 0] *= -1
copies += [rotated(mirrored, r) for r in Rotation.random(4, random_state=SEED)]


def rotation_error(model):
    """Standard deviation of the energy over rotated and mirrored copies of the frame, meV."""
    return float(energies(model, copies).std())


curves = {
    "random rotations": {n: rotation_error(RandomRotations(exactly, n)) for n in (2, 4, 16, 64)},
    "quadrature": {},
}
for degree in (1, 3, 5):
    rule = Quadrature(exactly, degree, inversion=True)  # each rotation with its mirror image
    curves["quadrature"][rule.evaluations] = rotation_error(rule)
raw_error = rotation_error(exactly)
needed = (raw_error / 1e-3) ** 2
print(f"PET as it is: off by {raw_error:.1f} meV.")
for name, values in curves.items():
    print(f"{name}:", ", ".join(f"{n} give {value:.1f} meV" for n, value in values.items()))
print(
    f"For 0.001 meV: {needed:.0e} random rotations, {needed / 86_400_000:.1f} days for one energy "
    "at a millisecond each."
)
guess_many.reveal(needed)

# %% [markdown]
# The quadrature does better than chance, but PET contains variations of every degree, so what lies
# above the degree of the rule always remains. An average buys a smaller error, never a law. (Over
# so few copies these numbers are rough: the mean over two rotations may even come out worse than
# PET itself.)
#
# ## Break it: one good frame
#
# A cleverer idea: let the *structure* say from where it wants to be seen. Its [principal
# axes](glossary.md#principal-axes), the axes of its inertia, rotate with it. They make a **frame**
# $F = [\mathbf{a}\; \mathbf{b}\; \mathbf{c}]$, an orthogonal matrix with the axes as columns. Seen
# in this frame the molecule has the coordinates $F^{\top} x$, and those do not change when it
# rotates. Whatever a network answers there does not change either. (An axis has no sign, so there
# are eight such frames, and one takes the mean over them.) This is *frame averaging* (O. Puny et
# al., *Frame Averaging for Invariant and Equivariant Network Design*, ICLR 2022,
# [arXiv:2110.03336](https://arxiv.org/abs/2110.03336)), `PCAFrames` in the kit.
#
# `NearestPair` is simpler still. It takes the atom nearest to the center of the molecule, and makes
# the axes from that atom's two nearest neighbors.

# %%
curves["principal axes"] = {8: rotation_error(PCAFrames(exactly))}
curves["nearest pair"] = {2: rotation_error(NearestPair(exactly))}
for name in ("principal axes", "nearest pair"):
    for n, value in curves[name].items():
        print(f"{name:>15}: {n} evaluations, error under rotation {value:.0e} meV")

# %% [markdown]
# Exact to the last digit, with two evaluations. Are we done? Take the frame of ethanol along a path
# in two parts, $t$ from 0 to 2.
#
# - From $t = 0$ to 1 it is slowly squeezed along its second principal axis, until it is thinner
#   there than along the first: the two axes change places.
# - From $t = 1$ to 2 the two nearest neighbors of the middle carbon, both hydrogens, exchange their
#   distances to it. The nearest one becomes the second nearest.

# %%
centered = frame.positions - frame.positions.mean(0)
_, principal = np.linalg.eigh(centered.T @ centered)  # axes, by columns: the shortest first
middle = int(np.linalg.norm(centered, axis=1).argmin())


def deformed(places):
    """Structures at places between 0 and 2 of the path."""
    structures = []
    for x in places:
        squeeze = min(x, 1.0)
        swap = max(x - 1.0, 0.0)
        pos = centered @ (principal * [1 + 0.07 * squeeze, 1 - 0.14 * squeeze, 1]) @ principal.T
        arms = pos - pos[middle]
        length = np.linalg.norm(arms, axis=1)  # Å
        one, two = np.argsort(length)[1:3]
        for atom, change in ((one, length[two] - length[one]), (two, length[one] - length[two])):
            pos[atom] += arms[atom] / length[atom] * change * swap
        structures.append(frame.copy())
        structures[-1].positions = pos
    return structures


def stills(places):
    """The molecule at places of the path, seen along its longest axis, with what gives its frame:
    the second principal axis up to t = 1, the arm to the nearest neighbor from there on."""
    drawn = style.figure(height=270, showlegend=False, margin=dict(l=10, r=10, t=60, b=10))
    for k, (x, of_pair) in enumerate(places):
        atoms = deformed([x])[0]
        flat = atoms.positions @ principal[:, [1, 0]]  # [n, 2]
        number = k + 1 if k else ""
        look = dict(xaxis=f"x{number}", yaxis=f"y{number}", hoverinfo="skip")
        reach = np.where(atoms.numbers > 1, 1.7, 1.2)  # Å, of a bond
        near = atoms.get_all_distances() < np.minimum(reach[:, None], reach)
        for i, j in np.argwhere(np.triu(near, 1)):
            drawn.add_scatter(
                x=flat[[i, j], 0],
                y=flat[[i, j], 1],
                mode="lines",
                line=dict(color="#8C8C8C"),
                **look,
            )
        colors = [style.element_color(z) for z in atoms.numbers]
        dots = dict(size=[style.marker_size(z) for z in atoms.numbers], color=colors, opacity=1)
        dots["line"] = dict(color=style.INK, width=1)
        drawn.add_scatter(x=flat[:, 0], y=flat[:, 1], mode="markers", marker=dots, **look)
        if of_pair:
            arms = atoms.positions - atoms.positions[middle]
            nearest = np.argsort(np.linalg.norm(arms, axis=1))[1]
            ends = flat[[middle, nearest]]
        else:
            second = np.linalg.eigh(atoms.positions.T @ atoms.positions)[1][:, 1]
            ends = np.outer([-1.6, 1.6], second) @ principal[:, [1, 0]]
        arrow = dict(color=style.VERMILION, width=4)
        drawn.add_scatter(x=ends[:, 0], y=ends[:, 1], mode="lines", line=arrow, **look)
        domain = [k / len(places), (k + 0.95) / len(places)]
        hidden = dict(visible=False, range=[-2, 2])
        drawn.update_layout(
            {
                f"xaxis{number}": hidden | dict(domain=domain),
                f"yaxis{number}": hidden | dict(anchor=f"x{number}", scaleanchor=f"x{number}"),
            }
        )
        what = "nearest neighbor" if of_pair else "second axis"
        drawn.add_annotation(
            x=np.mean(domain), y=1.2, xref="paper", yref="paper", showarrow=False,
            text=f"t = {x:g}<br>{what}", xanchor="center",
        )  # fmt: skip
    return drawn


explore.described(
    stills([(0, False), (1, False), (1, True), (2, True)]),
    "Four pictures of ethanol along the path. Between t = 0 and t = 1 the molecule hardly changes, "
    "but its second principal axis, in red, has rotated by 90 degrees. Between t = 1 and t = 2 it "
    "hardly changes again, but the nearest neighbor of the middle carbon, at the end of the red "
    "line, is another hydrogen.",
)

# %% [markdown]
# The atoms move by a tenth of an Ångström or so. What gives the frame, drawn in red, switches at
# once.

# %%
guess_jump = lessons.predict(
    "The energy should change smoothly all along the path. Whose energy jumps somewhere?",
    choices=["neither", "principal axes only", "nearest pair only", "both"],
    name="05-which-jumps",
    stored="principal axes only",
)

# %%
t = np.linspace(0, 2, 101)
path = deformed(t)
METHODS = {
    "PET": exactly,
    "principal axes": PCAFrames(exactly),
    "nearest pair": NearestPair(exactly),
}
along = {name: energies(model, path) for name, model in METHODS.items()}


def beyond():
    """What each kind of frame adds to the energy of PET itself, meV."""
    return {name: values - along["PET"] for name, values in along.items() if name != "PET"}


explore.described(
    explore.path_plot(
        t, beyond(), "place t on the path", "", "meV", title="Energy, less that of PET itself"
    ),
    "Energy along the path, less that of PET. The curve of principal axes drops or rises at once "
    "where the axes change places, that of the nearest pair where the neighbors do.",
)

# %% [markdown]
# These look like jumps. At a jump there is no force, and a trajectory that crosses it gains or
# loses energy from nowhere. The plain network, wrong as it is, was at least smooth.
#
# But how can one tell a jump from a steep slope? **Refine the path.** Split the step in ten, and
# the pieces of a smooth function are ten times smaller. A jump stays what it is, within one of the
# ten. So of the largest step $s$ and the largest of its ten pieces $s'$, the jump is what does not
# shrink, $(10\, s' - s)/9$.


# %%
def jump(curve, places, values=None):
    """Of a curve, meV: the largest step, the largest of its ten pieces, and the jump that
    remains."""
    steps = np.abs(np.diff(curve(places) if values is None else values))
    k = int(steps.argmax())
    coarse = float(steps[k])
    fine = float(np.abs(np.diff(curve(np.linspace(places[k], places[k + 1], 11)))).max())
    return coarse, fine, max(0.0, (10 * fine - coarse) / 9)


def jump_along(name):
    def curve(places):
        structures = deformed(places)
        return energies(METHODS[name], structures) - energies(exactly, structures)

    return jump(curve, t, beyond()[name])


jumps = {name: jump_along(name) for name in ("principal axes", "nearest pair")}
for name, (coarse, fine, left) in jumps.items():
    print(
        f"{name:>15}: largest step {coarse:6.2f} meV, of its ten pieces {fine:6.2f} meV: jump "
        f"{left:6.2f} meV"
    )
jumping = [name for name, (coarse, _, left) in jumps.items() if left > 0.5 * coarse]
guess_jump.reveal({0: "neither", 1: f"{''.join(jumping[:1])} only", 2: "both"}[len(jumping)])

# %% [markdown]
# This is not a weakness of these two. N. Dym, H. Lawrence and J. Siegel (*Equivariant Frames and
# the Impossibility of Continuous Canonicalization*, ICML 2024,
# [arXiv:2402.16077](https://arxiv.org/abs/2402.16077)) proved that there is no efficiently
# computable choice of frame that preserves the continuity of the function that is averaged:
# somewhere two choices are equally good, and there the frame must switch. It does not help to
# *learn* the choice. S.-O. Kaba et al. (*Equivariance with learned canonicalization functions*,
# ICML 2023, [arXiv:2211.06489](https://arxiv.org/abs/2211.06489)) let a small equivariant network
# choose the frame. That costs one evaluation, works with any backbone, and does well on images and
# point clouds. Yet it is still one frame, made from vectors that can become parallel or vanish, and
# there it jumps as well. The theorem leaves one way out: frames with **weights**.

# %% [markdown]
# ## All frames at once, one factor at a time
#
# So take *all* frames that neighbors can make, and weight them so that every frame has weight zero
# when it appears or disappears. Around each atom $i$, every ordered pair of neighbors $j, k$ makes
# a frame,
#
# $$\mathbf{a} = \hat{\mathbf{r}}_j, \qquad \mathbf{b} = \frac{\mathbf{a} \times \hat{\mathbf{r}}_k}{|\mathbf{a} \times \hat{\mathbf{r}}_k|}, \qquad \mathbf{c} = \mathbf{a} \times \mathbf{b}, \qquad F_{jk} = [\mathbf{a}\; \mathbf{b}\; \mathbf{c}],$$
#
# where $\hat{\mathbf{r}}_j$ is the unit vector from $i$ to $j$. Atom $i$'s share of the energy is
# the weighted mean of what the network says about it in all of them,
#
# $$E_i = \frac{\sum_{jk} w_{jk}\, E_i(F_{jk}^{\top} x)}{\sum_{jk} w_{jk}} .$$
#
# What must the weight $w_{jk}$ be? We start with none and add one factor at a time, each time a
# jump shows why. But first: which frames?
#
# ### Write it: both hands
#
# **Exercise 1.** All frames $[\mathbf{a}\; \mathbf{b}\; \mathbf{c}]$ above are right-handed: their
# determinant is $+1$. Mirror the molecule, and $\mathbf{a} = \hat{\mathbf{r}}_j$ and $\mathbf{c}$
# are mirrored along, but $\mathbf{b}$, a cross product, gets an extra sign. So the [mirror
# image](glossary.md#mirror-image) has *other* frames, and another energy. Given the right-handed
# frames `F` [K, 3, 3], return those that must be added, [K, 3, 3], so that a molecule and its
# mirror image are seen alike. (−F has determinant −1 as well. Would it do?) Replace `...`, run the
# cell, and read what the check says. Once it is right, the lesson uses your function.


# %%
def my_other_hand(F):
    return ...


lessons.check_other_hand(my_other_hand)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def other_hand_solution(F):
    # The mirror image of [a b c] is [Ma, -Mb, Mc]: flip the second column. -F flips a and c too,
    # and the mirrored molecule would be seen from behind.
    return F * torch.tensor([1.0, -1.0, 1.0], dtype=F.dtype)


assert lessons.check_other_hand(other_hand_solution, show=False)

# %% [markdown]
# ### Three neighbors, six frames
#
# To see every frame we take the carbon of formaldehyde, H₂C=O. It has three neighbors, hence six
# ordered pairs. Two paths lead to the places where a frame is lost:
#
# - **a neighbor leaves**: one hydrogen is pulled away, through the radius within which neighbors
#   make frames. We set this radius, $R_\text{out}$, to 3 Å here (the kit's default is 4.35 Å), so
#   that PET itself has nothing special there;
# - **two neighbors come in line**: the other hydrogen swings through the straight line O–C–H. There
#   the pair (O, H) gives no second axis.

# %%
other_hand = lessons.yours(my_other_hand, other_hand_solution, check=lessons.check_other_hand)
R_OUT = 3.0  # Å


def formaldehyde(angle, r):
    """H2CO: the first hydrogen at an angle O-C-H in degrees, the second at a distance r in Å."""
    first = np.radians(angle)
    second = np.radians(122)
    around = np.radians(60)
    sideways = np.array([np.cos(around), np.sin(around)])
    return Atoms(
        "COHH",
        [
            [0, 0, 0],
            [0, 0, 1.21],
            [0, 1.11 * np.sin(first), 1.11 * np.cos(first)],
            [*(r * np.sin(second) * sideways), r * np.cos(second)],
        ],
    )


def seen_from(atoms, i, reach):
    """Of every ordered pair of neighbors of atom i: r_j, r_k, s = sin² of their angle, all [K],
    and the frames [K, 3, 3]."""
    arms = np.delete(atoms.positions, i, 0) - atoms.positions[i]
    r = np.linalg.norm(arms, axis=1)
    unit = (arms / r[:, None])[r < reach]
    r = r[r < reach]
    j, k = np.nonzero(~np.eye(len(r), dtype=bool))
    a = unit[j]
    b = np.cross(a, unit[k])
    s = (b**2).sum(1)
    b = b / np.sqrt(s)[:, None]
    return r[j], r[k], s, np.stack([a, b, np.cross(a, b)], -1)


@torch.no_grad()
def share(structures, weigh, i=0):
    """The energy of atom i in eV, the weighted mean over all frames of both hands, and how many
    frames have a weight, for each structure."""
    copies = []
    weights = []
    for atoms in structures:
        r_j, r_k, s, F = seen_from(atoms, i, R_OUT)
        weights.append(np.tile(weigh(r_j, r_k, s), 2))
        right = torch.from_numpy(F)
        for axes in torch.cat([right, other_hand(right)]).numpy():
            copies.append(atoms.copy())
            copies[-1].positions = atoms.positions @ axes  # Fᵀx, for positions as rows
    e = exactly(batch_of(copies)).per_atom["energy"].view(-1, len(structures[0]))[:, i].numpy()
    ends = np.cumsum([len(w) for w in weights])[:-1]
    means = [(w * x).sum() / w.sum() for w, x in zip(weights, np.split(e, ends), strict=True)]
    return np.array(means), np.array([(w > 0).sum() for w in weights])


@torch.no_grad()
def own_share(structures, i=0):
    """What PET itself says about atom i, eV."""
    e = exactly(batch_of(structures)).per_atom["energy"]
    return e.view(-1, len(structures[0]))[:, i].numpy()


LOST = {  # places [Å or degrees], and the structure at each
    "a neighbor leaves": (np.linspace(2.76, 3.1, 35), lambda r: formaldehyde(122, r)),
    "in line": (np.linspace(150, 210, 50), lambda angle: formaldehyde(angle, 1.11)),
}
built = {}  # name of a weight -> what was found with it


def build(name, weigh):
    """Walk both paths with a weight, and remember its curves and jumps."""
    built[name] = {}
    for where, (places, make) in LOST.items():

        def curve(x, make=make):
            structures = [make(each) for each in x]
            return 1e3 * (share(structures, weigh)[0] - own_share(structures))

        values = curve(places)
        number = share([make(each) for each in places[[0, -1]]], weigh)[1]
        built[name][where] = (values - values[0], jump(curve, places, values), number)


def stages():
    """The curves of all weights so far, and their jumps in words."""
    drawn = style.figure(height=360, legend=dict(orientation="h", y=1.18))
    for k, (name, found) in enumerate(built.items()):
        for n, (where, (places, _)) in enumerate(LOST.items(), start=1):
            last = k == len(built) - 1
            look = style.line(k) | dict(width=4 if last else 1.5)
            drawn.add_scatter(
                x=places, y=found[where][0], mode="lines", name=name, line=look,
                showlegend=n == 1, xaxis=f"x{n}", yaxis=f"y{n}", opacity=1 if last else 0.6,
            )  # fmt: skip
    drawn.update_layout(
        xaxis=dict(domain=[0, 0.44], title_text="distance of the leaving H (Å)"),
        xaxis2=dict(domain=[0.56, 1], title_text="angle O–C–H (degrees)", anchor="y2"),
        yaxis=dict(title_text="share of C, less PET's (meV)"),
        yaxis2=dict(anchor="x2"),
    )
    words = [
        f"with {name} the jump is {found['a neighbor leaves'][1][2]:.2f} meV where the neighbor "
        f"leaves and {found['in line'][1][2]:.2f} meV on the line"
        for name, found in built.items()
    ]
    return explore.described(drawn, "The carbon's share on both paths: " + "; ".join(words) + ".")


def report(name):
    for where, (_, (coarse, fine, left), number) in built[name].items():
        print(
            f"{where:>17}: largest step {coarse:5.2f} meV, of its ten pieces {fine:5.2f}: jump "
            f"{left:5.2f} meV; frames with a weight: {number[0]} at first, {number[1]} at the end"
        )


# %%
guess_plain = lessons.predict(
    "First the plain mean over all pairs of neighbors within 3 Å, all weights 1. Where does the "
    "carbon's share of the energy jump?",
    choices=["nowhere", "where a neighbor leaves", "on the line", "at both places"],
    name="05-plain-mean",
    stored="where a neighbor leaves",
)

# %% [markdown]
# **Step 1: no weight at all.** Every pair counts the same.

# %%
build("a plain mean", lambda r_j, r_k, s: np.ones_like(s))
report("a plain mean")
broken = {
    where for where, (_, (coarse, _, left), _) in built["a plain mean"].items() if left > coarse / 2
}
both = {"a neighbor leaves": "where a neighbor leaves", "in line": "on the line"}
guess_plain.reveal(
    "nowhere" if not broken else "at both places" if len(broken) > 1 else both[broken.pop()]
)
stages()

# %% [markdown]
# The mean over pairs is still a mean of frames with equal weights. When a hydrogen leaves, four of
# the six pairs vanish at once, and the mean over six becomes a mean over two (with both hands, 12
# frames and 4). On the line, $\mathbf{b}$ and $\mathbf{c}$ of the two neighbors in line reverse,
# and the network sees the molecule from the other side.
#
# **Step 2: a neighbor fades out.** We need a smooth step. Let $f(r\,|\,R, \Delta)$ be 1 up to
# $R - \Delta$ and 0 from $R$ on, and in between
#
# $$f = \tfrac12 \left[ 1 + \tanh\left( \tfrac{1}{u + 1} + \tfrac{1}{u - 1} \right) \right], \qquad u = \frac{2}{\Delta} \left( r - R + \tfrac{\Delta}{2} \right) ,$$
#
# which has all derivatives at both ends. A frame needs both of its neighbors, so its weight is
# $f(r_j\,|\,R_\text{out}, \Delta)\, f(r_k\,|\,R_\text{out}, \Delta)$, with $\Delta = 0.15$ Å. Its
# mirror image $q(s\,|\,\omega, \delta) = 1 - f(s\,|\,\omega + \delta, \delta)$, which rises from 0
# at $\omega$ to 1 at $\omega + \delta$, will be needed in step 3.


# %%
DELTA = 0.15  # Δ, Å


def f(r, R, width):
    """1 up to R - width, 0 from R on, and all derivatives exist."""
    u = 2 * (r - R + width / 2) / width
    if abs(u) >= 1:
        return float(u < 0)
    return 0.5 * (1 + np.tanh(1 / (u + 1) + 1 / (u - 1)))


def q(s, start, width):
    """0 up to start, 1 from start + width on."""
    return 1 - f(s, start + width, width)


@np.vectorize
def both_near(r_j, r_k, s):
    return f(r_j, R_OUT, DELTA) * f(r_k, R_OUT, DELTA)


build("times f f", both_near)
report("times f f")
stages()

# %% [markdown]
# The left jump is gone: the four frames fade over the last 0.15 Å. The right one is untouched,
# since $f$ knows nothing of angles.
#
# **Step 3: a line fades out.** Near the line the angle between the two neighbors approaches 180°,
# and $s = \sin^2$ of this angle approaches 0. So multiply by $q(s\,|\,W - \Delta_W, \Delta_W)$,
# with $W = 0.2$ and $\Delta_W = 0.15$: zero for $s \le 0.05$, one for $s \ge 0.2$.

# %%
W = 0.2
DELTA_W = 0.15


@np.vectorize
def near_and_bent(r_j, r_k, s):
    return both_near(r_j, r_k, s) * q(s, W - DELTA_W, DELTA_W)


build("times f f q", near_and_bent)
report("times f f q")
stages()

# %% [markdown]
# Now both jumps are gone. We could stop here, were it not for the price: within 4.35 Å the nine
# atoms of ethanol have eight neighbors each, hence 56 ordered pairs, with both hands 112 frames per
# atom. Almost all say the same.
#
# **Step 4: only the nearest.** Two neighbors that are near are enough, so replace $R_\text{out}$ in
# the weight by an **inner radius** $R_\text{in}$ that just includes the nearest usable pair. "The
# nearest" is a choice, and choices jump; so it must be a smooth one. For each pair take a length
# that is certainly not below either distance,
#
# $$d_{jk} = \frac{r_j e^{\beta r_j} + r_k e^{\beta r_k}}{e^{\beta r_j} + e^{\beta r_k}} + T, \qquad T = \frac{0.2785}{\beta} .$$
#
# The first term is a smooth maximum. It is too small by $\delta / (1 + e^{\beta \delta})$, where
# $\delta = |r_j - r_k|$, and this is never more than $T$. Then take the mean of these lengths with
# a weight that falls off steeply, so that the smallest one wins,
#
# $$R_\text{in} = \frac{\sum_{jk} p_{jk}\, d_{jk}\, e^{-\beta d_{jk}} + R_\text{out}\, e^{-\beta R_\text{out}}}{\sum_{jk} p_{jk}\, e^{-\beta d_{jk}} + e^{-\beta R_\text{out}}} + \Delta ,$$
#
# $$p_{jk} = f(r_j | R_\text{out}, \Delta)\, f(r_k | R_\text{out}, \Delta)\, q(s | W, \Delta_W) .$$
#
# Here $p_{jk}$ says whether a pair is usable at all, and the last term is one more entry, with
# $d = R_\text{out}$ and $p = 1$, for the case that none is. The kit uses $\beta = 5$/Å.
#
# *By hand, for the oxygen of water*: both distances are 0.97 Å, so the smooth maximum is 0.97 Å,
# and $d = 0.97 + 0.2785/5 = 1.02$ Å. At 104° $s = 0.94$, so $p = 1$. The entry at $R_\text{out}$
# has a factor $e^{-5 (4.35 - 1.02)} \approx 6 \cdot 10^{-8}$ and does not count. Hence
# $R_\text{in} = 1.02 + 0.15 = 1.17$ Å. Both hydrogens are closer than $R_\text{in} - \Delta = 1.02$
# Å, and both $f$ are 1.

# %%
BETA = 5.0  # 1/Å
T = 0.2784645427610738 / BETA


def inner_radius(r_j, r_k, s, outer=R_OUT):
    """R_in in Å, of all pairs of one atom."""
    p = np.array([
        f(x, outer, DELTA) * f(y, outer, DELTA) * q(z, W, DELTA_W)
        for x, y, z in zip(r_j, r_k, s, strict=True)
    ])  # fmt: skip
    e_j = np.exp(BETA * r_j)
    e_k = np.exp(BETA * r_k)
    d = (r_j * e_j + r_k * e_k) / (e_j + e_k) + T
    p = np.append(p, 1.0)  # the entry at the outer radius
    d = np.append(d, outer)
    e = np.exp(-BETA * d)
    return (p * d * e).sum() / (p * e).sum() + DELTA


water = molecule("H2O")
print(f"R_in of the oxygen of water: {inner_radius(*seen_from(water, 0, 4.35)[:3], 4.35):.4f} Å")

# %% [markdown]
# How does $R_\text{in}$ know whom to take? Pull one hydrogen of formaldehyde away from the carbon.
# While the other one stands at 122°, the pair (O, H) remains usable and near, and $R_\text{in}$
# stays with it. Put the other one in line with the oxygen instead, and every usable pair needs the
# hydrogen that leaves: $R_\text{in}$ has to follow it.

# %%
pulled = np.linspace(1.0, 4.6, 73)


def radius_along(angle):
    found = []
    for r in pulled:
        r_j, r_k, s, _ = seen_from(formaldehyde(angle, r), 0, 4.35)
        found.append(inner_radius(r_j, r_k, s, 4.35))
    return np.array(found)


radii = {"other H at 122°": radius_along(122), "other H in line": radius_along(179.9)}
followed = style.figure(
    "distance of the leaving H (Å)", "R<sub>in</sub> (Å)", "Whom R<sub>in</sub> takes"
)
for k, (name, values) in enumerate(radii.items()):
    followed.add_scatter(x=pulled, y=values, mode="lines", name=name, line=style.line(k))
explore.described(
    followed,
    "R_in against the distance of a hydrogen that is pulled away. With the other hydrogen at 122 "
    f"degrees it stays between {radii['other H at 122°'].min():.2f} and "
    f"{radii['other H at 122°'].max():.2f} Å; with the other one in line it follows up to "
    f"{radii['other H in line'].max():.2f} Å.",
)

# %% [markdown]
# ### Write it: the weight
#
# One factor remains. With $R_\text{in}$ in place of $R_\text{out}$ the complete weight is
#
# $$w_{jk} = f(r_j | R_\text{in}, \Delta)\; f(r_k | R_\text{in}, \Delta)\; q(s | W - \Delta_W, \Delta_W)\; \frac{s - (W - \Delta_W)}{\Delta_W} .$$
#
# Why the last factor, when $q$ vanishes already? It is there for a guarantee: **if any pair is
# usable, at least one weight is 1 or more.** Take the pair with the smallest $d$.
# $R_\text{in} - \Delta$ is a mean of lengths none of which is smaller, so neither neighbor is
# farther than $R_\text{in} - \Delta$, and both $f$ are 1. Usable means $p > 0$, hence $s > W$;
# there $q = 1$ and the last factor is above 1. At a right angle it is $0.95 / 0.15 = 6.3$. We will
# need the guarantee to decide when frames have failed.
#
# **Exercise 2.** Write the weight of one pair from its distances `r_j` and `r_k` (Å), `s`, and
# `inner`, which is $R_\text{in}$. The functions `f` and `q` and the constants `DELTA`, `W`,
# `DELTA_W` are those above.


# %%
def my_weight(r_j, r_k, s, inner):
    return ...


lessons.check_weight(my_weight)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def weight_solution(r_j, r_k, s, inner):
    near = f(r_j, inner, DELTA) * f(r_k, inner, DELTA)
    return near * q(s, W - DELTA_W, DELTA_W) * (s - (W - DELTA_W)) / DELTA_W


assert lessons.check_weight(weight_solution, show=False)

# %%
weight = lessons.yours(my_weight, weight_solution, check=lessons.check_weight)


def weights(r_j, r_k, s, outer=R_OUT):
    """w of all pairs of one atom."""
    inner = inner_radius(r_j, r_k, s, outer)
    return np.array([weight(x, y, z, inner) for x, y, z in zip(r_j, r_k, s, strict=True)])


build("w of ECSE, with Rᵢₙ", weights)
report("w of ECSE, with Rᵢₙ")
stages()

# %% [markdown]
# The fourth curve passes both places without a jump, and where the hydrogen leaves it no longer
# notices: the pair of O and the near H does all the work from the start. This is ECSE. The library
# computes the same weights:

# %%
ecse = scdlab.ECSE(exactly)
weights_difference = 0.0
for atoms in (formaldehyde(130, 1.2), water, frame):
    library = ecse.frames(batch_of([atoms]))
    for i in range(len(atoms)):
        theirs = library.weights[library.center == i].numpy()
        mine = weights(*seen_from(atoms, i, ecse.outer_radius)[:3], ecse.outer_radius)
        mine = np.repeat(mine[mine > 0], 2)  # both hands
        gap = np.abs(np.sort(mine) - np.sort(theirs)).max(initial=0.0)
        weights_difference = max(weights_difference, float(gap))
print(f"largest difference between these weights and the library's: {weights_difference:.0e}")
everyone = len(frame) * (len(frame) - 1) * (len(frame) - 2)
per_atom = len(ecse.frames(batch_of([frame]))) / len(frame)
print(
    f"frames per atom of ethanol, both hands: {2 * everyone / len(frame):.0f} from all pairs, "
    f"{per_atom:.1f} with R_in"
)

# %% [markdown]
# Now the path of ethanol again, where the other two jumped: the same plot, with ECSE.

# %%
METHODS["ECSE"] = ecse
along["ECSE"] = energies(ecse, path)
jumps["ECSE"] = jump_along("ECSE")
coarse, fine, left = jumps["ECSE"]
print(f"ECSE: largest step {coarse:.2f} meV, of its ten pieces {fine:.2f} meV: jump {left:.2f} meV")
explore.described(
    explore.path_plot(t, beyond(), "place t on the path", "", "meV", title="The same, with ECSE"),
    f"The curves of principal axes and of the nearest pair jump by {jumps['principal axes'][2]:.1f} "
    f"and {jumps['nearest pair'][2]:.1f} meV; that of ECSE has no jump, its largest step is "
    f"{coarse:.2f} meV.",
)

# %%
wobble["ECSE"] = energies(ecse, around[::6])
ecse_error = rotation_error(ecse)
curves["ECSE"] = {per_atom: ecse_error}
print(f"error under rotation and reflection: {ecse_error:.0e} meV, {per_atom:.1f} frames per atom")
picture = style.figure(
    "evaluations of the network", "error under rotation (meV)", "Averages, frames, and ECSE"
)
for k, (name, values) in enumerate(curves.items()):
    look = dict(mode="lines+markers", name=name, line=style.line(k), marker=dict(size=9))
    errors = [max(value, 1e-12) for value in values.values()]  # 0 has no logarithm
    picture.add_scatter(x=list(values), y=errors, **look)
picture.update_xaxes(type="log")
picture.update_yaxes(type="log", dtick=2, exponentformat="power")
explore.described(
    picture,
    "Error under rotation against the number of evaluations, both logarithmic. Random rotations "
    f"fall slowly to {curves['random rotations'][64]:.1f} meV with 64; quadratures to "
    f"{min(curves['quadrature'].values()):.1f} meV with {max(curves['quadrature'])}; principal "
    "axes, the nearest pair and ECSE are at rounding, below a billionth of a meV.",
)

# %% [markdown]
# Principal axes and the nearest pair are as exact as ECSE, and cost less. Only ECSE is also smooth.
#
# ## See it work
#
# Choose the atom that moves, and a path for it; choose whose frames you want to see; rotate the
# molecule. **Find out:**
#
# - what happens to the frames when a neighbor leaves, and when three atoms come in line;
# - which neighbor $R_\text{in}$ takes next, when you pull the nearest one away;
# - which of the four energies change under rotation (switch *energy* to “in a full turn”), and
#   which ones jump. Large changes hide small ones: read the verdict below the picture.

# %%
explorer = explore.FrameExplorer(net, frame)
explore.described(
    explorer,
    "A molecule with its frames, energies along a path or in a full rotation, and the weights of "
    "pairs. In a full rotation PET and the mean over 8 rotations wobble, PCA frames and ECSE do "
    "not; along the paths PCA frames jump and ECSE does not.",
)

# %% [markdown]
# What there is to see: frames fade, and none vanishes at once. When the nearest neighbor is pulled
# away, $R_\text{in}$ grows until it holds the next pair that is not in line. In a full turn the
# energies of PET (*raw*) and of the mean over 8 rotations change; along a path, PCA frames alone
# can jump.
#
# ## Where frames fail: atoms on a line
#
# In CO₂ the neighbors of every atom are in line with it, and no pair gives a second axis. The same
# is true of an atom with one neighbor or none. Such surroundings have no frame, so ECSE adds a
# second model that needs none, the **auxiliary model**, symmetric by construction (by default a
# small equivariant transformer):
#
# $$E_i = \frac{\sum_{jk} w_{jk}\, E_i(F_{jk}^{\top} x) + w_\text{aux}\, E_{\text{aux},i}} {\sum_{jk} w_{jk} + w_\text{aux}} , \qquad w_\text{aux} = f(w_\text{max}\,|\,\tfrac12, \tfrac12) .$$
#
# As long as some weight is above ½, $w_\text{aux}$ is zero; when all weights vanish, it is one.
# (The kit's $w_\text{max}$ is a smooth maximum of an atom's weights; for a single pair it is that
# pair's weight.)
#
# **Exercise 3, on paper.** Does the auxiliary model take over only *on* the line? Take an atom
# whose only two neighbors are close to it, as the oxygen of a water molecule that is bent open.
# Both $f$ are 1. From which angle between the two, in degrees, is $w_\text{aux} > 0$? (You will
# have to solve for $s$ by trying; `f` and `q` are at hand.)

# %%
my_takes_over = ...

lessons.check_takes_over(my_takes_over)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. w(s) rises with s: halve the interval until w(s) = 1/2.
def takes_over_solution():
    low = W - DELTA_W
    high = 1.0
    for _ in range(60):
        s = (low + high) / 2
        if weight(1.0, 1.0, s, 2.0) < 0.5:
            low = s
        else:
            high = s
    return 180 - np.degrees(np.arcsin(np.sqrt(high)))


assert lessons.check_takes_over(takes_over_solution(), show=False)

# %%
found = lessons.check_takes_over(my_takes_over, show=False)
begins = float(my_takes_over if found else takes_over_solution())


def water_bent(angle, r=0.96, other=0.96):
    """Water with an angle in degrees and two bond lengths in Å."""
    half = np.radians(angle / 2)
    up = np.array([0, np.sin(half), -np.cos(half)])
    return Atoms("OHH", [[0, 0, 0], r * up, other * up * [1, -1, 1]])


bend = np.linspace(120, 180, 121)
bent = [water_bent(angle) for angle in bend]
auxiliary_weight = ecse.frames(batch_of(bent)).auxiliary_weight.view(len(bend), 3).numpy()
opening = style.figure("angle H–O–H (degrees)", "weight w<sub>aux</sub>", "Water, bent open")
for k, (name, atom) in enumerate({"of the oxygen": 0, "of a hydrogen": 1}.items()):
    look = dict(mode="lines", name=name, line=style.line(k))
    opening.add_scatter(x=bend, y=auxiliary_weight[:, atom], **look)
opening.add_vline(begins, line=dict(color=style.GRAY, dash="dot"))
taken = bend[auxiliary_weight[:, 1] > 0][0]  # degrees: for the hydrogens
nearly = bend[auxiliary_weight[:, 0] > 0.999][0]
print(f"oxygen: from {begins:.1f}° on, and from {nearly:.0f}° on by more than 99.9 %")
print(f"hydrogens: from {taken:.0f}° on")
explore.described(
    opening,
    "Weight of the auxiliary model against the angle of water. It rises from 0 to 1 for the "
    f"hydrogens from {taken:.0f} degrees on, and for the oxygen from {begins:.1f} degrees on, long "
    "before the line at 180 degrees.",
)

# %% [markdown]
# The oxygen's frames begin to fail 22.5° before the line. The hydrogens are worse off: each sees
# the oxygen and the other hydrogen, and the angle between these two is only half as far from a
# line. So this is not a matter of perfectly straight molecules. A nitrile, an alkyne or CO₂ in
# thermal motion spends its whole life in the region where the auxiliary model answers, and a
# bending coordinate crosses it.
#
# ## What the second model must learn
#
# Nothing jumps at the takeover, since $w_\text{aux}$ is smooth. But smooth is not right. One model
# hands over to another, and in between the energy is only as good as their agreement. Ethanol
# cannot teach the auxiliary model anything: ethanol's frames never need it. So let us train a pair
# of models for a molecule that does: water, bent open, with stretched and compressed bonds.
# Energies and forces come from GFN2-xTB (where it is not installed, from ase's toy potential EMT).
# PET learns it first; then the auxiliary model learns *the same data*, alone.

# %%
reference = Reference("gfn2" if importlib.util.find_spec("tblite") else EMT())
rng = np.random.default_rng(SEED)
N_WATER = 400
waters = [
    water_bent(*each)
    for each in zip(
        rng.uniform(110, 180, N_WATER),
        rng.uniform(0.9, 1.05, N_WATER),
        rng.uniform(0.9, 1.05, N_WATER),
        strict=True,
    )
]
found = [reference(atoms) for atoms in waters]
water_data = scdlab.AtomStore.from_arrays(
    [8, 1, 1],
    np.stack([atoms.positions for atoms in waters]),
    energy=[float(e) for e, _ in found],
    forces=np.stack([F for _, F in found]),
)
truth = np.array([float(reference(atoms)[0]) for atoms in bent])  # eV

water_labels = EnergyForces(energy_weight=0.1, loss="norm")
water_pet = fresh(32, num_layers=1, num_attention_layers=1)
scdlab.fit(water_pet, water_labels, water_data, steps=S["water_steps"], lr=5e-3, **TRAIN)
separate = scdlab.ECSE(water_pet)
untrained = copy.deepcopy(separate)
scdlab.fit(separate.auxiliary, water_labels, water_data, steps=S["aux_steps"], lr=5e-3, **TRAIN)


@torch.no_grad()
def water_error(model):
    """Error of the energy of bent water, meV."""
    model = model.cpu().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ECSE warns of an auxiliary model that was not trained
        return 1e3 * (model(batch_of(bent)).energy.double().numpy() - truth)


bent_errors = {"PET": water_error(water_pet), "auxiliary": water_error(separate.auxiliary)}
for name, values in bent_errors.items():
    print(
        f"{name:>10} alone: largest error of the energy from 120° to 180°: {np.abs(values).max():.0f} meV"
    )

# %%
guess_hole = lessons.predict(
    "Both models have just learned the energy of bent water, and you have seen their largest "
    "errors. What is the largest error of ECSE, which hands over from one to the other, between "
    "120° and 180°?",
    unit="meV",
    name="05-takeover",
    stored=60,
)

# %%
bent_errors["ECSE, auxiliary untrained"] = water_error(untrained)
bent_errors["ECSE, auxiliary trained alone"] = water_error(separate)


def bent_plot():
    drawn = explore.path_plot(
        bend, bent_errors, "angle H–O–H", "degrees", "meV", title="Error of the energy, bent water"
    )
    for angle in (taken, begins):
        drawn.add_vline(angle, line=dict(color=style.GRAY, dash="dot"))
    words = [f"{name} {np.abs(values).max():.0f}" for name, values in bent_errors.items()]
    return explore.described(
        drawn,
        "Error of the energy against the angle of water; dotted lines mark where the auxiliary "
        "model begins to take over from the frames of the hydrogens and of the oxygen. Largest "
        f"errors in meV: {', '.join(words)}.",
    )


hole = float(np.abs(bent_errors["ECSE, auxiliary trained alone"]).max())
guess_hole.reveal(hole)
bent_plot()

# %%
with torch.no_grad():
    one = batch_of([water_bent(150)])
    split = {
        "PET": float(water_pet(one).per_atom["energy"][0]),
        "auxiliary": float(separate.auxiliary(one).per_atom["energy"][0]),
    }
print(
    f"the oxygen's share at 150°: {split['PET']:.2f} eV in PET, {split['auxiliary']:.2f} eV in the auxiliary model"
)

# %% [markdown]
# The curve is perfectly smooth, and wrong by far more than either model. The reason: only the
# *total* energy is an observable. How a network divides it among the atoms is its own affair, and
# two networks divide it differently. Between the two dotted lines the hydrogens' shares come from
# one model and the oxygen's from the other, and the two halves do not belong together. (At the
# right end all three shares come from one model again, and the error is small.)
#
# There are two cures.
#
# - **Train through ECSE.** Everything in it can be differentiated, twice, so `fit(exact, …)` works
#   as for any model. Structures in the takeover region then force the two models to agree. So the
#   auxiliary model learns exactly what it will have to supply: shares of single atoms, next to
#   shares that come from frames.
# - **Pool the frames** (`local=False`): one set of frames for the whole molecule, in which the
#   auxiliary model takes over for all atoms at once. Totals are mixed with totals. We come back to
#   the price.

# %%
together = copy.deepcopy(separate)
scdlab.fit(together, water_labels, water_data, steps=S["joint_steps"], lr=3e-3, **TRAIN)
pooled_water = scdlab.ECSE(water_pet, auxiliary=separate.auxiliary, local=False)
bent_errors["ECSE, trained together"] = water_error(together)
bent_errors["ECSE, pooled frames"] = water_error(pooled_water)
worst = {name: float(np.abs(values).max()) for name, values in bent_errors.items()}
for name in ("ECSE, auxiliary trained alone", "ECSE, trained together", "ECSE, pooled frames"):
    print(f"{name:>30}: largest error {worst[name]:5.0f} meV")
bent_plot()

# %% [markdown]
# A few steps of joint training close most of the hole. Whoever uses ECSE on molecules with straight
# parts should train it so, and should look at the energy along a bend; the weight alone shows
# nothing.
#
# For ethanol none of this matters: its frames never fail. ECSE warns when it needs an auxiliary
# model that nobody trained:

# %%
exact = scdlab.ECSE(net)
carbon_dioxide = batch_of([molecule("CO2")])
print("frames in CO2:", len(exact.frames(carbon_dioxide)))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exact(carbon_dioxide)
print("warning:", str(caught[0].message).split(";")[0][:110], "…")
never = float(exact.frames(test.take(range(len(test)))).auxiliary_weight.max())
print(f"largest w_aux in {len(test)} frames of ethanol: {never:g}")

# %% [markdown]
# ## What it costs, and the knobs
#
# An atom's frames are made of *its own* neighbors, and in each of them the network is evaluated for
# that atom alone: for everything that its share depends on, its **receptive field**, and for
# nothing else. So the cost is
#
# $$\sum_i \text{frames}(i) \times |\text{receptive field of } i| .$$
#
# For a network with one layer the receptive field is an atom's neighbors, and ECSE costs as many
# evaluations as there are frames per atom. With every layer that passes messages the field widens.
# `local=False` pools the frames of the whole structure instead: cheaper for small molecules and
# deep networks, but then a distant molecule changes the energy (exercise 5).
#
# The paper also **prunes**: a frame whose weight is well below the largest is faded out, four times
# over. That saves more than half of them, and we leave it off. The next section shows why.

# %%
print("frames in this frame of ethanol")
KNOBS = {
    "as it is": dict(),
    "pruned, four times": dict(prunings=4),
    "rotations only, SO(3)": dict(group="SO(3)"),
    "sharper R_in, β = 20 / Å": dict(beta=20.0),
    "pooled": dict(local=False),
}
counted = {}
for name, knobs in KNOBS.items():
    n = len(scdlab.ECSE(exactly, **knobs).frames(batch_of([frame])))
    counted[name] = n / (1 if "local" in knobs else len(frame))
    unit = "in all" if "local" in knobs else "per atom"
    print(f"{name:>26}: {counted[name]:6.1f} {unit}")

# %% [markdown]
# ## Does it hurt?
#
# The symmetrized model is another model, and nobody trained it. Is it as accurate? Four models, one
# set of weights, yours: PET as it is; the mean over 16 random orientations; ECSE; and an ECSE that
# prunes.

# %%
guess_best = lessons.predict(
    "Which of the four has the lowest force error? (A mean over orientations also averages errors.)",
    choices=["PET as it is", "mean over 16 rotations", "ECSE", "ECSE with pruning"],
    name="05-lowest-force-error",
    stored="ECSE",
)

# %%
ARMS = {
    "raw": pet,
    "average": RandomRotations(pet, 16, seed=SEED),
    "ecse": scdlab.ECSE(pet),
    "pruned": scdlab.ECSE(pet, prunings=4),
}
NAMES = {
    "raw": "PET as it is",
    "average": "mean over 16 rotations",
    "ecse": "ECSE",
    "pruned": "ECSE with pruning",
}
yours = {}
seconds = {}
constant = {}
varying = {}
given = {}
unseen = test.take(range(len(test)))
print(f"{'errors of':>22}  {'forces':>6} {'energies':>18} {'rotation':>13} {'time':>11}")
print(f"{'':22}  {'meV/Å':>6} {'meV, ± scatter':>18} {'meV':>13} {'ms/frame':>11}")
for name, model in ARMS.items():
    start = time.perf_counter()
    errors = scdlab.evaluate(model, test, EnergyForces())
    seconds[name] = (time.perf_counter() - start) / len(test)
    yours[f"force_mae_{name}_meV_per_A"] = 1e3 * errors["force_mae"]
    yours[f"energy_mae_{name}_meV"] = 1e3 * errors["energy_mae"]
    wrapped = copy.deepcopy(model).double()
    yours[f"turned_{name}_meV"] = rotation_error(wrapped)
    with torch.no_grad():
        given[name] = model(unseen).energy
    off = 1e3 * (given[name] - unseen.energy)
    constant[name] = float(off.mean())
    varying[name] = float(off.std())
    print(
        f"{NAMES[name]:>22}: {1e3 * errors['force_mae']:6.1f} {constant[name]:10.1f} ± "
        f"{varying[name]:5.1f} {yours[f'turned_{name}_meV']:13.0e} {1e3 * seconds[name]:11.1f}"
    )
best = min(ARMS, key=lambda name: yours[f"force_mae_{name}_meV_per_A"])
guess_best.reveal(NAMES[best])
asked = claims.get("ecse-accuracy").quantities
claims.compare("ecse-accuracy", {name: value for name, value in yours.items() if name in asked})


# %%
def recorded(claim):
    """The record of a claim, or None."""
    try:
        return claims.load_record(claim)
    except claims.OutdatedRecord:
        return None


ratio = yours["force_mae_ecse_meV_per_A"] / yours["force_mae_raw_meV_per_A"]
print(f"yours: with ECSE force errors are {ratio:.2f} times those of PET as it is,")
print(
    f"       energies vary by {varying['ecse']:.0f} meV around their mean error, against "
    f"{varying['raw']:.0f}."
)
accuracy = recorded("ecse-accuracy")
if accuracy:
    runs = [{name: run[name] for name in asked} for run in accuracy.values]
    for what, unit in (("force_mae_{}_meV_per_A", "meV/Å"), ("energy_mae_{}_meV", "meV")):
        ratios = [run[what.format("ecse")] / run[what.format("raw")] for run in runs]
        print(
            f"record: {what.split('_')[0]} errors {accuracy.text(what.format('raw'))} {unit} as it "
            f"is, {accuracy.text(what.format('ecse'))} with ECSE: {min(ratios):.2f} to "
            f"{max(ratios):.2f} times"
        )

# %% [markdown]
# Read the lines one by one.
#
# - *Rotation.* Both ECSEs are exact to rounding. The mean over 16 orientations is better than PET
#   by a small factor.
# - *Forces* change by several percent; the lines above give the ratio of your run, and those of the
#   record. **Pruning costs accuracy**: a frame that fades out within a tenth of its weight makes
#   the energy smooth but steep, wherever the network is not symmetric by itself. The better the
#   network, the less it matters. This is why ours is off while the released protocol's is on.
# - *Energies* need a second look, because the errors have two parts. ECSE always looks at an atom
#   from its neighbors, so the network makes nearly the same mistake in every frame of a molecule: a
#   **constant**. Around it the errors scatter. For the dynamics of one molecule the constant is
#   harmless. Between molecules it is not, since it depends on the surroundings of each atom, hence
#   on composition; a reaction energy would contain it. So "as accurate" is true of forces, to about
#   a tenth, and not of energies as they come.
# - *Time* grows with the number of frames per atom. A mean over rotations is cheaper only if you
#   accept a remaining error.
#
# Where does the constant come from? ECSE is exactly [invariant](glossary.md#invariant), but it is
# *an* invariant function, not the mean of the network over all orientations. That mean is what
# random rotations and quadratures approach. How far apart are the two?

# %%
few = test[:10].take(range(10))
with torch.no_grad():
    middle_of_all = Quadrature(pet, 3, inversion=True)(few).energy
    apart = 1e3 * (scdlab.ECSE(pet)(few).energy - middle_of_all)
from_mean = {"constant": float(apart.mean()), "scatter": float(apart.std())}
print(
    f"ECSE less the mean over orientations (quadrature of degree 3): {from_mean['constant']:.0f} meV "
    f"on average, and {from_mean['scatter']:.0f} meV of scatter from frame to frame"
)

# %% [markdown]
# The remedy for the constant is the same as above: train, or fine-tune, through ECSE, so that the
# network learns to be right from where ECSE looks.
#
# ## Vectors: a dipole moment
#
# What rotates with the structure is rotated back before it is averaged: a vector $y$ as $F y$, a
# tensor $T$ as $F T F^{\top}$. PET gives a [dipole moment](glossary.md#dipole-moment) simply as
# three numbers, learned from rotated molecules, and they rotate with the molecule only roughly.
# ECSE again makes it exact. (Forces need no such care: they are the gradient of an energy that is
# exact already.)

# %%
if "dipole" not in ethanol.vector_names:  # rMD17 has none: take ours
    ethanol = scdlab.load_ethanol()
some, _, others = ethanol.split(S["frames"], 0, seed=SEED)
dipoles = PropertyRegression("dipole", "vector")
polar = fresh()
scdlab.fit(polar, dipoles, some, steps=S["dipole_steps"], lr=3e-3, **TRAIN)
polar.cpu()
others = others.sample(S["test"], seed=SEED)
typical = float(np.abs(others.property("dipole")).mean())


@torch.no_grad()
def turning_error(model):
    """How far the dipole is from rotating along, e Å: root mean square over rotated copies."""
    mu = model(batch_of(copies[: S["rotations"]])).properties["dipole"].numpy()
    back = Rotation.random(S["rotations"], random_state=SEED).inv().apply(mu)
    return float(np.sqrt(back.var(0).mean()))


dipole_error = {}
dipole_turned = {}
for name, model in {"raw": polar, "ecse": scdlab.ECSE(polar)}.items():
    dipole_error[name] = scdlab.evaluate(model, others, dipoles)["dipole_mae"]
    dipole_turned[name] = turning_error(copy.deepcopy(model).double())
    print(
        f"{name:>5}: error {dipole_error[name]:.3f} e Å (mean absolute component {typical:.3f}); "
        f"under rotation {dipole_turned[name]:.1e} e Å"
    )

# %% [markdown]
# Exact is not the same as accurate. ECSE shows the network a molecule in a few special
# orientations, and how well it does in just these is a matter of luck: compare the two errors
# above. What it says there rotates with the molecule to the last digit.

# %% [markdown]
# ## Forces: a gradient that is easy to lose
#
# The energy of ECSE depends on the positions in three ways: through the network, through the axes
# in which it looks, and through the weights. Forces are right only if the gradient passes through
# all three. A `detach()` in the wrong place loses one of them, and the energy stays exactly
# invariant all the same.
#
# ### Write it: find the detached gradient
#
# **Exercise 4, an experiment.** Below are three versions of ECSE. In one of them the weights are
# cut off from the gradient, in another the axes, and one is right. First write the instrument: from
# `energy(pos)`, a function of positions [N, 3] that returns a number in eV, and `forces` [N, 3],
# return the largest error of the forces, by central differences with step `h` in Å.


# %%
def my_force_error(energy, forces, pos, h):
    return ...


lessons.check_force_error(my_force_error)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def force_error_solution(energy, forces, pos, h):
    worst = 0.0
    for i in range(pos.shape[0]):
        for k in range(3):
            step = torch.zeros_like(pos)
            step[i, k] = h
            slope = (energy(pos + step) - energy(pos - step)) / (2 * h)
            worst = max(worst, abs(float(forces[i, k] + slope)))  # a force is minus the slope
    return worst


assert lessons.check_force_error(force_error_solution, show=False)

# %% [markdown]
# Now your function examines the three. Beside its result stands the **torque**,
# $\sum_i \mathbf{r}_i \times \mathbf{F}_i$: of a molecule that nothing acts on, it must be zero.

# %%
force_error = lessons.yours(my_force_error, force_error_solution, check=lessons.check_force_error)


class CutOff(scdlab.ECSE):
    """An ECSE whose axes, or weights, do not pass on a gradient."""

    def __init__(self, model, cut):
        super().__init__(model)
        self.cut = cut

    def frames(self, batch):
        frames = super().frames(batch)
        for name in self.cut:
            setattr(frames, name, getattr(frames, name).detach())
        return frames


def examine(cut, atoms):
    """Force error (eV/Å) and torque (eV) of a version of ECSE."""
    version = CutOff(exactly, cut)
    still = batch_of([atoms])

    @torch.no_grad()
    def energy(pos):
        moved = copy.copy(still)
        moved.pos = pos
        return float(version(moved).energy)

    with torch.no_grad():
        forces = version(still, forces=True).forces
    torque = torch.linalg.cross(still.pos, forces).sum(0).norm()
    return force_error(energy, forces, still.pos, 1e-4), float(torque)


bent_formaldehyde = formaldehyde(132, 1.2)
examined = {}
for name, code in {"A": 1, "B": 0, "C": 2}.items():
    examined[name] = examine(((), ("weights",), ("axes",))[code], bent_formaldehyde)
    print(
        f"{name}: force error {1e3 * examined[name][0]:.1e} meV/Å, torque "
        f"{1e3 * examined[name][1]:.1e} meV"
    )

# %% [markdown]
# Which is which? Think of what a rotation changes, and of what it does not: the axes rotate with
# the molecule, while weights depend on distances and angles alone. For each version fill in
# `"weights"`, `"axes"` or `"nothing"`.

# %%
my_verdict = {"A": ..., "B": ..., "C": ...}

lessons.check_suspects(my_verdict)

# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
verdict_solution = {"A": "weights", "B": "nothing", "C": "axes"}
assert lessons.check_suspects(verdict_solution, show=False)

# %% [markdown]
# B is right: what is left is the rounding of finite differences. In C the axes are cut off, and the
# molecule feels a torque: the energy is invariant, but the "forces" are not its gradient, and they
# would set the molecule spinning. A is the treacherous one. Its torque is zero to rounding, because
# the missing part, the gradient of the weights, comes from distances and angles and exerts no
# torque. A test of symmetry passes. Only finite differences find it.
#
# ## Locality: two molecules, far apart
#
# ### Write it: does a distant molecule change the energy?
#
# **Exercise 5, an experiment.** If the frames of all atoms are pooled, a molecule is looked at in
# frames that *another* molecule offers. Given a function `per_atom(pos)` of positions [N, 3] that
# returns each atom's share of the energy [N], and a mask `far` [N] of the atoms of the distant
# molecule: rotate that molecule about its own center by the rotation `R` [3, 3], and return the
# largest change of the *other* atoms' shares.


# %%
def my_leak(per_atom, pos, far, R):
    return ...


lessons.check_leak(my_leak)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def leak_solution(per_atom, pos, far, R):
    center = pos[far].mean(0)
    moved = pos.clone()
    moved[far] = (pos[far] - center) @ R.T + center
    return float((per_atom(moved) - per_atom(pos))[~far].abs().max())


assert lessons.check_leak(leak_solution, show=False)

# %%
guess_leak = lessons.predict(
    "Two methane molecules, 30 Å apart, and a network that sees 4.5 Å. The far one is rotated. With "
    "pooled frames, by how much does an atom's share in the near one change at most?",
    unit="meV",
    name="05-leak",
    stored=0.01,
)

# %%
leak = lessons.yours(my_leak, leak_solution, check=lessons.check_leak)
pair = molecule("CH4")
pair.rattle(0.05, seed=1)
other = molecule("CH4")
other.rattle(0.05, seed=2)
other.positions += [30.0, 0.0, 0.0]  # Å
both_molecules = batch_of([pair + other])
rotation = torch.from_numpy(Rotation.random(random_state=SEED).as_matrix())
leaks = {}
for name, local in (("frames of each atom", True), ("pooled frames", False)):
    model = scdlab.ECSE(exactly, local=local)

    @torch.no_grad()
    def shares_of(pos, model=model):
        moved = copy.copy(both_molecules)
        moved.pos = pos
        return model(moved).per_atom["energy"]

    leaks[name] = leak(shares_of, both_molecules.pos, torch.arange(10) >= 5, rotation)
    print(f"{name:>19}: the near atoms' shares change by {1e3 * leaks[name]:.1e} meV at most")
guess_leak.reveal(1e3 * leaks["pooled frames"])

# %% [markdown]
# With frames of its own neighbors, an atom does not notice. With pooled frames it does, at any
# distance: the energy of two molecules is no longer the sum of their energies. This is the price of
# pooling, and the reason why the kit's ECSE is local by default.
#
# ## Dynamics: does the molecule begin to rotate?
#
# Let ethanol vibrate without a [thermostat](glossary.md#thermostat), from a start without any
# rotation. Its energy must not change, and it must not begin to rotate, since nothing pushes it.

# %%
guess_conserved = lessons.predict(
    "PET's forces are the gradient of an energy. Which quantities does its dynamics conserve, "
    "within the error of the time step?",
    choices=["both energy and angular momentum", "energy only", "angular momentum only", "neither"],
    name="05-conserved",
    stored="neither",
)


# %%
def dynamics(model, steps):
    """NVE from one start: time (fs), total energy (eV), angular momentum (in units of ħ)."""
    atoms = frame.copy()
    atoms.calc = scdlab.Calculator(model)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(SEED))
    Stationary(atoms)
    ZeroRotation(atoms, preserve_temperature=False)
    verlet = VelocityVerlet(atoms, 0.5 * units.fs)
    total = []
    spin = []
    for _ in range(steps // 5 + 1):
        total.append(atoms.get_total_energy())
        spin.append(np.linalg.norm(atoms.get_angular_momentum()) / HBAR)
        verlet.run(5)
    return 2.5 * np.arange(len(total)), np.array(total), np.array(spin)


HBAR = units._hbar / units._e * units.s  # in ase's units of energy and time
trajectories = {
    name: dynamics(model, S["md_steps"]) for name, model in (("PET", net), ("ECSE", exact))
}
drift = {name: float(1e3 * np.abs(e - e[0]).max() / 9) for name, (_, e, _) in trajectories.items()}
gained = {name: float(spin.max()) for name, (_, _, spin) in trajectories.items()}
for name in trajectories:
    print(
        f"{name:>5}: total energy within {drift[name]:.2f} meV/atom, angular momentum up to "
        f"{gained[name]:.1e} ħ"
    )
keeps_energy = drift["PET"] < 5  # meV per atom; the molecule's heat is some 40
keeps_spin = gained["PET"] < 0.1
if keeps_energy:
    conserved = "both energy and angular momentum" if keeps_spin else "energy only"
else:
    conserved = "angular momentum only" if keeps_spin else "neither"
guess_conserved.reveal(conserved)
spins = style.figure("time (fs)", "angular momentum (ħ)", "Nothing pushes, and it rotates")
for k, (name, (when, _, spin)) in enumerate(trajectories.items()):
    spins.add_scatter(x=when, y=spin, mode="lines", name=name, line=style.line(k))
explore.described(
    spins,
    f"Angular momentum against time. With PET it reaches {gained['PET']:.0f} ħ, with ECSE "
    f"{gained['ECSE']:.0e} ħ: it stays at zero.",
)

# %% [markdown]
# A gradient conserves energy, symmetric or not. Angular momentum is conserved only if the energy
# does not change under rotation: this is Noether's theorem, in one picture.
#
# Does it matter in practice? M. Langer, S. Pozdnyakov and M. Ceriotti asked this with PET itself
# (*Probing the effects of broken symmetries in machine learning*, 2024,
# [arXiv:2406.17747](https://arxiv.org/abs/2406.17747)). They simulated water as gas, liquid and ice
# with a PET that obeys the law of rotation only approximately. In the liquid and the solid, where
# it interpolates, the consequences were negligible. In the gas phase, where a molecule is alone as
# ours is here, the dynamics remained stable, but the artifacts were noticeable. They also discuss
# how to reduce what is left, for instance by averages over rotations. So our picture shows the hard
# case, not the usual one.
#
# ## The finale: repair a network built in another way
#
# Lesson 04 found that the released SCD network is not equivariant, though it is meant to be: it
# squeezes the three components of each vector one by one. We build it with the options of the
# release's own configuration, but smaller (width 32 instead of 256, 2 layers instead of 8), train
# it for a moment, and measure. (If you have a published checkpoint, take it instead:
# `scdlab.load_official_ct(path)`.)

# %%
torch.manual_seed(SEED)
released = OfficialCT(
    emb_dim=32, num_layers=2, num_heads=4, num_rbf=16, inv_post_norm=True, trainable_rbf=False
)
scdlab.fit(
    released, SelfConditionedDenoising(sigma=0.05), train, steps=S["ct_steps"], lr=1e-3, **TRAIN
)
released = released.cpu().double().eval()


@torch.no_grad()
def equivariance_error(model):
    """Relative error of the predicted noise under rotation."""
    rotations = Rotation.random(4, random_state=SEED)
    first = model(batch_of([frame]), noise=True).noise
    size = float(first.abs().max())
    worst = 0.0
    for r in rotations:
        again = model(batch_of([rotated(frame, r)]), noise=True).noise
        worst = max(worst, float(np.abs(r.inv().apply(again.numpy()) - first.numpy()).max()))
    return worst / size


repaired = scdlab.ECSE(released)
before = equivariance_error(released)
after = equivariance_error(repaired)
with torch.no_grad():
    one, two = (network(batch_of([frame]), noise=True).noise for network in (released, repaired))
print(f"error of the noise under rotation: {before:.1e} as released, {after:.1e} with ECSE")
print(f"largest change of the noise that it predicts: {float((two - one).abs().max()):.1e} σ")

# %% [markdown]
# No weight was changed, nothing was trained again, and no layer was rewritten. ECSE does not depend
# on what is inside the network, and that makes it so useful.
#
# ## Paper, recorded, yours

# %%
lessons.display_metrics(
    force_error_meV_per_A=1e3 * error,
    no_force_meV_per_A=1e3 * at_rest,
    wobble_meV=swing["PET, 3,000 steps"],
    raw_rotation_error_meV=raw_error,
    ecse_rotation_error_meV=ecse_error,
    pca_rotation_error_meV=curves["principal axes"][8],
    jump_pca_meV=jumps["principal axes"][2],
    jump_nearest_meV=jumps["nearest pair"][2],
    jump_ecse_meV=jumps["ECSE"][2],
    step_ecse_meV=jumps["ECSE"][0],
    **{
        f"jump_{stage}_{where}_meV": built[name][path_of][1][2]
        for stage, name in zip(("plain", "ff", "ffq", "w"), built, strict=True)
        for where, path_of in (("leaves", "a neighbor leaves"), ("line", "in line"))
    },
    weights_difference=weights_difference,
    radius_stays_A=float(radii["other H at 122°"].max()),
    radius_follows_A=float(radii["other H in line"].max()),
    frames_per_atom=per_atom,
    frames_pruned=counted["pruned, four times"],
    frames_in_line=len(exact.frames(carbon_dioxide)),
    auxiliary_begins_degrees=float(bend[auxiliary_weight[:, 0] > 0][0]),
    auxiliary_complete_degrees=float(bend[auxiliary_weight[:, 0] > 0.999][0]),
    auxiliary_hydrogens_degrees=float(taken),
    water_error_auxiliary_meV=worst["auxiliary"],
    water_error_pet_meV=worst["PET"],
    water_error_alone_meV=worst["ECSE, auxiliary trained alone"],
    water_error_together_meV=worst["ECSE, trained together"],
    water_error_pooled_meV=worst["ECSE, pooled frames"],
    **{name: float(value) for name, value in yours.items()},
    **{f"energy_scatter_{name}_meV": value for name, value in varying.items()},
    **{f"ms_a_frame_{name}": 1e3 * value for name, value in seconds.items()},
    ecse_from_mean_meV=from_mean["constant"],
    dipole_error_raw_e_A=dipole_error["raw"],
    dipole_error_ecse_e_A=dipole_error["ecse"],
    dipole_typical_e_A=typical,
    dipole_turned_raw_e_A=dipole_turned["raw"],
    dipole_turned_ecse_e_A=dipole_turned["ecse"],
    force_error_cut_weights=examined["A"][0],
    force_error_right=examined["B"][0],
    force_error_cut_axes=examined["C"][0],
    torque_cut_weights=examined["A"][1],
    torque_cut_axes=examined["C"][1],
    leak_local_meV=1e3 * leaks["frames of each atom"],
    leak_pooled_meV=1e3 * leaks["pooled frames"],
    spin_raw_hbar=gained["PET"],
    spin_ecse_hbar=gained["ECSE"],
    drift_raw_meV_per_atom=drift["PET"],
    drift_ecse_meV_per_atom=drift["ECSE"],
    released_error=before,
    repaired_error=after,
)
claims.table(lesson=5)

# %% [markdown]
# The claims on ECSE are measured on three networks of 3,000 steps each, with rules that were
# written down before anything was measured. A claim without a record was not measured yet. What the
# records say in words, computed from them:


# %%
def say(claim, words):
    """A sentence made from the record of a claim."""
    record = recorded(claim)
    print(
        f"• {words(record)} Verdict: {record.verdict}."
        if record
        else f"• {claim}: not measured yet."
    )


def each_run(record, name):
    return np.array([run[name] for run in record.values])


say(
    "ecse-accuracy",
    lambda r: (
        f"Exact, and nearly as accurate in forces: {r.text('force_mae_raw_meV_per_A')} meV/Å as it "
        f"is, {r.text('force_mae_ecse_meV_per_A')} with ECSE, "
        f"{r.text('force_mae_pruned_meV_per_A')} with pruning. Energies, which the rule does not "
        f"judge: {r.text('energy_mae_raw_meV')} meV as it is, {r.text('energy_mae_ecse_meV')} with "
        f"ECSE. Error under rotation: {r.text('turned_raw_meV')} meV as it is, at most "
        f"{each_run(r, 'turned_ecse_meV').max():.0e} with ECSE."
    ),
)
say(
    "ecse-smooth",
    lambda r: (
        f"Smooth: the largest jump on any path, over three networks, is "
        f"{each_run(r, 'jump_ecse_meV').max():.0e} meV with ECSE; with principal axes "
        f"{each_run(r, 'jump_pca_meV').min():.0f} to {each_run(r, 'jump_pca_meV').max():.0f}, with "
        f"the nearest pair {each_run(r, 'jump_nearest_meV').min():.0f} to "
        f"{each_run(r, 'jump_nearest_meV').max():.0f}, with the first three atoms of the file "
        f"{each_run(r, 'jump_qr_meV').min():.1f} to {each_run(r, 'jump_qr_meV').max():.0f} (the "
        "rule asks that each of these kinds jumps in each network, otherwise it is a tie). "
        f"Steepest slopes, maximum over networks: PET "
        f"{each_run(r, 'slope_raw_eV_per_A').max():.0f} eV/Å, ECSE "
        f"{each_run(r, 'slope_ecse_eV_per_A').max():.0f}, ECSE with pruning "
        f"{each_run(r, 'slope_pruned_eV_per_A').max():.0f}."
    ),
)
say(
    "ecse-frames",
    lambda r: (
        f"Few frames: pruning leaves {r.text('pooled_ethanol_kept')} of "
        f"{r.text('pooled_ethanol_all')} frames of an ethanol molecule. (These are pooled frames of "
        "one hand, counted as the paper counts them; the numbers per atom that this lesson printed "
        "are of both hands.)"
    ),
)
say(
    "ecse-cost",
    lambda r: (
        f"Cost: without mirror images ECSE costs as much as "
        f"{each_run(r, 'evaluations_ecse').min():.1f} to "
        f"{each_run(r, 'evaluations_ecse').max():.1f} evaluations, and its error is "
        f"{each_run(r, 'turned_ecse_meV').max():.0e} meV; the mean over 256 random rotations is "
        f"still off by {r.text('turned_random_256_meV')} meV."
    ),
)
say(
    "ecse-random-averages",
    lambda r: (
        f"Averages: the error of random averages falls with an exponent of {r.text('exponent')}."
    ),
)

# %% [markdown]
# ## What to take away
#
# 1. A network trained on rotated copies obeys the law of rotation only approximately; the rest
#    shows as a torque, and a free molecule begins to rotate.
# 2. Means over fixed rotations make the error smaller and never zero; a single frame, chosen by a
#    rule or learned, makes it zero but jumps.
# 3. ECSE takes all frames from pairs of neighbors, each with a weight that vanishes before the
#    frame is lost: exact and smooth, for the price of at least as many evaluations as there are
#    frames per atom.
# 4. From 22.5° before a line on, an auxiliary model takes over. It has to be trained *together*
#    with the network, because only total energies are observable and shares of atoms are not.
# 5. Exact is not accurate: forces keep their error to about a tenth, energies gain a constant, and
#    only finite differences find a lost gradient.
#
# ## Departures from the paper
#
# - *Frames of atoms.* The released protocol pools the frames of a structure; ours belong to each
#   atom, so that distant molecules do not matter. `local=False` gives the other.
# - *Both hands.* The paper's frames are right-handed, and PET learns mirror images from its
#   training. Ours average over both by default; `group="SO(3)"` gives the other.
# - *No pruning by default*, and where it is on, relative to a smooth maximum of the weights
#   (released: a plain maximum), and from 0.8 of the largest weight on (released: 0.9).
# - *Auxiliary model*: always there, a small equivariant transformer, unless it is declined.
# - *Gradients* pass through weights, axes, $R_\text{in}$ and the network.
# - *PET*: an element enters through the first message only; the [MLP](glossary.md#MLP) of a token
#   reads two parts, not three.
# - *Scale*: one molecule, ethanol, 3,000 steps of a narrow network with one layer. The paper trains
#   large networks on several data sets, from single molecules to liquid water.
#
# ## What is contested
#
# **Should a network be symmetric at all?** J. Brehmer et al. (*Does equivariance matter at scale?*,
# 2024, [arXiv:2410.23179](https://arxiv.org/abs/2410.23179)) compared transformers with and without
# the law on collisions of rigid bodies: data [augmentation](glossary.md#augmentation) closes the
# gap in data, given enough [epochs](glossary.md#epoch), but at every tested amount of compute the
# equivariant one is ahead. K. Ngo and S. Ravanbakhsh (*Scaling laws and symmetry*, 2025,
# [arXiv:2510.09768](https://arxiv.org/abs/2510.09768)) find for interatomic potentials that
# equivariant networks even scale with a better exponent. On the other side stand networks that
# dropped the law and are used everywhere, AlphaFold 3 among them, and the observation of Langer et
# al. above that what remains hardly shows in a liquid. M. Domina et al. (*How unconstrained
# machine-learning models learn physical symmetries*, 2026,
# [arXiv:2603.24638](https://arxiv.org/abs/2603.24638)) look inside PET and find that it learns the
# law layer by layer, to high accuracy. Our networks are too small to decide this; what they show is
# what a violation *does*.
#
# **Direct forces.** Giving up the gradient is the next law to drop: forces as an output of their
# own are two to three times cheaper. F. Bigi, M. Langer and M. Ceriotti (*The dark side of the
# forces*, ICML 2025, [arXiv:2412.11569](https://arxiv.org/abs/2412.11569)) show what happens then:
# simulations that heat up, and [relaxations](glossary.md#relaxation) that do not converge. They
# recommend direct forces for pretraining, or beside [conservative](glossary.md#conservative) ones.
# A lost rotation and a lost gradient are different laws: ours conserved energy while it gained
# angular momentum.
#
# **Weighted frames or canonicalization.** One learned frame costs one evaluation and jumps where
# its vectors become parallel; weighted frames cost several and do not. Whether the jumps matter
# depends on the use: hardly for a property of one structure, certainly for dynamics and vibrations.
#
# ## Exercises and quiz
#
# The five exercises stand in the text: both hands, the weight, the angle of the takeover, the
# detached gradient, and the distant molecule. Two more, without a check:
#
# - Prune. Set `prunings=4` in `METHODS["ECSE"]`, walk the path again, and compare the largest step
#   with that of ECSE as it is.
# - Fine-tune *your* `pet` through ECSE for twenty steps,
#   `scdlab.fit(scdlab.ECSE(pet), labels, train, steps=20, batch_size=4)`, and measure the constant
#   in the energy again. Start with few steps: each costs as much as a dozen of PET's.

# %%
lessons.quiz("05")

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# - Crystals: `scdlab.ECSE(model)` takes periodic cells, and the cost grows linearly with the number
#   of atoms.
# - Your own network: give it `cutoff`, `n_hops` and a `Prediction` with `per_atom`, and ECSE does
#   the rest.
# - Do you need it exact? Long dynamics of free molecules, phonons and comparisons to the last digit
#   say yes. A network whose own error is larger than its wobble says: not yet.
