"""What the pages show works: each page is followed from top to bottom in a project of its own."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import cli
from tests.docs.pages import PAGES, Block, arguments_of_cli, blocks

# Commands that take a moment; of all others test_links.py checks that they exist.
CHEAP = ("prepare", "inspect", "verify", "cache", "view")
# Pages whose commands are run. On the others they name files that only their readers have.
FOLLOWED = (
    "docs/getting_started.md",
    "docs/resuming.md",
    "docs/verifying.md",
    "docs/caching.md",
    "docs/reading_stores.md",
)
# Modules that are tried where they are installed; TensorFlow takes its time.
OPTIONAL = ("torch", "jax", "tensorflow")


def python_blocks() -> Iterator[Block]:
    for page in PAGES:
        yield from (block for block in blocks(page) if block.language == "python")


def needed(block: Block) -> list[str]:
    """Which of the optional modules a block imports."""
    tree = ast.parse(block.text)
    names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    return [name for name in OPTIONAL if name in {n.partition(".")[0] for n in names}]


def run_command(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, f"{arguments}: {result.output}"


def run_python(block: Block) -> dict[str, Any]:
    # Blank lines before it make line numbers those of the page.
    code = compile("\n" * block.line + block.text, block.page, "exec")
    names: dict[str, Any] = {"__name__": "page"}
    exec(code, names)
    return names


@pytest.mark.parametrize("page", FOLLOWED)
def test_following_a_page_works(page: str, project: Path) -> None:
    if page != "docs/getting_started.md":
        run_command(["prepare", "mads"])
    for block in blocks(page):
        if block.language == "python" and not needed(block):
            run_python(block)
        for words in block.commands if block.language == "console" else []:
            arguments = arguments_of_cli(words)
            if arguments and arguments[0] in CHEAP:
                run_command(arguments)


OWN_TESTS = {
    "docs/adding_a_dataset.md": "tests/docs/test_adding_a_dataset.py",
    "docs/using_the_model.md": "tests/stages/train/test_export.py",  # needs a trained model
}


def in_need() -> Iterator[Any]:
    for block in python_blocks():
        modules = needed(block)
        if modules and block.page not in OWN_TESTS:
            marks = [pytest.mark.long] if "tensorflow" in modules else []
            yield pytest.param(block, modules, id=f"{block}-{'-'.join(modules)}", marks=marks)


@pytest.mark.parametrize(("block", "modules"), list(in_need()))
def test_a_block_for_another_library_works(block: Block, modules: list[str], project: Path) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    run_command(["prepare", "mads"])
    run_python(block)


def test_no_python_block_is_left_out() -> None:
    for block in python_blocks():
        compile(block.text, str(block), "exec")
        is_run = block.page in FOLLOWED or needed(block) or block.page in OWN_TESTS
        assert is_run, f"{block} is not run by any test"
