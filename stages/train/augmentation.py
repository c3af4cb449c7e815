"""What a training crop looks like, changed at random: background, occluders, colour, JPEG.

Every function takes and returns RGB bytes (S, S, 3) and draws only from the generator it is given,
so a crop's appearance is a pure function of that generator's state. Geometry is
`pipeline.training_crop`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from errors import ConfigError
from stages.train.settings import CropSettings

Picture = npt.NDArray[np.uint8]

# Sources whose pictures show real or realistic scenes keep their background more often;
# renders on grey never do.
REALISTIC_SCENES = (
    "sailvos",
    "agora",
    "spec-syn",
    "hspace",
    "bedlam",
    "egobody",
    "egohumans",
    "rich",
)
GREY_RENDERS = ("hi4d_rerender", "dfaust_render", "thuman2_render")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Scenery:
    """Pictures to put behind and before people; where there are none, generated ones are used.

    Attributes:
        backgrounds: RGB picture files without people.
        occluders: picture files with an alpha channel, cut-outs of things.
    """

    backgrounds: tuple[Path, ...] = ()
    occluders: tuple[Path, ...] = ()


def open_scenery(backgrounds: Path | None, occluders: Path | None) -> Scenery:
    """The pictures of the two folders, in the order of their names.

    Raises:
        ConfigError: a folder was named and holds no picture.
    """
    return Scenery(_pictures(backgrounds), _pictures(occluders))


def _pictures(folder: Path | None) -> tuple[Path, ...]:
    if folder is None:
        return ()
    found = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES))
    if not found:
        raise ConfigError("there is no picture in this folder", where=str(folder))
    return found


def background_probability(dataset: str, crop: CropSettings) -> float:
    """How often the background of an example of this dataset is swapped."""
    if dataset.startswith(GREY_RENDERS):
        return crop.background_aug_prob_grey
    if dataset.startswith(REALISTIC_SCENES):
        return crop.background_aug_prob_real
    return crop.background_aug_prob


def changes_appearance(crop: CropSettings) -> bool:
    """Whether any example's appearance can change at all."""
    probabilities = (
        crop.occlude_aug_prob,
        crop.background_aug_prob,
        crop.background_aug_prob_real,
        crop.background_aug_prob_grey,
        crop.jpeg_aug_prob,
        crop.augment_border_prob,
    )
    return crop.color_aug or any(probability > 0 for probability in probabilities)


def draw_border(
    rng: np.random.Generator, crop: CropSettings
) -> tuple[str, tuple[float, float, float]]:
    """What a crop shows beyond its picture, as `pipeline.warping.warp_planned` takes it.

    Mostly `border_value`; with `augment_border_prob` a random colour, the nearest pixel or the
    picture mirrored at its edge, so that the network cannot tell where a picture ends.
    """
    kind, red, green, blue = rng.random(4).tolist()
    if kind >= crop.augment_border_prob:
        return "constant", (crop.border_value,) * 3
    border = ("constant", "replicate", "reflect")[int(3 * kind / crop.augment_border_prob)]
    return border, (256 * red // 1, 256 * green // 1, 256 * blue // 1)


def augment_appearance(
    picture: Picture,
    rng: np.random.Generator,
    *,
    mask: Callable[[], npt.NDArray[np.uint8]] | None,
    dataset: str,
    crop: CropSettings,
    scenery: Scenery,
) -> Picture:
    """All changes of appearance, in the published order.

    Args:
        picture: uint8 (S, S, 3), RGB.
        rng: the example's own generator.
        mask: makes the mask, uint8 (S, S), 255 on the person, if it is needed; None where there
            is none.
        dataset: decides how often the background is swapped.
        crop: probabilities and strengths.
        scenery: backgrounds and occluders.
    """
    swap_draw, erase_draw, occlude_draw = rng.random(3)
    if mask is not None and swap_draw < background_probability(dataset, crop):
        picture = swap_background(picture, rng, mask=mask(), backgrounds=scenery.backgrounds)
    occluded = bool(occlude_draw < crop.occlude_aug_prob)
    if erase_draw < 0.5:
        picture = _recolour(picture, rng, crop=crop)
        return erase_rectangle(picture, rng) if occluded else picture
    if occluded:
        picture = cover_with_objects(
            picture, rng, occluders=scenery.occluders, scale=crop.occlude_aug_scale
        )
    return _recolour(picture, rng, crop=crop)


def _recolour(picture: Picture, rng: np.random.Generator, *, crop: CropSettings) -> Picture:
    if crop.color_aug:
        picture = jitter_colour(picture, rng, strength=crop.color_aug_strength)
    if rng.random() < crop.jpeg_aug_prob:
        quality = int(rng.integers(crop.jpeg_quality_min, crop.jpeg_quality_max + 1))
        picture = recompress(picture, quality=quality)
    return picture


def jitter_colour(picture: Picture, rng: np.random.Generator, *, strength: float = 1.0) -> Picture:
    """Brightness ±1/8, contrast ×1/2...3/2 about the middle, hue ±72°, saturation ×1/2...3/2.

    The four come in random order, in 0...1 and clipped before every change to HSV.
    """
    brightness, contrast, hue, saturation = rng.uniform(-1, 1, size=4) * strength
    image = picture.astype(np.float32) / 255

    def shift_brightness(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return rgb + np.float32(brightness * 0.125)

    def stretch_contrast(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return (rgb - np.float32(0.5)) * np.float32(1 + 0.5 * contrast) + np.float32(0.5)

    def turn_hue(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        hsv = cv2.cvtColor(np.clip(rgb, 0, 1), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = np.mod(hsv[..., 0] + np.float32(hue * 72), np.float32(360))
        return _from_hsv(hsv)

    def stretch_saturation(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        hsv = cv2.cvtColor(np.clip(rgb, 0, 1), cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.minimum(hsv[..., 1] * np.float32(1 + 0.5 * saturation), 1)
        return _from_hsv(hsv)

    changes: Sequence[Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = (
        shift_brightness,
        stretch_contrast,
        turn_hue,
        stretch_saturation,
    )
    for i in rng.permutation(len(changes)):
        image = changes[i](image)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _from_hsv(hsv: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rgb: npt.NDArray[np.float32] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return rgb


def recompress(picture: Picture, *, quality: int) -> Picture:
    """The picture after a round through JPEG of this quality."""
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def erase_rectangle(picture: Picture, rng: np.random.Generator) -> Picture:
    """Replace a rectangle of at most a third of the picture by noise."""
    height, width = picture.shape[:2]
    while True:
        area, aspect = rng.uniform(0, 1 / 3) * height * width, rng.uniform(0.3, 1 / 0.3)
        rows, columns = int(np.sqrt(area * aspect)), int(np.sqrt(area / aspect))
        top, left = int(rng.uniform(0, height)), int(rng.uniform(0, width))
        if top + rows < height and left + columns < width:
            break
    erased = picture.copy()
    noise = rng.integers(0, 256, size=(rows, columns, 3), dtype=np.uint8)
    erased[top : top + rows, left : left + columns] = noise
    return erased


def cover_with_objects(
    picture: Picture, rng: np.random.Generator, *, occluders: Sequence[Path], scale: float
) -> Picture:
    """Lay one to six cut-outs over the picture, each U(0.2, 1)·scale of its size at 256 px."""
    side = picture.shape[0]
    covered = picture.astype(np.float32)
    for _ in range(int(rng.integers(1, 7))):
        size = rng.uniform(0.2, 1) * scale * side / 256
        centre = rng.uniform(0, side, size=2)
        if occluders:
            cutout, alpha = _read_cutout(occluders[int(rng.integers(len(occluders)))], size=size)
        else:
            cutout, alpha = _draw_cutout(rng, size=size)
        _blend(covered, cutout, alpha, centre=centre)
    return (covered + 0.5).astype(np.uint8)


def swap_background(
    picture: Picture,
    rng: np.random.Generator,
    *,
    mask: npt.NDArray[np.uint8],
    backgrounds: Sequence[Path],
) -> Picture:
    """Put the masked person before another picture, a generated texture if there is none."""
    side = picture.shape[0]
    if backgrounds:
        scene = _read_background(backgrounds[int(rng.integers(len(backgrounds)))], rng, side=side)
    else:
        scene = draw_texture(rng, side=side)
    alpha = (mask.astype(np.float32) / 255)[..., None]
    blended = picture * alpha + scene * (1 - alpha)
    return (blended + 0.5).astype(np.uint8)


def draw_texture(rng: np.random.Generator, *, side: int) -> Picture:
    """Smooth noise at several scales between two colours, with a few straight edges."""
    field = np.zeros((side, side), np.float32)
    for cells in (3, 7, 19):
        noise = rng.random((cells, cells), dtype=np.float32)
        field += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) / np.sqrt(cells)
    field = np.clip((field - field.min()) / max(float(np.ptp(field)), 1e-6), 0, 1)
    dark, light = rng.integers(0, 256, size=(2, 3)).astype(np.float32)
    texture = dark + field[..., None] * (light - dark)
    for _ in range(int(rng.integers(0, 4))):
        corners = rng.integers(-side // 2, side + side // 2, size=(4, 2)).astype(np.int32)
        colour = rng.integers(0, 256, size=3)
        cv2.fillConvexPoly(texture, cv2.convexHull(corners), colour.tolist(), lineType=cv2.LINE_AA)
    return np.clip(texture, 0, 255).astype(np.uint8)


def _draw_cutout(
    rng: np.random.Generator, *, size: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A textured blob, box or bar of up to 200·size pixels, with a soft edge."""
    extent = max(int(200 * size), 4)
    texture = draw_texture(rng, side=extent).astype(np.float32)
    alpha = np.zeros((extent, extent), np.uint8)
    shape = int(rng.integers(3))
    half = extent / 2
    if shape == 0:
        axes = rng.uniform(0.4, 1, size=2) * (half - 1)
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(
            alpha, (int(half), int(half)), axes.astype(int).tolist(), angle, 0, 360, 255, -1
        )
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, size=4 if shape == 1 else 9))
        radii = rng.uniform(0.6, 1, size=len(angles)) * (half - 1)
        corners = half + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(alpha, [corners.astype(np.int32)], 255)
    soft: npt.NDArray[np.float32] = cv2.blur(alpha, (3, 3)).astype(np.float32) / 255
    return texture, soft


def _blend(
    picture: npt.NDArray[np.float32],
    cutout: npt.NDArray[np.float32],
    alpha: npt.NDArray[np.float32],
    *,
    centre: npt.NDArray[np.float64],
) -> None:
    """Lay the cut-out over the picture in place; what sticks out is cut off."""
    height, width = alpha.shape
    side = picture.shape[0]
    left, top = (np.round(centre).astype(int) - np.array([width // 2, height // 2])).tolist()
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, side), min(top + height, side)
    if x0 >= x1 or y0 >= y1:
        return
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    opacity = alpha[part][..., None]
    picture[y0:y1, x0:x1] = picture[y0:y1, x0:x1] * (1 - opacity) + cutout[part] * opacity


def _read_cutout(
    path: Path, *, size: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4:
        raise ConfigError("an occluder needs an alpha channel", where=str(path))
    width, height = (max(int(n * size), 2) for n in image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    colour = np.ascontiguousarray(image[..., 2::-1]).astype(np.float32)
    return colour, image[..., 3].astype(np.float32) / 255


def _read_background(path: Path, rng: np.random.Generator, *, side: int) -> Picture:
    image = _read(path, cv2.IMREAD_COLOR)[..., ::-1]
    height, width = image.shape[:2]
    zoom = rng.uniform(1.2, 1.5) * max(side / width, side / height)
    angle, radius = rng.uniform(-np.pi, np.pi), np.sqrt(rng.random()) * 0.1 * side
    shift = radius * np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = (side - 1) / 2 + shift - zoom * middle
    matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    return np.asarray(
        cv2.warpAffine(
            np.ascontiguousarray(image), matrix, (side, side), borderMode=cv2.BORDER_REFLECT
        ),
        dtype=np.uint8,
    )


def _read(path: Path, flags: int) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ConfigError("this picture cannot be read", where=str(path))
    return np.asarray(image, dtype=np.uint8)
