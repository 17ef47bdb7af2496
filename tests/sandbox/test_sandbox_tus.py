"""The upload host: offsets, limits, termination; with other names, sizes, offsets and orders than the recorded ones."""

from __future__ import annotations

import base64
import os
import random
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_http import PATCH, TUS, Client, call, head, new_upload, patch, settle, upload

from airflow_provider_workbench.sandbox import Sandbox


@given(
    content=st.binary(min_size=1, max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_bytes_arrive_whatever_the_split(running_sandbox: Sandbox, content: bytes, cuts: list[int], data) -> None:
    running_sandbox.reset()
    step = running_sandbox.step
    url = new_upload(step, len(content))
    points = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    for start, end in pairwise(points):
        wrong = data.draw(st.integers(0, 4000).filter(lambda offset, start=start: offset != start))
        answer = patch(url, wrong, content[wrong : wrong + 5])
        assert (answer.status, answer.text) == (409, "mismatched offset\n")
        assert "upload-offset" not in answer.headers
        assert head(url).headers["upload-offset"] == str(start)
        assert step.files == []
        answer = patch(url, start, content[start:end])
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(end))
        if end == len(content):
            break
    assert [(file.size, step.content(file.uuid)) for file in step.files] == [(len(content), content)]
    for _ in range(2):  # the hook is not called again
        assert patch(url, len(content), b"").status == 204
    assert len(step.files) == 1


@given(size=st.integers(1, 2000), first=st.integers(0, 2000), extra=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_too_many_bytes_are_refused_with_a_length_and_cut_off_without(
    running_sandbox: Sandbox, size: int, first: int, extra: int
) -> None:
    running_sandbox.reset()
    content = random.Random(size).randbytes(size)
    first = min(first, size - 1)
    url = new_upload(running_sandbox.step, size)
    if first:
        assert patch(url, 0, content[:first]).status == 204
    answer = patch(url, first, content[first:] + b"x" * extra)
    assert (answer.status, answer.text) == (413, "resource's size exceeded\n")
    assert head(url).headers["upload-offset"] == str(first)
    with Client(url) as client:
        headers = {**PATCH, "Upload-Offset": str(first), "Transfer-Encoding": "chunked"}
        answer = client.send("PATCH", urlsplit(url).path, headers, chunks=[content[first:] + b"x" * extra])
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(size))
    assert running_sandbox.step.content(running_sandbox.step.files[0].uuid) == content


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_files_follow_the_order_in_which_uploads_finish(running_sandbox: Sandbox, order: list[int]) -> None:
    running_sandbox.reset()
    step = running_sandbox.step
    urls = [new_upload(step, 6, f"{number}.csv") for number in range(4)]
    for url in urls:
        patch(url, 0, b"A\n")
    for number in order:
        assert patch(urls[number], 2, b"1234").status == 204
    assert [file.name for file in step.files] == [f"{number}.csv" for number in reversed(order)]
    assert step.selected == step.files[0]
    assert [file.created_at for file in step.files] == sorted((file.created_at for file in step.files), reverse=True)


def test_the_31st_file_drops_the_oldest(wb: Sandbox) -> None:
    for number in range(31):
        upload(wb.step, b"A\n1", f"{number}.csv")
    assert [file.name for file in wb.step.files] == [f"{number}.csv" for number in range(30, 0, -1)]
    assert len(list((wb.workbench.directory / "files").iterdir())) == 30


def test_a_step_drops_its_oldest_files_beyond_its_bytes(wb: Sandbox) -> None:
    assert (wb.step_file_limit, wb.step_byte_limit) == (30, 2 * 1024**3)
    wb.step_byte_limit = 100
    for number, size in enumerate((60, 30, 20, 95)):
        upload(wb.step, b"x" * size, f"{number}.txt")
        kept = {0: ["0.txt"], 1: ["1.txt", "0.txt"], 2: ["2.txt", "1.txt"], 3: ["3.txt"]}[number]
        assert [file.name for file in wb.step.files] == kept
    upload(wb.step, b"x" * 200, "larger than all.txt")
    assert [file.name for file in wb.step.files] == ["larger than all.txt"]


def test_the_same_file_twice_is_two_files(wb: Sandbox) -> None:
    upload(wb.step, b"A\n1")
    upload(wb.step, b"A\n1")
    first, second = wb.step.files
    assert first.uuid != second.uuid
    assert (first.name, first.size) == (second.name, second.size)


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"Tus-Resumable": "2.0.0"}, 412, "unsupported version"),
        ({"Content-Type": "text/csv"}, 400, "missing or invalid Content-Type header"),
        ({"Upload-Offset": "1.5"}, 400, "missing or invalid Upload-Offset header"),
        ({"Upload-Offset": ""}, 400, "missing or invalid Upload-Offset header"),
        ({"Upload-Length": "9"}, 400, "missing or invalid Upload-Length header"),
    ],
)
def test_bad_headers_are_refused_and_change_nothing(
    wb: Sandbox, headers: dict[str, str], status: int, text: str
) -> None:
    url = new_upload(wb.step, 9)
    answer = call("PATCH", url, {**PATCH, "Upload-Offset": "0", **headers}, b"123456789")
    assert (answer.status, answer.text) == (status, text + "\n")
    assert head(url).headers["upload-offset"] == "0"
    assert wb.step.files == []


def test_upload_metadata_carries_the_token(wb: Sandbox) -> None:
    metadata = head(new_upload(wb.step, 9, "größe,1.csv")).headers["upload-metadata"]
    pairs = dict(pair.split(" ") for pair in metadata.split(","))
    values = {key: base64.b64decode(value).decode() for key, value in pairs.items()}
    expected = {"workflowId": "1", "stepSlug": "step-upload", "apiToken": wb.step.api_token, "filename": "größe,1.csv"}
    assert values == expected


@pytest.mark.parametrize("written", ["%2B", "%2b", "+"])
def test_the_plus_may_be_quoted(wb: Sandbox, written: str) -> None:
    url = new_upload(wb.step, 3).replace("+", written)
    assert patch(url, 0, b"A\n1").status == 204
    assert head(url).headers["upload-offset"] == "3"
    assert head(url + "/").status == 404


def test_post_with_method_override_patches_deletes_and_asks(wb: Sandbox) -> None:
    url = new_upload(wb.step, 3)
    override = {**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert call("POST", url, override, b"A\n1").status == 204
    assert call("POST", url, {**TUS, "X-HTTP-Method-Override": "HEAD"}).headers["upload-offset"] == "3"
    assert call("POST", url, {**TUS, "X-HTTP-Method-Override": "DELETE"}).status == 204
    assert head(url).status == 404


def test_termination_frees_the_bytes_but_not_the_file(wb: Sandbox) -> None:
    unfinished = new_upload(wb.step, 9)
    patch(unfinished, 0, b"1234")
    stored = wb.workbench.directory / "uploads"
    assert len(list(stored.iterdir())) == 1
    assert call("DELETE", unfinished, TUS).status == 204
    assert list(stored.iterdir()) == []
    done = upload(wb.step, b"A\n1")
    assert call("DELETE", done, TUS).status == 204
    assert (head(unfinished).status, head(done).status) == (404, 404)
    assert wb.step.content(wb.step.files[0].uuid) == b"A\n1"


def test_get_tells_an_accepted_upload_from_others(wb: Sandbox) -> None:
    url = new_upload(wb.step, 6, 'a "b"\nc\\é\u202e.csv')
    assert call("GET", url).status == 204
    patch(url, 0, b"A\n")
    assert call("GET", url).text == "cannot stream non-finished upload\n"
    patch(url, 2, b"1234")
    answer = call("GET", url)
    assert (answer.status, answer.text) == (404, "upload not found\n")
    name = answer.headers["content-disposition"].encode("latin-1").decode()
    assert name == 'attachment;filename="a \\"b\\"\\nc\\\\é\\u202e.csv"'
    refused = new_upload(wb.step, 6)
    wb.step.reset_token()
    assert patch(refused, 0, b"A\n1234").status == 403
    assert call("GET", refused).body == b"A\n1234"


def test_forgotten_uploads_answer_404_and_files_stay(wb: Sandbox) -> None:
    upload(wb.step, b"A\n1")
    url = new_upload(wb.step, 9)
    patch(url, 0, b"1234")
    wb.forget_uploads()
    assert head(url).status == 404
    assert patch(url, 4, b"56789").status == 404
    assert len(wb.step.files) == 1


def test_a_browser_on_another_port_may_upload(wb: Sandbox) -> None:
    url = new_upload(wb.step, 3)
    origin = {"Origin": wb.frontend_url}
    preflight = call("OPTIONS", url, {**origin, "Access-Control-Request-Method": "PATCH"})
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    answer = call("PATCH", url, {**PATCH, **origin, "Upload-Offset": "0"}, b"A\n1")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, wb.frontend_url)
    assert "Upload-Offset" in answer.headers["access-control-expose-headers"]


def test_creation_on_the_upload_host(wb: Sandbox) -> None:
    pairs = {"filename": "made.csv", "stepSlug": wb.step.slug, "workflowId": "1", "apiToken": wb.step.api_token}
    metadata = ",".join(f"{key} {base64.b64encode(str(value).encode()).decode()}" for key, value in pairs.items())
    made = call("POST", f"{wb.upload_url}/files/", {**TUS, "Upload-Length": "5", "Upload-Metadata": metadata}, b"")
    assert made.status == 201
    assert patch(made.headers["location"], 0, b"A\n123").status == 204
    assert [wb.step.content(file.uuid) for file in wb.step.files] == [b"A\n123"]
    for more in ({"Upload-Defer-Length": "1"}, {"Upload-Concat": "partial"}, PATCH):
        assert call("POST", f"{wb.upload_url}/files/", {**TUS, "Upload-Length": "5", **more}, b"").status == 501
    assert call("POST", f"{wb.upload_url}/files/", TUS, b"").text == "missing or invalid Upload-Length header\n"
    assert call("PUT", f"{wb.upload_url}/files/", TUS, b"").headers["allow"] == "POST"


def test_an_early_answer_reads_a_small_body_and_closes_on_a_large_one(wb: Sandbox) -> None:
    url = new_upload(wb.step, 10_000_000)
    with Client(url) as client:
        for _ in range(2):  # the connection lives on
            headers = {**PATCH, "Upload-Offset": "7", "Content-Length": "200000"}
            assert client.send("PATCH", urlsplit(url).path, headers, b"x" * 200_000).status == 409
        headers = {**PATCH, "Upload-Offset": "7", "Content-Length": "9000000"}
        answer = client.send("PATCH", urlsplit(url).path, headers, b"x" * 300_000)
        assert (answer.status, answer.headers["connection"]) == (409, "close")
    settle(lambda: [request.body_bytes for request in wb.requests][1:3] == [200_000, 200_000])


def test_a_large_upload_streams_to_disk(wb: Sandbox) -> None:
    piece = os.urandom(1024 * 1024)
    url = new_upload(wb.step, 64 * len(piece), "large.bin")
    with Client(url, timeout=60) as client:
        length = {"Content-Length": str(64 * len(piece))}
        client.start("PATCH", urlsplit(url).path, {**PATCH, "Upload-Offset": "0", **length}.items())
        for _ in range(64):
            client.connection.send(piece)
        assert client.finish().status == 204
    path = wb.step.path(wb.step.files[0].uuid)
    with path.open("rb") as file:
        assert all(file.read(len(piece)) == piece for _ in range(64))
    assert wb.requests[-1].body_bytes == 64 * len(piece)
