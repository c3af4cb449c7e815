"""`report`: measure stores, judge, draw the worst, write the page and the metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.files import way_on
from cache.reader import Store
from errors import ConfigError
from pipeline.schema import Kind
from stages.report.findings import Figure, judge, to_json
from stages.report.page import Chapter, make_page
from stages.report.scan import scan_store
from stages.report.settings import ReportSettings
from stages.report.thumbnails import draw_thumbnails
from stages.settings import load_section
from stages.view.run import body_mesh
from stages.view.settings import ViewSettings
from stages.view.surface import BodyMesh

PAGE, METRICS = "report.html", "report.json"


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and what was found by store."""

    page: Path
    metrics: Path
    figures: dict[str, tuple[Figure, ...]]

    @property
    def n_findings(self) -> int:
        """Figures beyond their threshold, over all stores."""
        return sum(figure.is_breach for found in self.figures.values() for figure in found)


def report(stores: Sequence[Path], settings: ReportSettings) -> Report:
    """Report on stores.

    Args:
        stores: at least one.

    Raises:
        StoreError: a store is missing or a shard of it damaged.
        ConfigError: the folder cannot be written.
    """
    chapters = [_chapter(path, name, settings) for name, path in named(stores).items()]
    metrics = {chapter.name: to_json(chapter.figures, chapter.scan) for chapter in chapters}
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        page, document = settings.out / PAGE, settings.out / METRICS
        page.write_text(make_page(chapters), encoding="utf-8")
        document.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "cannot write the report",
            where=str(settings.out),
            cause=error.strerror or str(error),
            next_command=way_on(error) or "choose another folder with --out",
        ) from error
    return Report(page, document, {chapter.name: chapter.figures for chapter in chapters})


def named(stores: Sequence[Path]) -> dict[str, Path]:
    """Stores by a name that no two share: the file's, with its folder where that is not enough."""
    found: dict[str, Path] = {}
    for path in dict.fromkeys(stores):
        name = path.stem
        if sum(other.stem == name for other in dict.fromkeys(stores)) > 1:
            name = f"{path.absolute().parent.name}/{name}"
        while name in found:
            name += "+"
        found[name] = path
    return found


def _chapter(path: Path, name: str, settings: ReportSettings) -> Chapter:
    store = Store.open(path)
    body = _body(store)
    scan = scan_store(store, settings, body=body)
    figures = judge(scan, settings)
    suspects = [s for figure in figures if figure.is_breach for s in figure.suspects]
    drawn = draw_thumbnails(store, suspects, side=settings.thumbnail_side, body=body)
    return Chapter(name, str(path), store.attributes, scan, figures, drawn)


def _body(store: Store) -> BodyMesh | None:
    if Kind(store.attributes["kind"]) is not Kind.DENSE:
        return None
    return body_mesh(load_section(ViewSettings, "view").body)
