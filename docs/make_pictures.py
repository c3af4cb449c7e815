"""Make the pictures of README and docs from the stores and the evaluation that `make repro` left.

Run it from the project's folder: `.venv/bin/python docs/make_pictures.py`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cache.reader import Store  # noqa: E402
from stages.evaluate.settings import EvaluateSettings  # noqa: E402
from stages.prepare.settings import store_path  # noqa: E402
from stages.settings import load_section  # noqa: E402
from stages.view.run import make_view, save  # noqa: E402
from stages.view.selection import Selection  # noqa: E402
from stages.view.settings import ViewSettings  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
ROWS = {
    "agora": slice(2, 4),
    "behave": slice(1, 3),
    "mads": slice(5, 7),
    "coco": slice(0, 3),
    "densepose_coco": slice(1, 4),
}
WIDTH_PX = 1400


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


if __name__ == "__main__":
    main()
