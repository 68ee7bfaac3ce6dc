"""Revised MD17: energies and forces along molecular dynamics of ten small molecules, PBE/def2-SVP.

A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020); CC0. 100,000
frames per molecule taken from the MD17 trajectories (S. Chmiela et al., Sci. Adv. 3, e1603015,
2017) and labeled anew without the noise of the originals. Neighboring frames are correlated: train
on at most 1,000.

The files give kcal/mol; here everything is eV and eV/Å.
"""

import re
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from scdlab import files
from scdlab.atomic import as_path
from scdlab.atoms import npz, promises
from scdlab.atoms.download import download
from scdlab.atoms.store import AtomStore
from scdlab.atoms.validate import Arrays
from scdlab.locks import Busy, locked

MOLECULES = (
    *("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde"),
    *("naphthalene", "paracetamol", "salicylic", "toluene", "uracil"),
)
# doi 10.6084/m9.figshare.12672038, version 3: 1,066,301,513 bytes
URL = "https://figshare.com/ndownloader/files/23950376"
SHA256 = "cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b"

# as published (coords [n, k, 3], …), and MD17's own, with the splits inside in compact copies
_LAYOUTS = (("nuclear_charges", "coords", "energies", "forces"), ("z", "R", "E", "F"))


def load_md17(name: str = "ethanol", root: str | Path | None = None) -> AtomStore:
    """The rMD17 trajectory of one molecule, energies in eV and forces in eV/Å, in file order.

    `store.published_split(k)` gives the k-th published 1,000 + 1,000 split where the split indices
    are at hand.

    Parameters
    ----------
    name : str, default "ethanol"
        One of `MOLECULES`.
    root : str or Path, optional
        The .npz file, or a folder that holds it (`rmd17_<name>.npz` or `rmd17_<name>_all.npz`, also
        in the published archive's folders). By default the folder SCDLAB_DATA; what is not there is
        downloaded once into the cache (1 GB).

    Raises
    ------
    FileNotFoundError
        When `root` does not hold the molecule.
    ValueError
        For an unknown molecule, and for a file that is damaged or holds something else.
    ConnectionError
        When the archive is needed and cannot be downloaded.
    """
    name = str(name).lower().replace(" acid", "").removeprefix("rmd17_")
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(f"The molecule must be one of {', '.join(MOLECULES)}, got {name!r}.")
    if root is not None:
        place = as_path(root).expanduser()
        path = _find(place, name)
        if path is None and not place.exists():
            raise FileNotFoundError(
                f"There is no file or folder {root}: give the .npz file of {name}, or the folder "
                "that holds it."
            )
        if path is None:
            raise FileNotFoundError(
                f"{root} has no rmd17_{name}.npz: give the file, or the folder that holds it."
            )
        return read(path, name)
    data = files.user_data()
    if data is not None and (path := _find(data, name)) is not None:
        return read(path, name)
    cache = files.cache_dir() / "rmd17"  # raises for a user without a home
    if (path := _find(cache, name)) is not None:
        return read(path, name)
    if name not in MOLECULES:
        raise ValueError(f"The molecule must be one of {', '.join(MOLECULES)}, got {name!r}.")
    try:
        fetch(cache)
    except ConnectionError as error:
        raise ConnectionError(
            f"rMD17 is not in SCDLAB_DATA and cannot be downloaded now ({error}): put the file "
            f"rmd17_{name}.npz into a folder and set SCDLAB_DATA to it."
        ) from error
    except Busy:
        raise
    except OSError as error:  # a full disk, a folder that cannot be written
        raise OSError(
            f"The archive of rMD17 cannot be kept in {cache.parent} ({promises.reason(error)}): "
            "set SCDLAB_CACHE to a folder with 3 GB to spare."
        ) from error
    path = _find(cache, name)
    if path is None:
        raise FileNotFoundError(f"The archive of rMD17 has no rmd17_{name}.npz: choose another.")
    return read(path, name)


def fetch(folder: Path) -> None:
    """Download the published archive (resumable, checksummed) and unpack its trajectories and
    splits.

    Parameters
    ----------
    folder : Path
        Where to put them.

    Raises
    ------
    Busy
        While another process does the same.
    ConnectionError
        When the server cannot be reached or breaks off.
    ValueError
        When what comes is not the published archive.
    """
    with locked(folder):  # two downloads would write one file
        files.sweep(folder)
        archive = download(URL, folder.parent / "rmd17.tar.bz2", SHA256)
        try:
            with files.atomic_folder(folder) as new, tarfile.open(archive) as tar:
                if folder.is_dir():  # files that somebody has put there stay
                    shutil.copytree(folder, new, dirs_exist_ok=True)
                for member in tar:
                    _unpack(tar, member, new)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{archive} cannot be unpacked ({promises.reason(error)}): remove it and try again."
            ) from error
        archive.unlink()


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a member of the archive into the folder, if it is a trajectory or a split."""
    path = PurePosixPath(member.name)
    wanted = path.parent.name in ("npz_data", "splits") and path.suffix in (".npz", ".csv")
    source = tar.extractfile(member) if wanted else None  # None for what is no file
    if source is not None:
        target = folder / path.parent.name / path.name  # two names: no way out of the folder
        target.parent.mkdir(exist_ok=True)
        with open(target, "wb") as f:
            shutil.copyfileobj(source, f)


def read(path: Path, name: str = "") -> AtomStore:
    """A store of one .npz file of MD17 or revised MD17.

    Parameters
    ----------
    path : Path
        The file, in either layout.
    name : str, default ""
        The molecule, for `meta["source"]`.

    Raises
    ------
    ValueError
        For a damaged file and for other contents.
    """
    data = npz.read(path)
    keys = next((keys for keys in _LAYOUTS if set(keys) <= set(data)), None)
    if keys is None:
        expected = " or ".join(", ".join(keys) for keys in _LAYOUTS)
        raise ValueError(
            f"{path} has the arrays {', '.join(sorted(data)) or 'none'}, and a file of MD17 has "
            f"{expected}: it is no MD17 file; give another, or read this one with "
            "AtomStore.from_file."
        )
    npz.check_kinds(path, data)
    z, pos, energy, forces = (data[key] for key in keys)
    if pos.ndim != 3 or pos.shape[2] != 3 or not len(pos):
        raise ValueError(
            f"{path} has {keys[1]} of the shape {pos.shape}, and a trajectory has [n, k, 3]: give "
            "another file, or read this one with AtomStore.from_file."
        )
    splits = _own_splits(path, data) or _published_splits(path)
    npz.check_splits(path, splits, len(pos))
    meta: dict = {
        "source": f"revised MD17, {name} (Christensen and von Lilienfeld, 2020)",
        "licence": "CC0",
    }
    if splits:
        meta["splits"] = splits
    return AtomStore.from_arrays(
        z, pos, energy=energy, forces=forces, energy_unit="kcal/mol", meta=meta
    )


def _find(place: Path, name: str) -> Path | None:
    """The file of the molecule `name` in `place`, which may be the file itself."""
    if place.is_file():
        return place
    folders = [place, place / "rmd17", place / "npz_data", place / "rmd17" / "npz_data"]
    names = (f"rmd17_{name}.npz", f"rmd17_{name}_all.npz")
    paths = [folder / file for folder in folders for file in names]
    return next((path for path in paths if path.is_file()), None)


def _own_splits(path: Path, data: Arrays) -> dict:
    """The split indices inside a file; {} without them."""
    splits = {}
    for name, rows in data.items():
        if not re.fullmatch(r"(train|test)\d+", name):
            continue
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"{path} has the split {name!r} ({rows.dtype}, {rows.shape}), and a split is a list"
                " of row numbers: correct or remove it."
            )
        splits[name] = rows.tolist()
    return splits


def _published_splits(path: Path) -> dict:
    """The split indices that the published archive keeps in csv files beside the trajectories; {}
    without them."""
    splits: dict = {}
    for folder in (path.parent / "splits", path.parent.parent / "splits"):
        # index_train_01.csv, index_test_01.csv, …
        for file in sorted(folder.glob("index_t*.csv")):
            found = re.fullmatch(r"index_(train|test)_(\d{1,3})", file.stem)
            if found is not None:
                splits[f"{found[1]}{int(found[2])}"] = _rows(file)
        if splits:
            break
    return splits


def _rows(file: Path) -> list[int]:
    """The row numbers in a file of one side of a split, one a line."""
    if not file.is_file():
        raise ValueError(
            f"{file} is no file, and a split stands there under this name: copy it again, or "
            "remove it to go without the published splits."
        )
    words = file.read_bytes().split()
    for k, word in enumerate(words):
        if not word.isdigit() or len(word) > 12:
            raise ValueError(
                f"{file} has {word[:20].decode('ascii', 'replace')!r} as its entry {k + 1}, and a "
                "split is a list of row numbers: copy it again, or remove it to go without the "
                "published splits."
            )
    return [int(word) for word in words]
