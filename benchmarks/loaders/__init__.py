"""The loaders that are compared: the same pictures, crops, decoding and warping.

A module for each package, with a generator function `batches` that hands out the pictures of so
many batches, each uint8 (N, S, S, 3), and stops its threads and processes when it is closed. They
are imported only where they are used: PyTorch and TensorFlow do not bear each other in one process.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.containers import CONTAINERS, Container

WORKERS = 2  # threads or processes that decode and warp
SEED = 1
SHUFFLED = 1_000  # examples in the shuffle buffer of those that cannot reach every example

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Task:
    """What a loader has to do.

    Attributes:
        stores: folder of the prepared stores.
        body: the canonical body.
        folder: where the containers of the peers are.
        preset: the settings, one of `crops.PRESETS`.
        n_batches: how many there are.
        batch_size, side: of the peers' batches and crops.
    """

    stores: Path
    body: Path
    folder: Path
    preset: str
    n_batches: int
    batch_size: int
    side: int

    @property
    def rows(self) -> Path:
        """For those who read our stores: dataset, row, back and flags of each example (npz)."""
        return self.folder / "rows.npz"


@dataclass(frozen=True, slots=True)
class Loader:
    """A row of the tables: a module of this package, with its settings.

    Attributes:
        container: of its examples, one of `CONTAINERS`; empty: it reads our stores.
    """

    module: str
    container: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it draws its examples and crops itself."""
        return self.module in ("limit", "poseshard")

    def batches(self, task: Task) -> Generator[Images]:
        """The pictures of the batches, in its own order."""
        module = importlib.import_module(f"benchmarks.loaders.{self.module}")
        places = [task.folder / self.container] if self.container else []
        batches: Generator[Images] = module.batches(task, *places, **self.options)
        return batches


LIMIT = "limit: decoding and warping alone"
OURS = "poseshard"
LOADERS: Mapping[str, Loader] = {
    LIMIT: Loader("limit"),
    OURS: Loader("poseshard"),
    "tf.data, TFRecord": Loader("tf_data", "TFRecord"),
    "Grain, ArrayRecord": Loader("grain_threads", "ArrayRecord"),
    "MosaicML Streaming, MDS": Loader("mosaicml_streaming", "MDS"),
    "WebDataset": Loader("web_dataset", "WebDataset"),
    "PyTorch, HDF5": Loader("torch_rows", "HDF5 lzf"),
    "PyTorch, Barecat": Loader("torch_rows", "Barecat"),
    "PyTorch, zarr-python with zarrs on our store": Loader(
        "torch_stores", options={"package": "zarr"}
    ),
    "PyTorch, TensorStore on our store": Loader("torch_stores", options={"package": "tensorstore"}),
}


def container_of(loader: Loader, *, batch_size: int) -> Container:
    """The container of a loader; WebDataset's has a shard a batch, so that all workers get some."""
    container = CONTAINERS[loader.container]
    if loader.container != "WebDataset":
        return container
    return dataclasses.replace(container, options={"examples_per_shard": batch_size})
