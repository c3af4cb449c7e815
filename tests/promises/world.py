"""A tiny dataset with its folders, prepared in milliseconds, and the ways to hurt it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cache import syscalls as seam
from cache.syscalls import Syscalls
from errors import PoseshardError
from pipeline.columns import DatasetColumns, Ragged, SplitColumns
from pipeline.schema import Kind, Status
from pipeline.skeletons import skeleton_from_names
from stages.prepare import run as prepare_run
from stages.prepare.run import PrepareReport, prepare
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.prepare.source import Source
from stages.verify import repair as repair_module
from stages.verify.repair import RepairReport, verify_and_repair
from stages.verify.run import VerifyReport, verify

SKELETON = skeleton_from_names(["pelv", "head", "lwri", "rwri"], paths=["head-pelv-rwri"])
N_ROWS = {"train": 20, "valid": 6, "test": 0}
ROWS_PER_BLOCK = 8
ROW_MISSING, ROW_BROKEN, ROW_EMPTY = 3, 9, 13  # of train
SUCCEEDED, FAILED = 0, 3

# Memory, where the system has it: what is tested is the order of calls, not the disk.
FAST_PLACE = Path("/dev/shm")


@dataclass
class World:
    """Source, cache and store of one dataset below one folder; `edition` is what the source says.

    Editions differ in one number of one example, so that they share all blocks but one.
    """

    folder: Path
    edition: int = 0

    @property
    def store(self) -> Path:
        return self.folder / "stores" / "small.zarr"

    @property
    def cache(self) -> Path:
        return self.folder / "blocks"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def settings(self) -> PrepareSettings:
        return PrepareSettings(
            self.store.parent,
            self.cache,
            ROWS_PER_BLOCK,
            rows_per_chunk=4,
            lock_timeout_s=60.0,
            excludes=self.folder / "excludes.yaml",
        )

    def source(self) -> Source:
        """What reading the pickle would give."""
        splits = {name: _split(name, n, self.edition) for name, n in N_ROWS.items()}
        columns = DatasetColumns(Kind.KP3D, "test", SKELETON, splits)
        digest = f"{self.edition:064d}"
        return Source(columns, {"source": "small.pkl", "source_sha256": digest})

    def prepare(self, **options: Any) -> PrepareReport:
        files = DatasetFiles(self.folder / "small.pkl", self.images)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare_run, "read_source", lambda *_: self.source())
            return prepare("small", files, store=self.store, settings=self.settings, **options)

    def verify(self) -> VerifyReport:
        return verify(self.store)

    def repair(self) -> RepairReport:
        files = DatasetFiles(self.folder / "small.pkl", self.images)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repair_module, "read_source", lambda *_: self.source())
            return verify_and_repair(self.store, settings=self.settings, find_files=lambda _: files)

    def copy(self, folder: Path) -> World:
        """The same world elsewhere, its files linked: none is ever changed in place."""
        shutil.copytree(self.folder, folder, copy_function=os.link)
        return World(folder, self.edition)

    def leftovers(self) -> list[Path]:
        """What should not be there when nothing runs."""
        return [
            path
            for folder in (self.store.parent, self.cache, self.cache / "blocks")
            if folder.is_dir()
            for path in folder.iterdir()
            if path.name.startswith(".tmp-") or path.name.endswith(".aside")
        ]


def make_world(folder: Path) -> World:
    world = World(folder)
    world.images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, n_rows in N_ROWS.items():
        for row in range(n_rows):
            picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            cv2.imwrite(str(world.images / f"{split}{row}.jpg"), picture)
    (world.images / f"train{ROW_MISSING}.jpg").unlink()
    (world.images / f"train{ROW_BROKEN}.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    for path in [*world.images.iterdir(), world.images]:
        os.utime(path, (1e9, 1e9))
    return world


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass
class Call:
    """The k-th call through the seam."""

    number: int
    name: str


class WatchedSyscalls(Syscalls):
    """Counts the calls and does something at each, before and after it."""

    def __init__(
        self,
        before: Callable[[Call], None] = lambda call: None,
        after: Callable[[Call], None] = lambda call: None,
        *,
        can_exchange: bool = True,
    ) -> None:
        self._before, self._after, self._can_exchange = before, after, can_exchange
        self.calls: list[Call] = []

    def _watched(self, name: str, *arguments: Any) -> Any:
        call = Call(len(self.calls), name)
        self.calls.append(call)
        self._before(call)
        result = getattr(Syscalls, name)(self, *arguments)
        self._after(call)
        return result

    def exchange(self, a: Path, b: Path) -> bool:
        return bool(self._can_exchange and self._watched("exchange", a, b))


def _watch(name: str) -> Callable[..., Any]:
    def method(self: WatchedSyscalls, *arguments: Any) -> Any:
        return self._watched(name, *arguments)

    return method


for _name in vars(Syscalls):
    if not _name.startswith("_") and _name != "exchange":
        setattr(WatchedSyscalls, _name, _watch(_name))


@contextlib.contextmanager
def watching(watched: WatchedSyscalls) -> Iterator[WatchedSyscalls]:
    """Let all of `cache` go through `watched`."""
    real, seam.syscalls = seam.syscalls, watched
    try:
        yield watched
    finally:
        seam.syscalls = real


def calls_of(world: World, **options: Any) -> list[Call]:
    """Every call that a `prepare` of this world makes."""
    with watching(WatchedSyscalls(**options)) as watched:
        world.prepare()
    return watched.calls


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child; its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            work()
            code = SUCCEEDED
        except PoseshardError:
            code = FAILED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    """As a process dies of the OOM killer or a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def _split(name: str, n_rows: int, edition: int) -> SplitColumns:
    rng = np.random.default_rng(len(name))
    coords3d = rng.normal((0, 0, 4), 0.3, (n_rows, 4, 3)).astype(np.float32)
    validity = np.ones((n_rows, 4), dtype=bool)
    status = np.zeros(n_rows, dtype=np.uint8)
    details = {}
    if name == "train":
        coords3d[5, 1, 0] = edition
        validity[ROW_EMPTY] = False
        status[ROW_EMPTY] = Status.NO_VALID_POINT
        details[ROW_EMPTY] = "no point is annotated and finite"
    validity[::3, 3] = False
    coords3d[~validity] = 0
    paths = [f"{name}{row}.jpg".encode() for row in range(n_rows)]
    intrinsics = np.array([[100, 0, 4], [0, 100, 4], [0, 0, 1]], np.float32)
    arrays = {
        "status": status,
        "intrinsics": np.tile(intrinsics, (n_rows, 1, 1)),
        "extrinsics": np.tile(np.eye(3, 4, dtype=np.float32), (n_rows, 1, 1)),
        "distortion": np.zeros((n_rows, 14), np.float32),
        "world_up": np.tile(np.float32([0, -1, 0]), (n_rows, 1)),
        "root_index": np.where(validity[:, 0], 0, -1).astype(np.int32),
        "point_validity": validity,
        "coords3d": coords3d,
        "bbox": np.tile(np.float32([0, 0, 8, 8]), (n_rows, 1)),
        "mask_length": np.zeros(n_rows, np.int32),
        "mask_size": np.zeros((n_rows, 2), np.int32),
    }
    ragged = {
        "image_path": _ragged(paths),
        "mask": _ragged([b""] * n_rows),
    }
    return SplitColumns(arrays, ragged, details)


def _ragged(rows: list[bytes]) -> Ragged:
    values = np.frombuffer(b"".join(rows), dtype=np.uint8)
    return Ragged(values, np.array([len(row) for row in rows], np.int32))
