"""Write the pages below docs/reference from the code: `python docs/make_reference.py`.

`--check` writes nothing and names the pages that are stale; tests/docs does the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click
import yaml

import cli
import errors
from cache.check import Finding
from cache.manifest import BlockRecord, FileRecord, Manifest, Rejection, SplitRecord
from cache.shards import ShardRecord
from pipeline.schema import Status
from stages.evaluate.settings import EvaluateSettings
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.report.settings import ReportSettings
from stages.sample.settings import SampleSettings
from stages.settings import PROJECT_ROOT
from stages.train.settings import TrainSettings
from stages.view.settings import ViewSettings

FOLDER = PROJECT_ROOT / "docs" / "reference"
MEANINGS_PATH = FOLDER / "setting_meanings.yaml"
NOTE = "<!-- Written by docs/make_reference.py from the code. Change that, not this. -->\n"

SECTIONS: Mapping[str, type] = {
    "sample": SampleSettings,
    "prepare": PrepareSettings,
    "view": ViewSettings,
    "report": ReportSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
}

STATUS_MEANINGS: Mapping[Status, str] = {
    Status.USABLE: "the example is used",
    Status.NO_VALID_POINT: "no point is annotated and finite",
    Status.UNREADABLE_CAMERA: "the camera is missing where one is needed, or makes no sense",
    Status.FISHEYE_CAMERA: "four lens coefficients: a fisheye model, which is not supported",
    Status.MISSING_IMAGE: "the picture is not where `image_path` says",
    Status.BROKEN_IMAGE: "the picture is empty, cut, too large, or neither JPEG nor PNG",
    Status.MALFORMED_ANNOTATION: "a field has a type, shape or value that it cannot have",
    Status.UNREADABLE_MASK: "the mask cannot be decoded, or is not a mask",
    Status.EXCLUDED: "named in `excludes.yaml`, with the reason",
    Status.MISSING: "never written: what a plain Zarr reader sees where a shard is gone",
}

FINDING_MEANINGS: Mapping[str, str] = {
    "manifest": "`manifest.json` is cut, altered, or its accounts do not balance",
    "metadata": "a `zarr.json` is not the one that the manifest names",
    "missing": "a file that the manifest names is not there or cannot be read",
    "foreign": "a file is there that the manifest does not name",
    "length": "a shard is longer or shorter than it was",
    "digest": "a shard is as long as it was, and not what it was",
    "chunk": "a chunk fails its checksum or cannot be decompressed",
    "accounting": "the rejected rows of the manifest are not those whose status says so",
    "invariant": "values contradict each other: not finite, out of range, a root that is not valid",
    "picture": "a picture or a mask does not decode",
}

CLI_INTRO = """\
# The command line

Exit codes: 0 done; {failed} the work failed; {usage} wrong usage; {interrupted} interrupted
(Ctrl-C); {terminated} terminated. Errors and progress go to standard error, results to standard
output. A DATASET is looked up in `params.yaml`; a path is taken as it is. `cli.py --debug COMMAND`
shows the traceback of an error.
"""

PARAMS_INTRO = """\
# The settings

`params.yaml` holds every setting, and DVC runs a stage again when one of its own changes. An
unknown name, a wrong type or an impossible value is an error that says where. Relative paths are
relative to the project. *Left out* is what a setting is when `params.yaml` does not name it: of the
training recipe, the published value. The values in `params.yaml` suit the sample data.

## datasets

Of each dataset, by its name:
"""

ERRORS_INTRO = """\
# Errors, statuses and findings

## Errors

```text
{drawing}
```

Each says what happened, where, the likely cause and what to do next, on a line each; `cli.py`
prints that and exits {failed}. From Python, catch the class:
"""

STATUS_INTRO = """\
## Statuses of examples

The column `status`, and `status_names` in the attributes of a store. Codes never change their
meaning. An example whose status is not 0 keeps its row; its other columns hold fill values.
"""

FINDINGS_INTRO = """\
## Findings of `verify`

Damage is a file that is not what was written; `verify --repair` mends it. The others are what was
written being wrong, which repairing cannot change.
"""

MANIFEST_INTRO = """\
# The manifest

`manifest.json` in the root of a store says what the store must consist of. It is written last, and
a reader trusts it, never absence: Zarr reads a deleted shard as fill values.

```json
{example}
```
"""


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "cli.md": NOTE + _cli_page(),
        "params.md": NOTE + _params_page(),
        "errors.md": NOTE + _errors_page(),
        "manifest.md": NOTE + _manifest_page(),
    }


def stale() -> list[str]:
    """Pages that are not what the code says."""
    return [
        name
        for name, text in pages().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]


# The command line


def _cli_page() -> str:
    intro = CLI_INTRO.format(
        failed=cli.EXIT_FAILED,
        usage=click.UsageError.exit_code,
        interrupted=cli.EXIT_INTERRUPTED,
        terminated=cli.EXIT_TERMINATED,
    )
    parts = [intro]
    group = click.Context(
        cli.cli, info_name="cli.py", terminal_width=96, **cli.cli.context_settings
    )
    for context in _contexts(group):
        title = context.command_path.removeprefix("cli.py ")
        parts.append(f"## {title}\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


def _contexts(group: click.Context) -> Iterator[click.Context]:
    """A context of every command, as it has when it is called."""
    assert isinstance(group.command, click.Group)
    for name, command in group.command.commands.items():
        context = click.Context(command, parent=group, info_name=name)
        if isinstance(command, click.Group):
            yield from _contexts(context)
        else:
            yield context


# The settings


def _params_page() -> str:
    files = [[f"`{n}`", m.rstrip(".")] for n, m in _documented(DatasetFiles).items()]
    parts = [PARAMS_INTRO, _table(["setting", "meaning"], files)]
    for section, cls in SECTIONS.items():
        parts += _section(section, cls)
    return "\n".join(parts)


def _section(name: str, cls: type) -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    plain = [f for f in dataclasses.fields(cls) if not dataclasses.is_dataclass(hints[f.name])]
    if plain:
        yield f"## {name}\n"
        rows = [[f"`{f.name}`", _default(f), _meaning(name, cls, f.name)] for f in plain]
        yield _table(["setting", "left out", "meaning"], rows)
    for field in dataclasses.fields(cls):
        if field not in plain:
            yield from _section(f"{name}.{field.name}", hints[field.name])


def _meaning(section: str, cls: type, name: str) -> str:
    path = f"{section}.{name}"
    meaning = _documented(cls).get(name) or _meanings().get(path) or _source_comments(cls).get(name)
    if meaning is None:
        raise SystemExit(f"{path} has no meaning: document it, or add it to {MEANINGS_PATH.name}")
    return meaning.rstrip(".")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return _shown(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return _shown(field.default_factory())
    return "required"


@functools.cache
def _meanings() -> Mapping[str, str]:
    nested = yaml.safe_load(MEANINGS_PATH.read_text(encoding="utf-8"))
    return {f"{s}.{name}": text for s, texts in nested.items() for name, text in texts.items()}


@functools.cache
def _documented(cls: type) -> dict[str, str]:
    """Meaning by name, from the `Attributes:` of a class's docstring."""
    _, _, listed = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\w)", "\n" + listed.rstrip()):
        names, colon, text = entry.strip().partition(": ")
        if colon:
            found |= {name: " ".join(text.split()) for name in names.split(", ")}
    return found


@functools.cache
def _source_comments(cls: type) -> dict[str, str]:
    """Meaning by name, from the comment beside a field or the lines of comment above it."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(cls).splitlines():
        text = line.strip()
        if text.startswith("# "):
            above.append(text[2:])
            continue
        match = re.match(r"(\w+): [^#]*(?:# (.*))?$", text)
        if match and (match[2] or above):
            found[match[1]] = match[2] or " ".join(above)
        above = []
    return found


def _shown(value: object) -> str:
    if isinstance(value, Path):
        inside = value.is_relative_to(PROJECT_ROOT)
        return f"`{value.relative_to(PROJECT_ROOT) if inside else value}`"
    if isinstance(value, Mapping) and len(value) > 4:
        return f"{len(value)} sources"
    if isinstance(value, Mapping):
        return f"`{json.dumps(dict(value))}`".replace('"', "")
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, bool) or value is None:
        return {True: "`true`", False: "`false`", None: "`null`"}[value]
    if isinstance(value, float):
        return f"`{value:.5g}`"
    return f"`{value}`" if value != "" else '`""`'


# Errors and statuses


def _errors_page() -> str:
    kinds = errors.PoseshardError.__subclasses__()
    drawing = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\nThe command")[0]
    named = re.findall(r"`(\w+)`", _documented(Finding)["problem"])
    classes = [[f"`{k.__name__}`", (k.__doc__ or "").strip().rstrip(".")] for k in kinds]
    statuses = [[str(int(s)), f"`{s.name.lower()}`", STATUS_MEANINGS[s]] for s in Status]
    findings = [
        [f"`{n}`", "yes" if Finding(n, "", "").is_damage else "no", FINDING_MEANINGS[n]]
        for n in named
    ]
    intro = ERRORS_INTRO.format(drawing=inspect.cleandoc(drawing), failed=cli.EXIT_FAILED)
    return "\n".join(
        [
            intro,
            _table(["class", "means"], classes),
            STATUS_INTRO,
            _table(["code", "name", "why"], statuses),
            FINDINGS_INTRO,
            _table(["problem", "damage", "what is wrong"], findings),
        ]
    )


# The manifest

MANIFEST_FIELDS = {
    "format": "what this file is; a reader refuses any other",
    "status_names": "name of every status code",
    "splits": "`train`, `valid` and `test`, always all three",
    "splits.*.accounting": "rows read = usable + rejected, by the name of the reason",
    "splits.*.rejected": "every row that is not usable, with the reason and its picture",
    "splits.*.blocks": "the blocks in order; together they are all rows of the split",
    "splits.*.blocks.rows": "first row, and the row after the last",
    "splits.*.blocks.key": "SHA-256 of everything that the block's bytes depend on",
    "splits.*.blocks.shards": (
        "by column: length in bytes, SHA-256, seal (16 digits of that of its end); `null` where "
        "all rows hold the fill value, so that there is no file"
    ),
    "metadata": "by path: length and SHA-256 of every `zarr.json`",
    "digest": "SHA-256 of this file without this field",
}


def _manifest_page() -> str:
    document = json.loads(_manifest_example().to_bytes())
    unknown = set(_json_paths(document)) ^ set(MANIFEST_FIELDS)
    if unknown:
        raise SystemExit(f"fields of the manifest without a meaning: {', '.join(unknown)}")
    fields = [[f"`{name}`", meaning] for name, meaning in MANIFEST_FIELDS.items()]
    intro = MANIFEST_INTRO.format(example=_short(json.dumps(document, indent=1)))
    return "\n".join([intro, _table(["field", "meaning"], fields)])


def _short(text: str) -> str:
    """The same JSON with short lists on one line."""
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)


def _manifest_example() -> Manifest:
    shards = {"coords3d": ShardRecord(5120, "1f" * 32, "8c" * 8), "distortion": None}
    rejection = Rejection(3, Status.MISSING_IMAGE, "agora_downscaled/0003.jpg", "no such file")
    train = SplitRecord(64, (BlockRecord(0, 64, "9a" * 32, shards),), (rejection,))
    empty = SplitRecord(0, (), ())
    names = {int(s): s.name.lower() for s in (Status.USABLE, Status.MISSING_IMAGE)}
    splits = {"train": train, "valid": empty, "test": empty}
    return Manifest(names, splits, {"zarr.json": FileRecord(1432, "47" * 32)})


def _json_paths(document: Mapping[str, Any]) -> Iterator[str]:
    yield from document
    for split in document["splits"].values():
        for name, value in split.items():
            yield f"splits.*.{name}"
            if name == "blocks" and value:
                yield from (f"splits.*.blocks.{key}" for key in value[0])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |\n" for r in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    if parser.parse_args().check:
        if stale():
            raise SystemExit(f"stale: {', '.join(stale())}; run python docs/make_reference.py")
        return
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
