"""`view --web`: selected examples in Rerun's viewer, in the browser or as a file to take away."""

from __future__ import annotations

import contextlib
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

import rerun as rr

from cache.reader import Split, Store
from errors import ConfigError
from pipeline.schema import Kind
from stages.view.examples import read_examples, skeleton_of
from stages.view.recording import APPLICATION, log_example, make_layout
from stages.view.sheet import caption
from stages.view.surface import BodyMesh
from stages.view.viewer_process import web_viewer

_ROWS_AT_A_TIME = 16


def save_recording(
    store: Store, split: Split, rows: Sequence[int], path: Path, *, body: BodyMesh | None
) -> None:
    """Write the examples as a Rerun recording, FILE.rrd.

    Raises:
        StoreError: a shard that is needed is missing, cut or altered.
        ConfigError: the file cannot be written.
    """
    recording = _recording(store, split)
    try:
        recording.save(path, default_blueprint=_layout(store))
    except (OSError, RuntimeError) as error:
        raise ConfigError("cannot save the recording", where=str(path), cause=str(error)) from error
    for _ in _logged(recording, store, split, rows, body):
        pass
    recording.flush()
    recording.disconnect()


def show_in_browser(
    store: Store,
    split: Split,
    rows: Sequence[int],
    *,
    body: BodyMesh | None,
    port: int,
    has_display: bool,
    stop: threading.Event | None = None,
) -> None:
    """Serve the examples on the loopback interface until interrupted; the first ones come first.

    Args:
        port: of the page; 0 takes a free one.
        has_display: open the page in the user's browser.
        stop: ends the serving; None: only Ctrl-C does.

    Raises:
        StoreError: a shard that is needed is missing, cut or altered.
        ConfigError: the viewer cannot be started.
    """
    # Ctrl-C is how one leaves, not a failure.
    with contextlib.suppress(KeyboardInterrupt), web_viewer(port=port) as viewer:
        recording = _recording(store, split)
        recording.connect_grpc(viewer.recording, default_blueprint=_layout(store))
        try:
            logged = _logged(recording, store, split, rows, body)
            next(logged, None)
            recording.flush()
            sys.stderr.write(f"{viewer.page}\n(this machine only; Ctrl-C ends it)\n")
            sys.stderr.flush()
            if has_display:
                webbrowser.open(viewer.page)
            for _ in logged:
                pass
            recording.flush()
            (stop or threading.Event()).wait()
        finally:
            recording.disconnect()  # before the viewer ends, or it would be waited for


def _recording(store: Store, split: Split) -> rr.RecordingStream:
    name = f"{store.attributes['dataset']}/{split.name}"
    return rr.RecordingStream(APPLICATION, recording_id=name, send_properties=False)


def _layout(store: Store) -> object:
    return make_layout(str(store.attributes["dataset"]), Kind(store.attributes["kind"]))


def _logged(
    recording: rr.RecordingStream,
    store: Store,
    split: Split,
    rows: Sequence[int],
    body: BodyMesh | None,
) -> Iterator[int]:
    """Log the rows, and yield each one's number; read a few at a time."""
    skeleton = skeleton_of(store.attributes)
    dataset = str(store.attributes["dataset"])
    start = 0
    while start < len(rows):
        part = rows[start : start + (_ROWS_AT_A_TIME if start else 1)]
        start += len(part)
        examples = read_examples(split, part, attributes=store.attributes, body=body)
        intrinsics = split.gather(part, ["intrinsics"])["intrinsics"]
        for n, example in enumerate(examples):
            log_example(
                recording,
                dataset,
                example,
                intrinsics=intrinsics[n],
                skeleton=skeleton,
                caption=caption(example),
            )
            yield example.row
