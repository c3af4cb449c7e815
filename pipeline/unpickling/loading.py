"""Read a pickled data set with stand-ins for every class and nothing else."""

from __future__ import annotations

from pathlib import Path

from pipeline.unpickling.annotations import PickledDataset, dataset_from_pickle
from pipeline.unpickling.diagnosis import source_error
from pipeline.unpickling.source_file import map_source
from pipeline.unpickling.unpickler import Unreadable, unpickle


def load_annotations(path: Path) -> PickledDataset:
    """Read a pickled data set in this process.

    Nothing of the file is run. But a file made for it can still exhaust this process's memory or
    stack: `read_isolated` is for files that come from somewhere else.

    Raises:
        SourceError: the file is not a PosePile data set, or asks for anything beyond one.
    """
    data = map_source(path)
    try:
        unpickled = unpickle(data)
    except Unreadable as problem:
        raise source_error(path, data, problem) from problem
    return dataset_from_pickle(unpickled, path)
