"""What a set of structures is, as one number: the same structures in the same order, and no others,
have the same fingerprint, wherever they are kept."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scdlab import files
from scdlab.atoms.npy import pieces
from scdlab.atoms.storage import all_arrays
from scdlab.atoms.validate import Arrays

if TYPE_CHECKING:
    from scdlab.atoms.view import View

_PIECE = 1 << 20  # atoms that are gathered at once


def of_digests(
    digests: Mapping[str, str],
    arrays: Arrays,
    properties: Sequence[str],
    vectors: Sequence[str],
) -> str:
    """The fingerprint of a store whose arrays are digested already.

    Parameters
    ----------
    digests : mapping of str to str
        sha256 of each array, by the name of its file.
    arrays : dict
        The arrays by the same names, for their dtypes and shapes.
    properties, vectors : sequence of str
        Names of the columns of `values` and of `vectors`.

    Returns
    -------
    str
        Hexadecimal.
    """
    about = {
        name: [value.dtype.name, list(value.shape), digests[name]] for name, value in arrays.items()
    }
    return files.content_digest({"arrays": about, "properties": properties, "vectors": vectors})


def of_view(view: "View") -> str:
    """The fingerprint of the structures of a view, read piece by piece.

    Parameters
    ----------
    view : View
        At least one structure.

    Returns
    -------
    str
        Hexadecimal.
    """
    total = np.cumsum(view.n_atoms)
    bounds = np.searchsorted(total, np.arange(0, total[-1], _PIECE))
    bounds = np.unique([0, *bounds, len(total)])
    found: dict = {}
    sizes: dict = {}
    first_piece: Arrays = {}
    atoms = 0
    for first, last in itertools.pairwise(bounds):
        part = view.subset(slice(int(first), int(last)))
        arrays = all_arrays(part.arrays(), part.atom_properties())
        n_atoms = int(arrays["ptr"][-1])
        arrays["ptr"] = arrays["ptr"][1 if atoms else 0 :] + atoms
        atoms += n_atoms
        for name, value in arrays.items():
            digest = found.setdefault(name, hashlib.sha256())
            sizes[name] = sizes.get(name, 0) + len(value)
            for piece in pieces(value):
                digest.update(piece.data)
        first_piece = first_piece or arrays
    about = {
        name: [value.dtype.name, [sizes[name], *value.shape[1:]], found[name].hexdigest()]
        for name, value in first_piece.items()
    }
    names = {"properties": view.property_names, "vectors": view.vector_names}
    return files.content_digest({"arrays": about, **names})
