"""Where the reference, as `make docs` builds it, describes the names that a lesson uses."""

import re
import zlib
from pathlib import Path
from typing import Any

import scdlab

INVENTORY = "objects.inv"


class Reference:
    """The addresses of public names.

    Parameters
    ----------
    folder : Path
        The built reference.

    Raises
    ------
    ValueError
        The folder holds none.
    """

    def __init__(self, folder: Path):
        inventory = folder / INVENTORY
        if not inventory.is_file():
            raise ValueError(
                f"{folder} must hold the reference as `make docs` builds it (it has no "
                f"{INVENTORY}): build it, or name its folder with --docs."
            )
        self.folder = folder
        self._pages = _pages_of(inventory.read_bytes())

    def address(self, name: str) -> str | None:
        """Where a name is described.

        Parameters
        ----------
        name : str
            As lessons write it: "scdlab.fit", "explore.view_molecule".

        Returns
        -------
        str or None
            The address within the reference; None for a name that it does not have.
        """
        value: Any = scdlab
        for part in name.removeprefix("scdlab.").split("."):
            value = getattr(value, part, None)
        home = getattr(value, "__module__", None)
        within = getattr(value, "__qualname__", None)
        return self._pages.get(f"{home}.{within}")

    def names_in(self, code: str) -> list[tuple[str, str]]:
        """The public names that some code uses.

        Parameters
        ----------
        code : str
            Python code, as a lesson has it.

        Returns
        -------
        list of (str, str)
            Name and address of each, in the order of the alphabet.
        """
        floors = "|".join(name for name in _floors())
        used = set(re.findall(rf"\b(?:scdlab\.)?(?:{floors})\.[A-Za-z]\w*", code))
        used |= set(re.findall(r"\bscdlab\.[A-Za-z]\w*", code))
        found = {name: self.address(name) for name in used}
        return sorted((name, address) for name, address in found.items() if address)


def _floors() -> list[str]:
    """Modules of the kit that lessons use by their own names."""
    return ["analysis", "claims", "explore", "lessons", "objectives", "files", "units"]


def _pages_of(content: bytes) -> dict[str, str]:
    """Full name -> address, from an inventory of objects in the form of Sphinx."""
    start = 0
    for _ in range(4):  # lines of text before the compressed part
        start = content.index(b"\n", start) + 1
    found = {}
    for line in zlib.decompress(content[start:]).decode().splitlines():
        name, _, _, address = line.split(" ")[:4]
        found[name] = address.replace("$", name)
    return found
