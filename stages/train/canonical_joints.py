"""Where a skeleton's joints lie in the canonical body: fixed beginnings, learned small offsets.

Datasets disagree on what they call a hip. Sárándi and Pons-Moll 2024 let each skeleton's joints
drift a little, left-right symmetrically, to where its annotators put them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Which joints are free, and which follow them.

    Attributes:
        left: joints with a twin, in order of appearance.
        right: their twins.
        center: all others.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    center: tuple[int, ...]


def joint_symmetry(skeletons: Sequence[Sequence[str]]) -> Symmetry:
    """Pair `l...` with `r...` within each skeleton; a joint without a twin is a centre joint.

    Returns:
        Positions in the concatenation of the skeletons.
    """
    pairs: list[tuple[int, int]] = []
    start = 0
    for names in skeletons:
        index = {name: start + i for i, name in enumerate(names)}
        pairs += [
            (i, index["r" + name[1:]])
            for name, i in index.items()
            if name.startswith("l") and "r" + name[1:] in index
        ]
        start += len(names)
    left, right = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    center = tuple(i for i in range(start) if i not in {*left, *right})
    return Symmetry(left, right, center)


def is_hand_joint(joint_name: str) -> bool:
    """Whether a joint belongs to the fingers, whose canonical place is not to be learned.

    The part before the first `_` names a finger, or it is a numbered hand joint such as `lhan3`
    (plain `lhan` is an ordinary joint).
    """
    token = joint_name.split("_")[0]
    numbered = token.startswith(("lhan", "rhan")) and len(token) > 4
    return numbered or any(finger in token for finger in _FINGERS)


class CanonicalJoints(keras.layers.Layer):
    """Joint positions: fixed ones plus symmetric learned offsets of bounded length.

    A left joint has three free numbers, its twin the same with x negated, a centre joint y and z.
    Hand joints stay where they are. Called with joint indices of any shape (...), it returns
    float32 (..., 3), canonical metres.

    Args:
        skeletons: per skeleton its joint names, J in all. A hip of one is no hip of another.
        positions: (J, 3), canonical metres, left-right symmetric in x.
        max_offset: metres; the optimiser clips longer offsets. 0: no bound.
        trainable: False keeps the joints where they are.
    """

    def __init__(
        self,
        skeletons: Sequence[Sequence[str]],
        *,
        positions: npt.ArrayLike,
        max_offset: float = 0.07,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        joint_names = [name for names in skeletons for name in names]
        self.positions = np.asarray(positions, np.float32)
        if self.positions.shape != (len(joint_names), 3):
            raise ValueError(f"{len(joint_names)} joints, positions {self.positions.shape}")
        self.symmetry = joint_symmetry(skeletons)
        self.free = np.array([not is_hand_joint(name) for name in joint_names], np.float32)
        constraint = keras.constraints.MaxNorm(max_offset, axis=1) if max_offset else None
        self.left_offsets = self._offsets("left_offsets", len(self.symmetry.left), 3, constraint)
        self.center_offsets = self._offsets(
            "center_offsets", len(self.symmetry.center), 2, constraint
        )
        # Only now, or the offsets would not know of it.
        self.trainable = trainable
        self.built = True

    def call(self, joint_ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.locations(), joint_ids)

    def locations(self) -> tf.Tensor:
        """All joints: float32 (J, 3)."""
        left = tf.convert_to_tensor(self.left_offsets)
        center = tf.pad(tf.convert_to_tensor(self.center_offsets), [[0, 0], [1, 0]])
        rows = (*self.symmetry.left, *self.symmetry.right, *self.symmetry.center)
        mirrored = left * tf.constant([-1.0, 1.0, 1.0])
        offsets = tf.gather(tf.concat([left, mirrored, center], axis=0), np.argsort(rows))
        return self.positions + offsets * self.free[:, np.newaxis]

    def _offsets(self, name: str, n_joints: int, width: int, constraint: Any) -> Any:
        return self.add_weight(
            name=name, shape=(n_joints, width), initializer="zeros", constraint=constraint
        )
