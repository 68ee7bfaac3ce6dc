"""Claims: what each paper claims, the recipe that tests it here, what was measured.

`table()` lists them, `run(id, profile)` measures one and writes its record, `compare(id, yours)`
draws "paper / recorded / yours". See `ledger` for what a claim, a record and a verdict are.
"""

from . import denoising, dens, ecse, schnet, self_conditioned
from .ledger import PROFILES, VERDICTS, Claim, Record, claims, get, keep, load_record, register, run
from .show import Table, compare, table

__all__ = [
    "PROFILES",
    "VERDICTS",
    "Claim",
    "Record",
    "Table",
    "claims",
    "compare",
    "denoising",
    "dens",
    "ecse",
    "get",
    "keep",
    "load_record",
    "register",
    "run",
    "schnet",
    "self_conditioned",
    "table",
]
