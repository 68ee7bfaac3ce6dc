"""Check the types of the Python blocks in README.md, CONTRIBUTING.md and docs/.

    python tools/code_blocks.py              the blocks
    python tools/code_blocks.py scdlab       the blocks and the library, in one run of pyright

Each block between "```python" and "```" is a program of its own: none sees the names of another.
It is written to a temporary folder, at the lines that it has in its page, and pyright's findings
are reported with the page and its line.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START = "```python"
END = "```"


def pages(root: Path = ROOT) -> list[Path]:
    """README.md, CONTRIBUTING.md and every page of docs/."""
    top = [root / name for name in ("README.md", "CONTRIBUTING.md")]
    return [path for path in top if path.exists()] + sorted((root / "docs").rglob("*.md"))


def blocks(text: str) -> list[tuple[int, str]]:
    """(number of the line before it, code) of every Python block of a page."""
    found: list[tuple[int, str]] = []
    code: list[str] = []
    start = indent = None
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if start is None and content.split(maxsplit=1)[:1] == [START]:
            start = number
            indent = len(line) - len(line.lstrip())
        elif start is not None and content == END:
            found.append((start, "".join(code)))
            code = []
            start = None
        elif start is not None:
            code.append(line[indent:] + "\n")
    if start is not None:
        raise ValueError(f"The block that begins in line {start} has no end: close it with {END}.")
    return found


def extract(folder: Path, root: Path = ROOT) -> dict[Path, str]:
    """Write every block to `folder`; return its path -> the name of its page."""
    written: dict[Path, str] = {}
    for page in pages(root):
        name = page.relative_to(root).as_posix()
        for start, code in blocks(page.read_text(encoding="utf-8")):
            path = folder / f"{name.replace('/', '_').replace('.', '_')}_{start}.py"
            path.write_text("\n" * start + code, encoding="utf-8")
            written[path.resolve()] = name
    return written


def findings(paths: list[Path], threads: int = 2) -> list[dict]:
    """What pyright says about `paths`, as its own records."""
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--threads", str(threads)]
    command += ["--project", str(ROOT / "pyproject.toml"), "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode not in (0, 1):  # 1: there are errors; more: pyright itself failed
        raise RuntimeError(f"pyright did not run: {(done.stderr or done.stdout)[-2000:]}")
    return json.loads(done.stdout)["generalDiagnostics"]


def main() -> int:
    """Print pyright's findings, one a line; 1 when there is an error among them."""
    parser = argparse.ArgumentParser(description="Check the types of the Python blocks in pages.")
    parser.add_argument("paths", nargs="*", type=Path, help="Files and folders to check as well.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        written = extract(Path(folder))
        found = findings([*written, *options.paths])
    errors = 0
    for one in sorted(found, key=lambda one: (one["file"], one["range"]["start"]["line"])):
        path = Path(one["file"]).resolve()
        name = written.get(path) or path.relative_to(ROOT).as_posix()
        line = one["range"]["start"]["line"] + 1
        rule = f" ({one['rule']})" if "rule" in one else ""
        print(f"{name}:{line}: {one['severity']}: {one['message']}{rule}")
        errors += one["severity"] == "error"
    print(f"pyright: {errors} errors in {len(written)} code blocks", *map(str, options.paths))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
