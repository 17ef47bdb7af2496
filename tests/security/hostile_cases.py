"""What a hostile or broken server may answer, and what we say then: ``docs/hostile-servers.md`` shows these tables.

``python tests/security/hostile_cases.py`` writes them into the page anew.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from security.hostile_server import (
    BINARY,
    CONTENT,
    DRIP,
    IDENTITY,
    PING,
    STEP,
    TUS,
    HostileServer,
    Pieces,
    Speech,
    again,
    answer,
    change,
    complete,
    created,
    drip,
    frame,
    frame_head,
    page,
    raw,
    then,
    times,
    whole_step,
)

from airflow_provider_workbench.client import errors

MIB = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

UPLOADING = ("create-file", "PATCH", "HEAD", "page")
WAITING = ("page (aiohttp)", "websocket")
WITH_A_BODY = ("create-file", "PATCH", "page", "page (aiohttp)")
PAGES = ("page", "page (aiohttp)")

Kind = type[errors.WorkbenchError]


@dataclass(frozen=True)
class Case:
    """An answer, and what comes of it.

    :ivar given: the answer, in words
    :ivar words: the error's, with ``HOST`` for the server's name
    :ivar waiting: what the page and the websocket say by aiohttp, if it is something else
    :ivar on: where it is given
    """

    given: str
    speech: Speech
    error: Kind
    words: str
    waiting: tuple[Kind, str] | None = None
    on: tuple[str, ...] = UPLOADING + WAITING

    def says(self, transport: str) -> tuple[Kind, str]:
        return self.waiting if self.waiting and transport in WAITING else (self.error, self.words)


# ---- what is no answer of HTTP's, or does not end

LOST = errors.ConnectionLostError
UNEXPECTED = errors.UnexpectedAnswerError
UNREADABLE = (
    "The answer of HOST cannot be read: it is not HTTP, or its headers are too many, too long or contradictory. Look "
    "at the proxies on the way, and whether the Create-file URL is a Workbench's."
)
ENDLESS = (
    "HOST began an answer and did not end it in time: it comes too slowly, or never ends. If the network is that slow, "
    "set the extra stall_timeout higher."
)
CLOSED = "The connection to HOST was lost: it was closed without a complete answer."


def unreadable(given: str, *pieces: bytes, on: tuple[str, ...] = UPLOADING + WAITING, **more: Any) -> Case:
    return Case(given, raw(*pieces), LOST, UNREADABLE, on=on, **more)


WIRE = [
    Case("a head that drips: a byte now and then", drip(OK + b"X-Slow: "), LOST, ENDLESS),
    Case("a body that drips", drip(OK + b"Content-Length: 1000000\r\n\r\n"), LOST, ENDLESS, on=WITH_A_BODY),
    Case("chunks that drip", drip(CHUNKED, b"1\r\nx\r\n"), LOST, ENDLESS, on=WITH_A_BODY),
    Case("`100 Continue` without end", then(b"", again(b"HTTP/1.1 100 Continue\r\n\r\n")), LOST, ENDLESS),
    Case("`103 Early Hints` without end", then(b"", again(b"HTTP/1.1 103 Early Hints\r\n\r\n")), LOST, ENDLESS),
    Case(
        "trailers without end",
        then(CHUNKED + b"0\r\n" + b"X: y\r\n" * 200, again(b"X: y\r\n")),
        LOST,
        ENDLESS,
        waiting=(LOST, UNREADABLE),
        on=WITH_A_BODY,
    ),
    unreadable("a header of 1 MB", OK, b"X: ", *times(b"x", MIB), b"\r\n\r\n"),
    unreadable("10,000 headers", OK, *times(b"X: y\r\n", 10_000), b"\r\n"),
    Case("headers without end", then(OK, again(b"X: y\r\n")), LOST, UNREADABLE),
    unreadable("a status line of 1 MB", b"HTTP/1.1 200 ", *times(b"x", MIB), b"\r\n\r\n"),
    unreadable("two `Content-Length`s", OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello, you"),
    unreadable("HTTP/9.9", b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    unreadable("a status of 99999", b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n"),
    unreadable("garbage", bytes(range(256)) * 16),
    unreadable("HTTP/0.9: a body without a head", b"<html>hello</html>\r\n"),
    Case(
        "a chunk of -1 bytes, and then no end",
        then(CHUNKED + b"-1\r\n", again(b"x")),
        LOST,
        UNREADABLE,
        on=WITH_A_BODY,
    ),
    unreadable("a chunk of -5 bytes", CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", on=WITH_A_BODY),
    Case(
        "a chunk of `five` bytes",
        raw(CHUNKED + b"five\r\nhello\r\n0\r\n\r\n"),
        LOST,
        CLOSED,
        waiting=(LOST, UNREADABLE),
        on=WITH_A_BODY,
    ),
    unreadable(
        "a chunk's size, written in 1 MB",
        CHUNKED + b"5;",
        *times(b"x", MIB),
        b"\r\nhello\r\n",
        waiting=(LOST, CLOSED),
        on=WITH_A_BODY,
    ),
]

# ---- what is HTTP, and none of Workbench's

NO_URL = "The answer to create-file has no tusUploadUrl{}. Is the Create-file URL that of a Workbench?"
NO_PAGE = "HOST answered with a page that is no Workflow's{}. Look at the proxies on the way."
LONG_ANSWER = " (it has more than 256 KiB)"
LONG_PAGE = " (it has more than 8192 KiB)"
COMPRESSED = " (it is compressed, which was not asked for)"
ODD_STEP = "The Step's data is not as Workbench sends it ({})."

URL = "https://upload.example/files/x"
GOOD = json.dumps({"tusUploadUrl": URL}).encode()
STATE = b"<script>window.initState = "


def sized(count: int, piece: bytes, head: bytes = b"", tail: bytes = b"", *headers: str) -> Speech:
    """About so many bytes, made while they are sent, between a head and a tail."""
    length = len(head) + count // len(piece) * len(piece) + len(tail)

    def speech(_: HostileServer) -> Iterator[bytes]:
        yield "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {length}", *headers)).encode() + b"\r\n\r\n" + head
        yield from times(piece, count // len(piece))
        yield tail

    return speech


def create(given: str, speech: Speech, why: str = "") -> Case:
    return Case(given, speech, UNEXPECTED, NO_URL.format(why), on=("create-file",))


def at_page(given: str, speech: Speech, words: str = NO_PAGE.format("")) -> Case:
    return Case(given, speech, UNEXPECTED, words, on=PAGES)


def either(given: str, speech: Speech, why: str, page_why: str | None = None) -> list[Case]:
    page_why = why if page_why is None else page_why
    return [create(given, speech, why), at_page(given, speech, NO_PAGE.format(page_why))]


def step(**parts: Any) -> Speech:
    return answer("200 OK", page(json.dumps({"steps": {"1": {**STEP, **parts}}}).encode()))


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# of a hundred parts, which gzip allows: one part would take a second to make, whenever tests are collected
ZIPPED_ZEROS = gzip.compress(bytes(10**6)) * 100

SAYS_NO = {
    "error": {
        "code": "body-has-errors",
        "errors": {f"f{'abcdefghij'[i % 10] * i}": [{"code": "too-bad"}] * 90 for i in range(1, 50)},
    }
}

ANSWERS = [
    at_page(
        "a state of 8 MB, one text in wide characters", sized(8_000_000, b"x", STATE + '{"steps": "😀'.encode(), b'"}')
    ),
    *either("without end", then(OK + b"\r\n", again(b"x")), LONG_ANSWER, LONG_PAGE),
    *either("1 GB", sized(10**9, b"x"), LONG_ANSWER, LONG_PAGE),
    create("chunks of 100 bytes, without end", then(CHUNKED, again(b"64\r\n" + b"x" * 100 + b"\r\n")), LONG_ANSWER),
    # each is kept by itself for a moment
    Case("chunks of one byte, without end", then(CHUNKED, again(b"1\r\nx\r\n")), LOST, ENDLESS, on=PAGES),
    at_page("a state of 100 MB", sized(10**8, b"x", STATE + b'{"steps": "', b'"}'), NO_PAGE.format(LONG_PAGE)),
    at_page("a state of 8 MB of `[],[],`", sized(8_000_000, b"[],", STATE + b'{"steps": [', b"1]}")),
    at_page('a state of 8 MB of `{"":0},`', sized(8_000_000, b'{"":0},', STATE + b'{"steps": [', b"1]}")),
    *either("a gzip of 100 MB of zeros", answer("200 OK", ZIPPED_ZEROS, "Content-Encoding: gzip"), COMPRESSED),
    *either(
        "as it should be, but in gzip", answer("200 OK", gzip.compress(GOOD), "Content-Encoding: gzip"), COMPRESSED
    ),
    *either("… in deflate", answer("200 OK", zlib.compress(GOOD), "Content-Encoding: deflate"), COMPRESSED),
    *either("… in br", answer("200 OK", b"\x0b\x02\x80" + GOOD + b"\x03", "Content-Encoding: br"), COMPRESSED),
    Case(
        "`Content-Encoding: gzip`, twenty times",
        answer("200 OK", GOOD, f"Content-Encoding: {', '.join(['gzip'] * 20)}"),
        LOST,
        UNREADABLE,
        waiting=(UNEXPECTED, NO_PAGE.format(COMPRESSED)),
        on=WITH_A_BODY,
    ),
    *either("JSON, 100,000 deep", answer("200 OK", STATE + b"[" * 100_000), ""),
    create("objects, 15,000 deep", answer("200 OK", b'{"tusUploadUrl":' * 15_000)),
    create("a list", answer("200 OK", b"[" + GOOD + b"]")),
    create("`NaN` for the URL", answer("200 OK", b'{"tusUploadUrl": NaN}')),
    create("`true` for the URL", created(True)),
    create("an object for the URL", created({"url": URL})),
    create("a list with the URL", created([URL])),
    create("two URLs, the last one a number", answer("200 OK", GOOD[:-1] + b', "tusUploadUrl": 5}')),
    create("a URL of 1 MB", created(f"{URL}{'x' * MIB}"), LONG_ANSWER),
    create("UTF-16", answer("200 OK", GOOD.decode().encode("utf-16"))),
    Case(
        "a 201",
        answer("201 Created", GOOD),
        UNEXPECTED,
        "HOST answered 201 to create-file, and no Workbench does. Look at the proxies on the way.",
        on=("create-file",),
    ),
    Case(
        "a refusal with 49 fields of 90 faults each",
        answer("400 Bad Request", json.dumps(SAYS_NO).encode()),
        errors.BodyHasErrorsError,
        "Workbench does not take this File name or size. "
        + " ".join(f"f{letter * count}: too-bad, too-bad, too-bad, too-bad" for count, letter in enumerate("bcde", 1))
        + " [body-has-errors] Change what the codes name.",
        on=("create-file",),
    ),
    at_page("a Step with 2,000 Files", step(files=[{}] * 2_000), ODD_STEP.format("ValueError")),
    at_page("a File with a name of 1 MB", step(files=whole_step("n" * MIB)["files"]), ODD_STEP.format("ValueError")),
    at_page(
        "a File with a list for its uuid, 900 deep",
        step(files=[{**whole_step("a")["files"][0], "uuid": deep(900)}]),
        ODD_STEP.format("ValueError"),
    ),
]

# ---- redirects: nothing reaches the other server

NOT_FOLLOWED = (
    "HOST redirects create-file elsewhere ({}); this is not followed, because the API token goes to the Create-file "
    "URL's host only. Paste the Create-file URL as Workbench shows it now."
)
PAGE_NOT_FOLLOWED = (
    "HOST redirects the Workflow's page elsewhere ({}), which is not followed. Open the Workflow in a browser: if its "
    "address begins differently now, paste the Create-file URL as Workbench shows it there; if you are asked to log in "
    "first, the Step cannot be read from here."
)
NOTHING = " The Step has nothing of it; another try uploads it again."
PERHAPS = " All bytes may have arrived before, so the Step may or may not have the File; another try looks again."
UNCONFIRMED = (
    f"All bytes were sent, 4 times, and Workbench did not take the File: {CLOSED} The Step does not have it. Workbench "
    "is in trouble: another try may find it well again."
)
REFUSED_REDIRECTS = [
    ("create-file", errors.ConfigurationError, NOT_FOLLOWED),
    (
        "PATCH",
        errors.UploadInterruptedError,
        "HOST answered {} (a redirect, which is not followed) to the upload. "
        "No progress within 0 s (retry_budget)." + NOTHING,
    ),
    (
        "HEAD",
        errors.OutcomeUnknownError,
        "HOST answered {} (a redirect, which is not followed) when asked for the offset. "
        "No progress within 0 s (retry_budget)." + PERHAPS,
    ),
    ("GET", errors.UploadNotTakenError, UNCONFIRMED),
    ("page", errors.StepUnreadableError, PAGE_NOT_FOLLOWED),
    ("page (aiohttp)", errors.StepUnreadableError, PAGE_NOT_FOLLOWED),
    ("websocket", UNEXPECTED, "HOST answered {} to a websocket."),
]

# ---- while the bytes go up


@dataclass(frozen=True)
class UploadCase:
    """An upload of 4 bytes, of which the server keeps none.

    :ivar speeches: how it answers what, if not as Workbench
    :ivar asked: how often it was asked for what, at most
    """

    given: str
    speeches: dict[str, Speech]
    error: Kind
    words: str
    asked: dict[str, int] = field(default_factory=dict)
    budget: float = 20


TOO_OFTEN = " No progress within 0 s (retry_budget)." + NOTHING
WRONG_OFFSET = "HOST answered 204 without a right Upload-Offset to the upload." + TOO_OFTEN
NO_OFFSET = (
    "HOST answered 200 without a right Upload-Offset when asked for the offset. "
    "No progress within 0 s (retry_budget)." + PERHAPS
)
A_YEAR = "31536000"
FAR_OFF = "Fri, 31 Dec 9999 23:59:59 GMT"
BUSY = "HOST answered 503 to create-file. Workbench, or its upload server, is in trouble: try again later."
AT_END = answer("200 OK", b"", TUS, f"Upload-Offset: {len(CONTENT)}", f"Upload-Length: {len(CONTENT)}")


def offset_of_patch(value: str | None) -> UploadCase:
    headers = () if value is None else (f"Upload-Offset: {value}",)
    given = f"PATCH: 204 with `Upload-Offset: {value}`" if value is not None else "PATCH: 204 without `Upload-Offset`"
    return UploadCase(
        given.replace("9" * 30, "999… (30 digits)"),
        {"PATCH": answer("204 No Content", b"", TUS, *headers)},
        errors.UploadInterruptedError,
        WRONG_OFFSET,
        budget=0.3,
    )


def offset_of_head(value: str | None) -> UploadCase:
    headers = () if value is None else (f"Upload-Offset: {value}",)
    given = f"HEAD: `Upload-Offset: {value}`" if value is not None else "HEAD: no `Upload-Offset`"
    return UploadCase(
        given.replace("9" * 30, "999… (30 digits)"),
        {"PATCH": REFUSING, "HEAD": answer("200 OK", b"", TUS, *headers, f"Upload-Length: {len(CONTENT)}")},
        errors.OutcomeUnknownError,
        NO_OFFSET,
        budget=0.3,
    )


# a 409 says that none of the bytes was taken, so that HEAD is asked
REFUSING = answer("409 Conflict", b"mismatched offset\n", TUS)
UPLOADS = [
    *map(offset_of_patch, ("-4", "9" * 30, "four", "0x4", "4.0", "+4", "²", "4, 4", "", None)),
    UploadCase(
        "PATCH: 204 with two `Upload-Offset: 4`",
        {"PATCH": answer("204 No Content", b"", TUS, *["Upload-Offset: 4"] * 2)},
        errors.UploadInterruptedError,
        WRONG_OFFSET,
        budget=0.3,
    ),
    *map(offset_of_head, ("-4", "9" * 30, "four", "²", "4, 4", None)),
    UploadCase(
        "HEAD: `Upload-Offset: 5` of 4 bytes",
        {"PATCH": REFUSING, "HEAD": answer("200 OK", b"", TUS, "Upload-Offset: 5", "Upload-Length: 4")},
        errors.OutcomeUnknownError,
        "HOST is at byte 5, or has another size: this is not our upload." + PERHAPS,
        {"PATCH": 1, "HEAD": 1},
    ),
    UploadCase(
        "PATCH: a 500 whose body never ends",
        {"PATCH": then(b"HTTP/1.1 500 Oops\r\n\r\n", again(b"x"))},
        errors.UploadInterruptedError,
        f"HOST answered 500 to the upload{LONG_ANSWER}.{TOO_OFTEN}",
        budget=0.3,
    ),
    UploadCase(
        "PATCH: a 500 with a gzip of 100 MB of zeros",
        {"PATCH": answer("500 Oops", ZIPPED_ZEROS, TUS, "Content-Encoding: gzip")},
        errors.UploadInterruptedError,
        f"HOST answered 500 to the upload{COMPRESSED}.{TOO_OFTEN}",
        budget=0.3,
    ),
    UploadCase(
        "HEAD: an answer that drips",
        {"PATCH": REFUSING, "HEAD": drip(OK)},
        errors.OutcomeUnknownError,
        f"{ENDLESS} No progress within 0 s (retry_budget).{PERHAPS}",
        {"PATCH": 1},
        budget=0.3,
    ),
    UploadCase(
        "GET: an object that never ends",
        {"PATCH": raw(), "HEAD": AT_END, "GET": then(OK + b"\r\n", again(b"x"))},
        errors.UploadNotTakenError,
        UNCONFIRMED,
        {"PATCH": 4},
    ),
    *[
        UploadCase(
            f"PATCH: 503 with `Retry-After: {value}`",
            {"PATCH": answer("503 Busy", b"", f"Retry-After: {value}")},
            errors.UploadInterruptedError,
            "HOST answered 503 to the upload. It asks to wait longer than retry_budget (20 s) lasts." + NOTHING,
            {"PATCH": 1},
        )
        for value in (A_YEAR, FAR_OFF)
    ],
    *[
        UploadCase(
            f"PATCH: 503 with `Retry-After: {value}`",
            {"PATCH": answer("503 Busy", b"", f"Retry-After: {value}")},
            errors.UploadInterruptedError,
            "HOST answered 503 to the upload." + TOO_OFTEN,
            budget=0.3,
        )
        for value in ("-5", "soon")
    ],
    *[
        UploadCase(
            f"create-file: 503 with `Retry-After: {value}`",
            {"CREATE": answer("503 Busy", b"", f"Retry-After: {value}")},
            errors.ServerError,
            BUSY,
            {"CREATE": 1},
        )
        for value in (A_YEAR, FAR_OFF)
    ],
    *[
        UploadCase(
            f"create-file: 503 with `Retry-After: {value}`",
            {"CREATE": answer("503 Busy", b"", f"Retry-After: {value}")},
            errors.ServerError,
            BUSY,
            budget=0.3,
        )
        for value in ("-5", "soon")
    ],
]

# ---- where the bytes should go


@dataclass(frozen=True)
class UrlCase:
    """:ivar frontend: where the Create-file URL is"""

    url: str
    error: Kind
    words: str
    frontend: str = "https://app.example"
    given: str = ""


NO_HTTP_URL = (
    "The answer to create-file has a tusUploadUrl that is no plain http(s) address. "
    "Is the Create-file URL that of a Workbench?"
)
NO_URL_AT_ALL = (
    "The answer to create-file has a tusUploadUrl that is no URL. Is the Create-file URL that of a Workbench?"
)
UNENCRYPTED = (
    "The answer to create-file has a tusUploadUrl that is not encrypted (http://), though the Create-file URL is. Is "
    "the Create-file URL that of a Workbench?"
)
ELSEWHERE = (
    "{} names {} as its upload host, which is {}: nothing is sent there. Ask whoever runs this Workbench to have it "
    "name the upload server's own address."
)
METADATA = "where a cloud keeps its machines' credentials"
LINK_LOCAL = "a link-local address"
NOWHERE = "no single machine's address"
PRIVATE = "an address of a private network, and the Create-file URL has a public one"
HERE = "this machine itself"
BOTH_HERE = " If all of it runs here, have localhost or 127.0.0.1 in the Create-file URL, too."


def elsewhere(host: str, what: str, frontend: str = "https://app.example", scheme: str = "https") -> UrlCase:
    place = f"[{host}]" if ":" in host else host
    words = ELSEWHERE.format(frontend.partition("//")[2], host, what) + (BOTH_HERE if what == HERE else "")
    return UrlCase(f"{scheme}://{place}/files/{IDENTITY}", errors.ConfigurationError, words, frontend)


def no_address(url: str, words: str = NO_HTTP_URL, given: str = "") -> UrlCase:
    return UrlCase(url, UNEXPECTED, words, given=given or f"`{url.replace(IDENTITY, '…')}`")


URLS = [
    no_address(f"ftp://upload.example/files/{IDENTITY}"),
    no_address(f"file:///files/{IDENTITY}"),
    no_address(f"gopher://upload.example/files/{IDENTITY}"),
    no_address(f"javascript:{IDENTITY}"),
    no_address(f"/files/{IDENTITY}"),
    no_address(f"//upload.example/files/{IDENTITY}"),
    no_address(f"files/{IDENTITY}"),
    no_address(f"https:/files/{IDENTITY}"),
    no_address(f"https://me:password@upload.example/files/{IDENTITY}"),
    no_address(f"https://@upload.example/files/{IDENTITY}"),
    no_address(f"https://upload..example/files/{IDENTITY}"),
    no_address(f"https://127%2e0%2e0%2e1/files/{IDENTITY}"),
    no_address(f"http://upload.example/files/{IDENTITY}", UNENCRYPTED),
    no_address(f"http://localhost/files/{IDENTITY}", UNENCRYPTED),
    no_address("https://upload.example/" + IDENTITY * 2_600, NO_URL_AT_ALL, "170 KB long"),
    no_address(f"https://upload.example/a b/{IDENTITY}", NO_URL_AT_ALL, "a space in it"),
    no_address(f"https://upload.example/\r\nX: y/{IDENTITY}", NO_URL_AT_ALL, "a line break in it"),
    no_address(f"https://upload.example/\0/{IDENTITY}", NO_URL_AT_ALL, "a NUL in it"),
    no_address(f"https://upload.example/\x1b[2J/{IDENTITY}", NO_URL_AT_ALL, "a terminal escape in it"),
    no_address(f"https://upload.example/\u202e/{IDENTITY}", NO_URL_AT_ALL, "a bidi character in it"),
    no_address(f"https://upload.example:99999/{IDENTITY}", NO_URL_AT_ALL),
    no_address(f"https://[::1/{IDENTITY}", NO_URL_AT_ALL),
    *[
        elsewhere(host, METADATA)
        for host in (
            "169.254.169.254",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2852039166",
            "0xa9fea9fe",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "metadata.google.internal",
            "metadata.google.internal.",
            "instance-data.ec2.internal",
        )
    ],
    elsewhere("169.254.169.254", METADATA, "http://127.0.0.1:8000"),
    *[elsewhere(host, LINK_LOCAL) for host in ("169.254.7.7", "fe80::1", "fe80::1%eth0")],
    *[
        elsewhere(host, HERE)
        for host in (
            "127.0.0.1",
            "localhost",
            "localhost.",
            "upload.localhost",
            "localhost.localdomain",
            "localhost4.localdomain4",
            "localhost6",
            "ip6-localhost",
            "ip6-loopback",
            "::1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
        )
    ],
    *[elsewhere(host, NOWHERE) for host in ("255.255.255.255", "224.0.0.1", "ff02::1", "240.0.0.1")],
    *[
        elsewhere(host, PRIVATE, "https://93.184.216.34")
        for host in ("10.0.0.5", "172.16.3.4", "192.168.1.1", "100.64.0.1", "fd12::1", "fec0::1", "::ffff:10.0.0.5")
    ],
]
USABLE_URLS = [
    ("https://app.example", "https://upload.example/files/x"),
    ("https://app.example", "https://10.0.0.5/files/x"),
    ("https://app.example", "https://93.184.216.34:8443/files/x"),
    ("https://10.0.0.5", "https://192.168.7.7/files/x"),
    ("http://127.0.0.1:8000", "http://localhost:8001/files/x"),
    ("http://localhost:8000", "http://[::1]:8001/files/x"),
    ("https://ip6-localhost:8000", "https://localhost6.localdomain6:8001/files/x"),
    ("http://127.0.0.1:8000", "https://upload.example/files/x"),
    # the Create-file URL's own host, whatever it is: the token went there
    ("https://169.254.7.7", "https://169.254.7.7:8443/files/x"),
    ("https://100.100.100.200", "https://100.100.100.200:8443/files/x"),
    ("https://metadata", "https://metadata:8443/files/x"),
    ("https://[64:ff9b:1::5]", "https://[64:ff9b:1::5]:8443/files/x"),
]

# ---- websockets: after a good beginning, or in place of one

BROKEN = "The websocket of HOST sent too much, or what cannot be read."
FLOOD = "The websocket of HOST says more than any Workbench's."
SILENT = "The websocket of HOST fell silent: not even a ping."


@dataclass(frozen=True)
class SocketCase:
    given: str
    frames: Any
    error: Kind
    words: str
    headers: tuple[str, ...] = ()


def began(*frames: bytes) -> Any:
    return lambda _: (frame(complete("a")), *frames)


def on_and_on(block: bytes, first: bytes = b"") -> Any:
    return lambda _: itertools.chain((frame(complete("a")), first), again(block)())


def dripping(first: bytes, piece: bytes) -> Any:
    def frames(server: HostileServer) -> Pieces:
        yield frame(complete("a")) + first
        while not server.ended.wait(DRIP):
            yield piece

    return frames


def deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(payload) + packer.flush()


def new_steps(_: HostileServer) -> Pieces:
    """Never the same Step twice."""
    yield frame(complete("a"))
    for number in itertools.count(2):
        yield frame(change(str(number), "a" * 50))


SOCKETS = [
    SocketCase("a message of 100 MB", on_and_on(b"x", frame_head(10**8)), UNEXPECTED, BROKEN),
    SocketCase(
        "a first message of 100 MB", lambda _: itertools.chain((frame_head(10**8),), again(b"x")()), UNEXPECTED, BROKEN
    ),
    SocketCase("a message that says it has 2⁶³ bytes", began(frame_head(2**63)), UNEXPECTED, BROKEN),
    SocketCase(
        "a message in fragments without end",
        on_and_on(frame(b"x" * 1000, 0, last=False), frame(b"", last=False)),
        UNEXPECTED,
        BROKEN,
    ),
    SocketCase(
        "a compressed message, which was not asked for",
        began(frame(deflated(bytes(10**6)), reserved=0x40)),
        UNEXPECTED,
        BROKEN,
    ),
    SocketCase(
        "… with `permessage-deflate` in the handshake",
        began(frame(deflated(bytes(10**6)), reserved=0x40)),
        UNEXPECTED,
        BROKEN,
        ("Sec-WebSocket-Extensions: permessage-deflate",),
    ),
    SocketCase("text that is not UTF-8", began(frame(b"\xff\xfe")), UNEXPECTED, BROKEN),
    SocketCase("a frame of an unknown kind", began(frame(b"x", 3)), UNEXPECTED, BROKEN),
    SocketCase("a ping of 200 bytes", began(frame(bytes(200), PING)), UNEXPECTED, BROKEN),
    SocketCase("garbage", began(bytes(range(255, 0, -1))), UNEXPECTED, BROKEN),
    SocketCase(
        "a message of 8 MB of `[],[],`",
        lambda _: itertools.chain((frame(complete("a")), frame_head(7_999_998)), times(b"[],", 2_666_666)),
        UNEXPECTED,
        FLOOD,
    ),
    SocketCase(
        "a first message of 600,000 values", lambda _: (frame(b"[" + b"1," * 600_000 + b"1]"),), UNEXPECTED, FLOOD
    ),
    SocketCase("thousands of changes a second", on_and_on(frame(change("1", "a"))), UNEXPECTED, FLOOD),
    SocketCase("thousands of new Steps a second", new_steps, UNEXPECTED, FLOOD),
    SocketCase("thousands of messages that are no JSON a second", on_and_on(frame(b"{")), UNEXPECTED, FLOOD),
    SocketCase("thousands of messages 1,000 deep a second", on_and_on(frame(b"[" * 1000)), UNEXPECTED, FLOOD),
    SocketCase("thousands of binary messages a second", on_and_on(frame(b"\0binary", BINARY)), UNEXPECTED, FLOOD),
    SocketCase("thousands of pings a second", on_and_on(frame(b"?", PING)), UNEXPECTED, FLOOD),
    SocketCase("a message that drips", dripping(frame_head(1_000_000), b"x"), LOST, SILENT),
    SocketCase(
        "empty fragments without end", on_and_on(frame(b"", 0, last=False), frame(b"", last=False)), LOST, SILENT
    ),
]

# ---- the page

TABLES = (
    ("Answers that are not HTTP's, or do not end", "test_hostile_answers.py", "test_answer_that_is_none_is_an_error"),
    ("Answers that are none of Workbench's", "test_hostile_answers.py", "test_answer_of_no_workbench_is_an_error"),
    ("Redirects", "test_hostile_answers.py", "test_redirect_is_not_followed"),
    ("Uploads", "test_hostile_uploads.py", "test_upload_to_a_hostile_host_is_an_error"),
    ("Upload addresses", "test_hostile_upload_urls.py", "test_other_upload_addresses_are_refused_and_not_quoted"),
    ("Websockets", "test_hostile_websockets.py", "test_websocket_that_is_hostile_is_given_up"),
)


def tables() -> str:
    """The page's tables, as Markdown."""
    rows: dict[str, list[tuple[str, ...]]] = {title: [] for title, _, _ in TABLES}
    not_http, none_of_workbenchs, redirects, uploads, addresses, websockets = rows.values()
    for case in WIRE:
        not_http += _rows(case)
    for case in ANSWERS:
        none_of_workbenchs += _rows(case)
    for transport, error, words in REFUSED_REDIRECTS:
        redirects.append((f"{transport}: 301, 302, 303, 307 or 308", error.__name__, words.format("307")))
    for upload in UPLOADS:
        uploads.append((upload.given, upload.error.__name__, upload.words))
    for url in URLS:
        given = url.given or f"`{url.url.replace(IDENTITY, '…')}`"
        where = "" if url.frontend == "https://app.example" else f", of `{url.frontend}`"
        addresses.append((given + where, url.error.__name__, url.words))
    for one in SOCKETS:
        websockets.append((one.given, one.error.__name__, one.words))
    return "\n".join(itertools.chain.from_iterable(_table(*each, rows[each[0]]) for each in TABLES))


def _rows(case: Case) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[Kind, str], list[str]] = {}
    for transport in case.on:
        groups.setdefault(case.says(transport), []).append(transport)
    for (error, words), on in groups.items():
        where = "all" if set(on) == set(UPLOADING + WAITING) else ", ".join(on)
        yield f"{where}: {case.given}", error.__name__, words


def _table(title: str, file: str, test: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"## {title}\n\n`tests/security/{file}`, `{test}`: {len(rows)} rows.\n"
    yield "| what comes | error | what it says |\n|---|---|---|"
    # what one row says is often what the row above says
    before = ("", "")
    for given, *said in rows:
        same = tuple(said) == before
        before = (said[0], said[1])
        yield f"| {given} | {'″' if same else f'`{said[0]}`'} | {'″' if same else said[1]} |".replace("\0", "")
    yield ""


PAGE = Path(__file__).parent.parent.parent / "docs" / "hostile-servers.md"
MARK = "<!-- the tables are made by tests/security/hostile_cases.py -->\n"

if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text.partition(MARK)[0] + MARK + "\n" + tables(), "utf-8")
    print(len(re.findall(r"^\| (?!what|---)", tables(), re.MULTILINE)), "rows")
