"""Put the curves of measured claims beside their records, and draw them.

    python tools/claim_curves.py ID … [--profile night] [--out runs/claims] [--picture FOLDER]

Curves are the validation errors of the trainings that a claim's seeds rest on (see
`scdlab.claims.curves`); the pictures are pages named ID.PROFILE.html.
"""

import argparse
from pathlib import Path

from scdlab.claims import curves


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("claims", nargs="+", metavar="ID")
    parser.add_argument("--profile", default="night")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--picture", type=Path, metavar="FOLDER")
    args = parser.parse_args(words)
    for claim_id in args.claims:
        found = curves.gather(claim_id, args.profile, args.out)
        print(
            f"{curves.write_curves(found).name}: {len(found.seeds)} seeds, {', '.join(found.arms)}"
        )
        if args.picture is not None:
            args.picture.mkdir(parents=True, exist_ok=True)
            path = args.picture / f"{claim_id}.{args.profile}.html"
            found.figure().write_html(path, include_plotlyjs=True)


if __name__ == "__main__":
    main()
