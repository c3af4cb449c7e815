"""The pickles have the genuine classes' names, attributes, order and types, and nothing else."""

from __future__ import annotations

import copy
import pickle
import pickletools
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets import DATASETS
from pipeline.unpickling import load_annotations
from stages.sample.posepile_pickles import write_pickle
from stages.sample.recipes import RECIPES
from stages.sample.records import CameraRecord, ExampleRecord, PickleForm

GENUINE = Path(__file__).parents[4] / "shared" / "pickles"
FILE_NAMES = [recipe.file_name for recipe in RECIPES.values()]


class _Anything:
    """Stands for any class of PosePile's."""


class _AnyDict(dict[str, Any]):
    def __new__(cls, *items: object) -> _AnyDict:
        return dict.__new__(cls)

    def __init__(self, *items: object) -> None:
        """The items come again, as items."""

    def __setstate__(self, state: object) -> None:
        assert state is self


class _Unpickler(pickle.Unpickler):
    """Only ever given files that these tests wrote or that the reader has accepted."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        bases = (_AnyDict,) if (module, name) == ("addict.addict", "Dict") else (_Anything,)
        return type(f"{module}.{name}", bases, {})


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return _Unpickler(file).load()


def _globals(path: Path) -> set[str]:
    """Every module and name that a pickle refers to."""
    strings: list[str] = []
    memo: list[str] = []
    found: set[str] = set()
    for opcode, argument, _ in pickletools.genops(path.read_bytes()):
        if opcode.name == "SHORT_BINUNICODE":
            strings.append(argument)
        elif opcode.name == "MEMOIZE":
            memo.append(strings[-1] if strings else "")
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            strings.append(memo[argument])
        elif opcode.name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]))
    return found


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} of {value.ndim} dimensions, writable {value.flags.writeable}"
    if isinstance(value, dict) and len(value) < 12:
        return f"dict {[(key, _describe(item)) for key, item in value.items()]}"
    if isinstance(value, list | tuple) and len(value) < 4:
        return f"{type(value).__name__} {[_describe(item) for item in value]}"
    return type(value).__name__


def _shape_of(value: Any, found: dict[tuple[str, str], set[Any]]) -> None:
    """Per class: the order of its attributes and the types of each."""
    if isinstance(value, _Anything):
        found[type(value).__name__, ""].add(tuple(vars(value)))
        for name, attribute in vars(value).items():
            found[type(value).__name__, name].add(_describe(attribute))
            _shape_of(attribute, found)
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _shape_of(item, found)


@pytest.mark.skipif(not GENUINE.exists(), reason="no genuine pickles beside the repository")
@pytest.mark.parametrize("file_name", FILE_NAMES)
def test_a_sample_looks_like_the_genuine_file(file_name: str, unrendered_root: Path) -> None:
    assert _globals(unrendered_root / file_name) == _globals(GENUINE / file_name)
    ours: dict[tuple[str, str], set[Any]] = defaultdict(set)
    genuine: dict[tuple[str, str], set[Any]] = defaultdict(set)
    _shape_of(_load(unrendered_root / file_name), ours)
    _shape_of(_load(GENUINE / file_name), genuine)
    assert set(ours) == set(genuine)
    for key in genuine:
        assert genuine[key] <= ours[key], key
        assert ours[key] <= genuine[key], key


@pytest.mark.parametrize("name", RECIPES)
def test_the_safe_reader_reads_it_by_the_same_path(name: str, unrendered_root: Path) -> None:
    dataset = load_annotations(unrendered_root / RECIPES[name].file_name)
    assert dataset.skeleton == DATASETS[name].skeleton
    assert dataset.dimensions == DATASETS[name].dimensions
    filled = [split for split, examples in dataset.examples.items() if examples]
    assert tuple(filled) == DATASETS[name].splits
    assert sum(map(len, dataset.examples.values())) == 160


def test_the_bytes_depend_on_the_values_only(tmp_path: Path) -> None:
    skeleton = DATASETS["mads"].skeleton
    form = PickleForm(dimensions=3)
    shared = _records()
    apart = [pickle.loads(pickle.dumps(record)) for record in copy.deepcopy(shared)]
    for name, records in (("shared", shared), ("apart", apart)):
        write_pickle(tmp_path / name, records, skeleton=skeleton, form=form)
    assert (tmp_path / "shared").read_bytes() == (tmp_path / "apart").read_bytes()


def test_writing_leaves_no_module_behind(tmp_path: Path) -> None:
    before = dict(sys.modules)
    form = PickleForm(dimensions=3)
    write_pickle(tmp_path / "x", _records(), skeleton=DATASETS["mads"].skeleton, form=form)
    assert sys.modules == before
    with pytest.raises(ValueError, match="needs a camera"):
        write_pickle(
            tmp_path / "x",
            [ExampleRecord(0, "a.jpg", np.zeros((19, 3), np.float32), np.zeros(4, np.float32))],
            skeleton=DATASETS["mads"].skeleton,
            form=form,
        )
    assert sys.modules == before


def test_half_precision_is_used_only_where_it_costs_little(tmp_path: Path) -> None:
    records = _records()
    form = PickleForm(dimensions=3)
    write_pickle(tmp_path / "x", records, skeleton=DATASETS["mads"].skeleton, form=form)
    near, far = (example.world_coords for example in _load(tmp_path / "x").examples[0])
    assert near.valid_coords.dtype == np.float16 and far.valid_coords.dtype == np.float32
    for stored, record in zip((near, far), records, strict=True):
        dense = np.full(stored.shape, np.nan)
        dense[stored.i_valid_joints] = stored.valid_coords
        np.testing.assert_array_equal(np.isnan(dense), np.isnan(record.joints))
        assert np.nanmax(np.abs(dense - record.joints)) < 1.0


def _records() -> list[ExampleRecord]:
    rng = np.random.default_rng(0)
    camera = CameraRecord(
        *(rng.normal(size=shape).astype(np.float32) for shape in ((3, 3), 3, (3, 3))),
        distortion=None,
        world_up=np.array([0, 1, 0], np.float32),
    )
    joints = rng.uniform(-900, 900, (19, 3)).astype(np.float32)
    joints[4] = np.nan
    bbox = np.array([10, 20, 100, 200], np.float32)
    return [
        ExampleRecord(0, "a/b.jpg", joints + offset, bbox, camera, is_sparse=True)
        for offset in (0, 7000)
    ]
