"""What cli.py says about the commonest mistakes: what, where, why, and what to type next."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import stages.sample
from cli import cli
from errors import ConfigError
from stages.prepare.settings import store_path

ROOT = Path(__file__).resolve().parent.parent
PARAMS = """
datasets: {agora: {annotations: a.pkl, images: a, pictures: a}}
prepare: {stores: FOLDER, cache: c}
"""


def test_a_misspelt_dataset_is_met_with_its_right_name(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(PARAMS.replace("FOLDER", str(tmp_path)))
    with pytest.raises(ConfigError, match="did you mean `agora`"):
        store_path("agoar", params=params)
    assert store_path("agora", params=params) == tmp_path / "agora.zarr"
    assert store_path("away.zarr", params=params) == Path("away.zarr")
    (tmp_path / "mine.zarr").mkdir()
    assert store_path("mine", params=params) == tmp_path / "mine.zarr"
    with pytest.raises(ConfigError, match="did you mean `mine`"):
        store_path("mime", params=params)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "no permission")]
)
def test_a_full_disk_is_not_called_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(stages.sample, "write_sample", refuse)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    result = CliRunner().invoke(cli, ["sample", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert words in result.output and str(tmp_path) in result.output
    assert "fault of poseshard" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--model", "nowhere"], "there is no trained model"),
        (["export", "--model", "nowhere"], "there is no trained model"),
        (["train", "--store", "nowhere.zarr"], "there is no store here"),
    ],
)
def test_what_is_missing_is_said_before_tensorflow_is_imported(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    script = (
        "import sys, cli\n"
        "try:\n    cli.cli(sys.argv[1:])\n"
        "finally:\n    assert 'tensorflow' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
