"""The numbers that lessons quote from records in their text are those of the records."""

import re
import statistics

import pytest
from sources import SOURCES, cells_of

from scdlab import claims

MEV = "force_mae_{}_meV_per_A"
ETHANOL = "dens-direct-ethanol"
ENCODING = "dens-direct-force-encoding"
SHUFFLED = "dens-direct-shuffled-forces"
MAPS = "scd-extensivity-frames"
FORCES = "scd-ethanol-forces"

# lesson, words as they stand there with {} for each number, and for each number: its record, its
# quantity, and what it is multiplied by
QUOTED = [
    (
        "03",
        "The recorded networks leave {} % without a clue",
        [("dens-clue", "noise_left_untold_percent", 1)],
    ),
    (
        "03",
        "DeNS is behind in each of the six seeds: {} meV/Å against {}.",
        [("dens-steps-2500", MEV.format("dens"), 1), ("dens-steps-2500", MEV.format("plain"), 1)],
    ),
    (
        "03",
        "the six seeds tie, at {} and {} meV/Å",
        [("dens-steps-10000", MEV.format("dens"), 1), ("dens-steps-10000", MEV.format("plain"), 1)],
    ),
    (
        "03",
        "The errors are {} meV/Å with DeNS and {} without, but",
        [
            ("dens-direct-surfaces", MEV.format("dens"), 1),
            ("dens-direct-surfaces", MEV.format("plain"), 1),
        ],
    ),
    ("03", "does not change that ({}, `dens-tuned`)", [("dens-tuned", MEV.format("tuned"), 1)]),
    (
        "03",
        "the error was {} meV/Å, with them {}, in three seeds a tie: `dens-labels`",
        [("dens-labels", MEV.format("unlabeled"), 1), ("dens-labels", MEV.format("dens"), 1)],
    ),
    (
        "03",
        "after 10,000 steps it is {} and {}, a tie again: `dens-labels-10000`",
        [
            ("dens-labels-10000", MEV.format("unlabeled"), 1),
            ("dens-labels-10000", MEV.format("dens"), 1),
        ],
    ),
    (
        "03",
        "plain training tie ({} and {} meV/Å, six seeds; after 2,500 steps {} and {})",
        [
            (ETHANOL, MEV.format("dens"), 1),
            (ETHANOL, MEV.format("plain"), 1),
            ("dens-direct-steps-2500", MEV.format("dens"), 1),
            ("dens-direct-steps-2500", MEV.format("plain"), 1),
        ],
    ),
    (
        "03",
        "is a tie as well ({} and {}, three seeds)",
        [
            ("dens-direct-partial", MEV.format("full"), 1),
            ("dens-direct-partial", MEV.format("dens"), 1),
        ],
    ),
    ("03", "the error rises to {} meV/Å in the same", [(ENCODING, MEV.format("untold"), 1)]),
    ("03", "*another atom's* force, and it is {}:", [(SHUFFLED, MEV.format("shuffled"), 1)]),
    ("03", "beyond that is worth {} % here", [(SHUFFLED, "gain_percent", 1)]),
    (
        "03",
        "{} % of it is left with the right force, {} % when",
        [
            ("dens-clue", "noise_left_told_percent", 1),
            ("dens-clue", "noise_left_shuffled_percent", 1),
        ],
    ),
    (
        "03",
        "plain training: {} and {} meV/Å in the three seeds",
        [
            ("dens-force-encoding", MEV.format("dens"), 1),
            ("dens-force-encoding", MEV.format("plain"), 1),
        ],
    ),
    ("03", "({}, `dens-partial`)", [("dens-partial", MEV.format("full"), 1)]),
    (
        "03",
        "rises to {} meV/Å (`dens-force-encoding`)",
        [("dens-force-encoding", MEV.format("untold"), 1)],
    ),
    (
        "03",
        "with another atom's force it is {} meV/Å, and {} % less with the right one",
        [
            ("dens-shuffled-forces", MEV.format("shuffled"), 1),
            ("dens-shuffled-forces", "gain_percent", 1),
        ],
    ),
    (
        "03",
        "in the table below: {} meV/Å with both, {} without, in three seeds still a tie",
        [
            ("dens-start", MEV.format("zero_force_unit"), 1),
            ("dens-start", MEV.format("dens"), 1),
        ],
    ),
    (
        "04",
        "{} % of the noise is left where the layers started from zero, and {} % where they",
        [("scd-adaln", "left_own_c_zero", 100), ("scd-adaln", "left_own_both_loud", 100)],
    ),
    (
        "04",
        "Noise of 0.3 Å, a fifth of a C–C bond, lifts it to {} %",
        [("scd-minima", "gain_sigma_larger", 100)],
    ),
    (
        "04",
        "{} % off what is left with none in SchNet, {} % in CT and {} % in a tensor-product "
        "network, but {} % in",
        [("scd-backbones", f"gain_{name}", 100) for name in ("schnet", "ct", "tensor", "pet")],
    ),
    (
        "04",
        "($R^2$ of {} both; {} untrained)",
        [(MAPS, f"r2_size_condition_{arm}", 1) for arm in ("scd", "scratch")],
    ),
    ("04", "($R^2$ of {} both;", [(MAPS, "r2_size_condition_coord", 1)]),
    (
        "04",
        "give the HOMO energy with an $R^2$ of {}, Coord's with {}.",
        [(MAPS, f"r2_homo_neighbors_condition_{arm}", 1) for arm in ("scd", "coord")],
    ),
    (
        "04",
        "{} meV/Å from scratch, {} after SCD and {} after Coord",
        [(FORCES, MEV.format(arm), 1) for arm in ("scratch", "scd", "coord")],
    ),
]
VERDICTS = {  # claim -> the verdict that a lesson speaks of
    "dens-steps-2500": "not seen at this scale",
    "dens-steps-10000": "tie",
    "dens-tuned": "tie",
    "dens-direct-surfaces": "not tested: mechanism off",
    "dens-labels": "tie",
    "dens-labels-10000": "tie",
    "dens-start": "tie",
    "dens-force-encoding": "same direction",
    "dens-shuffled-forces": "same direction",
    "dens-partial": "tie",
    "dens-direct-ethanol": "tie",
    "dens-direct-steps-2500": "tie",
    "dens-direct-partial": "tie",
    "dens-direct-shuffled-forces": "tie",
    "dens-direct-force-encoding": "same direction",
    "scd-extensivity-frames": "tie",
    "scd-extensivity": "not tested: mechanism off",
    "scd-ethanol-forces": "not tested: mechanism off",
}


def prose(number: str) -> str:
    """The text of a lesson, its spaces made one."""
    (path,) = (path for name, path in SOURCES.items() if name.startswith(f"{number}_"))
    return " ".join(
        " ".join(cell.text.split()) for cell in cells_of(path) if cell.kind == "markdown"
    )


def misquoted(text: str, words: str, numbers: list[float]) -> list[str]:
    """One line for words that are not there, and for each number that is not rounded from its."""
    pattern = re.escape(words).replace(re.escape("{}"), r"(\d+(?:\.\d+)?)")
    found = re.findall(pattern, text)
    if len(found) != 1:
        return [f"“{words}” stands there {len(found)} times, not once"]
    said = [found[0]] if isinstance(found[0], str) else found[0]
    return [
        f"“{words}” says {each}, measured was {number:.4g}"
        for each, number in zip(said, numbers, strict=True)
        if abs(float(each) - number) > 0.5001 * 10 ** -len(each.partition(".")[2])
    ]


@pytest.mark.parametrize(("lesson", "words", "quantities"), QUOTED)
def test_a_number_is_that_of_its_record(lesson, words, quantities):
    numbers = []
    for claim, quantity, factor in quantities:
        record = claims.load_record(claim)
        assert record is not None, f"{claim} has no record, and lesson {lesson} quotes it"
        numbers.append(factor * statistics.mean(run[quantity] for run in record.values))
    assert misquoted(prose(lesson), words, numbers) == []


@pytest.mark.parametrize("claim", VERDICTS)
def test_the_verdict_is_the_one_that_the_lesson_speaks_of(claim):
    record = claims.load_record(claim)
    assert record is not None and record.verdict == VERDICTS[claim]


def test_dens_is_behind_in_each_seed_as_the_lesson_says():
    runs = claims.load_record("dens-steps-2500").values
    assert len(runs) == 6 and all(run["gain_percent"] < 0 for run in runs)


def test_noise_is_not_found_on_surfaces_as_the_lesson_says():
    left = [
        run["noise_left_told_percent"] for run in claims.load_record("dens-direct-surfaces").values
    ]
    assert sum(round(x) == 100 for x in left) == 4 and sum(x > 101 for x in left) == 2


def test_small_gains_at_minima_are_below_one_percent_as_the_lesson_says():
    runs = claims.load_record("scd-minima").values
    for name in ("gain_narrow", "gain_wide", "gain_small_set", "gain_sigma_large"):
        assert statistics.mean(run[name] for run in runs) < 0.01


@pytest.mark.parametrize(
    ("words", "numbers", "problem"),
    [
        ("error of {} and {}", [1.24, 3.0], ""),
        ("error of {} and {}", [1.26, 3.0], "says 1.2, measured was 1.26"),
        ("error of {} and {}", [1.2, 3.6], "says 3, measured was 3.6"),
        ("errors of {}", [1.2], "0 times"),
    ],
)
def test_what_is_misquoted_is_named(words, numbers, problem):
    found = misquoted("an error of 1.2 and 3 meV", words, numbers)
    assert problem in "".join(found) and bool(found) == bool(problem)
