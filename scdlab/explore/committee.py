"""Forces of every trained model on one structure, beside those of GFN2-xTB: the explorer of lesson
03, and a table below it."""

import html
from collections.abc import Mapping
from typing import Any

import ase
import ipywidgets as widgets
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from scdlab.analysis.answers import (
    CLIMB,
    Answer,
    ask,
    force_error,
    reference_answer,
    spread,
)
from scdlab.analysis.denoising import Reference, displacements
from scdlab.analysis.inputs import bare_copy
from scdlab.atoms import AtomStore
from scdlab.explore import style
from scdlab.explore.forces import ForceExplorer
from scdlab.explore.scene import HEADS
from scdlab.explore.style import PLOTS_WIDTH, VIEW_WIDTH
from scdlab.explore.view import MoleculeView
from scdlab.nn.model import AtomisticModel

RATTLED = (0.0, 0.02, 0.05, 0.1, 0.2)  # Å, of the frames
_CELL = "style='text-align:left;padding:2px 10px 2px 0;vertical-align:top'"


def labeled_frames(atoms: ase.Atoms, reference: Reference, seed: int = 0) -> AtomStore:
    """A structure as it is and displaced by noise of growing size, labeled by a reference.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    reference : Reference
        Where energies and forces come from.
    seed : int, default 0
        Of the noise.

    Returns
    -------
    AtomStore
        The frames, in the order of `RATTLED`; those without a solution are left out.

    Raises
    ------
    ValueError
        For a structure that the reference cannot treat.
    """
    eps = [s * displacements(atoms, 1.0, seed) for s in RATTLED[1:]] if len(atoms) > 1 else []
    pos = np.stack([atoms.positions, *(atoms.positions + each for each in eps)])
    energy, forces = reference(atoms, pos)
    frames = []
    for x, e, f in zip(pos, energy, forces, strict=True):
        if not np.isfinite(f).all():
            continue
        frame = bare_copy(atoms)
        frame.positions = x
        frame.calc = SinglePointCalculator(frame, energy=float(e), forces=f)
        frames.append(frame)
    if not frames:
        raise ValueError(f"{reference.name} found no solution for this structure.")
    return AtomStore.from_ase(frames)


class Committee(widgets.VBox):
    """What all trained models say of one structure: arrows, errors, and how far they disagree.

    Frame 0 of the explorer is the structure, the others are displaced by 0.02, 0.05, 0.1 and 0.2 Å.
    Without a reference that can treat the structure, the models' own forces are drawn.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure.
    models : mapping
        Name -> model with forces.
    reference : Reference, optional
        Where the forces come from that the models are compared with.
    missing : str, optional
        Why there is no reference.
    alike : sequence of str, optional
        Names of the models that learned what the reference computes; their spread is in the table.

    Attributes
    ----------
    explorer : ForceExplorer or MoleculeView
        The arrows.
    answers : list of Answer
        What each model said.
    true : Answer or None
        What the reference said.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        models: Mapping[str, AtomisticModel],
        reference: Reference | None = None,
        missing: str = "",
        alike: tuple[str, ...] = (),
    ):
        self.atoms = atoms
        self.models = dict(models)
        self.alike = alike
        self.answers = ask(models, atoms)
        self.true: Answer | None = None
        able = {each.name: models[each.name] for each in self.answers if not each.why}
        remark = missing
        if reference is not None:
            self.true = reference_answer(reference, atoms)
            remark = self.true.why
        self.explorer: Any
        not_drawn: list[str] = []
        if reference is not None and not remark:
            self.explorer = ForceExplorer(labeled_frames(atoms, reference), able)
        else:
            arrows = {
                each.name: dict(vectors=each.forces, unit="eV/Å", color=style.color(k))
                for k, each in enumerate(self.answers)
                if each.forces is not None
            }
            drawn = dict(list(arrows.items())[: len(HEADS)])
            not_drawn = [name for name in arrows if name not in drawn]
            size = (VIEW_WIDTH, 330)
            self.explorer = MoleculeView(atoms, drawn, title="forces of the models", size=size)
        words = f"<p>No comparison: {html.escape(remark)}</p>" if remark else ""
        if not_drawn:
            names = html.escape(", ".join(not_drawn))
            words += f"<p>Not drawn: {names}. The view holds {len(HEADS)} kinds of arrows.</p>"
        self.table = widgets.HTML(words + self.table_html())
        super().__init__([self.explorer, self.table])

    def forces(self) -> dict[str, np.ndarray]:
        """Forces [n, 3] in eV/Å of the models that can answer, and of the reference.

        Returns
        -------
        dict
            By name.
        """
        found = {} if self.true is None or self.true.forces is None else {"GFN2-xTB": self.true}
        found |= {each.name: each for each in self.answers if each.forces is not None}
        return {name: each.forces for name, each in found.items() if each.forces is not None}

    def spread(self) -> np.ndarray | None:
        """How far the models that learned the same labels disagree about each atom [n], in eV/Å;
        None where fewer than two of them answer."""
        given = [f for name, f in self.forces().items() if name in self.alike]
        return spread(np.stack(given)) if len(given) > 1 else None

    def state(self) -> dict[str, Any]:
        """Every number of the table.

        Returns
        -------
        dict
            error_NAME in meV/Å and climb_NAME in eV, None where there is none; spread in meV/Å,
            its mean over atoms; no_force, the mean size of a force component in meV/Å; and able,
            the models that can answer.
        """
        true = None if self.true is None else self.true.forces
        numbers: dict[str, Any] = {"able": [each.name for each in self.answers if not each.why]}
        for each in self.answers:
            error = None
            if each.forces is not None and true is not None:
                error = 1e3 * force_error(each.forces, true)
            numbers[f"error_{each.name}"] = error
            numbers[f"climb_{each.name}"] = None if each.why else each.climb
        own = self.spread()
        numbers["spread"] = None if own is None else 1e3 * float(own.mean())
        numbers["no_force"] = None if true is None else 1e3 * float(np.abs(true).mean())
        numbers["climb"] = None if true is None or self.true is None else self.true.climb
        return numbers

    def table_html(self) -> str:
        """The table as html."""
        values = self.state()
        head = ("model", "learned from", "force error", f"climb, {CLIMB} Å")
        rows = ["".join(f"<th {_CELL}>{words}</th>" for words in head)]
        if values["climb"] is not None:
            climb = f"{values['climb']:.2f} eV"
            size = f"0 (a force component is {values['no_force']:.0f} meV/Å)"
            rows.append(_row("GFN2-xTB", "the comparison", size, climb))
        for each in self.answers:
            learned = (self.models[each.name].provenance or {}).get("seen", "")
            if each.why:
                rows.append(_row(each.name, learned, "no answer", each.why))
                continue
            error = values[f"error_{each.name}"]
            words = "–" if error is None else f"{error:.0f} meV/Å"
            rows.append(_row(each.name, learned, words, f"{each.climb:.2f} eV"))
        note = (
            "Climb: how far the energy rises when all atoms are displaced by the same noise; it "
            "can be compared across levels of theory, total energies cannot."
        )
        if values["spread"] is not None:
            names = " and ".join(name for name in self.alike if name in values["able"])
            note += (
                f" Spread of {names}, trained on GFN2-xTB: {values['spread']:.0f} meV/Å, the "
                "root mean square distance from their mean, averaged over the atoms."
            )
        look = f"style='border-collapse:collapse;max-width:{VIEW_WIDTH + PLOTS_WIDTH}px'"
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table {look}>{body}</table><p>{html.escape(note)}</p>"


def _row(*cells: str) -> str:
    """A row; what a model has learned from unfolds."""
    name, learned, *rest = cells
    if len(learned) > 60:
        short = f"<details><summary>{html.escape(learned[:48])} …</summary>{html.escape(learned)}"
        short += "</details>"
    else:
        short = html.escape(learned)
    texts = [html.escape(name), short, *map(html.escape, rest)]
    return "".join(f"<td {_CELL}>{each}</td>" for each in texts)
