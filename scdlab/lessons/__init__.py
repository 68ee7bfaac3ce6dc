"""Lessons: run them headless, collect their numbers, and check the answers to their exercises."""

import importlib
from typing import TYPE_CHECKING, Any

from scdlab.lessons.checks import Check as Check
from scdlab.lessons.checks import all_checks
from scdlab.lessons.checks.lesson00 import check_distances as check_distances
from scdlab.lessons.checks.lesson00 import check_invariant as check_invariant
from scdlab.lessons.checks.lesson00 import check_pair_count as check_pair_count
from scdlab.lessons.checks.lesson00 import check_thermal_spread as check_thermal_spread
from scdlab.lessons.checks.lesson01 import check_cfconv as check_cfconv
from scdlab.lessons.checks.lesson01 import check_force as check_force
from scdlab.lessons.checks.lesson01 import check_independent_labels as check_independent_labels
from scdlab.lessons.checks.lesson01 import check_loop_work as check_loop_work
from scdlab.lessons.checks.lesson01 import check_rbf as check_rbf
from scdlab.lessons.checks.lesson01 import check_ssp as check_ssp
from scdlab.lessons.checks.lesson01 import check_units as check_units
from scdlab.lessons.checks.lesson01b import check_look_up as check_look_up
from scdlab.lessons.checks.lesson01b import check_power as check_power
from scdlab.lessons.checks.lesson02 import check_best_answer as check_best_answer
from scdlab.lessons.checks.lesson02 import check_center as check_center
from scdlab.lessons.checks.lesson02 import check_corrupt as check_corrupt
from scdlab.lessons.checks.lesson02 import check_fractional as check_fractional
from scdlab.lessons.checks.lesson02 import check_noise_floor as check_noise_floor
from scdlab.lessons.checks.lesson02 import check_noise_force as check_noise_force
from scdlab.lessons.checks.lesson02 import check_rigid as check_rigid
from scdlab.lessons.checks.lesson02 import check_temperature as check_temperature
from scdlab.lessons.checks.lesson02b import check_composition as check_composition
from scdlab.lessons.checks.lesson02b import check_cross_pairs as check_cross_pairs
from scdlab.lessons.checks.lesson02b import check_paired as check_paired
from scdlab.lessons.checks.lesson02b import check_pairwise as check_pairwise
from scdlab.lessons.checks.lesson02b import check_read_off as check_read_off
from scdlab.lessons.checks.lesson02b import check_verdict as check_verdict
from scdlab.lessons.checks.lesson03 import check_dead_ablation as check_dead_ablation
from scdlab.lessons.checks.lesson03 import check_dens_mask as check_dens_mask
from scdlab.lessons.checks.lesson03 import check_labels_kept as check_labels_kept
from scdlab.lessons.checks.lesson03_clue import check_degree_two as check_degree_two
from scdlab.lessons.checks.lesson03_clue import (
    check_share_from_forces as check_share_from_forces,
)
from scdlab.lessons.checks.lesson03_clue import check_width as check_width
from scdlab.lessons.checks.lesson04 import check_drop_condition as check_drop_condition
from scdlab.lessons.checks.lesson04 import check_margin as check_margin
from scdlab.lessons.checks.lesson04 import check_modulate as check_modulate
from scdlab.lessons.checks.lesson04 import check_other_condition as check_other_condition
from scdlab.lessons.checks.lesson04 import check_vector_norm as check_vector_norm
from scdlab.lessons.checks.lesson04_limits import check_narrow as check_narrow
from scdlab.lessons.checks.lesson04_limits import check_share_left as check_share_left
from scdlab.lessons.checks.lesson05 import check_force_error as check_force_error
from scdlab.lessons.checks.lesson05 import check_leak as check_leak
from scdlab.lessons.checks.lesson05 import check_other_hand as check_other_hand
from scdlab.lessons.checks.lesson05_weights import check_suspects as check_suspects
from scdlab.lessons.checks.lesson05_weights import check_takes_over as check_takes_over
from scdlab.lessons.checks.lesson05_weights import check_weight as check_weight
from scdlab.lessons.checks.lesson06 import check_interval as check_interval
from scdlab.lessons.checks.lesson06 import check_rank_correlation as check_rank_correlation
from scdlab.lessons.metrics import display_metrics as display_metrics
from scdlab.lessons.quizzes import Question as Question
from scdlab.lessons.quizzes import quiz as quiz

if TYPE_CHECKING:
    from scdlab.lessons.calibrated import calibration as calibration
    from scdlab.lessons.listed import list_lessons as list_lessons
    from scdlab.lessons.own_functions import yours as yours
    from scdlab.lessons.predictions import Guess as Guess
    from scdlab.lessons.predictions import predict as predict
    from scdlab.lessons.runner import LessonResult as LessonResult
    from scdlab.lessons.runner import run as run
    from scdlab.lessons.solutions import solution as solution

# what needs papermill, plotly or ipywidgets, which exercises alone do not
_LAZY = {
    "Guess": "predictions",
    "LessonResult": "runner",
    "calibration": "calibrated",
    "list_lessons": "listed",
    "predict": "predictions",
    "run": "runner",
    "solution": "solutions",
    "yours": "own_functions",
}

__all__ = ["Check", "Question", "display_metrics", "quiz", *_LAZY, *all_checks()]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"scdlab.lessons.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'scdlab.lessons' has no attribute {name!r}")
