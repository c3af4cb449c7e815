"""`cli.py inspect` says what a store holds and where, quickly, from metadata alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zstandard
from click.testing import CliRunner, Result

from cache.reader import Store
from cli import cli
from tests.stages.view.people import BOX, N_TRAIN, ROW_BROKEN, ROW_MISSING, make_store

ROOT = Path(__file__).resolve().parents[3]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("people"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return lambda *arguments: CliRunner().invoke(cli, ["inspect", *map(str, arguments)])


def facts_of(run: Run, *arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_every_example_is_accounted_for(run: Run, store: Path) -> None:
    splits = facts_of(run, store)["splits"]
    assert splits["train"]["read"] == N_TRAIN
    assert splits["train"]["rejected"] == {
        "no_valid_point": 1, "missing_image": 1, "broken_image": 1,
    }  # fmt: skip
    assert splits["test"] == {"read": 0, "usable": 0, "rejected": {}, "blocks": 0}
    for split in splits.values():
        assert split["read"] == split["usable"] + sum(split["rejected"].values())


def test_stored_bytes_are_those_on_disk(run: Run, store: Path) -> None:
    facts = facts_of(run, store)
    for name, column in facts["columns"].items():
        shards = [p for p in store.glob(f"*/{name}/c/**/*") if p.is_file()]
        assert column["stored_bytes"] == sum(p.stat().st_size for p in shards)
        assert column["shards"] == len(shards)
        layout = Store.open(store).splits["train"].columns[name]
        assert column["raw_bytes"] == (N_TRAIN + 2) * layout.row_bytes
    assert facts["stored_bytes"] == sum(c["stored_bytes"] for c in facts["columns"].values())
    assert facts["columns"]["image"]["codecs"] == ["bytes", "zstd", "crc32c"]
    assert facts["columns"]["image"]["chunk_rows"] == 1


def test_the_table_shows_the_same_facts(run: Run, store: Path) -> None:
    facts, table = facts_of(run, store), run(store).output
    for name, column in facts["columns"].items():
        line = next(line for line in table.splitlines() if line.split()[:1] == [name])
        assert column["dtype"] in line
    for text in ("people.pkl", "lwri", "pelv-head", "no_valid_point", facts["kind"]):
        assert text in table


def test_an_example_leads_to_its_bytes(run: Run, store: Path) -> None:
    """Decoding the bytes that are pointed at, by hand, gives the value."""
    facts = facts_of(run, store, "--example", "1")
    box = facts["columns"]["bbox"]
    assert box["value"] == BOX.tolist()
    place = box["bytes"]
    data = (store / place["file"]).read_bytes()[place["offset"] :][: place["length"]]
    frame, crc = data[:-4], data[-4:]
    assert f"{int.from_bytes(crc, 'little'):08x}" == place["crc32c"]
    assert google_crc32c.value(frame) == int.from_bytes(crc, "little")
    rows = np.frombuffer(zstandard.decompress(frame), np.float32).reshape(-1, 4)
    assert rows[place["row_in_chunk"]].tolist() == BOX.tolist()


def test_an_example_leads_back_to_its_pickle(run: Run, store: Path) -> None:
    facts = facts_of(run, store, "--example", "-1", "--split", "valid")
    assert (facts["split"], facts["row"], facts["status"]) == ("valid", 1, "usable")
    assert facts["came_from"]["expression"] == "examples[1][1]"
    assert facts["came_from"]["picture"] == "valid/1.png"
    picture = facts["columns"]["image"]["value"]
    assert (picture["width"], picture["height"]) == (320, 240)


@pytest.mark.parametrize(
    ("row", "status"), [(ROW_MISSING, "missing_image"), (ROW_BROKEN, "broken_image")]
)
def test_a_rejected_example_tells_its_reason(run: Run, store: Path, row: int, status: str) -> None:
    facts = facts_of(run, store, "--example", row)
    assert facts["status"] == status
    assert facts["reason"]
    assert facts["came_from"]["picture"] == f"train/{row}.png"
    assert facts["columns"]["image"]["bytes"] is None
    text = run(store, "--example", row).output
    assert status in text
    assert facts["reason"] in text


def test_missing_shards_are_listed_and_fail(run: Run, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (store / "train/coords3d/c/0/0/0").unlink()
    result = run(store, "--json")
    assert result.exit_code == 1
    (damaged,) = json.loads(result.stdout)["damaged"]
    assert (damaged["shard"], damaged["rows"]) == ("train/coords3d/c/0/0/0", [0, 4])
    assert "train/coords3d/c/0/0/0, rows 0 to 3" in result.stderr
    assert "verify --repair" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "complaint"),
    [
        (["--example", "6"], 1, "its rows are 0 to 5"),
        (["--example", "0", "--split", "test"], 1, "split test has no examples"),
        (["--example", "x"], 2, "not a valid integer"),
        (["--split", "train"], 2, "--split goes with --example"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Run, store: Path, arguments: list[str], exit_code: int, complaint: str
) -> None:
    result = run(store, *arguments)
    assert (result.exit_code, complaint in result.output) == (exit_code, True), result.output


def test_a_missing_store_is_said(run: Run, tmp_path: Path) -> None:
    result = run(tmp_path / "absent.zarr")
    assert result.exit_code == 1
    assert "there is no store here" in result.output
    assert "cli.py prepare absent" in result.output


def test_nothing_slow_is_imported(store: Path) -> None:
    script = (
        "import sys; sys.argv[1:] = ['inspect', sys.argv[1]]\n"
        "import cli\n"
        "try: cli.main()\n"
        "except SystemExit as leaving: code = leaving.code\n"
        "slow = {'zarr', 'tensorflow', 'matplotlib', 'cv2', 'scipy', 'grain', 'joblib'}\n"
        "sys.exit(code or ' '.join(slow & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "coords3d" in done.stdout
