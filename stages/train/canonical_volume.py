"""The inside of the canonical body: tetrahedra, points drawn in them, and its eigenfunctions.

The published field describes a query point by the eigenfunctions of the Laplace-Beltrami operator
on the body's volume (Sárándi and Pons-Moll 2024). Here the volume is the Delaunay tetrahedra of
the mesh's vertices and of a jittered lattice inside it, less those outside; the operator is that
of linear finite elements, with Neumann boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from errors import ConfigError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_LATTICE_JITTER = 0.05  # of the spacing; without it Delaunay is not unique
_SURFACE_CLEARANCE = 0.4  # of the spacing; nearer lattice points make flat tetrahedra
# Of a regular tetrahedron's volume over the cube of its edges; flatter ones are much too stiff.
_LEAST_QUALITY = 0.03
_RAY = np.array([0.2913, 0.1377])  # slopes of the rays that tell in from out; along no symmetry
_CHUNK = 4_000_000  # point and face pairs at a time


@dataclass(frozen=True, slots=True)
class TetrahedralMesh:
    """A volume.

    Attributes:
        nodes: float64 (M, 3), metres.
        tetrahedra: int64 (T, 4), node indices, of positive volume.
    """

    nodes: Floats
    tetrahedra: Integers

    @property
    def volumes(self) -> Floats:
        """float64 (T,), cubic metres."""
        a, b, c, d = self.nodes[self.tetrahedra].transpose(1, 0, 2)
        return np.abs(np.einsum("td,td->t", np.cross(b - a, c - a), d - a)) / 6


@dataclass(frozen=True, slots=True)
class Eigenbasis:
    """The lowest eigenfunctions of a volume, without the constant one.

    Attributes:
        mesh: the volume.
        eigenvalues: float64 (K,), ascending, per square metre.
        values: float64 (M, K), at the nodes; of unit norm over the volume, the largest value
            positive.
    """

    mesh: TetrahedralMesh
    eigenvalues: Floats
    values: Floats


def is_inside(
    points: npt.ArrayLike, *, vertices: npt.ArrayLike, faces: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Whether points lie in a closed surface, by the number of faces a ray meets: bool (N,).

    Args:
        points: (N, 3).
        vertices: (V, 3).
        faces: int (F, 3).
    """
    asked = np.asarray(points, np.float64)
    corners = np.asarray(vertices, np.float64)[np.asarray(faces)]

    def sheared(x: Floats) -> tuple[Floats, Floats]:
        """Coordinates in which the rays run along z."""
        return x[..., :2] - x[..., 2:] * _RAY, x[..., 2]

    (flat, depth), (corner_flat, corner_depth) = sheared(asked), sheared(corners)
    a, b, c = corner_flat.transpose(1, 0, 2)
    doubled_area = _cross2(b - a, c - a)
    n_crossings = np.zeros(len(asked), np.int64)
    # Sorted along one axis, a point meets only the faces whose range holds it.
    step = max(1, _CHUNK // max(1, len(corners)))
    order = np.argsort(flat[:, 0], kind="stable")
    low, high = corner_flat[..., 0].min(axis=1), corner_flat[..., 0].max(axis=1)
    for start in range(0, len(asked), step):
        chosen = order[start : start + step]
        p, z = flat[chosen, np.newaxis], depth[chosen, np.newaxis]
        near = np.flatnonzero((high >= p[0, 0, 0]) & (low <= p[-1, 0, 0]))
        u = _cross2(b[near] - p, c[near] - p) / doubled_area[near]
        v = _cross2(c[near] - p, a[near] - p) / doubled_area[near]
        w = 1 - u - v
        za, zb, zc = corner_depth[near].T
        above = u * za + v * zb + w * zc > z
        n_crossings[chosen] = ((u >= 0) & (v >= 0) & (w >= 0) & above).sum(axis=1)
    return n_crossings % 2 == 1


def tetrahedralize(
    vertices: npt.ArrayLike,
    faces: npt.ArrayLike,
    *,
    n_inner: int,
    extra_nodes: npt.ArrayLike | None = None,
    least_quality: float = _LEAST_QUALITY,
    seed: int = 0,
) -> TetrahedralMesh:
    """Fill a closed surface with tetrahedra; the first V nodes are its vertices, in order.

    Args:
        vertices: (V, 3), metres.
        faces: int (F, 3).
        n_inner: about how many lattice nodes to put inside; 0 for none.
        extra_nodes: (E, 3), further nodes, right after the vertices.
        least_quality: flatter tetrahedra are left out; 0 keeps all, for interpolation.
        seed: of the jitter.

    Raises:
        ConfigError: the surface encloses nothing.
    """
    from scipy.spatial import Delaunay, cKDTree

    surface = np.asarray(vertices, np.float64)
    nodes = [surface]
    if extra_nodes is not None:
        nodes.append(np.asarray(extra_nodes, np.float64).reshape(-1, 3))
    low, high = surface.min(axis=0), surface.max(axis=0)
    volume = enclosed_volume(surface, np.asarray(faces))
    if not volume > 1e-9:
        raise ConfigError(
            "the canonical body encloses no volume",
            cause="its mesh is open, or its faces are turned inside out",
            where="params.yaml: train.data.body",
        )
    spacing = (volume / max(n_inner, 1)) ** (1 / 3)
    if n_inner:
        # Body-centred: two cubic lattices, of which no four neighbours lie in a plane.
        cell = spacing * 2 ** (1 / 3)
        axes = [np.arange(lo, hi, cell) for lo, hi in zip(low, high, strict=True)]
        cubic = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        rng = np.random.default_rng(seed)
        lattice = np.concatenate([cubic, cubic + cell / 2])
        lattice += rng.uniform(-1, 1, lattice.shape) * spacing * _LATTICE_JITTER
        distance, _ = cKDTree(np.concatenate(nodes)).query(lattice)
        lattice = lattice[distance > spacing * _SURFACE_CLEARANCE]
        nodes.append(lattice[is_inside(lattice, vertices=surface, faces=faces)])
    stacked = np.concatenate(nodes)
    simplices = np.asarray(Delaunay(stacked, qhull_options="QJ Qbb Q12").simplices, np.int64)
    kept = simplices[_quality(TetrahedralMesh(stacked, simplices)) > least_quality]
    centroids = stacked[kept].mean(axis=1)
    return TetrahedralMesh(stacked, kept[is_inside(centroids, vertices=surface, faces=faces)])


def largest_component(mesh: TetrahedralMesh) -> TetrahedralMesh:
    """The mesh without nodes that no tetrahedron uses, and without islands."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n_nodes = len(mesh.nodes)
    tetrahedra = mesh.tetrahedra
    rows, columns = tetrahedra[:, [0, 0, 0]].ravel(), tetrahedra[:, 1:].ravel()
    graph = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n_nodes, n_nodes))
    _, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels[tetrahedra[:, 0]], minlength=labels.max() + 1)
    kept = tetrahedra[labels[tetrahedra[:, 0]] == sizes.argmax()]
    used, renumbered = np.unique(kept, return_inverse=True)
    return TetrahedralMesh(mesh.nodes[used], renumbered.reshape(kept.shape))


def eigenfunctions(mesh: TetrahedralMesh, n_functions: int) -> Eigenbasis:
    """The `n_functions` lowest non-constant eigenfunctions of a connected volume.

    Raises:
        ConfigError: the mesh has too few nodes for so many.
    """
    from scipy.sparse.linalg import eigsh

    n_nodes = len(mesh.nodes)
    if n_nodes < 2 * (n_functions + 1):
        raise ConfigError(
            f"{n_functions} eigenfunctions need a finer volume than one of {n_nodes} nodes",
            where="params.yaml: train.field",
            next_command="raise train.field.lbo_inner_nodes or lower train.field.field_posenc_dim",
        )
    stiffness, mass = finite_elements(mesh)
    values, vectors = eigsh(
        stiffness,
        k=n_functions + 1,
        M=mass,
        sigma=-0.01,  # a little below the zero eigenvalue, where the shifted matrix is regular
        v0=np.random.default_rng(0).normal(size=n_nodes),
    )
    order = np.argsort(values)[1:]
    vectors = vectors[:, order]
    peaks = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[peaks, np.arange(n_functions)])
    return Eigenbasis(mesh, values[order], vectors * signs)


def finite_elements(mesh: TetrahedralMesh) -> tuple[Any, Any]:
    """Stiffness and mass matrices of linear elements, sparse (M, M)."""
    from scipy import sparse

    corners = mesh.nodes[mesh.tetrahedra]
    edges = corners[:, 1:] - corners[:, :1]
    inverse = np.linalg.inv(edges)
    gradients = np.concatenate([-inverse.sum(axis=2, keepdims=True), inverse], axis=2)
    volumes = mesh.volumes
    local_stiffness = np.einsum("tdi,tdj,t->tij", gradients, gradients, volumes)
    local_mass = volumes[:, np.newaxis, np.newaxis] * (np.ones((4, 4)) + np.eye(4)) / 20
    rows = np.repeat(mesh.tetrahedra, 4, axis=1).ravel()
    columns = np.tile(mesh.tetrahedra, 4).ravel()
    shape = (len(mesh.nodes),) * 2
    return tuple(
        sparse.coo_array((local.ravel(), (rows, columns)), shape=shape).tocsc()
        for local in (local_stiffness, local_mass)
    )


def points_in_volume(
    mesh: TetrahedralMesh, n_points: int, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    """Evenly drawn places in a volume: tetrahedra int64 (n,), barycentric weights (n, 4)."""
    shares = np.cumsum(mesh.volumes)
    chosen = np.searchsorted(shares / shares[-1], rng.random(n_points))
    return np.minimum(chosen, len(shares) - 1), rng.dirichlet(np.ones(4), n_points)


def _quality(mesh: TetrahedralMesh) -> Floats:
    """1 for regular tetrahedra, 0 for flat ones: (T,)."""
    corners = mesh.nodes[mesh.tetrahedra]
    i, j = np.triu_indices(4, 1)
    mean_square_edge = np.square(corners[:, i] - corners[:, j]).sum(axis=2).mean(axis=1)
    return np.asarray(6 * np.sqrt(2) * mesh.volumes / mean_square_edge**1.5)


def enclosed_volume(vertices: Floats, faces: npt.NDArray[Any]) -> float:
    """Cubic metres in a closed surface whose faces are counter-clockwise from outside."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float(np.einsum("fd,fd->", a, np.cross(b, c)) / 6)


def _cross2(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
