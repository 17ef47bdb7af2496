"""One upload, from create-file to a settled outcome.

tuspy's ``Uploader`` keeps the protocol's books (headers, chunk lengths, the loop over chunks); sending is ours, since
tuspy reads a whole PATCH into memory and takes any 2xx for success (protocol section 5).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from os import PathLike
from typing import Any
from urllib.parse import urlsplit

from tusclient.client import TusClient
from tusclient.uploader import Uploader

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.create_file import (
    check_filename,
    check_size,
    create_file,
    extension_warning,
)
from airflow_provider_workbench.client.errors import (
    ConnectError,
    ConnectionLostError,
    FilenameError,
    OutcomeUnknownError,
    ServerError,
    SourceChangedError,
    SourceReadError,
    TlsError,
    TransportError,
    UploadGoneError,
    UploadInterruptedError,
    WorkbenchError,
    printable,
    refusal,
)
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings, byte_count
from airflow_provider_workbench.client.sources import Source, open_source
from airflow_provider_workbench.client.steps import File, read_step
from airflow_provider_workbench.client.tus import Meaning, Reading, read_patch
from airflow_provider_workbench.client.waiting import Wanted

# Date headers have whole seconds, and two servers' clocks differ a little
_CLOCK_MARGIN = timedelta(seconds=2)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class UploadResult:
    """An upload that Workbench accepted. Holds no secret.

    :ivar filename: the File's name, as Workbench keeps it
    :ivar size: bytes
    :ivar workflow_id: the Workflow's number
    :ivar step_slug: the Step's slug
    :ivar step_url: the page where a person sees the Step
    :ivar not_before: ISO 8601; server time that is no later than the File's ``createdAt``
    :ivar uuid: the File's, if the Step was read and exactly one File can be ours, else None
    :ivar duplicate_possible: True if an earlier try may have left the same File in the Step
    :ivar bytes_sent: bytes of the file that were sent, repeated ones counted again
    :ivar attempts: create-file requests that it took
    :ivar resumed_from: bytes; where the last attempt began
    :ivar seconds: from create-file to the last answer
    """

    filename: str
    size: int
    workflow_id: int
    step_slug: str
    step_url: str
    not_before: str
    uuid: str | None = None
    duplicate_possible: bool = False
    bytes_sent: int = 0
    attempts: int = 1
    resumed_from: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For XCom: JSON values only, no secrets."""
        return asdict(self)


def upload_file(
    settings: Settings,
    what: str | PathLike[str] | bytes,
    *,
    filename: str | None = None,
    chunk_size: int | None = None,
    read_step_after: bool = False,
    progress: Progress | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_secret: Callable[[str], None] | None = None,
    session: Session | None = None,
) -> UploadResult:
    """Upload a path or bytes to the Step, and return only if Workbench accepted it (protocol section 3).

    :param what: a path on this machine, or bytes
    :param filename: the File's name; the path's last part if None, required for bytes
    :param chunk_size: bytes per PATCH; None takes the connection's, and that is by default one PATCH for all
    :param read_step_after: read the Step afterwards, to know the File's uuid. One more request
    :param progress: called with bytes sent so far and bytes in all
    :param on_warning: called with what is odd but no error
    :param on_secret: called with the upload URL as soon as it is known, before anything can log it
    :param session: connections to use again; one of its own if None
    :raises SourceError, FilenameError, SizeError, ConfigurationError: nothing was sent
    :raises RefusedError: Workbench said why; nothing of it is in the Step
    :raises UploadInterruptedError, UploadGoneError: it did not all arrive; nothing of it is in the Step
    :raises OutcomeUnknownError: all was sent, and nothing tells whether Workbench took it
    :raises TlsError: the upload host's certificate was not accepted; nothing of it is in the Step
    :raises TransportError, ServerError, UnexpectedAnswerError: create-file got no usable answer
    """
    if chunk_size is not None:
        chunk_size = byte_count("chunk_size", chunk_size)
    source = open_source(what)
    try:
        wanted_name = filename if filename is not None else source.name
        if wanted_name is None:
            raise FilenameError("Bytes have no name: set the parameter filename.")
        name = check_filename(wanted_name)
        check_size(source.size)
        for warning in (*settings.warnings, extension_warning(name)):
            if warning and on_warning:
                on_warning(warning)
        own = session is None
        session = session or Session(settings)
        try:
            upload = _Upload(settings, session, source, name, chunk_size, progress, on_secret)
            result = upload.run()
            return _with_uuid(result, session, settings, on_warning) if read_step_after else result
        finally:
            if own:
                session.close()
    finally:
        source.close()


class _Upload(Uploader):
    """One file on its way. Overrides only public methods of tuspy's ``Uploader``."""

    def __init__(
        self,
        settings: Settings,
        session: Session,
        source: Source,
        name: str,
        chunk_size: int | None,
        progress: Progress | None,
        on_secret: Callable[[str], None] | None,
    ) -> None:
        chunk = chunk_size or settings.chunk_size
        # a client without a URL spares the HEAD that tuspy makes on construction
        super().__init__(
            file_stream=source.stream,
            client=TusClient(""),
            chunk_size=chunk or self.DEFAULT_CHUNK_SIZE,
        )
        self._settings = settings
        self._session = session
        self._source = source
        self._name = name
        self._progress = progress
        self._on_secret = on_secret
        self._upload_url = ""
        self._bytes_sent = 0
        self._last_answer: Answer | None = None

    def run(self) -> UploadResult:
        started = time.monotonic()
        if self._source.size == 0:
            # the frontend's Date is the time of a kept connection's first answer (recorded), and it is needed here
            self._session.close()
        upload_url, created = self._create()
        if self._on_secret:
            self._on_secret(upload_url)
        self.set_url(upload_url)
        self._upload_url = upload_url
        self._last_answer = created
        if self._source.size:
            self.upload(stop_at=self._source.size)
        seconds = time.monotonic() - started
        endpoint = self._settings.endpoint
        return UploadResult(
            filename=self._name,
            size=self._source.size,
            workflow_id=endpoint.workflow_id,
            step_slug=endpoint.step_slug,
            step_url=endpoint.step_url,
            not_before=_not_before(self._last_answer, created, seconds).isoformat(),
            bytes_sent=self._bytes_sent,
            seconds=round(seconds, 3),
        )

    def _create(self) -> tuple[str, Answer]:
        lost, status = "", None
        try:
            return create_file(self._session, self._settings, self._name, self._source.size)
        except (ConnectionLostError, ServerError) as error:
            if self._source.size:
                raise
            # an empty File is finished inside create-file: it may land although the answer is 500 (recorded)
            lost, status = str(error), error.status
        raise OutcomeUnknownError(_UNKNOWN.format(why=lost), status=status)

    def upload_chunk(self) -> None:
        """Send one PATCH and read its answer.

        :raises WorkbenchError: anything but progress or acceptance
        """
        length = self.get_request_length()
        last = self.offset + length == self._source.size
        answer = None
        lost = ""
        try:
            window = _Window(self._source, self.offset, length, self._sent)
            answer = self._session.request(
                "PATCH",
                self._upload_url,
                headers={
                    **self.get_headers(),
                    "Upload-Offset": str(self.offset),
                    "Content-Type": "application/offset+octet-stream",
                },
                body=window,
                read_timeout=self._settings.finish_timeout if last else None,
            )
        except SourceChangedError:
            self._terminate()
            raise
        except TlsError:
            raise
        except TransportError as error:
            lost = str(error)
            if isinstance(error, ConnectError):
                window.remaining = length
        # a last PATCH whose last byte never left cannot have finished the upload
        reading = read_patch(answer, offset=self.offset, length=length, size=self._source.size, unsent=window.remaining)
        if reading.meaning not in (Meaning.PROGRESS, Meaning.ACCEPTED):
            raise self._error(reading, lost, at_finish=last and not window.remaining)
        self._last_answer = answer
        self.offset += length

    def _error(self, reading: Reading, lost: str, *, at_finish: bool) -> WorkbenchError:
        host = urlsplit(self._upload_url).hostname
        said = lost or f"{host} answered {reading.status} to the upload.{_ADVICE.get(reading.status or 0, '')}"
        if reading.code is not None:
            place = self._settings.token_place
            return refusal(reading.code, token_place=place, status=reading.status, at_finish=at_finish)
        if reading.meaning is Meaning.UNKNOWN:
            return OutcomeUnknownError(_UNKNOWN.format(why=said), status=reading.status)
        if reading.meaning is Meaning.GONE:
            return UploadGoneError(f"{said} It does not know this upload.{_NOTHING}", status=reading.status)
        return UploadInterruptedError(f"{said}{_NOTHING}", status=reading.status)

    def _sent(self, count: int) -> None:
        self._bytes_sent += count
        if self._progress:
            self._progress(self._bytes_sent, self._source.size)

    def _terminate(self) -> None:
        """Free the server's storage; what cannot be deleted expires by itself."""
        try:
            self._session.request("DELETE", self._upload_url, headers=self.get_headers())
        except WorkbenchError:
            return


_NOTHING = " The Step has nothing of it; another try uploads it again."
_ADVICE = {
    405: " Something on the way lets no PATCH through: ask for it to be allowed.",
    413: " Something on the way takes only smaller requests: set the connection's extra chunk_size to fewer bytes.",
    501: " Something on the way lets no PATCH through: ask for it to be allowed.",
}
_UNKNOWN = (
    "All bytes were sent, but Workbench did not confirm the File: {why} The Step may or may not have it. "
    "Another try uploads it again, and the Step may then have it twice."
)


class _Window:
    """``length`` bytes of a source from ``offset``, as the body of one PATCH."""

    def __init__(self, source: Source, offset: int, length: int, on_read: Callable[[int], None]) -> None:
        self._source = source
        self._length = length
        self._on_read = on_read
        self.remaining = length
        self._last = offset + length == source.size
        source.check_unchanged()
        source.stream.seek(offset)

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1, /) -> bytes:
        if self.remaining == 0:
            return b""
        want = self.remaining if size < 0 else min(size, self.remaining)
        failed = ""
        try:
            block = self._source.stream.read(want)
        except OSError as error:
            failed = error.strerror or type(error).__name__
        if failed:
            raise SourceReadError(f"Reading the file failed: {failed}.{_NOTHING}")
        if not block:
            self._source.check_unchanged()
            raise SourceChangedError("The file became shorter while it was being sent.")
        remaining = self.remaining - len(block)
        if remaining == 0 and self._last:
            # Workbench takes the File when its last byte arrives: this is the last moment to hold it back
            self._source.check_unchanged()
        self._on_read(len(block))
        # only now: a block that is held back never leaves
        self.remaining = remaining
        return block


def ours(step_files: tuple[File, ...], result: UploadResult) -> list[File]:
    """The Files that can be what ``result`` delivered, newest first."""
    wanted = Wanted(
        until="listed",
        name=result.filename,
        size=result.size,
        not_before=datetime.fromisoformat(result.not_before),
    )
    return [file for file in step_files if wanted.matches(file)]


def _with_uuid(
    result: UploadResult, session: Session, settings: Settings, on_warning: Callable[[str], None] | None
) -> UploadResult:
    problem = ""
    try:
        found = ours(read_step(session, settings).files, result)
        if len(found) == 1:
            return UploadResult(**{**result.as_dict(), "uuid": found[0].uuid})
        problem = f"{len(found)} Files of the Step can be it"
    except WorkbenchError as error:
        problem = str(error)
    # the File is there all the same: what cannot be read now must not fail the task
    if on_warning:
        on_warning(f"Workbench accepted {printable(result.filename)!r}, but its uuid is not known: {problem}")
    return result


def _not_before(last: Answer, created: Answer, seconds: float) -> datetime:
    """Server time no later than the File's ``createdAt``, from the fresher of two ``Date`` headers."""
    for answer in (last, created):
        try:
            date = parsedate_to_datetime(answer.headers["date"])
            date = date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
            # an old frozen Date errs to the safe side: earlier
            return date - timedelta(seconds=seconds) - _CLOCK_MARGIN
        except (KeyError, ValueError, OverflowError):
            continue
    # no Date at all (a proxy took it): this machine's clock, with room for its being wrong
    return datetime.now(UTC) - timedelta(seconds=seconds, minutes=5)
