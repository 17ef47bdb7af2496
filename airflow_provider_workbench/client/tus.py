"""The TUS decisions: what the answer to a PATCH means. No I/O.

What a PATCH of ``length`` bytes at ``offset`` of a file of ``size`` bytes was answered, and what that says
(protocol sections 2 and 3; "last" means ``offset + length == size``, and that all of them were sent):

==============================================  ============  ==================================================
answer                                          last?         meaning
==============================================  ============  ==================================================
204, ``Upload-Offset`` = size                   yes           ACCEPTED: the Step has the File (UNKNOWN if
                                                              ``length`` is 0: then the hook was not called)
204, ``Upload-Offset`` = offset + length        no            PROGRESS
204, any other or no ``Upload-Offset``          yes           UNKNOWN
204, any other or no ``Upload-Offset``          no            INTERRUPTED
4xx with one of Workbench's codes as JSON       either        REFUSED: for good, this upload is never accepted
4xx with any code, ``Upload-Offset`` = size     yes           REFUSED: likewise
any other with ``Upload-Offset`` = size         yes           UNKNOWN: the finish answered
404 or 410 without one                          either        GONE: it was not there when the PATCH began
400, 409, 412, 413, 415, 423 without one        either        INTERRUPTED: the server took none of these bytes
405, 501 without one                            either        INTERRUPTED: PATCH itself is not let through
any other, or no answer                         yes           UNKNOWN: the hook may have stored the File
any other, or no answer                         no            INTERRUPTED
==============================================  ============  ==================================================

HEAD is not in the table: at full offset it says the same after a refused finish as after an accepted one
(``recorded/token_reset_before_finish.json``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_workbench.client.answers import Answer, error_code
from airflow_provider_workbench.client.errors import is_known_code

# tusd 1.6 wants it on everything but GET and OPTIONS (recorded: 412 without)
HEADERS = {"Tus-Resumable": "1.0.0"}


class Meaning(StrEnum):
    """What an answer to PATCH says about the upload; see the module's table."""

    ACCEPTED = "accepted"
    PROGRESS = "progress"
    REFUSED = "refused"
    GONE = "gone"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer, read.

    :ivar meaning: see the module's table
    :ivar code: Workbench's error code, if it refused
    :ivar status: the HTTP status, or None if there was no answer
    """

    meaning: Meaning
    code: str | None = None
    status: int | None = None


# the server says these before it takes a byte, so not even a last PATCH can have finished the upload
_NOTHING_TAKEN = frozenset((400, 405, 409, 412, 413, 415, 423, 501))


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
        return Reading(Meaning.UNKNOWN if last else Meaning.INTERRUPTED)
    status = answer.status
    if status == 204:
        if upload_offset(answer) != offset + length or unsent:
            return Reading(Meaning.UNKNOWN if last else Meaning.INTERRUPTED, status=status)
        if last and not length:
            # so after a refused finish too (recorded)
            return Reading(Meaning.UNKNOWN, status=status)
        return Reading(Meaning.ACCEPTED if last else Meaning.PROGRESS, status=status)
    finished = last and upload_offset(answer) == size
    found = error_code(answer.text)
    if found and 400 <= status < 500 and (finished or is_known_code(found[0])):
        return Reading(Meaning.REFUSED, found[0], status)
    if finished:
        return Reading(Meaning.UNKNOWN, status=status)
    if status in (404, 410):
        return Reading(Meaning.GONE, status=status)
    if status in _NOTHING_TAKEN or not last:
        return Reading(Meaning.INTERRUPTED, status=status)
    return Reading(Meaning.UNKNOWN, status=status)


def upload_offset(answer: Answer) -> int | None:
    """``Upload-Offset`` in bytes, or None if it is missing or no number of bytes."""
    text = answer.headers.get("upload-offset", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
