"""The bench: one structure that the reader chooses, and every method of the lessons applied to it.

A panel is an explorer of the lessons, made for the present structure when it is looked at: a tab of
the bench, or a `section` in a page of its own place. Another structure makes the panels anew, the
one in front first; what was set in a panel (σ, a model, a temperature) is kept.
"""

import asyncio
import html
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, ClassVar

import ase
import ipywidgets as widgets
import numpy as np
import traitlets

from scdlab.analysis import seen
from scdlab.analysis.answers import cannot_answer
from scdlab.analysis.conditions import self_embedding
from scdlab.analysis.denoisers import Blind, ByForce, Denoiser, ToldForces, ToldVector
from scdlab.analysis.denoising import Reference
from scdlab.explore import svg
from scdlab.explore.bench_files import KINDS, file_of
from scdlab.explore.committee import Committee
from scdlab.explore.controls import check_choice
from scdlab.explore.denoisers import DenoiserExplorer
from scdlab.explore.downloads import Downloads
from scdlab.explore.inputs import Text
from scdlab.explore.motion import MotionExplorer
from scdlab.explore.place import Atlas, PlaceExplorer, atlas
from scdlab.explore.properties import PROPERTIES, PropertyExplorer, predictors
from scdlab.explore.section import Section
from scdlab.explore.seen import SeenExplorer
from scdlab.explore.source import MoleculeSource
from scdlab.explore.structures import MAX_ATOMS_FRAMES
from scdlab.explore.turning import TurnExplorer
from scdlab.explore.words import DESCRIPTION, STRUCTURE, error_text
from scdlab.training.checkpoint import load_pretrained, pretrained_names

TABS = {
    "forces": "forces",
    "seen": "seen before?",
    "noise": "noise",
    "map": "map",
    "properties": "properties",
    "symmetry": "symmetry",
    "motion": "motion",
}
KEPT = {  # what a panel keeps when the structure changes
    "seen": ("model",),
    "noise": ("denoiser", "sigma", "seed", "draws"),
    "map": ("model", "color"),
    "properties": ("model", "inside"),
    "symmetry": (),
    "motion": ("model", "kind", "temperature"),
}
OTHER = 11  # row of QM9 of the "other" molecule that SCD is told


class Bench(widgets.VBox):
    """A structure of the reader's, and all methods of the lessons on it, panel by panel.

    State, in one trait: tab (a key of `TABS`). The structure is chosen in `source`.

    Parameters
    ----------
    text : str
        A SMILES, or a structure file.
    points : int, default 2000
        Molecules of QM9 on the maps, and behind the predicted properties.
    qm9 : AtomStore, optional
        Where they come from, and the molecules chosen by number; by default the kit's sample.
    reference : "gfn2" or None, default "gfn2"
        What forces are compared with; without tblite there is no comparison, and the panel says so.
    seed : int, default 0
        Of the molecules that are drawn.

    Attributes
    ----------
    source : MoleculeSource
        The structure, and its controls.
    models : dict
        Name -> shipped model with forces.
    denoising : dict
        Name -> shipped model that denoises.

    Raises
    ------
    ValueError
        When the text names no structure.
    """

    tab = Text("forces")
    _is_choice = traitlets.validate("tab")(check_choice)
    _pause: ClassVar[float] = 0.05  # seconds before the next panel behind is made anew

    def __init__(
        self,
        text: str,
        points: int = 2000,
        qm9: Any = None,
        reference: str | None = "gfn2",
        seed: int = 0,
    ):
        self.source = MoleculeSource(text, qm9)
        self.points = points
        self.seed = seed
        every: dict[str, Any] = {name: load_pretrained(name) for name in pretrained_names()}
        first = sorted(every, key=lambda name: (not name.endswith("-molecules"), name))
        self.models: dict[str, Any] = {n: every[n] for n in first if every[n].trained_labels.forces}
        self.denoising: dict[str, Any] = {
            n: m for n, m in every.items() if getattr(m, "noise_head", None)
        }
        self.every = every
        self.missing = ""
        self.reference: Reference | None = None
        try:
            self.reference = None if reference is None else Reference(reference)
        except ValueError as error:  # tblite is not installed
            self.missing = str(error)
        self._sections: dict[str, Section] = {}
        self._fresh: set[str] = set()
        self._waiting: list[str] = []
        self.buttons = widgets.ToggleButtons(
            options=[(words, name) for name, words in TABS.items()],
            value="forces",
            style={"button_width": "auto"},
        )
        self.place = widgets.VBox()
        self._busy = widgets.HTML("Computing this panel …")
        self.save = Downloads({kind: partial(file_of, self, kind) for kind in KINDS})
        super().__init__([self.source, self.buttons, self.place, self.save])
        traitlets.link((self, "tab"), (self.buttons, "value"))
        self.observe(lambda change: self._look(), names=["tab"])
        self.source.listen(self._changed)

    # ----------------------------------------------------------------------------------------------
    # the panels

    @property
    def atoms(self) -> ase.Atoms:
        """The structure."""
        return self.source.atoms

    @property
    def looked_at(self) -> dict[str, str]:
        """The panels that were made so far, and their words."""
        return {name: TABS[name] for name in self._sections}

    def choices(self, name: str) -> list[str]:
        """What values a trait may have.

        Parameters
        ----------
        name : str
            The trait.

        Returns
        -------
        list of str
            All of them.
        """
        return list(TABS)

    def section(self, name: str) -> Section:
        """The place of a panel, up to date with the structure.

        Parameters
        ----------
        name : str
            A key of `TABS`.

        Returns
        -------
        Section
            The same for each call: it follows the structure.

        Raises
        ------
        ValueError
            For another name.
        """
        if name not in TABS:
            raise ValueError(f"A panel must be one of {', '.join(TABS)}, got {name!r}.")
        section = self._sections.setdefault(name, Section())
        if name not in self._fresh:
            self._fresh.add(name)
            section.put(self._made(name, section.panel), self.atoms)
        return section

    def panel(self, name: str) -> Any:
        """The explorer of a panel, up to date with the structure.

        Parameters
        ----------
        name : str
            A key of `TABS`.

        Returns
        -------
        widget
            The explorer, or a line of text where no model can answer.
        """
        return self.section(name).panel

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget with the panel in front, and its svg for places without a kernel."""
        self._look()
        live: Any = super()._repr_mimebundle_(**kwargs)
        section = self._sections[self.tab]
        words = section.described_as or f"The bench with {self.source.title}: {TABS[self.tab]}."
        about = {DESCRIPTION: words, STRUCTURE: section.structure}
        return live | svg.still_picture(section.still) | about

    def _look(self) -> None:
        if self.tab not in self._fresh:
            self.place.children = (self._busy,)
        self.place.children = (self.section(self.tab),)

    def _changed(self) -> None:
        """Another structure: the panel in front is made anew now, the others one after another."""
        self._fresh.clear()
        shown = [self.tab] if self.place.children else []
        self._waiting = [name for name in self._sections if name not in shown]
        for name in shown:
            self.section(name)
        self._later()

    def _later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            while self._waiting:
                self.section(self._waiting.pop(0))
            return
        if self._waiting:
            loop.call_later(self._pause, self._next)

    def _next(self) -> None:
        if self._waiting:
            self.section(self._waiting.pop(0))
            self._later()

    def _made(self, name: str, before: Any) -> Any:
        """A panel for the present structure; where none can be made, the reason."""
        kept = {each: getattr(before, each) for each in KEPT.get(name, ()) if hasattr(before, each)}
        makers: dict[str, Callable[..., Any]] = {
            "forces": self._forces,
            "seen": self._seen,
            "noise": self._noise,
            "map": self._map,
            "properties": self._properties,
            "symmetry": self._symmetry,
            "motion": self._motion,
        }
        try:
            return makers[name](self.atoms, kept)
        except ValueError as error:
            return widgets.HTML(error_text(html.escape(str(error))))

    def _able(self, models: dict[str, Any], output: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Those of some models that can answer, and why the others cannot."""
        why = {name: cannot_answer(model, self.atoms, output) for name, model in models.items()}
        able = {name: models[name] for name, words in why.items() if not words}
        by_reason: dict[str, list[str]] = {}
        for name, words in why.items():
            if words:
                by_reason.setdefault(words, []).append(name)
        return able, tuple(f"{', '.join(names)}: {words}" for words, names in by_reason.items())

    def _forces(self, atoms: ase.Atoms, kept: dict[str, Any]) -> Committee:
        alike = tuple(
            name for name in self.models if name in ("schnet-molecules", "dens-molecules")
        )
        return Committee(atoms, self.models, self.reference, self.missing, alike)

    def _seen(self, atoms: ase.Atoms, kept: dict[str, Any]) -> SeenExplorer:
        known = seen.training_atoms()
        able, remarks = self._able({name: self.every[name] for name in known}, "noise")
        found = {name: seen.distances(net, atoms, known[name]) for name, net in able.items()}
        return SeenExplorer(atoms, found, remarks, **kept)

    def _noise(self, atoms: ase.Atoms, kept: dict[str, Any]) -> DenoiserExplorer:
        found, remarks = self.denoisers()
        return DenoiserExplorer(atoms, found, remarks, **kept)

    def _map(self, atoms: ase.Atoms, kept: dict[str, Any]) -> PlaceExplorer:
        return PlaceExplorer(atoms, self.atlas, **kept)

    def _properties(self, atoms: ase.Atoms, kept: dict[str, Any]) -> PropertyExplorer:
        row = self.source.row
        store = self.source.qm9
        known = [name for name in PROPERTIES if name in store.property_names]
        true = {} if row is None else {name: float(store.property(name)[row]) for name in known}
        return PropertyExplorer(atoms, self.atlas, self.fits, true, **kept)

    def _symmetry(self, atoms: ase.Atoms, kept: dict[str, Any]) -> TurnExplorer:
        if len(atoms) > MAX_ATOMS_FRAMES:
            raise ValueError(
                f"The symmetry panel takes structures of up to {MAX_ATOMS_FRAMES} atoms, got "
                f"{len(atoms)}: ECSE evaluates the network some times for each atom."
            )
        return TurnExplorer(atoms, self.every["pet-ethanol"], **kept)

    def _motion(self, atoms: ase.Atoms, kept: dict[str, Any]) -> MotionExplorer:
        able, remarks = self._able(self.models, "forces")
        if not able:
            raise ValueError(f"No model can move this structure. {' '.join(remarks)}")
        best = "schnet-molecules"  # of many molecules
        able = {best: able[best], **able} if best in able else able
        return MotionExplorer(atoms, able, **kept)

    # ----------------------------------------------------------------------------------------------
    # what panels share

    @cached_property
    def atlas(self) -> Atlas:
        """Molecules of QM9 as Coord and SCD describe them."""
        models = {"Coord": self.every["coord-ct"], "SCD": self.every["scd-ct"]}
        return atlas(self.source.qm9, models, self.points, self.seed)

    @cached_property
    def fits(self) -> dict[str, Any]:
        """Predictors of properties, of each model of the atlas."""
        return predictors(self.atlas)

    def denoisers(self) -> tuple[dict[str, Denoiser], tuple[str, ...]]:
        """Every denoiser that can answer for the structure, each told what its method tells it.

        Returns
        -------
        denoisers : dict
            Name -> denoiser.
        remarks : tuple of str
            Why the others cannot.
        """
        atoms = self.atoms
        used = {"coord-et", "coord-ct", "scd-ct", "coord-ct-frames", "scd-ct-frames"}
        able, remarks = self._able({n: self.every[n] for n in self.every if n in used}, "noise")
        found: dict[str, Denoiser] = {}
        blind = {"Coord": "coord-ct", "Coord, ET": "coord-et", "Coord, frames": "coord-ct-frames"}
        for words, name in blind.items():
            if name in able:
                found[words] = Blind(able[name])
        if scd := able.get("scd-ct"):
            other = self.source.qm9.to_ase(min(OTHER, len(self.source.qm9) - 1))
            found["SCD, told own"] = ToldVector(scd, self_embedding(scd, atoms))
            found["SCD, told none"] = ToldVector(scd)
            found["SCD, told other"] = ToldVector(scd, self_embedding(scd, other))
        if frames := able.get("scd-ct-frames"):
            found["SCD frames, own"] = ToldVector(frames, self_embedding(frames, atoms))
            found["SCD frames, none"] = ToldVector(frames)
        forces = {n: m for n, m in self.models.items() if n in ("schnet-molecules",)}
        told = {n: m for n, m in self.models.items() if n == "dens-molecules"}
        moving, silent = self._able(forces | told, "forces")
        remarks += silent
        if "dens-molecules" in moving:
            why = self._dens(found, moving["dens-molecules"])
            remarks += (f"dens-molecules: {why}",) if why else ()
        if "schnet-molecules" in moving:
            found["SchNet's force"] = ByForce.fitted(moving["schnet-molecules"], atoms)
        return found, remarks

    def _dens(self, found: dict[str, Denoiser], model: Any) -> str:
        """Add DeNS, told the reference's forces; else say why not."""
        if self.reference is None:
            return "it has to be told forces, and there is no GFN2-xTB here. " + self.missing
        try:
            forces = self.reference(self.atoms)[1]
        except ValueError as error:
            return f"it has to be told forces. {error}"
        if not np.isfinite(forces).all():
            return "it has to be told forces, and GFN2-xTB found no solution."
        found["DeNS, told force"] = ToldForces(model, forces)
        return ""
