"""Write docs/benchmarks.md from docs/benchmarks.json: `python docs/make_benchmarks.py`.

The figures come from the scripts in `benchmarks`, run with `--json docs/benchmarks.json` and
`--plots docs/pictures/benchmarks`, the words from their docstrings. Each run replaces its own.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import middle, shown, slug  # noqa: E402

FIGURES = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"

# The questions in the order in which a reader asks them.
ORDER = (
    *("converting", "storing", "reading", "growing", "loading"),
    *("preparing", "unpickling", "limits", "resuming", "memory", "viewing", "ablation"),
)
OURS = "poseshard"
SUMMARY_INTRO = """\
In short, by dataset or number of examples; below 1 (bold) nobody is quicker or smaller than ours.
Where somebody is, the reason stands with the question.
"""
LONG = 16  # rows of a table
SUMMARY = (
    ("converting", "wall_s", "pickle and pictures to container"),
    ("converting", "cpu_s", "the same in processor time"),
    ("bytes per example", "bytes_each", "bytes of an example"),
    ("bytes per example", "beyond_pictures", "the same without pictures"),
    ("reading", "start_s", "start of Python to first example"),
    ("reading", "us", "random example, processor time"),
    ("reading", "again_us", "the same once more"),
    ("reading", "cold_us", "random example, cold"),
    ("reading", "split_us", "all annotations of a split"),
    ("growth", "start_s", "by number: start to first example"),
    ("growth", "us", "by number: random example, processor time"),
    ("growth", "again_us", "by number: the same once more"),
    ("growth", "cold_us", "by number: random example, cold"),
    ("growth", "split_us", "by number: all annotations of a split"),
    ("growth", "mib", "by number: memory of a reader"),
    ("loaders", "wall_ms", "example of a shuffled, decoded, augmented batch, wall time"),
    ("loaders", "cpu_ms", "the same, processor time"),
    ("loaders", "all_mib", "memory of a loader and its workers"),
)
INTRO = """\
<!-- Written by docs/make_benchmarks.py from docs/benchmarks.json. Change that, not this. -->
# Benchmarks

Each question is one command, and `make benchmarks` runs them all. Contestants take turns, the limit
is measured in the same run, and losing rows are shown too. A figure is the median of the runs, with
the least and the greatest behind it. Ratios travel to other machines better than seconds do.

Measured on: {machine}.

{summary}
"""


def page(figures: Mapping[str, Any]) -> str:
    """The page that shows these figures, as `benchmarks.measuring.save_json` keeps them."""
    machine = figures["machine"]
    described = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}"
    )
    parts = [INTRO.format(machine=described, summary=_summary(figures)).rstrip() + "\n"]
    for script, names in scripts().items():
        measured = [name for name in names if name in figures]
        if measured:
            title, text = words_of(script)
            parts.append(f"## {title}\n\n`benchmarks/{script.name}`\n")
            parts.append(f"{text}\n")
            parts += [_figures(name, figures[name]) for name in measured]
    return "\n".join(parts)


def scripts() -> dict[Path, list[str]]:
    """Every benchmark with the names under which it saves its figures, in the page's order."""
    found = {}
    for path in (ROOT / "benchmarks" / f"{name}.py" for name in ORDER):
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


def _figures(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A picture, if there is one, and the table: below a fold where it is long."""
    parts = [f"**{name}**\n"]
    picture = f"pictures/benchmarks/{slug(name)}.png"
    if (PAGE.parent / picture).exists():
        parts.append(f"![{name}]({picture})\n")
    is_long = len(rows) > LONG
    if is_long:
        parts.append(f"<details><summary>All {len(rows)} rows</summary>\n")
    parts.append(_table(rows))
    if is_long:
        parts.append("</details>\n")
    return "\n".join(parts)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names)]
    lines += [[shown(row.get(name, "")).replace("|", "\\|") for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _summary(figures: Mapping[str, Any]) -> str:
    """Ours as a part of the best of the others, by question and data."""
    lines = []
    for name, column, question in SUMMARY:
        rows = [row for row in figures.get(name, []) if column in row]
        if not rows:
            continue
        label, group = list(rows[0])[:2]
        ratios, rivals = [], []
        for each in dict.fromkeys(row[group] for row in rows):
            members = {row[label]: middle(row[column]) for row in rows if row[group] == each}
            others = {w: v for w, v in members.items() if w != OURS and "limit" not in w}
            best = min(others, key=lambda who: others[who])
            ratio = f"{members[OURS] / others[best]:.2f}"
            is_first = members[OURS] <= others[best]
            data = f"{each:,}" if isinstance(each, int) else each
            ratios.append(f"{data} {f'**{ratio}**' if is_first else ratio}")
            rivals.append(best)
        best_others = ", ".join(dict.fromkeys(rivals))
        lines.append(f"| {question} | {', '.join(ratios)} | {best_others} |")
    if not lines:
        return ""
    head = ["| | ours as a part of the best other | which that is |", "| --- | --- | --- |"]
    return "\n".join([SUMMARY_INTRO, *head, *lines])


def main() -> None:
    if not FIGURES.exists():
        raise SystemExit(f"no figures: run the scripts in benchmarks with --json {FIGURES}")
    PAGE.write_text(page(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
