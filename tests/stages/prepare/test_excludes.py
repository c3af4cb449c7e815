"""What is wrong in excludes.yaml is said with its line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import ConfigError
from stages.prepare.excludes import find_excluded, load_excludes
from stages.settings import PROJECT_ROOT

SOURCES = {"train": ["s1/a.jpg", "s1/b[1].jpg", "s2/c/a.jpg"], "valid": ["s1/a.jpg"], "test": []}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "excludes.yaml"


def found(path: Path, text: str) -> dict[str, list[int]]:
    path.write_text(text)
    excludes = load_excludes(path, "agora")
    excluded = find_excluded(excludes, SOURCES, dataset="agora")
    return {split: sorted(rows) for split, rows in excluded.items()}


def agora(*entries: str) -> str:
    return "agora:\n" + "".join(f"  - {entry}\n" for entry in entries)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{split: train, index: 2, reason: r}", {"train": [2]}),
        ("{source: s1/a.jpg, reason: r}", {"train": [0], "valid": [0]}),
        ("{split: valid, source: s1/a.jpg, reason: r}", {"valid": [0]}),
        ('{split: train, source: "s?/*a.jpg", reason: r}', {"train": [0, 2]}),
        ('{source: "s2/*", reason: r}', {"train": [2]}),
        ('{source: "s1/b[1].jpg", reason: r}', {"train": [1]}),
    ],
)
def test_an_entry_names_examples(path: Path, entry: str, expected: dict[str, list[int]]) -> None:
    assert found(path, agora(entry)) == expected


@pytest.mark.parametrize("text", ["", "# nothing\n", "agora:\n", "agora: []\ncoco:\n"])
def test_an_empty_list_excludes_nothing(path: Path, text: str) -> None:
    assert found(path, text) == {}


def test_no_file_excludes_nothing(path: Path) -> None:
    assert load_excludes(path, "agora") == load_excludes(None, "agora") == ()


def test_the_file_of_the_repository_is_one(path: Path) -> None:
    load_excludes(PROJECT_ROOT / "excludes.yaml", "agora")


@pytest.mark.parametrize(
    ("text", "complaint", "where"),
    [
        ("agora: [", "not YAML", "line 1"),
        ("agora:\n  - !!python/object:os.system {}\n", "not YAML", "line 2"),
        ("- {split: train, index: 1, reason: r}\n", "must map each dataset", ""),
        ("agora: []\nagora: []\n", "`agora` stands here twice", "line 2"),
        ("? [1]\n: 2\n", "this is no name", "line 1"),
        ("agoar: []\n", "no dataset `agoar`[^$]*did you mean `agora`", ""),
        ("agora: {split: train}\n", "entries of agora must be a list", ""),
        (agora("train"), "entry 1 is not a mapping", ""),
        (agora("{split: train, indx: 1, reason: r}"), "`indx`[^$]*did you mean `index`", "line 2"),
        (agora("{split: train, index: 1}"), "needs a reason", "line 2"),
        (agora("{split: train, index: 1, reason: ' '}"), "needs a reason", "line 2"),
        (agora("{split: train, reason: r}"), "either an `index` or a `source`", "line 2"),
        (agora("{index: 1, reason: r}"), "needs the `split`", "line 2"),
        (agora("{index: 1, split: train, source: a, reason: r}"), "either an `index`", "line 2"),
        (agora("{split: training, index: 1, reason: r}"), "no split `training`", "line 2"),
        (agora("{split: train, index: -1, reason: r}"), "row number from 0 on", "line 2"),
        (agora("{split: train, index: yes, reason: r}"), "row number from 0 on", "line 2"),
        (agora("{split: train, index: '1', reason: r}"), "row number from 0 on", "line 2"),
        (agora("{source: 3, reason: r}"), "path or a pattern", "line 2"),
        (agora("{split: train, index: 3, reason: r}"), r"no train\[3\][^$]*train 3", "line 2"),
        (agora("{split: test, index: 0, reason: r}"), r"no test\[0\]", "line 2"),
        (agora("{source: s1/A.jpg, reason: r}"), "no source 's1/A.jpg'[^$]*'s1/a.jpg'", "line 2"),
        (agora('{split: valid, source: "s2/*", reason: r}'), "no source", "line 2"),
        (
            agora("{split: train, index: 0, reason: r}", "{source: s1/a.jpg, reason: r}"),
            r"excluded twice: train\[0\]",
            "line 2 and [^ ]*, line 3",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    path: Path, text: str, complaint: str, where: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as raised:
        found(path, text)
    assert raised.value.where is not None and str(path) in raised.value.where
    assert raised.value.next_command
    raised.match(where)


def test_another_datasets_slip_is_found_too(path: Path) -> None:
    path.write_text("coco:\n  - {split: train, index: 1}\n")
    with pytest.raises(ConfigError, match="needs a reason"):
        load_excludes(path, "agora")
