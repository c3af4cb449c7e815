"""Compressed run lengths are accepted exactly if a careful decoder would accept them."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.unpickling.run_lengths import runs_fill


def careful_total(counts: bytes) -> int | None:
    """Pixels that the runs cover, None if a character or a run is impossible."""
    runs: list[int] = []
    number, width = 0, 0
    for character in counts:
        bits = character - 48
        if not 0 <= bits < 64:
            return None
        number |= (bits & 31) << (5 * width)
        width += 1
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << (5 * width)
        if width > 6:
            return None
        run = number + (runs[-2] if len(runs) > 2 else 0)
        if run < 0:
            return None
        runs.append(run)
        number, width = 0, 0
    return sum(runs) if runs and width == 0 else None


def random_masks(generator: np.random.Generator, n_masks: int) -> tuple[list[bytes], list[int]]:
    counts, areas = [], []
    for _ in range(n_masks):
        height, width = generator.integers(1, 60, 2)
        mask = (generator.random((height, width)) < generator.choice([0, 0.02, 0.5, 1])).astype(
            "u1"
        )
        mask = np.kron(mask, np.ones(generator.integers(1, 20, 2), np.uint8))
        counts.append(coco_mask.encode(np.asfortranarray(mask))["counts"])
        areas.append(mask.size)
    return counts, areas


def test_genuine_masks_fill_their_area_and_no_other() -> None:
    counts, areas = random_masks(np.random.default_rng(1), 300)
    assert runs_fill(counts, np.array(areas)).all()
    assert not runs_fill(counts, np.array(areas) + 1).any()


def test_damaged_masks_are_judged_as_a_careful_decoder_judges() -> None:
    generator = np.random.default_rng(2)
    counts, areas = random_masks(generator, 250)
    damaged = []
    for text in counts:
        characters = bytearray(text)
        for _ in range(generator.integers(0, 3)):
            characters[generator.integers(len(characters))] = generator.integers(40, 120)
        if generator.random() < 0.1:
            characters = characters[: generator.integers(len(characters) + 1)]
        damaged.append(bytes(characters))
    expected = [careful_total(text) == area for text, area in zip(damaged, areas, strict=True)]
    assert 30 < sum(expected) < 220
    assert runs_fill(damaged, np.array(areas)).tolist() == expected


def test_one_bad_mask_does_not_spoil_its_neighbours() -> None:
    bad = [b"", b"P", b"0P", b"0\xff", b"PPPPPPPP0", b"0O", b"\x00"]
    for text in bad:
        assert runs_fill([b"04", text, b"04"], np.array([4, 4, 4])).tolist() == [True, False, True]


def test_more_masks_than_fit_into_one_piece() -> None:
    counts, areas = random_masks(np.random.default_rng(3), 50)
    assert runs_fill(counts * 40, np.array(areas * 40)).all()


def test_no_masks() -> None:
    assert runs_fill([], np.array([], dtype=np.int64)).shape == (0,)
