"""The `scdlab` command, also as `python -m scdlab`."""

import sys

from scdlab import extras


def main() -> None:
    """Run the command; where what it is made of is not installed, name the extra that brings it."""
    try:
        from scdlab import cli
    except ModuleNotFoundError as error:
        sys.exit(str(extras.missing("The scdlab command", error)))
    cli.main()


if __name__ == "__main__":
    main()
