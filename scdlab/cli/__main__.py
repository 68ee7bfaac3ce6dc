"""`python -m scdlab.cli` is the `scdlab` command."""

from scdlab.cli import main

main()
