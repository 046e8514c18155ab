"""Retries, pauses and errors of the InfluxDB client, against a server that answers what a test says."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from structlog.testing import capture_logs

from sinks.errors import SinkError, SinkStoppedError
from sinks.influx_api import InfluxApi, _retry_after
from sinks.influxdb import InfluxSink
from tests.sinks.frames import ENERGY, energy

TOKEN = "very-secret-token"
MESSAGE = '{"code":"invalid","message":"the server says why"}'


@dataclass
class Script:
    """What the server answers, one entry a request, after that 204; and what it was asked."""

    answers: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    asked: list[tuple[float, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def script() -> Iterator[Script]:
    scripted = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            scripted.asked.append((time.monotonic(), self.path, dict(self.headers), body))
            status, headers, text = scripted.answers.pop(0) if scripted.answers else (204, {}, "")
            if status == 0:  # hang up
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield scripted
    server.shutdown()
    thread.join()
    server.server_close()


def client(url: str, **options: Any) -> InfluxApi:
    quick: dict[str, Any] = {"retry_initial_seconds": 0.01, "retry_max_seconds": 0.05}
    return InfluxApi(url, "my org", "my bucket", TOKEN, **(quick | options))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_a_write_is_gzipped_and_names_its_target(script: Script) -> None:
    api = client(script.url)
    api.write("line_loss", b"line_loss f=1 5\nline_loss f=2 6")
    api.close()
    ((_, path, headers, body),) = script.asked
    assert path == "/api/v2/write?org=my+org&bucket=my+bucket&precision=us" or "my%20org" in path
    assert headers["Authorization"] == f"Token {TOKEN}"
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"line_loss f=1 5\nline_loss f=2 6"


def test_a_path_in_the_url_is_kept(script: Script) -> None:
    api = client(script.url + "/influx/")
    api.write("m", b"m f=1 1")
    api.close()
    assert script.asked[0][1].startswith("/influx/api/v2/write?")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 0])
def test_what_may_pass_is_tried_again(script: Script, status: int) -> None:
    script.answers = [(status, {}, MESSAGE)] * 3
    api = client(script.url)
    with capture_logs() as logs:
        api.write("line_loss", b"x")
    api.close()
    assert [gzip.decompress(body) for *_, body in script.asked] == [b"x"] * 4
    away, back = logs  # three quick failures are one outage: said once, and its end
    assert (away["log_level"], away["measurement"], away["failures"]) == ("warning", "line_loss", 1)
    assert (back["log_level"], back["failures"]) == ("info", 3)
    if status:
        assert away["cause"] == f"{status} the server says why"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_an_error_that_names_measurement_and_reason(script: Script, status: int) -> None:
    script.answers = [(status, {}, MESSAGE)]
    api = client(script.url)
    with pytest.raises(SinkError) as caught:
        api.write("line_loss", b"x")
    api.close()
    assert str(caught.value) == f"InfluxDB {script.url}, line_loss: {status} the server says why"
    assert len(script.asked) == 1


@pytest.mark.parametrize("status", [403, 503])
def test_the_token_is_in_no_error_and_no_log(script: Script, status: int) -> None:
    script.answers = [(status, {}, f"token {TOKEN} may not write")]
    api = client(script.url.replace("//", "//user:password@"), should_stop=lambda: True, stop_grace_seconds=0)
    with capture_logs() as logs, pytest.raises(SinkError) as caught:
        api.write("line_loss", b"x")
    api.close()
    shown = repr(logs) + str(caught.value)
    assert "token *** may not write" in shown
    assert TOKEN not in shown
    assert "password" not in shown


def test_a_pause_that_the_server_asks_for_is_kept(script: Script) -> None:
    script.answers = [(429, {"Retry-After": "1"}, MESSAGE)]
    api = client(script.url)
    api.write("line_loss", b"x")
    api.close()
    (first, *_), (second, *_) = script.asked
    assert 1.0 <= second - first < 3.0


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert _retry_after("7") == 7.0
    assert 25 < _retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)) <= 30
    assert _retry_after(format_datetime(datetime.now(UTC) - timedelta(seconds=30), usegmt=True)) == 0.0
    assert [_retry_after(odd) for odd in ("", "soon", "-5", "nan")] == [0.0] * 4
    assert _retry_after("1e9") == 3600.0


def test_pauses_grow_with_jitter_up_to_the_longest(script: Script) -> None:
    script.answers = [(503, {}, "")] * 7
    api = client(script.url, retry_initial_seconds=0.04, retry_max_seconds=0.2)
    api.write("line_loss", b"x")
    api.close()
    moments = [moment for moment, *_ in script.asked]
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    for pause, least in zip(pauses, [0.02, 0.04, 0.08, 0.1, 0.1, 0.1, 0.1], strict=True):
        assert least <= pause < 2 * least + 0.5


def test_while_nobody_answers_it_waits_and_says_so() -> None:
    port = free_port()
    started = time.monotonic()
    api = client(
        f"http://127.0.0.1:{port}",
        log_every_seconds=0.2,
        should_stop=lambda: time.monotonic() - started > 1.0,
        stop_grace_seconds=0,
    )
    with capture_logs() as logs, pytest.raises(SinkStoppedError, match=f"127.0.0.1:{port}, line_loss"):
        api.write("line_loss", b"x")
    api.close()
    assert 3 <= len(logs) <= 7
    assert all("ConnectError" in entry["cause"] for entry in logs)
    assert logs[-1]["seconds"] > 0.5


def test_a_stop_leaves_a_grace_in_which_the_server_may_come_back(script: Script) -> None:
    script.answers = [(503, {}, "")] * 5
    api = client(script.url, should_stop=lambda: True, stop_grace_seconds=30)
    api.write("line_loss", b"x")
    api.close()
    assert len(script.asked) == 6


def test_a_server_that_is_too_slow_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        api = client(
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            timeout_seconds=0.1,
            should_stop=lambda: time.monotonic() - started > 0.5,
            stop_grace_seconds=0,
        )
        with capture_logs() as logs, pytest.raises(SinkStoppedError):
            api.write("line_loss", b"x")
        api.close()
        assert "ReadTimeout" in logs[0]["cause"]


@pytest.mark.parametrize("url", ["localhost:8086", "ftp://host", "", "http://"])
def test_an_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        InfluxApi(url, "o", "b", None)


def test_rows_go_in_requests_of_batch_lines_and_all_of_them_at_the_snapshot(script: Script) -> None:
    part = InfluxSink(lambda: client(script.url), ENERGY, batch_lines=100).build_part("out", "0", None)
    frame = energy((f"m{number}", 0, 1) for number in range(450))
    for piece in frame.iter_slices(90):
        part.write_batch([piece])
    assert len(script.asked) == 5  # of 450 rows, without waiting for the snapshot
    part.write_batch([frame.head(3)])
    assert len(script.asked) == 5
    part.snapshot()
    assert len(script.asked) == 6
    part.close()
    lines = [gzip.decompress(body).decode().split("\n") for *_, body in script.asked]
    assert [len(each) for each in lines] == [100, 100, 100, 100, 50, 3]
    assert len({line for each in lines for line in each}) == 450


def test_of_gathered_rows_only_the_highest_revision_is_written(script: Script) -> None:
    part = InfluxSink(lambda: client(script.url), ENERGY).build_part("out", "0", None)
    part.write_batch([energy([("a", 0, 2)]), energy([("a", 0, 1), ("b", 0, 1)])])
    part.close()
    ((*_, body),) = script.asked
    revisions = sorted(
        part for line in gzip.decompress(body).decode().split("\n") for part in line.split(",") if "revision" in part
    )
    assert [revision.split()[0] for revision in revisions] == ["revision=1i", "revision=2i"]


def test_nothing_is_lost_when_a_write_fails_between_two_others(script: Script) -> None:
    part = InfluxSink(lambda: client(script.url), ENERGY, batch_lines=10).build_part("out", "0", None)
    script.answers = [(204, {}, ""), (503, {}, ""), (0, {}, ""), (429, {"Retry-After": "0"}, "")]
    part.write_batch([energy((f"m{number}", 0, 1) for number in range(25))])
    part.snapshot()
    part.close()
    bodies = [gzip.decompress(body) for *_, body in script.asked]
    assert len(bodies) == 6
    assert bodies[1] == bodies[2] == bodies[3] == bodies[4]
    assert len({line for body in bodies for line in body.split(b"\n")}) == 25
