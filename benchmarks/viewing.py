"""`view --web` in headless Chromium: how long until the first picture, by the size of the store.

    python benchmarks/viewing.py [--counts 1000 100000] [--shown 64] [--rounds 3]
        [--json FILE] [--plots FOLDER]

In turn, for stores of so many examples: the command's time to its page address, the time from there
to the page's first frame, from that to the first frame with the example's colours on it, and the
bytes that the command read to get there. Rendering is in software, which is slow on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.measuring import add_outputs, present, spread
from stages.prepare.settings import PrepareSettings
from stages.view import palette
from tests.stages.view import chromium, people

ROOT = Path(__file__).resolve().parent.parent
N_PICTURES = 64
TIMEOUT_S = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--shown", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    add_outputs(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        stores = {count: make_store(Path(folder) / str(count), count) for count in arguments.counts}
        found: dict[int, list[dict[str, float]]] = {count: [] for count in stores}
        for _ in range(arguments.rounds):
            for count, store in stores.items():
                found[count].append(measure(store, arguments.shown))
    rows = [
        {"store": f"{count:,} examples", **{n: spread([r[n] for r in runs]) for n in runs[0]}}
        for count, runs in found.items()
    ]
    present("viewing", rows, arguments, bars=("address_s", "page_s", "first_picture_s"))


def make_store(folder: Path, count: int) -> Path:
    """The people of the viewer's tests, so many; they share a few pictures."""
    settings = PrepareSettings(folder, folder / "cache", rows_per_block=2048, rows_per_chunk=32)
    images = folder / "images" / "train"
    images.mkdir(parents=True)
    picture = np.random.default_rng(0).normal(90, 4, (people.HEIGHT, people.WIDTH, 3))
    for number in range(N_PICTURES):
        cv2.imwrite(str(images / f"{number}.jpg"), picture.astype(np.uint8))
    split = people._split("valid", count, people.Kind.KP3D)
    ragged = {
        **split.ragged,
        "image_path": people._ragged(
            [f"train/{row % N_PICTURES}.jpg".encode() for row in range(count)]
        ),
    }
    splits = {"train": replace(split, ragged=ragged)}
    for name in ("valid", "test"):
        splits[name] = people._split(name, 0, people.Kind.KP3D)
    columns = people.DatasetColumns(people.Kind.KP3D, "made", people.SKELETON, splits)
    provenance = {"source": "people.pkl", "source_sha256": "00" * 32, "era": "made"}
    people.write_store(
        "people",
        people.Source(columns, provenance),
        store=folder / "people.zarr",
        settings=settings,
        images=folder / "images",
        n_jobs=2,
    )
    return folder / "people.zarr"


def measure(store: Path, n_shown: int) -> dict[str, float]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "view", store, "--web", "--index", f"0:{n_shown}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr, tempfile.TemporaryDirectory() as profile:
        try:
            address = f"{process.stderr.readline().strip()}&renderer=webgl"
            until_address = time.perf_counter() - began
            counters = Path(f"/proc/{process.pid}/io").read_text().split()
            opened, ready, shown = asyncio.run(watch(address, Path(profile)))
        finally:
            process.terminate()
    return {
        "address_s": until_address,
        "page_s": ready - opened,
        "first_picture_s": shown - ready,
        "read_mb": int(counters[1]) / 1e6,
    }


async def watch(address: str, profile: Path) -> tuple[float, float, float]:
    """When the page was asked for, drew itself, and drew an example: the browser's own clock."""
    opened, ready = time.time(), None
    async with chromium._page(profile) as socket:
        await socket.send_json({"id": 1, "method": "Page.enable"})
        await socket.send_json(
            {"id": 2, "method": "Page.startScreencast", "params": {"format": "jpeg", "quality": 80}}
        )
        opened = time.time()
        await socket.send_json({"id": 3, "method": "Page.navigate", "params": {"url": address}})
        number = 10
        while time.time() - opened < TIMEOUT_S:
            message = await chromium._receive(socket)
            if message.get("method") != "Page.screencastFrame":
                continue
            number += 1
            frame = message["params"]
            session = {"sessionId": frame["sessionId"]}
            await socket.send_json(
                {"id": number, "method": "Page.screencastFrameAck", "params": session}
            )
            data = np.frombuffer(base64.b64decode(frame["data"]), np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
            when = float(frame["metadata"]["timestamp"])
            if ready is None and has_layout(picture):
                ready = when
            if ready is not None and has_example(picture):
                return opened, ready, when
    raise TimeoutError("no picture within the time")


def has_layout(picture: npt.NDArray[np.uint8]) -> bool:
    """Whether the viewer's bar is there: letters in the uppermost part, the rest not black."""
    return bool(np.ptp(picture[: picture.shape[0] // 20].astype(int)) > 60)


def has_example(picture: npt.NDArray[np.uint8]) -> bool:
    colours = (palette.LEFT, palette.RIGHT, palette.BOX)
    near = [np.abs(picture.astype(int) - colour).max(axis=2) < 40 for colour in colours]
    return all(int(one.sum()) > 60 for one in near)


if __name__ == "__main__":
    main()
