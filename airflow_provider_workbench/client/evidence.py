"""Whether Workbench took a File, where the answer to the last PATCH does not say.

What was seen decides, strongest first (protocol section 3). "answered" means that the TUS server itself said that the
finish failed; otherwise its answer was lost, or a proxy answered in its place:

==========================  ====================================  =========  =========================================
the Step                    HEAD and GET of the upload            answered?  finding
==========================  ====================================  =========  =========================================
any                         HEAD below the size                   either     RESUME: bytes are missing, so no finish ran
any                         423                                   either     BUSY: look again
any                         GET 200                               either     NOT_TAKEN: the object was not moved away
shows a File like it        any other                             either     TAKEN
does not                    HEAD at the size, or 404              either     NOT_TAKEN
does not                    no usable answer                      either     BUSY
cannot be read              HEAD at the size, GET 404             no         TAKEN: the object was moved away
cannot be read              HEAD at the size, GET 404             yes        UNDECIDED: the bytes go before the commit
cannot be read              HEAD 404                              either     UNDECIDED: terminated, expired, or taken
cannot be read              HEAD at the size, no answer to GET    either     BUSY
cannot be read              no usable answer                      either     BUSY
cannot be read              any other                             either     UNDECIDED
==========================  ====================================  =========  =========================================

What is still BUSY when time is up is UNDECIDED.
"""

from __future__ import annotations

from enum import StrEnum

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.tus import Meaning, Reading, by_tus_server


class Finding(StrEnum):
    """See the module's table."""

    TAKEN = "taken"
    NOT_TAKEN = "not-taken"
    RESUME = "resume"
    BUSY = "busy"
    UNDECIDED = "undecided"


def weigh(*, shown: bool | None, head: Reading, get: Answer | None, size: int, answered: bool) -> Finding:
    """Say what the evidence means.

    :param shown: True if the Step lists a File that can be it, None if the Step cannot be read. Read after the others
    :param head: the answer to HEAD
    :param get: the answer to GET, if HEAD was at the size
    :param size: bytes; of the whole file
    :param answered: True if the TUS server itself said that the finish failed
    """
    at_end = head.meaning is Meaning.AT and head.offset == size
    if head.meaning is Meaning.AT and not at_end:
        return Finding.RESUME
    if head.meaning is Meaning.LOCKED or (get is not None and get.status == 423):
        return Finding.BUSY
    if at_end and get is not None and get.status == 200 and by_tus_server(get):
        return Finding.NOT_TAKEN
    if shown:
        return Finding.TAKEN
    if head.meaning is Meaning.AGAIN:
        return Finding.BUSY
    if shown is False and (at_end or head.meaning is Meaning.GONE):
        return Finding.NOT_TAKEN
    if shown is None and at_end and get is None:
        return Finding.BUSY
    moved = at_end and get is not None and get.status == 404 and "upload not found" in get.text
    return Finding.TAKEN if moved and not answered and shown is None else Finding.UNDECIDED
