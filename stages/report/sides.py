"""Is left left? Geometry that tells a person from its mirror image.

Sides that are swapped change no bone length and no pixel, only the handedness of the body: in a
right-handed frame *forward* is left × up. If the labels of the sides are swapped, the frame built
from them is turned about the body's axis, and toes, knees and nose come to lie at its back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.report.roles import Body

Floats = npt.NDArray[np.float64]

# What lies in front (1) or at the back (-1) of what, of a person who is built as people are.
_ANATOMY: Mapping[str, int] = {"toes": 1, "knees": 1, "nose": 1, "eyes": 1, "head": 1, "elbows": -1}
_LEGS, _TORSO = ("toes", "knees"), ("nose", "eyes", "head", "elbows")
_LEAST_WEIGHT = 9.0  # squared standard deviations: less evidence than this decides nothing


@dataclass(frozen=True, slots=True)
class SideModel:
    """How far each part lies in front of its reference in this dataset, in torso lengths.

    Attributes:
        mean: by part, positive in front.
        spread: by part, robust standard deviation.
    """

    mean: Mapping[str, float]
    spread: Mapping[str, float]


def forward_evidence(
    joints: npt.NDArray[Any], *, validity: npt.NDArray[np.bool_], body: Body
) -> dict[str, Floats]:
    """How far parts lie before or behind others, in the frame that the named sides span.

    Args:
        joints: (N, J, 3), metres, any right-handed frame.
        validity: bool (N, J).
        body: which joint is which.

    Returns:
        By part, (N,): in torso lengths, positive in front; NaN where a joint is missing.
    """

    def at(role: str) -> Floats:
        index = body.joints.get(role)
        if index is None:
            return np.full((len(joints), 3), np.nan)
        return np.where(validity[:, index, None], joints[:, index].astype(np.float64), np.nan)

    hips, shoulders = (at("lhip") + at("rhip")) / 2, (at("lsho") + at("rsho")) / 2
    up = shoulders - hips
    torso = np.linalg.norm(up, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        legs_forward = _unit(np.cross(at("lhip") - at("rhip"), up)) / torso[:, None]
        chest_forward = _unit(np.cross(at("lsho") - at("rsho"), up)) / torso[:, None]
    ears = (at("lear") + at("rear")) / 2
    offsets = {
        "toes": (at("ltoe") - at("lank") + at("rtoe") - at("rank")) / 2,
        "knees": sum(at(s + "kne") - (at(s + "hip") + at(s + "ank")) / 2 for s in "lr") / 2,
        "nose": at("nose") - _first(ears, at("head")),
        "eyes": (at("leye") + at("reye")) / 2 - _first(ears, at("head")),
        "head": at("head") - at("neck"),
        "elbows": sum(at(s + "elb") - (at(s + "sho") + at(s + "wri")) / 2 for s in "lr") / 2,
    }
    axes = dict.fromkeys(_LEGS, legs_forward) | dict.fromkeys(_TORSO, chest_forward)
    return {part: (offset * axes[part]).sum(axis=1) for part, offset in offsets.items()}


def twist_cosine(
    joints: npt.NDArray[Any], *, validity: npt.NDArray[np.bool_], body: Body
) -> Floats:
    """Cosine of the angle between the line of the hips and that of the shoulders, (N,).

    Negative if the torso is wrung by more than a right angle, or one of the pairs is swapped. Works
    in 2D and 3D; NaN where a joint is missing.
    """
    if not body.has("lhip", "rhip", "lsho", "rsho"):
        return np.full(len(joints), np.nan)
    index = [body.joints[role] for role in ("lhip", "rhip", "lsho", "rsho")]
    lhip, rhip, lsho, rsho = np.moveaxis(joints[:, index].astype(np.float64), 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (_unit(lhip - rhip) * _unit(lsho - rsho)).sum(axis=1)
    return np.where(validity[:, index].all(axis=1), cosine, np.nan)


def fit_side_model(evidence: Mapping[str, Floats]) -> SideModel:
    """What this dataset's own examples have in front, and how reliably.

    Examples whose sides are swapped, few or most, do not disturb it: each is turned first to the
    side that anatomy says.
    """
    parts = [part for part in _ANATOMY if np.isfinite(evidence[part]).sum() >= 3]
    scale = {part: np.nanmedian(np.abs(evidence[part])) or 1.0 for part in parts}
    votes = sum(
        (np.nan_to_num(np.clip(_ANATOMY[p] * evidence[p] / scale[p], -2, 2)) for p in parts),
        start=np.zeros(1),
    )
    signs = np.where(votes < 0, -1.0, 1.0)
    mean, spread = {}, {}
    for part in parts:
        turned = evidence[part] * signs
        mean[part] = float(np.nanmedian(turned))
        spread[part] = max(1.4826 * float(np.nanmedian(np.abs(turned - mean[part]))), 0.02)
    return SideModel(mean, spread)


def handedness(evidence: Mapping[str, Floats], model: SideModel) -> Floats:
    """About 1 where the sides are as they should be, about -1 where they are swapped, (N,).

    Every part counts by how reliably it tells the two apart in this dataset; NaN where there is
    nothing to tell by.
    """
    parts = [p for p in model.mean if abs(model.mean[p]) > 0.5 * model.spread[p]]
    shape = next(iter(evidence.values())).shape
    total, weight = np.zeros(shape), np.zeros(shape)
    for part in parts:
        mean, spread = model.mean[part], model.spread[part]
        present = np.isfinite(evidence[part])
        # One part that is off by far, such as a mislabelled toe, must not outvote all others.
        ratio = np.clip(np.where(present, evidence[part], 0) / mean, -2, 2)
        total += present * ratio * (mean / spread) ** 2
        weight += present * (mean / spread) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight >= _LEAST_WEIGHT, total / weight, np.nan)


def _first(*choices: Floats) -> Floats:
    """The first choice that is finite, row by row."""
    out = choices[0]
    for choice in choices[1:]:
        out = np.where(np.isfinite(out), out, choice)
    return out


def _unit(vectors: Floats) -> Floats:
    out: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return out
