# %% [markdown]
# # 01b · Filter tables: a curve needs few numbers
#
# An appendix to lesson 01. SchNet's filters are functions of *one* number, the distance. Here that
# fact is used to make training faster.
#
# **After this lesson you can**
#
# - say why a filter network may be evaluated at some hundred distances in place of thousands;
# - predict how fast the error of a table falls with its spacing, for energies and for forces;
# - explain why a table of straight lines is not good enough for forces.
#
# **Time.** Fifteen minutes to read and write; the cells take about 20 seconds on two CPU cores.
#
# **Sources.** C. de Boor, *A Practical Guide to Splines*, Springer 1978, chapter XII. The method of
# the kit is `scdlab.nn.ops.filter_tables`, two pages. Terms and symbols are in the
# [glossary](glossary.md).

# %% tags=["parameters"]
PROFILE = "quick"  # "quick": seconds on two cores; "full": a longer training
DEVICE = "auto"  # "auto", "cpu" or "cuda"
SEED = 0
DATA = None  # not used here

# %%
import numpy as np
import torch
from scipy.interpolate import CubicSpline

import scdlab
from scdlab import explore, lessons
from scdlab.objectives import EnergyForces

STEPS = {"quick": 200, "full": 5000}[PROFILE]

# %% [markdown]
# ## The idea
#
# In every step of training, the filter network of each block is evaluated at the distance of every
# pair in the batch, thousands of them. Yet all its values lie on a few dozen curves
# $W_1(r), \dots, W_d(r)$, one for each channel. So evaluate each curve on a grid of distances, and
# draw a line through the points.
#
# A small network to try it on:

# %%
torch.manual_seed(SEED)
model = scdlab.SchNet(hidden_channels=32, num_layers=2)
train, _, rest = scdlab.load_ethanol().split(200, 0, seed=SEED)
scdlab.fit(
    model, EnergyForces(), train, steps=STEPS, batch_size=10, lr=5e-3, seed=SEED, device=DEVICE
)
model.cpu().eval()


def filters(r):
    """The trained filters of the first block at distances r [P] in Å: [P, d]."""
    return model.filter_curves(torch.as_tensor(r, dtype=torch.float32))[0].double()


# %% [markdown]
# ## Write it: a table with straight lines
#
# The table holds the filters at the nodes $r_k = k h$, $k = 0, 1, \dots$: `values` [K, d]. Between
# two nodes draw a straight line. For distances `r` [P], all inside the table, return [P, d].


# %%
def look_up(values, r, h):
    return ...


lessons.check_look_up(look_up)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def look_up_solution(values, r, h):
    k = (r / h).floor().long().clamp(max=len(values) - 2)  # the node below
    u = (r / h - k)[:, None]  # where between two nodes, 0 to 1
    return (1 - u) * values[k] + u * values[k + 1]


assert lessons.check_look_up(look_up_solution, show=False)

# %%
look_up = lessons.yours(look_up, look_up_solution, check=lessons.check_look_up)

# %% [markdown]
# ## How fine must it be?
#
# The bumps of the radial basis are 0.1 Å apart, and the filters are made of them. A better line
# than a straight one is a **cubic spline**: pieces of cubic polynomials, joined so that value,
# slope and curvature are continuous.
#
# **Predict.** The error of a straight line falls with $h^2$, that of a cubic spline with $h^4$.
# Forces are slopes.

# %%
guess_order = lessons.predict(
    "By what factor does the error of the forces fall when h is halved, with a cubic spline?",
    name="01b-order",
    stored=16,
    within=2.5,
)
guess_nodes = lessons.predict(
    "How many intervals over 5 Å does it take until the forces are right to one part in a thousand?",
    name="01b-intervals",
    stored=400,
)

# %% [markdown]
# First the values and slopes of the filters themselves, then the forces of the whole network. The
# library reads its filters from such tables while it trains, as soon as there are more pairs than
# twice the number of intervals; `filter_table_size` sets that number.

# %%
cells = [16, 32, 64, 128, 256, 512, 1024]
r = torch.linspace(0.9, 4.9, 4001, dtype=torch.float64)  # finer than every table
exact = filters(r)
slope = (exact[2:] - exact[:-2]) / (r[2] - r[0])


def relative(found, right):
    return ((found - right).norm() / right.norm()).item()


errors = {name: [] for name in ("value, straight lines", "slope, straight lines", "value, spline")}
for size in cells:
    h = 5.0 / size
    nodes = torch.arange(size + 1, dtype=torch.float64) * h
    values = filters(nodes)
    line = look_up(values, r, h)
    errors["value, straight lines"].append(relative(line, exact))
    errors["slope, straight lines"].append(relative((line[2:] - line[:-2]) / (r[2] - r[0]), slope))
    spline = torch.tensor(CubicSpline(nodes.numpy(), values.numpy())(r.numpy()))
    errors["value, spline"].append(relative(spline, exact))

frames = rest.sample(60, seed=SEED).take(range(60))  # 2,160 pairs
exact_forces = model(frames, forces=True).forces
model.train()  # tables are for training; elsewhere filters are exact
errors["forces of the network, spline"] = []
for size in cells:
    model.filter_table_size = size
    errors["forces of the network, spline"].append(
        relative(model(frames, forces=True).forces, exact_forces)
    )
model.filter_table_size = 512  # as it was
model.eval()

of_forces = errors["forces of the network, spline"]
halving = of_forces[3] / of_forces[4]  # from 128 to 256 intervals
intervals = float(np.exp(np.interp(-np.log(1e-3), -np.log(of_forces), np.log(cells))))
figure = explore.compare_curves(
    cells, errors, "intervals over 5 Å", "relative error", title="Filters from a table"
)
figure.update_yaxes(dtick=1, tickformat="", exponentformat="power")
guess_nodes.reveal(intervals, figure)
explore.described(
    figure,
    f"Relative errors against the number of intervals. At 512 the values of a spline are wrong by "
    f"{errors['value, spline'][5]:.0e}, the forces by {of_forces[5]:.0e}, the slopes of straight "
    f"lines by {errors['slope, straight lines'][5]:.0e}.",
)

# %%
guess_order.reveal(halving)
print(f"one part in a thousand of the forces: {intervals:.0f} intervals")
print(f"from 128 to 256 intervals the error of the forces falls {halving:.1f} times")

# %% [markdown]
# Once the grid is finer than the bumps, the error of the forces falls about eightfold with each
# halving, as the third power of $h$: what one expects of the slope of a cubic spline. It does so
# until single precision is reached. A little over a hundred intervals are enough for one part in a
# thousand, two or three for each bump; the kit uses 512.
#
# **Write it: a derivation.** Where does the power come from? In each interval a cubic spline
# differs from a smooth curve by about $C\,h^4\,g(u)$, where $u = (r - r_k)/h$ runs from 0 to 1 and
# $g$ is a fixed polynomial. Write the power of $h$ in the error of the $m$-th derivative.


# %%
def power_of_h(m):
    return ...


lessons.check_power(power_of_h)


# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
def power_solution(m):
    return 4 - m  # du/dr = 1/h: each derivative takes one power of h away


assert lessons.check_power(power_solution, show=False)

# %%
power_of_h = lessons.yours(power_of_h, power_solution, check=lessons.check_power)
print("power of h for energies, forces, curvatures:", [power_of_h(m) for m in (0, 1, 2)])

# %% [markdown]
# ## Break it: forces from straight lines
#
# A straight line has a constant slope between two nodes, so forces made of it are staircases. Here
# is the slope of one channel over 0.4 Å, from a table of 64 intervals.

# %%
fine = torch.linspace(1.2, 1.6, 801, dtype=torch.float64)
h = 5.0 / 64
nodes = torch.arange(65, dtype=torch.float64) * h
values = filters(nodes)
channel = int(slope.abs().mean(dim=0).argmax())
step = fine[1] - fine[0]
middle = 0.5 * (fine[1:] + fine[:-1])
curves = {
    "exact": (filters(fine)[1:, channel] - filters(fine)[:-1, channel]) / step,
    "straight lines": look_up(values, fine, h)[:, channel].diff() / step,
    "cubic spline": CubicSpline(nodes.numpy(), values[:, channel].numpy())(middle.numpy(), 1),
}
every = slice(None, None, 8)
jump = float(np.abs(np.diff(np.asarray(curves["straight lines"]))).max())
figure = explore.compare_curves(
    middle[every],
    {name: np.asarray(curve)[every] for name, curve in curves.items()},
    "distance r", "slope of a filter", "Å", "1/Å", "A table of 64 intervals", log="",
)  # fmt: skip
figure.update_traces(mode="lines", line_width=3)
explore.described(
    figure,
    f"The slope of one filter: a smooth curve, the spline close to it, and the straight lines as a "
    f"staircase with steps up to {jump:.2g} per Å.",
)

# %% [markdown]
# With a staircase, the total energy of a simulation would not be conserved: each step of a force is
# a kink in the energy, which no integrator with a finite time step follows. The spline's slope is
# smooth, and it is the exact slope of the spline's value, so that forces are still minus the
# gradient of *one* energy, that of the table.
#
# ## What it saves

# %%
pairs = len(scdlab.neighbor_list(rest.sample(100, seed=SEED).take(range(100)), cutoff=5.0).i)
nodes_used = 512 + 7  # a few nodes more, at the ends
pairs_per_node = pairs / nodes_used
print(
    f"100 frames of ethanol: {pairs:,} pairs, {nodes_used} nodes: {pairs_per_node:.1f} pairs a node"
)

# %% [markdown]
# The filter network runs on the nodes instead of the pairs, forwards and backwards: its cost falls
# by the number of pairs a node. What is left is the sum over neighbors. With batches of a few
# molecules there is little to save, and the library then computes filters exactly. At test time it
# always does.

# %%
lessons.display_metrics(
    order_of_forces=float(np.log2(halving)),
    intervals_for_a_thousandth=intervals,
    values_error_512=errors["value, spline"][5],
    slope_error_lines_512=errors["slope, straight lines"][5],
    pairs_per_node=pairs_per_node,
)

# %% [markdown]
# ## Exercises
#
# The exercises stood above, where their functions are used. One more, an **experiment**. Which
# changes the number of intervals more: no training at all (`steps=1` in `fit`), or twice as many
# bumps (`num_rbf=100` in `SchNet`)? Decide first, then try both.

# %% tags=["solution"] jupyter={"source_hidden": true}
# Solution: click to unfold.
# Training hardly matters: the untrained filters are made of the same bumps. Bumps of half the width
# need nearly twice as many intervals: it is the finest detail that counts.

# %% [markdown]
# ## What to take away
#
# 1. A filter is a function of one number, so it can be tabulated.
# 2. The grid must be finer than the finest detail, here the bumps of the basis.
# 3. A cubic spline errs as $h^4$ in values, as $h^3$ in forces: each derivative costs one power.
# 4. Straight lines make staircases of forces; a table must be smooth, and its forces the gradient
#    of its own energy.
# 5. It pays where pairs outnumber nodes.
#
# ## Departures
#
# The paper evaluates its filters at every pair. Classical molecular dynamics has read pair forces
# from spline tables for decades. The library's spline does not go through the points exactly
# (quasi-interpolation), which saves solving a system of equations and keeps the order.
#
# ## What is contested
#
# Little. With angles, as in DimeNet, filters depend on two or three numbers, tables grow with that
# power, and the trick stops paying; how far it is worth carrying is a matter of hardware.
#
# ## Quiz

# %%
lessons.quiz("01b")

# %% [markdown]
# ## How sure were you?

# %%
lessons.calibration()

# %% [markdown]
# ## Where to go next
#
# Lesson 02 asks what can be learned from structures alone, without energies and forces.
