"""Claims: what each paper claims, the recipe that tests it here, what was measured.

`table()` lists them, `run(id, profile)` measures one and writes its record, `run_night(hours=…)`
measures many, `compare(id, yours)` draws "paper / recorded / yours", `withdraw` moves a record that
no longer stands to the `history()`. See `claim` for what a claim and a verdict are, `record` for
what a record is.
"""

from . import (
    curves,
    denoising,
    denoising_force,
    denoising_pairwise,
    denoising_size,
    dens,
    dens_ablations,
    dens_direct,
    dens_rules,
    dens_training,
    ecse,
    ecse_continuity,
    ecse_cost,
    force_models,
    schnet,
    schnet_dynamics,
    self_conditioned,
    self_conditioned_adaln,
    self_conditioned_backbones,
    self_conditioned_condition,
    self_conditioned_embedding,
    self_conditioned_frames,
    self_conditioned_growth,
    self_conditioned_homo,
    self_conditioned_minima,
    self_conditioned_network,
    self_conditioned_rules,
    self_conditioned_transfer,
)
from .claim import PROFILES, VERDICTS, Claim, Precondition, claims, get, register
from .kept import keep
from .measure import run
from .night import Night, run_night
from .record import OutdatedRecord, Record, load_record
from .show import Table, compare, table
from .withdrawn import Withdrawn, history, withdraw

__all__ = [
    "PROFILES",
    "VERDICTS",
    "Claim",
    "Night",
    "OutdatedRecord",
    "Precondition",
    "Record",
    "Table",
    "Withdrawn",
    "claims",
    "compare",
    "curves",
    "denoising",
    "denoising_force",
    "denoising_pairwise",
    "denoising_size",
    "dens",
    "dens_ablations",
    "dens_direct",
    "dens_rules",
    "dens_training",
    "ecse",
    "ecse_continuity",
    "ecse_cost",
    "force_models",
    "get",
    "history",
    "keep",
    "load_record",
    "register",
    "run",
    "run_night",
    "schnet",
    "schnet_dynamics",
    "self_conditioned",
    "self_conditioned_adaln",
    "self_conditioned_backbones",
    "self_conditioned_condition",
    "self_conditioned_embedding",
    "self_conditioned_frames",
    "self_conditioned_growth",
    "self_conditioned_homo",
    "self_conditioned_minima",
    "self_conditioned_network",
    "self_conditioned_rules",
    "self_conditioned_transfer",
    "table",
    "withdraw",
]
