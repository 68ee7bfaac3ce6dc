"""What is said of a guess and of what was measured, computed from the two."""

import math
import re

from scdlab.lessons.guesses import SURENESS, Kept

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# on these scales a guess is as far off as its difference, not its factor: unit -> right within
_DIFFERENCES = {"%": 10.0, "°": 15.0}
_FACTOR = 2.0  # a number is right within this factor


class Unreadable(ValueError):
    """What the reader wrote is no answer; the text says why, in one sentence."""


def quantity(value: float, unit: str | None = None) -> str:
    """A number with its unit, to three digits: "0.06 Å", "90°", "2.5 × 10⁻⁷ eV".

    Parameters
    ----------
    value : float
        The number.
    unit : str, optional
        Its unit.

    Returns
    -------
    str
        The text.
    """
    text = number_text(value)
    if not unit:
        return text
    return f"{text}{unit}" if unit == "°" else f"{text} {unit}"


def number_text(value: float) -> str:
    """A number to three digits, in full between 0.001 and a million.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    str
        The text, with a minus sign and powers of ten as people write them.
    """
    size = abs(value)
    if size == 0:
        return "0"
    if 1e-3 <= size < 999_500:
        rounded = float(f"{size:.3g}")
        text = f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:.6g}"
    else:
        mantissa, exponent = f"{size:.2e}".split("e")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        mantissa = mantissa.rstrip("0").rstrip(".")
        text = power if mantissa == "1" else f"{mantissa} × {power}"
    return f"−{text}" if value < 0 else text


def read_number(text: str, unit: str | None = None) -> float:
    """The number that a reader wrote.

    Parameters
    ----------
    text : str
        As it was written; the unit may stand behind the number.
    unit : str, optional
        The unit that the number is asked in.

    Returns
    -------
    float
        The number.

    Raises
    ------
    Unreadable
        For text that is no finite number.
    """
    asked = f"a number in {unit}" if unit else "a number"
    plain = text.strip()
    if unit and plain.endswith(unit):
        plain = plain.removesuffix(unit).strip()
    if not plain:
        raise Unreadable(f"Your guess must be {asked}, but the box is empty: write one, such as 5.")
    plain = plain.replace("−", "-")
    if re.fullmatch(r"[+-]?\d+,\d*", plain):
        point = plain.replace(",", ".")
        raise Unreadable(
            f"Your guess must be {asked} with a decimal point, got “{plain}”: write {point} (or "
            "leave the comma out, if it separates thousands)."
        )
    shown = text.strip() if len(text.strip()) <= 30 else f"{text.strip()[:29]}…"
    try:
        value = float(plain.replace("_", " "))  # Python alone writes 1_000
    except ValueError:
        raise Unreadable(
            f"Your guess must be {asked}, got “{shown}”: write one, such as 0.5."
        ) from None
    if not math.isfinite(value):
        finite = asked.replace("a number", "a finite number")
        raise Unreadable(f"Your guess must be {finite}, got “{shown}”: write one, such as 0.5.")
    return value


def answer_text(value: float | str, unit: str | None = None) -> str:
    """A guess or what was found, as a sentence quotes it.

    Parameters
    ----------
    value : float or str
        A number, or one of the choices.
    unit : str, optional
        Of the number.

    Returns
    -------
    str
        The text.
    """
    return f"“{value}”" if isinstance(value, str) else quantity(value, unit)


def is_right(kept: Kept) -> bool:
    """Whether a guess was right: the choice, or a number near enough.

    A number is near enough within `kept.within` where that is given, else within 10 points of
    percentages, 15°, and a factor of two of anything else.

    Parameters
    ----------
    kept : Kept
        A guess and what was measured.

    Returns
    -------
    bool
        Whether it was right.
    """
    guess = kept.guess
    measured = kept.measured
    if isinstance(guess, str) or isinstance(measured, str) or guess is None or measured is None:
        return guess is not None and guess == measured
    within = kept.within if kept.within is not None else _DIFFERENCES.get(kept.unit or "")
    if within is not None:
        return abs(guess - measured) <= within * (1 + 1e-9)
    if guess * measured <= 0:
        return guess == measured
    ratio = abs(measured / guess)
    return max(ratio, 1 / ratio) <= _FACTOR * (1 + 1e-9)


def sentence(kept: Kept, headless: bool = False) -> str:
    """What was guessed, what was measured, and how they compare.

    Parameters
    ----------
    kept : Kept
        The guess and what was measured.
    headless : bool, default False
        Whether the guess is the stored one and nobody's.

    Returns
    -------
    str
        One sentence.
    """
    measured = kept.measured
    if measured is None:
        raise ValueError("A sentence on a guess needs what was measured, got None: reveal it.")
    found = answer_text(measured, kept.unit)
    verb = "the answer is" if isinstance(measured, str) else "measured:"
    if kept.guess is None:
        return f"You have not guessed here; {verb} {found}."
    guess = answer_text(kept.guess, kept.unit)
    if headless:
        start = f"The stored guess is {guess}"
    elif kept.late:
        start = f"You said {guess}, after the answer was shown"
    else:
        start = f"You said {guess} ({SURENESS[kept.sure or 'guess']})"
    if isinstance(measured, str) or isinstance(kept.guess, str):
        if kept.guess == measured:
            return f"{start}, and that is the answer."
        return f"{start}; {verb} {found}."
    return f"{start}; {verb} {found}, {compared(kept.guess, measured, kept.unit)}."


def compared(guess: float, measured: float, unit: str | None = None) -> str:
    """How a measured number compares with a guess: "3.3 times less", "12 % more".

    Parameters
    ----------
    guess, measured : float
        The numbers.
    unit : str, optional
        Their unit.

    Returns
    -------
    str
        The words.
    """
    if number_text(guess) == number_text(measured):
        return "just that"
    more = "more" if measured > guess else "less"
    if unit in _DIFFERENCES or guess <= 0 or measured <= 0:
        far = abs(measured - guess)
        return (
            f"{number_text(far)} points {more}" if unit == "%" else f"{quantity(far, unit)} {more}"
        )
    ratio = max(measured / guess, guess / measured)
    if ratio < 1.5:
        percent = 100 * abs(measured / guess - 1)
        return f"{percent:.0f} % {more}" if percent >= 0.95 else f"less than 1 % {more}"
    text = f"{ratio:.1f}" if ratio < 9.95 else number_text(float(f"{ratio:.2g}"))
    return f"{text.removesuffix('.0')} times {more}"
