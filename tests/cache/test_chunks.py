"""Chunks come back as they were, for us and for any zstd decoder; padding costs next to nothing."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest
import zstandard

from cache import chunks

ROW_BYTES = (1, 4, 16, 17, 40, 200, 2304, 300_000)


def pieces_of(row_bytes: int, rng: np.random.Generator) -> list[bytes]:
    """Chunks of rows of every length, of values that compress or do not."""
    n_rows = 2 if row_bytes > 100_000 else 32
    pieces = []
    for _ in range(int(rng.integers(1, 20))):
        rows = np.zeros((n_rows, row_bytes), dtype=np.uint8)
        n_values = int(rng.choice([2, 256]))
        for row in rows:
            length = int(rng.integers(0, row_bytes + 1))
            row[:length] = rng.integers(0, n_values, length)
        pieces.append(rows.tobytes())
    return pieces


@pytest.mark.parametrize("row_bytes", ROW_BYTES)
def test_what_was_encoded_is_decoded(row_bytes: int) -> None:
    rng = np.random.default_rng(row_bytes)
    for _ in range(4):
        pieces = pieces_of(row_bytes, rng)
        size = len(pieces[0])
        stored = chunks.encode_chunks(pieces, row_bytes)
        for piece, part in zip(pieces, stored, strict=True):
            assert chunks.decode_chunk(part, size) == piece
            frame = part[: -chunks.CRC_BYTES]
            plain = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
            assert plain == piece
            assert google_crc32c.value(frame).to_bytes(4, "little") == part[-4:]
        out = np.zeros(size * len(pieces), np.uint8)
        ends = np.cumsum([len(part) for part in stored]).tolist()
        places = [(end - len(part), len(part)) for end, part in zip(ends, stored, strict=True)]
        assert (
            chunks.decode_run(
                np.frombuffer(b"".join(stored), np.uint8), np.array(places), size, out
            )
            is None
        )
        assert out.tobytes() == b"".join(pieces)


def test_a_damaged_chunk_of_a_run_is_named() -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.integers(0, 9, 512, dtype=np.uint8).tobytes() for _ in range(9)]
    stored = chunks.encode_chunks(pieces, 16)
    ends = np.cumsum([len(part) for part in stored]).tolist()
    places = [(end - len(part), len(part)) for end, part in zip(ends, stored, strict=True)]
    data = bytearray(b"".join(stored))
    data[places[4][0] + 3] ^= 1
    out = np.zeros(512 * len(pieces), np.uint8)
    damage = chunks.decode_run(np.frombuffer(data, np.uint8), np.array(places), 512, out)
    assert damage is not None
    assert damage[0] == 4


def test_a_whole_checksum_over_a_frame_of_another_size_is_an_error() -> None:
    stored = [chunks.with_crc(zstandard.compress(bytes(length))) for length in (512, 511)]
    places = [(0, len(stored[0])), (len(stored[0]), len(stored[1]))]
    out = np.zeros(1024, np.uint8)
    damage = chunks.decode_run(
        np.frombuffer(b"".join(stored), np.uint8), np.array(places), 512, out
    )
    assert damage is not None
    assert damage[0] == 1


def test_zeros_at_the_ends_of_rows_cost_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((32, 4096), dtype=np.uint8)
    rows[:, :1000] = rng.integers(0, 256, (32, 1000))
    (stored,) = chunks.encode_chunks([rows.tobytes()], 4096)
    assert len(stored) < 32 * 1000 + 32 * 8 + 32


def test_chunks_that_are_not_there_leave_their_place_alone() -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.integers(0, 9, 512, dtype=np.uint8).tobytes() for _ in range(40)]
    is_there = rng.random(40) < 0.6
    stored = chunks.encode_chunks(pieces, 16)
    kept = [part if there else b"" for part, there in zip(stored, is_there, strict=True)]
    places = np.zeros((40, 2), np.int64)
    places[:, 1] = [len(part) for part in kept]
    places[:, 0] = np.cumsum(places[:, 1]) - places[:, 1]
    data = np.frombuffer(b"".join(kept), np.uint8)
    out = np.full(512 * 40, 77, np.uint8)
    assert chunks.decode_run(data, places, 512, out) is None
    for row, piece, there in zip(out.reshape(40, 512), pieces, is_there, strict=True):
        assert row.tobytes() == (piece if there else b"M" * 512)
    assert chunks.decode_run(data, np.zeros((40, 2), np.int64), 512, out) is None
