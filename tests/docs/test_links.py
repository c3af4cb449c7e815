"""Every link leads somewhere, and every file, setting and command that a page names exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import cli
from docs.make_reference import SECTIONS
from stages.prepare.excludes import load_excludes
from stages.prepare.settings import DatasetFiles
from stages.settings import from_mapping, load_params
from tests.docs.pages import PAGES, ROOT, anchors, arguments_of_cli, blocks, in_backticks, links

SETTINGS = load_params()
PIPELINE = (ROOT / "dvc.yaml").read_text()
# What a run makes, or what readers have at home.
MADE = ("data/", "models/", "reports/", "/data/", "body_models/", ".venv/", ".venv")
FOLDERS = sorted(f"{p.name}/" for p in ROOT.iterdir() if p.is_dir() and p.name[0] != ".")
FILE_ENDING = re.compile(r"\.(py|md|yaml|toml|txt|in|png|jpg|css)$")
# Named without being a file of this project.
NOT_OURS = {"person.jpg", "agora.png", "agora.jpg", "h36m.png", "pipeline/datasets/h36m.py"}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    for text in in_backticks(page):
        words = text.split()
        for word in words if words and words[0] in ("python", "cli.py") else [text]:
            name = word.rstrip("/").partition(":")[0]
            if any(c in name for c in " <*{$") or name.startswith(MADE) or name in NOT_OURS:
                continue
            is_path = any(name.startswith(folder) for folder in FOLDERS)
            if is_path or FILE_ENDING.search(name):
                found = (ROOT / name).exists() or (ROOT / page).parent.joinpath(name).exists()
                found = found or f"/{name}" in PIPELINE or any(ROOT.glob(f"docs/**/{name}"))
                assert found, word


def test_every_file_in_a_diagram_exists() -> None:
    diagrams = [b.text for page in PAGES for b in blocks(page) if b.language == "mermaid"]
    named = [name for text in diagrams for name in re.findall(r'\|"([^"]+)"\|', text)]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def parse(arguments: list[str]) -> None:
    """Have click find the command and its options, without running it."""
    context = click.Context(cli.cli, info_name="cli.py", **cli.cli.context_settings)
    rest = [word for word in arguments if word != "--debug"]
    while isinstance(context.command, click.Group):
        name, found, rest = context.command.resolve_command(context, rest)
        assert found is not None
        context = click.Context(found, parent=context, info_name=name)
    context.command.make_parser(context).parse_args(list(rest))


def console_lines() -> list[tuple[str, list[str]]]:
    return [
        (f"{block}", words)
        for page in PAGES
        for block in blocks(page)
        if block.language == "console"
        for words in block.commands
    ]


def inline_commands() -> list[tuple[str, list[str]]]:
    found = [(page, text) for page in PAGES for text in in_backticks(page)]
    return [
        (page, shlex.split(text))
        for page, text in found
        if re.match(r"(\.venv/bin/)?(python )?cli\.py [a-z]", text) and "..." not in text
    ]


@pytest.mark.parametrize(("where", "words"), [*console_lines(), *inline_commands()])
def test_every_command_and_option_exists(where: str, words: list[str]) -> None:
    arguments = arguments_of_cli(words)
    if arguments is not None:
        parse(arguments)
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "dvc" or words[:2] == ["source", ".venv/bin/activate"]:
        pass
    elif "pip" in words:
        name, _, version = words[-1].partition("==")
        assert f"\n{name.partition('[')[0]}=={version}\n" in (ROOT / "requirements.txt").read_text()
    else:
        assert words[0] == "python" and (ROOT / words[1]).exists(), words


def test_every_block_is_of_a_language_that_is_checked() -> None:
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert languages <= {"console", "python", "yaml", "json", "text", "mermaid", ""}


def yaml_blocks() -> list[tuple[str, dict[str, object]]]:
    found = [block for page in PAGES for block in blocks(page) if block.language == "yaml"]
    return [(str(block), yaml.safe_load(block.text)) for block in found]


@pytest.mark.parametrize(("where", "document"), yaml_blocks())
def test_every_yaml_block_is_one_of_settings_or_excludes(
    where: str, document: dict[str, object], tmp_path: Path
) -> None:
    if document.keys() <= SETTINGS.keys():
        for section, values in document.items():
            check_settings(section, merged(SETTINGS[section], values))
        return
    path = tmp_path / "excludes.yaml"
    path.write_text(yaml.safe_dump(document))
    for dataset in document:
        load_excludes(path, dataset)


def check_settings(section: str, values: Any) -> None:
    """Read a section of params.yaml as its stage does."""
    if section != "datasets":
        from_mapping(SECTIONS[section], values, where=section)
        return
    for name, files in values.items():
        from_mapping(DatasetFiles, files, where=f"datasets.{name}")


def merged(old: object, new: object) -> object:
    """New settings over old ones, group by group."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
