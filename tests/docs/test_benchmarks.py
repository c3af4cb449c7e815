"""The page of benchmarks shows the figures that the scripts saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.measuring import save_json, spread
from docs import make_benchmarks

MACHINE = {"processor": "a", "cores": 2, "memory_gib": 1, "python": "3"}


def save(value: float) -> dict[str, float]:
    return spread([value, value * 0.9, value * 1.1])


def test_every_figure_is_shown_beside_what_its_script_says_of_it(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    names = [name for names in make_benchmarks.scripts().values() for name in names]
    assert len(names) == len(set(names)) > 8
    for i, name in enumerate(names):
        save_json(path, name, [{"who": "ours", "seconds": 0.25}, {"who": f"peer {i}", "won": 1234}])
    page = make_benchmarks.page(json.loads(path.read_text()))
    for i, name in enumerate(names):
        assert f"**{name}**" in page
        assert f"| peer {i} |  | 1,234 |" in page
    for script in make_benchmarks.scripts():
        title, _ = make_benchmarks.words_of(script)
        assert f"## {title}\n" in page


def test_every_script_has_its_place_on_the_page() -> None:
    folder = make_benchmarks.ROOT / "benchmarks"
    asking = {
        path.stem for path in folder.glob("*.py") if "add_outputs(parser)" in path.read_text()
    }
    assert asking == set(make_benchmarks.ORDER)


def test_the_summary_says_where_ours_comes() -> None:
    figures = {
        "reading": [
            {"container": "limit: x", "store": "agora", "cold_us": 1.0},
            {"container": "poseshard", "store": "agora", "cold_us": save(3.0)},
            {"container": "A", "store": "agora", "cold_us": save(2.0)},
            {"container": "B", "store": "agora", "cold_us": save(9.0)},
            {"container": "none", "store": "agora"},
            {"container": "poseshard", "store": "coco", "cold_us": 1.0},
            {"container": "C", "store": "coco", "cold_us": 2.0},
        ],
    }
    page = make_benchmarks.page({"machine": MACHINE, **figures})
    assert "| random example, cold | agora 1.50, coco **0.50** | A, C |" in page


def test_the_page_is_up_to_date() -> None:
    if not make_benchmarks.FIGURES.exists():
        pytest.skip("no figures have been saved")
    figures = json.loads(make_benchmarks.FIGURES.read_text(encoding="utf-8"))
    known = {name for names in make_benchmarks.scripts().values() for name in names}
    assert figures.keys() - {"machine"} <= known
    assert make_benchmarks.PAGE.read_text(encoding="utf-8") == make_benchmarks.page(figures), (
        "run python docs/make_benchmarks.py"
    )
