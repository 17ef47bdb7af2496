"""The TUS decisions: what an answer means, and what to do next. No I/O.

**PATCH** of ``length`` bytes at ``offset`` of a file of ``size`` bytes (protocol sections 2 and 3). "last" means
``offset + length == size`` and that every byte of it was sent:

==============================================  ======  =========================================================
answer                                          last?   meaning
==============================================  ======  =========================================================
204, ``Upload-Offset`` = size                   yes     ACCEPTED: the Step has the File (UNKNOWN if ``length`` is
                                                        0: then the hook was not called)
204, ``Upload-Offset`` = offset + length        no      PROGRESS
204, any other or no ``Upload-Offset``          yes     UNKNOWN
204, any other or no ``Upload-Offset``          no      ASK
4xx with one of Workbench's codes as JSON       either  REFUSED: for good, this upload is never accepted
4xx with any code, ``Upload-Offset`` = size     yes     REFUSED: likewise
any other with ``Upload-Offset`` = size         yes     UNKNOWN: the finish answered
423, or 500 with ``ERR_LOCK_TIMEOUT``           either  LOCKED: another request is at work on this upload
404 or 410 with ``Tus-Resumable``               either  GONE: it was not there when the PATCH began
413 without ``Tus-Resumable``                   either  TOO_LARGE: a proxy takes only smaller requests
405 or 501 without ``Tus-Resumable``            either  BLOCKED: a proxy lets no PATCH through
400, 409, 412, 413, 415                         either  ASK: the server took none of these bytes
any other, or no answer                         yes     UNKNOWN: the hook may have stored the File
any other, or no answer                         no      ASK
==============================================  ======  =========================================================

**HEAD** tells where to go on, and never whether Workbench took the File: at full offset it says the same after a
refused finish as after an accepted one (``recorded/token_reset_before_finish.json``):

==============================================  =================================================================
answer                                          meaning
==============================================  =================================================================
200, 204, ``Upload-Offset`` from 0 to ``size``  AT that offset; it may be lower than before
200, beyond ``size``; another ``Upload-Length``  WRONG: it is not our upload
423, or 500 (``ERR_LOCK_TIMEOUT`` has no body)  LOCKED for 423; AGAIN for 500
404, 410 with ``Tus-Resumable``                 GONE
any other, or no answer                         AGAIN: no server's trouble is a lost upload
==============================================  =================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_workbench.client.answers import Answer, error_code
from airflow_provider_workbench.client.backoff import retry_after_seconds
from airflow_provider_workbench.client.errors import is_known_code

# tusd 1.6 wants it on everything but GET and OPTIONS (recorded: 412 without)
HEADERS = {"Tus-Resumable": "1.0.0"}


class Meaning(StrEnum):
    """What an answer says; see the module's tables."""

    ACCEPTED = "accepted"
    PROGRESS = "progress"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    LOCKED = "locked"
    GONE = "gone"
    TOO_LARGE = "too-large"
    BLOCKED = "blocked"
    ASK = "ask"
    AT = "at"
    WRONG = "wrong"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer, read.

    :ivar meaning: see the module's tables
    :ivar code: Workbench's error code, if it refused
    :ivar status: the HTTP status, or None if there was no answer
    :ivar offset: bytes; with AT
    :ivar retry_after: seconds that the server asks to wait
    """

    meaning: Meaning
    code: str | None = None
    status: int | None = None
    offset: int = 0
    retry_after: float | None = None


# the server says these before it takes a byte, so not even a last PATCH can have finished the upload
_NOTHING_TAKEN = frozenset((400, 405, 409, 412, 413, 415, 501))
_BY_PROXY = {413: Meaning.TOO_LARGE, 405: Meaning.BLOCKED, 501: Meaning.BLOCKED}


def read_patch(answer: Answer | None, *, offset: int, length: int, size: int, unsent: int = 0) -> Reading:
    """Say what the answer to a PATCH means.

    :param answer: None if the connection was lost before it came
    :param offset: bytes; where the PATCH began
    :param length: bytes; what it carried
    :param size: bytes; of the whole file
    :param unsent: bytes of ``length`` that surely never left, because the answer or the loss came before them
    """
    last = offset + length == size and not unsent
    if answer is None:
        return Reading(Meaning.UNKNOWN if last else Meaning.ASK)
    status = answer.status
    wait = retry_after_seconds(answer.headers)

    def meaning(value: Meaning, code: str | None = None) -> Reading:
        return Reading(value, code, status, retry_after=wait)

    if status == 204:
        if upload_offset(answer) != offset + length or unsent:
            return meaning(Meaning.UNKNOWN if last else Meaning.ASK)
        if last:
            # an empty PATCH at full offset is answered so after a refused finish too (recorded)
            return meaning(Meaning.ACCEPTED if length else Meaning.UNKNOWN)
        return meaning(Meaning.PROGRESS)
    finished = last and upload_offset(answer) == size
    found = error_code(answer.text)
    if found and 400 <= status < 500 and (finished or is_known_code(found[0])):
        return meaning(Meaning.REFUSED, found[0])
    if finished:
        return meaning(Meaning.UNKNOWN)
    if status == 423 or (status == 500 and "ERR_LOCK_TIMEOUT" in answer.text):
        return meaning(Meaning.LOCKED)
    if status in (404, 410) and by_tus_server(answer):
        return meaning(Meaning.GONE)
    if status in _BY_PROXY and not by_tus_server(answer):
        return meaning(_BY_PROXY[status])
    return meaning(Meaning.ASK if status in _NOTHING_TAKEN or not last else Meaning.UNKNOWN)


def read_head(answer: Answer | None, *, size: int) -> Reading:
    """Say what the answer to a HEAD means.

    :param answer: None if there was none
    :param size: bytes; of the whole file
    """
    if answer is None:
        return Reading(Meaning.AGAIN)
    status = answer.status
    wait = retry_after_seconds(answer.headers)
    # TUS 1.0.0 allows both; tusd says 200
    if status in (200, 204):
        offset = upload_offset(answer)
        length = answer.headers.get("upload-length", str(size))
        if offset is None:
            return Reading(Meaning.AGAIN, status=status)
        if offset > size or length != str(size):
            return Reading(Meaning.WRONG, status=status, offset=offset)
        return Reading(Meaning.AT, status=status, offset=offset)
    meaning = Meaning.LOCKED if status == 423 else Meaning.AGAIN
    if status in (404, 410) and by_tus_server(answer):
        meaning = Meaning.GONE
    return Reading(meaning, status=status, retry_after=wait)


def by_tus_server(answer: Answer) -> bool:
    """True if a TUS server said it; a proxy in front of it knows no ``Tus-Resumable``."""
    return "tus-resumable" in answer.headers


def upload_offset(answer: Answer) -> int | None:
    """``Upload-Offset`` in bytes, or None if it is missing or no number of bytes."""
    text = answer.headers.get("upload-offset", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
