"""The rest body of the sample people: bones, flesh, skin weights and named points.

Everything stands in the canonical frame: metres from the pelvis, x to the body's left, y up,
z forward, arms stretched sideways, as in SMPL. Only the left side and the middle are written down,
the right side is their mirror image, to the last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import sparse

from stages.sample.surface import (
    Array,
    Ellipsoid,
    Primitive,
    RoundCone,
    mirrored_mesh,
    smooth_union,
)

Point = tuple[float, float, float]

# bone: (parent, where it turns). In the kinematic order of SMPL.
_BONES: dict[str, tuple[str | None, Point]] = {
    "pelv": (None, (0.0, 0.0, 0.0)),
    "lhip": ("pelv", (0.082, -0.075, -0.005)),
    "rhip": ("pelv", (-0.082, -0.075, -0.005)),
    "bell": ("pelv", (0.0, 0.110, -0.015)),
    "lkne": ("lhip", (0.105, -0.475, 0.0)),
    "rkne": ("rhip", (-0.105, -0.475, 0.0)),
    "spin": ("bell", (0.0, 0.225, -0.015)),
    "lank": ("lkne", (0.122, -0.875, -0.030)),
    "rank": ("rkne", (-0.122, -0.875, -0.030)),
    "thor": ("spin", (0.0, 0.300, -0.010)),
    "ltoe": ("lank", (0.142, -0.930, 0.085)),
    "rtoe": ("rank", (-0.142, -0.930, 0.085)),
    "neck": ("thor", (0.0, 0.495, -0.030)),
    "lcla": ("thor", (0.070, 0.420, -0.020)),
    "rcla": ("thor", (-0.070, 0.420, -0.020)),
    "head": ("neck", (0.0, 0.590, 0.0)),
    "lsho": ("lcla", (0.178, 0.440, -0.025)),
    "rsho": ("rcla", (-0.178, 0.440, -0.025)),
    "lelb": ("lsho", (0.440, 0.435, -0.035)),
    "relb": ("rsho", (-0.440, 0.435, -0.035)),
    "lwri": ("lelb", (0.690, 0.435, -0.025)),
    "rwri": ("relb", (-0.690, 0.435, -0.025)),
    "lhan": ("lwri", (0.775, 0.430, -0.018)),
    "rhan": ("rwri", (-0.775, 0.430, -0.018)),
}

BONE_NAMES = tuple(_BONES)

# The flesh of each bone, left half and middle.
_FLESH: dict[str, tuple[Primitive, ...]] = {
    "pelv": (
        Ellipsoid((0.0, -0.035, -0.005), (0.155, 0.120, 0.108)),
        Ellipsoid((0.072, -0.075, -0.055), (0.082, 0.092, 0.082)),
    ),
    "bell": (Ellipsoid((0.0, 0.105, 0.0), (0.138, 0.135, 0.098)),),
    "spin": (Ellipsoid((0.0, 0.220, 0.0), (0.142, 0.120, 0.100)),),
    "thor": (
        Ellipsoid((0.0, 0.325, -0.008), (0.158, 0.135, 0.110)),
        Ellipsoid((0.065, 0.345, 0.055), (0.075, 0.070, 0.048)),
    ),
    "lcla": (RoundCone((0.020, 0.425, -0.030), (0.150, 0.432, -0.025), 0.062, 0.056),),
    "neck": (RoundCone((0.0, 0.430, -0.030), (0.0, 0.570, 0.0), 0.058, 0.053),),
    "head": (
        Ellipsoid((0.0, 0.690, 0.008), (0.077, 0.108, 0.100)),
        Ellipsoid((0.0, 0.620, 0.050), (0.055, 0.060, 0.053)),
        RoundCone((0.0, 0.680, 0.100), (0.0, 0.645, 0.122), 0.010, 0.017),
        Ellipsoid((0.078, 0.668, 0.005), (0.014, 0.032, 0.022)),
    ),
    "lsho": (
        Ellipsoid((0.185, 0.437, -0.025), (0.068, 0.060, 0.062)),
        RoundCone((0.200, 0.437, -0.027), (0.440, 0.435, -0.035), 0.052, 0.041),
        Ellipsoid((0.300, 0.437, -0.020), (0.100, 0.047, 0.050)),
    ),
    "lelb": (
        RoundCone((0.440, 0.435, -0.035), (0.690, 0.435, -0.025), 0.041, 0.029),
        Ellipsoid((0.520, 0.435, -0.033), (0.085, 0.043, 0.045)),
    ),
    "lwri": (
        Ellipsoid((0.742, 0.434, -0.020), (0.062, 0.024, 0.046)),
        RoundCone((0.715, 0.430, 0.010), (0.775, 0.424, 0.052), 0.018, 0.014),
    ),
    "lhan": (Ellipsoid((0.815, 0.430, -0.018), (0.066, 0.019, 0.041)),),
    "lhip": (
        RoundCone((0.086, -0.090, 0.0), (0.105, -0.475, 0.0), 0.088, 0.056),
        Ellipsoid((0.094, -0.230, 0.010), (0.082, 0.170, 0.084)),
    ),
    "lkne": (
        RoundCone((0.105, -0.475, 0.0), (0.122, -0.875, -0.030), 0.056, 0.038),
        Ellipsoid((0.112, -0.600, -0.022), (0.056, 0.125, 0.058)),
    ),
    "lank": (
        RoundCone((0.122, -0.895, -0.055), (0.138, -0.915, 0.070), 0.038, 0.036),
        RoundCone((0.122, -0.870, -0.030), (0.136, -0.905, 0.060), 0.038, 0.034),
    ),
    "ltoe": (RoundCone((0.138, -0.920, 0.070), (0.146, -0.926, 0.130), 0.036, 0.028),),
}

# Points that are no bones: the bone they move with and their place, left half and middle.
_LANDMARKS: dict[str, tuple[str, Point]] = {
    "nose": ("head", (0.0, 0.650, 0.130)),
    "leye": ("head", (0.032, 0.690, 0.095)),
    "lear": ("head", (0.080, 0.668, 0.005)),
    "lfoo_coco": ("ltoe", (0.135, -0.930, 0.105)),
    "ltoe_coco": ("ltoe", (0.142, -0.935, 0.145)),
    "lhee_coco": ("lank", (0.120, -0.925, -0.085)),
    "jaw_smplx": ("head", (0.0, 0.625, 0.015)),
    "leyehf_smplx": ("head", (0.032, 0.690, 0.080)),
    "lmiddle1_smplx": ("lwri", (0.782, 0.432, -0.020)),
    "nose_smplx": ("head", (0.0, 0.648, 0.135)),
    "leye_smplx": ("head", (0.032, 0.690, 0.093)),
    "lear_smplx": ("head", (0.084, 0.668, 0.0)),
    "lto2_smplx": ("ltoe", (0.118, -0.935, 0.145)),
    "lto3_smplx": ("ltoe", (0.166, -0.938, 0.120)),
    "lhee_smplx": ("lank", (0.120, -0.930, -0.088)),
    "lthu_smplx": ("lwri", (0.780, 0.424, 0.056)),
    "lmiddle_smplx": ("lhan", (0.878, 0.430, -0.018)),
}
# SMPL-X puts the joints it shares with SMPL a little elsewhere.
_SMPLX_OFFSETS: dict[str, Point] = {
    "pelv": (0.0, -0.008, 0.006),
    "lhip": (-0.006, -0.010, 0.008),
    "bell": (0.0, 0.006, 0.004),
    "lkne": (0.002, 0.006, -0.008),
    "spin": (0.0, -0.006, -0.004),
    "lank": (-0.002, 0.006, -0.006),
    "thor": (0.0, -0.008, 0.006),
    "ltoe": (-0.004, 0.004, 0.008),
    "neck": (0.0, -0.010, 0.004),
    "lcla": (0.006, -0.004, 0.004),
    "head": (0.0, 0.008, -0.006),
    "lsho": (-0.006, -0.004, 0.006),
    "lelb": (-0.004, 0.002, 0.006),
    "lwri": (-0.006, -0.002, 0.002),
}
# Datasets that share their joints' names share their places too, whatever a merged set's suffix.
_COCO_NAMES = (
    *("nose", "neck", "leye", "lear", "lsho", "lelb", "lwri", "lhip", "lkne", "lank", "pelv"),
)
_MADS_NAMES = (
    *("neck", "pelv", "head", "lhip", "lkne", "lank", "ltoe", "lsho", "lelb", "lwri", "lhan"),
)

_BLEND_M = 0.045  # over which flesh of neighbouring bones flows together
_SKIN_SOFTNESS_M = 0.018  # over which skin changes from one bone to the next
_SPACING_M = 0.024
_WEIGHTS_PER_VERTEX = 4


@dataclass(frozen=True, slots=True)
class Body:
    """The rest body.

    Attributes:
        bone_names: B names.
        parents: int32 (B,), -1 for the pelvis; parents come before their children.
        joints: float64 (B, 3), where each bone turns, metres.
        vertices: float64 (V, 3), metres.
        faces: int32 (F, 3), counter-clockwise from outside.
        mirror: int32 (V,), each vertex' twin on the other side.
        weights: float64 (V, B), rows sum to 1, at most 4 of them positive.
        points: name to (bone index, rest position float64 (3,)) of every annotated spot.
    """

    bone_names: tuple[str, ...]
    parents: Array
    joints: Array
    vertices: Array
    faces: Array
    mirror: Array
    weights: Array
    points: Mapping[str, tuple[int, Array]]

    def bone(self, name: str) -> int:
        return self.bone_names.index(name)


@functools.cache
def rest_body() -> Body:
    """The one rest body of all sample people, before their own shapes."""
    vertices, faces, mirror = mirrored_mesh(
        _flesh_distance, half_extent=(0.96, 1.02, 0.26), spacing=_SPACING_M
    )
    names = BONE_NAMES
    joints = np.array([place for _, place in _BONES.values()])
    parents = np.array(
        [-1 if parent is None else names.index(parent) for parent, _ in _BONES.values()], np.int32
    )
    return Body(
        bone_names=names,
        parents=parents,
        joints=joints,
        vertices=vertices,
        faces=faces,
        mirror=mirror,
        weights=_skin_weights(vertices, faces, mirror),
        points=MappingProxyType(_points(names)),
    )


def _flesh_distance(points: Array) -> Array:
    distances = [primitive.distance(points) for flesh in _FLESH.values() for primitive in flesh]
    return smooth_union(distances, radius=_BLEND_M)


def _skin_weights(vertices: Array, faces: Array, mirror: Array) -> Array:
    """Soft nearest-flesh assignment on the left half, smoothed over the mesh, then mirrored."""
    names = BONE_NAMES
    distance = np.full((len(vertices), len(names)), np.inf)
    folded = np.abs(vertices) * [1, 0, 0] + vertices * [0, 1, 1]
    for name, flesh in _FLESH.items():
        nearest = np.min([primitive.distance(folded) for primitive in flesh], axis=0)
        sides = (vertices[:, 0] > 0, vertices[:, 0] < 0)
        for side_name, side in zip(_both_sides(name), sides, strict=False):
            own = slice(None) if side_name[0] not in "lr" else side
            distance[own, names.index(side_name)] = nearest[own]
    weights = np.exp(-(distance - distance.min(1, keepdims=True)) / _SKIN_SOFTNESS_M)
    weights /= weights.sum(1, keepdims=True)
    for _ in range(3):
        weights = _average_over_faces(weights, faces)
    smallest_kept = np.sort(weights, axis=1)[:, -_WEIGHTS_PER_VERTEX, None]
    weights = np.where(weights >= smallest_kept, weights, 0.0)
    twins = np.array([names.index(_twin(name)) for name in names])
    weights = (weights + weights[mirror][:, twins]) / 2
    normalised: Array = weights / weights.sum(1, keepdims=True)
    return normalised


def _average_over_faces(values: Array, faces: Array) -> Array:
    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    incidence = sparse.csr_array((np.ones(len(rows)), (rows, columns)))
    average: Array = (incidence @ values[faces].mean(1)) / incidence.sum(1)[:, None]
    return average


def _points(names: tuple[str, ...]) -> dict[str, tuple[int, Array]]:
    places = {name: (name, place) for name, (_, place) in _BONES.items()}
    for name, (bone, place) in _LANDMARKS.items():
        for side_name, side_bone, sign in zip(
            _both_sides(name), _both_sides(bone) * 2, (1.0, -1.0), strict=False
        ):
            places[side_name] = (side_bone, (sign * place[0], place[1], place[2]))
    for name, offset in _SMPLX_OFFSETS.items():
        for side_name, sign in zip(_both_sides(name), (1.0, -1.0), strict=False):
            x, y, z = places[side_name][1]
            shifted = (x + sign * offset[0], y + offset[1], z + offset[2])
            places[f"{side_name}_smplx"] = (side_name, shifted)
    for suffix, shared in (("coco", _COCO_NAMES), ("mads", _MADS_NAMES)):
        for name in shared:
            for side_name in _both_sides(name):
                places[f"{side_name}_{suffix}"] = places[side_name]
    return {name: (names.index(bone), np.array(place)) for name, (bone, place) in places.items()}


def _both_sides(name: str) -> tuple[str, ...]:
    return (name, _twin(name)) if name.startswith("l") else (name,)


def _twin(name: str) -> str:
    return {"l": "r", "r": "l"}.get(name[:1], name[:1]) + name[1:]
