"""Anatomical angles: their names, their limits and the bone rotations that they mean.

Angles are degrees and mean the same on both sides. Zero angles are a soldier's stance with hanging
arms; the rest body's arms are stretched sideways, so hanging arms are a rotation too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from stages.sample.surface import Array

Angles = dict[str, float]

# degrees; single ones first, then those that each side has.
LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "lean_forward": (-100.0, 100.0),
        "lean_side": (-35.0, 35.0),
        "trunk_flex": (-28.0, 85.0),
        "trunk_side": (-35.0, 35.0),
        "trunk_twist": (-50.0, 50.0),
        "head_flex": (-50.0, 50.0),
        "head_side": (-35.0, 35.0),
        "head_twist": (-70.0, 70.0),
    }
)
SIDE_LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "hip_flex": (-25.0, 125.0),
        "hip_abduct": (-12.0, 55.0),
        "hip_turn": (-30.0, 45.0),
        "knee_flex": (0.0, 145.0),
        "ankle_flex": (-45.0, 30.0),
        "arm_raise": (4.0, 172.0),  # 0 hanging, 90 level, 180 up
        "arm_forward": (-45.0, 125.0),  # 0 sideways, 90 ahead, beyond: across the chest
        "arm_turn": (-70.0, 80.0),
        "elbow_flex": (0.0, 145.0),
        "hand_turn": (-60.0, 60.0),
        "wrist_flex": (-50.0, 50.0),
        "finger_flex": (-5.0, 85.0),
    }
)
NEUTRAL: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(LIMITS, 0.0),
        **{
            f"{side}_{name}": value
            for side in "lr"
            for name, value in {
                **dict.fromkeys(SIDE_LIMITS, 0.0),
                **{"arm_raise": 14.0, "arm_forward": 15.0, "elbow_flex": 15.0},
                **{"hip_abduct": 3.0, "knee_flex": 4.0, "finger_flex": 20.0},
            }.items()
        },
    }
)


def bone_rotations(angles: Angles, *, heading: float) -> Array:
    """Rotations of all bones relative to their parents.

    Args:
        angles: degrees, as the pose families draw them.
        heading: about the vertical, degrees; 0 looks along +z.

    Returns:
        float64 (24, 3, 3) in the order of the rest body's bones.
    """
    a = {name: math.radians(value) for name, value in angles.items()}
    trunk = [(share * a["trunk_flex"], share * a["trunk_twist"], share * a["trunk_side"])
             for share in (0.40, 0.35, 0.25)]  # fmt: skip
    head = [(s * a["head_flex"], s * a["head_twist"], s * a["head_side"]) for s in (0.5, 0.5)]
    pelvis = _rotation_y(np.deg2rad(heading)) @ _euler((a["lean_forward"], 0.0, a["lean_side"]))
    bell, spin, thor = (_euler(part) for part in trunk)
    neck, skull = (_euler(part) for part in head)
    left, right = (_side_rotations(a, side) for side in "lr")
    pairs = {name: (left[name], _mirror @ right[name] @ _mirror) for name in left}
    return np.stack(
        [
            *(pelvis, *pairs["hip"], bell, *pairs["kne"], spin, *pairs["ank"], thor),
            *(*pairs["toe"], neck, *pairs["cla"], skull, *pairs["sho"], *pairs["elb"]),
            *(*pairs["wri"], *pairs["han"]),
        ]
    )


_mirror = np.diag([-1.0, 1.0, 1.0])


def _side_rotations(a: Angles, side: str) -> dict[str, Array]:
    """Limb rotations as if of the left side."""
    get = {name: a[f"{side}_{name}"] for name in SIDE_LIMITS}
    collar = _euler((0.0, -0.10 * get["arm_forward"], 0.22 * (get["arm_raise"] - 0.85)))
    arm = _arm_rotation(get["arm_raise"], get["arm_forward"], get["arm_turn"])
    return {
        "hip": _rotation_x(-get["hip_flex"])
        @ _rotation_z(get["hip_abduct"])
        @ _rotation_y(get["hip_turn"]),
        "kne": _rotation_x(get["knee_flex"]),
        "ank": _rotation_x(-get["ankle_flex"]),
        "toe": _rotation_x(-0.5 * max(0.0, -get["ankle_flex"])),
        "cla": collar,
        "sho": collar.T @ arm,
        "elb": _rotation_y(-get["elbow_flex"]) @ _rotation_x(0.5 * get["hand_turn"]),
        "wri": _rotation_x(0.5 * get["hand_turn"]) @ _rotation_z(-get["wrist_flex"]),
        "han": _rotation_z(-get["finger_flex"]),
    }


def _arm_rotation(raise_: float, forward: float, turn: float) -> Array:
    """Turn a left arm from sideways into its direction by the shortest way, then about itself."""
    x, y, z = (
        math.sin(raise_) * math.cos(forward),
        -math.cos(raise_),
        math.sin(raise_) * math.sin(forward),
    )
    sine = max(math.hypot(y, z), 1e-9)  # the axis is x cross (x, y, z) = (0, -z, y)
    shortest = _about((0.0, -z / sine, y / sine), math.atan2(sine, x))
    rotation: Array = np.einsum("ij,jk->ik", shortest, _rotation_x(turn))
    return rotation


def _about(axis: tuple[float, float, float], angle: float) -> Array:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    twice = cross @ cross
    rotation: Array = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * twice
    return rotation


def _rotation_x(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _rotation_y(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _rotation_z(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _euler(xyz: tuple[float, float, float]) -> Array:
    """First about z, then x, then y."""
    (cx, cy, cz), (sx, sy, sz) = map(math.cos, xyz), map(math.sin, xyz)
    return np.array(
        [
            [cy * cz + sx * sy * sz, sx * sy * cz - cy * sz, cx * sy],
            [cx * sz, cx * cz, -sx],
            [sx * cy * sz - sy * cz, sy * sz + sx * cy * cz, cx * cy],
        ]
    )


def mirrored(angles: Angles) -> Angles:
    """The same pose with left and right exchanged."""
    exchanged = {}
    for name, value in angles.items():
        twin = {"l_": "r_", "r_": "l_"}.get(name[:2])
        if twin:
            exchanged[twin + name[2:]] = value
        else:
            exchanged[name] = -value if name.endswith(("_side", "_twist")) else value
    return exchanged


def within_limits(name: str, value: float) -> float:
    """The nearest angle that the joint allows."""
    low, high = LIMITS[name] if name in LIMITS else SIDE_LIMITS[name[2:]]
    return min(max(float(value), low), high)
