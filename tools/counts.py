"""What the records come to: the README's row on claims, and the list of those without a record.

python tools/counts.py       writes both; run it when a claim or a record was added or withdrawn
"""

import sys
from pathlib import Path

from scdlab import files
from scdlab.claims.record import RECORDS
from scdlab.claims.show import counts, pending

PENDING = RECORDS / "pending.json"
README = Path(__file__).resolve().parent.parent / "README.md"
END = "| `scdlab claims` |"


def main() -> int:
    """Write the row and the list; 1 where the README has no such row, or several."""
    lines = README.read_text(encoding="utf-8").split("\n")
    rows = [k for k, line in enumerate(lines) if line.endswith(END)]
    if len(rows) != 1:
        print(f"{README.name} must have one line that ends with {END}, got {len(rows)}.")
        return 1
    to_do = pending()
    lines[rows[0]] = f"| claims of papers measured here | {counts()}; {len(to_do)} to do {END}"
    files.write_json(PENDING, to_do)
    README.write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
