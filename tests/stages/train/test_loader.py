"""Each pass shows every example once, batches keep their proportions, and a position is a state."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from errors import ConfigError
from pipeline.schema import Kind
from stages.train.augmentation import Scenery
from stages.train.examples import ExampleReader
from stages.train.loader import BatchStream, SourceOrder, training_stream
from stages.train.settings import (
    BatchSettings,
    CropSettings,
    DataSettings,
    HeadSettings,
    TrainSettings,
)
from tests.stages.train.stick_figures import stick_sources

SETTINGS = TrainSettings(
    data=DataSettings(loader_threads=3, prefetch_batches=0.5),
    head=HeadSettings(proc_side=32, stride_train=16, stride_test=16),
    batch=BatchSettings(
        batch_size_parametric=6,
        batch_size=2,
        batch_size_densepose=1,
        batch_size_2d=3,
        num_points=9,
        num_surface_points=9,
        num_internal_points=0,
        weights_param={"agora": 10, "behave": 5},
    ),
)


def stream_of(settings: TrainSettings = SETTINGS, *, seed: int = 1) -> BatchStream:
    return training_stream(
        stick_sources(settings.batch),
        ExampleReader(settings, Scenery(), n_slots=settings.batch.num_points),
        batch=settings.batch,
        data=settings.data,
        seed=seed,
    )


def test_every_batch_holds_the_kinds_in_their_order_and_number() -> None:
    stream = stream_of()
    sources = stick_sources(SETTINGS.batch)
    for _ in range(3):
        batch = next(stream)
        for kind, part in stream.kinds.items():
            assert {sources[i].kind for i in batch["source"][part]} == {kind}
    assert {kind: part.stop - part.start for kind, part in stream.kinds.items()} == {
        Kind.PARAM: 6,
        Kind.KP3D: 2,
        Kind.DENSE: 1,
        Kind.KP2D: 3,
    }


def test_sources_of_a_kind_are_mixed_by_their_weights() -> None:
    stream = stream_of()
    names = [source.dataset for source in stick_sources(SETTINGS.batch)]
    counts = Counter(names[i] for _ in range(4) for i in next(stream)["source"][:6])
    assert counts == {"agora": 16, "behave": 8}


def test_a_pass_shows_every_usable_example_once_and_the_next_pass_in_another_order() -> None:
    stream = stream_of()
    sources = stick_sources(SETTINGS.batch)
    coco = next(i for i, source in enumerate(sources) if source.dataset == "coco")
    n = len(sources[coco])
    rows = [int(row) for _ in range(2 * n) for row in _rows_of(next(stream), coco)][: 2 * n]
    assert sorted(rows[:n]) == sorted(rows[n:]) == sources[coco].rows.tolist()
    assert rows[:n] != rows[n:]
    assert 5 not in rows  # it was rejected


@pytest.mark.parametrize("n_before", [0, 1, 4])
def test_a_restored_state_continues_to_the_bit(n_before: int) -> None:
    stream = stream_of()
    for _ in range(n_before):
        next(stream)
    state = stream.get_state()
    expected = [next(stream) for _ in range(3)]
    resumed = stream_of()
    resumed.set_state(state)
    for batch in expected:
        _assert_same(next(resumed), batch)


def test_threads_and_look_ahead_do_not_change_what_is_seen() -> None:
    alone = TrainSettings(
        data=DataSettings(loader_threads=1, prefetch_batches=0.1),
        head=SETTINGS.head,
        batch=SETTINGS.batch,
    )
    one, many = stream_of(alone), stream_of()
    for _ in range(3):
        _assert_same(next(one), next(many))


def test_a_source_is_shuffled_from_end_to_end() -> None:
    """Not within a buffer: an example may come anywhere, its neighbours anywhere else."""
    n = 2000
    order = SourceOrder(n, seed=5)
    for number in range(2):
        found = order.positions(np.arange(n) + number * n)
        assert sorted(found) == list(range(n))
        # For an even shuffle both distances are a third of the length, give or take two percent.
        assert np.abs(found - np.arange(n)).mean() == pytest.approx(n / 3, rel=0.06)
        assert np.abs(np.diff(found)).mean() == pytest.approx(n / 3, rel=0.06)


def test_closing_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        stream = stream_of()
        next(stream)
        stream.close()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(timeout=20)
    assert not [thread for thread in left if thread.is_alive()]


def test_memory_does_not_grow_with_the_batches_read() -> None:
    stream = stream_of()
    batch_bytes = sum(values.nbytes for values in next(stream).values())
    for _ in range(8):
        next(stream)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(40):
            next(stream)
        ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/stages/train/*")
        traces = tracemalloc.take_snapshot().filter_traces([ours]).traces
    finally:
        tracemalloc.stop()
        stream.close()
    kept = sum(trace.size for trace in traces)
    assert 0 < kept < 20 * batch_bytes  # some are ready ahead, however busy the machine is


def test_another_seed_is_another_order_and_another_augmentation() -> None:
    one, other = next(stream_of(seed=1)), next(stream_of(seed=2))
    assert one["row"].tolist() != other["row"].tolist()


def test_another_pass_is_augmented_anew() -> None:
    settings = TrainSettings(
        data=SETTINGS.data,
        head=SETTINGS.head,
        batch=SETTINGS.batch,
        crop=CropSettings(color_aug=False, occlude_aug_prob=0, jpeg_aug_prob=0),
    )
    stream = stream_of(settings)
    seen: dict[tuple[int, int], np.ndarray] = {}
    for _ in range(30):
        batch = next(stream)
        for key, k in zip(
            zip(batch["source"].tolist(), batch["row"].tolist(), strict=True),
            batch["intrinsics"],
            strict=True,
        ):
            if key in seen:
                assert not np.array_equal(seen[key], k)
                return
            seen[key] = k
    pytest.fail("no example came twice")


def test_a_batch_is_its_examples_one_by_one() -> None:
    """All geometry is computed for a whole batch at once; that must change nothing."""
    crop = CropSettings(full_rot_aug_prob=0.3, partial_visibility_prob=0.5, augment_border_prob=0.5)
    settings = TrainSettings(head=SETTINGS.head, batch=SETTINGS.batch, crop=crop)
    sources = stick_sources(settings.batch)
    for source in sources[::2]:
        source.distortion[::2, :5] = [-0.2, 0.1, 0.001, -0.002, 0.01]
    reader = ExampleReader(settings, Scenery(), n_slots=settings.batch.num_points)
    which = np.arange(40) % len(sources)
    positions = np.arange(40) // 3
    draws = reader.draw(sources, which, np.random.default_rng(5))
    together = reader.read(sources, which, positions, draws=draws)
    for i in range(40):
        here = slice(i, i + 1)
        alone = reader.read(sources, which[here], positions[here], draws=draws[here])
        for name, values in alone.items():
            if name == "image":
                difference = np.abs(values[0].astype(int) - together[name][i])
                assert (difference > 1).mean() < 1e-3, i
            else:
                np.testing.assert_allclose(
                    values[0], together[name][i], rtol=1e-5, atol=1e-4, err_msg=f"{i} {name}"
                )


def test_nothing_to_train_from_is_an_error() -> None:
    none = BatchSettings(
        batch_size_parametric=0, batch_size=0, batch_size_densepose=0, batch_size_2d=0
    )
    with pytest.raises(ConfigError, match="nothing to train from"):
        training_stream(
            stick_sources(none),
            ExampleReader(SETTINGS, Scenery()),
            batch=none,
            data=SETTINGS.data,
            seed=1,
        )


def _rows_of(batch: dict[str, np.ndarray], source: int) -> list[int]:
    return batch["row"][batch["source"] == source].tolist()


def _assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
