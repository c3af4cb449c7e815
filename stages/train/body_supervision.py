"""Query points that no annotator placed: on and in posed bodies, and fillers.

Everything is drawn on the device, from the seed, the step and the example's place in the batch, so
that a resumed run draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from errors import ConfigError
from pipeline.schema import Kind
from stages.train.body_models import BodyTopology, InstalledBody
from stages.train.body_parameters import BODY_FIELDS
from stages.train.canonical_body import CanonicalBody
from stages.train.canonical_volume import points_in_volume, tetrahedralize
from stages.train.settings import BatchSettings

_FILLER_POOL = 2**16
_STREAMS = {"surface": 11, "internal": 12, "filler": 13}  # told apart from the step's other draws


class PosedPoints(NamedTuple):
    """The slots of N examples; what belongs to one without a body is arbitrary.

    Attributes:
        has_body: bool (N,).
        canonical: (N, P, 3), metres.
        coords3d: (N, P, 3), metres in the crop's camera, without gradient.
        validity: bool (N, P).
        root_index: int32 (N,).
    """

    has_body: tf.Tensor
    canonical: tf.Tensor
    coords3d: tf.Tensor
    validity: tf.Tensor
    root_index: tf.Tensor


@dataclass(frozen=True, slots=True)
class SlotShares:
    """How the P slots of a posed example are shared out: surface, then inside, then the J joints.

    Of the joints, the larger half takes slots of the surface, the smaller half slots inside; where
    no slots are meant for the inside, all take from the surface.
    """

    n_surface: int
    n_internal: int
    n_joints: int


def slot_shares(batch: BatchSettings, *, n_joints: int) -> SlotShares:
    """The shares for a model of `n_joints`.

    Raises:
        ConfigError: there are fewer slots than joints.
    """
    n_surface = batch.num_surface_points - (n_joints + 1) // 2
    n_internal = batch.num_internal_points - n_joints // 2
    if batch.num_internal_points == 0:
        n_surface, n_internal = batch.num_surface_points - n_joints, 0
    if min(n_surface, n_internal) < 0:
        raise ConfigError(
            f"{batch.num_surface_points} surface and {batch.num_internal_points} internal points"
            f" are too few for a body model of {n_joints} joints",
            where="params.yaml: train.batch.num_surface_points, num_internal_points",
            next_command="raise both, or leave train.data.body_models out to train from joints",
        )
    return SlotShares(n_surface, n_internal, n_joints)


class BodyPoints:
    """Poses bodies and draws their query points.

    Args:
        bodies: the models in use.
        batch: how many points of which sort.
        places: the number by which `body_variant` names each of them; default: 0, 1, ...
    """

    def __init__(
        self,
        bodies: Sequence[InstalledBody],
        *,
        batch: BatchSettings,
        places: Sequence[int] | None = None,
    ) -> None:
        self._bodies = bodies
        self._places = list(range(len(bodies)) if places is None else places)
        self._shares = [slot_shares(batch, n_joints=b.topology.n_joints) for b in bodies]
        self._n_slots = batch.num_points
        # The library's own code needs AutoGraph: it asks for the batch size.
        self._pose = [tf.function(body.model.__call__, reduce_retracing=True) for body in bodies]

    def __call__(
        self,
        arrays: Mapping[str, tf.Tensor],
        *,
        seed: int,
        step: tf.Tensor,
        slots: tf.Tensor | None = None,
        n_drawn: int | None = None,
    ) -> PosedPoints:
        """The points of n examples.

        Args:
            arrays: `BODY_FIELDS`, each (n, ...).
            seed, step: decide the draws.
            slots: int (n,), the examples' places in the whole batch, of `n_drawn` examples; None:
                the batch is whole.
        """
        n = arrays["body_variant"].shape[0]
        places = tf.range(n) if slots is None else tf.cast(slots, tf.int32)
        n_drawn = n if n_drawn is None else n_drawn
        n_surface = max(share.n_surface for share in self._shares)
        draws = _uniform([n_drawn, n_surface, 3], "surface", seed=seed, step=step)
        starts = _uniform([n_drawn], "internal", seed=seed, step=step)
        draws, starts = tf.gather(draws, places), tf.gather(starts, places)

        canonical = tf.zeros([n, self._n_slots, 3])
        coords3d = tf.zeros([n, self._n_slots, 3])
        n_joints = tf.zeros([n], tf.int32)
        for i, body in enumerate(self._bodies):
            members = tf.where(arrays["body_variant"] == self._places[i])[:, 0]
            own = {name: tf.gather(values, members) for name, values in arrays.items()}
            nodes = self._posed_nodes(i, own)
            nodes_of_slots, weights = query_weights(
                body.topology,
                self._shares[i],
                draws=tf.gather(draws, members),
                starts=tf.gather(starts, members),
            )
            rest = tf.gather(tf.constant(body.topology.nodes), nodes_of_slots)
            posed = tf.gather(nodes, nodes_of_slots, batch_dims=1)
            where = members[:, tf.newaxis]
            for name, values in (("canonical", rest), ("coords3d", posed)):
                points = tf.reduce_sum(values * weights[..., tf.newaxis], axis=-2)
                if name == "canonical":
                    canonical = tf.tensor_scatter_nd_update(canonical, where, points)
                else:
                    coords3d = tf.tensor_scatter_nd_update(coords3d, where, points)
            own_joints = tf.fill([tf.shape(members)[0]], body.topology.n_joints)
            n_joints = tf.tensor_scatter_nd_update(n_joints, where, own_joints)
        is_joint = tf.range(self._n_slots) >= (self._n_slots - n_joints)[:, tf.newaxis]
        return PosedPoints(
            has_body=arrays["body_variant"] >= 0,
            canonical=canonical,
            coords3d=tf.stop_gradient(coords3d),
            validity=arrays["body_has_surface"][:, tf.newaxis] | is_joint,
            root_index=self._n_slots - n_joints,
        )

    def _posed_nodes(self, i: int, own: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Vertices and joints (n, K, 3) in the crop's camera, metres.

        Turning the posed points is turning the parameters about the pelvis, without its formulas.
        """
        n_joints = self._bodies[i].topology.n_joints
        posed = self._pose[i](
            pose_rotvecs=own["body_pose"][:, : 3 * n_joints],
            shape_betas=own["body_shape"],
            trans=own["body_translation"],
            kid_factor=own["body_kid_factor"],
        )
        nodes = tf.concat([posed["vertices"], posed["joints"]], axis=1)
        nodes = nodes * own["body_scale"][:, tf.newaxis, tf.newaxis]
        nodes -= own["body_position"][:, tf.newaxis]
        return tf.einsum("nij,nkj->nki", own["body_rotation"], nodes)


def unpacked(rows: tf.Tensor) -> dict[str, tf.Tensor]:
    """`BODY_FIELDS` of a batch's `body` (n, BODY_WIDTH)."""
    arrays, start = {}, 0
    for name, shape in BODY_FIELDS.items():
        width = math.prod(shape)
        arrays[name] = tf.reshape(rows[:, start : start + width], [rows.shape[0], *shape])
        start += width
    arrays["body_variant"] = tf.cast(arrays["body_variant"], tf.int32)
    arrays["body_has_surface"] = arrays["body_has_surface"] > 0.5
    return arrays


def query_weights(
    topology: BodyTopology, shares: SlotShares, *, draws: tf.Tensor, starts: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """On which nodes the slots of n examples depend: int32 (n, P, 8) and float32 (n, P, 8).

    Surface: faces by their canonical area, barycentric weights (1 − √a, √a (1 − b), √a b). Inside:
    a run of the points drawn in advance, from a random one on. Then the joints.

    Args:
        draws: (n, at least the surface's share, 3), uniform in 0...1: face, a, b.
        starts: (n,), uniform in 0...1.
    """
    n = tf.shape(starts)[0]
    areas = np.cumsum(topology.face_areas)
    shares_of_area = tf.constant(areas / areas[-1], tf.float32)
    draws = draws[:, : shares.n_surface]
    faces = tf.searchsorted(shares_of_area, tf.reshape(draws[..., 0], [-1]))
    faces = tf.minimum(tf.reshape(faces, tf.shape(draws)[:2]), len(areas) - 1)
    root, b = tf.sqrt(draws[..., 1]), draws[..., 2]
    weights = [tf.pad(tf.stack([1 - root, root * (1 - b), root * b], axis=-1), _TO_EIGHT)]
    nodes = [tf.pad(tf.gather(tf.constant(topology.faces), faces), _TO_EIGHT)]
    if shares.n_internal:
        n_choices = len(topology.internal_nodes) - shares.n_internal + 1
        first = tf.minimum(tf.cast(starts * n_choices, tf.int32), n_choices - 1)
        run = first[:, tf.newaxis] + tf.range(shares.n_internal)
        nodes.append(tf.gather(tf.constant(topology.internal_nodes), run))
        weights.append(tf.gather(tf.constant(topology.internal_weights), run))
    joints = len(topology.nodes) - shares.n_joints + np.arange(shares.n_joints, dtype=np.int32)
    own = np.zeros((shares.n_joints, 8), np.float32)
    own[:, 0] = 1
    nodes.append(tf.tile(np.tile(joints[:, np.newaxis], (1, 8))[np.newaxis], [n, 1, 1]))
    weights.append(tf.tile(own[np.newaxis], [n, 1, 1]))
    return tf.concat(nodes, axis=1), tf.concat(weights, axis=1)


_TO_EIGHT = [[0, 0], [0, 0], [0, 5]]


class Fillers:
    """Canonical points for slots without a point: half on the surface, half inside.

    They carry no loss. The published loader has them so that its batches are full; here they make
    batches equal to its own, and can be left out (`unlabelled_fillers`) without any other change.
    """

    def __init__(self, body: CanonicalBody, *, batch: BatchSettings) -> None:
        rng = np.random.default_rng(0)
        self._pools = [_surface_pool(body, rng)]
        if batch.num_internal_points:
            self._pools.append(_internal_pool(body, rng))

    def __call__(
        self,
        n_slots: int,
        *,
        seed: int,
        step: tf.Tensor,
        n_drawn: int,
        slots: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Points for every slot: float32 (n, P, 3), surface and inside alternating.

        Args:
            slots: int (n,), the examples' places in the whole batch of `n_drawn`; None: all.
        """
        draws = _uniform([n_drawn, n_slots], "filler", seed=seed, step=step)
        if slots is not None:
            draws = tf.gather(draws, slots)
        chosen = tf.minimum(tf.cast(draws * _FILLER_POOL, tf.int32), _FILLER_POOL - 1)
        pools = tf.constant(np.stack(self._pools))
        which = tf.range(n_slots) % len(self._pools)
        return tf.gather_nd(
            pools, tf.stack([tf.broadcast_to(which, tf.shape(chosen)), chosen], axis=-1)
        )


def _surface_pool(body: CanonicalBody, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    corners = body.vertices[body.faces].astype(np.float64)
    a, b, c = corners.transpose(1, 0, 2)
    areas = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    if not areas[-1] > 0:
        raise ConfigError(
            "the canonical body has no surface",
            where="params.yaml: train.data.body",
            next_command="give it a mesh, or set train.batch.unlabelled_fillers to false",
        )
    faces = np.minimum(np.searchsorted(areas / areas[-1], rng.random(_FILLER_POOL)), len(areas) - 1)
    weights = rng.dirichlet(np.ones(3), _FILLER_POOL)
    return np.asarray(np.einsum("nk,nkd->nd", weights, corners[faces]), np.float32)


def _internal_pool(body: CanonicalBody, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    mesh = tetrahedralize(body.vertices, body.faces, n_inner=0, least_quality=1e-6)
    tetrahedra, weights = points_in_volume(mesh, _FILLER_POOL, rng)
    corners = mesh.nodes[mesh.tetrahedra[tetrahedra]]
    return np.asarray(np.einsum("nk,nkd->nd", weights, corners), np.float32)


def _uniform(shape: Sequence[int], stream: str, *, seed: int, step: tf.Tensor) -> Any:
    seeds = tf.stack(
        [tf.constant(seed * 1009 + _STREAMS[stream], tf.int64), tf.cast(step, tf.int64)]
    )
    return tf.random.stateless_uniform(shape, seeds)


@dataclass(frozen=True, slots=True)
class QueryPoints:
    """What training asks for besides the annotated points of a batch.

    Attributes:
        bodies: None: bodies are not posed.
        fillers: None: slots without a point stay empty.
    """

    bodies: BodyPoints | None = None
    fillers: Fillers | None = None

    def has_free_points(self, kind: Kind) -> bool:
        """Whether a slot of this kind may hold a point that is no joint of a skeleton."""
        is_posed = kind is Kind.PARAM and self.bodies is not None
        return kind is Kind.DENSE or is_posed or self.fillers is not None

    def complete(
        self,
        batch: Mapping[str, tf.Tensor],
        *,
        kinds: Mapping[Kind, slice],
        seed: int,
        step: tf.Tensor,
        n_drawn: int | None = None,
    ) -> dict[str, tf.Tensor]:
        """The batch with posed bodies' points in place of their joints, and with fillers.

        Args:
            batch: a training batch; `slot` says which examples of the whole it holds, if a part.
            n_drawn: examples of the whole batch; None: this is it.
        """
        completed = dict(batch)
        n, n_slots = batch["point_validity"].shape
        slots = None if n_drawn is None else batch["slot"]
        n_drawn = n if n_drawn is None else n_drawn
        is_empty = ~batch["point_validity"]
        part = kinds[Kind.PARAM]
        if self.bodies is not None and part.stop > part.start:
            posed = self.bodies(
                unpacked(batch["body"][part]),
                seed=seed,
                step=step,
                slots=tf.range(part.start, part.stop) if slots is None else slots[part],
                n_drawn=n_drawn,
            )
            replacing = {
                "canonical_points": posed.canonical,
                "coords3d": posed.coords3d,
                "point_validity": posed.validity,
                "root_index": posed.root_index,
                "joint_ids": tf.fill(batch["joint_ids"][part].shape, -1),
            }
            for name, values in replacing.items():
                old = batch[name]
                has_body = tf.reshape(posed.has_body, [-1] + [1] * (len(old.shape) - 1))
                own = tf.where(has_body, tf.cast(values, old.dtype), old[part])
                completed[name] = tf.concat([old[: part.start], own, old[part.stop :]], axis=0)
            has_body = tf.pad(posed.has_body, [[part.start, n - part.stop]])
            is_empty &= ~has_body[:, tf.newaxis]
        if self.fillers is not None:
            points = self.fillers(n_slots, seed=seed, step=step, n_drawn=n_drawn, slots=slots)
            is_empty = is_empty[..., tf.newaxis]
            completed["canonical_points"] = tf.where(
                is_empty, points, completed["canonical_points"]
            )
            completed["joint_ids"] = tf.where(is_empty[..., 0], -1, completed["joint_ids"])
        return completed
