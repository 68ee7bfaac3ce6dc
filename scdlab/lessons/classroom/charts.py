"""The pictures of a report: plain svg and html, which need no script."""

from scdlab.explore import style
from scdlab.lessons.calibrated import EXPECTED, Level
from scdlab.lessons.guesses import SURENESS

_WIDTH, _HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 15, 15, 60


def share_bar(share: float) -> str:
    """A bar of a share.

    Parameters
    ----------
    share : float
        From 0 to 1.

    Returns
    -------
    str
        The html; the number must stand beside it.
    """
    inner = f"<span style='width:{100 * share:.0f}%'></span>"
    return f"<span class='bar' aria-hidden='true'>{inner}</span>"


def calibration_svg(found: list[Level]) -> str:
    """How often guesses were right at each level of sureness, beside what the words promise.

    Parameters
    ----------
    found : list of Level
        As `levels` gives them.

    Returns
    -------
    str
        The svg, with its alternative text.
    """
    step = (_WIDTH - _LEFT - _RIGHT) / len(found)
    parts = []
    words = []
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(
            f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y}' y2='{y}' stroke='currentColor' "
            "stroke-opacity='0.2'/>"
            f"<text x='{_LEFT - 8}' y='{y + 4}' text-anchor='end'>{10 * tenth}</text>"
        )
    for n, level in enumerate(found):
        middle = _LEFT + (n + 0.5) * step
        low, high = EXPECTED[level.sure]
        parts.append(
            f"<rect x='{middle - step / 3:.1f}' width='{2 * step / 3:.1f}' y='{_y(high)}' "
            f"height='{_y(low) - _y(high):.1f}' fill='{style.SKY}' fill-opacity='0.35'/>"
            f"<text x='{middle:.1f}' y='{_HEIGHT - 36}' text-anchor='middle'>"
            f"{SURENESS[level.sure]}</text>"
        )
        if level.total:
            share = level.right / level.total
            parts.append(
                f"<circle cx='{middle:.1f}' cy='{_y(share)}' r='7' fill='{style.VERMILION}'/>"
                f"<text x='{middle + 13:.1f}' y='{_y(share) + 4}'>{level.right} of "
                f"{level.total}</text>"
            )
            words.append(f"{SURENESS[level.sure]}: {level.right} of {level.total} right")
    parts.append(
        f"<text x='16' y='{(_HEIGHT - _BOTTOM) / 2}' text-anchor='middle' "
        f"transform='rotate(-90 16 {(_HEIGHT - _BOTTOM) / 2})'>right (%)</text>"
        f"<text x='{_LEFT}' y='{_HEIGHT - 10}' fill-opacity='0.75'>dots: the class; blue: what the "
        "words promise</text>"
    )
    about = "Share of right guesses by sureness. " + "; ".join(words) + "."
    return (
        f"<svg role='img' aria-label='{about}' viewBox='0 0 {_WIDTH} {_HEIGHT}' "
        f"width='{_WIDTH}' font-size='13' fill='currentColor' font-family='Helvetica, Arial, "
        f"sans-serif'>{''.join(parts)}</svg>"
    )


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)
