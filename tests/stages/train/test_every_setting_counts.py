"""No setting of training is read and then forgotten."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.settings import PROJECT_ROOT
from stages.train.settings import TrainSettings


def fields(cls: type) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        default = field.default_factory() if callable(field.default_factory) else field.default
        if dataclasses.is_dataclass(default):
            yield from fields(type(default))
        else:
            yield field.name


def attributes_read(path: Path) -> set[str]:
    """Names of attributes that a module takes of anything."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.fixture(scope="module")
def read() -> set[str]:
    folder = PROJECT_ROOT / "stages" / "train"
    modules = [path for path in folder.rglob("*.py") if path.name != "settings.py"]
    assert len(modules) > 20
    return set().union(*(attributes_read(path) for path in modules))


# Properties of the settings themselves stand for these.
THROUGH_PROPERTIES = {"ghost_bn": "ghost_parts", "training_steps": "required_training_steps"}


@pytest.mark.parametrize("name", sorted(set(fields(TrainSettings))))
def test_a_setting_is_looked_at_outside_of_settings(name: str, read: set[str]) -> None:
    assert THROUGH_PROPERTIES.get(name, name) in read
