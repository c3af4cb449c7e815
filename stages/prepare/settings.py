"""What `prepare` can be told: where a dataset's files are, and how stores are cut."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cache.store_directory import aside_path
from errors import ConfigError
from pipeline.datasets import DATASETS
from stages.settings import PARAMS_PATH, from_mapping, load_params, load_section


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """The `prepare` section of params.yaml.

    Attributes:
        stores: folder of the stores, one `<dataset>.zarr` each.
        cache: folder of the built blocks.
        rows_per_block: rows that are built, cached, resumed and repaired as one unit, and thereby
            per shard file. More rows are fewer files and faster whole reads; an edit costs more.
        rows_per_chunk: rows that are read and checked as one, in all columns but `image`.
        lock_timeout_s: how long to wait for another `prepare` of the same dataset.
        excludes: the list of examples to leave out; it need not exist.
    """

    stores: Path
    cache: Path
    rows_per_block: int = 2048
    rows_per_chunk: int = 32
    lock_timeout_s: float = 3600.0
    excludes: Path | None = None

    def __post_init__(self) -> None:
        if self.rows_per_chunk < 1 or self.rows_per_block % self.rows_per_chunk:
            raise ValueError("rows_per_block must be a positive multiple of rows_per_chunk")


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """Where one dataset's source files are.

    Attributes:
        annotations: the pickle.
        images: the folder that `image_path` is relative to.
        pictures: the folder whose changes make DVC prepare again; only dvc.yaml reads it.
    """

    annotations: Path
    images: Path
    pictures: Path | None = None


def dataset_files(
    dataset: str,
    *,
    annotations: Path | None = None,
    images: Path | None = None,
    params: Path = PARAMS_PATH,
) -> DatasetFiles:
    """Files of a dataset: what the command line says, else what params.yaml says.

    Raises:
        ConfigError: neither says where the annotations are, or they are not there.
    """
    declared = load_params(params).get("datasets")
    if not isinstance(declared, Mapping):
        raise ConfigError("params.yaml has no section `datasets`", where=str(params))
    files = None
    if dataset in declared:
        files = from_mapping(DatasetFiles, declared[dataset], where=f"datasets.{dataset}")
    elif annotations is None:
        raise ConfigError(
            f"there is no dataset `{dataset}` in params.yaml",
            where=str(params),
            cause=_meant(dataset, declared),
            next_command=f"for a pickle of any dataset: cli.py prepare {dataset} "
            "--annotations FILE.pkl --images DIR",
        )
    if annotations is None:
        assert files is not None
        annotations = files.annotations
    elif annotations.is_dir() and dataset in DATASETS:
        annotations = annotations / DATASETS[dataset].file_name
    if images is None:
        # Pictures of a pickle given by hand are looked for beside it.
        images = files.images if files and files.annotations == annotations else annotations.parent
    return DatasetFiles(annotations, images)


def store_path(dataset_or_path: str, *, params: Path = PARAMS_PATH) -> Path:
    """The store of a dataset by name; anything that looks like a path is taken as it is.

    Raises:
        ConfigError: a name that neither params.yaml nor the folder of stores knows.
    """
    path = Path(dataset_or_path)
    if path.suffix == ".zarr" or len(path.parts) > 1 or path.is_dir():
        return path
    store = load_section(PrepareSettings, "prepare", path=params).stores / f"{dataset_or_path}.zarr"
    declared = load_params(params).get("datasets") or {}
    if dataset_or_path not in declared and not (store.exists() or aside_path(store).exists()):
        prepared = {found.stem for found in store.parent.glob("*.zarr")}
        raise ConfigError(
            f"there is neither a dataset nor a store `{dataset_or_path}`",
            where=f"{params}; {store.parent}",
            cause=_meant(dataset_or_path, [*declared, *sorted(prepared - declared.keys())]),
            next_command="give one of these names, or the path of a store",
        )
    return store


def _meant(name: str, known: Collection[str]) -> str:
    """The likely cause of a name that is not known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known)}"
