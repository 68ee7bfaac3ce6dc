"""The table every lesson draws: values of the paper, of the record, and those you measured."""

import dataclasses
import html
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from .claim import NOT_TESTED, RECORDED, VERDICTS, Claim, claims, get
from .record import OutdatedRecord, Record, load_record, number

if TYPE_CHECKING:
    import rich.table

NOT_RECORDED = "not measured yet"
_HISTORY = "Records that no longer stand: `scdlab claims --history`."


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under a header.

    Shows itself in a terminal (rich), in a notebook (html) and as plain text.

    Parameters
    ----------
    title : str
        Above the table.
    columns : tuple of str
        The header.
    rows : tuple of tuple of str
        One text for each column.
    note : str, default ""
        Below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __rich__(self) -> "rich.table.Table":
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=self.title, caption=self.note or None, box=SIMPLE_HEAD, show_lines=True
        )
        # the longest id, and "contradicted", on one line
        narrowest = [28, *[None] * (len(self.columns) - 2), 12]
        for column, width in zip(self.columns, narrowest, strict=True):
            table.add_column(column, overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))  # Text: a "[" in a cell is no markup
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self.__rich__())
        return capture.get()

    def _repr_html_(self) -> str:
        cell = "style='text-align:left;vertical-align:top;padding:4px 10px;white-space:pre-line'"
        head = "".join(f"<th {cell}>{html.escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td {cell}>{_escaped(c)}</td>" for c in row) + "</tr>"
            for row in self.rows
        )
        title = html.escape(self.title)
        note = f"<p><small>{_escaped(self.note)}</small></p>" if self.note else ""
        return (
            f"<table><caption style='text-align:left;font-weight:bold'>{title}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
        )


def table(lesson: int | None = None) -> Table:
    """Every claim: the paper's number, the record of its largest profile, the verdict.

    Parameters
    ----------
    lesson : int, optional
        Only this lesson's claims; all by default.

    Returns
    -------
    Table
        A row for each.
    """
    rows = []
    waiting = []  # claims without a record
    for claim in claims():
        if lesson is not None and claim.lesson != lesson:
            continue
        record, outdated = _record_of(claim)
        recorded = outdated or NOT_RECORDED
        if not record and not outdated:
            waiting.append(claim)
        if record:
            arms = [
                f"{claim.quantities[name]}: {record.text(name)} {unit(name)}".rstrip()
                for name in claim.arms
            ]
            recorded = "\n".join([*arms, *_measured_first(claim, record), f"({record.where})"])
        about = f"{claim.id}\n{claim.title} (lesson {claim.lesson:02d})"
        rows.append((about, claim.paper, recorded, record.verdict if record else "–"))
    columns = ("claim", "paper", "recorded, mean ± std", "verdict")
    note = ""
    if waiting:
        note = f"To measure what is {NOT_RECORDED}: as in `{_command(waiting[0])}`. {_HISTORY}"
    return Table("Claims: paper and recorded", columns, tuple(rows), note)


def compare(claim_id: str, yours: dict[str, Any] | float | None = None) -> Table:
    """A claim's quantities: paper, recorded, yours.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    yours : dict or float, optional
        Name -> value, a number or text, for any of the claim's quantities, or one number for its
        first; none by default.

    Returns
    -------
    Table
        A row for each quantity.

    Raises
    ------
    ValueError
        Unknown claim or quantity, or a record that cannot be trusted.
    TypeError
        A value that is neither a number nor text.
    """
    claim = get(claim_id)
    if yours is None:
        yours = {}
    elif not isinstance(yours, dict):
        yours = {claim.arms[0]: yours}
    if unknown := [name for name in yours if name not in claim.quantities]:
        raise ValueError(
            f"The claim {claim_id!r} has no quantity {unknown[0]!r}; it has "
            f"{', '.join(claim.quantities)}."
        )
    record, outdated = _record_of(claim)
    rows = tuple(
        (
            f"{meaning} ({unit(name)})" if unit(name) else meaning,
            claim.paper_values.get(name, "–"),
            record.text(name) if record else NOT_RECORDED,
            _yours(name, yours.get(name)),
        )
        for name, meaning in claim.quantities.items()
    )
    source = claim.source[:1].upper() + claim.source[1:]
    note = f"Paper: {claim.paper}. {source}." + (f" {outdated}" if outdated else "")
    if not record and not outdated:
        note += f" {NOT_RECORDED.capitalize()}: `{_command(claim)}` measures it. {_HISTORY}"
    if record:
        note += f" Recorded: {record.verdict} ({record.where})."
        note += "".join(f" {line}." for line in _measured_first(claim, record))
        note += f" Rule: {record.rule}"
    return Table(claim.title, ("quantity", "paper", "recorded", "yours"), rows, note)


def pending() -> dict[str, str]:
    """The claims that are to be measured: those without a record that fits them.

    Returns
    -------
    dict of str to str
        Claim -> the command that measures it in the smallest profile that is recorded.

    Raises
    ------
    ValueError
        A record cannot be trusted.
    """
    return {claim.id: _command(claim) for claim in claims() if _record_of(claim)[0] is None}


def counts() -> str:
    """How many claims were recorded, and with which verdicts, as the README has it.

    Returns
    -------
    str
        Such as "**28**: 9 reproduced, 10 same direction, 9 ties".

    Raises
    ------
    ValueError
        A record cannot be trusted, or no longer fits its claim.
    """
    records = [record for claim in claims() if (record := load_record(claim.id))]
    found = Counter(record.verdict for record in records)
    words = {verdict: verdict for verdict in ("reproduced", "same direction", "tie", *VERDICTS)}
    words |= {"tie": "ties" if found["tie"] > 1 else "tie", NOT_TESTED: "not tested"}
    parts = [f"{found[verdict]} {text}" for verdict, text in words.items() if found[verdict]]
    return f"**{len(records)}**: {', '.join(parts) or 'none'}"


def _command(claim: Claim) -> str:
    """The command that measures a claim, in its smallest profile that is recorded."""
    profile = next(name for name in RECORDED if name in claim.profiles)
    return f"scdlab claims run {claim.id} --profile {profile}"


def _record_of(claim: Claim) -> tuple[Record | None, str]:
    """A claim's record, or what is to be done with one that no longer fits it: the other claims,
    and the values of yours, are shown all the same."""
    try:
        return load_record(claim.id), ""
    except OutdatedRecord as error:
        return None, str(error)


def _measured_first(claim: Claim, record: Record) -> list[str]:
    """What a claim's precondition was read from, one line a quantity, then whether it holds."""
    if claim.precondition is None:
        return []
    holds, names = claim.tested(record.values, record.settings)
    lines = [
        f"{claim.quantities[name]}: {record.text(name)} {unit(name)}".rstrip()
        for name in names
        if name not in claim.arms
    ]
    return [*lines, f"precondition {'holds' if holds else 'fails'}: {claim.precondition.text[:-1]}"]


def unit(name: str) -> str:
    """The unit that ends a quantity's name.

    Parameters
    ----------
    name : str
        Such as "force_mae_meV_per_A".

    Returns
    -------
    str
        Such as "meV/Å"; "" for a plain number.
    """
    found = re.search(r"_(meV|eV|ps|K|D)((?:_per_[A-Za-z]+)*)$", name)
    return found[1] + re.sub(r"_per_A$", "/Å", found[2]).replace("_per_", "/") if found else ""


def _yours(name: str, value: Any) -> str:
    """Your value of a quantity as text."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    try:
        return number(float(value))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(
            f"Your {name} must be a number or text, got a {type(value).__name__}: give one number, "
            "as in float(x)."
        ) from error


def _escaped(text: str) -> str:
    """Text as html, what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
