"""Make the pictures of README and docs from the stores and the evaluation that `make repro` left.

Run it from the project's folder: `.venv/bin/python docs/make_pictures.py`.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cache.reader import Store  # noqa: E402
from stages.evaluate.settings import EvaluateSettings  # noqa: E402
from stages.prepare.run import write_store  # noqa: E402
from stages.prepare.settings import PrepareSettings, dataset_files, store_path  # noqa: E402
from stages.prepare.source import Source, read_source  # noqa: E402
from stages.report.run import report  # noqa: E402
from stages.report.settings import ReportSettings  # noqa: E402
from stages.settings import load_section  # noqa: E402
from stages.view.run import make_view, save  # noqa: E402
from stages.view.selection import Selection  # noqa: E402
from stages.view.settings import ViewSettings  # noqa: E402
from tests.stages.report import bugs  # noqa: E402
from tests.stages.report.screenshot import take_picture  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
ROWS = {
    "agora": slice(2, 4),
    "behave": slice(1, 3),
    "mads": slice(5, 7),
    "coco": slice(0, 3),
    "densepose_coco": slice(1, 4),
}
WIDTH_PX = 1400
# What is wrong with the data of the report's picture: the bug, and in which share of the examples.
SEEDED_BUGS = {
    "agora": ("swapped_sides", 0.05),
    "behave": ("pictures_off_by_one", 1.0),
    "mads": ("millimetres", 0.02),
    "coco": ("box_doubled", 0.04),
}
PAGE_SIZE_PX = (1280, 1500)


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    settings = load_section(ViewSettings, "view")
    sheets = []
    for dataset, rows in ROWS.items():
        figure = make_view(
            Store.open(store_path(dataset)), Selection(split="train", rows=rows), settings=settings
        )
        path = PICTURES / f"{dataset}.png"
        save(figure, path)
        sheet = cv2.imread(str(path))
        path.unlink()
        height = round(sheet.shape[0] * WIDTH_PX / sheet.shape[1])
        sheets.append(cv2.resize(sheet, (WIDTH_PX, height), interpolation=cv2.INTER_AREA))
    collage = np.concatenate(sheets)
    cv2.imwrite(str(PICTURES / "view.jpg"), collage, [cv2.IMWRITE_JPEG_QUALITY, 88])
    evaluation = load_section(EvaluateSettings, "evaluate").out
    for name in ("predictions.png", "learning_curve.png"):
        shutil.copyfile(evaluation / name, PICTURES / name)
    make_report_picture()


def make_report_picture() -> None:
    """The label report on sample data with seeded bugs, as headless Chromium shows it."""
    settings = load_section(ReportSettings, "report")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = [_spoilt_store(folder, dataset, *bug) for dataset, bug in SEEDED_BUGS.items()]
        stores.append(store_path("densepose_coco"))
        page = report(stores, dataclasses.replace(settings, out=folder)).page
        picture = take_picture(page.as_uri(), folder / "profile", size=PAGE_SIZE_PX)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    cv2.imwrite(str(PICTURES / "report.jpg"), picture[..., ::-1], quality)


def _spoilt_store(folder: Path, dataset: str, bug: str, share: float) -> Path:
    files = dataset_files(dataset)
    source = read_source(dataset, files)
    spoilt = bugs.with_bug(source.columns, getattr(bugs, bug), share=share)
    store = folder / f"{dataset}.zarr"
    write_store(
        dataset,
        Source(spoilt, source.provenance),
        store=store,
        settings=PrepareSettings(folder, folder / "cache"),
        images=files.images,
    )
    return store


if __name__ == "__main__":
    main()
