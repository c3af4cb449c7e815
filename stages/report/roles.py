"""Which joint of a skeleton plays which part of the body, by the names that PosePile gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TWINS = "hip kne ank toe hee foo sho elb wri eye ear".split()
_MIDDLES = "nose head neck pelv thor".split()
# The same place under another name.
_SYNONYMS = {"leyehf": "leye", "reyehf": "reye"}


@dataclass(frozen=True, slots=True)
class Body:
    """One complete set of named joints; a skeleton that unites two conventions has two.

    Attributes:
        suffix: what the names of this set end in, such as `_smplx`; empty for plain names.
        joints: index of each role that the set has: `lhip`, `rhip`, `nose`, ...
    """

    suffix: str
    joints: Mapping[str, int]

    def has(self, *roles: str) -> bool:
        """Whether every one of these roles has a joint."""
        return all(role in self.joints for role in roles)


def bodies_of(joint_names: Sequence[str]) -> tuple[Body, ...]:
    """The sets of joints among the names of a skeleton, told apart by their suffix.

    A set counts if it has both hips or both shoulders: without them nothing can be said of sides.
    """
    known = {*_MIDDLES, *(side + twin for side in "lr" for twin in _TWINS)}
    found: dict[str, dict[str, int]] = {}
    for index, name in enumerate(joint_names):
        base, underscore, rest = name.partition("_")
        role = base if base in known else _SYNONYMS.get(base)
        if role is not None:
            found.setdefault(underscore + rest, {}).setdefault(role, index)
    bodies = (Body(suffix, joints) for suffix, joints in found.items())
    return tuple(b for b in bodies if b.has("lhip", "rhip") or b.has("lsho", "rsho"))
