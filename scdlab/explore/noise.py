"""Noise one can hold: a molecule displaced by noise, and what its bonds, its forces and a network
make of that.

    x̃ = x + ε,   ε ~ N(0, σ²)      x: clean positions, ε: the noise, σ in Å

Four things can be read off the displaced molecule, and each is a function here before it is a
picture:

    bonds      a bond's length says whether it is single, double or triple; noise blurs that
               `blurred_bonds`
    energy     E(x + ε) − E(x): how far up the wall the noise has pushed
               `energy_against_sigma`
    forces     near a minimum F(x̃) ≈ −H ε, H the Hessian: forces point back
               `cosine(-eps, F)`
    a network  ε̂ = σ · model(x̃).noise: does the answer point where the noise did?
               `cosine(answer, eps)`

Signs. Every cosine is written so that +1 is what one hopes for: cos(−ε, F), since a force that
undoes the noise points along −ε; cos(ε̂, ε), since the answer should be the noise; and cos(−ε̂, F),
since −ε̂ is the network's way back. The arrows of the explorer are these ways back, −ε, −ε̂ and F,
all drawn from the displaced atoms: where denoising is force learning, they agree. They never agree
fully, not even for an exact network: H is stiff along bonds and soft elsewhere, so F leans towards
the stiff directions and cos(−ε, F) stays below 1.

A cosine is taken over all 3n components at once: cos(a, b) = Σ a·b / (|a| |b|).

Coordinate denoising: S. Zaidi et al., ICLR 2023, arXiv:2206.00133. Regimes of σ: 0.005 Å
regularizes and leaves bond orders readable, 0.04 Å blurs them without breaking bonds.
"""

import html
import re
from collections import OrderedDict
from pathlib import Path

import ase
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets
from plotly.subplots import make_subplots

from scdlab import files
from scdlab.analysis.bonds import bands_of, blurred_bonds, bond_lengths, bonds_of, length_density
from scdlab.analysis.denoising import (
    MAX_ATOMS,
    SIGMAS,
    as_reference,
    cosine,
    denoise,
    displacements,
    unexplained_noise,
)
from scdlab.analysis.inputs import bare_copy
from scdlab.atoms import AtomStore
from scdlab.explore import style, svg
from scdlab.explore.view import MoleculeView, as_atoms
from scdlab.explore.widgets import Explorer, lines_table
from scdlab.objectives.noise import KINDS

# σ in Å -> what noise of about that size does
REGIMES = {0.005: "regularizing", 0.04: "corrupting"}
# Of the slider, in log₁₀ σ: its grid holds 1, 2, 3, 4, 5, 6, 8 and 9 times 0.01, …, to 0.2 %.
STEP = 1 / 153
# eV/Å²; about what pulls a displaced atom back: sets the scale of the forces beside that of the
# noise
STIFFNESS = 100
ROOM = 8.617333e-5 * 300  # eV; k_B T at 300 K

ORDERS = ("single", "double", "triple")


# -----------------------------------------------------------------------------------------------
# bonds and their bands


# ------------------------------------------------------------------------------------------ noise,
# answers, references


def read_structure(text: str) -> ase.Atoms:
    """The molecule that `text` names: a structure file that ase can read (its first structure), or
    a SMILES string.

    Raises ValueError when it is neither, or when it has more than 200 atoms.
    """
    import ase.io

    from scdlab.atoms import from_smiles  # rdkit is slow to import

    text = str(text).strip()
    try:
        is_file = bool(text) and Path(text).expanduser().is_file()
    except OSError:  # a name too long for a file
        is_file = False
    if is_file:
        try:
            atoms = ase.io.read(Path(text).expanduser(), index=0)
        except Exception as error:  # each of ase's readers fails in its own way
            raise ValueError(
                f"ase cannot read a structure from {text}: {error or type(error).__name__}"
            ) from error
    else:
        try:
            atoms = from_smiles(text)
        except ValueError as error:
            raise ValueError(f"There is no file of this name, and {error}") from error
    return _checked(atoms, text)


def _checked(atoms: ase.Atoms, name: str) -> ase.Atoms:
    if not 0 < len(atoms) <= MAX_ATOMS:
        raise ValueError(
            f"{name} has {len(atoms):,} atoms; the explorer takes 1 to {MAX_ATOMS}: "
            "scdlab.explore.view_molecule draws larger structures."
        )
    atoms = bare_copy(atoms)
    AtomStore.from_ase(
        [atoms]
    )  # elements and positions that no store takes, and no view draws, are refused here
    return as_atoms(atoms)


# --------------------------------------------------------------------------------------------------
# the pictures

DRAWS = {
    "gaussian": 300,
    "torsional": 30,
}  # noise draws behind the smooth histogram; turning changes no length
LANES = 6  # element pairs in it
_BAND_COLORS = {1: style.SKY, 2: style.ORANGE, 3: style.PURPLE}
_COSINES = {  # key -> (legend, color, dash)
    "cos_back_force": ("cos(−ε, F)", style.VERMILION, "solid"),
    "cos_answer_noise": ("cos(ε̂, ε)", style.GREEN, "dash"),
    "cos_answer_force": ("cos(−ε̂, F)", style.PURPLE, "dot"),
}
_ARROWS = {  # trait -> (legend, color)
    "show_noise": ("way back −ε", style.BLUE),
    "show_answer": ("network's way back −ε̂", style.GREEN),
    "show_force": ("force F", style.VERMILION),
}


def _lanes(atoms: ase.Atoms) -> dict:
    """Pair of elements -> its bonds: of pairs that can have several orders, else (methane) of all
    that have bands."""
    symbols = atoms.get_chemical_symbols()
    lanes = {}
    pairs = bonds_of(atoms)
    for k, (i, j) in enumerate(pairs):
        if bands := bands_of(symbols[i], symbols[j]):
            lanes.setdefault(bands[0].pair, []).append(k)
    several = {pair: bonds for pair, bonds in lanes.items() if len(bands_of(*pair.split("–"))) > 1}
    most = sorted(
        (several or lanes).items(), key=lambda lane: (-len(lane[1]), lane[0])
    )  # with the most bonds first
    return dict(most[:LANES])


def lengths_picture(atoms: ase.Atoms, pos, many) -> dict:
    """What the histogram shows, one lane for each pair of elements, from the top: names, x range,
    and the traces' data.

    pos [n, 3]: this displacement; many [draws, n, 3]: those that the smooth curves are made of.
    """
    pairs = bonds_of(atoms)
    lanes = _lanes(atoms)
    table = {pair: bands_of(*pair.split("–")) for pair in lanes}
    edges = [
        edge for bands in table.values() for band in bands for edge in (band.low, band.high)
    ] or [1.0, 1.6]
    low = min(edges) - 0.04
    high = max(edges) + 0.04
    grid = np.arange(
        low - 0.2, high + 0.2, 0.002
    )  # beyond what is drawn, as far as smearing reaches
    shown = slice(100, -100, 2)
    clean, now, some = (bond_lengths(p, pairs) for p in (atoms.positions, pos, many))
    width = (
        float(np.clip(0.25 * (some - clean).std(), 0.003, 0.05)) if len(pairs) else 0.003
    )  # adds 3 % to the spread
    height = len(lanes) - 1 - np.arange(len(lanes))  # of each lane's floor
    density = [length_density(some[:, bonds], grid, width)[shown] for bonds in lanes.values()]
    tallest = max((d.max() for d in density), default=1.0) or 1.0
    boxes = {order: ([], []) for order in (3, 2, 1)}
    curve = ([], [])
    marks = ([], [])
    dots = ([], [])
    for at, (pair, bonds), values in zip(height, lanes.items(), density, strict=True):
        for band in table[pair]:
            x, y = boxes[band.order]
            x += [band.low, band.high, band.high, band.low, band.low, None]
            y += [at, at, at + 0.9, at + 0.9, at, None]
        curve[0].extend([*grid[shown].round(3), None])
        curve[1].extend([*(at + 0.85 * values / tallest).round(3), None])
        for r in clean[bonds]:
            marks[0].extend([r, r, None])
            marks[1].extend([at - 0.1, at + 0.12, None])
        dots[0].extend(now[bonds])
        dots[1].extend([at - 0.05] * len(bonds))
    traces = [dict(zip("xy", boxes[order], strict=True)) for order in (3, 2, 1)]
    traces += [dict(zip("xy", each, strict=True)) for each in (curve, marks, dots)]
    return {"names": list(lanes), "heights": height + 0.4, "range": [low, high], "traces": traces}


def noise_figure(numbers: dict) -> go.Figure:
    """Bond lengths against their bands, the energy against σ, and the cosines against σ:
    `NoiseExplorer.numbers()`."""
    fig = make_subplots(rows=3, cols=1, row_heights=[0.4, 0.27, 0.33], vertical_spacing=0.13)
    fill = dict(
        mode="lines", fill="toself", line_width=0, opacity=0.45, hoverinfo="skip", legend="legend"
    )
    for order in (3, 2, 1):
        color = _BAND_COLORS[order]
        fig.add_scatter(
            **fill, fillcolor=color, line_color=color, name=ORDERS[order - 1], row=1, col=1
        )
    line = dict(color=style.INK, width=2)
    fig.add_scatter(
        mode="lines", line=line, name="many draws", hoverinfo="skip", legend="legend", row=1, col=1
    )
    line = dict(color=style.INK, width=3)
    fig.add_scatter(
        mode="lines",
        line=line,
        name="clean",
        legend="legend",
        row=1,
        col=1,
        hovertemplate="%{x:.3f} Å",
    )
    marker = dict(color=style.VERMILION, size=7, symbol="circle", line=dict(color="white", width=1))
    fig.add_scatter(
        mode="markers",
        marker=marker,
        name="this draw",
        legend="legend",
        row=1,
        col=1,
        hovertemplate="%{x:.3f} Å",
    )
    dashed = dict(color=style.GRAY, dash="dash", width=1.5)
    fig.add_scatter(
        mode="lines", line=dashed, name="∝ σ²", legend="legend2", hoverinfo="skip", row=2, col=1
    )
    dots = dict(
        mode="lines+markers",
        marker_size=5,
        hovertemplate="%{y:.3g} at σ = %{x:.3g} Å<extra></extra>",
    )
    fig.add_scatter(
        **dots, line=dict(color=style.INK), name="E(x + ε) − E(x)", legend="legend2", row=2, col=1
    )
    for name, color, dash in _COSINES.values():
        fig.add_scatter(
            **dots, line=dict(color=color, dash=dash), name=name, legend="legend3", row=3, col=1
        )
    here = dict(color=[style.INK], size=11, symbol="diamond", line=dict(color="white", width=1))
    for row in (2, 3):
        fig.add_scatter(
            mode="markers", marker=here, showlegend=False, row=row, col=1, hovertemplate="%{y:.3g}"
        )
    for trace, data in zip(fig.data, numbers["traces"], strict=True):
        trace.update(data)
    sigma_axis = style.LOG | dict(range=np.log10([0.0026, 0.58]).tolist())
    fig.update_xaxes(**sigma_axis, row=2, col=1)
    fig.update_xaxes(**sigma_axis, title_text=style.label("σ", "Å"), row=3, col=1)
    fig.update_xaxes(title_text=style.label("bond length", "Å"), title_standoff=2, row=1, col=1)
    fig.update_yaxes(
        title_text=style.label("energy rise", "eV"),
        type="log",
        dtick=2,
        tickformat="~g",
        row=2,
        col=1,
    )
    fig.update_yaxes(title_text="cosine", dtick=0.5, row=3, col=1)
    small = dict(
        orientation="h",
        x=0.0,
        xanchor="left",
        yanchor="bottom",
        font_size=12,
        bgcolor="rgba(0,0,0,0)",
    )
    tops = [fig.layout[axis].domain[1] for axis in ("yaxis", "yaxis2", "yaxis3")]
    fig.update_layout(
        template="scdlab",
        width=650,
        height=650,
        margin=dict(l=70, r=15, t=45, b=50),
        font_size=13,
        uirevision="noise",
        meta={
            "with_still": True
        },  # on a page without a kernel the molecule's picture stands above it
        legend=small | dict(y=tops[0]),
        legend2=small | dict(y=tops[1], entrywidth=130),
        legend3=small | dict(y=tops[2], entrywidth=100),
    )
    for sigma, what in REGIMES.items():
        for row in (2, 3):
            fig.add_vline(x=sigma, line=dict(color=style.GRAY, width=1, dash="dot"), row=row, col=1)
        fig.add_annotation(
            x=np.log10(sigma),
            y=1,
            xref="x2",
            yref="y2 domain",
            text=what,
            font=dict(size=12, color=style.GRAY),
            xanchor="left",
            yanchor="top",
            xshift=4,
            showarrow=False,
        )
    for axis, values in _axes(numbers).items():
        fig.layout[axis].update(values)
    return fig


def _axes(numbers: dict) -> dict:
    """What the axes owe to the state: the lanes' names, the range of lengths, the range of the
    cosines."""
    lengths = numbers["lengths"]
    lanes = max(1, len(lengths["names"]))
    drawn = [y for trace in numbers["traces"][8:11] for y in trace["y"] if y is not None]
    return {
        "xaxis": dict(range=lengths["range"]),
        "yaxis": dict(
            tickvals=lengths["heights"],
            ticktext=lengths["names"],
            range=[-0.2, lanes],
            showgrid=False,
        ),
        "yaxis3": dict(range=[min([-0.05, *(y - 0.1 for y in drawn)]), 1.08]),
    }


# --------------------------------------------------------------------------------------------------
# the explorer


class NoiseExplorer(Explorer):
    """A molecule under noise that one can turn up: what it does to bonds, energy, forces and a
    network's answer.

    store: an AtomStore, by default the kit's sample of QM9; its first 1,000 molecules can be
    chosen. model: any model that can denoise; None leaves the answer out. reference: "gfn2", a
    trained model, an ase calculator, or None.

    State, in traits: molecule (index in the store), source ("store", a SMILES, or the path of a
    structure file), sigma in Å (0.003 to 0.5), seed, kind ("gaussian", "torsional"), relaxed (start
    from the reference's own minimum, where its forces vanish; else from the structure as it is),
    and show_noise, show_answer, show_force: which arrows are drawn. `state()` adds every number
    displayed; `load(text)` raises what the text box only tells. What cannot be shown stands, with
    the reason, in `message` and in `state()["notes"]`; the rest is shown.
    """

    names = (
        "molecule",
        "source",
        "sigma",
        "seed",
        "kind",
        "relaxed",
        "show_noise",
        "show_answer",
        "show_force",
    )
    molecule = traitlets.Int()
    seed = traitlets.Int()
    source = traitlets.Unicode("store")
    sigma = traitlets.Float(0.04)
    kind = traitlets.Enum(KINDS, "gaussian")
    relaxed = traitlets.Bool(True)
    show_noise, show_answer, show_force = (traitlets.Bool(True) for _ in range(3))

    def __init__(
        self,
        store=None,
        model=None,
        reference="gfn2",
        molecule: int = 0,
        sigma: float = 0.04,
        seed: int = 0,
        kind: str = "gaussian",
        source: str = "store",
        relaxed: bool = True,
    ):
        if model is not None and not isinstance(model, torch.nn.Module):
            raise ValueError(
                f"model must be a model, not {model!r}; scdlab.load_pretrained(name) loads one "
                "that ships."
            )
        self.store = (
            AtomStore.open(files.package_dir("data") / "qm9-sample") if store is None else store
        )
        self.model = model
        self.reference = None
        self._missing = []
        if reference is not None:
            try:
                self.reference = as_reference(reference)
            except ValueError as error:
                if reference != "gfn2":
                    raise
                self._missing.append(str(error))
        self._cache = OrderedDict()
        self._drawn = None
        self._last_read = ("", None)
        self.molecule = molecule
        self.sigma = sigma
        self.seed = seed
        self.kind = kind
        self.relaxed = relaxed
        self.source = source
        first = self.numbers()
        self.view = MoleculeView(
            first["atoms"], self.arrows(), title=self._title(), size=(430, 380)
        )
        self.words = widgets.HTML()
        row = dict(style={"description_width": "70px"})
        wide = widgets.Layout(width="330px")
        small = widgets.Layout(width="220px", margin="2px 24px 2px 2px")
        box = widgets.Layout(width="auto", margin="2px 14px 2px 0")
        sigma_slider = widgets.FloatLogSlider(
            value=sigma,
            min=-386 * STEP,
            max=-46 * STEP,
            step=STEP,
            description="σ (Å)",
            readout_format=".3f",
            layout=wide,
            **row,
        )
        ticks = {"relaxed": "start at the reference's minimum"} | {
            name: legend for name, (legend, _) in _ARROWS.items()
        }
        super().__init__(
            molecule=widgets.IntSlider(
                molecule,
                0,
                min(len(self.store), 1000) - 1,
                description="molecule",
                layout=wide,
                **row,
            ),
            sigma=sigma_slider,
            seed=widgets.IntSlider(seed, 0, 99, description="seed", layout=wide, **row),
            kind=widgets.Dropdown(
                options=KINDS, value=kind, description="noise", layout=small, **row
            ),
            **{
                name: widgets.Checkbox(
                    getattr(self, name), description=what, indent=False, layout=box
                )
                for name, what in ticks.items()
            },
        )
        self.text = widgets.Text(
            "" if source == "store" else source,
            placeholder="SMILES or file, e.g. CC(=O)O; empty: the store",
            description="or",
            continuous_update=False,
            layout=wide,
            **row,
        )
        self.text.observe(self._typed, names=["value"])
        self._lay_out()
        self._tell()
        self._say_notes()
        self._drawn = self._key()

    def _lay_out(self) -> None:
        """Controls above, the molecule left, the plots right, the numbers in words below."""
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        rows = [
            widgets.HBox([at["molecule"], self.text, at["seed"]], layout=wrap),
            widgets.HBox([at["sigma"], at["kind"], at["relaxed"]], layout=wrap),
            widgets.HBox(
                [
                    widgets.HTML("arrows", layout=widgets.Layout(margin="2px 14px 2px 26px")),
                    *(at[name] for name in _ARROWS),
                ],
                layout=wrap,
            ),
        ]
        left = widgets.VBox([self.view, self.words], layout=widgets.Layout(flex="0 1 auto"))
        right = widgets.VBox(
            [self.figure], layout=widgets.Layout(flex="1 1 420px", min_width="380px")
        )
        both = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap"))
        self.children = [*rows, self.message, both]

    # ----------------------------------------------------------------------------------------------
    # the state

    @traitlets.validate("sigma")
    def _check_sigma(self, proposal):
        sigma = proposal["value"]
        low, high = SIGMAS[[0, -1]]
        if not (
            np.isfinite(sigma) and 0.998 * low <= sigma <= 1.002 * high
        ):  # the slider's ends lie within
            raise ValueError(f"The explorer shows sigma from {low:g} to {high:g} Å, not {sigma:g}.")
        return sigma

    @traitlets.validate("molecule", "seed")
    def _check_range(self, proposal):
        name = proposal["trait"].name
        value = proposal["value"]
        last = min(len(self.store), 1000) - 1 if name == "molecule" else 99
        if not 0 <= value <= last:
            raise ValueError(f"The explorer's {name} goes from 0 to {last}, not {value}.")
        return value

    @traitlets.validate("source")
    def _check_source(self, proposal):
        text = proposal["value"].strip() or "store"
        if text != "store":
            self._read(text)
        return text

    def load(self, text: str) -> None:
        """Show the molecule of a SMILES or a structure file. Raises ValueError, and shows what it
        did, for neither."""
        self.source = text

    def refresh(self) -> None:
        """Compute all numbers anew: after training the model further."""
        self._cache.clear()
        self._drawn = None
        self._last_read = ("", None)
        self._changed({"name": "model"})

    @property
    def atoms(self) -> ase.Atoms:
        """The clean molecule: as it is, or in the reference's minimum."""
        return self._clean()["atoms"]

    def numbers(self) -> dict:
        """Everything that the present state shows: arrays, traces and numbers. Cached: do not
        change it."""
        return self._remember("numbers", "source molecule relaxed seed kind sigma", self._compute)

    def state(self) -> dict:
        """The traits, and every number displayed: plain numbers, None for what cannot be said."""
        return super().state() | self.numbers()["told"]

    def arrows(self) -> dict:
        """The arrows that are drawn, as `view_molecule` takes them: all start at the displaced
        atoms.

        Their scale is one of three, by the decade of σ, so that within a decade longer arrows are
        more noise.
        """
        n = self.numbers()
        drawn = magnification(self.sigma)
        scale = {"Å": drawn, "eV/Å": drawn / STIFFNESS}
        vectors = {
            "show_noise": (-n["eps"], "Å"),
            "show_answer": (None if n["answer"] is None else -n["answer"], "Å"),
            "show_force": (n["forces"], "eV/Å"),
        }
        return {
            name: dict(
                vectors=vectors[trait][0],
                unit=vectors[trait][1],
                color=color,
                scale=scale[vectors[trait][1]],
            )
            for trait, (name, color) in _ARROWS.items()
            if getattr(self, trait) and vectors[trait][0] is not None
        }

    def _read(self, text: str) -> ase.Atoms:
        """`read_structure`, kept until another text is read."""
        if self._last_read[0] != text:
            self._last_read = (text, read_structure(text))
        return self._last_read[1]

    def _key(self) -> tuple:
        return tuple(getattr(self, name) for name in self.names)

    def _remember(self, what: str, names: str, make):
        """make(), kept under the values of the traits `names`; the last 200 are."""
        key = (what, *(getattr(self, name) for name in names.split()))
        if key not in self._cache:
            self._cache[key] = make()
            if len(self._cache) > 200:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    # ----------------------------------------------------------------------------------------------
    # the numbers

    def _clean(self) -> dict:
        """The clean molecule, its energy (None: the reference cannot be asked), and what must be
        said about it."""
        return self._remember("clean", "source molecule relaxed", self._find_clean)

    def _find_clean(self) -> dict:
        if self.source == "store":
            atoms = _checked(self.store.to_ase(self.molecule), f"Molecule {self.molecule}")
        else:
            atoms = self._read(self.source)
        notes = list(self._missing)
        energy = None
        if self.reference is not None:
            try:
                atoms = self.reference.relax(atoms) if self.relaxed else atoms
                energy = self.reference(atoms)[0]
            except ValueError as error:
                notes.append(f"No reference: {error}")
        if len(atoms) == 1:
            notes.append(
                "A single atom has no bonds, and centered noise does not move it: choose a "
                "molecule."
            )
        return {"atoms": atoms, "energy": energy, "notes": notes}

    def _measure(self, sigmas) -> dict:
        """At each σ [s]: noise eps and answer ε̂ [s, n, 3] in Å, forces [s, n, 3] in eV/Å, rise [s]
        in eV, cosines [s].

        What cannot be had is None (arrays of vectors) or NaN, and `notes` says why; `drawn`: there
        is noise to show.
        """
        clean = self._clean()
        atoms = clean["atoms"]
        notes = []
        drawn = True
        try:
            eps = np.stack([displacements(atoms, sigma, self.seed, self.kind) for sigma in sigmas])
        except ValueError as error:  # of torsional noise, for a crystal
            eps = np.zeros((len(sigmas), len(atoms), 3))
            drawn = False
            notes.append(f"No noise: {error}")
        forces = answer = None
        rise = np.full(len(eps), np.nan)
        if clean["energy"] is not None:
            energy, forces = self.reference(atoms, atoms.positions + eps)
            rise = energy - clean["energy"]
        if self.model is not None:
            try:
                answer = denoise(self.model, atoms, atoms.positions + eps) * np.reshape(
                    sigmas, (-1, 1, 1)
                )
            except ValueError as error:
                notes.append(f"No answer of the network: {error}")
        back = None if answer is None else -answer
        pairs = {
            "cos_back_force": (-eps, forces),
            "cos_answer_noise": (answer, eps),
            "cos_answer_force": (back, forces),
        }
        cosines = {
            name: np.full(len(eps), np.nan) if a is None or b is None else cosine(a, b)
            for name, (a, b) in pairs.items()
        }
        return {
            "eps": eps,
            "rise": rise,
            "forces": forces,
            "answer": answer,
            "notes": notes,
            "drawn": drawn,
        } | cosines

    def _compute(self) -> dict:
        """The numbers of the present state; see `numbers`."""
        clean = self._clean()
        sigma = self.sigma
        atoms = clean["atoms"]
        curves = self._remember(
            "curves", "source molecule relaxed seed kind", lambda: self._measure(SIGMAS)
        )
        here = self._measure([sigma])
        eps, forces, answer = (
            None if here[k] is None else here[k][0] for k in ("eps", "forces", "answer")
        )
        notes = [*clean["notes"], *here["notes"]]
        if forces is not None and not np.isfinite(forces).all():
            forces = None
            notes.append(f"{self.reference.name} found no solution for this displacement.")
        if self.kind == "torsional" and here["drawn"] and not eps.any():
            notes.append(
                "No bond of this molecule can turn, so torsional noise leaves it as it is."
            )
        pos = atoms.positions + eps
        many = atoms.positions[None]
        if here["drawn"]:
            many = atoms.positions + displacements(
                atoms, sigma, self.seed, self.kind, DRAWS[self.kind]
            )
        lengths = lengths_picture(atoms, pos, many)
        blurred = blurred_bonds(atoms, many)
        pairs = bonds_of(atoms)
        several = [len(bands_of(*(atoms.symbols[k] for k in pair))) > 1 for pair in pairs]
        told = {
            "formula": atoms.get_chemical_formula(),
            "n_atoms": len(atoms),
            "regime": regime(sigma),
            "noise_length": float(np.linalg.norm(eps, axis=1).mean()),  # Å
            "bonds": int(np.sum(several)),  # that can have several orders
            "bonds_blurred": int(blurred_bonds(atoms, pos)),
            "bonds_blurred_mean": float(blurred.mean()),
            "draws": len(many),
            "energy_rise": _number(here["rise"][0]),  # eV
            "force_length": None
            if forces is None
            else _number(np.linalg.norm(forces, axis=1).mean()),  # eV/Å
            **{name: _number(here[name][0]) for name in _COSINES},
            "unexplained": None if answer is None else _number(unexplained_noise(answer, eps)),
            "notes": notes,
        }
        displaced = atoms.copy()
        displaced.positions = pos
        return {
            "atoms": displaced,
            "clean": atoms,
            "eps": eps,
            "forces": forces,
            "answer": answer,
            "lengths": lengths,
            "curves": curves,
            "told": told,
            "traces": lengths["traces"] + _sigma_traces(curves, told, sigma),
        }

    # ----------------------------------------------------------------------------------------------
    # the drawing

    def picture(self) -> go.Figure:
        return noise_figure(self.numbers())

    def still(self) -> str:
        """The displaced molecule with its arrows, and the numbers below it."""
        return _with_lines(self.view.still(), [f"{name}: {text}" for name, text in self._lines()])

    def _title(self) -> str:
        told = self.numbers()["told"]
        return f"{told['formula']} displaced, σ = {self.sigma:.3f} Å"

    def _lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        return in_words(
            self.numbers()["told"], self.sigma, self.reference.name if self.reference else ""
        )

    def _tell(self) -> None:
        self.words.value = lines_table(self._lines(), "line-height: 1.35; max-width: 430px")

    def _say_notes(self) -> None:
        self.message.value = "<br>".join(map(html.escape, self.numbers()["told"]["notes"]))

    def _typed(self, change) -> None:
        """The text box: what is no molecule yet is told, and the last good molecule stays."""
        text = change["new"].strip() or "store"
        if text == self.source:
            return
        try:
            if text != "store":
                self._read(text)
        except ValueError as error:
            self.message.value = html.escape(f"{error} The molecule shown is still the one before.")
            return
        self.source = text

    def _link(self, name: str, control: widgets.Widget) -> None:
        if name != "sigma":
            return super()._link(name, control)

        def slid(change):
            """A browser moves a slider that was set from Python onto its grid, and says so: that is
            no move."""
            if abs(np.log10(change["new"] / self.sigma)) > 0.5 * STEP + 1e-6:
                self.sigma = change["new"]

        control.observe(slid, names=["value"])
        self.observe(lambda change: control.set_trait("value", change["new"]), names=["sigma"])

    def _adjust(self, change) -> None:
        if change["name"] == "molecule":
            self.source = "store"  # whoever moves the slider wants the store's molecule
        typed = "" if self.source == "store" else self.source
        if (self.text.value.strip() or "store") != self.source:
            self.text.value = typed

    def _changed(self, change) -> None:
        if self._key() != self._drawn:  # several traits set together are drawn once
            super()._changed(change)
            self._say_notes()

    def _redraw(self) -> None:
        key = self._key()
        n = self.numbers()
        if key == self._drawn:  # drawn while this change was being adjusted
            return
        with self.figure.batch_update():  # one message to the browser
            for trace, data in zip(self.figure.data, n["traces"], strict=True):
                trace.update(data)
            for axis, values in _axes(n).items():
                self.figure.layout[axis].update(values)
        self.view.show(n["atoms"], self.arrows(), title=self._title())  # one message
        self._tell()
        self._drawn = key


def magnification(sigma: float) -> int:
    """Å drawn per Å of noise: 100 below σ = 0.01 Å, 10 below 0.1 Å, and 1 from there, where tips
    reach the clean positions."""
    return 100 if sigma < 0.01 else 10 if sigma < 0.1 else 1


def regime(sigma: float) -> str:
    """What noise of this σ (Å) does, in words; the borders lie at the geometric middle, and as far
    beyond."""
    small, large = REGIMES
    middle = (small * large) ** 0.5
    if sigma < middle:
        return "the regularizing regime (around 0.005 Å)"
    return (
        "the corrupting regime (around 0.04 Å)"
        if sigma < large**2 / middle
        else "beyond both regimes"
    )


def in_words(told: dict, sigma: float, reference: str = "") -> list[tuple[str, str]]:
    """The numbers of `NoiseExplorer.state()` as lines (what, text)."""
    lines = [
        (
            "noise",
            f"σ = {sigma:.3f} Å, {told['regime']}; an atom moves by {told['noise_length']:.3f} Å "
            "on average",
        )
    ]
    if told["bonds"]:
        mean = f"{told['bonds_blurred_mean']:.2g} on average over {told['draws']} draws"
        lines.append(
            (
                "bonds",
                f"{told['bonds_blurred']} of {told['bonds']} now read as another order ({mean})",
            )
        )
    else:
        lines.append(("bonds", "single by necessity: there is no order to blur"))
    if told["energy_rise"] is not None:
        rise = told["energy_rise"]
        heat = f"{rise / ROOM:,.0f}" if abs(rise) > 10 * ROOM else f"{rise / ROOM:.2g}"
        lines.append(("energy", f"{rise:+.3g} eV ({reference}), {heat} kT at 300 K"))
    if told["cos_back_force"] is not None:
        lines.append(
            (
                "force",
                f"cos(−ε, F) = {told['cos_back_force']:.2f}; an atom's force is "
                f"{told['force_length']:.3g} eV/Å on average",
            )
        )
    if told["cos_answer_noise"] is not None:
        text = f"cos(ε̂, ε) = {told['cos_answer_noise']:.2f}"
        if told["cos_answer_force"] is not None:
            text += f", cos(−ε̂, F) = {told['cos_answer_force']:.2f}"
        lines.append(
            (
                "network",
                f"{text}; it leaves {100 * told['unexplained']:.0f} % of the noise unexplained",
            )
        )
    return lines


def _sigma_traces(curves: dict, told: dict, sigma: float) -> list[dict]:
    """Data of the lower panels: ∝ σ² through the first point, energy, three cosines, and the
    present σ in both."""
    x = SIGMAS.tolist()
    rise = [
        value if np.isfinite(value) and value > 0 else None for value in curves["rise"].tolist()
    ]
    start = next(((s, e) for s, e in zip(x, rise, strict=True) if e), None)
    guide = [None if start is None else start[1] * (s / start[0]) ** 2 for s in x]
    cosines = [[_number(value) for value in curves[name]] for name in _COSINES]
    now = told["energy_rise"] if (told["energy_rise"] or 0) > 0 else None
    traces = [dict(x=x, y=y) for y in (guide, rise, *cosines)]
    colors = [color for _, color, _ in _COSINES.values()]
    at = [told[name] for name in _COSINES]
    return [*traces, dict(x=[sigma], y=[now]), dict(x=[sigma] * 3, y=at, marker_color=colors)]


def _number(value) -> float | None:
    """A plain number, None for NaN."""
    return float(value) if np.isfinite(value) else None


def _with_lines(picture: str, lines: list[str]) -> str:
    """An svg picture with lines of text below it."""
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', picture).groups())
    texts = [
        svg._text(8, height + 16 + 16 * k, line, anchor="start") for k, line in enumerate(lines)
    ]
    picture = picture.replace(
        "<svg ", f'<svg height="{height:g}" ', 1
    )  # a nested picture needs both sides
    return svg._document(max(width, 560), height + 16 * len(lines) + 12, [picture, *texts])
