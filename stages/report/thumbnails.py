"""The worst examples, drawn as the viewer draws them, as pictures that live inside the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import cv2

from cache.reader import Store
from stages.report.tally import Suspect
from stages.view.drawing import Picture
from stages.view.examples import read_examples, skeleton_of
from stages.view.picture import Style, draw_example
from stages.view.surface import BodyMesh

_QUALITY = 80


def draw_thumbnails(
    store: Store, suspects: Iterable[Suspect], *, side: int, body: BodyMesh | None = None
) -> dict[tuple[str, int], str]:
    """Each example once, by split and row, as a `data:` address.

    Args:
        side: longer side, pixels.
        body: colours surface points.

    Raises:
        StoreError: a shard that is needed is missing, cut or altered.
    """
    places = dict.fromkeys((suspect.split, suspect.row) for suspect in suspects)
    skeleton = skeleton_of(store.attributes)
    style = Style(max_side=side)
    found: dict[tuple[str, int], str] = {}
    for name, row in places:
        split = store.splits[name]
        example = read_examples(split, [row], attributes=store.attributes, body=body)[0]
        found[name, row] = to_address(draw_example(example, skeleton, style=style))
    return found


def to_address(picture: Picture) -> str:
    """A picture (H, W, 3), red first, as a JPEG in a `data:` address."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], settings)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
