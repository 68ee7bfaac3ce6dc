"""The numbers that widgets, claims and lessons share: embeddings, probes, denoising, bonds, scans,
and the error under rotation.

Plain functions of models, molecules and arrays; nothing is drawn here.
"""

from scdlab.analysis.answers import (
    Answer,
    ask,
    cannot_answer,
    force_error,
    reference_answer,
    spread,
)
from scdlab.analysis.averages import AveragedEnergies
from scdlab.analysis.bonds import (
    Band,
    bands_of,
    blurred_bonds,
    bond_lengths,
    bond_orders,
    bonds_of,
    length_density,
)
from scdlab.analysis.candidates import kept_places, shape_of, spreads, width
from scdlab.analysis.conditions import (
    MeanAndError,
    answer,
    gates,
    mixed,
    noise_left,
    self_embedding,
    shares_left,
    shares_left_under,
)
from scdlab.analysis.denoisers import Blind, ByForce, ToldForces, ToldVector, noise_left_by
from scdlab.analysis.denoising import (
    Reference,
    as_reference,
    cosine,
    denoise,
    displacements,
    energy_against_sigma,
    noise_response,
    unexplained_noise,
)
from scdlab.analysis.embeddings import embed, extensivity, reduce_embedding, smoothness
from scdlab.analysis.forces import corruption, degree_curves, half_angle, predicted_forces
from scdlab.analysis.intervals import Predictor, conformal_half_width, predictor
from scdlab.analysis.probes import composition, linear_probe
from scdlab.analysis.rotation import rotated, rotation_error, turn_angles, turn_energies
from scdlab.analysis.scan import Path, Scan, energies, paths_of, refined, weight_matrix
from scdlab.analysis.stiffness import (
    all_local_axes,
    forces_along,
    local_axes,
    neighbors_for_axes,
    share_from_forces,
    share_left,
    shares_along,
    thermal_stiffness,
)

__all__ = [
    "Answer",
    "AveragedEnergies",
    "Band",
    "Blind",
    "ByForce",
    "MeanAndError",
    "Path",
    "Predictor",
    "Reference",
    "Scan",
    "ToldForces",
    "ToldVector",
    "all_local_axes",
    "answer",
    "as_reference",
    "ask",
    "bands_of",
    "blurred_bonds",
    "bond_lengths",
    "bond_orders",
    "bonds_of",
    "cannot_answer",
    "composition",
    "conformal_half_width",
    "corruption",
    "cosine",
    "degree_curves",
    "denoise",
    "displacements",
    "embed",
    "energies",
    "energy_against_sigma",
    "extensivity",
    "force_error",
    "forces_along",
    "gates",
    "half_angle",
    "kept_places",
    "length_density",
    "linear_probe",
    "local_axes",
    "mixed",
    "neighbors_for_axes",
    "noise_left",
    "noise_left_by",
    "noise_response",
    "paths_of",
    "predicted_forces",
    "predictor",
    "reduce_embedding",
    "reference_answer",
    "refined",
    "rotated",
    "rotation_error",
    "self_embedding",
    "shape_of",
    "share_from_forces",
    "share_left",
    "shares_along",
    "shares_left",
    "shares_left_under",
    "smoothness",
    "spread",
    "spreads",
    "thermal_stiffness",
    "turn_angles",
    "turn_energies",
    "unexplained_noise",
    "weight_matrix",
    "width",
]
