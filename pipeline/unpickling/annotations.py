"""One shape for the data sets of every era."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from errors import SourceError
from pipeline.skeletons import Skeleton
from pipeline.unpickling import standins
from pipeline.unpickling.arrays import INTEGERS, decode_one
from pipeline.unpickling.unpickler import Unpickled, printable

Attributes: TypeAlias = Mapping[str, object]
"""The attributes of one pickled example, as they stood in the file (arrays still undecoded)."""

_SPLITS = ("train", "valid", "test")  # PosePile's 0, 1 and 2
_KINDS: dict[type, tuple[int, type]] = {
    standins.Pose3DDataset: (3, standins.Pose3DExample),
    standins.Pose2DDataset: (2, standins.Pose2DExample),
}
_MOST_JOINTS = 10_000

# Attributes that the column functions check by themselves, one level after the other.
_READ = frozenset("image_path world_coords bbox camera mask parameters coords densepose".split())
_CONTAINERS: frozenset[type] = frozenset(
    {list, tuple, dict, set, frozenset, standins.AttributeDict, *standins.Record.__subclasses__()}
)
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of one split, to be read attribute by attribute.

    Attributes:
        attributes: of each example, in the file's order; arrays are still undecoded.
    """

    attributes: Sequence[Attributes]

    def __len__(self) -> int:
        return len(self.attributes)

    def column(self, name: str) -> list[Any]:
        """One attribute of every example, None where an example has none of that name."""
        try:
            return list(map(itemgetter(name), self.attributes))
        except KeyError:
            return [attributes.get(name) for attributes in self.attributes]

    def blocks(self, n_examples: int) -> Iterator[Examples]:
        """The same examples, so many at a time; one empty block if there are none.

        What is done block by block finds its objects in the processor's cache the second time.
        """
        for start in range(0, max(1, len(self)), n_examples):
            yield Examples(self.attributes[start : start + n_examples])

    def has(self, name: str) -> bool:
        """Whether any example has this attribute and it is not None."""
        return any(attributes.get(name) is not None for attributes in self.attributes)

    def names(self) -> set[str]:
        """The attributes that any example has."""
        # Nearly all examples have the same ones.
        combinations = set(map(tuple, self.attributes))
        return {name for names in combinations for name in names if type(name) is str}


@dataclass(frozen=True, slots=True)
class PickledDataset:
    """A data set as read, its skeleton validated and its examples not yet.

    Attributes:
        era: who wrote the file, as far as can be told; for people, not for decisions.
        dimensions: 3 (Pose3DDataset) or 2 (Pose2DDataset).
        skeleton: joint names, edges and mirror map.
        examples: for `train`, `valid` and `test`, always all three, the examples in the file's
            order. Read them with the column functions of this package.
        train_bones: float32 (edges,), mean bone lengths in millimetres; None where absent.
    """

    era: str
    dimensions: int
    skeleton: Skeleton
    examples: Mapping[str, Examples]
    train_bones: npt.NDArray[np.float32] | None


def dataset_from_pickle(unpickled: Unpickled, path: Path) -> PickledDataset:
    """Check that the root of a pickle is a data set, down to each example being one.

    Raises:
        SourceError: something is missing or of the wrong type; names the split and the example.
    """

    def malformed(what: str, place: str) -> SourceError:
        return SourceError(
            f"the annotations are malformed: {what}",
            where=f"{path}, {place}",
            cause="not a PosePile data set, or one that was changed by hand",
        )

    outermost = f"byte {unpickled.size - 1}: the outermost object, which is complete there"
    if type(unpickled.root) not in _KINDS:
        raise malformed(
            f"expected a Pose3DDataset or Pose2DDataset, found {_kind(unpickled.root)}",
            outermost,
        )
    dimensions, example_type = _KINDS[type(unpickled.root)]
    dataset = attributes_of(unpickled.root)
    if dataset is None:
        raise malformed("the data set has no readable attributes", outermost)
    return PickledDataset(
        era=_era(unpickled),
        dimensions=dimensions,
        skeleton=_skeleton(dataset.get("joint_info"), malformed),
        examples=_examples(dataset.get("examples"), example_type, malformed),
        train_bones=_train_bones(dataset.get("train_bones"), malformed),
    )


def attributes_of(record: object) -> Attributes | None:
    """The attributes of a stand-in object, None if it was left without any."""
    if isinstance(record, standins.Record) and len(record) == 1 and type(record[0]) is dict:
        return cast(Attributes, record[0])
    return None


_Malformed: TypeAlias = Callable[[str, str], SourceError]


def _examples(splits: object, example_type: type, malformed: _Malformed) -> Mapping[str, Examples]:
    place = "the attribute `examples`"
    if type(splits) is not dict:
        raise malformed(f"expected a dict of three splits, found {_kind(splits)}", place)
    if any(type(key) is not int for key in splits) or set(splits) != {0, 1, 2}:
        keys = ", ".join(_kind(key) if type(key) is not int else str(key) for key in splits)
        raise malformed(f"expected the splits 0, 1 and 2, found {printable(keys)}", place)
    by_split = {}
    for number, name in enumerate(_SPLITS):
        examples = Examples(_split_examples(splits[number], name, example_type, malformed))
        _check_nesting(examples, name, malformed)
        by_split[name] = examples
    return by_split


def _check_nesting(examples: Examples, split: str, malformed: _Malformed) -> None:
    for name in examples.names() - _READ:
        values = examples.column(name)
        if _CONTAINERS.intersection(map(type, values)) and nesting_exceeds(values):
            what = f"lists within lists without end in `{printable(name)}`"
            raise malformed(what, f"split {split}")


def nesting_exceeds(values: Iterable[object], *, deepest: int = _DEEPEST) -> bool:
    """Whether containers stand within containers more than `deepest` times.

    Reading such a thing is harmless, but walking through it later is not: comparing, printing or
    freeing it can exhaust the stack.
    """
    seen: set[int] = set()
    level: list[Any] = list(values)
    for _ in range(deepest):
        if not level or not _CONTAINERS.intersection(map(type, level)):
            return False
        containers: list[Any] = [v for v in level if type(v) in _CONTAINERS and id(v) not in seen]
        seen.update(map(id, containers))
        level = []
        for container in containers:
            level.extend(container.values() if isinstance(container, dict) else container)
    return True


def _split_examples(
    records: object, split: str, example_type: type, malformed: _Malformed
) -> Sequence[Attributes]:
    if type(records) is not list:
        raise malformed(f"expected a list of examples, found {_kind(records)}", f"split {split}")
    if not records:
        return []
    # All at once in C; a second, slow look only if something is wrong.
    if set(map(type, records)) == {example_type} and set(map(len, records)) == {1}:
        states: list[Attributes] = list(map(itemgetter(0), records))
        if set(map(type, states)) == {dict}:
            return states
    for index, record in enumerate(records):
        place = f"split {split}, example {index}"
        if type(record) is not example_type:
            raise malformed(f"expected a {example_type.__name__}, found {_kind(record)}", place)
        if attributes_of(record) is None:
            raise malformed("the example has no readable attributes", place)
    raise AssertionError("unreachable: some example differs")


def _skeleton(joint_info: object, malformed: _Malformed) -> Skeleton:
    place = "the attribute `joint_info`"
    if type(joint_info) is not standins.JointInfo:
        raise malformed(f"expected a JointInfo, found {_kind(joint_info)}", place)
    attributes = attributes_of(joint_info)
    if attributes is None:
        raise malformed("JointInfo has no readable attributes", place)
    names = _joint_names(attributes)
    if names is None:
        raise malformed("the joints' names are not a list of distinct names", place)
    mirror = _index_list(attributes.get("mirror_mapping"))
    if mirror is None:
        raise malformed("`mirror_mapping` is not a list of joint indices", place)
    edges = _edges(attributes.get("stick_figure_edges"))
    if edges is None:
        raise malformed("`stick_figure_edges` is not a list of pairs of joint indices", place)
    try:
        return Skeleton(names, edges, mirror)
    except ValueError as error:
        raise malformed(str(error), place) from error


def _joint_names(attributes: Attributes) -> tuple[str, ...] | None:
    """`names`, or else `ids` (name to index) in the order of the indices."""
    names: object = attributes.get("names")
    if names is None:
        ids = attributes.get("ids")
        if type(ids) not in (dict, standins.AttributeDict):
            return None
        by_name = cast(dict[object, object], ids)
        if any(type(index) is not int for index in by_name.values()):
            return None
        by_index = {index: name for name, index in cast(dict[object, int], ids).items()}
        if sorted(by_index) != list(range(len(by_name))):
            return None
        names = [by_index[index] for index in range(len(by_index))]
    if type(names) not in (list, tuple):
        return None
    listed = cast(Sequence[object], names)
    if not 0 < len(listed) <= _MOST_JOINTS or any(type(name) is not str for name in listed):
        return None
    joint_names = tuple(cast(Iterable[str], listed))
    if any(not name.isprintable() for name in joint_names):
        return None
    return joint_names if len(set(joint_names)) == len(joint_names) else None


def _edges(value: object) -> tuple[tuple[int, int], ...] | None:
    array = decode_one(value, kinds=INTEGERS)
    if array is not None and array.size == 0:
        return ()
    if array is not None and array.ndim == 2 and array.shape[1] == 2:
        return tuple((int(i), int(j)) for i, j in array)
    if type(value) not in (list, tuple):
        return None
    pairs = [_index_list(pair) for pair in cast(Sequence[object], value)]
    if any(pair is None or len(pair) != 2 for pair in pairs):
        return None
    return cast(tuple[tuple[int, int], ...], tuple(pairs))


def _index_list(value: object) -> tuple[int, ...] | None:
    if type(value) in (list, tuple) and not value:
        return ()
    array = decode_one(value, kinds=INTEGERS)
    if array is None or array.ndim != 1:
        return None
    return tuple(array.tolist())


def _train_bones(value: object, malformed: _Malformed) -> npt.NDArray[np.float32] | None:
    if value is None:
        return None
    bones = decode_one(value)
    if bones is None or bones.ndim != 1:
        raise malformed("expected a vector of bone lengths", "the attribute `train_bones`")
    with np.errstate(all="ignore"):
        return cast(npt.NDArray[np.float32], bones.astype(np.float32))


def _era(unpickled: Unpickled) -> str:
    """Such as `posepile with addict, cameralib, numpy 1 (protocol 5)`."""
    packages = {module.split(".")[0] for module in unpickled.modules}
    writer = "posepile" if "posepile" in packages else "data (MeTRAbs)"
    numpy_version = [
        version
        for module, version in (("numpy.core", "numpy 1"), ("numpy._core", "numpy 2"))
        if any(name.startswith(module) for name in unpickled.modules)
    ]
    libraries = packages & {"addict", "attrdict", "cameralib", "cameravision", "deltacamera"}
    companions = ", ".join([*sorted(libraries), *numpy_version])
    return f"{writer} with {companions} (protocol {unpickled.protocol})"


def _kind(value: Any) -> str:
    """A value's type in words; a value itself could be anything."""
    return "nothing" if value is None else f"a {type(value).__name__}"
