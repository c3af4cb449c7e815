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
# What stands side by side in the picture of the five stores: dataset and row, line by line.
SHEET = (
    (("agora", 2), ("behave", 1)),
    (("mads", 5), ("coco", 1), ("densepose_coco", 1)),
)
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
    lines = [np.concatenate([_drawn(*one) for one in line], axis=1) for line in SHEET]
    sheet = np.concatenate([_resized(line) for line in lines])
    cv2.imwrite(str(PICTURES / "view.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
    evaluation = load_section(EvaluateSettings, "evaluate").out
    for name in ("predictions.png", "learning_curve.png"):
        shutil.copyfile(evaluation / name, PICTURES / name)
    make_report_picture()


def _drawn(dataset: str, row: int) -> np.ndarray:
    """One example as `cli.py view` draws it; the colours are explained where it is shown."""
    figure = make_view(
        Store.open(store_path(dataset)),
        Selection(split="train", rows=slice(row, row + 1)),
        settings=load_section(ViewSettings, "view"),
    )
    for legend in figure.legends:
        legend.set_visible(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.png"
        save(figure, path)
        drawn = cv2.imread(str(path))
    assert drawn is not None
    return drawn


def _resized(line: np.ndarray) -> np.ndarray:
    height = round(line.shape[0] * WIDTH_PX / line.shape[1])
    return cv2.resize(line, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)


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
