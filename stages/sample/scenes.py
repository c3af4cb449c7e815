"""Pictures of people in places: what is in front of the camera, and what the camera sees of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from stages.sample.appearance import colours
from stages.sample.backgrounds import Place, cast_shadow, paint_place
from stages.sample.body import rest_body
from stages.sample.people import PosedBody
from stages.sample.rasterizer import Fragments, rasterize
from stages.sample.surface import Array
from stages.sample.viewpoints import View


@dataclass(frozen=True, slots=True)
class Solid:
    """A thing: seat, crate, pillar. Same fields as a body's mesh, one colour.

    Attributes:
        vertices: float64 (V, 3), world, metres.
        normals: float64 (V, 3).
        faces: int32 (F, 3).
        colour: float64 (3,), linear RGB.
    """

    vertices: Array
    normals: Array
    faces: Array
    colour: Array


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything before the camera.

    Attributes:
        place: around it all.
        people: who is there.
        flesh: float64 (V, 3), everybody's vertices.
        solids: things.
    """

    place: Place
    people: tuple[PosedBody, ...]
    flesh: tuple[Array, ...]
    solids: tuple[Solid, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a view shows of a scene, before colours.

    Attributes:
        fragments: over the picture; their faces count through `faces`.
        faces: int64 (F, 3) into all vertices of all people, then of all solids.
        owners: int64 (M,), of each fragment: the person's position in the scene, then the solids'.
    """

    fragments: Fragments
    faces: Array
    owners: Array


def box(center: Array, size: Array, *, yaw: float, colour: Array) -> Solid:
    """A cuboid turned about the vertical."""
    vertices, normals, faces = _unit_cube()
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return Solid(
        vertices=np.einsum("ij,vj->vi", rotation, vertices * size) + center,
        normals=np.einsum("ij,vj->vi", rotation, normals),
        faces=faces,
        colour=colour,
    )


@functools.cache
def _unit_cube() -> tuple[Array, Array, Array]:
    """Vertices, normals and faces; the sides are cut into small squares for the rasterizer."""
    n = 6
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, n + 1), np.linspace(-0.5, 0.5, n + 1))
    sheet = np.stack([u.ravel(), v.ravel(), np.full(u.size, 0.5)], axis=1)
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    right, below = corner + 1, corner + n + 1
    cut = np.concatenate(
        [np.stack([corner, right, below], 1), np.stack([right, below + 1, below], 1)]
    )
    frames = [np.roll(np.eye(3), axis, axis=1) for axis in range(3)]
    frames += [frame * np.array([[1.0], [-1.0], [-1.0]]) for frame in frames]
    return (
        np.concatenate([np.einsum("vi,ij->vj", sheet, frame) for frame in frames]),
        np.concatenate([np.broadcast_to(frame[2], sheet.shape) for frame in frames]),
        np.concatenate([cut + len(sheet) * i for i in range(len(frames))]).astype(np.int32),
    )


def look(scene: Scene, view: View) -> Sight:
    """Resolve visibility."""
    body_faces = rest_body().faces
    meshes = [(vertices, body_faces) for vertices in scene.flesh]
    meshes += [(solid.vertices, solid.faces) for solid in scene.solids]
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    faces = np.concatenate(
        [mesh + start for (_, mesh), start in zip(meshes, starts[:-1], strict=True)]
    ).astype(np.int64)
    pixels, depth = view.project(np.concatenate([vertices for vertices, _ in meshes]))
    fragments = rasterize(pixels, depth, faces, size=view.size)
    ends = np.cumsum([len(mesh) for _, mesh in meshes])
    owners = np.searchsorted(ends, fragments.faces, side="right")
    return Sight(fragments, faces, owners)


def visible_mask(sight: Sight, view: View, people: Array) -> Array:
    """Pixels whose centres show some people, bool (H, W).

    Args:
        sight: what the view shows.
        view: camera.
        people: int (n,), positions in the scene.
    """
    mask: Array = np.zeros(view.size, bool)
    wanted = np.zeros(int(sight.owners.max(initial=0)) + 1, bool)
    wanted[people[people < len(wanted)]] = True
    mask.flat[sight.fragments.pixels] = wanted[sight.owners]
    return mask


def nearest_depths(sight: Sight, view: View) -> Array:
    """How far every pixel sees, float32 (H, W), infinite where nothing is."""
    depths = np.full(view.size, np.inf, np.float32)
    depths.flat[sight.fragments.pixels] = sight.fragments.depth
    return depths


def paint(scene: Scene, view: View, sight: Sight) -> Array:
    """The picture, uint8 (H, W, 3), sRGB."""
    shadow_casters = np.concatenate([*scene.flesh, *(solid.vertices for solid in scene.solids)])
    background = paint_place(scene.place, view, cast_shadow(shadow_casters, scene.place.light))
    layer = np.zeros((view.size[0] * view.size[1], 4), np.float32)
    layer[sight.fragments.pixels, :3] = _shade(scene, view, sight)
    layer[sight.fragments.pixels, 3] = 1.0
    # Blurring colour and coverage together softens the outlines for a tenth of the work of
    # supersampling.
    layer = cv2.GaussianBlur(layer.reshape(*view.size, 4), (3, 3), 0)
    linear = layer[..., :3] + background * (1.0 - layer[..., 3:])
    # A square root stands for the sRGB curve, which costs ten times as much.
    picture: Array = (np.sqrt(np.clip(linear, 0.0, 1.0)) * 255.0 + 0.5).astype(np.uint8)
    return picture


def _shade(scene: Scene, view: View, sight: Sight) -> Array:
    """Colours of the fragments, float32 (M, 3): ambient, wrapped diffuse and a little shine."""
    body = rest_body()
    body_normals = [vertex_normals(vertices) for vertices in scene.flesh]
    normals = np.concatenate([*body_normals, *(solid.normals for solid in scene.solids)])
    places = np.concatenate(
        [*(body.vertices for _ in scene.people), *(s.vertices for s in scene.solids)]
    )
    surface = sight.fragments.interpolate(sight.faces, np.concatenate([normals, places], axis=1))
    albedo = np.empty((len(surface), 3), np.float32)
    for owner, person in enumerate(scene.people):
        own = np.flatnonzero(sight.owners == owner)
        albedo[own] = colours(person.person.outfit, surface[own, 3:])
    for owner, solid in enumerate(scene.solids, start=len(scene.people)):
        albedo[sight.owners == owner] = solid.colour
    normal = surface[:, :3]
    normal /= np.maximum(np.sqrt(np.einsum("mi,mi->m", normal, normal)), 1e-6)[:, None]
    light = scene.place.light.astype(np.float32)
    towards = -view.rotation[2].astype(np.float32)
    half = (light + towards) / np.linalg.norm(light + towards)
    facing_light, facing_us, glancing = (
        np.einsum("mi,i->m", normal, direction) for direction in (light, towards, half)
    )
    diffuse = np.clip((facing_light + 0.25) / 1.25, 0.0, 1.0)
    sky = 0.72 + 0.28 * normal[:, 1] + 0.10 * facing_us
    shine = 0.06 * np.clip(glancing, 0.0, 1.0) ** 16
    lit = diffuse[:, None] * scene.place.light_colour.astype(np.float32)
    lit += sky[:, None] * scene.place.ambient.astype(np.float32)
    shaded: Array = albedo * lit
    shaded += shine[:, None]
    return shaded


def vertex_normals(vertices: Array) -> Array:
    """Area-weighted unit normals of a posed body, float64 (V, 3)."""
    faces = rest_body().faces
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals = _vertex_faces() @ np.cross(b - a, c - a)
    unit: Array = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return unit


@functools.cache
def _vertex_faces() -> sparse.csr_array:
    faces = rest_body().faces
    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)))
