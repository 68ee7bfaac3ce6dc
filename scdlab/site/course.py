"""What the course map says of each lesson, and which stops of the live page belong to it."""

from dataclasses import dataclass, replace

TOUR = range(1, 9)
"""Numbers of the live page's stops that are a tour; free play comes after them."""


@dataclass(frozen=True)
class Stop:
    """A stop of the live page.

    Parameters
    ----------
    number : int
        As in the address `live.html#stop=4`.
    title : str
        What one does there.
    takes_any : bool, default True
        Whether it shows whatever structure an address names, and not one of its own.
    structure : str, default ""
        The structure, as an address names it; empty for the stop's own.
    """

    number: int
    title: str
    takes_any: bool = True
    structure: str = ""

    @property
    def scene(self) -> str:
        """The part of an address behind "#"."""
        return f"stop={self.number}" + (f"&{self.structure}" if self.structure else "")

    @property
    def address(self) -> str:
        """Where a link leads."""
        return f"live.html#{self.scene}"

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        number = f"stop {self.number}, " if self.number in TOUR else ""
        return number + self.title.lower()

    def showing(self, structure: str) -> "Stop":
        """The stop with another structure, where it takes any.

        Parameters
        ----------
        structure : str
            As an address names it.

        Returns
        -------
        Stop
            The stop.
        """
        return replace(self, structure=structure) if self.takes_any else self


@dataclass(frozen=True)
class Entry:
    """A lesson on the course map.

    Parameters
    ----------
    line : str
        What it is about.
    time : str
        How long its cells take in the quick profile on two CPU cores.
    seconds : int
        The same as a number, for estimates.
    needs : tuple of str
        Numbers of the lessons that it takes for granted.
    stops : tuple of int
        Numbers of the stops that belong to it.
    """

    line: str
    time: str
    seconds: int
    needs: tuple[str, ...] = ()
    stops: tuple[int, ...] = ()


STOPS = (
    Stop(1, "Pull an atom"),
    Stop(2, "What a distance does"),
    Stop(3, "Let it move", takes_any=False),
    Stop(4, "Noise"),
    Stop(5, "Many answers, one clue"),
    Stop(6, "Tell it what it is"),
    Stop(7, "A map of molecules", takes_any=False),
    Stop(8, "Rotate it", takes_any=False),
    Stop(9, "Free play"),
)
"""The stops of the live page, in order."""

COURSE = {
    "00": Entry(
        "one molecule, what an atomistic model sees, how the kit works",
        "20 s",
        20,
        stops=(1,),
    ),
    "01": Entry(
        "filters as functions of distance, energies and forces, known and unknown isomers",
        "1 min",
        60,
        needs=("00",),
        stops=(1, 2, 3),
    ),
    "01b": Entry(
        "why a filter may be looked up in a table, and how fine the table must be",
        "20 s",
        20,
        needs=("01",),
        stops=(2,),
    ),
    "02": Entry(
        "noise one can hold, what no network can see, forces learned without labels, and where "
        "they end",
        "2 min",
        120,
        needs=("00", "01"),
        stops=(4,),
    ),
    "02b": Entry(
        "few labels and two controls, leakage, distances, maps",
        "2 min",
        120,
        needs=("02",),
        stops=(7,),
    ),
    "03": Entry(
        "denoising off equilibrium with forces as input, ablations that must ablate, tensor "
        "products",
        "2 min",
        120,
        needs=("02",),
        stops=(5,),
    ),
    "04": Entry(
        "what no denoiser can know, two passes of one network, what a description is worth",
        "2 min",
        120,
        needs=("02", "03"),
        stops=(6, 7),
    ),
    "05": Entry(
        "a transformer that knows nothing of rotations, frames that jump, exact symmetry for any "
        "model",
        "2 min",
        120,
        needs=("00", "01"),
        stops=(8, 3),
    ),
    "06": Entry(
        "your own molecule before every model: what they agree on, what they have never seen, what "
        "a promise is worth, and five projects",
        "1 min",
        60,
        needs=("03", "04", "05"),
        stops=(9, 1, 4),
    ),
}
"""Number of a lesson -> what the map says of it; the lines and times of the README."""

OTHER = Entry("", "", 120)
"""What is said of a lesson that is not in the course."""

EXPLORERS = {
    "NeighborExplorer": 1,
    "FilterExplorer": 2,
    "NoiseExplorer": 4,
    "ForceExplorer": 5,
    "ConditionExplorer": 6,
    "EmbeddingExplorer": 7,
    "FrameExplorer": 8,
}
"""Widget of a lesson -> the stop where the same can be tried without a kernel."""

PANELS = {
    "forces": 1,
    "seen": 1,
    "noise": 4,
    "map": 7,
    "symmetry": 8,
    "motion": 3,
}
"""Panel of a bench -> the same; no stop predicts properties."""

BENCH = 9
"""The stop where all of a bench can be tried."""


def stop(number: int) -> Stop:
    """A stop of the live page.

    Parameters
    ----------
    number : int
        Its number.

    Returns
    -------
    Stop
        The stop.
    """
    return STOPS[number - 1]
