# %% [markdown]
# # 03 · DeNS: denoising off equilibrium, with forces as a clue
#
# **After this lesson you can**
#
# - compute, from the forces of a trajectory alone, how much noise no network can ever undo;
# - say what a force tells about where an atom was, and what it leaves open;
# - give a network a force as features of every degree, and name a case that needs degree 2;
# - write the objective with its mask: who is displaced, who receives a force, who is learned from;
# - find out whether an ablation does what its name says.
#
# **Time.** Quick profile: about two minutes on two CPU cores. The full profile is meant for a GPU;
# before each training, `fit` says how long it will take. Words in doubt: [glossary](glossary.md).
#
# **Papers.** Y.-L. Liao, T. Smidt, M. Shuaibi, A. Das, *Generalizing Denoising to Non-Equilibrium
# Structures Improves Equivariant Force Fields*, TMLR 2024,
# [arXiv:2403.09549](https://arxiv.org/abs/2403.09549): the method, DeNS. Its ancestor, noise as an
# auxiliary task on inputs and targets alike: J. Godwin et al., *Simple GNN Regularisation for 3D
# Molecular Property Prediction and Beyond* (Noisy Nodes), ICLR 2022,
# [arXiv:2106.07971](https://arxiv.org/abs/2106.07971). A network with features of higher degree: S.
# Batzner et al., *E(3)-equivariant graph neural networks for data-efficient and accurate
# interatomic potentials* (NequIP), Nat. Commun. 13, 2453 (2022),
# [arXiv:2101.03164](https://arxiv.org/abs/2101.03164).

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": about two minutes on two cores; "full": long trainings, for a GPU
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # folder with your own copies of the data sets; None: those that came with the kit

# %%
import copy

import ase.build
import numpy as np
import torch
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.units import kB
from scipy.spatial.transform import Rotation

import scdlab
from scdlab import analysis, claims, explore, lessons
from scdlab.explore import style
from scdlab.nn.blocks.force_encoding import spherical_degrees
from scdlab.objectives import DeNS, EnergyForces

SIZES = {
    "quick": dict(frames=400, test=200, steps=150, hidden_channels=48, num_layers=3,
                  candidates=800, clue_steps=500),
    "full": dict(frames=950, test=1000, steps=20_000, hidden_channels=128, num_layers=6,
                 candidates=4000, clue_steps=20_000),
}  # fmt: skip
S = SIZES[PROFILE]
TRAIN = dict(batch_size=16, seed=SEED, device=DEVICE)  # for every training below
SIGMA = 0.05  # Å: the noise of this lesson, as in the paper on small molecules
KT = kB * 500  # eV: the frames come from dynamics at 500 K

ethanol = scdlab.load_md17("ethanol", root=DATA) if DATA else scdlab.load_ethanol()
early = ethanol[: int(0.75 * len(ethanol))]
late = ethanol[int(0.8 * len(ethanol)) :]
train = early.sample(S["frames"], seed=SEED)
test = late.sample(S["test"], seed=SEED)


def fresh(**options):
    """A new transformer that can receive forces; the same first weights whenever SEED is."""
    torch.manual_seed(SEED)
    sizes = dict(
        hidden_channels=S["hidden_channels"], num_layers=S["num_layers"], num_heads=4, num_rbf=32
    )
    return scdlab.EquivariantTransformer(**sizes, force_input=True, **options)


# %% [markdown]
# The data are ethanol at 500 K: [frames](glossary.md#frame) of one trajectory, with energies and
# forces. Neighboring frames resemble each other, so the training frames are drawn from its first
# three quarters and the test frames from its last fifth, with a gap between them.
#
# ## The question
#
# Lesson 02 ended with a theorem. The best answer that a denoiser can give is the **posterior
# mean**: the average of the noise over all clean structures that could have led to the noisy one,
# each weighted by how likely it is. Off a minimum this is not zero: on thermal frames it points
# against the force. But best does not mean good. **How much of the noise does even the best answer
# leave, and what would have to be known to leave less?**
#
# ## What no network can undo
#
# Take one direction in which an atom is held by a spring of stiffness $k$ (eV/Å²). Heat displaces
# it by a random amount of variance $s^2 = k_\text{B}T/k$; then we add noise of variance $\sigma^2$.
# The network sees the sum, and nothing else: we call it *blind*. Which part of the sum was noise?
# Both are Gaussian, so the mean is the one of lesson 02, and around it remains the variance of the
# posterior,
#
# $$\operatorname{var}(\varepsilon \mid \tilde{x}) = \frac{s^2 \sigma^2}{s^2 + \sigma^2},
#   \qquad\text{a share}\quad \frac{s^2}{s^2 + \sigma^2}\quad\text{of the squared noise.}$$
#
# A stiff direction ($s \ll \sigma$) gives the noise away: the atom cannot have been that far out.
# In a soft one ($s \gg \sigma$) the noise is hidden in the heat. So *the answer is never
# undefined*; it is uncertain, and how uncertain depends on the direction.
#
# All we need is the stiffness, and the forces of the frames hold it. In a thermal ensemble the mean
# square force along any direction is $\langle F^2 \rangle = k_\text{B}T\,\langle k \rangle$. (For a
# spring, $F = -kx$ and $\langle x^2 \rangle = k_\text{B}T/k$. Integration by parts gives it for
# every potential, with the mean curvature in the place of $k$.)
#
# **Predict.** The hydrogen of the OH group can be displaced in three directions: along the O–H
# bond; in the plane of C, O and H, which bends the angle; and out of that plane, which turns the
# group about the C–O bond.

# %%
blind_guess = lessons.predict(
    "Noise of 0.05 Å moves the hydrogen of the OH group at 500 K. Averaged over its three "
    "directions, which share of the squared noise must every network leave that sees only the "
    "noisy molecule?",
    unit="%",
    name="03-blind-share",
    stored=40,
)

# %% [markdown]
# **Write it (1): a derivation.** From the forces along some axes in $T$ frames, `forces` [T, 3], to
# the share that is left along each of them, [3]: stiffness, thermal spread, share. Three lines. Use
# `kT` and `sigma`. (Derive the share yourself first: which Gaussian is the product of the prior
# $e^{-x^2/2s^2}$ and the likelihood $e^{-(\tilde{x}-x)^2/2\sigma^2}$?)


# %%
def my_share(forces, kT, sigma):
    return ...


lessons.check_share_from_forces(my_share)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. The product of the two Gaussians has the inverse variance 1/s² + 1/σ².
def share_solution(forces, kT, sigma):
    k = forces.square().mean(0) / kT  # eV/Å²
    s2 = kT / k  # Å²
    return s2 / (s2 + sigma**2)


assert lessons.check_share_from_forces(share_solution, show=False)

# %%
share = lessons.yours(my_share, analysis.share_from_forces, check=lessons.check_share_from_forces)
elements = train.take([0]).z  # [9]
n = len(elements)
held_by = analysis.neighbors_for_axes(train.take([0]).pos, elements)  # (bonded to, and beside)
HYDROGEN = next(i for i in range(n) if elements[i] == 1 and elements[held_by[i][0]] == 8)
along = torch.from_numpy(analysis.forces_along(train)).float()  # (T, 9, 3): along the axes above
stiffness = (along[:, HYDROGEN].square().mean(0) / KT).tolist()
limit = torch.stack([share(along[:, i], KT, SIGMA) for i in range(n)])  # (9, 3)
WAYS = ("along the bond", "bending", "turning")
for way, k, left in zip(WAYS, stiffness, limit[HYDROGEN].tolist(), strict=True):
    print(f"{way:>14}: k = {k:4.1f} eV/Å², heat {(KT / k) ** 0.5:.3f} Å, {100 * left:.0f} % left")
print(f"all nine atoms: {100 * limit.mean():.0f} %")
blind_guess.reveal(100 * float(limit[HYDROGEN].mean()))

# %% [markdown]
# Without training anything we know that noise along the bond can mostly be undone, noise that bends
# the angle hardly, and noise that turns the group not at all. (The formula lets the other atoms
# stay where they are. In what follows a quarter of them is displaced too, which leaves a few
# percent more.)
#
# Does a network come near this limit? We train one that receives no force. A quarter of the atoms
# of each frame is displaced, and it has to find the noise; how this is written comes later. Then we
# look at its error along the same directions, on frames that it has not seen. (`fit` warns that
# energies of other compositions would be off by a constant. Ours have one composition only.)


# %%
def denoiser(clue):
    """A network that learns nothing but the noise of displaced atoms: a quarter of each frame."""
    net = fresh(direct_forces=True)  # an output of its own for forces, which nobody learns: faster
    objective = DeNS(
        prob=1.0,
        sigma=SIGMA,
        denoising_weight=1.0,
        decay=False,
        labels_of_corrupted=False,
        force_encoding=clue,
    )
    scdlab.fit(net, objective, train, steps=S["clue_steps"], lr=3e-3, **TRAIN)
    return net.cpu()


def by_group(shares):
    """Shares [9, 3] in percent, along the hydroxyl's directions and as means over elements."""
    rest = {"C": elements == 6, "O": elements == 8, "H on C": elements == 1}
    rest["H on C"][HYDROGEN] = False
    hydroxyl = {f"OH: {way}": shares[HYDROGEN, k] for k, way in enumerate(WAYS)}
    means = {name: shares[rows.numpy()].mean() for name, rows in rest.items()}
    return {name: 100 * float(value) for name, value in (hydroxyl | means).items()}


def share_figure(arms):
    """Bars of the share left, side by side for each arm, a group for each direction or element."""
    figure = style.figure("", "squared noise left (%)", "What is left of the noise, unseen frames")
    for k, (name, shares) in enumerate(arms.items()):
        groups = by_group(shares)
        figure.add_bar(x=list(groups), y=list(groups.values()), name=name, marker_color=COLORS[k])
    figure.update_layout(
        barmode="group", yaxis_range=[0, 105], legend=dict(orientation="h", y=-0.15)
    )
    return figure


COLORS = ("#BDBDBD", style.BLUE, style.VERMILION)
untold = denoiser("none")
blind = DeNS(prob=1.0, sigma=SIGMA, force_encoding="none")
measured = analysis.shares_along(untold, test, blind, rounds=10)
arms = {"limit, from forces alone": limit.numpy(), "network without a clue": measured}
shown = by_group(measured)
alike = float(np.corrcoef(limit.numpy().ravel(), measured.ravel())[0, 1])
explore.described(
    share_figure(arms),
    f"Bars: the limit computed from forces and the share a trained network leaves. Of the noise on "
    f"the hydroxyl hydrogen the network leaves {shown['OH: along the bond']:.0f} % along the "
    f"bond and {shown['OH: turning']:.0f} % turning; the limits are "
    f"{100 * limit[HYDROGEN, 0]:.0f} and {100 * limit[HYDROGEN, 2]:.0f} %.",
)

# %%
above = 100 * float(measured.mean() - limit.numpy().mean())
print(f"over all atoms and directions the network leaves {100 * measured.mean():.0f} %,", end=" ")
print(f"{above:.0f} points above the limit; correlation of the 27 pairs: {alike:.2f}")

# %% [markdown]
# The 27 predictions, nine atoms in three directions each, follow from the forces alone, and the
# network's errors line up with them. Most of what it leaves is no failure of training. It is the
# heat.
#
# So something else has to be known. [DeNS](glossary.md#DeNS) has an idea what.
#
# ## What a force tells
#
# The structure *before* the noise came with a label that we have not used: its forces. **If we were
# told the force that the atom felt before it was displaced, how far would that narrow down where it
# was?** To find out we need forces at many places, so let us train a [force
# field](glossary.md#force-field), on energies and forces alone. It is also what
# [DeNS](glossary.md#DeNS) has to beat later on. Its [loss](glossary.md#loss) is the *length* of the
# errors, as in the paper's code; lengths punish the rare large error less than squares do:
#
# $$L_\text{plain} = \rho\, |E - \hat{E}| + \frac{1}{N} \sum_i \| F_i - \hat{F}_i \|,
#   \qquad \hat{F}_i = -\frac{\partial \hat{E}}{\partial x_i},$$
#
# with the energy $E$ (eV), the force $F_i$ on atom $i$ (eV/Å), its position $x_i$ (Å), hats for
# what the network answers, $N$ atoms, and the weight $\rho = 1/80$ Å⁻¹.

# %%
labels = EnergyForces(energy_weight=1 / 80, loss="norm")
plain = fresh()
scdlab.fit(plain, labels, train, steps=S["steps"], lr=3e-3, **TRAIN)
plain.cpu()
no_force = 1e3 * float(test.take(range(len(test))).forces.abs().mean())
force_mae = {"plain": 1e3 * scdlab.evaluate(plain, test, EnergyForces())["force_mae"]}
print(f"force error {force_mae['plain']:.0f} meV/Å; the answer “no force” has {no_force:.0f} meV/Å")

# %% [markdown]
# Now one frame, in which the O–H bond is stretched, so that the hydrogen feels a force. We displace
# it by a typical noise, $\sqrt{3}\,\sigma$ long. The network sees only where it ends, the
# **picture**. The hydrogen may have come from anywhere around.

# %%
pull = analysis.forces_along(test)[:, HYDROGEN, 0]  # eV/Å, negative where the bond is stretched
row = int(np.abs(pull + 1.0).argmin())  # the frame in which it pulls by about 1 eV/Å
frame = test.take([row])
here = frame.pos[HYDROGEN]
basis = torch.from_numpy(analysis.all_local_axes(test[[row]])[0, HYDROGEN]).float()  # (3, 3)
direction = torch.randn(3, generator=torch.Generator().manual_seed(SEED))
picture = here + 3**0.5 * SIGMA * direction / direction.norm()


def forces_at(places):
    """Forces [m, 3] on the hydrogen at places [m, 3], the other atoms as in the frame."""
    batch = test.subset([row] * len(places)).take(range(len(places)))
    batch.pos[HYDROGEN::n] = places
    return plain(batch, forces=True).forces[HYDROGEN::n].detach()


other = here + 0.1 * basis[:, 1]  # another place it may have come from: bent by 0.1 Å
for name, place in (("this structure", here), ("another one", other)):
    step = ((picture - place) / SIGMA) @ basis
    force = forces_at(place.unsqueeze(0))[0] @ basis
    print(f"{name:>14}: ε/σ = {step.numpy().round(1)}, F = {force.numpy().round(2)} eV/Å")
print("(along the bond, bending, turning; both end in the same picture)")

# %% [markdown]
# Two structures, one picture, two right answers for the noise $\varepsilon$, and two forces. The
# difference of the forces is set by the stiffness matrix of the atom, the **Hessian** $K$ (second
# derivatives of the energy): a small displacement $\delta$ changes the force by $-K\delta$. If the
# force is known to within $\delta F$, then along an axis of $K$ with stiffness $k$ the place is
# known to within
#
# $$\delta x = \frac{\delta F}{k}.$$
#
# An *exact* force has three components for three unknowns and picks a single point nearby wherever
# $K$ is regular. But to find the place, a network has to know which force belongs to which place,
# and it knows that only as well as it predicts forces: if it errs by a tenth of an eV/Å, further
# digits of the clue are of no use to it.
#
# **Predict.** We draw places at random, within $3\sigma$ of the picture, and keep those whose force
# agrees with the true one to 0.3 eV/Å. The places fill a ball. Which shape is left of it?

# %%
shape_guess = lessons.predict(
    "The force on the hydrogen is known to within 0.3 eV/Å. Which shape is left of the ball of "
    "places where it may have been?",
    choices=["ball", "disc", "needle", "point"],
    name="03-shape",
    stored="needle",
)

# %% [markdown]
# **Write it (2): from two forces.** `force_here` and `force_there` are the force along an axis at a
# place and `step` (Å) further along that axis. How far may the atom move along the axis before its
# force has changed by `tolerance` (eV/Å)?


# %%
def my_width(force_here, force_there, step, tolerance):
    return ...


lessons.check_width(my_width)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def width_solution(force_here, force_there, step, tolerance):
    k = abs(force_there - force_here) / step  # eV/Å²
    return tolerance / k


assert lessons.check_width(width_solution, show=False)

# %%
width = lessons.yours(my_width, analysis.width, check=lessons.check_width)
STEP = 0.01  # Å
force_here = forces_at(here.unsqueeze(0))[0] @ basis
force_there = (forces_at(here + STEP * basis.T) @ basis).diagonal()  # one step along each axis
setup = (forces_at, here, picture, basis, 3 * SIGMA)
ball = analysis.kept_places(*setup)
clouds = {"not at all": ball}
findings = ["nothing known: a ball"]
shapes = {}
for tolerance in (1.0, 0.3, 0.1, 0.05, 0.01):
    widths = torch.tensor(
        [float(width(force_here[k], force_there[k], STEP, tolerance)) for k in range(3)]
    )
    kept = analysis.kept_places(*setup, tolerance, widths, S["candidates"], SEED)
    shapes[tolerance] = analysis.shape_of(kept, ball)
    spread = ", ".join(f"{value:.4f}" for value in analysis.spreads(kept))
    clouds[f"to {tolerance:g} eV/Å"] = kept
    findings.append(f"known to {tolerance:g} eV/Å: a {shapes[tolerance]}; spread {spread} Å")
    predicted = ", ".join(f"{value:.4f}" for value in widths)
    print(f"δF = {tolerance:4g} eV/Å: a {shapes[tolerance]:>6}; δF/k = {predicted} Å")
shape_guess.reveal(shapes[0.3])
explore.described(
    explore.candidate_figure(clouds, findings, WAYS, first=2, title="Where it may have been"),
    "Places in space where the hydrogen may have been, with a slider over how well its force is "
    "known. " + "; ".join(findings) + ".",
)

# %% [markdown]
# Drag the slider. As the tolerance shrinks, the ball is first pressed flat along the stiff bond,
# then closes in bending, and last in turning: each direction by $\delta F/k$ with a $k$ of its own.
# Which shape you see is a matter of the tolerance. The order in which the directions give way is a
# matter of the molecule. (The $k$ are those of the force field that we have just trained, in this
# one frame, and not the thermal means above. Turning, for instance, is mostly held by the stretched
# bond, which pulls the hydrogen back as a string would.)
#
# Compare with the first figure. The picture leaves the place open to within a width
# $w = s\sigma/\sqrt{s^2 + \sigma^2}$ along each direction, the standard deviation of the posterior,
# and a force says more only where $\delta F < k w$. Along the bond $k w$ is about 1 eV/Å: the
# picture gives most of the noise away, and even a roughly known force fixes the rest. Where the
# group bends, much is left to be told, but $k w$ is 0.2 eV/Å, so the force has to be known well. In
# turning neither helps. So a force is not the answer. It is a **clue**.
#
# ## How to give a network a force
#
# A force is a vector. Our network keeps vectors that rotate with the molecule, so we could simply
# add $F$ to them. The paper does more, since its network has features of higher **degree**. You
# know them from chemistry: as s, p and d orbitals. An s orbital looks the same from all sides: one
# number, degree 0. The three p orbitals point along x, y, z and transform into each other under
# rotation as the components of a vector do: degree 1. The five d orbitals do so among themselves:
# degree 2. Their shapes are the **spherical harmonics** $Y^{(l)}$, $2l + 1$ functions of a
# direction for each degree $l$. With them a force becomes
#
# $$x_F^{(l)} = W^{(l)}\, \frac{|F|}{\sqrt{3}}\; Y^{(l)}\!\left(\frac{F}{|F|}\right).$$
#
# - $Y^{(l)}$ is scaled so that the squares of a degree add up to $2l + 1$. With the factor
#   $1/\sqrt{3}$ the three numbers of degree 1 are then $F$ itself.
# - $W^{(l)}$ is one learned weight for each **channel** (a network keeps many copies of each
#   feature, side by side, and calls them channels). It is the same for all $2l + 1$ numbers, so
#   that it does not matter whether one rotates before or after.
# - $|F|$ stands in front because a large force should give large features and a zero force none:
#   just what an atom that receives no force should get.
#
# **Write it (3): the five numbers of degree 2.** For a direction $(x, y, z) = F/|F|$ they are $xz$,
# $xy$, $(2y^2 - x^2 - z^2)/(2\sqrt{3})$, $yz$ and $(z^2 - x^2)/2$, in this order, times a common
# factor: the five d orbitals. Find the factor from $|Y^{(2)}|^2 = 5$ (look along an axis), put
# $|F|/\sqrt{3}$ in front, and mind a force of zero. `force` is [N, 3], the answer [N, 5].


# %%
def my_degree_two(force):
    return ...


lessons.check_degree_two(my_degree_two)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. Along y the five are 0, 0, 1/√3, 0, 0: the factor is √15.
def degree_two_solution(force):
    length = force.norm(dim=1, keepdim=True)
    x, y, z = (force / length.clamp(min=1e-12)).unbind(1)
    third = (2 * y**2 - x**2 - z**2) / 12**0.5
    five = torch.stack([x * z, x * y, third, y * z, (z**2 - x**2) / 2], dim=1)
    return length / 3**0.5 * 15**0.5 * five


assert lessons.check_degree_two(degree_two_solution, show=False)

# %%
degree_two = lessons.yours(
    my_degree_two, lambda force: spherical_degrees(force, 2)[2], check=lessons.check_degree_two
)


def degrees_of(force):
    """The numbers of degrees 0 to 3, of degree 2 by your function."""
    zero, one, _, three = spherical_degrees(force, 3)
    return zero, one, degree_two(force), three


force = torch.tensor([[0.4, -1.2, 0.3]], dtype=torch.float64)
rotation = torch.from_numpy(Rotation.random(random_state=SEED).as_matrix())
before = degrees_of(force)
after = degrees_of(force @ rotation.T)
opposite = degrees_of(-force)
for degree, (one, two, minus) in enumerate(zip(before, after, opposite, strict=True)):
    sign = "the same for −F" if torch.allclose(one, minus) else "the opposite for −F"
    print(
        f"degree {degree}: {2 * degree + 1} numbers, length {one.norm():.3f} before and "
        f"{two.norm():.3f} after a rotation, {sign}"
    )
print("degree 1 is the force:", before[1][0].numpy().round(3))
encoding_error = float((after[1] - before[1] @ rotation.T).abs().max())

# %% [markdown]
# Under a rotation the numbers of a degree mix among themselves and keep their length. Degree 0 is
# the length of the force alone. Degree 1 is the force. Degree 2 knows its axis but not which way
# along it. Nothing beyond degree 1 is *new*; whether it is *needed* we shall see.
#
# ## The objective
#
# One step of DeNS does three things, in one pass of the network.
#
# - **Choose.** Each structure with probability $p$, and in a chosen one each atom with probability
#   $r$. The **mask** $m_i = 1$ marks the atoms that were drawn. (Here $p = r = \frac14$.)
# - **Displace, and give the clue.** $\tilde{x}_i = x_i + m_i \varepsilon_i$, and the force input is
#   $m_i F_i$: an atom that was displaced comes with the force that it felt *before*.
# - **Ask three questions.** What was the energy of the structure before the noise? What are the
#   forces on the atoms that stayed? What was the noise of those that did not?
#
# $$L = \rho\, |E - \hat{E}| + \operatorname*{mean}_{m_i = 0} \| F_i - \hat{F}_i \|
#   + \lambda\, \frac{\sigma_E}{\text{Å}} \operatorname*{mean}_{m_i = 1}
#   \left\| \hat\varepsilon_i - \frac{\varepsilon_i}{\sigma} \right\| .$$
#
# $\sigma_E$ (eV) is the spread of the energies in the training set, after the atoms' references
# were taken off. It gives the noise term the unit of a force. The released code weighs energies,
# forces and noise as 1 to 80 to 5, so $\rho = 1/80$ and $\lambda = 5/80 = 0.0625$. $\lambda$ falls
# linearly to zero over the training: at the end the network learns what we want it for.
#
# **Write it (4): the mask.** `chosen` [B] says for each of B structures whether it was chosen, `u`
# [N] is a random number for each of N atoms, `batch` [N] says which structure an atom belongs to,
# and `fixed` [N] marks atoms that may not move (on a surface the lower layers). Return booleans
# [N].


# %%
def my_mask(chosen, u, batch, fixed, r):
    return ...


lessons.check_dens_mask(my_mask)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def mask_solution(chosen, u, batch, fixed, r):
    return chosen[batch] & (u < r) & ~fixed  # chosen[batch]: each atom looks up its structure


assert lessons.check_dens_mask(mask_solution, show=False)

# %% [markdown]
# With the mask the whole loss takes a dozen lines. Is it what the library does?

# %%
choose = lessons.yours(my_mask, mask_solution, check=lessons.check_dens_mask)


def corrupted(batch, p, r, sigma, generator):
    """The noise, the mask, and a copy of the batch with the noise on it."""
    eps = sigma * torch.randn(batch.pos.shape, generator=generator)
    u = torch.rand(len(batch.z), generator=generator)
    chosen = torch.rand(batch.num_graphs, generator=generator) < p
    mask = choose(chosen, u, batch.batch, torch.zeros_like(u).bool(), r)  # m (N)
    noisy = copy.copy(batch)  # shallow: the caller's batch keeps its positions
    noisy.pos = batch.pos + eps * mask[:, None]
    return eps, mask, chosen[batch.batch], noisy


def dens_loss(model, batch, p, r, sigma, weight, generator):
    """Energies of all structures, forces of atoms that stayed, noise of those that did not."""
    eps, mask, _, noisy = corrupted(batch, p, r, sigma, generator)
    out = model(noisy, forces=True, noise=True, force_input=batch.forces * mask[:, None])
    energy = (out.energy - batch.energy).abs().mean()
    force = (out.forces - batch.forces)[~mask].norm(dim=1).mean()
    noise = (out.noise - eps / sigma)[mask].norm(dim=1).mean()
    spread = model.energy_head.spread  # σ_E, measured by `prepare` below
    return energy / 80 + force + weight * spread * noise  # 1/80 is ρ, weight is λ


P = 0.25
R = 0.25
LAMBDA = 5 / 80
sample = train.take(range(64))
net = fresh()
library = DeNS(prob=P, corrupt_ratio=R, sigma=SIGMA, denoising_weight=LAMBDA, supervised=labels)
library.prepare(net, train)  # reference energies, the spread σ_E, the size of forces
ours = dens_loss(net, sample, P, R, SIGMA, LAMBDA, torch.Generator().manual_seed(SEED))
theirs, _ = library(net, sample, torch.Generator().manual_seed(SEED))
loss_difference = abs(ours.item() - theirs.item())
print(f"ours {ours.item():.6f}, the library's {theirs.item():.6f}")

# %% [markdown]
# Two limits are worth a thought, and the tests of the library hold it to both. With $p = 0$ nothing
# is displaced: DeNS *is* supervised learning. With $p = r = 1$, all forces zero and squares in the
# place of lengths (`loss="squared"`), no atom receives anything, and what is left beside the energy
# is the [denoising](glossary.md#denoising) loss of lesson 02.
#
# Now look at it. Move through the trajectory, choose an atom, and follow its force degree by
# degree: blue lobes are positive, orange ones negative. *Ratio* is $r$; *corrupt* shows which atoms
# are displaced and which forces are given. **Find out:**
#
# - For which atoms are forces large? (You can predict it: $\langle F^2 \rangle = k_\text{B}T\,k$.)
# - What happens to the sum of degrees as you add more of them?
# - With *corrupt* on: does an atom that stayed receive a force?

# %%
explorer = explore.ForceExplorer(test, {"plain": plain}, atom=HYDROGEN, sigma=SIGMA, seed=SEED)
explore.described(
    explorer,
    "A frame of ethanol with its forces as arrows, and the degrees of one atom's force as lobes. "
    "Carbon and oxygen, the stiffest atoms, feel the largest forces; the sum of degrees narrows "
    "around the force as degrees are added; only displaced atoms receive a force.",
)

# %% [markdown]
# What there is to see: forces are large on carbon and oxygen, which are held most tightly; the more
# degrees are added, the narrower the lobe becomes about the force; an atom that stayed receives
# nothing.
#
# ## Does the clue help to denoise?
#
# Now the network that receives forces, trained exactly as the one above. And a **negative
# control**: a network whose displaced atoms receive the force of *another* atom of their molecule.
# That input has the right size and shape, and hardly any information. Whatever it gains is not due
# to the forces.
#
# **Predict.** First how well the clue works; then what happens if we give the network that learned
# to use it a wrong one.

# %%
told_guess = lessons.predict(
    f"Without a clue {100 * measured.mean():.0f} % of the squared noise was left on unseen frames. "
    "How much is left with the forces as a clue?",
    unit="%",
    name="03-told",
    stored=20,
)
wrong_guess = lessons.predict(
    "The network that learned with its own forces now receives the force of another atom. How much "
    "noise does it leave?",
    choices=["as little as before", "as much as a network without a clue", "more than either"],
    name="03-wrong-force",
    stored="as much as a network without a clue",
)


# %%
def noise_left(net, force_encoding):
    """Share of the squared noise that is left on unseen frames, in percent."""
    objective = DeNS(prob=1.0, sigma=SIGMA, force_encoding=force_encoding)
    return 100 * scdlab.evaluate(net, test, objective)["noise_unexplained"]


told = denoiser("true")
shuffled = denoiser("shuffled")
left = {
    "told": noise_left(told, "true"),
    "untold": noise_left(untold, "none"),
    "kept_back": noise_left(told, "none"),
    "wrong": noise_left(told, "shuffled"),
    "shuffled": noise_left(shuffled, "shuffled"),
}
if left["wrong"] > 1.15 * left["untold"]:
    wrong_finding = "more than either"
elif left["wrong"] > (left["told"] + left["untold"]) / 2:
    wrong_finding = "as much as a network without a clue"
else:
    wrong_finding = "as little as before"
wrong_guess.reveal(wrong_finding)
print(f"with its force {left['told']:.0f} %, without one {left['untold']:.0f} %,", end=" ")
print(f"trained with another atom's force {left['shuffled']:.0f} %")
print(f"the first network without its clue {left['kept_back']:.0f} %,", end=" ")
print(f"with a wrong one {left['wrong']:.0f} %")

# %%
with_clue = analysis.shares_along(told, test, DeNS(prob=1.0, sigma=SIGMA), rounds=10)
shown = by_group(with_clue)
arms["network with the force"] = with_clue
figure = share_figure(arms)
told_guess.reveal(left["told"], figure, axis="y")
explore.described(
    figure,
    f"The same bars with a third arm, the network that receives forces. It leaves "
    f"{shown['C']:.0f} % on carbon and {shown['H on C']:.0f} % on hydrogens of carbon, but "
    f"{shown['OH: turning']:.0f} % of what turns the hydroxyl group.",
)

# %% [markdown]
# The clue works, and it works where the stiffness says it should: most on the atoms that are held
# tightly, and not at all for the turning OH group, whose force hardly depends on where it is. Where
# the group bends, it would help a network that knows forces to better than 0.2 eV/Å; after a short
# training ours does not, and the clue is of no use there yet. Where the network falls below the
# gray bars it knows more than the noisy structure shows.
#
# The controls say why. Trained with another atom's force it does no better than without any, so it
# is the information that counts and not the additional input. And a network that has learned to
# rely on its clue leaves more noise when the clue is missing, and more still when it is wrong.
#
# The claim asks the same of networks trained by the whole of DeNS, with several seeds:

# %%
claims.compare("dens-clue", {f"noise_left_{name}_percent": value for name, value in left.items()})

# %% [markdown]
# (The record is of revised MD17. With `DATA` set to a folder that holds it, the cell after the
# first exercise prints a limit of 49 % for all nine atoms. The recorded networks leave 66 % without
# a clue, further above their limit than yours: they saw 100 frames, and had energies and forces to
# learn beside.)
#
# So the mechanism is real. Whether it makes *forces* better is another question. **Two claims, two
# measurements:** that a method works as it was meant to, and that it is worth what it costs. An
# [ablation](glossary.md#ablation) should connect the two, and that is where care is needed.
#
# ## Break it: an ablation that took out too much
#
# An **ablation** takes one part of a method out, to see whether that part mattered. The paper takes
# out the force encoding and reports that the gain is lost. What does its released code do?
#
# For the large data sets (repository `atomicarchitects/DeNS`, commit e98b747,
# `model/equiformer_v2/equiformer_v2_denoising.py`, line 344) just what one expects: the encoded
# force is zero, and nothing else changes. That ablation is sound. The code for small molecules
# (`atomicarchitects/equiformer`, commit 64cb786, `nets/equiformer_md17_dens.py`) leaves the force
# out as well (line 275). Two more things happen there when it does:
#
# - Lines 314 and 315 mean to drop the *energies* of corrupted structures. They look for a mask by
#   the name `denoising_mask`; the trainer (`main_md17_dens.py`, line 528) stores it as
#   `denoising_pos_mask`. So nothing is dropped: the energy before the noise stays the label of a
#   structure that no longer shows it.
# - Lines 349 and 350 multiply *all* vector outputs of the chosen structures by zero: the forces on
#   atoms that stayed, and the noise of those that did not.
#
# An output that is multiplied by zero does not depend on any weight. What does that mean for
# training? Here are the force and noise terms of that code in our own words, and the gradient of
# the noise term, for the network that was trained with the clue:


# %%
def terms(model, batch, encode, as_released, generator):
    """Force term, noise term, and how many force labels still teach something."""
    eps, mask, chosen, noisy = corrupted(batch, P, R, SIGMA, generator)
    clue = batch.forces * mask[:, None] if encode else None
    out = model(noisy, forces=True, noise=True, force_input=clue)
    answer = torch.where(mask[:, None], out.noise, out.forces)
    if as_released:  # line 350
        answer = answer * ~chosen[:, None]
    target = torch.where(mask[:, None], eps / SIGMA, batch.forces)
    length = (answer - target).norm(dim=1)
    taught = ~mask & ~chosen if as_released else ~mask
    return length[~mask].mean(), length[mask].mean(), float(taught.float().mean())


def gradient_size(loss, model):
    """Length of the gradient of a loss over all weights."""
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return float(sum(g.square().sum() for g in found if g is not None)) ** 0.5


gradients = {}
kept_labels = {}
for name, (encode, as_released) in {
    "DeNS": (True, False),
    "without the encoding": (False, False),
    "without it, as released": (False, True),
}.items():
    _, noise, kept_labels[name] = terms(
        told, sample, encode, as_released, torch.Generator().manual_seed(SEED)
    )
    gradients[name] = gradient_size(noise, told)
    print(
        f"{name:>23}: noise term {noise.item():.3f}, its gradient {gradients[name]:.3f}; "
        f"{100 * kept_labels[name]:.0f} % of the force labels teach"
    )

# %% [markdown]
# The released [arm](glossary.md#arm) has a noise term, a number that is logged and looks as usual,
# and the gradient of that term is exactly zero. So this “without force encoding” is also *without
# denoising*, and without the force labels of every fourth structure. Whatever denoising gains, this
# arm cannot show it, and its number cannot say which of the three mattered. (A caution: we do not
# know which code made the table in the paper; it may have been another. And the full method does
# not run these lines.)
#
# **Write it (5): an experiment.** The opposite mistake is as frequent: an ablation that takes out
# *nothing*. Write a function that catches it. `losses` is a dictionary from the name of an arm to
# its loss, a function of a random seed: `losses["DeNS"](3)`. Return the names of the arms that are
# in truth DeNS itself. **Think about** which seeds to try and how to compare.


# %%
def my_unchanged(losses):
    return ...


lessons.check_dead_ablation(my_unchanged)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold. Same seed for both, several seeds, exact comparison: a seed may happen
# to corrupt no atom, and a change in the sixth digit is a change.
def unchanged_solution(losses):
    seeds = range(10)
    method = [losses["DeNS"](seed) for seed in seeds]
    return [
        name
        for name, loss in losses.items()
        if name != "DeNS" and [loss(seed) for seed in seeds] == method
    ]


assert lessons.check_dead_ablation(unchanged_solution, show=False)

# %% [markdown]
# Now let it loose on four arms. One of them makes the mistake of the wrong name:

# %%
unchanged = lessons.yours(my_unchanged, unchanged_solution, check=lessons.check_dead_ablation)


class NoEnergies(DeNS):
    """Meant to drop the energies of corrupted structures."""

    def corrupt(self, batch, generator=None):
        done = super().corrupt(batch, generator)
        if hasattr(batch, "denoising_mask"):  # a name that nobody sets
            batch.energy[batch.denoising_mask] = 0.0
        return done


def loss_of(objective):
    """The loss of the network above as a function of the seed, on a few frames."""
    few = train.take(range(6))
    return lambda seed: objective(told, few, torch.Generator().manual_seed(seed))[0].item()


suspects = {
    "DeNS": DeNS(sigma=SIGMA, supervised=labels),
    "no clue": DeNS(sigma=SIGMA, supervised=labels, force_encoding="none"),
    "another's force": DeNS(sigma=SIGMA, supervised=labels, force_encoding="shuffled"),
    "whole structures": DeNS(sigma=SIGMA, supervised=labels, corrupt_ratio=1.0),
    "no energies": NoEnergies(sigma=SIGMA, supervised=labels),
}
dead = unchanged({name: loss_of(objective) for name, objective in suspects.items()})
print("these ablate nothing:", ", ".join(dead))

# %% [markdown]
# **An ablation must change the number it is computed from**, and only through what its name says.
# Ours are arguments of `DeNS`, and tests watch what the model receives and which atoms move.
#
# ## When degree 2 must matter
#
# Degree 1 is the whole force. Why should anybody give a network more? Because a clue has to be
# *used*: from a force to a displacement one multiplies by $K^{-1}$, and a stiffness has directions.
# It is a symmetric matrix, and under rotation its parts are of degrees 0 and 2. A network can only
# find it in what the neighbors send.
#
# What do they send? The sum of the harmonics of their directions. Put $L$ neighbors on a ring
# around an atom, evenly spaced, and rotate the ring by half a spacing. The lowest degree that
# notices is the least that a network needs here to know how the ring lies.

# %%
fold_guess = lessons.predict(
    "An atom has three neighbors at 120° to each other, in a plane. They are rotated by 60° within "
    "that plane. Which is the lowest degree of the summed harmonics that notices?",
    choices=["1", "2", "3", "4"],
    name="03-fold",
    stored="1",
)


# %%
def ring(fold, angle):
    """Directions [L, 3] of L neighbors on a ring, rotated within its plane."""
    turns = 2 * np.pi * torch.arange(fold, dtype=torch.float64) / fold + angle
    return torch.stack([turns.cos(), turns.sin(), torch.zeros_like(turns)], dim=1)


noticed = {}
for fold in (2, 3, 4):
    one = [y.sum(0) for y in spherical_degrees(ring(fold, 0.1), 4)]
    two = [y.sum(0) for y in spherical_degrees(ring(fold, 0.1 + np.pi / fold), 4)]
    change = [float((a - b).norm()) for a, b in zip(one, two, strict=True)]
    noticed[fold] = next(degree for degree in range(5) if change[degree] > 1e-6)
    text = "  ".join(f"{degree}: {value:.2f}" for degree, value in enumerate(change))
    print(f"{fold} neighbors, change of the sum by degree:  {text}")
fold_guess.reveal(str(noticed[3]))

# %% [markdown]
# Below degree $L$ nothing changes at all (C. Joshi et al., 2023, listed below, made this the test
# of a network's degree). So let us build the smallest case in which the *clue* needs degree 2: an
# atom that is seen exactly midway between two equal neighbors, as carbon in CO₂, stiff along their
# axis and soft across. Which displacement belongs to a given force? In one exchange of messages all
# equivariant answers that are linear in $F$ are
#
# $$\hat\varepsilon = a\,F \;+\; b\,Q F,
#   \qquad Q = \sum_j \left(\hat{r}_j \hat{r}_j^{\,T} - \tfrac13\right),$$
#
# where $Q$ is the degree 2 of what the neighbors $j$ send from directions $\hat{r}_j$, written as a
# matrix, and the sum of degree 1 is zero. We fit $a$ and $b$ to 2,000 such atoms, oriented at
# random:

# %%
generator = torch.Generator().manual_seed(SEED)
axis = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator), dim=1)
outer = axis[:, :, None] * axis[:, None, :]  # (n, 3, 3)
one = torch.eye(3)
K = 50 * outer + 5 * (one - outer)  # eV/Å²: stiff along the axis, soft across
eps = SIGMA * torch.randn(2000, 3, generator=generator)  # it came from -ε: seen midway
clue = torch.einsum("nij,nj->ni", K, eps)  # the force there, F = -K(-ε)
Q = 2 * (outer - one / 3)  # two neighbors, at +axis and -axis
QF = torch.einsum("nij,nj->ni", Q, clue)


def left_after_fit(*answers):
    """Share of the squared noise that the best combination of the answers leaves, in percent."""
    columns = torch.stack([answer.flatten() for answer in answers], dim=1)
    weights = torch.linalg.lstsq(columns, eps.flatten()[:, None]).solution
    return 100 * float(
        ((columns @ weights)[:, 0] - eps.flatten()).square().sum() / eps.square().sum()
    )


back = axis * (axis * clue).sum(1, keepdim=True)  # what a second exchange can send back
degree_left = {
    "degrees 0, 1": left_after_fit(clue),
    "degrees 0, 1, 2": left_after_fit(clue, QF),
    "degrees 0, 1, two exchanges": left_after_fit(clue, back),
}
for name, value in degree_left.items():
    print(f"{name:>27}: {value:.1f} % of the noise is left")

# %% [markdown]
# With degrees 0 and 1 more than half of the noise is left although the force is exact: no number
# $a$ fits a stiff and a soft direction at once. With degree 2 nothing is left. The third line is
# the small print: given a *second* exchange of messages, a neighbor can take the component of the
# force along its direction and send it back along that direction, and degree 1 suffices. Depth can
# replace degree; degree saves depth. So a deep network need not suffer if degree 2 of the clue is
# left out.
#
# Networks of higher degree, such as NequIP and the paper's Equiformer, multiply features and
# directions by **tensor products**. Degrees $l_1$ and $l_2$ give a result of degree $l_3$ only if
# $|l_1 - l_2| \le l_3 \le l_1 + l_2$, the selection rule that you may know from adding angular
# momenta, and up to a factor there is exactly one such bilinear product. $QF$ above is the product
# of degrees 2 and 1 with a result of degree 1. In the kit:
# `scdlab.TensorProductNet(lmax=2, force_input=True)`, which can take the place of the transformer
# anywhere in this lesson.
#
# ## Is it worth it?
#
# Now the race: the same first weights, frames and steps, once with plain training and once with
# DeNS. The other variants (all ablations above) are in the table at the end; the full profile
# trains them here too.

# %%
race_guess = lessons.predict(
    f"The force error of plain training on unseen frames was {force_mae['plain']:.0f} meV/Å. How "
    "does DeNS compare after as many steps, tested without noise and without a clue?",
    choices=["more than 5 % better", "within 5 %", "more than 5 % worse"],
    name="03-race",
    stored="more than 5 % better",
)

# %%
ARMS = {
    "DeNS": dict(),
    "whole structures": dict(corrupt_ratio=1.0),
    "no clue": dict(force_encoding="none"),
    "another's force": dict(force_encoding="shuffled"),
}
energy_mae = {"plain": 1e3 * scdlab.evaluate(plain, test, EnergyForces())["energy_mae"]}
for name, ablation in list(ARMS.items())[: 1 if PROFILE == "quick" else None]:
    net = fresh()
    objective = DeNS(sigma=SIGMA, supervised=labels, **ablation)
    scdlab.fit(net, objective, train, steps=S["steps"], lr=3e-3, **TRAIN)
    found = scdlab.evaluate(net.cpu(), test, EnergyForces())
    force_mae[name] = 1e3 * found["force_mae"]
    energy_mae[name] = 1e3 * found["energy_mae"]
change = force_mae["DeNS"] / force_mae["plain"] - 1
bars = explore.compare_bars(force_mae, "force MAE", "meV/Å", title="Ethanol, unseen frames")
race_guess.reveal(
    "more than 5 % better"
    if change < -0.05
    else "more than 5 % worse"
    if change > 0.05
    else "within 5 %"
)
explore.described(
    bars,
    f"Force errors on unseen frames: plain {force_mae['plain']:.0f} meV/Å, DeNS "
    f"{force_mae['DeNS']:.0f} meV/Å after {S['steps']:,} steps, one seed.",
)

# %%
yours = {
    "force_mae_dens_meV_per_A": force_mae["DeNS"],
    "force_mae_plain_meV_per_A": force_mae["plain"],
    "energy_mae_dens_meV": energy_mae["DeNS"],
    "energy_mae_plain_meV": energy_mae["plain"],
}
claims.compare("dens-ethanol-forces", yours)

# %% [markdown]
# Your run is short and has one seed. It shows that both learn, and says nothing about the paper's
# regime, in which a large network sees its 950 frames more than a thousand times. One structure in
# four is disturbed, and what is asked of it is harder: a short training pays that price and has no
# time for the return. Where a network comes to know its frames by heart, noise may be a remedy.
# That is a guess, and the claims are built to test it: the same comparison after 2,500 to 20,000
# steps on 100 frames, six seeds, paired by split. They state a **precondition**: the network must
# use its clue, and plain training must [overfit](glossary.md#overfitting). Where that fails the
# verdict is “not tested: mechanism off”, and not a tie. After the shortest of these trainings
# (`dens-steps-2500`) both hold, and DeNS is behind in each of the six seeds: 47.2 meV/Å against
# 43.5. After 10,000 steps (`dens-steps-10000`) the six seeds tie, at 33.6 and 33.7 meV/Å, and
# choosing how often and how far atoms are displaced on validation frames first does not change that
# (34.2, `dens-tuned`). So the price is paid back with longer training, and not yet more than that.
#
# One thing does *not* explain a gap to the paper. DeNS asks for the old energy of a displaced
# structure, and where forces are the slope of the energy this leads to a **conflict**. A network
# that undoes the noise perfectly answers $\hat{E}(\tilde{x}) = E(x)$. Move an atom $i$ that stayed,
# with the clue held fixed: the restored places $x_j$ of the displaced atoms move along, and the
# force on $i$ comes out as $F_i + \sum_j F_j\, \partial x_j / \partial \tilde{x}_i$ and not as the
# label $F_i$. Energy and force terms pull against each other. But the paper's network for small
# molecules takes forces as a gradient too (`nets/equiformer_md17_dens.py`, lines 322 to 329), has
# the same conflict, and its errors fall from 3.1 to 2.6 meV/Å. Whatever separates us from that
# number, it is not this. (`DeNS(labels_of_corrupted=False)` avoids the conflict, [direct
# forces](glossary.md#direct-forces) do not have it, and claims measure what either is worth.
# Without labels for displaced structures the error was 44.3 meV/Å, with them 46.9, in three seeds a
# tie: `dens-labels`; after 10,000 steps it is 34.4 and 34.3, a tie again: `dens-labels-10000`.)
#
# With direct forces six of these claims are measured, and they teach something about the clue.
# After 5,000 steps on 100 frames DeNS and plain training tie (63.5 and 65.7 meV/Å, six seeds; after
# 2,500 steps 68.5 and 66.9). Displacing whole structures in place of a quarter of their atoms is a
# tie as well (64.7 and 64.6, three seeds). Without the force encoding the error rises to 81 meV/Å
# in the same three seeds. Hand each atom *another atom's* force, and it is 66.5: nearly all of the
# gain is back. So for forces, at this size, the clue is above all a **mark**. It says which atoms
# were displaced, and so keeps two tasks apart: to fit the structure that is seen, and to guess the
# one that was. What the force says beyond that is worth 2.8 % here, which three seeds cannot tell
# from nothing. For the noise itself it is worth much: 42 % of it is left with the right force, 67 %
# when the network was trained on shuffled ones (`dens-clue`).
#
# Forces that are the slope of the energy, as in this lesson, give another answer. After 10,000
# steps on 100 frames DeNS has caught up with plain training: 34.3 and 34.7 meV/Å in the three seeds
# of these ablations. Displacing whole structures makes no difference here either (34.3,
# `dens-partial`). Without the force encoding the error rises to 58.4 meV/Å (`dens-force-encoding`),
# so the mark counts again. But with another atom's force it is 37.8 meV/Å, and 9.1 % less with the
# right one, less in every seed (`dens-shuffled-forces`): here, what the force *says* counts too. At
# this size the ablations thus come out as the paper has them, and the gain over plain training does
# not.
#
# There were earlier records of these claims, and they were **withdrawn**:

# %%
claims.history(lesson=3)

# %% [markdown]
# They had DeNS behind plain training, partly for a reason that is instructive. Our force encoding
# then started from weights of zero, so that at first no network received anything, and the noise
# weighed about six times as much as in the released code. Nothing had failed, every number was what
# it said it was; they were numbers of another method. Both are as released now, and what they cost
# is a claim of its own, `dens-start` in the table below: 50.8 meV/Å with both, 46.9 without, in
# three seeds still a tie.
#
# **Think (6): why is the energy kept?** The force labels of displaced atoms are dropped, yet the
# energy of the structure is compared with that *before* the noise. Is that not a wrong label? Think
# before you read on.

# %% [markdown] tags=["solution"] jupyter={"source_hidden": true}
# It is the right label of what the network can find out. Positions and clue together say, as far as
# stiffness allows, which structure was meant, and the energy is a function of that structure. To
# answer, the network must undo the noise *inside*: the energy term trains the same skill as the
# noise term. Without the clue the label is blurred, which is why the released ablation meant to
# drop it. A force on a displaced atom could be asked for as well, were it not for the clue: the
# answer stands in the input.

# %% [markdown]
# ## Surfaces: where the method has its best results
#
# The paper's headline is not ethanol. It is **OC20** and **OC22**:
# [relaxations](glossary.md#relaxation) of small molecules on metal and on oxide surfaces, with a
# catalyst in mind (L. Chanussot et al., *Open Catalyst 2020 (OC20) Dataset and Community
# Challenges*, ACS Catal. 2021, [arXiv:2010.09990](https://arxiv.org/abs/2010.09990); R. Tran et
# al., *The Open Catalyst 2022 (OC22) Dataset and Challenges for Oxide Electrocatalysts*, ACS Catal.
# 2023, [arXiv:2206.08917](https://arxiv.org/abs/2206.08917)). The released checkpoints of
# EquiformerV2, a large network with direct forces, give an impression: on two million structures of
# OC20 a force error of 19.4 meV/Å without DeNS and 18.0 with it, after 30 epochs each (the READMEs
# of `atomicarchitects/equiformer_v2` and `atomicarchitects/DeNS`).
#
# On a surface the lower layers are held fixed. Such an atom must be neither displaced nor learned
# from: its force is not what moves it. A store (the kit's table of structures) marks them as
# `fixed`, and `DeNS` and `EnergyForces` leave them out. Here is a small example: three layers of
# copper, an oxygen atom above, the two lower layers fixed. Its forces come from a quick toy
# potential, effective medium theory (EMT). (EMT computes the crystal's stress as well; a store has
# no place for it and says that it leaves it out.)

# %%
slab = ase.build.fcc111("Cu", (2, 2, 3), vacuum=6.0, periodic=True)  # the densest plane of copper
ase.build.add_adsorbate(slab, "O", 1.2, "fcc")
slab.set_constraint(FixAtoms(mask=slab.get_tags() > 1))  # the tag counts layers from above
slab.calc = EMT()
slab.get_forces()
surface = scdlab.AtomStore.from_ase([slab] * 200).take(range(200))
half = DeNS(prob=1.0, corrupt_ratio=0.5)
shaken = half.corrupt(surface, torch.Generator().manual_seed(SEED)).mask
fixed = surface.fixed.bool()
for name, which in (("free", ~fixed), ("fixed", fixed)):
    print(f"{name} atoms: {100 * shaken[which].float().mean():.0f} % displaced")

# %% [markdown]
# Does the gain show on surfaces at the size that this kit trains? Its claim
# (`dens-direct-surfaces`) takes 600 structures from relaxations and tests on relaxations held out.
# The errors are 76.7 meV/Å with DeNS and 75.5 without, but the verdict is “not tested: mechanism
# off”: after 3,000 steps no network has learned to find the noise, with its clue or without. In
# four of the six seeds all of it is left, in two more than all. So these numbers say something
# about the length of the training, and nothing about DeNS on surfaces.
#
# ## Paper, recorded, yours

# %%
lessons.display_metrics(
    plain_force_error_meV_per_A=force_mae["plain"],
    no_force_meV_per_A=no_force,
    stiffness_bond_eV_per_A2=stiffness[0],
    stiffness_bending_eV_per_A2=stiffness[1],
    stiffness_turning_eV_per_A2=stiffness[2],
    limit_bond_percent=100 * float(limit[HYDROGEN, 0]),
    limit_turning_percent=100 * float(limit[HYDROGEN, 2]),
    limit_all_percent=100 * float(limit.mean()),
    blind_all_percent=100 * float(measured.mean()),
    blind_limit_correlation=alike,
    thin_directions={name: int(("ball", "disc", "needle", "point").index(shape))
                     for name, shape in shapes.items()}[0.3],
    thin_directions_tight=("ball", "disc", "needle", "point").index(shapes[0.01]),
    told_carbon_percent=by_group(with_clue)["C"],
    blind_carbon_percent=by_group(measured)["C"],
    limit_carbon_percent=by_group(limit.numpy())["C"],
    told_turning_percent=by_group(with_clue)["OH: turning"],
    told_bond_percent=by_group(with_clue)["OH: along the bond"],
    blind_bond_percent=by_group(measured)["OH: along the bond"],
    told_bending_percent=by_group(with_clue)["OH: bending"],
    blind_bending_percent=by_group(measured)["OH: bending"],
    encoding_error=encoding_error,
    loss_difference=loss_difference,
    **{name: float(value) for name, value in yours.items()},
    **{f"noise_left_{name}_percent": value for name, value in left.items()},
    noise_gradient_dens=gradients["DeNS"],
    noise_gradient_unencoded=gradients["without the encoding"],
    noise_gradient_released=gradients["without it, as released"],
    labels_kept_released=kept_labels["without it, as released"],
    dead_ablations=len(dead),
    fold_three=noticed[3],
    degrees_01_left_percent=degree_left["degrees 0, 1"],
    degrees_012_left_percent=degree_left["degrees 0, 1, 2"],
    two_exchanges_left_percent=degree_left["degrees 0, 1, two exchanges"],
    fixed_atoms_shaken=float(shaken[fixed].float().mean()),
)  # fmt: skip
claims.table(lesson=3)

# %% [markdown]
# Which of these would you expect to change with 100,000 steps, and which not? That the clue helps
# to denoise is physics and should survive longer training. The order of the force errors is a race
# between a regularizer and overfitting, and may well turn around.
#
# ## What to take away
#
# 1. Off equilibrium the best blind answer is the posterior mean. It is not zero; it is uncertain,
#    by $s^2/(s^2 + \sigma^2)$ along each direction with $s^2 = k_\text{B}T/k$.
# 2. Mean square forces of thermal frames give the stiffness, so this limit is known before any
#    training, and trained networks come near it.
# 3. The force before the noise narrows the place down to $\delta F/k$: a clue where the molecule is
#    stiff, none where it is soft.
# 4. Forces enter as $|F|\,Y^{(l)}$; degree 1 is all of the force, and degree 2 is what it takes to
#    use it in one exchange of messages.
# 5. That a mechanism works and that it pays are two claims. An ablation connects them only if it
#    takes out what its name says, and nothing else.
#
# ## Departures from the paper
#
# - The network is an equivariant transformer with scalars and vectors (degrees 0 and 1), much
#   smaller than Equiformer; the noise comes from gated blocks, there from a graph-attention layer.
# - The force input is divided by the size of forces in the training set; the release gives raw
#   forces, on small molecules in [kcal/mol](glossary.md#kcal/mol)/Å.
# - On OC20 the released trainer draws whole [batches](glossary.md#batch) with probability $p$;
#   here, as in its code for small molecules, structures are drawn.
# - The paper writes the noise term with a square, its code takes the length. We follow the code;
#   `loss="squared"` is the other.
# - Our frames of ethanol carry energies and forces of the semi-empirical method
#   [GFN2-xTB](glossary.md#GFN2-xTB); [MD17](glossary.md#rMD17) is [density functional
#   theory](glossary.md#density-functional-theory). The recorded claims use revised MD17.
# - Trainings here are short: 150 to 20,000 steps, where the paper has about 180,000.
#
# ## What is contested
#
# - **Is the gain due to the clue?** On the large data sets the paper's ablation says so. On small
#   molecules the released ablation cannot tell (above).
# - **Direct forces or gradients?** The paper's large networks predict forces directly, which is
#   cheaper and has no conflict with denoising; such forces do not conserve energy. F. Bigi, M.
#   Langer and M. Ceriotti, *The dark side of the forces*
#   ([arXiv:2412.11569](https://arxiv.org/abs/2412.11569)), show what goes wrong; X. Fu et al.,
#   *Learning Smooth and Expressive Interatomic Potentials for Physical Property Prediction*
#   ([arXiv:2502.12147](https://arxiv.org/abs/2502.12147)), test models by whether they conserve
#   energy.
# - **How high a degree?** C. Joshi et al., *On the expressive power of geometric graph neural
#   networks* ([arXiv:2301.09308](https://arxiv.org/abs/2301.09308)) give cases that need it; large
#   networks without built-in equivariance do well too, given enough data.
# - **Is equal noise for all directions right?** The limit above says it is not: what is trivial
#   along a bond is impossible about it. X. Liu et al., *Learning 3D Anisotropic Noise Distributions
#   Improves Molecular Force Field Modeling* ([arXiv:2510.22123](https://arxiv.org/abs/2510.22123)),
#   let a network choose the noise for each direction.
#
# ## Quiz

# %%
lessons.quiz("03")

# %% [markdown]
# ## How good were your guesses?

# %%
lessons.calibration()

# %% [markdown]
# ## Exercises without a check
#
# - **Experiment.** Run the first figure with `SIGMA = 0.02` and `0.1` at the top. Predict from
#   $s^2/(s^2 + \sigma^2)$ which bars move most, then look.
# - **Derivation.** With a force known to $\delta F$ the posterior has the inverse variance
#   $1/s^2 + 1/\sigma^2 + k^2/\delta F^2$. Which share is left along the three directions for
#   $\delta F = 0.3$ eV/Å? Compare with the red bars: which $\delta F$ does the network reach?
# - **Count.** A displaced atom gives no force to learn from. Which share of the force labels is
#   kept, as a function of $p$ and $r$? Write `my_kept(p, r)` and pass it to
#   `lessons.check_labels_kept`. What does $r = 1$ cost?
#
# ## Where to go next
#
# - Aspirin: `scdlab.load_aspirin()` has 1,000 frames with GFN2-xTB forces. Your own:
#   `scdlab.simulate(atoms, 500)`.
# - Several sizes of noise at once: `DeNS(sigma=(0.01, 0.5))`. Near equilibrium only:
#   `DeNS(max_rms_force=0.5)`.
# - From the shell:
#   `scdlab train --data md17:ethanol --objective "DeNS(sigma=0.05)" --model "EquivariantTransformer(force_input=True)"`.
# - Forces are labels, and labels are expensive. **SCD** makes the clue itself, out of the clean
#   structure, without any label. That is the next lesson.
