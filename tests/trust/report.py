"""What the campaign found as text: the line of the README, the table of benchmarks/README.md."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "`make trust`"
START = "<!-- bench: trust -->\n"
END = "<!-- end -->"
WHAT = {
    "mutation": "files and inputs, damaged in every way, given to every reader",
    "faults": "writes of stores and models killed, interrupted, out of disk or in each other's way",
    "faults_fit": "trainings killed, interrupted or out of disk, then resumed",
    "scale": "structures in one store",
    "physics": "checks of forces, stress, odd structures and energy drift",
    "processes": "trainings in two processes against one",
}


def failures(results: dict[str, dict[str, Any]]) -> int:
    """How many cases of all campaigns failed."""
    return sum(len(result["failures"]) for result in results.values())


def summary(results: dict[str, dict[str, Any]]) -> str:
    """One line for each campaign, and one for each of the first failures."""
    lines = []
    for name, result in results.items():
        counts = ", ".join(f"{kind}: {number:,}" for kind, number in result["counts"].items())
        n = len(result["failures"])
        lines.append(f"{name}: {result['cases']:,} cases, {n} failures ({counts})")
        lines += [f"    {each['case']}: {each['what']}" for each in result["failures"][:10]]
    return "\n".join(lines)


def readme_line(report: dict[str, Any]) -> str:
    """The row of the README's table of numbers."""
    found = report["campaigns"]
    parts = []
    if "mutation" in found:
        parts.append(f"**{found['mutation']['cases']:,}** damaged inputs")
    faults = sum(found[name]["cases"] for name in ("faults", "faults_fit") if name in found)
    if faults:
        parts.append(f"**{faults:,}** kills and faults")
    if "physics" in found:
        checks = sum(found["physics"]["counts"].values()) or found["physics"]["cases"]
        parts.append(f"{checks:,} checks of forces, stress and symmetry")
    if "scale" in found:
        parts.append(f"{found['scale']['cases'] / 1e6:g} million structures in one store")
    return (
        f"| tried against readers, files and models | {', '.join(parts)}: "
        f"{failures(found)} failures | {COMMAND} |"
    )


def table(report: dict[str, Any]) -> str:
    """The table of benchmarks/README.md, with where the numbers come from."""
    rows = [
        "| campaign | what | cases | counts | failures |",
        "|---|---|--:|---|--:|",
    ]
    for name, result in report["campaigns"].items():
        counts = ", ".join(f"{kind} {number:,}" for kind, number in result["counts"].items())
        cells = [name, WHAT.get(name, ""), f"{result['cases']:,}"]
        rows.append(f"| {' | '.join(cells)} | {counts} | **{len(result['failures'])}** |")
    origins = [result["origin"] for result in report["campaigns"].values()]
    last = max(origins, key=lambda origin: origin["date"])
    commits = sorted({(origin["commit"] or "no commit")[:10] for origin in origins})
    hardware = last["hardware"]
    about = (
        f"On {hardware['cores']} cores of {hardware['cpu']}, torch {last['versions']['torch']}, "
        f"commit {', '.join(commits)}, {last['date'][:10]}: {COMMAND}."
    )
    return "\n".join([*rows, "", about])


def put_into_pages(report: dict[str, Any], root: Path = ROOT) -> None:
    """Write the line into the README and the table into benchmarks/README.md."""
    page = root / "benchmarks" / "README.md"
    before, rest = page.read_text(encoding="utf-8").split(START)
    _, after = rest.split(END, 1)
    page.write_text(f"{before}{START}{table(report)}\n{END}{after}", encoding="utf-8")
    readme = root / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not (line.startswith("|") and line.endswith(f"{COMMAND} |"))]
    last = max(k for k, line in enumerate(kept) if line.endswith("| `scdlab claims` |"))
    kept.insert(last + 1, readme_line(report))
    readme.write_text("\n".join(kept) + "\n", encoding="utf-8")
