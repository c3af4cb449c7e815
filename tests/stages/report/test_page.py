"""The page needs nothing but itself, says what was found, and the command gates on it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import cli
from pipeline.schema import Kind
from tests.stages.report import bugs
from tests.stages.view.people import make_store as make_people

Run = Callable[..., Result]
MakeStore = Callable[..., Path]


class Page(HTMLParser):
    """Every address that a browser would follow or load, every tag left open, every word."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag in ("script", "iframe", "object", "embed", "link")
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                self.addresses.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def invoke(*arguments: object) -> Result:
        out = ["--out", str(tmp_path / "out")]
        return CliRunner().invoke(cli, ["report", *map(str, arguments), *out])

    return invoke


def test_the_page_asks_for_nothing_outside_itself(
    rendered: Path, make_store: MakeStore, run: Run, tmp_path: Path
) -> None:
    store = make_store("behave", rendered, bugs.box_doubled, share=0.3, images=True)
    assert run(store).exit_code == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and page.scripts == 0
    assert all(a.startswith(("data:image/jpeg;base64,", "#")) for a in page.addresses)
    assert sum(a.startswith("data:") for a in page.addresses) >= 4
    targets = {a.removeprefix("#") for a in page.addresses if a.startswith("#")}
    assert targets <= set(re.findall(r'id="([^"]+)"', text))
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert not re.findall(r"https?://|//[a-z]", re.sub(r"data:[^\"]+", "", text))


def test_a_breach_fails_the_gate_after_the_report_is_written(
    rendered: Path, make_store: MakeStore, run: Run, tmp_path: Path
) -> None:
    store = make_store("behave", rendered, bugs.box_doubled, share=0.3, images=True)
    open_gate = run(store)
    assert (open_gate.exit_code, "[box_misplaced]" in open_gate.output) == (0, True)
    page, metrics = (tmp_path / "out" / name for name in ("report.html", "report.json"))
    first = page.read_bytes(), metrics.read_bytes()
    page.unlink()
    metrics.unlink()
    gated = run(store, "--gate")
    assert gated.exit_code == 1
    assert "beyond the threshold" in gated.output and str(page) in gated.output
    assert (page.read_bytes(), metrics.read_bytes()) == first  # the same report, and it is there


def test_sound_data_passes_the_gate(
    rendered: Path, make_store: MakeStore, run: Run, tmp_path: Path
) -> None:
    store = make_store("coco", rendered, bugs.nothing, share=1.0, images=True)
    result = run(store, "--gate")
    assert result.exit_code == 0, result.output
    assert "no findings in 1 store" in result.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Every figure is within its threshold." in page


def test_metrics_are_numbers_by_name(
    rendered: Path, make_store: MakeStore, run: Run, tmp_path: Path
) -> None:
    store = make_store("behave", rendered, bugs.box_doubled, share=0.3, images=True)
    result = run(store, "--json")
    printed = result.stdout
    metrics = json.loads((tmp_path / "out" / "report.json").read_text())
    assert json.loads(printed) == metrics
    found = metrics["behave"]
    assert found["findings"] == len(found["breaches"]) > 0
    breach = found["breaches"]["box_misplaced"]
    assert breach["value"] == found["figures"]["box_misplaced"] > breach["threshold"]
    assert sum(sum(split.values()) for split in found["examples"].values()) == 28
    assert all(isinstance(v, float | int) for v in found["figures"].values())


@pytest.mark.parametrize("kind", [Kind.KP3D, Kind.KP2D, Kind.DENSE])
@pytest.mark.parametrize("with_images", [True, False])
def test_tiny_odd_stores_are_reported_on(
    kind: Kind, with_images: bool, tmp_path: Path, run: Run
) -> None:
    store = make_people(tmp_path, kind=kind, with_images=with_images)
    result = run(store)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    words = " ".join(Page(text).words)
    # One of its rows has a lens, the others the same camera without.
    assert ("[half_used_lens]" in result.output) == (kind is Kind.KP3D)
    assert "missing image" in words or not with_images
    assert "nan" not in re.sub(r"data:[^\"]+", "", text).lower().replace("sans", "")
    # A 2D dataset has no depth, a 3D one no bones that foreshorten.
    assert ("Depth of the root" in words) == (kind is Kind.KP3D)
    assert ("field_of_view" in words) == (kind is Kind.KP3D)


def test_stores_of_the_same_name_are_told_apart(tmp_path: Path, run: Run) -> None:
    stores = [make_people(tmp_path / name) for name in ("one", "two")]
    assert run(*stores, stores[0]).exit_code == 0
    assert set(json.loads((tmp_path / "out" / "report.json").read_text())) == {
        "one/people",
        "two/people",
    }


def test_a_missing_store_is_said(tmp_path: Path, run: Run) -> None:
    result = run(tmp_path / "absent.zarr")
    assert result.exit_code == 1
    assert "absent.zarr" in result.output


def test_source_paths_are_text_not_markup() -> None:
    from stages.report.page import _text

    assert _text("<script>&\x1b[31m") == "&lt;script&gt;&amp;�[31m"


def test_one_joint_datasets_and_empty_ones_do_not_break(tmp_path: Path) -> None:
    from stages.report.bones import body_sizes, bone_lengths, fit_bone_model, worst_factors

    lengths = bone_lengths(np.zeros((3, 1, 3)), validity=np.ones((3, 1), bool), edges=[])
    model = fit_bone_model(lengths)
    assert lengths.shape == (3, 0)
    assert np.isnan(body_sizes(lengths, model.length)).all()
    assert np.isnan(worst_factors(lengths)[0]).all()
