"""Places to stand in: rooms and open ground, painted by casting a ray per pixel."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from stages.sample.surface import Array
from stages.sample.viewpoints import View

_TEXTURE_PX = 256


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
    """The empty place as seen from a view, float32 (H, W, 3), linear RGB."""
    rays = view.rays()
    origin = view.position.astype(np.float32)
    low = np.array([-place.half_size[0], 0.0, -place.half_size[1]], np.float32)
    high = np.array([place.half_size[0], place.height, place.half_size[1]], np.float32)
    safe = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    distance = np.where(safe > 0, high - origin, low - origin) / safe
    axis = distance.argmin(-1)
    nearest = np.take_along_axis(distance, axis[..., None], -1)
    hit = origin + nearest * rays
    wall = 2 * axis + (np.take_along_axis(safe, axis[..., None], -1)[..., 0] > 0)
    horizontal = np.where(axis == 0, hit[..., 2], hit[..., 0])
    vertical = np.where(axis == 1, hit[..., 2], hit[..., 1])
    picture = np.zeros((*view.size, 3), np.float32)
    for which in np.unique(wall):
        here = wall == which
        metres = np.float32(_TEXTURE_PX / place.texture_metres[which])
        lookup: Array = cv2.remap(
            place.textures[which],
            (horizontal * metres) % (_TEXTURE_PX - 1),
            (vertical * metres) % (_TEXTURE_PX - 1),
            cv2.INTER_LINEAR,
        ) * (place.tints[which] / 255.0).astype(np.float32)
        normal = np.zeros(3)
        normal[which // 2] = 1.0 if which % 2 == 0 else -1.0
        lit = place.ambient + place.light_colour * max(0.15, float(normal @ place.light)) * 0.7
        if which == 2 and shadow is not None:
            shade = _shadow_at(shadow, hit)
            lookup = lookup * (1.0 - 0.75 * shade[..., None])
        picture[here] = (lookup * lit.astype(np.float32))[here]
    if np.isinf(place.height):
        haze = np.clip(nearest / 40.0, 0, 0.7)
        picture += haze * (np.float32(0.75) - picture)
    return picture


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


def _shadow_at(shadow: Shadow, hit: Array) -> Array:
    cells = len(shadow.darkness)
    place = (hit[..., [0, 2]] - shadow.center.astype(np.float32) + shadow.half_size) * (
        cells / (2 * shadow.half_size)
    ) - 0.5
    place = place.astype(np.float32)
    looked_up: Array = cv2.remap(
        shadow.darkness, place[..., 0], place[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=0.0,
    )  # fmt: skip
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
    texture = np.broadcast_to(base, (n, n, 3)).astype(np.float32)
    grain = 1 + 0.10 * _noise(rng, 8) + 0.06 * _noise(rng, 64)
    texture = np.ascontiguousarray(texture * grain[..., None])
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
        cv2.ellipse(texture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    else:
        cv2.rectangle(texture, (x, y), (x + w, y + h), tuple(0.3 * c for c in colour), -1)
        cv2.rectangle(texture, (x + 3, y + 3), (x + w - 3, y + h - 3), colour, -1)


def _noise(rng: np.random.Generator, cells: int) -> Array:
    """Smooth noise of zero mean with about `cells` bumps along a side."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    smooth: Array = cv2.resize(coarse, (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_CUBIC)
    return smooth * np.float32(0.6)
