"""Noise one can hold: a molecule displaced by noise, and what its bonds, its forces and a network
make of that.

    x̃ = x + ε,   ε ~ N(0, σ²)      x: clean positions, ε: the noise, σ in Å

Four things can be read off the displaced molecule; the functions are in `scdlab.analysis`:

    bonds      a bond's length shows whether it is single, double or triple; noise blurs that
               `blurred_bonds`
    energy     E(x + ε) − E(x): how far up the wall the noise has pushed
               `energy_against_sigma`
    forces     near a minimum F(x̃) ≈ −H ε, H the Hessian: forces point back
               `cosine(-eps, F)`
    a network  ε̂ = σ · model(x̃).noise: does the answer point where the noise did?
               `cosine(answer, eps)`

The arrows of the explorer are the ways back, −ε, −ε̂ and F, all drawn from the displaced atoms:
where denoising is force learning, they agree (never fully: `analysis/denoising.py`).

Coordinate denoising: S. Zaidi et al., ICLR 2023, arXiv:2206.00133. Regimes of σ: 0.005 Å
regularizes and leaves bond orders readable, 0.04 Å blurs them without breaking bonds.
"""

import html
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets

from scdlab.analysis.bonds import blurring
from scdlab.analysis.denoising import (
    SIGMAS,
    Reference,
    as_reference,
    displacements,
    noise_response,
    unexplained_noise,
)
from scdlab.explore import svg
from scdlab.explore.changes import Changes
from scdlab.explore.controls import Bounds, check_bounds, plain_number, sigma_slider
from scdlab.explore.inputs import Choice, Flag, Number, Text, Whole, checked_network, checked_store
from scdlab.explore.noise_figure import (
    ARROWS,
    COSINES,
    lengths_picture,
    noise_changes,
    noise_figure,
    sigma_traces,
)
from scdlab.explore.noise_words import describe, regime
from scdlab.explore.scene import magnification
from scdlab.explore.structures import checked, read_structure, sample_store
from scdlab.explore.style import CONTROL_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.explore.widgets import FigureExplorer
from scdlab.objectives.noise import KINDS

# draws of the noise behind the smooth histogram; rotating changes no length
DRAWS = {"gaussian": 300, "torsional": 30}
# eV/Å²; about what pulls a displaced atom back: the scale of forces beside that of the noise
STIFFNESS = 100


class NoiseExplorer(FigureExplorer):
    """A molecule under noise of any size: what it does to bonds, energy, forces and a
    network's answer.

    State, in traits: molecule (index in the store), source ("store", a SMILES, or the path of a
    structure file), sigma in Å (0.003 to 0.5), seed, kind ("gaussian", "torsional"), relaxed (start
    from the reference's own minimum, where its forces vanish; else from the structure as it is),
    and show_noise, show_answer, show_force: which arrows are drawn. `state()` adds every number
    displayed; `load(text)` raises what the text box only shows. What cannot be shown stands, with
    the reason, in `message` and in `state()["notes"]`; the rest is shown.

    Parameters
    ----------
    store : AtomStore, optional
        Its first 1,000 molecules can be chosen; by default the kit's sample of QM9.
    model : torch.nn.Module, optional
        Any model that can denoise; None leaves the answer out.
    reference : "gfn2", torch.nn.Module, ase calculator or None, default "gfn2"
        Where energies and forces come from; None leaves them out.
    molecule, sigma, seed, kind, source, relaxed
        The state at first.

    Raises
    ------
    ValueError
        For what is no model.
    """

    names = ("molecule", "source", "sigma", "seed", "kind", "relaxed", *ARROWS)
    sliding = ("sigma",)
    words_style = f"line-height: 1.35; max-width: {VIEW_WIDTH}px"
    molecule = Whole()
    seed = Whole()
    source = Text("store")
    sigma = Number(0.04)
    kind = Choice(KINDS, "gaussian")
    relaxed = Flag(True)
    show_noise = Flag(True)
    show_answer = Flag(True)
    show_force = Flag(True)
    _in_bounds = traitlets.validate("sigma", "molecule", "seed")(check_bounds)

    def __init__(
        self,
        store: Any = None,
        model: Any = None,
        reference: Any = "gfn2",
        molecule: int = 0,
        sigma: float = 0.04,
        seed: int = 0,
        kind: str = "gaussian",
        source: str = "store",
        relaxed: bool = True,
    ):
        if model is not None:
            checked_network(model, "model")
        if isinstance(reference, ase.Atoms):
            raise ValueError(
                "The reference must be 'gfn2', a trained model or an ase calculator, got Atoms."
            )
        if isinstance(reference, torch.nn.Module):
            checked_network(reference, "reference", "forces")
        self.store = checked_store(sample_store() if store is None else store, "NoiseExplorer")
        self.model = model
        self.reference: Reference | None = None
        self._missing: list[str] = []
        try:
            self.reference = None if reference is None else as_reference(reference)
        except ValueError as error:
            if reference != "gfn2":
                raise
            self._missing.append(str(error))
        self.molecule = molecule
        self.sigma = sigma
        self.seed = seed
        self.kind = kind
        self.relaxed = relaxed
        self.source = source
        self.view = MoleculeView(
            self.numbers()["atoms"], self.arrows(), title=self._title(), size=(VIEW_WIDTH, 280)
        )
        self.text = widgets.Text(
            "" if source == "store" else source,
            placeholder="SMILES or file, e.g. CC(=O)O; empty: the store",
            description="or",
            continuous_update=False,
            layout=widgets.Layout(width=f"{CONTROL_WIDTH}px"),
            style={"description_width": "70px"},
        )
        super().__init__(**self._make_controls())
        self.text.observe(self._typed, names=["value"])

    def _make_controls(self) -> dict[str, Any]:
        wide = dict(
            style={"description_width": "70px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        small = widgets.Layout(width="220px", margin="2px 24px 2px 2px")
        box = dict(indent=False, layout=widgets.Layout(width="auto", margin="2px 14px 2px 0"))
        ticks = {"relaxed": "start at the reference's minimum"}
        ticks |= {name: legend for name, (legend, _) in ARROWS.items()}
        last = int(self.bounds("molecule").high)
        return {
            "molecule": widgets.IntSlider(self.molecule, 0, last, description="molecule", **wide),
            "sigma": sigma_slider(self.sigma, **wide),
            "seed": widgets.IntSlider(self.seed, 0, 99, description="seed", **wide),
            "kind": widgets.Dropdown(
                options=KINDS, value=self.kind, description="noise", **wide | {"layout": small}
            ),
            **{
                name: widgets.Checkbox(getattr(self, name), description=what, **box)
                for name, what in ticks.items()
            },
        }

    def lay_out(self) -> list[widgets.Widget]:
        """Controls above, the molecule left, the plots right, the numbers in words below."""
        at = self.controls
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        arrows = widgets.HTML("arrows", layout=widgets.Layout(margin="2px 14px 2px 26px"))
        rows = [
            widgets.HBox([at["molecule"], self.text, at["seed"]], layout=wrap),
            widgets.HBox([at["sigma"], at["kind"], at["relaxed"]], layout=wrap),
            widgets.HBox([arrows, *(at[name] for name in ARROWS)], layout=wrap),
        ]
        left = widgets.VBox([self.view, self.words])
        both = widgets.HBox([left, self.drawing], layout=widgets.Layout(flex_flow="row wrap"))
        return [*rows, self.message, both]

    # ----------------------------------------------------------------------------------------------
    # the state

    def bounds(self, name: str) -> Bounds:
        """What values a trait may have.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        Bounds
            Its ends.
        """
        if name == "molecule":
            return Bounds(0, min(len(self.store), 1000) - 1)
        return super().bounds(name)

    @traitlets.validate("source")
    def _check_source(self, proposal: Any) -> str:
        text = proposal["value"].strip() or "store"
        if text != "store":
            self._read(text)
        return text

    def load(self, text: str) -> None:
        """Show another molecule.

        Parameters
        ----------
        text : str
            A SMILES string, or a structure file.

        Raises
        ------
        ValueError
            For neither; what was shown stays.
        """
        self.source = text

    @property
    def atoms(self) -> ase.Atoms:
        """The clean molecule: as it is, or in the reference's minimum."""
        return self._clean()["atoms"]

    def numbers(self) -> dict[str, Any]:
        """Everything that the present state shows: arrays, traces and numbers. Kept: do not change
        it.

        Returns
        -------
        dict
            By name; "values" are the numbers of `state()`.
        """
        key = self._of("source", "molecule", "relaxed", "seed", "kind", "sigma")
        return self.remember(("numbers", *key), self._compute)

    def state(self) -> dict[str, Any]:
        """The traits, and every number displayed.

        Returns
        -------
        dict
            Plain values by name; None for what cannot be shown.
        """
        return super().state() | self.numbers()["values"]

    def arrows(self) -> dict[str, dict[str, Any]]:
        """The arrows that are drawn, as `view_molecule` takes them: all start at the displaced
        atoms.

        Their scale is one of three, by the decade of σ, so that within a decade longer arrows are
        more noise.

        Returns
        -------
        dict
            By legend.
        """
        n = self.numbers()
        drawn = magnification(self.sigma)
        scale = {"Å": drawn, "eV/Å": drawn / STIFFNESS}
        vectors = {
            "show_noise": (-n["eps"], "Å"),
            "show_answer": (None if n["answer"] is None else -n["answer"], "Å"),
            "show_force": (n["forces"], "eV/Å"),
        }
        arrows = {}
        for trait, (name, color) in ARROWS.items():
            vector, unit = vectors[trait]
            if getattr(self, trait) and vector is not None:
                arrows[name] = dict(vectors=vector, unit=unit, color=color, scale=scale[unit])
        return arrows

    def _of(self, *names: str) -> tuple[Any, ...]:
        """The values of some traits: what a result is remembered by."""
        return tuple(getattr(self, name) for name in names)

    def _read(self, text: str) -> ase.Atoms:
        return self.remember(("read", text), lambda: read_structure(text))

    def _clean(self) -> dict[str, Any]:
        """The clean molecule, its energy (None: the reference cannot be used), and notes on it."""
        return self.remember(
            ("clean", *self._of("source", "molecule", "relaxed")), self._find_clean
        )

    def _find_clean(self) -> dict[str, Any]:
        if self.source == "store":
            atoms = checked(self.store.to_ase(self.molecule), f"Molecule {self.molecule}")
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

    def _compute(self) -> dict[str, Any]:
        """The numbers of the present state; see `numbers`."""
        clean = self._clean()
        atoms = clean["atoms"]
        energy = clean["energy"]
        reference = None if energy is None else self.reference
        rest = (reference, energy, self.model, self.seed, self.kind)
        curves = self.remember(
            ("curves", *self._of("source", "molecule", "relaxed", "seed", "kind")),
            lambda: noise_response(atoms, SIGMAS, *rest),
        )
        here = noise_response(atoms, [self.sigma], *rest)
        eps = here["eps"][0]
        forces = None if here["forces"] is None else here["forces"][0]
        answer = None if here["answer"] is None else here["answer"][0]
        notes = [*clean["notes"], *here["notes"]]
        if forces is not None and not np.isfinite(forces).all():
            forces = None
            name = self.reference.name if self.reference else ""
            notes.append(f"{name} found no solution for this displacement.")
        if self.kind == "torsional" and here["drawn"] and not eps.any():
            notes.append(
                "No bond of this molecule can turn, so torsional noise leaves it as it is."
            )
        many = self._draws(atoms) if here["drawn"] else atoms.positions[None]
        values = {
            "formula": atoms.get_chemical_formula(),
            "n_atoms": len(atoms),
            "regime": regime(self.sigma),
            "noise_length": _mean_length(eps),  # Å
            **blurring(atoms, atoms.positions + eps, many),
            "energy_rise": plain_number(here["rise"][0]),  # eV
            "force_length": _mean_length(forces),  # eV/Å
            **{name: plain_number(here[name][0]) for name in COSINES},
            "unexplained": None if answer is None else plain_number(unexplained_noise(answer, eps)),
            "notes": notes,
        }
        displaced = atoms.copy()
        displaced.positions = atoms.positions + eps
        lengths = lengths_picture(atoms, displaced.positions, many)
        return {
            "atoms": displaced,
            "clean": atoms,
            "lengths": lengths,
            "curves": curves,
            "values": values,
            "traces": lengths["traces"] + sigma_traces(curves, values, self.sigma),
            "eps": eps,
            "forces": forces,
            "answer": answer,
        }

    def _draws(self, atoms: ase.Atoms) -> np.ndarray:
        """Positions of many draws of the noise [draws, n, 3] in Å."""
        draws = DRAWS[self.kind]
        return atoms.positions + displacements(atoms, self.sigma, self.seed, self.kind, draws)

    def picture(self) -> go.Figure:
        """The plots of the present state."""
        return noise_figure(self.numbers())

    def changes(self) -> Changes:
        """What the plots owe to the state."""
        return noise_changes(self.numbers())

    def to_svg(self) -> str:
        """The displaced molecule with its arrows, and the numbers below it."""
        picture = self.view.to_svg()
        width, height = svg.size_of(picture)
        # a nested picture needs both sides
        picture = picture.replace("<svg ", f'<svg height="{height:g}" ', 1)
        lines = self.text_lines()
        texts = [svg.text(8, height + 16 + 16 * k, words, "start") for k, words in enumerate(lines)]
        return svg.document(max(width, 560), height + 16 * len(lines) + 12, [picture, *texts])

    def lines(self) -> list[tuple[str, str]]:
        """The numbers in words: (what, text)."""
        name = self.reference.name if self.reference else ""
        return describe(self.numbers()["values"], self.sigma, name)

    def notes(self) -> str:
        """What cannot be shown, and why, as html."""
        return "<br>".join(map(html.escape, self.numbers()["values"]["notes"]))

    def _title(self) -> str:
        formula = self.numbers()["values"]["formula"]
        return f"{formula} displaced, σ = {self.sigma:.3f} Å"

    def _typed(self, change: traitlets.Bunch) -> None:
        """The text box: what is no molecule yet is refused in the message, and the last good
        molecule stays."""
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

    def adjust(self, change: traitlets.Bunch) -> None:
        """The slider of molecules means the store, and the text box shows the source.

        Parameters
        ----------
        change : traitlets.Bunch
            What has changed.
        """
        if change["name"] == "molecule":
            self.source = "store"  # whoever moves the slider wants the store's molecule
        typed = "" if self.source == "store" else self.source
        if (self.text.value.strip() or "store") != self.source:
            self.text.value = typed

    def redraw(self) -> None:
        """Change figure and view in place."""
        n = self.numbers()
        super().redraw()
        self.view.show(n["atoms"], self.arrows(), title=self._title())  # one message


def _mean_length(vectors: np.ndarray | None) -> float | None:
    """The mean length of vectors [n, 3]; None if there are none."""
    return None if vectors is None else plain_number(np.linalg.norm(vectors, axis=1).mean())
