"""One TUS upload: its bytes go up, cut after cut, until the server has answered the last of them.

tuspy's ``Uploader`` keeps the protocol's books (headers, chunk lengths); sending is ours, since tuspy reads a whole
PATCH into memory and takes any 2xx for success (protocol section 5). Only its public methods are overridden.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from urllib.parse import urlsplit

from tusclient.client import TusClient
from tusclient.uploader import Uploader

from airflow_provider_workbench.client.answers import Answer, strangeness
from airflow_provider_workbench.client.errors import (
    ConnectError,
    OutcomeUnknownError,
    SourceReadError,
    TlsError,
    TransportError,
    UploadInterruptedError,
    WorkbenchError,
    printable,
    refusal,
)
from airflow_provider_workbench.client.job import NOTHING, Job, Totals
from airflow_provider_workbench.client.patch_body import PatchBody, digested
from airflow_provider_workbench.client.progress import human_bytes
from airflow_provider_workbench.client.read_ahead import ReadAhead, SourceStalledError
from airflow_provider_workbench.client.secret_forms import forms_of_settings, forms_of_upload_url
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.sources import Source
from airflow_provider_workbench.client.tus import HEADERS, Meaning, Reading, by_tus_server, read_head, read_patch

MIB = 1024 * 1024
LARGEST_SMALLER_PATCH = 64 * MIB
SMALLEST_PATCH = MIB

# with a digit in it, it may be a piece of an id, or a token in some form. One expression for both takes quadratic time
_LONG_WORD = re.compile(r"[\w%+/=~.-]{16,}")

_FRUITLESS_ROUNDS = 3
_PERHAPS = " All bytes may have arrived before, so the Step may or may not have the File; another try looks again."


class Transfer(Uploader):
    """Sends a file to an upload URL.

    :param upload_url: secret
    :param chunk_size: bytes per PATCH, or None for all at once
    :param resuming: an earlier try made the upload, and may have sent some or all of it
    """

    def __init__(
        self, job: Job, source: Source, upload_url: str, *, chunk_size: int | None, resuming: bool, totals: Totals
    ) -> None:
        # a client without a URL spares the HEAD that tuspy makes on construction
        super().__init__(
            file_stream=source.stream, client=TusClient(""), chunk_size=chunk_size or self.DEFAULT_CHUNK_SIZE
        )
        self._job = job
        self._log = job.listener.log
        self._source = source
        self._size = source.size
        self._upload_url = upload_url
        self._host = urlsplit(upload_url).hostname
        self._totals = totals
        self._backoff = job.backoff()
        self._method_override = False
        self._confirmed = 0
        self._fruitless = 0
        self._locked_since: float | None = None
        self._lock_said: float | None = None
        self._ask_first = resuming
        # all bytes may be there since an earlier PATCH; None if only the server knows
        self._all_left: bool | None = None if resuming else False
        self._at_finish = False
        self.last_answer: Answer | None = None
        """The answer to the last PATCH, if there was one."""
        self.accepted = False
        """True if Workbench took the File, by the answer to the last PATCH."""
        self.finish_failed = False
        """True if the TUS server itself, and no proxy in its place, said so."""
        self.said = ""
        """The last trouble, in words."""

    def upload(self, stop_at: int | None = None) -> Reading:
        """Send until the last PATCH is answered or lost. After UNKNOWN it can be called again, to go on.

        :return: ACCEPTED, UNKNOWN or GONE
        :raises RefusedError: Workbench refused the finished upload
        :raises SourceError: the source cannot be sent
        :raises UploadInterruptedError: no progress for too long
        :raises OutcomeUnknownError: no progress for too long, after all bytes may have arrived
        """
        while True:
            if self._ask_first:
                reading = self._find_offset()
                if reading.meaning in (Meaning.GONE, Meaning.UNKNOWN):
                    return reading
                if reading.offset == self._size:
                    self.said = self.said or f"{self._host} has all bytes already."
                    # HEAD proves nothing here
                    return Reading(Meaning.UNKNOWN)
                self._go_on_from(reading.offset)
            reading = self.upload_chunk()
            self._ask_first = reading.meaning is not Meaning.PROGRESS
            if reading.meaning in (Meaning.ACCEPTED, Meaning.UNKNOWN, Meaning.GONE):
                return reading
            if reading.meaning is Meaning.REFUSED:
                place = self._job.settings.token_place
                raise refusal(reading.code or "", token_place=place, status=reading.status, at_finish=self._at_finish)
            if self._ask_first:
                self.overcome(reading)
            else:
                self._confirm(self.offset)

    def _go_on_from(self, offset: int) -> None:
        less = ", which is less than it had" if offset < self._confirmed else ""
        self._log(f"Going on from byte {offset} of {self._size}, where the server is{less}.")
        self.offset = self._totals.resumed_from = offset
        self._confirm(offset)

    def _confirm(self, offset: int) -> None:
        # measured at the highest offset ever: one that goes back and forth is no progress
        if offset > self._confirmed:
            self._confirmed = offset
            self._locked_since = None
            self._fruitless = 0
            self._backoff.progress()

    # ---- after trouble

    def go_on(self, reading: Reading, *, settled_in: float) -> None:
        """:meth:`overcome`, where evidence says that bytes are missing.

        :param settled_in: seconds that the search for it took, which cost no budget
        """
        self._backoff.pardon(settled_in)
        self.overcome(reading)

    def overcome(self, reading: Reading) -> None:
        """Wait before the server is asked for its offset.

        :param reading: of the PATCH that did not get through
        :raises UploadInterruptedError, OutcomeUnknownError: as for :meth:`upload`
        """
        if reading.meaning is Meaning.LOCKED:
            self._wait_for_lock()
            return
        self._locked_since = None
        self._log(f"{self.said} Trying to go on.")
        self._fruitless += 1
        if reading.meaning is Meaning.BLOCKED and not self._method_override:
            self._method_override = True
            return
        by_server = self.last_answer is not None and by_tus_server(self.last_answer)
        if reading.meaning is Meaning.TOO_LARGE or (self._fruitless >= _FRUITLESS_ROUNDS and not by_server):
            self._send_less(reading)
        # a connection that was cut after progress is asked about at once: whoever cut it may be gone
        if reading.meaning is not Meaning.TOO_LARGE and (self._fruitless > 1 or reading.status is not None):
            self._pause(reading)

    def _send_less(self, reading: Reading) -> None:
        """A proxy that limits or buffers requests lets smaller ones through."""
        length = self.get_request_length()
        if length <= SMALLEST_PATCH:
            if reading.meaning in (Meaning.TOO_LARGE, Meaning.BLOCKED):
                raise self._interrupted(f" Not even {human_bytes(length)} get through.")
            return
        self.chunk_size = max(SMALLEST_PATCH, min(LARGEST_SMALLER_PATCH, length // 2))
        self._fruitless = 0
        self._log(f"Trying smaller requests, of {human_bytes(self.chunk_size)}.")

    def _pause(self, reading: Reading) -> None:
        seconds = self._backoff.pause(reading.retry_after)
        if seconds is None:
            budget = self._backoff.budget
            if (reading.retry_after or 0) > self._backoff.left > 0:
                raise self._interrupted(f" It asks to wait longer than retry_budget ({budget:.0f} s) lasts.")
            raise self._interrupted(f" No progress within {budget:.0f} s (retry_budget).")
        self._job.control.sleep(seconds)

    def _wait_for_lock(self) -> None:
        now = time.monotonic()
        self._locked_since = self._locked_since or now
        waited = now - self._locked_since
        most = max(self._job.patience.lock, self._backoff.budget)
        if waited > most:
            raise self._interrupted(f" The upload has been locked for {waited:.0f} s, perhaps by a broken connection.")
        if waited > self._job.patience.lock_unsaid and self._lock_said != self._locked_since:
            self._lock_said = self._locked_since
            self._log(
                "Another request holds the upload, perhaps one whose connection broke: waiting until the server lets "
                f"go of it, {most:.0f} s at most."
            )
        # a cut connection lets go after 60 to 550 ms (recorded), a half-open one after minutes
        self._job.control.sleep(min(5.0, 0.05 + waited / 4))

    def _interrupted(self, why: str) -> UploadInterruptedError | OutcomeUnknownError:
        if self._all_left is False:
            return UploadInterruptedError(f"{self.said}{why}{NOTHING}")
        return OutcomeUnknownError(f"{self.said}{why}{_PERHAPS}")

    # ---- HEAD

    def get_offset(self) -> Reading:
        """Ask once where the server is."""
        answer = None
        said = ""
        try:
            answer = self._job.session.request("HEAD", self._upload_url, headers=self.get_headers())
            said = f"{self._host} answered {_status(answer, (200, 204))} when asked for the offset."
        except TlsError:
            raise
        except TransportError as error:
            said = str(error)
        self._job.control.check()
        reading = read_head(answer, size=self._size)
        if reading.meaning is not Meaning.AT:
            self.said = said
        elif reading.offset < self._size:
            self._all_left = False
        return reading

    def _find_offset(self) -> Reading:
        """Ask until the server says AT an offset.

        :return: also GONE, of an earlier try's upload that is not this file's, too; or UNKNOWN if it is gone and all
            bytes may have arrived before
        """
        while True:
            reading = self.get_offset()
            if reading.meaning is Meaning.LOCKED:
                self._wait_for_lock()
                continue
            if reading.meaning is Meaning.WRONG:
                self.said = f"{self._host} is at byte {reading.offset}, or has another size: this is not our upload."
                if self._all_left is None:
                    return Reading(Meaning.GONE)
                raise self._interrupted("")
            if reading.meaning is Meaning.GONE and self._all_left is not False:
                return Reading(Meaning.UNKNOWN)
            if reading.meaning is not Meaning.AGAIN:
                return reading
            self._pause(reading)

    # ---- PATCH

    def upload_chunk(self) -> Reading:
        """Send one PATCH, and read its answer.

        :raises SourceError: the source changed or cannot be read; the connection is cut
        """
        length = self.get_request_length()
        self._look_at_source()
        catches_up = digested(self._source) < self.offset
        if catches_up:
            self._log(f"Reading the first {human_bytes(self.offset)} again, for the SHA-256.")
        blocks = ReadAhead(self._source.open_at, self.offset, length)
        body = PatchBody(self._job, self._source, blocks, offset=self.offset, length=length)
        try:
            # no connection waits for the first block of a slow source
            body.prepare(self._backoff.budget)
            if catches_up:
                # nobody but us was slow
                self._backoff.moved()
            self.last_answer = self._patch(body)
        finally:
            blocks.close()
            self._totals.bytes_sent += length - body.unsent
        if body.unsent < length and not self._fruitless:
            # one PATCH can take longer than the budget, and only the server knows how far it got
            self._backoff.moved()
        answer = self.last_answer
        self._at_finish = self.offset + length == self._size and not body.unsent
        reading = read_patch(answer, offset=self.offset, length=length, size=self._size, unsent=body.unsent)
        if self._at_finish and reading.meaning not in (Meaning.TOO_LARGE, Meaning.BLOCKED):
            # whatever the answer: a proxy that tried twice by itself passes on only the second
            self._all_left = True
        self.accepted = reading.meaning is Meaning.ACCEPTED
        unknown = reading.meaning is Meaning.UNKNOWN
        self.finish_failed = unknown and answer is not None and answer.status != 204 and by_tus_server(answer)
        if reading.meaning in (Meaning.PROGRESS, Meaning.ACCEPTED):
            self.offset += length
        elif answer is not None:
            self.said = f"{self._host} answered {_status(answer, (204,))} to the upload{self._words(answer)}."
        return reading

    def _look_at_source(self) -> None:
        """See that it is unchanged. A storage that is away for a moment is no reason to give up."""
        while True:
            try:
                self._source.check_unchanged()
            except SourceReadError as error:
                failure = error
            else:
                return
            pause = self._backoff.pause()
            if pause is None:
                raise failure
            self._log(f"{failure} Looking again in {pause:.1f} s.")
            self._job.control.sleep(pause)

    def _words(self, answer: Answer) -> str:
        """The TUS server's own words, without what looks like a key. A proxy's page may echo the request."""
        if odd := strangeness(answer):
            return odd
        text = answer.text.strip()
        secrets = (*forms_of_upload_url(self._upload_url), *forms_of_settings(self._job.settings))
        if not text or "<" in text or any(secret in text for secret in secrets) or not by_tus_server(answer):
            return ""
        text = _LONG_WORD.sub(lambda word: "…" if any(map(str.isdigit, word[0])) else word[0], text)
        return f": {printable(text, 200)}"

    def _patch(self, body: PatchBody) -> Answer | None:
        headers = {
            **self.get_headers(),
            "Upload-Offset": str(self.offset),
            "Content-Type": "application/offset+octet-stream",
        }
        if self._method_override:
            headers["X-HTTP-Method-Override"] = "PATCH"
        last = self.offset + len(body) == self._size
        answer = None
        try:
            answer = self._job.session.request(
                "POST" if self._method_override else "PATCH",
                self._upload_url,
                headers=headers,
                body=body,
                read_timeout=self._job.settings.finish_timeout if last else None,
            )
        except SourceStalledError as stall:
            self.said = str(stall) or "The file gave no bytes for a while, so the connection was cut."
        except TlsError:
            raise
        except TransportError as error:
            self.said = str(error)
            if isinstance(error, ConnectError):
                body.unsent = len(body)
        self._job.control.check()
        return answer

    def get_object(self) -> Answer | None:
        """Ask for the uploaded bytes, and let go at once: only the status matters."""
        try:
            return self._job.session.request("GET", self._upload_url, limit=1024)
        except TransportError:
            return None

    def terminate(self) -> None:
        """Free the server's storage; what cannot be deleted expires by itself."""
        terminate_upload(self._job.settings, self._upload_url, within=3.0)


def _status(answer: Answer, wanted: tuple[int, ...]) -> str:
    """The status of an answer that is of no use, and why."""
    if answer.status in wanted:
        return f"{answer.status} without a right Upload-Offset"
    return f"{answer.status} (a redirect, which is not followed)" if 300 <= answer.status < 400 else str(answer.status)


def terminate_upload(settings: Settings, upload_url: str, *, within: float) -> bool:
    """Delete an upload over fresh connections. While a cut PATCH still holds it, the server answers 423 (recorded).

    :param upload_url: secret
    :param within: seconds
    :return: whether the server did it; what cannot be deleted expires by itself
    """
    deadline = time.monotonic() + within
    hasty = replace(settings, connect_timeout=within / 2, stall_timeout=within / 2)
    with Session(hasty) as session:
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = session.request("DELETE", upload_url, headers=HEADERS, read_timeout=left)
            except WorkbenchError:
                return False
            if answer.status != 423:
                return answer.status == 204
            time.sleep(min(0.1, left))
    return False
