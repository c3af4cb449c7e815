"""`cli.py prepare` on the world in a folder: python -m tests.promises.driver FOLDER EDITION STEP

With a STEP, the first call of that name through the seam says `waiting` and waits to be
interrupted. Neither the pickle nor params.yaml is read; see `World`.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import cli
from cache import syscalls as seam
from cache.blocks import BlockCache
from stages import settings as stages_settings
from stages.prepare import run as prepare_run
from tests.promises.world import Call, WatchedSyscalls, World


def main() -> None:
    folder, edition, step, *options = sys.argv[1:]
    world = World(Path(folder), int(edition))
    prepare_run.read_source = lambda *_: world.source()
    stages_settings.load_section = lambda *_: world.settings

    interrupted = threading.Event()
    cancel = BlockCache.cancel

    def cancelled(cache: BlockCache) -> None:
        cancel(cache)
        interrupted.set()

    BlockCache.cancel = cancelled

    def wait(call: Call) -> None:
        if call.name == step:
            seam.syscalls = seam.Syscalls()
            print("waiting", flush=True)
            if threading.current_thread() is threading.main_thread():
                signal.pause()
            interrupted.wait()

    seam.syscalls = WatchedSyscalls(before=wait)
    sys.argv[1:] = ["prepare", "small", "--annotations", str(world.folder / "small.pkl")]
    sys.argv += ["--images", str(world.images), "--store", str(world.store)]
    sys.argv += ["--cache", str(world.cache), *options]
    cli.main()


if __name__ == "__main__":
    main()
