"""Revised MD17: energies and forces along molecular dynamics of ten small molecules, PBE/def2-SVP.

A. S. Christensen, O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020); CC0. 100,000
frames per molecule taken from the MD17 trajectories (S. Chmiela et al., Sci. Adv. 3, e1603015,
2017) and labeled anew without the noise of the originals. Neighboring frames are correlated: train
on at most 1,000.

The files give kcal/mol; here everything is eV and eV/Å.
"""

import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from scdlab import files, units
from scdlab.atoms.download import download
from scdlab.atoms.store import AtomStore

MOLECULES = (
    *("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde"),
    *("naphthalene", "paracetamol", "salicylic", "toluene", "uracil"),
)
# doi 10.6084/m9.figshare.12672038, version 3: 1,066,301,513 bytes
URL = "https://figshare.com/ndownloader/files/23950376"
SHA256 = "cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b"

_LAYOUTS = (  # z [n], R [F, n, 3], E [F], F [F, n, 3]
    ("nuclear_charges", "coords", "energies", "forces"),  # as published
    ("z", "R", "E", "F"),  # MD17's own, and compact copies with the splits inside
)


def load_md17(name="ethanol", root=None) -> AtomStore:
    """The rMD17 trajectory of the molecule `name`, energies in eV and forces in eV/Å, in file
    order.

    root: the .npz file, or a folder that holds it (`rmd17_<name>.npz` or `rmd17_<name>_all.npz`,
    also in the published archive's folders); by default the folder SCDLAB_DATA. What is not there
    is downloaded once into the cache (1 GB). `store.published_split(k)` gives the k-th published
    1,000 + 1,000 split where the split indices are at hand. Raises FileNotFoundError, ValueError or
    ConnectionError, each with the remedy.
    """
    name = str(name).lower().replace(" acid", "").removeprefix("rmd17_")
    if root is not None:
        path = _find(Path(root).expanduser(), name)
        if path is None:
            raise FileNotFoundError(
                f"{root} has no rmd17_{name}.npz: give the file, or the folder that holds it."
            )
        return read(path, name)
    cache = files.cache_dir() / "rmd17"
    for place in (files.user_data(), cache):
        if place is not None and (path := _find(place, name)) is not None:
            return read(path, name)
    if name not in MOLECULES:
        raise ValueError(f"rMD17 has no molecule {name!r}: choose one of {', '.join(MOLECULES)}.")
    try:
        fetch(cache)
    except ConnectionError as error:
        raise ConnectionError(
            "rMD17 is not in SCDLAB_DATA and cannot be downloaded now: put the file "
            f"rmd17_{name}.npz into a folder and set SCDLAB_DATA to it ({error})"
        ) from error
    return read(_find(cache, name), name)


def fetch(folder: Path) -> None:
    """Download the published archive (resumable, checksummed) and unpack its trajectories and
    splits into `folder`."""
    archive = download(URL, folder.parent / "rmd17.tar.bz2", SHA256)
    with files.atomic_folder(folder) as new, tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if (
                member.isfile()
                and path.parent.name in ("npz_data", "splits")
                and path.suffix in (".npz", ".csv")
            ):
                (new / path.parent.name).mkdir(exist_ok=True)
                with open(
                    new / path.parent.name / path.name, "wb"
                ) as f:  # the last two names: no way out of `new`
                    shutil.copyfileobj(tar.extractfile(member), f)
    archive.unlink()


def read(path: Path, name="") -> AtomStore:
    """A store from one .npz file in either layout. Raises ValueError for a damaged file and for
    other contents."""
    try:
        with np.load(path, allow_pickle=False) as data:
            keys = next((keys for keys in _LAYOUTS if set(keys) <= set(data.files)), None)
            if keys is None:
                expected = " or ".join(", ".join(keys) for keys in _LAYOUTS)
                raise ValueError(
                    f"{path} has the arrays {sorted(data.files)}, not {expected}: it is no MD17 "
                    "file."
                )
            z, pos, energy, forces = (data[key] for key in keys)
            splits = {
                key: data[key].tolist() for key in data.files if key.startswith(("train", "test"))
            }
    except (zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} is truncated or damaged ({error}): copy or download it again."
        ) from error
    n, atoms = pos.shape[:2]
    splits = splits or _published_splits(path)
    return AtomStore.from_arrays(
        np.tile(z, n),
        pos.reshape(-1, 3),
        np.arange(n + 1) * atoms,
        energy=energy.reshape(-1) * units.KCAL_MOL,
        forces=forces.reshape(-1, 3) * units.KCAL_MOL,
        meta={
            "source": f"revised MD17, {name} (Christensen and von Lilienfeld, 2020)",
            "licence": "CC0",
            **({"splits": splits} if splits else {}),
        },
    )


def _find(place: Path, name: str) -> Path | None:
    """The file of the molecule `name` in `place`, which may be the file itself."""
    if place.is_file():
        return place
    folders = [place, place / "rmd17", place / "npz_data", place / "rmd17" / "npz_data"]
    paths = [
        folder / file
        for folder in folders
        for file in (f"rmd17_{name}.npz", f"rmd17_{name}_all.npz")
    ]
    return next((path for path in paths if path.is_file()), None)


def _published_splits(path: Path) -> dict:
    """The split indices that the published archive keeps in csv files beside the trajectories; {}
    without them."""
    splits = {}
    for folder in (path.parent / "splits", path.parent.parent / "splits"):
        for file in sorted(
            folder.glob("index_t*_0?.csv")
        ):  # index_train_01.csv, index_test_01.csv, …
            _, side, k = file.stem.split("_")
            splits[f"{side}{int(k)}"] = np.loadtxt(file, dtype=np.int64, ndmin=1).tolist()
        if splits:
            break
    return splits
