"""The process that reads the pickle may be killed, by hand or for want of memory: the run ends at
once, says so, and leaves what stood; the same command then completes."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import pytest

from errors import SourceError
from pipeline.unpickling import begin_read
from pipeline.unpickling.isolation import PendingRead
from stages.prepare import source as prepare_source
from stages.prepare.run import prepare
from stages.prepare.settings import DatasetFiles
from tests.promises.world import World, tree


def test_a_killed_reader_is_said_and_nothing_is_published(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.prepare()
    before = tree(world.store)
    path = world.folder / "small.pkl"
    path.write_bytes(pickle.dumps([{"n": number} for number in range(300_000)]))

    def begin_and_kill(*arguments: object) -> PendingRead:
        pending = begin_read(*arguments)  # type: ignore[arg-type]
        os.kill(pending._child._pid, signal.SIGKILL)
        return pending

    monkeypatch.setattr(prepare_source, "begin_read", begin_and_kill)
    with pytest.raises(SourceError, match="killed"):
        prepare(
            "small",
            DatasetFiles(Path(path), world.images),
            store=world.store,
            settings=world.settings,
        )
    assert tree(world.store) == before
    assert world.leftovers() == []
    world.edition = 1
    world.prepare()
    assert world.verify().is_sound
