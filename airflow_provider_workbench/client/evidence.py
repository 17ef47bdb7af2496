"""Whether Workbench took a File, where the answer to the last PATCH does not say.

What was seen decides, strongest first (protocol section 3). "answered" means that the TUS server itself said that the
finish failed; otherwise its answer was lost, or a proxy answered in its place. "One like it" is a File of the same name
and size, so old that it may have been there before: a server's ``Date`` has whole seconds.

==========================  ====================================  =========  =========================================
the Step                    HEAD and GET of the upload            answered?  finding
==========================  ====================================  =========  =========================================
any                         HEAD below the size                   either     RESUME: bytes are missing, so no finish ran
any                         423                                   either     BUSY: look again
any                         GET 200                               either     NOT_TAKEN: the object was not moved away
has it                      any other                             either     TAKEN
has it, or one like it      HEAD at the size, GET 404             either     TAKEN: two witnesses
has not                     HEAD at the size, GET 404             either     UNDECIDED: a contradiction, for now
has not                     HEAD at the size, no or another GET   either     NOT_TAKEN
has not                     HEAD 404                              either     NOT_TAKEN
has not                     no usable answer                      either     BUSY
cannot be read              HEAD at the size, GET 404             no         TAKEN: the object was moved away
cannot be read              HEAD at the size, GET 404             yes        UNDECIDED: the bytes go before the commit
has one like it, or         HEAD 404                              either     UNDECIDED: terminated, expired, or taken
cannot be read
likewise                    HEAD at the size, no answer to GET    either     BUSY
likewise                    no usable answer                      either     BUSY
likewise                    any other                             either     UNDECIDED
any                         HEAD beyond the size                  either     UNDECIDED (TAKEN if the Step has it)
==========================  ====================================  =========  =========================================

"GET 200" and "GET 404" are the TUS server's own words, no proxy's.
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


class Shown(StrEnum):
    """What the Step shows of the File."""

    YES = "yes"
    LIKE_IT = "like-it"
    NO = "no"
    UNREADABLE = "unreadable"


def weigh(*, shown: Shown, head: Reading, get: Answer | None, size: int, answered: bool) -> Finding:
    """Say what the evidence means.

    :param shown: read after the others
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
    moved = at_end and get is not None and get.status == 404 and "upload not found" in get.text
    if shown is Shown.YES or (shown is Shown.LIKE_IT and moved):
        return Finding.TAKEN
    if head.meaning is Meaning.AGAIN:
        return Finding.BUSY
    if shown is Shown.NO:
        missing = (at_end and not moved) or head.meaning is Meaning.GONE
        return Finding.NOT_TAKEN if missing else Finding.UNDECIDED
    if at_end and get is None:
        return Finding.BUSY
    return Finding.TAKEN if moved and not answered else Finding.UNDECIDED
