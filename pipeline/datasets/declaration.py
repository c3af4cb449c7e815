"""What a dataset module declares."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schema import Kind
from pipeline.skeletons import Skeleton


@dataclass(frozen=True, slots=True)
class DatasetDeclaration:
    """One dataset as PosePile pickles it.

    Attributes:
        name: what it is called on the command line and in file names.
        paper: who published it, where and when.
        url: its home page.
        licence: what its users must know before they use it.
        file_name: of the pickle.
        kind: what it annotates at best; a pickle with less (no body parameters) is less.
        splits: those that the source fills.
        frame: the world's vertical axis and how its cameras are described.
        skeleton: the joints in the pickle's order.
        quirks: what surprises people, one sentence each.
    """

    name: str
    paper: str
    url: str
    licence: str
    file_name: str
    kind: Kind
    splits: tuple[str, ...]
    frame: str
    skeleton: Skeleton
    quirks: tuple[str, ...] = ()

    @property
    def dimensions(self) -> int:
        """3 where the pickle holds world coordinates, 2 where it holds pixels."""
        return 3 if self.kind in (Kind.KP3D, Kind.PARAM) else 2
