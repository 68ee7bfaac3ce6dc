"""What the doctor found, and how it is shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

# State -> mark, the same for outputs of letters alone, color.
MARKS = {
    "ok": ("✓", "ok", "green"),
    "optional": ("–", "-", "yellow"),
    "required": ("✗", "!!", "red"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    area : str
        One of AREAS.
    name : str
        What was looked for.
    text : str
        What was found.
    state : {"ok", "optional", "required"}, default "ok"
        Whether it is there, or else whether the kit needs it.
    remedy : str, default ""
        How to get what is missing.
    """

    area: str
    name: str
    text: str
    state: str = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What `examine` found; shows itself in a terminal (rich) and as plain text.

    Parameters
    ----------
    findings : tuple of Finding
        One for each line.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything required is there."""
        return all(finding.state != "required" for finding in self.findings)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Table]":
        yield self._table(options.ascii_only)

    def _table(self, letters: bool = False) -> "Table":
        """The findings as a table; `letters`: for an output that shows no other signs."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, show_header=False)
        for column in ("area", "", "name"):
            table.add_column(column, no_wrap=True)
        table.add_column("found", overflow="fold")
        area = None
        for finding in self.findings:
            sign, word, color = MARKS[finding.state]
            text = Text(finding.text)
            if finding.remedy:
                text.append(f"\n{'>' if letters else '→'} {finding.remedy}", style=color)
            table.add_row(
                finding.area if finding.area != area else "",
                Text(word if letters else sign, style=color),
                finding.name,
                text,
            )
            area = finding.area
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()
