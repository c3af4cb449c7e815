"""Write docs/benchmarks.md from docs/benchmarks.json: `python docs/make_benchmarks.py`.

The figures come from the scripts in `benchmarks`, run with `--json docs/benchmarks.json`, the words
from their docstrings. Each run replaces its own figures.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"

INTRO = """\
<!-- Written by docs/make_benchmarks.py from docs/benchmarks.json. Change that, not this. -->
# Benchmarks

Each question is one command. Contestants take turns, the limit is measured in the same run, and
losing rows are shown too. Ratios travel to other machines better than seconds do.

Measured on: {machine}.
"""


def page(figures: Mapping[str, Any]) -> str:
    """The page that shows these figures, as `benchmarks.measuring.save_json` keeps them."""
    machine = figures["machine"]
    described = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}"
    )
    parts = [INTRO.format(machine=described)]
    for script, names in scripts().items():
        shown = [name for name in names if name in figures]
        if shown:
            title, text = words_of(script)
            parts.append(f"## {title}\n\n`benchmarks/{script.name}`\n")
            parts += [f"*{name}*\n\n{_table(figures[name])}" for name in shown]
            parts.append(f"{text}\n")
    return "\n".join(parts)


def scripts() -> dict[Path, list[str]]:
    """Every benchmark with the names under which it saves its figures."""
    found = {}
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        showing = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "present"]
        names = [c.args[0].value for c in showing if isinstance(c.args[0], ast.Constant)]
        if names:
            found[path] = sorted(map(str, names))
    return found


def words_of(script: Path) -> tuple[str, str]:
    """A script's title and, without its usage, what it says about itself."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    title, *rest = re.split(r"\n\n+", text)
    said = [part for part in rest if not re.match(r" {4}", part)]
    return title.rstrip("."), "\n\n".join(said)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names)]
    lines += [[_shown(row.get(name, "")) for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def main() -> None:
    if not FIGURES.exists():
        raise SystemExit(f"no figures: run the scripts in benchmarks with --json {FIGURES}")
    PAGE.write_text(page(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
