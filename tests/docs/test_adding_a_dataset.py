"""The page on adding a dataset, followed: its declaration is one, and `prepare` knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cache.reader import Store
from cli import cli
from pipeline.datasets import DatasetDeclaration
from stages.prepare import source
from stages.sample.posepile_pickles import write_pickle
from stages.sample.records import CameraRecord, ExampleRecord, PickleForm
from tests.docs.pages import blocks
from tests.docs.test_blocks import run_python

PAGE = "docs/adding_a_dataset.md"
N_EXAMPLES = 3


@pytest.fixture
def declared() -> DatasetDeclaration:
    (block,) = (block for block in blocks(PAGE) if block.language == "python")
    assert 20 <= len(block.text.splitlines()) <= 40, "thirty lines, or the page's title is wrong"
    declaration: DatasetDeclaration = run_python(block)["H36M"]
    return declaration


@pytest.fixture
def known(declared: DatasetDeclaration, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: Mapping[str, DatasetDeclaration] = {**source.DATASETS, declared.name: declared}
    monkeypatch.setattr(source, "DATASETS", datasets)


def write_dataset(folder: Path, declared: DatasetDeclaration, *, dimensions: int = 3) -> None:
    """A pickle with this skeleton, and its pictures."""
    n_joints = len(declared.skeleton.joint_names)
    camera = CameraRecord(
        rotation=np.eye(3, dtype=np.float32),
        position=np.zeros(3, np.float32),
        intrinsics=np.array([[100, 0, 32], [0, 100, 32], [0, 0, 1]], np.float32),
        distortion=None,
        world_up=np.array([0, -1, 0], np.float32),
    )
    rng = np.random.default_rng(0)
    records = []
    for i in range(N_EXAMPLES):
        name = f"h36m_downscaled/{i}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (64, 64, 3), np.uint8))
        joints = rng.normal(0, 300, (n_joints, dimensions)).astype(np.float32)
        joints[:, 2:] += 4000
        box = np.array([8, 8, 48, 48], np.float32)
        records.append(
            ExampleRecord(0, name, joints, box, camera=camera if dimensions == 3 else None)
        )
    path = folder / declared.file_name
    write_pickle(path, records, skeleton=declared.skeleton, form=PickleForm(dimensions))


def prepare() -> Result:
    (block, *_) = (block for block in blocks(PAGE) if block.language == "console")
    return CliRunner().invoke(cli, block.commands[0][2:])


@pytest.mark.usefixtures("known")
def test_a_declared_dataset_is_prepared(project: Path, declared: DatasetDeclaration) -> None:
    write_dataset(project / "data", declared)
    result = prepare()
    assert result.exit_code == 0, result.output
    assert "note:" not in result.output, "the declaration has the pickle's joints"
    store = Store.open(project / "data/stores/h36m.zarr")
    assert len(store.splits["train"].usable_rows) == N_EXAMPLES
    assert store.attributes["root_name"] == "pelv"
    assert (store.splits["train"].column("root_index") == 16).all()


@pytest.mark.usefixtures("known")
def test_the_file_of_another_dataset_is_noticed(
    project: Path, declared: DatasetDeclaration
) -> None:
    write_dataset(project / "data", declared, dimensions=2)
    result = prepare()
    assert result.exit_code == 1
    assert "this is not h36m" in result.output


def test_no_declaration_is_needed(project: Path, declared: DatasetDeclaration) -> None:
    write_dataset(project / "data", declared)
    assert prepare().exit_code == 0
    assert len(Store.open(project / "data/stores/h36m.zarr").splits["train"]) == N_EXAMPLES
