"""A loader counts only if it handed out the pictures that were asked for, each once."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from benchmarks.containers import CONTAINERS
from benchmarks.loaders import LIMIT, LOADERS, OURS
from benchmarks.loading import require_checksums, shares


def _runs(**wall_ms: list[float]) -> dict[str, list[dict[str, Any]]]:
    names = {"limit": LIMIT, "ours": OURS}
    return {
        names[n]: [{"wall_ms": v, "checksum": 7} for v in found] for n, found in wall_ms.items()
    }


def test_a_loader_that_hands_out_other_pictures_in_one_round_is_found_out() -> None:
    runs = _runs(limit=[1.0, 1.0], ours=[2.0, 2.0])
    require_checksums(runs, dict.fromkeys(runs, 7))
    runs[OURS][1]["checksum"] = 8
    with pytest.raises(RuntimeError, match="poseshard hands out other pictures"):
        require_checksums(runs, dict.fromkeys(runs, 7))


def test_the_checksum_tells_pictures_apart_but_not_their_order() -> None:
    pytest.importorskip("xxhash", reason="make setup-bench installs it")
    from benchmarks.loaders.decoding import checksum

    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    total = sum(map(checksum, images))
    assert sum(map(checksum, images[::-1])) == total
    assert sum(map(checksum, images[[0, 1, 2, 2]])) != total
    images[2, 3, 4, 1] ^= 1
    assert sum(map(checksum, images)) != total


def test_a_loader_is_compared_with_the_limit_of_its_own_round() -> None:
    runs = _runs(limit=[1.0, 3.0, 8.0], ours=[2.0, 4.0, 8.0])
    assert shares(runs, OURS, "wall_ms") == {"median": 0.75, "least": 0.5, "greatest": 1.0}


def test_every_loader_is_there() -> None:
    for loader in LOADERS.values():
        assert find_spec(f"benchmarks.loaders.{loader.module}") is not None
        assert not loader.container or loader.container in CONTAINERS
