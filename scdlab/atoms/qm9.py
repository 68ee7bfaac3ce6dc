"""QM9: 130,831 organic molecules (H C N O F, up to 9 heavy atoms) at B3LYP/6-31G(2df,p) minima.

R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data 1, 140022 (2014); CC0. Of the
published 133,885 molecules, the 3,054 that failed the consistency check of their bonds are left
out. Energies are total energies: no atomic references are subtracted.

The data come inside the package `qm9pack` as csv files. They are parsed once, into a memory-mapped
store in the cache; where the package is missing, a sample of 5,000 molecules stands in.
"""

import importlib.util
import math
import warnings
from pathlib import Path

import numpy as np

from scdlab import files, units
from scdlab.atomic import as_path
from scdlab.atoms.store import AtomStore

MOLECULES = 130_831
PARTS = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")
CACHE = "qm9-v1"

# name -> (column of the csv, factor from its unit, unit)
PROPERTIES = {
    "mu": ("Dipole_debye", 1.0, "D"),
    "alpha": ("Polarizability_bohr3", 1.0, "a0^3"),
    "homo": ("HOMO_au", units.HARTREE, "eV"),
    "lumo": ("LUMO_au", units.HARTREE, "eV"),
    "gap": ("HOMO_LUMO_gap_au", units.HARTREE, "eV"),
    "r2": ("R2_bohr2", 1.0, "a0^2"),
    "zpve": ("ZPVE_au", units.HARTREE, "eV"),
    "U0": ("InternalEnergy_0K_au", units.HARTREE, "eV"),
    "U": ("InternalEnergy_298K_au", units.HARTREE, "eV"),
    "H": ("Enthalphy_298K_au", units.HARTREE, "eV"),  # so spelled in the files
    "G": ("GibbsFreeEnergy_298K_au", units.HARTREE, "eV"),
    "Cv": ("Heatcapacity_Cv_cal_mol_K", 1.0, "cal/mol/K"),
}
_ELEMENTS = {b"H": 1, b"C": 6, b"N": 7, b"O": 8, b"F": 9}


def load_qm9(limit: int | None = None, root: str | Path | None = None) -> AtomStore:
    """QM9 in the order of its files: positions in Å, the properties of `PROPERTIES` in their units,
    energy = U0 in eV.

    The first call parses the files (seconds), later ones open the cache. Without files, the kit's
    sample of 5,000 molecules is returned, with a warning.

    Parameters
    ----------
    limit : int, optional
        Only the first so many molecules. The files are sorted by size: `sample` draws at random.
    root : str or Path, optional
        A folder with the three csv files of qm9pack; by default those of the installed package.

    Raises
    ------
    FileNotFoundError
        When `root` lacks a file.
    ValueError
        For a truncated file, and for a limit that is not positive.
    """
    if limit is not None:
        if not hasattr(limit, "__index__"):
            raise TypeError(
                f"limit must be a whole number of molecules, got {limit!r}: leave it out for all."
            )
        if not limit > 0:
            raise ValueError(
                f"limit must be positive, the number of molecules, got {limit}: leave it out for "
                "all."
            )
    folder = _installed() if root is None else as_path(root).expanduser()
    if folder is None:
        warnings.warn(
            "qm9pack is not installed: this is the kit's sample of 5,000 molecules; `pip install "
            "qm9pack` brings all.",
            stacklevel=2,
        )
        store = AtomStore.open(files.package_dir("data") / "qm9-sample")
    else:
        store = _cached(folder)
    return store if limit is None else store[: int(limit)]


def _installed() -> Path | None:
    """qm9pack's data folder. The package is found but not imported: its import needs the
    departed pkg_resources."""
    found = importlib.util.find_spec("qm9pack")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "data"


def _cached(folder: Path) -> AtomStore:
    """The store parsed from the csv files in `folder`: from the cache if it was made of these very
    files."""
    missing = [name for name in PARTS if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: give the folder with the csv files of qm9pack."
        )
    sizes = {name: (folder / name).stat().st_size for name in PARTS}

    def read(path: Path) -> AtomStore | None:
        store = AtomStore.open(path)
        return store if store.meta.get("csv_bytes") == sizes else None

    made = files.cached(
        CACHE, lambda: parse(folder, sizes), read, lambda path, store: store.save(path)
    )
    try:  # memory-mapped, where it could be kept
        return read(files.cache_dir() / CACHE) or made
    except (OSError, ValueError):
        return made


def parse(folder: Path, sizes: dict[str, int] | None = None) -> AtomStore:
    """A store of the csv files of qm9pack.

    Parameters
    ----------
    folder : Path
        Holds `PARTS`.
    sizes : dict, optional
        Their sizes in bytes, for `meta["csv_bytes"]`.

    Raises
    ------
    ValueError
        For a file that is truncated or lacks molecules.
    """
    parts = [_parse_part(folder / name) for name in PARTS]
    z, pos, size, columns = zip(*parts, strict=True)
    n = sum(map(len, size))
    if n != MOLECULES:
        raise ValueError(
            f"{folder} holds {n:,} molecules, not {MOLECULES:,}: a file is incomplete; reinstall "
            "qm9pack."
        )
    table = np.concatenate(columns)  # [n, properties], in the files' units
    values = {
        name: table[:, k] * factor for k, (name, (_, factor, _)) in enumerate(PROPERTIES.items())
    }
    meta = {
        "source": "QM9 (Ramakrishnan et al., Sci. Data 1, 140022, 2014), from the package qm9pack",
        "licence": "CC0",
        "units": {name: unit for name, (_, _, unit) in PROPERTIES.items()},
        "energy": "U0",
        "csv_bytes": sizes,
    }
    return AtomStore.from_arrays(
        np.concatenate(z),
        np.concatenate(pos),
        np.concatenate([[0], np.cumsum(np.concatenate(size))]),
        energy=values["U0"],
        properties=values,
        meta=meta,
    )


def _parse_part(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(z [N], pos [N, 3], atoms per molecule [n], values [n, P]) of one file.

    Lists stand in quotes, so splitting a line at the quotes gives its fields; numbers of all lines
    are then converted together, which is several times faster than line by line."""
    head, *lines = path.read_bytes().split(b"\n")
    names = head.decode("utf-8", "replace").strip().split(",")
    wanted = [name for name, _, _ in PROPERTIES.values()]
    known = [*wanted, "Harmonic_Freq_cmi"]
    if not set(known) <= set(names):
        raise ValueError(
            f"{path} lacks the columns {', '.join(sorted(set(known) - set(names)))}: reinstall "
            "qm9pack or copy the file again."
        )
    # 17 pieces: 1 is the name, 3 smiles, 5 inchi, 6 the number of atoms, 7 the formula, 9 elements,
    # 11 xyz, 13 charges, 15 frequencies, 16 all other numbers
    lists = [line.split(b'"') for line in lines[:-1]]
    broken = next((k for k, fields in enumerate(lists) if len(fields) != 17), None)
    if broken is not None or not lists or lines[-1]:  # a last line without its end may lack digits
        at = len(lines) if broken is None else broken
        raise ValueError(
            f"{path} is truncated near line {at + 2}: reinstall qm9pack or copy the file again."
        )
    last = names[names.index("Harmonic_Freq_cmi") + 1 :]  # the plain numbers after the last list
    if lacking := set(wanted) - set(last):
        raise ValueError(
            f"{path} has the column {sorted(lacking)[0]} in another place than expected: reinstall "
            "qm9pack or copy the file again."
        )
    rows = [
        (
            fields[6].strip(b","),
            fields[9][1:-1].replace(b"'", b"").split(b","),
            fields[11].translate(None, b"[]"),
            fields[16][1:].rstrip(),
        )
        for fields in lists
    ]
    for k, (size, symbols, xyz, values) in enumerate(rows):
        counts = (len(symbols), xyz.count(b",") + 1, values.count(b",") + 1)
        n = int(size) if size.isdigit() and len(size) < 4 else 0
        if counts != (n, 3 * n, len(last)) or not _ELEMENTS.keys() >= set(symbols):
            raise ValueError(
                f"{path} is damaged in line {k + 2}: {size[:20].decode('ascii', 'replace')} atoms, "
                f"{counts[0]} elements, {counts[1]} coordinates and {counts[2]} values do not "
                "agree; reinstall qm9pack or copy the file again."
            )
    xyz = _numbers(path, [row[2] for row in rows])
    values = _numbers(path, [row[3] for row in rows])
    values = values.reshape(len(rows), -1)[:, [last.index(name) for name in wanted]]
    z = np.array([_ELEMENTS[symbol] for row in rows for symbol in row[1]], np.uint8)
    size = np.array([len(row[1]) for row in rows], np.int64)
    return z, xyz.reshape(-1, 3).astype(np.float32), size, values


def _numbers(path: Path, rows: list[bytes]) -> np.ndarray:
    """All numbers of comma-separated rows, one row a line of the file. Raises ValueError for what
    is no finite number."""
    joined = b",".join(rows)
    with warnings.catch_warnings():
        # what numpy warns of where a number cannot be read
        warnings.simplefilter("error", DeprecationWarning)
        try:
            found = np.fromstring(joined, sep=",")
            if len(found) == joined.count(b",") + 1 and np.isfinite(found).all():
                return found
        except (DeprecationWarning, ValueError):
            pass  # which line it is follows
    for k, row in enumerate(rows):
        for word in row.split(b","):
            if not _is_number(word):
                raise ValueError(
                    f"{path} has {word[:20].decode('ascii', 'replace')!r} in line {k + 2}, where a "
                    "number is expected: reinstall qm9pack or copy the file again."
                )
    raise ValueError(f"{path} holds numbers that cannot be read: reinstall qm9pack.")


def _is_number(word: bytes) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
