"""Whatever is done in whatever order - prepare, edit, kill, damage, gc, verify, repair - what is
published is right or absent."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cache.collect import collect_garbage
from errors import StoreError
from tests.promises.test_damage import DAMAGES, private_copy
from tests.promises.world import (
    FAST_PLACE,
    Call,
    WatchedSyscalls,
    World,
    die,
    in_child,
    make_world,
    tree,
    watching,
)

EDITIONS = range(3)


class Stores(RuleBasedStateMachine):
    """The model: which edition stands, None if none, and whether it is damaged."""

    template: World
    editions: dict[int, dict[str, bytes]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=type(self).template.folder.parent))
        self.standing: int | None = None
        self.is_damaged = False
        self.can_repair = True

    @initialize()
    def begin(self) -> None:
        self.world = private_copy(type(self).template, self.folder / "world")

    @rule(edition=st.sampled_from(EDITIONS))
    def edit(self, edition: int) -> None:
        self.world.edition = edition

    @rule(n_jobs=st.sampled_from([1, 2]))
    def prepare(self, n_jobs: int) -> None:
        self.world.prepare(n_jobs=n_jobs, must_rebuild=self.is_damaged)
        self.standing, self.is_damaged = self.world.edition, False

    @rule(number=st.integers(0, 400), can_exchange=st.booleans())
    def kill(self, number: int, can_exchange: bool) -> None:
        def hit(call: Call) -> None:
            if call.number == number:
                die()

        before = self.found()
        with watching(WatchedSyscalls(before=hit, can_exchange=can_exchange)):
            code = in_child(self.world.prepare)
        assert code in (0, -signal.SIGKILL)
        found = self.found()
        now = [edition for edition, files in type(self).editions.items() if files == found]
        if self.is_damaged and not now:
            assert found == before  # what was not replaced: nothing damaged is ever published
            return
        if not self.is_damaged:
            assert now[:1] in ([self.standing], [self.world.edition]) or not found
        self.standing, self.is_damaged = (now[0] if now else None), False

    @precondition(lambda self: self.standing is not None and not self.is_damaged)
    @rule(name=st.sampled_from(sorted(DAMAGES)), number=st.integers(0, 10**6))
    def damage(self, name: str, number: int) -> None:
        before = self.found()
        paths = sorted(before)
        path, other = paths[number % len(paths)], paths[(number + 1) % len(paths)]
        DAMAGES[name](self.world.store / path, self.world.store / other)
        self.is_damaged = self.found() != before

    @rule()
    def collect(self) -> None:
        collect_garbage(self.world.cache)

    @precondition(lambda self: self.standing is not None)
    @rule()
    def verify(self) -> None:
        assert self.world.verify().is_sound != self.is_damaged

    @precondition(lambda self: self.standing is not None)
    @rule()
    def repair(self) -> None:
        try:
            self.world.repair()
        except StoreError:
            assert self.is_damaged and self.world.edition != self.standing
            return
        if self.is_damaged and self.found() == type(self).editions[self.world.edition]:
            self.standing = self.world.edition  # the manifest was lost: made anew from the source
        self.is_damaged = False

    @invariant()
    def what_is_published_is_right_or_absent(self) -> None:
        if not self.is_damaged and hasattr(self, "world"):
            expected = {} if self.standing is None else type(self).editions[self.standing]
            assert self.found() == expected

    def found(self) -> dict[str, bytes]:
        aside = self.world.store.parent / f".{self.world.store.name}.aside"
        return tree(self.world.store if self.world.store.exists() else aside)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


@pytest.fixture
def machine(folder: Path) -> type[Stores]:
    template = make_world(folder / "template")
    editions = {}
    for edition in EDITIONS:
        done = private_copy(template, folder / f"edition-{edition}")
        done.edition = edition
        done.prepare()
        editions[edition] = tree(done.store)
    return type("StoresHere", (Stores,), {"template": template, "editions": editions})


def run(machine: type[Stores], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.mark.skipif(not os.access(FAST_PLACE, os.W_OK), reason="needs a file system in memory")
def test_any_order(machine: type[Stores]) -> None:
    run(machine, examples=8, steps=12)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_orders(machine: type[Stores]) -> None:
    run(machine, examples=200, steps=50)
