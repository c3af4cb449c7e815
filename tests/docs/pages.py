"""The pages of the documentation, taken apart: code blocks, commands, links, names of files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its page, the line of its fence, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of every command line behind a `$`, without comments."""
        lines = [line for line in self.text.splitlines() if line.startswith("$ ")]
        return [shlex.split(line[2:], comments=True) for line in lines]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page in order."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for found in fence.finditer(PAGES[page]):
        line = PAGES[page].count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1], found[2])


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def in_backticks(page: str) -> list[str]:
    """Everything between single backticks, line breaks taken out."""
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose(page))]


def links(page: str) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: str) -> set[str]:
    """What a link may name behind `#`: the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def arguments_of_cli(words: list[str]) -> list[str] | None:
    """What follows `cli.py` in a command line; None if it is another command."""
    for place, word in enumerate(words[:2]):
        if Path(word).name == "cli.py":
            return words[place + 1 :]
    return None
