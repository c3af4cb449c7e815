"""`view --web`: examples of stores in Rerun's viewer, in the browser or as a file to take away.

One recording holds all stores, each below an entity of its own, so that they show side by side.
Only the selected rows are read, and the first example of each store is sent before all others.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import rerun as rr

from cache.reader import Split, Store
from errors import ConfigError
from pipeline.schema import Kind
from stages.view.examples import read_examples, skeleton_of
from stages.view.recording import APPLICATION, log_example, make_common_layout, make_layout
from stages.view.sheet import caption
from stages.view.surface import BodyMesh
from stages.view.viewer_process import web_viewer

_ROWS_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class ShownStore:
    """Examples of one store.

    Attributes:
        entity: what all of it is logged below; no two shown stores have the same.
        rows: of the split, in the order in which they are shown.
        body: what the surface points of a dense store lie on.
    """

    entity: str
    store: Store
    split: Split
    rows: Sequence[int]
    body: BodyMesh | None

    @property
    def kind(self) -> Kind:
        return Kind(self.store.attributes["kind"])


def save_recording(shown: Sequence[ShownStore], path: Path) -> None:
    """Write the examples as a Rerun recording, FILE.rrd.

    Raises:
        StoreError: a shard that is needed is missing, cut or altered.
        ConfigError: the file cannot be written.
    """
    recording = _recording(shown)
    try:
        recording.save(path, default_blueprint=_layout(shown))
    except (OSError, RuntimeError) as error:
        raise ConfigError("cannot save the recording", where=str(path), cause=str(error)) from error
    for _ in _logged(recording, shown):
        pass
    recording.flush()
    recording.disconnect()


def show_in_browser(
    shown: Sequence[ShownStore],
    *,
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
        recording = _recording(shown)
        recording.connect_grpc(viewer.recording, default_blueprint=_layout(shown))
        try:
            logged = _logged(recording, shown)
            next(logged)
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


def _recording(shown: Sequence[ShownStore]) -> rr.RecordingStream:
    name = "+".join(f"{one.entity}/{one.split.name}" for one in shown)
    return rr.RecordingStream(APPLICATION, recording_id=name, send_properties=False)


def _layout(shown: Sequence[ShownStore]) -> object:
    if len(shown) == 1:
        return make_layout(shown[0].entity, shown[0].kind)
    return make_common_layout({one.entity: one.kind for one in shown})


def _logged(recording: rr.RecordingStream, shown: Sequence[ShownStore]) -> Iterator[None]:
    """Log the first example of every store, yield, and log the others, some of each in turn."""
    parts = [_logged_store(recording, one) for one in shown]
    for _ in zip_longest(*parts):
        yield


def _logged_store(recording: rr.RecordingStream, shown: ShownStore) -> Iterator[None]:
    attributes = shown.store.attributes
    skeleton = skeleton_of(attributes)
    start = 0
    while start < len(shown.rows):
        rows = shown.rows[start : start + (_ROWS_AT_A_TIME if start else 1)]
        examples = read_examples(shown.split, rows, attributes=attributes, body=shown.body)
        intrinsics = shown.split.gather(rows, ["intrinsics"])["intrinsics"]
        for n, example in enumerate(examples):
            log_example(
                recording,
                shown.entity,
                example,
                number=start + n,
                intrinsics=intrinsics[n],
                skeleton=skeleton,
                caption=caption(example),
            )
        start += len(rows)
        yield
