"""Believable poses: families of everyday ones, mixed, disturbed and kept within joint limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.sample.joint_angles import NEUTRAL, Angles, mirrored, within_limits


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
    angles = dict(NEUTRAL) | _FAMILIES[first][1](rng)
    if rng.random() < 0.25:
        other = dict(NEUTRAL) | _FAMILIES[second][1](rng)
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
        angles = mirrored(angles)
    return {name: within_limits(name, value) for name, value in angles.items()}


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
