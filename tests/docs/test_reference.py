"""The reference says what the code says."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path

import pytest

from cache.layout import to_json
from docs import make_reference
from pipeline.datasets import DATASETS
from pipeline.schema import Kind, Widths, column_specs
from stages.settings import PROJECT_ROOT, load_params
from tests.docs.pages import PAGES, blocks

# Like no number that a row's shape has of itself.
LETTERS = {97: "P", 89: "J", 101: "L", 103: "S", 107: "M", 109: "B"}
WIDTHS = Widths(97, 89, 101, 103, 107, body_shape=109)


def test_generated_pages_are_up_to_date() -> None:
    assert make_reference.stale() == [], "run python docs/make_reference.py"


def test_every_meaning_is_that_of_a_setting_and_every_setting_of_params_is_known() -> None:
    listed = re.findall(
        r"^## ([\w.]+)|^\| `(\w+)`", PAGES["docs/reference/params.md"], re.MULTILINE
    )
    known, section = set(), ""
    for heading, name in listed:
        section = heading or section
        known |= {f"{section}.{name}"} if name else set()
    assert set(make_reference._meanings()) <= known
    params = {name: values for name, values in load_params().items() if name != "datasets"}
    assert set(leaves(params, known)) <= known


def leaves(values: dict[str, object], known: set[str], path: str = "") -> list[str]:
    """Names of settings, with those of the groups that they are in."""
    found = []
    for name, value in values.items():
        full = f"{path}.{name}".removeprefix(".")
        is_group = isinstance(value, dict) and full not in known
        found += leaves(value, known, full) if is_group else [full]
    return found


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table after a heading."""
    after = PAGES[page].partition(heading)[2]
    lines = re.search(r"(?:^\|.*\|\n)+", after, re.MULTILINE)
    assert lines is not None
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines[0].splitlines()]
    return rows[2:]


@pytest.mark.parametrize("kind", Kind)
def test_the_format_lists_every_column_with_its_type_and_shape(kind: Kind) -> None:
    documented: dict[str, tuple[str, str]] = {}
    for names, types, _ in table("docs/format.md", "# The store, column by column"):
        columns = re.findall(r"`(\w+)`", names)
        shapes = re.findall(r"\(N[^)]*\)", types)
        dtypes = re.sub(r"\([^)]*\)", "", types).replace(",", " ").split()
        for i, column in enumerate(columns):
            documented[column] = dtypes[min(i, len(dtypes) - 1)], shapes[min(i, len(shapes) - 1)]
    for column, spec in column_specs(kind, WIDTHS).items():
        sizes = ["N", *(LETTERS.get(size, str(size)) for size in spec.row_shape)]
        dtype, shape = documented[column]
        assert dtype == spec.dtype, column
        assert shape.strip("()").rstrip(",").split(", ") == sizes, column


def test_the_digest_of_a_manifest_is_what_the_page_says() -> None:
    (block,) = (b for b in blocks("docs/reference/manifest.md") if b.language == "json")
    document = json.loads(block.text)
    digest = document.pop("digest")
    assert digest == hashlib.sha256(to_json(document)).hexdigest()


def test_the_page_on_real_pickles_says_what_the_declarations_say() -> None:
    terms = dict(table("docs/real_pickles.md", "## Licences"))
    assert terms == {name: dataset.licence for name, dataset in DATASETS.items()}
    files, pictures, kinds, joints, splits = (
        dict(zip(DATASETS, row[1:], strict=True))
        for row in table("docs/real_pickles.md", "## The five datasets")[1:]
    )
    settings = load_params()["datasets"]
    for name, dataset in DATASETS.items():
        assert files[name] == f"`{dataset.file_name}`"
        assert pictures[name] == f"`{Path(settings[name]['pictures']).name}`"
        assert f"`{dataset.kind}`" in kinds[name]
        assert joints[name] == str(len(dataset.skeleton.joint_names))
        assert splits[name] == ", ".join(dataset.splits)


def test_every_figure_of_an_evaluation_is_explained() -> None:
    module = ast.parse((PROJECT_ROOT / "stages/evaluate/scores.py").read_text(encoding="utf-8"))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    returned = {
        key.value
        for function in functions
        if function.name in ("scores_3d", "scores_2d")
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    explained = {row[0].strip("`") for row in table("docs/training.md", "## What `evaluate`")}
    assert returned == explained
