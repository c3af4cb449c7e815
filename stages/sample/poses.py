"""Believable poses: families of everyday ones, mixed, disturbed and kept within joint limits.

A pose is first a table of anatomical angles in degrees, each meaning the same on both sides, and
then one rotation per bone. Zero angles are a soldier's stance with hanging arms; the rest body's
arms are stretched sideways, so hanging arms are a rotation too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from stages.sample.surface import Array

Angles = dict[str, float]

# degrees; single ones first, then those that each side has.
_LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
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
_SIDE_LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
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
_NEUTRAL: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(_LIMITS, 0.0),
        **{
            f"{side}_{name}": value
            for side in "lr"
            for name, value in {
                **dict.fromkeys(_SIDE_LIMITS, 0.0),
                **{"arm_raise": 14.0, "arm_forward": 15.0, "elbow_flex": 15.0},
                **{"hip_abduct": 3.0, "knee_flex": 4.0, "finger_flex": 20.0},
            }.items()
        },
    }
)


def _both(**angles: float) -> Angles:
    return {f"{side}_{name}": value for side in "lr" for name, value in angles.items()}


def _standing(rng: np.random.Generator) -> Angles:
    shift = rng.normal(0, 6)
    return {
        **_both(hip_abduct=abs(rng.normal(3, 4)), hip_turn=rng.normal(8, 5)),
        **{"l_hip_flex": shift, "r_hip_flex": -shift, "trunk_side": rng.normal(0, 3)},
    }


def _walking(rng: np.random.Generator) -> Angles:
    phase, stride = rng.uniform(0, 2 * np.pi), rng.uniform(15, 38)
    swing = stride * np.sin(phase)
    lift = 1.5 * stride * max(0.0, np.cos(phase))
    other_lift = 1.5 * stride * max(0.0, -np.cos(phase))
    return {
        **{"lean_forward": rng.uniform(0, 6), "trunk_twist": swing / 4},
        **{"l_hip_flex": 5 + swing, "r_hip_flex": 5 - swing},
        **{"l_knee_flex": 8 + lift, "r_knee_flex": 8 + other_lift},
        **_both(arm_raise=14 + 0.6 * abs(swing), elbow_flex=rng.uniform(10, 60)),
        **{"l_arm_forward": 20 - 2.0 * swing, "r_arm_forward": 20 + 2.0 * swing},
    }


def _running(rng: np.random.Generator) -> Angles:
    angles = _walking(rng)
    for side in "lr":
        angles[f"{side}_hip_flex"] = 12 + 1.6 * (angles[f"{side}_hip_flex"] - 5)
        angles[f"{side}_knee_flex"] = 20 + 1.6 * angles[f"{side}_knee_flex"]
        angles[f"{side}_elbow_flex"] = rng.uniform(70, 110)
    return {**angles, "lean_forward": rng.uniform(5, 14)}


def _sitting(rng: np.random.Generator) -> Angles:
    hip = rng.uniform(78, 100)
    return {
        **{"lean_forward": rng.uniform(-12, 8), "trunk_flex": rng.uniform(0, 25)},
        **_both(hip_flex=hip, knee_flex=rng.uniform(65, 105)),
        **_both(hip_abduct=rng.uniform(0, 22), hip_turn=rng.uniform(0, 15)),
        **_both(arm_raise=rng.uniform(20, 45), arm_forward=rng.uniform(60, 100)),
        **_both(elbow_flex=rng.uniform(30, 90), arm_turn=rng.uniform(-10, 30)),
    }


def _crouching(rng: np.random.Generator) -> Angles:
    depth = rng.uniform(0.35, 1.0)
    return {
        **{"lean_forward": 25 * depth, "trunk_flex": rng.uniform(5, 30)},
        **_both(hip_flex=105 * depth, knee_flex=125 * depth, hip_abduct=rng.uniform(5, 28)),
        **_both(arm_raise=rng.uniform(25, 80), arm_forward=rng.uniform(50, 100)),
        **_both(elbow_flex=rng.uniform(10, 90)),
    }


def _bending(rng: np.random.Generator) -> Angles:
    lean, knees = rng.uniform(10, 60), rng.uniform(2, 45)
    return {
        **{"lean_forward": lean, "trunk_flex": rng.uniform(15, 60)},
        **_both(hip_flex=0.9 * lean + 0.5 * knees, knee_flex=knees),
        **_both(arm_raise=rng.uniform(35, 110), arm_forward=rng.uniform(60, 100)),
        **_both(elbow_flex=rng.uniform(0, 60)),
    }


def _lunging(rng: np.random.Generator) -> Angles:
    depth = rng.uniform(0.5, 1.0)
    return {
        **{"l_hip_flex": 80 * depth, "l_knee_flex": 85 * depth, "lean_forward": 10 * depth},
        **{"r_hip_flex": -15 * depth, "r_knee_flex": rng.uniform(10, 80) * depth},
        **_both(arm_raise=rng.uniform(15, 95), arm_forward=rng.uniform(0, 90)),
    }


def _kneeling(rng: np.random.Generator) -> Angles:
    return {
        **{"l_hip_flex": rng.uniform(80, 95), "l_knee_flex": rng.uniform(85, 100)},
        **{"r_hip_flex": rng.uniform(-5, 10), "r_knee_flex": rng.uniform(85, 105)},
        **{"trunk_flex": rng.uniform(0, 25), "r_ankle_flex": -40.0},
        **_both(arm_raise=rng.uniform(15, 60), arm_forward=rng.uniform(30, 90)),
    }


def _arms_up(rng: np.random.Generator) -> Angles:
    return {
        **_standing(rng),
        **_both(arm_raise=rng.uniform(110, 170), arm_forward=rng.uniform(-10, 70)),
        **_both(elbow_flex=rng.uniform(0, 60), arm_turn=rng.uniform(-30, 60)),
    }


def _wide(rng: np.random.Generator) -> Angles:
    """A star or a fighting stance."""
    return {
        **_both(hip_abduct=rng.uniform(10, 32), knee_flex=rng.uniform(0, 50)),
        **_both(hip_flex=rng.uniform(0, 35), hip_turn=rng.uniform(0, 35)),
        **_both(arm_raise=rng.uniform(60, 130), arm_forward=rng.uniform(-15, 90)),
        **_both(elbow_flex=rng.uniform(0, 110), arm_turn=rng.uniform(-40, 60)),
    }


def _kicking(rng: np.random.Generator) -> Angles:
    lean = rng.uniform(-25, 5)
    return {
        **{"l_hip_flex": rng.uniform(40, 105), "l_knee_flex": rng.uniform(5, 90)},
        **{"l_hip_abduct": rng.uniform(0, 40), "r_knee_flex": rng.uniform(3, 25)},
        **{"lean_forward": lean, "r_hip_flex": lean, "trunk_flex": rng.uniform(0, 20)},
        **_both(arm_raise=rng.uniform(30, 100), elbow_flex=rng.uniform(20, 110)),
    }


def _on_all_fours(rng: np.random.Generator) -> Angles:
    return {
        **{"lean_forward": rng.uniform(70, 88), "trunk_flex": rng.uniform(0, 15)},
        **{"head_flex": rng.uniform(-45, 0)},
        **_both(hip_flex=rng.uniform(60, 100), knee_flex=rng.uniform(75, 100)),
        **_both(arm_raise=rng.uniform(75, 95), arm_forward=rng.uniform(82, 95), elbow_flex=8.0),
    }


_FAMILIES: tuple[tuple[float, Callable[[np.random.Generator], Angles]], ...] = (
    (0.20, _standing),
    (0.20, _walking),
    (0.07, _running),
    (0.10, _sitting),
    (0.08, _crouching),
    (0.07, _bending),
    (0.06, _lunging),
    (0.04, _kneeling),
    (0.06, _arms_up),
    (0.06, _wide),
    (0.04, _kicking),
    (0.02, _on_all_fours),
)


def _gesture(rng: np.random.Generator) -> dict[str, float]:
    """What one arm may do, whatever the rest of the body does."""
    raise_, forward, turn, elbow = {
        0: (20, 10, 0, 20),  # hanging
        1: (45, -20, -35, 95),  # hand on the hip
        2: (55, 80, 10, 100),  # hand before the chest or at the face
        3: (90, 85, 0, 10),  # pointing ahead
        4: (90, 5, 0, 10),  # stretched sideways
        5: (100, 10, 70, 95),  # waving
        6: (160, 30, 0, 15),  # reaching up
        7: (40, 95, 20, 80),  # arms crossed
    }[int(rng.integers(8))]
    return {
        "arm_raise": raise_ + rng.normal(0, 12),
        "arm_forward": forward + rng.normal(0, 15),
        "arm_turn": turn + rng.normal(0, 15),
        "elbow_flex": elbow + rng.normal(0, 15),
    }


def sample_angles(rng: np.random.Generator) -> Angles:
    """Draw the angles of one pose, in degrees, all within the limits."""
    weights = np.array([weight for weight, _ in _FAMILIES])
    first, second = rng.choice(len(_FAMILIES), size=2, p=weights / weights.sum())
    angles = dict(_NEUTRAL) | _FAMILIES[first][1](rng)
    if rng.random() < 0.25:
        other = dict(_NEUTRAL) | _FAMILIES[second][1](rng)
        share = rng.uniform(0, 0.5)
        angles = {k: (1 - share) * v + share * other[k] for k, v in angles.items()}
    for side in "lr":
        if rng.random() < 0.3:
            angles |= {f"{side}_{name}": value for name, value in _gesture(rng).items()}
    _look_around(angles, rng)
    for name in angles:
        angles[name] += rng.normal(0, 2.5 if name.startswith("lean") else 5.0)
    _flatten_feet(angles, rng)
    if rng.random() < 0.5:
        angles = _mirrored(angles)
    return {name: _within(name, value) for name, value in angles.items()}


def bone_rotations(angles: Angles, *, heading: float) -> Array:
    """Rotations of all bones relative to their parents.

    Args:
        angles: degrees, as `sample_angles` draws them.
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
    get = {name: a[f"{side}_{name}"] for name in _SIDE_LIMITS}
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


def _look_around(angles: Angles, rng: np.random.Generator) -> None:
    angles["head_twist"] += rng.normal(0, 22)
    angles["head_flex"] += rng.normal(0, 12)
    angles["head_side"] += rng.normal(0, 6)
    angles["trunk_twist"] += rng.normal(0, 10)


def _flatten_feet(angles: Angles, rng: np.random.Generator) -> None:
    """Most feet stand flat: the ankle undoes what hip and knee did to the foot."""
    for side in "lr":
        if rng.random() < 0.85:
            pitch = angles[f"{side}_knee_flex"] - angles[f"{side}_hip_flex"]
            angles[f"{side}_ankle_flex"] = pitch + angles["lean_forward"] + rng.normal(0, 4)


def _mirrored(angles: Angles) -> Angles:
    mirrored = {}
    for name, value in angles.items():
        twin = {"l_": "r_", "r_": "l_"}.get(name[:2])
        if twin:
            mirrored[twin + name[2:]] = value
        else:
            mirrored[name] = -value if name.endswith(("_side", "_twist")) else value
    return mirrored


def _within(name: str, value: float) -> float:
    low, high = _LIMITS[name] if name in _LIMITS else _SIDE_LIMITS[name[2:]]
    return min(max(float(value), low), high)
