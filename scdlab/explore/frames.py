"""Frames one can watch: an atom moves, the molecule turns, and three ways to make a model's energy
invariant answer.

A model that knows nothing of rotations gives another energy when the molecule turns. Averages over
frames mend that:

    raw          E(r) as it is
    8 rotations  the mean over eight rotations, fixed once: less wavy, never flat
                 `symmetry.averaging`
    PCA frames   the axes of the molecule's extent: flat, but E jumps where two change places
    ECSE         frames of each atom's neighbors, smoothly weighted: flat, and no jump
                 `symmetry.ecse`

Two scans say which does what: E along a path of one atom (`paths_of`), and E while the molecule
turns about a fixed skew axis. A *jump* is what is left of a change in E when the path is cut ever
finer (`refined`).

ECSE: S. Pozdnyakov and M. Ceriotti, NeurIPS 2023, arXiv:2305.19302. PCA frames: O. Puny et al.,
ICLR 2022.
"""

import itertools
from collections import OrderedDict

import ase
import ipywidgets as widgets
import numpy as np
import torch
import traitlets
from ase.build import molecule

from scdlab.analysis.inputs import batch_at
from scdlab.analysis.rotation import STEP as TURN
from scdlab.analysis.rotation import rotated, rotation_error, turn_angles, turn_energies
from scdlab.analysis.scan import (
    BOND,
    LINE,
    STEPS,
    WITHIN,
    Path,
    Scan,
    atom_name,
    energies,
    nearest_atom,
    paths_of,
    refined,
    right_handed,
    weight_matrix,
)
from scdlab.explore import noise, style, svg
from scdlab.explore.condition import SvgExplorer
from scdlab.explore.widgets import lines_table
from scdlab.nn.model import AtomisticModel, evaluating
from scdlab.symmetry.averaging import PCAFrames, RandomRotations
from scdlab.symmetry.ecse import ECSE

# meV; jumps and steps below them are not told: float32 rounds to some 0.001
SMALL = 0.01
STEEP = 0.5
PRUNINGS = 4  # shown for an ECSE that does not prune: as many as the paper takes
MOST_ATOMS = 40  # that the explorer takes: ECSE evaluates the model some times for each
MOST_NEIGHBORS = 12  # in the matrices: the nearest
METHODS = {  # name -> (legend, color, dashes, width)
    "raw": ("raw", style.GRAY, "", 2),
    "rotations": ("8 rotations", style.ORANGE, "7 3", 2),
    "pca": ("PCA frames", style.VERMILION, "2 3", 2.5),
    "ecse": ("ECSE", style.BLUE, "", 2.5),
}
_AXES = (("a", style.BLUE), ("b", style.VERMILION), ("c", style.GREEN))
# pixels of the molecule and of the plots: together they fit beside the file browser
_LEFT = 350
_WIDTH = 470


# --------------------------------------------------------------------------------------------------
# the functions


# --------------------------------------------------------------------------------------------------
# the pictures


def frames_picture(
    atoms: ase.Atoms,
    center: int,
    axes,
    shares,
    inner: float,
    outer: float,
    half: float,
    title="",
) -> str:
    """A molecule around one of its atoms, with frames: axes [k, 3, 3], opaque by their shares [k]
    of the weight.

    inner, outer: R_in and R_out in Å, the outlines of two spheres; half: Å from the middle to the
    picture's edge. Seen from the side of all still pictures; what is farther off is cut.
    """
    size = _LEFT
    top = 24
    # pixels per Å
    scale = size / 2 / half
    middle = np.array([size / 2, top + size / 2])
    flat = (atoms.positions - atoms.positions[center]) @ svg._VIEW.T
    x, y = (middle + scale * flat[:, :2] * [1, -1]).T
    body = [
        f'<circle cx="{middle[0]}" cy="{middle[1]}" r="{scale * outer:.1f}" fill="none" '
        f'stroke="{style.INK}" stroke-dasharray="5 4"/>',
        f'<circle cx="{middle[0]}" cy="{middle[1]}" r="{scale * inner:.1f}" fill="{style.YELLOW}" '
        f'fill-opacity="0.18" stroke="{style.INK}" stroke-width="1.5"/>',
    ]
    balls = svg._balls(atoms, x, y, flat[:, 2], None, center, aside=True)
    body += [part for part in balls if not part.startswith("<text")]
    order = np.argsort(shares)  # the heaviest on top
    for k in order:
        arrows = ""
        for (name, color), axis in zip(_AXES, np.asarray(axes)[k].T, strict=True):
            tip = middle + 1.3 * scale * (svg._VIEW @ axis)[:2] * [1, -1]
            outline = " ".join(
                f"{a:.1f},{b:.1f}" for a, b in svg._arrow(_POINTER, middle, tip, 1.3 * scale, 1.0)
            )
            arrows += (
                f'<polygon points="{outline}" fill="{color}" stroke="white" stroke-width="0.5"/>'
            )
            if k == order[-1]:
                arrows += _label(*(tip + 9 * _direction(tip - middle) + [0, 4]), name, color)
        body.append(
            f'<g class="frame" opacity="{_opacity(shares[k] / max(shares)):.2f}">{arrows}</g>'
        )
    halo = '<text paint-order="stroke" stroke="white" stroke-width="3" '
    body += [
        part.replace("<text ", halo, 1) for part in balls if part.startswith("<text")
    ]  # over the axes
    edge = (
        f'<svg x="0" y="{top}" width="{size}" height="{size}" viewBox="0 {top} {size} '
        f'{size}">{"".join(body)}</svg>'
    )
    y0 = top + size + 14
    legend = [svg._text(8, 16, title, "start"), edge]
    legend.append(
        f'<circle cx="16" cy="{y0}" r="7" fill="{style.YELLOW}" fill-opacity="0.3" '
        f'stroke="{style.INK}"/>'
    )
    legend.append(svg._text(30, y0 + 4, f"R_in = {inner:.2f} Å", "start"))
    legend.append(
        f'<circle cx="148" cy="{y0}" r="7" fill="none" stroke="{style.INK}" stroke-dasharray="4 '
        '3"/>'
    )
    legend.append(svg._text(162, y0 + 4, f"R_out = {outer:.2f} Å", "start"))
    told = "no frame: the auxiliary model answers"
    if len(shares):
        told = "axes a, b, c of each frame; the paler, the less it weighs"
    legend.append(svg._text(8, y0 + 24, told, "start"))
    return svg._document(size, y0 + 34, legend, f"{title}: {len(shares)} frames, {told}")


def matrices(before, after, names, title: str = "", prunings: int = PRUNINGS) -> str:
    """The weights [m, m] of pairs of neighbors before and after pruning, as colored cells with
    their numbers.

    names [m]: of the neighbors; rows are j, which gives the axis a, and columns j'.
    """
    m = len(names)
    top = 62
    left = 40
    if not m:
        return svg._document(
            _WIDTH, 40, [svg._text(8, 16, f"{title}: there are none", "start")], title
        )
    cell = min(28.0, 172.0 / m)
    most = max(float(np.max(before)), float(np.max(after)), 1e-9)
    body = [svg._text(8, 16, title, "start")]
    for x0, head, values in (
        (left, "before pruning", before),
        (left + 235, f"after {prunings} prunings", after),
    ):
        body.append(svg._text(x0, 38, head, "start"))
        for row, column in itertools.product(range(m), range(m)):
            x = x0 + cell * column
            y = top + cell * row
            w = values[row][column]
            color = style.LIGHT if row == column else _shade(w / most)
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
                f'fill="{color}" stroke="#BDBDBD" stroke-width="0.5"/>'
            )
            if w > 0 and cell >= 14:
                ink = "white" if w > 0.55 * most else style.INK
                body.append(
                    _label(
                        x + cell / 2, y + cell / 2 + 3.5, _short(w), ink, 10 if cell >= 20 else 8
                    )
                )
        small = 11 if cell >= 20 else 9
        for k, name in enumerate(names):
            body.append(_label(x0 - 4, top + cell * (k + 0.5) + 4, name, style.INK, small, "end"))
            body.append(_label(x0 + cell * (k + 0.5), top - 5, name, style.INK, small))
    return svg._document(_WIDTH, top + cell * m + 10, body, f"{title}: up to {most:.2f}")


def chart(
    curves: dict,
    mark: float,
    dots: dict,
    x_label: str,
    y_label: str,
    title: str = "",
    low=0.0,
    high=1.0,
) -> str:
    """Curves of the four methods: name -> (x [m], y [m]), NaN left out; a line at x = mark, with a
    dot of each at dots[name]. low, high: the ends of the x axis. A curve without a number is named
    as such in the legend."""
    tall = 262
    left = 62
    top = 46
    right = 12
    bottom = tall - 42
    known = np.concatenate(
        [y[np.isfinite(y)] for _, y in curves.values()] + [np.array(list(dots.values()), float)]
    )
    known = known[np.isfinite(known)]
    y_ticks = _ticks(*(known.min(), known.max()) if len(known) else (0.0, 1.0))

    def across(x):
        return left + (x - low) / (high - low) * (_WIDTH - left - right)

    def up(y):
        return bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top)

    body = [svg._text(8, 16, title, "start")]
    for tick in y_ticks:
        body.append(svg._line(left, up(tick), _WIDTH - right, up(tick), style.LIGHT))
        body.append(svg._text(left - 6, up(tick) + 4, f"{tick:.6g}".replace("-", "−"), "end"))
    for tick in (0, 90, 180, 270, 360) if (low, high) == (0, 360) else _ticks(low, high):
        if low - 1e-9 <= tick <= high + 1e-9:
            body.append(svg._line(across(tick), bottom, across(tick), bottom + 4))
            body.append(svg._text(across(tick), bottom + 17, f"{tick:.6g}".replace("-", "−")))
    body.append(
        svg._line(left, bottom, _WIDTH - right, bottom) + svg._line(left, top, left, bottom)
    )
    body.append(svg._text((left + _WIDTH - right) / 2, bottom + 35, x_label))
    turn = f'transform="rotate(-90 14 {(top + bottom) / 2:.0f})" '
    body.append(svg._text(14, (top + bottom) / 2, y_label).replace("<text ", f"<text {turn}", 1))
    body.append(
        svg._line(
            across(mark), top, across(mark), bottom, style.INK, 'stroke-width="1" opacity="0.5"'
        )
    )
    x0 = left
    for name, (x, y) in curves.items():
        legend, color, dash, width = METHODS[name]
        look = f'fill="none" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dash}"'
        parts = []
        run = False
        for a, b in zip(x, y, strict=True):
            if np.isfinite(b):
                parts.append(f"{'L' if run else 'M'}{across(a):.1f},{up(b):.1f}")
            run = bool(np.isfinite(b))
        body.append(f'<path class="{name}" d="{"".join(parts)}" {look}/>')
        body.append(f'<line x1="{x0}" y1="32" x2="{x0 + 24}" y2="32" {look}/>')
        legend = legend if parts else f"{legend}: none"
        body.append(svg._text(x0 + 29, 36, legend, "start"))
        x0 += 49 + 6.6 * len(legend)
    for name, y in dots.items():
        if np.isfinite(y):
            body.append(
                f'<circle class="here {name}" cx="{across(mark):.1f}" cy="{up(y):.1f}" r="4.5" '
                f'fill="{METHODS[name][1]}" stroke="white"/>'
            )
    return svg._document(_WIDTH, tall, body, f"{title}: {y_label} against {x_label}")


_POINTER = ((0, 0), (10, 4.5), (10, 1.6))  # the outline of an axis, in pixels


def _label(x, y, words: str, color: str, size: int = 13, anchor: str = "middle") -> str:
    halo = (
        ' paint-order="stroke" stroke="white" stroke-width="3" font-weight="bold"'
        if size == 13
        else ""
    )
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'font-size="{size}" fill="{color}"{halo}>'
        f"{svg._plain(words)}</text>"
    )


def _direction(v) -> np.ndarray:
    return v / max(np.linalg.norm(v), 1e-9)


def _opacity(share: float) -> float:
    """Of the heaviest frame 1; faint ones stay visible."""
    return 0.12 + 0.88 * share


def _shade(part: float) -> str:
    """White at 0, the kit's blue at 1."""
    blue = [int(style.BLUE[k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + (b - 255) * min(max(part, 0.0), 1.0)):02X}" for b in blue)


def _short(w: float) -> str:
    return f"{w:.1f}" if w >= 0.05 else "<.1"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from one not above low to one not below high, four to eight of them."""
    span = max(high - low, 1e-3)
    power = 10.0 ** np.floor(np.log10(span / 5))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if span / (m * power) <= 6)
    first = np.floor(low / step + 1e-9)
    last = np.ceil(high / step - 1e-9)
    return [round(step * k, 9) + 0.0 for k in np.arange(first, max(last, first + 1) + 1)]


# --------------------------------------------------------------------------------------------------
# the explorer


class FrameExplorer(SvgExplorer):
    """An atom that moves and a molecule that turns: the frames that ECSE makes, and what four
    energies make of it.

    model: a backbone with an energy, such as a trained PET, or an ECSE of one. atoms: a molecule of
    2 to 40 atoms, by default water. paths: name -> vector [3] in Å, further paths of the chosen
    atom (`paths_of`).

    State, in traits: atom (that moves), path (a name), moved (Å along it), rotation (degrees about
    the axis (1, 2, 3)), center (the atom whose frames are drawn), and shows: "path" (E along the
    path) or "turn" (E while the molecule turns where it stands). `state()` adds every number
    displayed, None for what is not there:

        formula, name, center_name     of the molecule, of the atom that moves, of the center
        coordinate                     the distance in Å or angle in degrees that the path changes
        neighbors, distances           of the center, nearest first, as far as ECSE looks
        inner, outer                   R_in and R_out in Å
        frames                         right-handed frames of the center, as the ECSE has them
        frames_before, frames_after    before pruning, and after `prunings_shown` (those of the
                                       ECSE; 4 if it has none)
        largest, auxiliary             the largest weight; w_aux, 1 where there is no frame
        energy_raw …                   eV of the structure that is shown
        spread_raw …, turned_at        highest − lowest energy in a full turn, meV, where the atom
                                       has moved that far: the structure as given for "path", the
                                       one that is shown for "turn"
        jump_raw …, jump_at_raw …      the largest jump along the path in meV, and where, as
                                       coordinate
        step_raw …                     how large it is within 0.001 Å, in meV: a jump, or smooth but
                                       steep

    The curve along a path is of the molecule at rotation 0: an invariant energy stays on its curve
    when the molecule is turned. Raises ValueError for another model, periodic structures, single
    atoms, and for what no slider reaches.
    """

    names = ("atom", "path", "moved", "rotation", "center", "shows")
    atom = traitlets.Int()
    center = traitlets.Int()
    path = traitlets.Unicode(BOND)
    shows = traitlets.Unicode("path")
    moved = traitlets.Float(0.0)
    rotation = traitlets.Float(0.0)

    def __init__(
        self,
        model,
        atoms: ase.Atoms | None = None,
        *,
        atom: int | None = None,
        path: str | None = None,
        moved: float = 0.0,
        rotation: float = 0.0,
        center: int | None = None,
        shows: str = "path",
        paths: dict | None = None,
    ):
        self.model = model
        self.backbone = model.model if isinstance(model, ECSE) else model
        if not isinstance(self.backbone, AtomisticModel):
            raise ValueError(
                f"FrameExplorer takes a model of scdlab, such as PET(), or an ECSE of one, not "
                f"{type(model).__name__}."
            )
        if isinstance(model, ECSE) and not model.local:
            raise ValueError(
                "FrameExplorer shows the frames of single atoms, and this ECSE pools those of all; "
                "give ECSE(model, local=True)."
            )
        self.atoms = _checked(molecule("H2O") if atoms is None else atoms)
        self._cache = OrderedDict()
        self._drawn = None
        self._own = dict(paths or {})
        self._make_methods()
        self.atom = len(self.atoms) - 1 if atom is None else atom
        self.center = self._default_center() if center is None else center
        self.path = (LINE if len(self.atoms) > 2 else BOND) if path is None else path
        self.shows = shows
        self.rotation = rotation
        self.moved = moved
        self.molecule, self.words = widgets.HTML(self.scene()), widgets.HTML(self._words())
        super().__init__(**self._make_controls())
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        rows = [
            widgets.HBox([at[name] for name in group], layout=wrap)
            for group in (("atom", "path", "moved"), ("center", "rotation", "shows"))
        ]
        both = widgets.HBox(
            [self.molecule, self.drawn], layout=widgets.Layout(flex_flow="row wrap")
        )
        self.children = [*rows, self.message, both, self.words]
        self._drawn = self._key()

    def _make_methods(self) -> None:
        exact = self.model if isinstance(self.model, ECSE) else ECSE(self.model)
        self.methods = {
            "raw": self.backbone,
            "rotations": RandomRotations(self.backbone, 8, inversion=False),
            "pca": PCAFrames(self.backbone),
            "ecse": exact,
        }
        self.prunings = exact.prunings or PRUNINGS  # that are shown, done or not
        settings = exact.config | {"model": self.backbone, "auxiliary": None}
        self.before, self.after = (ECSE(**(settings | {"prunings": n})) for n in (0, self.prunings))

    def _make_controls(self) -> dict:
        row = dict(style={"description_width": "85px"}, layout=widgets.Layout(width="300px"))
        who = [(atom_name(self.atoms, k), k) for k in range(len(self.atoms))]
        now = self._path()
        return {
            "atom": widgets.Dropdown(
                options=who, value=self.atom, description="atom to move", **row
            ),
            "path": widgets.Dropdown(
                options=list(self._paths()), value=self.path, description="path", **row
            ),
            "moved": widgets.FloatSlider(
                self.moved,
                min=now.low,
                max=now.high,
                step=(now.high - now.low) / STEPS,
                description="moved (Å)",
                readout_format=".3f",
                **row,
            ),
            "rotation": widgets.FloatSlider(
                self.rotation,
                min=0,
                max=360,
                step=TURN,
                description="rotation (°)",
                readout_format=".0f",
                **row,
            ),
            "center": widgets.Dropdown(
                options=who, value=self.center, description="frames of", **row
            ),
            "shows": widgets.Dropdown(
                options=[("along the path", "path"), ("in a full turn", "turn")],
                value=self.shows,
                description="energy",
                **row,
            ),
        }

    # ----------------------------------------------------------------------------------------------
    # the state

    @traitlets.validate("atom", "center")
    def _check_atom(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        last = len(self.atoms) - 1
        if not 0 <= value <= last:
            raise ValueError(f"The explorer's {name} goes from 0 to {last}, not {value}.")
        return value

    @traitlets.validate("path", "shows")
    def _check_name(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        known = list(self._paths()) if name == "path" else ["path", "turn"]
        if value not in known:
            raise ValueError(
                f"The explorer's {name} is one of {', '.join(map(repr, known))}, not {value!r}."
            )
        return value

    @traitlets.validate("moved", "rotation")
    def _check_range(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        low, high = (self._path().low, self._path().high) if name == "moved" else (0.0, 360.0)
        if not low - 1e-6 <= value <= high + 1e-6:  # NaN is not
            where = f" {self.path}" if name == "moved" else ""
            raise ValueError(
                f"The explorer's {name} goes from {low:.3g} to {high:.3g}{where}, not {value:g}."
            )
        return value

    def refresh(self) -> None:
        """Compute everything anew: after training the model further."""
        self._cache.clear()
        self._drawn = None
        self._changed({"name": "model"})

    def positions(self) -> np.ndarray:
        """Where the atoms are: [n, 3] in Å."""
        return rotated(self._along([self.moved])[0], self.rotation, self.atoms.positions.mean(0))

    def frames(self, pruned: bool | None = None):
        """`Frames` of all atoms of the structure that is shown: those of the ECSE, or before or
        after pruning."""
        exact = {None: self.methods["ecse"], False: self.before, True: self.after}[pruned]
        key = ("frames", exact.prunings, self.atom, self.path, self.moved, self.rotation)
        return self._remember(key, lambda: self._frames(exact))

    def scans(self) -> dict[str, Scan]:
        """Name of a method -> its energy along the path, at rotation 0."""
        path = self._path()
        return self._remember(
            ("scans", self.atom, self.path),
            lambda: {
                name: refined(lambda t, name=name: self._energies(name, self._along(t)), path.grid)
                for name in self.methods
            },
        )

    def turns(self) -> dict[str, np.ndarray]:
        """Name of a method -> its energies [25] in eV at 0, 15 … 360 degrees, of the structure
        `turned_at`."""
        at = self._turned_at()
        key = ("turns", self.atom, self.path, at) if at else ("turns", "as given")
        return self._remember(key, lambda: self._turn(self._along([at])[0]))

    def now(self) -> dict[str, float]:
        """Name of a method -> its energy in eV of the structure that is shown. Read off the curves
        where it is on one."""
        scans = self.scans()
        known = np.flatnonzero(np.abs(scans["raw"].t - self.moved) < 1e-6)
        if not self.rotation % 360 and len(known) and self._on_grid():
            return {
                name: float(scan.e[np.abs(scan.t - self.moved).argmin()])
                for name, scan in scans.items()
            }
        if self._turned_at() == self.moved and not self.rotation % TURN:
            return {name: float(e[int(self.rotation // TURN)]) for name, e in self.turns().items()}
        key = ("now", self.atom, self.path, self.moved, self.rotation)
        return self._remember(
            key,
            lambda: {
                name: float(self._energies(name, self.positions()[None])[0])
                for name in self.methods
            },
        )

    def state(self) -> dict:
        """The traits, and every number displayed: plain values, None for what is not there."""
        return dict(self._remember(("state", *self._key()), self._measure))

    def _measure(self) -> dict:
        path = self._path()
        frames = self.frames()
        near, r = self._neighbors()
        weights = frames.weights[right_handed(frames, self.center)]
        told = {
            "formula": self.atoms.get_chemical_formula(),
            "name": atom_name(self.atoms, self.atom),
            "center_name": atom_name(self.atoms, self.center),
            "what": path.what,
            "unit": path.unit,
            "coordinate": float(path.read(self.moved)),
            "neighbors": near.tolist(),
            "distances": r.tolist(),
            "inner": float(frames.inner_radius[self.center]),
            "outer": self.methods["ecse"].outer_radius,
            "both_hands": self.methods["ecse"].group == "O(3)",
            "frames": len(weights),
            "frames_before": int(right_handed(self.frames(False), self.center).sum()),
            "frames_after": int(right_handed(self.frames(True), self.center).sum()),
            "prunings": self.methods["ecse"].prunings,
            "prunings_shown": self.prunings,
            "largest": float(weights.max()) if len(weights) else 0.0,
            "auxiliary": float(frames.auxiliary_weight[self.center]),
            "turned_at": float(self._turned_at()),
        }
        told |= {f"energy_{name}": noise._number(e) for name, e in self.now().items()}
        told |= {
            f"spread_{name}": noise._number(1000 * rotation_error(e))
            for name, e in self.turns().items()
        }
        for name, scan in self.scans().items():
            told[f"jump_{name}"] = noise._number(1000 * scan.jump)
            told[f"jump_at_{name}"] = noise._number(path.read(scan.at))
            told[f"step_{name}"] = noise._number(1000 * scan.step)
        return super().state() | told

    # ----------------------------------------------------------------------------------------------
    # the numbers

    def _paths(self) -> dict[str, Path]:
        return self._remember(
            ("paths", self.atom),
            lambda: paths_of(self.atoms, self.atom, self.backbone.cutoff, self._own),
        )

    def _path(self) -> Path:
        return self._paths()[self.path]

    def _along(self, t) -> np.ndarray:
        """Positions [m, n, 3] in Å of the molecule when the atom has moved by t [m]."""
        pos = np.repeat(self.atoms.positions[None], len(t), axis=0)
        pos[:, self.atom] = self._path().place(t)
        return pos

    def _energies(self, name: str, pos) -> np.ndarray:
        with evaluating(
            self.model
        ):  # the averages share it, and each would leave it in its own mode
            return energies(self.methods[name], self.atoms, pos)

    def _on_grid(self) -> bool:
        return bool((np.abs(self._path().grid - self.moved) < 1e-6).any())

    def _turned_at(self) -> float:
        return self.moved if self.shows == "turn" else 0.0

    def _turn(self, pos) -> dict[str, np.ndarray]:
        about = self.atoms.positions.mean(0)
        return {
            name: turn_energies(lambda x, name=name: self._energies(name, x), pos, about)
            for name in self.methods
        }

    def _frames(self, exact: ECSE):
        with torch.no_grad():
            return exact.frames(batch_at(self.backbone, self.atoms, self.positions()[None]))

    def _neighbors(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms that can give axes around the center, nearest first: [m], and their distances
        [m] in Å."""
        pos = self.positions()
        r = np.linalg.norm(pos - pos[self.center], axis=1)
        order = np.argsort(r.round(6), kind="stable")
        near = order[(r[order] < self.methods["ecse"].outer_radius) & (order != self.center)]
        return near, r[near]

    def _default_center(self) -> int:
        """The neighbor of the atom that moves."""
        return nearest_atom(self.atoms.positions, self.atom, [self.atom])

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def scene(self) -> str:
        """The molecule around the center, with its right-handed frames, R_in and R_out."""
        frames = self.frames()
        atoms = self.atoms.copy()
        atoms.positions = self.positions()
        there = right_handed(frames, self.center)
        weights = frames.weights[there].cpu().numpy()
        name = atom_name(self.atoms, self.center)
        outer = self.methods["ecse"].outer_radius
        title = f"{self.atoms.get_chemical_formula()}: {len(weights)} frames of {name}"
        return frames_picture(
            atoms,
            self.center,
            frames.axes[there].cpu().numpy(),
            weights / max(weights.sum(), 1e-300),
            float(frames.inner_radius[self.center]),
            outer,
            outer + 0.1,
            title,
        )

    def picture(self) -> str:
        """The energies along the path, or in a full turn, and the weights of the pairs of
        neighbors."""
        path = self._path()
        now = self.now()
        if self.shows == "path":
            curves = {name: (path.read(scan.t), scan.e) for name, scan in self.scans().items()}
            zero = {
                name: _first(scan.e[np.abs(scan.t).argmin()], scan.e)
                for name, scan in self.scans().items()
            }
            mark = float(path.read(self.moved))
            ends = sorted(path.read([path.low, path.high]))
            about = f"Energy when {atom_name(self.atoms, self.atom)} moves {self.path}"
            about += f"; dots: turned by {self.rotation:.0f}°" if self.rotation % 360 else ""
            x_label = style.label(path.what, path.unit)
        else:
            angles = turn_angles()
            curves = {name: (angles, e) for name, e in self.turns().items()}
            zero = {name: e[0] for name, e in self.turns().items()}
            mark = self.rotation
            ends = (0, 360)
            x_label = style.label("rotation", "°")
            about = (
                f"Energy of the molecule as it turns ({atom_name(self.atoms, self.atom)} moved by "
                f"{self.moved:.3f} Å)"
            )
        curves = {name: (x, 1000 * (e - zero[name])) for name, (x, e) in curves.items()}
        dots = {name: 1000 * (e - zero[name]) for name, e in now.items()}
        plot = chart(
            curves, mark, dots, x_label, style.label("energy, relative", "meV"), about, *ends
        )
        near = self._neighbors()[0][:MOST_NEIGHBORS]
        before, after = (
            weight_matrix(self.frames(pruned), self.center, near) for pruned in (False, True)
        )
        names = [atom_name(self.atoms, k) for k in near]
        center = atom_name(self.atoms, self.center)
        title = f"Weights w of pairs of neighbors of {center}, nearest first"
        return svg.below([plot, matrices(before, after, names, title, self.prunings)])

    def still(self) -> str:
        """The molecule with its frames, the plots, and the numbers in words."""
        return svg.below(
            [self.scene(), self.picture()], [f"{name}: {text}" for name, text in self._lines()]
        )

    def _lines(self) -> list[tuple[str, str]]:
        return in_words(self.state(), self._auxiliary_is_silent())

    def _auxiliary_is_silent(self) -> bool:
        auxiliary = self.methods["ecse"].auxiliary
        return auxiliary is not None and not bool(auxiliary.trained_elements.any())

    @property
    def told(self) -> str:
        """What the lines under the pictures say, without their layout."""
        return "".join(what + text for what, text in self._lines())

    def _words(self) -> str:
        return lines_table(self._lines(), f"line-height: 1.35; max-width: {_LEFT + _WIDTH}px")

    def _link(self, name: str, control: widgets.Widget) -> None:
        if name not in ("moved", "rotation"):
            return super()._link(name, control)

        def slid(change):
            """A browser moves a slider that was set from Python onto its grid, and says so: that is
            no move."""
            if abs(change["new"] - getattr(self, name)) > 0.51 * control.step:
                grid = self._path().grid
                setattr(
                    self,
                    name,
                    float(grid[np.abs(grid - change["new"]).argmin()])
                    if name == "moved"
                    else change["new"],
                )

        control.observe(slid, names=["value"])
        self.observe(lambda change: control.set_trait("value", change["new"]), names=[name])

    def _adjust(self, change) -> None:
        if change["name"] not in ("atom", "path"):
            return
        path = self._path()
        control = self.controls["moved"]
        if not path.low - 1e-6 <= self.moved <= path.high + 1e-6:
            self._drawn = tuple(
                0.0 if name == "moved" else getattr(self, name) for name in self.names
            )
            self.moved = 0.0  # not drawn twice
            self._drawn = None
        with control.hold_trait_notifications():
            control.min = path.low
            control.max = path.high
            control.step = (path.high - path.low) / STEPS
            control.value = self.moved

    def _redraw(self) -> None:
        # what may fail, before anything changes
        picture = self.picture()
        scene = self.scene()
        words = self._words()
        self.drawn.value = picture
        self.molecule.value = scene
        self.words.value = words


def _first(value: float, others) -> float:
    """A number to subtract: `value`, or the first of the others where that is NaN; 0 where all
    are."""
    finite = [each for each in (value, *others) if np.isfinite(each)]
    return float(finite[0]) if finite else 0.0


def _checked(atoms) -> ase.Atoms:
    if not isinstance(atoms, ase.Atoms):
        raise ValueError(
            f"FrameExplorer takes one molecule as ase.Atoms, not {type(atoms).__name__}; "
            "store.to_ase(k) gives one of a store."
        )
    if atoms.pbc.any():
        raise ValueError(
            "FrameExplorer takes molecules, and this structure is periodic; set atoms.pbc = False, "
            "or cut a cluster out of it."
        )
    if not 2 <= len(atoms) <= MOST_ATOMS:
        raise ValueError(
            f"FrameExplorer takes molecules of 2 to {MOST_ATOMS} atoms, not {len(atoms)}; choose "
            "another."
        )
    return noise._checked(atoms, "The molecule")


def in_words(told: dict, silent: bool = False) -> list[tuple[str, str]]:
    """The numbers of `FrameExplorer.state()` as lines (what, text). silent: the auxiliary model was
    never trained."""
    unit = "°" if told["unit"] == "°" else " Å"
    where = f"{told['moved']:.3f} Å {told['path']}: {told['what']} = {told['coordinate']:.2f}{unit}"
    r = [f"{d:.2f}" for d in told["distances"]]
    many = len(r)
    near = f"{many} neighbor{'s' * (many != 1)} within R_out = {told['outer']:.2f} Å"
    near += (
        f", at {', '.join(r[:MOST_NEIGHBORS])}{' …' if many > MOST_NEIGHBORS else ''} Å"
        if r
        else ""
    )
    lines = [
        (told["name"], f"moved by {where}; the molecule turned by {told['rotation']:.0f}°"),
        (f"around {told['center_name']}", f"{near}; R_in = {told['inner']:.2f} Å"),
    ]
    if told["frames"]:
        hands = ", each with its mirror image" if told["both_hands"] else ""
        text = (
            f"{told['frames_before']} before pruning, {told['frames_after']} after "
            f"{told['prunings_shown']} prunings"
        )
        text += f"{hands}; " if told["prunings"] else f"{hands}; this ECSE does not prune; "
        text += f"largest weight {told['largest']:.2f}, w_aux = {told['auxiliary']:.2f}"
        text += (
            ": the auxiliary model has a part"
            if told["auxiliary"] > 0
            else ": no need of the auxiliary model"
        )
    else:
        text = f"no frame: the auxiliary model answers (w_aux = {told['auxiliary']:.2f})"
    if silent and told["auxiliary"] > 0:
        text += ", which was not trained, so what it says is reference energies alone"
    lines += [("frames", text), ("verdict", verdict(told))]
    steep = [
        name for name in METHODS if not _jumps(told, name) and (told[f"step_{name}"] or 0) > STEEP
    ]
    if steep:
        text = ", ".join(
            f"{METHODS[name][0]} {_meV(told[f'step_{name}'])} meV{_where(told, name)}"
            for name in steep
        )
        text += f" within {WITHIN} Å"
        text += "; with fewer prunings ECSE is gentler" * ("ecse" in steep and told["prunings"] > 0)
        lines.append(("no jump, but steep", text))
    return [(what, each.replace("-", "−")) for what, each in lines]


def verdict(told: dict) -> str:
    """Which of the four is flat in a turn and which jumps along the path, in one sentence."""
    spreads = ", ".join(f"{METHODS[name][0]} {_meV(told[f'spread_{name}'])}" for name in METHODS)
    jumps = [
        f"with {METHODS[name][0]} by {_meV(told[f'jump_{name}'])} meV{_where(told, name)}"
        for name in METHODS
        if _jumps(told, name)
    ]
    start = (
        f"{told['name']} moved by {told['turned_at']:.3f} Å"
        if told["turned_at"]
        else "of the molecule as given"
    )
    along = f"{' and '.join(jumps)}, else not" if jumps else "with none"
    return (
        f"in a full turn ({start}) the energy varies by {spreads} meV, and along the path it jumps "
        f"{along}."
    )


def _jumps(told: dict, name: str) -> bool:
    """Whether the change is there however finely the path is cut; of what is only steep little is
    left."""
    jump = told[f"jump_{name}"] or 0.0
    return jump > SMALL and jump > 0.5 * told[f"step_{name}"]


def _where(told: dict, name: str) -> str:
    return f" at {told[f'jump_at_{name}']:.2f}{'°' if told['unit'] == '°' else ' Å'}"


def _meV(value: float | None) -> str:
    return "(no frame)" if value is None else f"{value:.{2 if value < 10 else 0}f}"
