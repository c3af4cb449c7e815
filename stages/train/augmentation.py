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
from pipeline.image_files import BrokenImageError, image_size
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
# Reduced flags for colours say BGR; the grey ones, asked for RGB, decode to RGB.
REDUCED_DECODING = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
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

    The four come in random order, in 0...1 and clipped before every change to HSV. Neighbours that
    both are linear in RGB, or both are changes in HSV, are done in one go.
    """
    brightness, contrast, hue, saturation = (rng.uniform(-1, 1, size=4) * strength).tolist()
    order = rng.permutation(4).tolist()
    hsv_first = min(order.index(2), order.index(3))
    hsv_last = max(order.index(2), order.index(3))
    before, between, after = (
        _linear_change(order[part], brightness * 0.125, 1 + 0.5 * contrast)
        for part in (slice(hsv_first), slice(hsv_first, hsv_last), slice(hsv_last, 4))
    )
    levels = np.arange(256, dtype=np.float32) / 255 * np.float32(before[0]) + np.float32(before[1])
    image = cv2.LUT(picture, np.clip(levels, 0, 1))
    turned, stretched = (hue * 72 % 360, 1.0), (0.0, 1 + 0.5 * saturation)
    if between == (1.0, 0.0):
        image = _change_hsv(image, hue_deg=turned[0], saturation=stretched[1])
    else:
        first, second = (turned, stretched) if order.index(2) == hsv_first else (stretched, turned)
        image = _change_hsv(image, hue_deg=first[0], saturation=first[1])
        image = np.clip(cv2.addWeighted(image, between[0], image, 0, between[1]), 0, 1)
        image = _change_hsv(image, hue_deg=second[0], saturation=second[1])
    # To bytes: rounded, and clipped by the type.
    changed = cv2.addWeighted(image, 255 * after[0], image, 0, 255 * after[1], dtype=cv2.CV_8U)
    return np.asarray(changed, dtype=np.uint8)


def _linear_change(which: Sequence[int], brightness: float, contrast: float) -> tuple[float, float]:
    """Factor and summand of those of the changes 0 (brightness) and 1 (contrast), in this order."""
    factor, summand = 1.0, 0.0
    for change in which:
        if change == 0:
            summand += brightness
        elif change == 1:
            factor, summand = factor * contrast, (summand - 0.5) * contrast + 0.5
    return factor, summand


def _change_hsv(
    rgb: npt.NDArray[np.float32], *, hue_deg: float, saturation: float
) -> npt.NDArray[np.float32]:
    """Turn the hue and multiply the saturation, which ends at 1."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    change = np.array([[1, 0, 0, hue_deg], [0, saturation, 0, 0], [0, 0, 1, 0]])
    hsv = cv2.transform(hsv, change)
    if saturation > 1:
        hsv = cv2.min(hsv, (720.0, 1.0, 1.0, 0.0))
    changed: npt.NDArray[np.float32] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # takes 360 and more
    return changed


def recompress(picture: Picture, *, quality: int) -> Picture:
    """The picture after a round through JPEG of this quality."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


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
    covered = picture.copy()
    for _ in range(int(rng.integers(1, 7))):
        size = rng.uniform(0.2, 1) * scale * side / 256
        centre = rng.uniform(0, side, size=2)
        if occluders:
            cutout, alpha = _read_cutout(occluders[int(rng.integers(len(occluders)))], size=size)
        else:
            cutout, alpha = _draw_cutout(rng, size=size)
        _blend(covered, cutout, alpha, centre=centre)
    return covered


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
    return _mix(picture, scene, mask)


def draw_texture(rng: np.random.Generator, *, side: int) -> Picture:
    """Smooth noise at several scales between two colours, with a few straight edges."""
    field = np.zeros((side, side), np.float32)
    for cells in (3, 7, 19):
        noise = rng.random((cells, cells), dtype=np.float32) / np.float32(np.sqrt(cells))
        field += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    levels = cv2.normalize(field, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    dark, light = rng.integers(0, 256, size=(2, 3))
    ramp = dark + np.linspace(0, 1, 256)[:, np.newaxis] * (light - dark)
    texture = cv2.LUT(cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB), ramp.astype(np.uint8)[np.newaxis])
    for _ in range(int(rng.integers(0, 4))):
        corners = rng.integers(-side // 2, side + side // 2, size=(4, 2)).astype(np.int32)
        colour = rng.integers(0, 256, size=3)
        cv2.fillConvexPoly(texture, cv2.convexHull(corners), colour.tolist(), lineType=cv2.LINE_AA)
    return np.asarray(texture, dtype=np.uint8)


def _mix(front: Picture, back: Picture, alpha: Picture) -> Picture:
    """`front` where alpha is 255, `back` where it is 0."""
    weight = alpha.astype(np.float32) * np.float32(1 / 255)
    return np.asarray(cv2.blendLinear(front, back, weight, 1 - weight), dtype=np.uint8)


def _draw_cutout(rng: np.random.Generator, *, size: float) -> tuple[Picture, Picture]:
    """A textured blob, box or bar of up to 200·size pixels, and its soft-edged alpha."""
    extent = max(int(200 * size), 4)
    texture = draw_texture(rng, side=extent)
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
    return texture, np.asarray(cv2.blur(alpha, (3, 3)), dtype=np.uint8)


def _blend(
    picture: Picture,
    cutout: Picture,
    alpha: Picture,
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
    picture[y0:y1, x0:x1] = _mix(cutout[part], picture[y0:y1, x0:x1], alpha[part])


def _read_cutout(path: Path, *, size: float) -> tuple[Picture, Picture]:
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4:
        raise ConfigError("an occluder needs an alpha channel", where=str(path))
    width, height = (max(int(n * size), 2) for n in image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., 2::-1]), np.ascontiguousarray(image[..., 3])


def _read_background(path: Path, rng: np.random.Generator, *, side: int) -> Picture:
    image = _read(path, REDUCED_DECODING[_reduction(path, side)])
    height, width = image.shape[:2]
    zoom = rng.uniform(1.2, 1.5) * max(side / width, side / height)
    angle, radius = rng.uniform(-np.pi, np.pi), np.sqrt(rng.random()) * 0.1 * side
    shift = radius * np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = (side - 1) / 2 + shift - zoom * middle
    matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    return np.asarray(
        cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT),
        dtype=np.uint8,
    )


def _reduction(path: Path, side: int) -> int:
    """How much smaller a background may be decoded and still be larger than the crop: 1, 2, 4, 8.

    Photographs are some thousand pixels wide; decoding one in full takes as long as ten crops.
    """
    try:
        shorter = min(image_size(path.read_bytes()))
    except (BrokenImageError, OSError):
        return 1  # of another format, or broken: the decoder will tell
    return max(factor for factor in REDUCED_DECODING if factor == 1 or shorter >= 2 * side * factor)


def _read(path: Path, flags: int) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ConfigError("this picture cannot be read", where=str(path))
    return np.asarray(image, dtype=np.uint8)
