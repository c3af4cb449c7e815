"""Rerun's web viewer on this machine only, without a word to the internet.

The viewer as shipped loads fonts and a script from elsewhere, asks for new releases and reports its
use. It therefore is reached through a small server of our own, on the loopback interface, that
adds a content security policy: the page may talk to this server and to the recording, to nobody
else. The viewer's own process has its usage reports switched off.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import importlib.util
import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from errors import ConfigError

LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S = 20.0
_PASSED_ON = ("content-type", "content-encoding", "content-length", "rerun-final-length")


@dataclass(frozen=True, slots=True)
class WebViewer:
    """A running viewer.

    Attributes:
        page: the address to open in a browser.
        recording: the address that recordings are sent to.
    """

    page: str
    recording: str


@contextlib.contextmanager
def web_viewer(*, port: int = 0, memory_limit: str = "2GiB") -> Iterator[WebViewer]:
    """Run the viewer until the block is left.

    Args:
        port: of the page; 0 takes a free one.
        memory_limit: what is kept for browsers that connect later.

    Raises:
        ConfigError: the port is taken, or the viewer does not start.
    """
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="poseshard-view-"))
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home}
        recording_port, assets_port = _free_port(), _free_port()
        binary = _binary()
        subprocess.run(
            [binary, "analytics", "disable"], env=environment, capture_output=True, check=False
        )
        log = stack.enter_context((Path(home) / "log").open("w+"))
        process = subprocess.Popen(
            [
                binary,
                "--serve-web",
                f"--bind={LOOPBACK}",
                f"--port={recording_port}",
                f"--web-viewer-port={assets_port}",
                f"--server-memory-limit={memory_limit}",
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours; the viewer ends after us
        )
        stack.callback(_end, process)
        for needed in (recording_port, assets_port):
            _wait_for(needed, process, Path(home) / "log")
        server = _page_server(port, assets_port=assets_port, recording_port=recording_port)
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        recording = f"rerun+http://{LOOPBACK}:{recording_port}/proxy"
        query = urllib.parse.urlencode({"url": recording})
        yield WebViewer(f"http://{LOOPBACK}:{server.server_port}/?{query}", recording)


def _page_server(
    port: int, *, assets_port: int, recording_port: int
) -> http.server.ThreadingHTTPServer:
    policy = (
        "default-src 'self' data: blob:; "
        "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
        f"connect-src 'self' http://{LOOPBACK}:{recording_port}"
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(with_body=True)

        def do_HEAD(self) -> None:
            self._pass_on(with_body=False)

        def _pass_on(self, *, with_body: bool) -> None:
            # Another site's page must not reach this server under a name of its own.
            if self.headers.get("Host") not in (
                f"{LOOPBACK}:{own_port()}",
                f"localhost:{own_port()}",
            ):
                self.send_error(403)
                return
            upstream = http.client.HTTPConnection(LOOPBACK, assets_port, timeout=30)
            try:
                upstream.request("GET", self.path)
                answer = upstream.getresponse()
                body = answer.read()
            except OSError:
                self.send_error(502)
                return
            finally:
                upstream.close()
            self.send_response(answer.status)
            for name in _PASSED_ON:
                value = answer.getheader(name)
                if value is not None and name != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            if with_body:
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    def own_port() -> int:
        return server.server_port

    try:
        server = http.server.ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise ConfigError(
            f"cannot serve on port {port}",
            cause=error.strerror or str(error),
            next_command="choose another --port, or leave it out to take a free one",
        ) from error
    server.daemon_threads = True
    return server


def _binary() -> str:
    """The viewer's program, without the wrapper that would outlive it."""
    spec = importlib.util.find_spec("rerun_cli")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in ("rerun", "rerun.exe"):
            if (Path(folder) / name).is_file():
                return str(Path(folder) / name)
    raise ConfigError(
        "Rerun's viewer is not installed",
        cause="the package rerun-sdk is missing or comes without its program",
        next_command="make setup",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.02)
    lines = log.read_text(errors="replace").splitlines() or ["(it said nothing)"]
    raise ConfigError("the viewer does not start", cause=lines[-1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
