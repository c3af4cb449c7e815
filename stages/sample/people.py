"""People: who somebody is (shape and clothes) and where their flesh goes in a pose."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from stages.sample.appearance import Outfit, sample_outfit
from stages.sample.body import rest_body
from stages.sample.surface import Array

_OUTLINE_STRIDE = 6


@dataclass(frozen=True, slots=True)
class Person:
    """One identity, the same in every picture they are in.

    Attributes:
        number: unique within the dataset.
        bone_scales: float64 (B, 3), how much each bone's flesh and length is stretched along the
            axes of the rest pose.
        shape: float32 (10,), what the stretch was drawn from; stands in for body-model betas.
        gender: `female`, `male` or `neutral`.
        outfit: colours and cut of the clothes.
    """

    number: int
    bone_scales: Array
    shape: Array
    gender: str
    outfit: Outfit


@dataclass(frozen=True, slots=True)
class PosedBody:
    """A person in a pose, metres, y up.

    Attributes:
        person: whose body it is.
        flesh_maps: float64 (B, 3, 4), each bone's map of the rest body into the world.
        bone_rotations: float64 (B, 3, 3), rest to world, without the person's stretch.
        outline: float64 (V', 3), every few vertices: enough for boxes and silhouettes.
    """

    person: Person
    flesh_maps: Array
    bone_rotations: Array
    outline: Array

    def points(self, names: tuple[str, ...]) -> Array:
        """Places of named spots, float64 (len(names), 3)."""
        bones, places = _named_points(names)
        maps = self.flesh_maps[bones]
        moved: Array = np.einsum("nij,nj->ni", maps[:, :, :3], places) + maps[:, :, 3]
        return moved

    def vertices(self, ids: Array | None = None) -> Array:
        """Skinned vertices: all, float64 (V, 3), or those with some ids (n,), float64 (n, 3)."""
        weights, places = _sparse_weights(), rest_body().vertices
        if ids is None:
            return _skin(self.flesh_maps, weights, places)
        return _skin(self.flesh_maps, weights[ids], places[ids])

    def relative_rotations(self) -> Array:
        """Of every bone to its parent, of the pelvis to the world, float64 (B, 3, 3)."""
        parents = rest_body().parents[1:]
        relative = self.bone_rotations.copy()
        relative[1:] = np.einsum(
            "bji,bjk->bik", self.bone_rotations[parents], self.bone_rotations[1:]
        )
        return relative

    def moved(self, offset: Array) -> PosedBody:
        maps = self.flesh_maps.copy()
        maps[:, :, 3] += offset
        return PosedBody(self.person, maps, self.bone_rotations, self.outline + offset)


def sample_person(number: int, rng: np.random.Generator) -> Person:
    """Draw an identity."""
    shape = rng.normal(0.0, 1.0, 10)
    gender = str(rng.choice(["female", "male", "neutral"], p=[0.45, 0.45, 0.10]))
    feminine = {"female": 1.0, "male": -1.0, "neutral": 0.0}[gender]
    height = 0.985 - 0.03 * feminine + 0.05 * shape[0]
    girth = 1.0 + 0.11 * np.clip(shape[1], -1.3, 2.5)
    legs, arms = 1.0 + 0.03 * shape[2], 1.0 + 0.03 * shape[3]
    shoulders = 1.0 - 0.045 * feminine + 0.04 * shape[4]
    hips = 1.0 + 0.045 * feminine + 0.04 * shape[5]
    belly = girth * (1.0 + 0.05 * np.clip(shape[6], -1, 3)) + 0.4 * max(0.0, girth - 1.0)
    head, limb_girth = 1.0 + 0.03 * shape[7], 0.35 + 0.65 * girth * (1.0 + 0.04 * shape[8])
    muscle = limb_girth * (1.0 - 0.04 * feminine)
    scales = {
        "pelv": (hips * (0.4 + 0.6 * girth), 1.0, 0.3 + 0.7 * girth),
        "bell": (0.3 + 0.7 * belly, 1.0, belly),
        "spin": (shoulders * (0.4 + 0.6 * girth), 1.0, 0.4 + 0.6 * girth),
        "thor": (shoulders * (0.5 + 0.5 * girth), 1.0, 0.5 + 0.5 * girth),
        "neck": (muscle, 1.0, muscle),
        "head": (head, head, head),
        "cla": (shoulders, muscle, muscle),
        "sho": (arms, muscle, muscle),
        "elb": (arms, muscle, muscle),
        "wri": (arms, 1.0, 0.5 + 0.5 * muscle),
        "han": (arms, 1.0, 0.5 + 0.5 * muscle),
        "hip": (muscle * hips, legs, muscle),
        "kne": (muscle, legs, muscle),
        "ank": (1.0, 1.0, 1.0 + 0.03 * shape[9]),
        "toe": (1.0, 1.0, 1.0 + 0.03 * shape[9]),
    }
    body = rest_body()
    bone_scales = height * np.array(
        [scales[name] if name in scales else scales[name[1:]] for name in body.bone_names]
    )
    return Person(
        number, bone_scales, shape.astype(np.float32), gender, sample_outfit(rng, gender=gender)
    )


def pose_person(person: Person, rotations: Array) -> PosedBody:
    """Linear blend skinning of the person's flesh, the pelvis at the origin.

    Args:
        person: whose shape to take.
        rotations: float64 (B, 3, 3), relative to the parents.
    """
    body = rest_body()
    parents = body.parents[1:]
    reach = person.bone_scales[parents] * (body.joints[1:] - body.joints[parents])
    turned = rotations.copy()
    places = np.zeros((len(rotations), 3))
    for bone, parent in enumerate(parents.tolist(), start=1):
        turned[bone] = turned[parent] @ rotations[bone]
        places[bone] = places[parent] + turned[parent] @ reach[bone - 1]
    stretch = turned * person.bone_scales[:, None, :]
    shift = places - np.einsum("bij,bj->bi", stretch, body.joints)
    maps = np.concatenate([stretch, shift[:, :, None]], axis=2)
    return PosedBody(person, maps, turned, _skin(maps, *_outline_rest()))


@functools.cache
def outline_ids() -> Array:
    """The vertices of `PosedBody.outline`."""
    return np.arange(0, len(rest_body().vertices), _OUTLINE_STRIDE)


def _skin(maps: Array, weights: sparse.csr_array, places: Array) -> Array:
    """Blend the bones' maps (B, 3, 4) by weights (n, B) and apply them to places (n, 3)."""
    # Sparse because most weights are zero, and because its sums have one order on any machine.
    blended = (weights @ maps.reshape(len(maps), 12)).reshape(-1, 3, 4)
    skinned: Array = np.einsum("vij,vj->vi", blended[:, :, :3], places) + blended[:, :, 3]
    return skinned


@functools.cache
def _sparse_weights() -> sparse.csr_array:
    return sparse.csr_array(rest_body().weights)


@functools.cache
def _outline_rest() -> tuple[sparse.csr_array, Array]:
    return _sparse_weights()[outline_ids()], rest_body().vertices[outline_ids()]


@functools.cache
def _named_points(names: tuple[str, ...]) -> tuple[Array, Array]:
    points = rest_body().points
    return np.array([points[n][0] for n in names]), np.array([points[n][1] for n in names])
