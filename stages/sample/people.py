"""People: who somebody is (shape and clothes) and where their flesh goes in a pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from stages.sample.appearance import Outfit, sample_outfit
from stages.sample.body import Body, rest_body
from stages.sample.surface import Array


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
        vertices: float64 (V, 3).
        bone_rotations: float64 (B, 3, 3), rest to posed.
        bone_offsets: float64 (B, 3), so that a point p of bone b goes to R_b (s_b (p - j_b)) + o_b.
    """

    person: Person
    vertices: Array
    bone_rotations: Array
    bone_offsets: Array

    def points(self, names: tuple[str, ...]) -> Array:
        """Places of named spots, float64 (len(names), 3)."""
        body = rest_body()
        bones = np.array([body.points[name][0] for name in names])
        places = np.array([body.points[name][1] for name in names])
        local = self.person.bone_scales[bones] * (places - body.joints[bones])
        return np.einsum("nij,nj->ni", self.bone_rotations[bones], local) + self.bone_offsets[bones]

    def moved(self, offset: Array) -> PosedBody:
        return PosedBody(
            self.person, self.vertices + offset, self.bone_rotations, self.bone_offsets + offset
        )


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
    turned = np.empty_like(rotations)
    places = np.zeros((len(rotations), 3))
    for bone, parent in enumerate(body.parents):
        if parent < 0:
            turned[bone] = rotations[bone]
            continue
        turned[bone] = turned[parent] @ rotations[bone]
        reach = person.bone_scales[parent] * (body.joints[bone] - body.joints[parent])
        places[bone] = places[parent] + turned[parent] @ reach
    stretch = turned * person.bone_scales[:, None, :]
    shift = places - np.einsum("bij,bj->bi", stretch, body.joints)
    affine = np.concatenate([stretch, shift[:, :, None]], axis=2).reshape(len(rotations), 12)
    blended = (_sparse_weights(body) @ affine).reshape(-1, 3, 4)
    vertices = np.einsum("vij,vj->vi", blended[:, :, :3], body.vertices) + blended[:, :, 3]
    return PosedBody(person, vertices, turned, places)


_weights_cache: dict[int, sparse.csr_array] = {}


def _sparse_weights(body: Body) -> sparse.csr_array:
    """Sparse because most weights are zero, and because its sums have one order on any machine."""
    if id(body) not in _weights_cache:
        _weights_cache[id(body)] = sparse.csr_array(body.weights)
    return _weights_cache[id(body)]
