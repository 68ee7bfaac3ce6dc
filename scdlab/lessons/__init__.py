"""Lessons: run them headless, collect their numbers, and check the answers to their exercises."""

from scdlab.lessons.checks import (
    Check,
    check_center,
    check_cfconv,
    check_corrupt,
    check_dens_mask,
    check_distances,
    check_drop_condition,
    check_extensivity,
    check_force,
    check_force_error,
    check_invariant,
    check_labels_kept,
    check_leak,
    check_margin,
    check_modulate,
    check_noise_floor,
    check_noise_force,
    check_other_condition,
    check_other_hand,
    check_pair_count,
    check_pairwise,
    check_rbf,
    check_ssp,
    check_unit_factor,
    check_units,
    check_vector_norm,
)
from scdlab.lessons.metrics import display_metrics

_LAZY = (
    "LessonResult",
    "list_lessons",
    "run",
)  # papermill and nbconvert, which a lesson itself does not need

__all__ = [
    "Check",
    "LessonResult",
    "check_center",
    "check_cfconv",
    "check_corrupt",
    "check_dens_mask",
    "check_distances",
    "check_drop_condition",
    "check_extensivity",
    "check_force",
    "check_force_error",
    "check_invariant",
    "check_labels_kept",
    "check_leak",
    "check_margin",
    "check_modulate",
    "check_noise_floor",
    "check_noise_force",
    "check_other_condition",
    "check_other_hand",
    "check_pair_count",
    "check_pairwise",
    "check_rbf",
    "check_ssp",
    "check_unit_factor",
    "check_units",
    "check_vector_norm",
    "display_metrics",
    "list_lessons",
    "run",
]


def __getattr__(name):
    if name in _LAZY:
        from scdlab.lessons import runner

        return getattr(runner, name)
    raise AttributeError(f"module 'scdlab.lessons' has no attribute {name!r}")
