"""`workbench-sandbox`, the Sandbox's life cycle, and the connections it offers."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from sandbox_http import PATCH, Client, call, upload

from airflow_provider_workbench.sandbox import Sandbox

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def command():
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_workbench.sandbox", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def printed(process: subprocess.Popen[str]) -> str:
    """What it prints until it runs."""
    lines: list[str] = []
    while not re.match(r"export .*='\{", line := process.stdout.readline()):
        assert line, process.stderr.read()
        lines.append(line)
    return "".join([*lines, line])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_a_connection_and_stops_on_a_signal(command, number: signal.Signals) -> None:
    process = command("--port", "0", "--upload-port", "0", "--token", "my-token")
    text = printed(process)
    url = re.search(r"Create-file URL +(\S+)", text)[1]
    assert re.search(r"API token +my-token\n", text)
    uri, connection = re.findall(r"^export AIRFLOW_CONN_WORKBENCH_DEFAULT='(.*)'$", text, re.MULTILINE)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.password) == ("workbench", "my-token")
    assert f"http://{parts.hostname}:{parts.port}{parts.path}" == url
    assert json.loads(connection) == {"conn_type": "workbench", "host": url, "password": "my-token", "extra": {}}
    assert call("GET", re.search(r"Page +(\S+)", text)[1]).status == 200
    bearer = {"Authorization": "Bearer my-token"}
    created = call("POST", url, bearer, b'{"filename": "f.csv", "size": 9}')
    assert created.status == 200
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out.strip(), err) == (0, "", "")
    with pytest.raises(ConnectionRefusedError):
        call("GET", url)


def test_a_taken_port_is_named_with_a_way_out(command, wb: Sandbox) -> None:
    process = command("--port", str(urlsplit(wb.frontend_url).port), "--upload-port", "0")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "--port" in err
    assert "Traceback" not in err


def test_an_upload_does_not_grow_the_server(command) -> None:
    process = command("--port", "0", "--upload-port", "0", "--token", "t")
    url = re.search(r"Create-file URL +(\S+)", printed(process))[1]
    size = 200 * 1024 * 1024
    created = call("POST", url, {"Authorization": "Bearer t"}, json.dumps({"filename": "f.bin", "size": size}).encode())
    target = created.json()["tusUploadUrl"]

    def peak() -> int:
        status = Path("/proc", str(process.pid), "status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    before = peak()
    piece = bytes(1024 * 1024)
    with Client(target, timeout=60) as client:
        headers = {**PATCH, "Upload-Offset": "0", "Content-Length": str(size)}
        client.start("PATCH", urlsplit(target).path, headers.items())
        for _ in range(size // len(piece)):
            client.connection.send(piece)
        assert client.finish().status == 204
    assert peak() - before < 30 * 1024


def test_stop_closes_everything_and_removes_the_files() -> None:
    threads = threading.active_count()
    wb = Sandbox().start()
    upload(wb.step, b"A\n1")
    wb.step.wait_until_rendered()
    directory = wb.workbench.directory
    assert (directory / "files").is_dir()
    idle = socket.create_connection(("127.0.0.1", urlsplit(wb.upload_url).port))
    wb.hook_delay = 60
    start = time.monotonic()
    wb.stop()
    assert time.monotonic() - start < 2
    assert not directory.exists()
    idle.settimeout(5)
    assert idle.recv(1) == b""
    idle.close()
    wb.stop()  # twice does no harm
    end = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_two_sandboxes_share_nothing() -> None:
    with Sandbox() as one, Sandbox(api_token="two") as two:
        assert one.step.api_token != two.step.api_token == "two"
        upload(one.step, b"A\n1")
        assert (len(one.step.files), len(two.step.files)) == (1, 0)
        assert two.requests == []


def test_a_taken_port_is_an_error_in_python_too(wb: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        Sandbox(frontend_port=urlsplit(wb.frontend_url).port).start()


def test_the_uri_carries_extras_percent_encoded(wb: Sandbox) -> None:
    wb.step.reset_token("a-_b")
    extras = {"secret_link": "http://h/w1/?a=b&c=d", "allow_http": True, "chunk_size": 5, "note": "ä b+c%"}
    parts = urlsplit(wb.step.connection_uri(**extras))
    assert unquote(parts.password) == "a-_b"
    assert (parts.hostname, parts.path) == ("127.0.0.1", "/api/v1/workflows/1/steps/step-upload/files")
    assert {key: value for key, [value] in parse_qs(parts.query).items()} == {
        "secret_link": "http://h/w1/?a=b&c=d",
        "allow_http": "true",
        "chunk_size": "5",
        "note": "ä b+c%",
    }
    connection = json.loads(wb.step.connection_json(**extras))
    assert connection["host"] == wb.step.create_file_url
    assert connection["extra"] == extras


def test_the_api_may_be_used_from_many_threads(wb: Sandbox) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            step = wb.add_workflow(f"Workflow {number}", public=True).add_step()
            for count in range(3):
                upload(step, f"A\n{count}\n".encode(), f"{number}-{count}.csv")
            step.wait_until_rendered()
            assert [file.name for file in step.files] == [f"{number}-{count}.csv" for count in (2, 1, 0)]
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert problems == []
    assert len(wb.requests) == 8 * 3 * 2
