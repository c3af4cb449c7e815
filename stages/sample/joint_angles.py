"""Anatomical angles: their names, their limits and the bone rotations that they mean.

Angles are degrees and mean the same on both sides. Zero angles are a soldier's stance with hanging
arms; the rest body's arms are stretched sideways, so hanging arms are a rotation too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from stages.sample.body import BONE_NAMES
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
    half_nod = (0.5 * a["head_flex"], 0.5 * a["head_twist"], 0.5 * a["head_side"])
    turns = {
        "pelv": (a["lean_forward"], 0.0, a["lean_side"]),
        **{
            bone: (share * a["trunk_flex"], share * a["trunk_twist"], share * a["trunk_side"])
            for bone, share in (("bell", 0.40), ("spin", 0.35), ("thor", 0.25))
        },
        "neck": half_nod,
        "head": half_nod,
    }
    sides = {side: {name: a[f"{side}_{name}"] for name in SIDE_LIMITS} for side in "lr"}
    for side, angle in sides.items():
        turns |= {side + bone: turn for bone, turn in _limb_turns(angle).items()}
    rotations = _euler(np.array([turns[bone] for bone in BONE_NAMES]))
    rotations[_PELVIS] = _rotation_y(math.radians(heading)) @ rotations[_PELVIS]
    for side, angle in sides.items():
        rotations[_HIPS[side]] = _thigh_rotation(angle)
        rotations[_SHOULDERS[side]] = rotations[_COLLARS[side]].T @ _arm_rotation(angle)
    rotations[_RIGHT] *= _MIRRORED
    return rotations


_PELVIS = BONE_NAMES.index("pelv")
_HIPS, _SHOULDERS, _COLLARS = (
    {side: BONE_NAMES.index(side + bone) for side in "lr"} for bone in ("hip", "sho", "cla")
)
_RIGHT = [i for i, name in enumerate(BONE_NAMES) if name.startswith("r")]
_MIRRORED = np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])


def _limb_turns(angle: Angles) -> dict[str, tuple[float, float, float]]:
    """About x, y and z as if of the left side; hips and shoulders turn in an order of their own."""
    raised = 0.22 * (angle["arm_raise"] - 0.85)
    return {
        "hip": (0.0, 0.0, 0.0),
        "kne": (angle["knee_flex"], 0.0, 0.0),
        "ank": (-angle["ankle_flex"], 0.0, 0.0),
        "toe": (-0.5 * max(0.0, -angle["ankle_flex"]), 0.0, 0.0),
        "cla": (0.0, -0.10 * angle["arm_forward"], raised),
        "sho": (0.0, 0.0, 0.0),
        "elb": (0.5 * angle["hand_turn"], -angle["elbow_flex"], 0.0),
        "wri": (0.5 * angle["hand_turn"], 0.0, -angle["wrist_flex"]),
        "han": (0.0, 0.0, -angle["finger_flex"]),
    }


def _thigh_rotation(angle: Angles) -> Array:
    """About itself first, then sideways, then forward."""
    turned = _rotation_z(angle["hip_abduct"]) @ _rotation_y(angle["hip_turn"])
    rotation: Array = _rotation_x(-angle["hip_flex"]) @ turned
    return rotation


def _arm_rotation(angle: Angles) -> Array:
    """Turn a left arm about itself, then from sideways into its direction by the shortest way."""
    raised, forward = angle["arm_raise"], angle["arm_forward"]
    x = math.sin(raised) * math.cos(forward)
    y = -math.cos(raised)
    z = math.sin(raised) * math.sin(forward)
    # Rodrigues' formula about (1, 0, 0) x (x, y, z) = (0, -z, y), whose length is the sine.
    tilt = 1.0 / max(1.0 + x, 1e-9)
    shortest = np.array(
        [
            [x, -y, -z],
            [y, 1.0 - y * y * tilt, -y * z * tilt],
            [z, -y * z * tilt, 1.0 - z * z * tilt],
        ]
    )
    rotation: Array = shortest @ _rotation_x(angle["arm_turn"])
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


def _euler(turns: Array) -> Array:
    """Rotations (N, 3, 3) first about z, then x, then y; angles (N, 3) about x, y and z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(turns).T, np.sin(turns).T
    rotations = np.array(
        [
            [cy * cz + sx * sy * sz, sx * sy * cz - cy * sz, cx * sy],
            [cx * sz, cx * cz, -sx],
            [sx * cy * sz - sy * cz, sy * sz + sx * cy * cz, cx * cy],
        ]
    )
    return np.ascontiguousarray(rotations.transpose(2, 0, 1))


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
