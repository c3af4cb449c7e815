"""What `view` can be told by params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.settings import PROJECT_ROOT


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """The `view` section of params.yaml.

    Attributes:
        body: the rest-pose body whose surface points are coloured by their place on it; points of
            another body are coloured by vertex number.
        examples: how many are shown where nothing says which.
        picture_side: the longer side of a drawn picture, pixels.
        web_examples: how many are shown in the browser where nothing says which.
        web_at_most: more are refused there: the server holds their pixels in memory.
    """

    body: Path = PROJECT_ROOT / "data/sample/body.npz"
    examples: int = 6
    picture_side: int = 640
    web_examples: int = 64
    web_at_most: int = 1024

    def __post_init__(self) -> None:
        if not 1 <= self.examples <= 64:
            raise ValueError("examples must be 1 to 64")
        if not 1 <= self.web_examples <= self.web_at_most:
            raise ValueError("web_examples must be 1 to web_at_most")
        if not 64 <= self.picture_side <= 4096:
            raise ValueError("picture_side must be 64 to 4096")
