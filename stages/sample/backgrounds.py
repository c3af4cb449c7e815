"""Places to stand in: rooms and open ground, painted by casting rays."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from stages.sample.surface import Array
from stages.sample.viewpoints import View

_TEXTURE_PX = 256
_PIXELS_PER_RAY = 2


@dataclass(frozen=True, slots=True)
class Place:
    """A room, or open ground under a sky, around the origin.

    Attributes:
        half_size: float64 (2,), half the room along x and z, metres.
        height: of the room, metres; infinite outdoors.
        textures: six of uint8 (256, 256, 3), for the sides -x, +x, floor, ceiling, -z, +z.
        tints: float64 (6, 3), what a texture is multiplied with, to linear RGB.
        texture_metres: float64 (6,), how far a texture reaches before it repeats.
        light: float64 (3,), unit vector towards the light.
        light_colour: float64 (3,).
        ambient: float64 (3,).
    """

    half_size: Array
    height: float
    textures: tuple[Array, ...]
    tints: Array
    texture_metres: Array
    light: Array
    light_colour: Array
    ambient: Array


@dataclass(frozen=True, slots=True)
class Shadow:
    """Darkness on the floor: a map over a square around a centre."""

    darkness: Array  # float32 (S, S), 0..1
    center: Array  # float64 (2,), x and z
    half_size: float


def sample_place(rng: np.random.Generator, *, reach: float) -> Place:
    """Draw a place and its light.

    Args:
        rng: where the chance comes from.
        reach: how far from the origin the place must go at least, metres.
    """
    outdoors = bool(rng.random() < 0.3)
    elevation, azimuth = rng.uniform(0.5, 1.35), rng.uniform(0, 2 * np.pi)
    level = np.cos(elevation)
    light = np.array([level * np.cos(azimuth), np.sin(elevation), level * np.sin(azimuth)])
    warmth = np.array([1.0, 0.0, -1.0]) * rng.uniform(-0.08, 0.08)
    materials = [_material(rng, side, outdoors=outdoors) for side in range(6)]
    pool = _textures()
    tints = rng.uniform(0.35, 1.1, (6, 1)) * (1 + rng.uniform(-0.18, 0.18, (6, 3)))
    for side in (2, 3):
        tints[side] = np.clip(tints[side], 0.45, None)
    metres = rng.uniform(1.2, 3.5, 6)
    if outdoors:
        metres *= np.array([6.0, 6.0, 2.0, 6.0, 6.0, 6.0])
    return Place(
        half_size=np.maximum(
            rng.uniform(14, 30, 2) if outdoors else rng.uniform(2.8, 6.0, 2), reach
        ),
        height=float("inf") if outdoors else float(rng.uniform(2.6, 4.0)),
        textures=tuple(pool[name][int(rng.integers(_VARIANTS))] for name in materials),
        tints=tints,
        texture_metres=metres,
        light=light,
        light_colour=rng.uniform(0.55, 1.0) * (1 + warmth),
        ambient=rng.uniform(0.28, 0.5) * (1 - warmth),
    )


def paint_place(place: Place, view: View, shadow: Shadow | None) -> Array:
    """The empty place as seen from a view, a little out of focus: float32 (H, W, 3), linear RGB."""
    height, width = view.size
    coarse = _cast(place, view.rays(step=_PIXELS_PER_RAY), view.position, shadow)
    size = coarse.shape[1] * _PIXELS_PER_RAY, coarse.shape[0] * _PIXELS_PER_RAY
    picture: Array = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[:height, :width]
    return picture


def _cast(place: Place, rays: Array, position: Array, shadow: Shadow | None) -> Array:
    """What rays (3, h, w) from a position meet, float32 (h, w, 3)."""
    size = rays.shape[1:]
    origin = position.astype(np.float32)
    width, depth = place.half_size.astype(np.float32)
    bounds = ((-width, width), (0.0, place.height), (-depth, depth))
    distance = np.full(size, np.inf, np.float32)
    side = np.zeros(size, np.uint8)
    for axis, (low, high) in enumerate(bounds):
        along = rays[axis]
        ahead = along > 0
        wall = np.where(ahead, np.float32(high), np.float32(low)) - origin[axis]
        away = wall / np.where(np.abs(along) < 1e-6, np.float32(1e-6), along)
        nearer = away < distance
        distance = np.where(nearer, away, distance)
        side = np.where(nearer, 2 * axis + ahead, side)
    hit = [o + distance * ray for o, ray in zip(origin, rays, strict=True)]
    picture = np.zeros((*size, 3), np.float32)
    for which in range(6):
        here = side == which
        rows, columns = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
        if not len(rows):
            continue
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        lookup = _surface_colour(place, which, [coordinate[window] for coordinate in hit])
        if which == _FLOOR and shadow is not None:
            lookup *= 1.0 - 0.75 * _shadow_at(shadow, hit[0][window], hit[2][window])[..., None]
        np.copyto(picture[window], lookup, where=here[window][..., None])
    if np.isinf(place.height):
        haze = np.clip(distance / 40.0, 0, 0.7)[..., None]
        picture += haze * (np.float32(0.75) - picture)
    return picture


_FLOOR = 2


def _surface_colour(place: Place, side: int, hit: list[Array]) -> Array:
    """Lit texture of one side at points on it, float32 (h, w, 3)."""
    scale = np.float32(_TEXTURE_PX / place.texture_metres[side])
    across, up = {0: (2, 1), 1: (0, 2), 2: (0, 1)}[side // 2]
    period = np.float32(_TEXTURE_PX - 1)  # every other copy is mirrored, so that none has seams
    lookup = cv2.remap(
        place.textures[side],
        np.abs((hit[across] * scale) % (2 * period) - period),
        np.abs((hit[up] * scale) % (2 * period) - period),
        cv2.INTER_LINEAR,
    )
    towards_light = float(place.light[side // 2]) * (1.0 if side % 2 == 0 else -1.0)
    lit = place.ambient + place.light_colour * max(0.15, towards_light) * 0.7
    colour: Array = lookup * (lit * place.tints[side] / 255.0).astype(np.float32)
    return colour


def cast_shadow(vertices: Array, light: Array) -> Shadow:
    """Where vertices (V, 3) keep the light from the floor y = 0."""
    fallen = vertices[:, [0, 2]] - vertices[:, [1]] * (light[[0, 2]] / light[1])
    center = (fallen.min(0) + fallen.max(0)) / 2
    half_size = float(np.ptp(fallen, axis=0).max() / 2 + 0.3)
    cells = 96
    index = np.floor((fallen - center + half_size) / (2 * half_size) * cells).astype(int)
    darkness = np.zeros((cells, cells), np.float32)
    darkness[tuple(np.clip(index, 0, cells - 1).T[::-1])] = 1.0
    darkness = cv2.dilate(darkness, np.ones((3, 3), np.uint8))
    return Shadow(cv2.GaussianBlur(darkness, (0, 0), 1.6), center, half_size)


def _shadow_at(shadow: Shadow, x: Array, z: Array) -> Array:
    scale = np.float32(len(shadow.darkness) / (2 * shadow.half_size))
    low = (shadow.center - shadow.half_size).astype(np.float32)
    looked_up: Array = cv2.remap(
        shadow.darkness,
        (x - low[0]) * scale - np.float32(0.5),
        (z - low[1]) * scale - np.float32(0.5),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    return looked_up


def _material(rng: np.random.Generator, side: int, *, outdoors: bool) -> str:
    if side == 3:
        return "plain"
    if side == 2:
        return str(rng.choice(_GROUND if outdoors else _FLOORS))
    return str(rng.choice(_HORIZONS if outdoors else _WALLS))


_GROUND = ("grass", "noise", "tiles")
_FLOORS = ("tiles", "planks", "noise", "plain")
_HORIZONS = ("blobs", "noise", "bricks")
_WALLS = ("plain", "pictures", "pictures", "stripes", "bricks", "blobs", "noise")
_VARIANTS = 10


@functools.cache
def _textures() -> dict[str, list[Array]]:
    """The same stock of materials for every sample; places differ by choice, tint and size."""
    rng = np.random.default_rng(20230815)
    names = sorted({*_GROUND, *_FLOORS, *_HORIZONS, *_WALLS})
    return {name: [_texture(rng, name) for _ in range(_VARIANTS)] for name in names}


def _texture(rng: np.random.Generator, material: str) -> Array:
    """A square of one material, uint8 (256, 256, 3), linear RGB."""
    n = _TEXTURE_PX
    base = rng.uniform(0.6, 0.9) * (1 + rng.uniform(-0.1, 0.1, 3))
    if material == "grass":
        base = np.array([0.35, 0.62, 0.22]) * rng.uniform(0.7, 1.3)
    grain = 1 + 0.10 * _noise(rng, 8) + 0.06 * _noise(rng, 64)
    texture: Array = np.ascontiguousarray(base.astype(np.float32) * grain[..., None])
    y, x = np.mgrid[:n, :n]
    contrast = rng.uniform(0.55, 0.9)
    if material in ("noise", "grass"):
        texture = texture * (1 + 0.35 * _noise(rng, 32) + 0.25 * _noise(rng, 128))[..., None]
    elif material == "tiles":
        cell = int(rng.choice([32, 64]))
        if rng.random() < 0.6:
            texture[(x // cell + y // cell) % 2 == 0] *= contrast
        texture[(x % cell < 2) | (y % cell < 2)] *= 0.6
    elif material == "planks":
        board = y // 32
        texture = texture * rng.uniform(0.7, 1.05, n // 32)[board][..., None]
        texture[(y % 32 < 2) | ((x + 91 * board) % 256 < 2)] *= 0.55
    elif material == "bricks":
        row = y // 16
        texture[(y % 16 < 2) | ((x + 16 * (row % 2)) % 32 < 2)] *= contrast
    elif material == "stripes":
        texture[(x // 16) % 2 == 0] *= contrast
    elif material in ("pictures", "blobs"):
        for _ in range(int(rng.integers(3, 14))):
            _clutter(rng, texture, round_=material == "blobs")
    return (np.clip(texture, 0.0, 1.0) * 255).astype(np.uint8)


def _clutter(rng: np.random.Generator, texture: Array, *, round_: bool) -> None:
    colour = tuple(float(v) for v in rng.uniform(0.05, 0.95, 3))
    x, y = (int(v) for v in rng.integers(0, _TEXTURE_PX, 2))
    w, h = (int(v) for v in rng.integers(8, 70, 2))
    if round_:
        tilt = float(rng.uniform(0, 180))
        cv2.ellipse(texture, (x, y), (w // 2, h // 2), tilt, 0, 360, colour, -1)
    else:
        cv2.rectangle(texture, (x, y), (x + w, y + h), tuple(0.3 * c for c in colour), -1)
        cv2.rectangle(texture, (x + 3, y + 3), (x + w - 3, y + h - 3), colour, -1)


def _noise(rng: np.random.Generator, cells: int) -> Array:
    """Smooth noise of zero mean with about `cells` bumps along a side."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    smooth: Array = cv2.resize(coarse, (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_CUBIC)
    return smooth * np.float32(0.6)
