"""Under DVC a store costs its disk space once, comes back for almost nothing when its output is
deleted, and survives push and pull through a remote whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.verify.run import verify
from tests.promises.world import World, make_world, tree

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Project:
    """A DVC project of one stage that prepares a world, configured as this repository is."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        folder.mkdir(exist_ok=True)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        self.dvc("init")
        shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")

    def dvc(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def write_stage(self) -> None:
        command = f"{sys.executable} -m tests.promises.driver {self.world.folder}"
        (self.folder / "edition").write_text(str(self.world.edition))
        (self.folder / "dvc.yaml").write_text(
            "stages:\n  prepare:\n"
            f"    cmd: {command} $(cat edition) -\n"
            "    deps: [images, edition]\n    outs: [stores/small.zarr]\n"
        )

    def repro(self, edition: int) -> str:
        self.world.edition = edition
        (self.folder / "edition").write_text(str(edition))
        return self.dvc("repro")

    def dvc_cache_inodes(self) -> set[int]:
        files = (self.folder / ".dvc" / "cache" / "files").rglob("*")
        return {path.stat().st_ino for path in files if path.is_file()}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    world = make_world(tmp_path / "project")
    made = Project(world.folder, world)
    made.write_stage()
    yield made


def shards(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "/c/" in str(path)]


def test_the_life_of_a_store_under_dvc(project: Project, tmp_path: Path) -> None:
    world = project.world
    project.repro(0)
    expected = tree(world.store)

    # One inode each in the block cache, in the store and in DVC's cache, or one of equal bytes.
    ours = {p.stat().st_ino for p in (world.cache / "blocks").rglob("*") if p.is_file()}
    dvcs = project.dvc_cache_inodes()
    doubled = [path for path in shards(world.store) if path.stat().st_ino not in dvcs]
    assert doubled == []
    apart = [path for path in shards(world.store) if path.stat().st_ino not in ours]
    # DVC keeps one file of those that have the same bytes; the largest column never has.
    assert all(path.stat().st_size < 4096 for path in apart), apart
    assert not [path for path in apart if "image/" in str(path)]

    assert "didn't change" in project.repro(0)

    shutil.rmtree(world.store)
    project.repro(0)
    assert tree(world.store) == expected

    # DVC's own cache is gone too: the blocks make the store again.
    shutil.rmtree(world.store)
    shutil.rmtree(project.folder / ".dvc" / "cache")
    assert "0 blocks built, 4 reused" in project.repro(0)
    assert tree(world.store) == expected

    # Another edition and back: the run-cache knows the first one.
    project.repro(1)
    assert tree(world.store) != expected
    assert "is cached" in project.repro(0)
    assert tree(world.store) == expected

    remote = tmp_path / "remote"
    project.dvc("remote", "add", "-d", "elsewhere", str(remote))
    project.dvc("push")
    clone = World(tmp_path / "clone")
    clone.folder.mkdir()
    for name in ("dvc.yaml", "dvc.lock", "edition"):
        shutil.copy(project.folder / name, clone.folder / name)
    cloned = Project(clone.folder, clone)
    shutil.copy(project.folder / ".dvc" / "config", clone.folder / ".dvc" / "config")
    cloned.dvc("pull")
    assert tree(clone.store) == expected
    assert verify(clone.store).is_sound
