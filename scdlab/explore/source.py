"""Where a structure comes from: typed as SMILES or the name of a file, chosen as a file, or taken
out of QM9 by its number; and a slider where a file has several frames."""

import html
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ipywidgets as widgets
import traitlets

from scdlab.explore import svg
from scdlab.explore.controls import Bounds, check_bounds
from scdlab.explore.inputs import Text, Whole, checked_store
from scdlab.explore.structures import checked, read_frames, read_structures, sample_store
from scdlab.explore.style import CONTROL_WIDTH
from scdlab.explore.words import DESCRIPTION, error_text, labeled

LARGEST_FILE = 20_000_000  # bytes


class MoleculeSource(widgets.VBox):
    """A structure that the reader chooses, for all that listens.

    State, in traits: source (a SMILES, the name of a file, or "QM9 n") and frame, the one of a file
    with several. What cannot be read is said in `message`, and the structure stays.

    Parameters
    ----------
    text : str
        A SMILES, or a structure file.
    qm9 : AtomStore, optional
        Molecules that are chosen by number; by default the kit's sample of QM9.

    Attributes
    ----------
    frames : list of ase.Atoms
        The structures of the source.
    row : int or None
        The number in `qm9`, for a molecule of it.
    message : ipywidgets.HTML
        What could not be read, and why.

    Raises
    ------
    ValueError
        When the text is neither.
    """

    source = Text()
    frame = Whole()
    _in_bounds = traitlets.validate("frame")(check_bounds)

    def __init__(self, text: str, qm9: Any = None):
        self.qm9 = checked_store(sample_store() if qm9 is None else qm9, "MoleculeSource")
        self.frames = read_structures(text)
        self.row: int | None = None
        self._listeners: list[Callable[[], object]] = []
        wide = dict(
            style={"description_width": "90px"}, layout=widgets.Layout(width=f"{CONTROL_WIDTH}px")
        )
        self.text = widgets.Text(
            text,
            placeholder="SMILES or file, e.g. CC(=O)O",
            description="SMILES, file",
            continuous_update=False,
            **wide,
        )
        self.upload = widgets.FileUpload(
            multiple=False, description="choose a file", layout=widgets.Layout(width="150px")
        )
        self.number = widgets.BoundedIntText(
            0, 0, len(self.qm9) - 1, description="QM9 number", continuous_update=False, **wide
        )
        self.slider = widgets.IntSlider(
            0, 0, 0, description="frame", layout=widgets.Layout(display="none")
        )
        self.message = widgets.HTML()
        self.about = widgets.HTML()
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        row = widgets.HBox([self.text, self.upload, self.number], layout=wrap)
        super().__init__([row, self.slider, self.message, self.about])
        self.source = text
        self._show()
        self._say()
        self.text.observe(lambda change: self.choose(change["new"], show=True), names=["value"])
        self.upload.observe(self._uploaded, names=["value"])
        self.number.observe(lambda change: self.take(change["new"]), names=["value"])
        traitlets.link((self, "frame"), (self.slider, "value"))
        self.observe(lambda change: self._tell(), names=["frame"])

    @property
    def atoms(self) -> ase.Atoms:
        """The structure that is chosen."""
        return self.frames[self.frame]

    def to_svg(self) -> str:
        """The structure as a still picture, with what it is called."""
        formula = self.atoms.get_chemical_formula()
        return svg.stack([svg.molecule(self.atoms)], [f"{self.title}: {formula}"])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and its picture for places without a kernel."""
        live: Any = super()._repr_mimebundle_(**kwargs)
        words = f"The structure that is chosen, drawn: {self._about()}"
        return (
            live | svg.still_picture(lambda: labeled(self.to_svg(), words)) | {DESCRIPTION: words}
        )

    @property
    def title(self) -> str:
        """What the structure is called."""
        of = f", frame {self.frame}" if len(self.frames) > 1 else ""
        return f"{self.source}{of}"

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
        return Bounds(0, len(self.frames) - 1)

    def listen(self, call: Callable[[], object]) -> None:
        """Call something whenever another structure is chosen.

        Parameters
        ----------
        call : callable
            Without arguments.
        """
        self._listeners.append(call)

    def choose(self, text: str, show: bool = False) -> None:
        """Choose another structure.

        Parameters
        ----------
        text : str
            A SMILES, or a structure file.
        show : bool, default False
            Show an error in `message` instead of raising it.

        Raises
        ------
        ValueError
            When the text is neither, unless errors are shown.
        """
        text = text.strip()
        if not text or text == self.source:
            return
        try:
            frames = read_structures(text)
        except ValueError as error:
            if not show:
                raise
            self._refuse(str(error))
            return
        self._take(frames, text, None)

    def take(self, row: int) -> None:
        """Choose a molecule of QM9.

        Parameters
        ----------
        row : int
            Its number in the store.

        Raises
        ------
        ValueError
            For a number that the store does not have.
        """
        if not 0 <= row < len(self.qm9):
            raise ValueError(
                f"The QM9 number must be between 0 and {len(self.qm9) - 1:,}, got {row}."
            )
        if row != self.row:
            self._take([checked(self.qm9.to_ase(int(row)), f"QM9 {row}")], f"QM9 {row}", int(row))

    def _uploaded(self, change: traitlets.Bunch) -> None:
        """A file came from the browser: name and content."""
        for file in change["new"]:
            name = Path(file["name"]).name
            content = bytes(file["content"])
            if len(content) > LARGEST_FILE:
                self._refuse(f"{name} has {len(content) / 1e6:.0f} MB; choose a file up to 20 MB.")
                return
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name  # ase tells formats by the name
                path.write_bytes(content)
                try:
                    frames = read_frames(path, name)
                except ValueError as error:
                    self._refuse(str(error))
                    return
            self._take(frames, name, None)

    def _take(self, frames: list[ase.Atoms], source: str, row: int | None) -> None:
        self.frames = frames
        self.row = row
        self.source = source
        with self.hold_trait_notifications():
            self.frame = 0
        self._show()
        self._tell()

    def _show(self) -> None:
        """Bring the controls to the structure."""
        self.slider.max = len(self.frames) - 1
        self.slider.layout.display = "none" if len(self.frames) == 1 else None
        self.message.value = ""
        if self.row is not None and self.number.value != self.row:
            self.number.value = self.row
        if self.text.value.strip() != self.source:
            self.text.value = self.source if self.row is None else ""

    def _tell(self) -> None:
        self._say()
        for call in self._listeners:
            call()

    def _about(self) -> str:
        atoms = self.atoms
        cell = ", periodic" if atoms.pbc.any() else ""
        several = f"; {len(self.frames)} frames" if len(self.frames) > 1 else ""
        return f"{self.title}: {atoms.get_chemical_formula()}, {len(atoms)} atoms{cell}{several}"

    def _say(self) -> None:
        self.about.value = html.escape(self._about())

    def _refuse(self, words: str) -> None:
        self.message.value = error_text(
            html.escape(f"{words} The structure shown is still {self.title}.")
        )
