"""The same source gives the same bytes: for any number of workers, in any folder, time zone, locale
and hash seed, with a warm cache or a cold one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises.world import World, make_world, tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def expected(folder: Path) -> dict[str, bytes]:
    world = make_world(folder / "expected")
    world.prepare()
    return tree(world.store)


@pytest.mark.parametrize("n_jobs", [1, 2, 8])
def test_any_number_of_workers(world: World, expected: dict[str, bytes], n_jobs: int) -> None:
    world.prepare(n_jobs=n_jobs)
    assert tree(world.store) == expected


def test_a_warm_cache_a_cold_one_and_force(world: World, expected: dict[str, bytes]) -> None:
    world.prepare()
    shutil.rmtree(world.store)
    assert world.prepare().n_built == 0
    assert tree(world.store) == expected
    assert world.prepare(must_rebuild=True).n_built == 4
    assert tree(world.store) == expected
    shutil.rmtree(world.cache)
    world.prepare()
    assert tree(world.store) == expected


def test_blocks_built_in_another_order(world: World, expected: dict[str, bytes]) -> None:
    """An older edition, then this one: only one block is built for it, the others are found."""
    world.edition = 3
    world.prepare()
    world.edition = 0
    report = world.prepare()
    assert (report.n_built, report.n_reused) == (1, 3)
    assert tree(world.store) == expected


@pytest.mark.parametrize(
    "surroundings",
    [
        {"TZ": "Pacific/Apia", "PYTHONHASHSEED": "0", "LC_ALL": "tr_TR.UTF-8"},
        {"TZ": "UTC", "PYTHONHASHSEED": "12345", "LC_ALL": "C"},
    ],
    ids=["Apia, Turkish", "UTC, C"],
)
def test_any_surroundings(
    world: World, expected: dict[str, bytes], surroundings: dict[str, str]
) -> None:
    elsewhere = world.folder / "a folder with a space, ünïcode"
    elsewhere.mkdir()
    moved = World(elsewhere / "world")
    shutil.copytree(world.folder / "images", moved.images)
    command = [sys.executable, "-m", "tests.promises.driver", str(moved.folder), "0", "-"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert tree(moved.store) == expected


def test_nothing_of_the_place_or_the_time_is_in_a_store(world: World) -> None:
    world.prepare()
    for path, data in tree(world.store).items():
        for secret in (str(world.folder), os.uname().nodename, str(os.getpid())):
            if len(secret) > 5:
                assert secret.encode() not in data, path
