"""`--web` serves this machine only and talks to nobody else; `.rrd` files take the view away."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cache.reader import Split
from cli import cli
from pipeline.schema import Kind
from stages.view.viewer_process import LOOPBACK, web_viewer
from tests.stages.view.people import make_store

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("kind", [Kind.KP3D, Kind.KP2D, Kind.DENSE])
def test_a_recording_holds_every_selected_row(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    out, store = tmp_path / "people.rrd", make_store(tmp_path, kind=kind)
    result = CliRunner().invoke(cli, ["view", str(store), "--index", "0:6", "--save", str(out)])
    assert (result.exit_code, result.output) == (0, f"saved {out}\n")
    printed = content(out)
    for entity in ("camera/picture", "camera/joints", "camera/box", "numbers/valid_joints"):
        assert f"/people/{entity}" in printed
    assert ("/people/pose/joints" in printed) == (kind is Kind.KP3D)
    assert ("/people/camera/surface" in printed) == (kind is Kind.DENSE)


def content(recording: Path) -> str:
    binary = Path(sys.executable).with_name("rerun")
    done = subprocess.run(
        [binary, "rrd", "print", "-vv", recording], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_several_stores_are_one_recording_each_below_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    stores = [str(make_store(tmp_path / kind, kind=kind)) for kind in (Kind.KP3D, Kind.DENSE)]
    out = tmp_path / "both.rrd"
    result = CliRunner().invoke(cli, ["view", *stores, "--index", "0:2", "--save", str(out)])
    assert result.exit_code == 0, result.output
    printed = content(out)
    assert "/people/pose/joints" in printed
    assert "/people-2/camera/surface" in printed
    assert "/people/camera/surface" not in printed
    result = CliRunner().invoke(cli, ["view", *stores, "--save", str(tmp_path / "both.png")])
    assert result.exit_code == 1
    assert "a sheet shows one store" in result.output


@pytest.mark.parametrize("suffix", ["rrd", "png"])
def test_no_row_is_read_that_is_not_shown(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    read: set[int] = set()
    for name in ("gather", "blobs"):
        real = getattr(Split, name)

        def noted(split: Split, *arguments: Any, _name: str = name, _real: Any = real) -> Any:
            read.update(int(row) for row in arguments[0 if _name == "gather" else 1])
            return _real(split, *arguments)

        monkeypatch.setattr(Split, name, noted)
    monkeypatch.setattr(Split, "column", None)  # whole columns are not read at all
    out = tmp_path / f"two.{suffix}"
    store = make_store(tmp_path)
    result = CliRunner().invoke(cli, ["view", str(store), "--index", "1:3", "--save", str(out)])
    assert result.exit_code == 0, result.output
    assert read == {1, 2}


def test_the_page_is_served_to_this_machine_only_and_may_talk_to_it_only() -> None:
    with web_viewer() as viewer:
        page = urllib.parse.urlsplit(viewer.page)
        assert page.hostname == LOOPBACK
        assert page.port is not None
        recording_port = urllib.parse.urlsplit(viewer.recording.removeprefix("rerun+")).port
        status, policy = get(page.port, f"{LOOPBACK}:{page.port}")
        assert status == 200
        sources = {word for rule in policy.split(";") for word in rule.split()[1:]}
        assert {s for s in sources if "//" in s} == {f"http://{LOOPBACK}:{recording_port}"}
        assert "connect-src 'self'" in policy
        assert get(page.port, "evil.example")[0] == 403
        for port in (page.port, recording_port):
            assert listening_addresses(port) == {LOOPBACK}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((LOOPBACK, page.port), timeout=1)


def get(port: int, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
    try:
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Content-Security-Policy") or ""
    finally:
        connection.close()


def listening_addresses(port: int | None) -> set[str]:
    """From the kernel's table: local addresses of sockets that listen on the port."""
    tables = [table for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if table.is_file()]
    if not tables:
        pytest.skip("only Linux says who listens where")
    listening = "0A"
    found = set()
    for line in (line for table in tables for line in table.read_text().splitlines()[1:]):
        fields = line.split()
        address, number = fields[1].split(":")
        if int(number, 16) == port and fields[3] == listening:
            is_short = len(address) == 8
            found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if is_short else address)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "view", store, "--web"],
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(tmp_path)},
    )
    assert process.stderr is not None
    with process, process.stderr:
        address = process.stderr.readline().strip()
        assert address.startswith(f"http://{LOOPBACK}:"), address + process.stderr.read()
        process.stderr.readline()
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
    recording = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)["url"][0]
    port = urllib.parse.urlsplit(recording.removeprefix("rerun+")).port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((LOOPBACK, port or 0), timeout=1)
    assert not list(tmp_path.glob("poseshard-view-*"))


@pytest.mark.parametrize(
    "arguments", [["--web", "--augmented"], ["--web", "--save", "a.png"], ["--port", "70000"]]
)
def test_what_does_not_go_together_is_said(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert CliRunner().invoke(cli, ["view", "x.zarr", *arguments]).exit_code == 2
