"""GFN2-xTB by the library tblite: labels of simulations, and geometries of small molecules.

C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

HEAVIEST = 86  # the last element that has parameters


def gfn2(**settings: Any) -> Any:
    """An ase calculator of GFN2-xTB that prints nothing.

    Parameters
    ----------
    **settings
        Of tblite: charge (e), multiplicity, …

    Returns
    -------
    tblite.ase.TBLite
        The calculator.

    Raises
    ------
    ImportError
        Where tblite is not installed.
    """
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0, **settings)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One OpenMP thread for tblite (2 ms per ethanol; threads only make such small systems wait for
    each other).

    The environment variable is read once, when the OpenMP runtime is loaded, and torch has loaded
    it already; torch's own setting reaches the same runtime."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
