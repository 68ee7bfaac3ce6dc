"""The README's row on claims: how many were measured, and with which verdicts.

python tools/counts.py       writes the row from the records
"""

import sys
from pathlib import Path

from scdlab.claims.show import counts

README = Path(__file__).resolve().parent.parent / "README.md"
END = "| `scdlab claims` |"


def main() -> int:
    """Write the row; 1 where the README has none or several."""
    lines = README.read_text(encoding="utf-8").split("\n")
    rows = [k for k, line in enumerate(lines) if line.endswith(END)]
    if len(rows) != 1:
        print(f"{README.name} must have one line that ends with {END}, got {len(rows)}.")
        return 1
    lines[rows[0]] = f"| claims of papers measured here | {counts()} {END}"
    README.write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
