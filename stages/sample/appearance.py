"""Skin, hair, face and clothes, painted by the place on the rest body.

A colour is a function of where a spot lies on the average rest body, so it moves with the flesh
and no picture of it ever needs unwrapping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.sample.surface import Array


@dataclass(frozen=True, slots=True)
class Outfit:
    """Colours are linear RGB in 0..1, float64 (3,); lengths are metres on the rest body."""

    skin: Array
    hair: Array
    shirt: Array
    shirt_accent: Array
    trousers: Array
    trousers_accent: Array
    shoes: Array
    eyes: Array
    shirt_pattern: str
    trousers_pattern: str
    sleeve_end: float
    trouser_end: float
    shirt_end: float
    neckline: float
    hair_length: float
    bald: bool
    pattern_scale: float
    open_jacket: bool


_SKINS = ((0.86, 0.66, 0.54), (0.78, 0.55, 0.42), (0.62, 0.41, 0.28), (0.42, 0.27, 0.18),
          (0.27, 0.17, 0.12), (0.90, 0.72, 0.62))  # fmt: skip
_HAIRS = ((0.06, 0.05, 0.04), (0.20, 0.12, 0.07), (0.40, 0.26, 0.13), (0.70, 0.55, 0.30),
          (0.45, 0.18, 0.08), (0.60, 0.60, 0.60))  # fmt: skip
_PATTERNS = ("plain", "plain", "plain", "stripes", "hoops", "checks", "print", "halves", "speckle")


def sample_outfit(rng: np.random.Generator, *, gender: str) -> Outfit:
    """Draw clothes in which shirt and trousers differ visibly."""
    shirt = _cloth_colour(rng)
    trousers = _cloth_colour(rng)
    while np.abs(trousers - shirt).sum() < 0.35:
        trousers = _cloth_colour(rng)
    long_hair = rng.random() < {"female": 0.75, "male": 0.12, "neutral": 0.4}[gender]
    return Outfit(
        skin=np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.9, 1.08),
        hair=np.array(_HAIRS[rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.2),
        shirt=shirt,
        shirt_accent=_cloth_colour(rng),
        trousers=trousers,
        trousers_accent=np.clip(trousers * rng.uniform(0.6, 1.5), 0, 1),
        shoes=_cloth_colour(rng) * rng.choice([0.3, 1.0]),
        eyes=np.array([0.12, 0.08, 0.05]) + rng.uniform(0, 0.15, 3),
        shirt_pattern=str(rng.choice(_PATTERNS)),
        trousers_pattern=str(rng.choice(("plain", "plain", "plain", "stripes", "checks"))),
        sleeve_end=float(rng.choice([0.22, 0.33, 0.36, 0.66, 0.68])),
        trouser_end=float(rng.choice([-0.33, -0.43, -0.86, -0.88, -0.90])),
        shirt_end=float(rng.uniform(-0.12, 0.02)),
        neckline=float(rng.uniform(0.46, 0.515)),
        hair_length=float(rng.uniform(0.40, 0.58) if long_hair else rng.uniform(0.60, 0.66)),
        bald=bool(not long_hair and rng.random() < 0.15),
        pattern_scale=float(rng.uniform(0.03, 0.09)),
        open_jacket=bool(rng.random() < 0.2),
    )


def colours(outfit: Outfit, places: Array) -> Array:
    """Colour of spots of the body.

    Args:
        outfit: what the person wears.
        places: float32 (N, 3) on the rest body, metres from the pelvis.

    Returns:
        float32 (N, 3), linear RGB.
    """
    x, y, z = places.T
    side = np.abs(x)
    colour = np.broadcast_to(outfit.skin, places.shape).astype(np.float32)

    def paint(where: Array, what: Array) -> None:
        colour[where] = what[where] if what.ndim == 2 else what

    arm = (side > 0.16) & (y > 0.25)
    collar = outfit.neckline - 0.3 * np.maximum(z, 0.0) + 0.9 * np.maximum(side - 0.05, 0.0)
    torso = ~arm & (y < collar)
    shirt = _pattern(outfit.shirt, outfit.shirt_accent, outfit.shirt_pattern, places, outfit)
    trousers = _pattern(
        outfit.trousers, outfit.trousers_accent, outfit.trousers_pattern, places, outfit
    )
    if outfit.open_jacket:
        front = (side < 0.045 + 0.1 * np.maximum(y - 0.25, 0)) & (z > 0)
        shirt = np.where(front[:, None], outfit.shirt_accent, shirt).astype(np.float32)
    paint((y >= outfit.shirt_end) & (torso | (arm & (side < outfit.sleeve_end))), shirt)
    legs = ~arm & (y < outfit.shirt_end)
    paint(legs & (y > outfit.trouser_end), trousers)
    paint(~arm & (np.abs(y - outfit.shirt_end) < 0.012), outfit.trousers * 0.35)
    paint(~arm & (y < -0.875), outfit.shoes)
    paint(~arm & (y < -0.945), np.full(3, 0.85))
    _paint_head(outfit, places, colour)
    return colour


def _paint_head(outfit: Outfit, places: Array, colour: Array) -> None:
    head = np.flatnonzero((places[:, 1] > 0.38) & (np.abs(places[:, 0]) < 0.13))
    x, y, z = places[head].T
    side = np.abs(x)
    face_edge = 0.02 + 0.03 * np.clip((y - 0.70) / 0.1, 0, 2)
    hair = (y > 0.735 + 0.03 * side / 0.08) | ((z < face_edge - 0.03) & (y > outfit.hair_length))
    behind = z < -0.055 if outfit.hair_length < 0.5 else z < 0.02
    hair &= (y > 0.62) | (behind & (side < 0.065))
    if outfit.bald:
        hair &= (y < 0.71) & (z < -0.01)
    front = z > 0.05
    eye = np.hypot((side - 0.032) / 0.015, (y - 0.690) / 0.010)
    colour[head[hair]] = outfit.hair
    colour[head[front & (eye < 1.0)]] = (0.92, 0.92, 0.90)
    colour[head[front & (eye < 0.62)]] = outfit.eyes
    brow = (np.abs(y - 0.712) < 0.005) & (np.abs(side - 0.034) < 0.019)
    colour[head[front & brow]] = outfit.hair * 0.8
    mouth = np.hypot(x / 0.026, (y - 0.612) / 0.008) < 1.0
    colour[head[front & mouth]] = outfit.skin * (0.75, 0.45, 0.45)


def _pattern(base: Array, accent: Array, pattern: str, places: Array, outfit: Outfit) -> Array:
    x, y, z = places.T
    step = outfit.pattern_scale
    if pattern == "stripes":
        on = (np.abs(x) % step) < step / 2
    elif pattern == "hoops":
        on = ((np.where(np.abs(x) > 0.2, np.abs(x), y)) % step) < step / 2
    elif pattern == "checks":
        on = ((np.floor(np.abs(x) / step) + np.floor(y / step)) % 2) == 0
    elif pattern == "print":
        on = (z > 0.02) & (np.abs(x) < 0.085) & (np.abs(y - 0.30) < 0.07)
    elif pattern == "halves":
        on = y > 0.22
    elif pattern == "speckle":
        on = np.sin(x * 190) * np.sin(y * 170 + 40 * x) * np.sin(z * 180 + 1) > 0.25
    else:
        on = np.zeros(len(places), dtype=bool)
    return np.where(on[:, None], accent, base).astype(np.float32)


def _cloth_colour(rng: np.random.Generator) -> Array:
    """Greys and muted colours as often as bright ones."""
    hue = rng.uniform(0, 6)
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    saturation = rng.uniform(0.0, 0.9) * (rng.random() > 0.2)
    value = rng.uniform(0.06, 0.85)
    colour: Array = value * (1 - saturation * (1 - wheel))
    return colour
