"""One upload, from create-file to a settled outcome: success means that Workbench took the File.

Rounds of create-file, :mod:`transfer` and, where no answer says what became of it, :mod:`settling`.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.backoff import Backoff
from airflow_provider_workbench.client.create_file import (
    check_filename,
    check_size,
    create_file,
    extension_warning,
    may_pass,
)
from airflow_provider_workbench.client.digest import DigestingSource
from airflow_provider_workbench.client.errors import (
    ConnectError,
    ConnectionLostError,
    FilenameError,
    OutcomeUnknownError,
    RefusedError,
    SourceChangedError,
    UnexpectedAnswerError,
    UploadGoneError,
    UploadInterruptedError,
    UploadNotTakenError,
    WorkbenchError,
    printable,
)
from airflow_provider_workbench.client.evidence import Finding, Shown
from airflow_provider_workbench.client.job import NOTHING, Job, Totals
from airflow_provider_workbench.client.listener import Kept, Listener
from airflow_provider_workbench.client.patience import Control, Patience
from airflow_provider_workbench.client.server_time import answer_time, server_time
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings, byte_count
from airflow_provider_workbench.client.settling import Settling, read_files
from airflow_provider_workbench.client.sources import Source, open_source
from airflow_provider_workbench.client.steps import File, read_step
from airflow_provider_workbench.client.tus import Meaning
from airflow_provider_workbench.client.waiting import Wanted

if TYPE_CHECKING:
    from airflow_provider_workbench.client.transfer import Transfer

# two servers' clocks differ a little, and ours may differ much
_CLOCK_MARGIN = timedelta(seconds=2)
_CLOCKS_APART = timedelta(minutes=5)
_DATE_UNIT = timedelta(seconds=1)
# seconds; a Date is no older on a connection that is not
_FRESH = 2.0
# rounds that end the same way; then Airflow's retries take over, which wait longer
_ROUNDS = 4


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
    :ivar sha256: of the File's bytes, in hex; None if it was not asked for, or the rest could not be read for it
    :ivar duplicate_possible: True if an earlier round, also of an earlier try, may have left the same File in the Step
    :ivar bytes_sent: bytes of the file that were sent, repeated ones counted again
    :ivar attempts: create-file requests that it took
    :ivar resumed_from: bytes; where it last went on after a loss, 0 if it never had to
    :ivar seconds: from the first create-file to the last answer
    """

    filename: str
    size: int
    workflow_id: int
    step_slug: str
    step_url: str
    not_before: str
    uuid: str | None = None
    sha256: str | None = None
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
    what: Any,
    *,
    filename: str | None = None,
    chunk_size: int | None = None,
    sha256: bool = False,
    read_step_after: bool = False,
    known: frozenset[str] | None = None,
    listener: Listener | None = None,
    kept: Kept | None = None,
    control: Control | None = None,
    patience: Patience | None = None,
    session: Session | None = None,
) -> UploadResult:
    """Upload a file, an object or bytes to the Step, and return only if Workbench accepted it (protocol section 3).

    :param what: a path on this machine (text is one), an ``ObjectStoragePath`` or ``UPath``, bytes, or an opened source
    :param filename: the File's name; the path's last part if None, required for bytes
    :param chunk_size: bytes per PATCH; None takes the connection's, and that is by default one PATCH for all
    :param sha256: compute the SHA-256 of what is sent while it is sent
    :param read_step_after: read the Step afterwards, to know the File's uuid. One more request
    :param known: uuids of the Files that the Step has, if it was just read: no older File can pass for this one then.
        Of no use with ``kept``, which may be among them
    :param listener: whom to tell what
    :param kept: go on with this upload if the server still has it
    :param control: to stop the upload from another thread
    :param patience: for tests
    :param session: connections to use again; one of its own if None
    :raises SourceError, FilenameError, SizeError, ConfigurationError: nothing of it is in the Step
    :raises RefusedError: Workbench said why; nothing of it is in the Step
    :raises UploadNotTakenError: all was sent, and by all evidence nothing of it is in the Step
    :raises UploadInterruptedError, UploadGoneError: it did not all arrive; nothing of it is in the Step
    :raises OutcomeUnknownError: all was sent, and nothing tells whether Workbench took it
    :raises UploadStoppedError: ``control`` stopped it
    :raises TransportError, ServerError, UnexpectedAnswerError: create-file got no usable answer within the budget

    Where an error follows a round that left the outcome open, it says so, and claims nothing about the Step.
    """
    if chunk_size is not None:
        chunk_size = byte_count("chunk_size", chunk_size)
    listener = listener or Listener()
    source = open_source(what)
    if sha256:
        source = DigestingSource(source)
    try:
        wanted_name = filename if filename is not None else source.name
        if wanted_name is None:
            raise FilenameError("Bytes have no name: set the parameter filename.")
        name = check_filename(wanted_name)
        check_size(source.size)
        for warning in (*settings.warnings, extension_warning(name)):
            if warning:
                listener.warning(warning)
        own = session is None
        session = session or Session(settings)
        control = control or Control()
        control.watch(session)
        try:
            job = Job(session, control, patience or Patience(), listener)
            result = _Upload(job, source, name, chunk_size or settings.chunk_size, known).run(kept)
            if getattr(source, "was_replaced", False):
                listener.log("The path was replaced meanwhile: the version that was opened at first has been sent.")
            if isinstance(source, DigestingSource):
                result = _with_sha256(result, source, job)
            return _with_uuid(result, job) if read_step_after else result
        finally:
            if own:
                session.close()
    finally:
        source.close()


class _Upload:
    """One file on its way."""

    def __init__(
        self, job: Job, source: Source, name: str, chunk_size: int | None, known: frozenset[str] | None
    ) -> None:
        self._job = job
        self._listener = job.listener
        self._source = source
        self._name = name
        self._chunk_size = chunk_size
        self._totals = Totals()
        self._attempts = 0
        self._duplicate_possible = False
        self._known = known
        self._failed_rounds: Counter[Finding | None] = Counter()
        pause = job.patience.round_pause
        self._between_rounds = Backoff(math.inf, first=pause, longest=8 * pause)
        self._asked_to_wait = 0.0
        self._started = self._round_started = time.monotonic()
        self._is_bound_fresh = False

    def run(self, kept: Kept | None = None) -> UploadResult:
        try:
            return self._run(kept) if self._source.size else self._run_empty()
        except WorkbenchError as error:
            failure = error
        raise self._with_earlier_rounds(failure)

    def _with_earlier_rounds(self, error: WorkbenchError) -> WorkbenchError:
        """No error may say that the Step has nothing if an earlier round's File may be there."""
        if not self._duplicate_possible or isinstance(error, OutcomeUnknownError):
            return error
        text = str(error).removesuffix(NOTHING) + _EARLIER
        if isinstance(error, UploadInterruptedError | UploadGoneError):
            return OutcomeUnknownError(text)
        error.args = (text,)
        return error

    def _run(self, kept: Kept | None) -> UploadResult:
        if kept:
            self._listener.secret(kept.upload_url)
            self._duplicate_possible = kept.duplicate_possible
            # the earlier try may have delivered it
            self._known = None
        # tuspy imports aiohttp, which takes as long as create-file's answer (measured)
        threading.Thread(target=_import_transfer, daemon=True).start()
        while True:
            resuming = kept is not None
            upload = kept or self._create_for_later()
            kept = None
            from airflow_provider_workbench.client.transfer import Transfer

            transfer = Transfer(
                self._job,
                self._source,
                upload.upload_url,
                chunk_size=self._chunk_size,
                resuming=resuming,
                totals=self._totals,
            )
            finding = self._send(transfer, upload)
            if finding is Finding.TAKEN:
                # by evidence, it may have been long before the last answer
                return self._result(transfer.last_answer if transfer.accepted else None, upload.not_before)
            duplicate_possible = self._duplicate_possible
            self._prepare_next_round(finding, transfer.said, resuming=resuming)
            answered = transfer.finish_failed or upload.finish_failed
            if (
                finding is not None
                and self._known is not None
                and self._settling(upload).is_taken_late(transfer, answered=answered)
            ):
                self._listener.log("Workbench took it, late.")
                # this round's is the one
                self._duplicate_possible = duplicate_possible
                return self._result(None, upload.not_before)

    def _run_empty(self) -> UploadResult:
        """0 bytes are finished inside create-file (``recorded/size_zero.json``): no upload is left to ask for evidence.

        So the Step is looked at before: an empty File of the same name may have been delivered a second ago.
        """
        if self._known is None and (before := read_files(self._job)) is not None:
            self._known = frozenset(file.uuid for file in before)
        session = self._job.session
        while True:
            # its Date is needed, and is frozen while a connection is kept (recorded)
            session.close()
            try:
                _, created = self._create_patiently(ConnectError)
                return self._result(created, self._moment_of(created)[0])
            except (ConnectionLostError, UnexpectedAnswerError) as error:
                lost = str(error)
                self._asked_to_wait = error.retry_after or 0.0
            session.close()
            now = server_time(session, self._job.settings) or datetime.now(UTC) - _CLOCKS_APART
            # one that an earlier round left will do, too
            bound = now - self._since(self._started)
            finding = Finding.UNDECIDED
            if self._known is not None:
                finding = self._settling(Kept("", bound, now)).settle_empty()
                if finding is Finding.TAKEN:
                    return self._result(None, bound)
                # a slow hook may still store it after its answer was an error (recorded)
                self._duplicate_possible |= finding is Finding.NOT_TAKEN
            self._prepare_next_round(finding, lost, resuming=False)

    # ---- a round

    def _send(self, transfer: Transfer, upload: Kept) -> Finding | None:
        """TAKEN, NOT_TAKEN, UNDECIDED, or None if the upload is gone."""
        while True:
            try:
                reading = transfer.upload()
            except (SourceChangedError, RefusedError):
                # nobody will ever want these bytes
                self._listener.settled()
                transfer.terminate()
                raise
            self._asked_to_wait = reading.retry_after or 0.0
            if reading.meaning is Meaning.ACCEPTED:
                return Finding.TAKEN
            if reading.meaning is Meaning.GONE:
                return None
            self._listener.log(f"{transfer.said} Looking whether Workbench took the File.")
            upload = self._note_finish(upload, transfer.finish_failed or upload.finish_failed)
            said = transfer.said
            settling = self._settling(upload)
            began = time.monotonic()
            finding = settling.settle(transfer, answered=upload.finish_failed)
            transfer.said = said
            if finding is not Finding.RESUME:
                self._known = settling.seen
                # this round's object is still there, so the File is another round's
                self._duplicate_possible |= finding is Finding.NOT_TAKEN and settling.shown is Shown.YES
                self._listener.log(_FOUND[finding])
                return finding
            # what failed was not the finish
            upload = self._note_finish(upload, False)
            transfer.go_on(reading, settled_in=time.monotonic() - began)

    def _note_finish(self, upload: Kept, failed: bool) -> Kept:
        if failed == upload.finish_failed:
            return upload
        upload = replace(upload, finish_failed=failed)
        self._listener.unsettled(upload)
        return upload

    def _prepare_next_round(self, finding: Finding | None, said: str, *, resuming: bool) -> None:
        """Wait before the file is uploaded again, from zero.

        :raises WorkbenchError: there is no next round
        """
        if finding is None:
            self._listener.settled()
        if resuming:
            # an earlier try's round does not count
            self._listener.log(f"{said} What the earlier try uploaded is of no use: starting over.")
        else:
            self._failed_rounds[finding] += 1
            rounds = self._failed_rounds[finding]
            last = rounds >= (2 if finding is Finding.UNDECIDED else _ROUNDS)
            if last or self._asked_to_wait > self._job.settings.retry_budget:
                raise self._given_up(finding, said, rounds)
            pause = self._between_rounds.pause(self._asked_to_wait) or 0.0
            self._listener.log(f"{said} Uploading the file again in {pause:.1f} s.")
            self._job.control.sleep(pause)
        self._duplicate_possible |= finding is Finding.UNDECIDED
        # the Date of a kept connection is frozen (recorded), and the next round needs it
        self._job.session.close()

    def _given_up(self, finding: Finding | None, said: str, rounds: int) -> WorkbenchError:
        times = f", {rounds} times" if rounds > 1 else ""
        if finding is None:
            return UploadGoneError(f"{said} The server has lost the upload{times}.{NOTHING}")
        if finding is Finding.UNDECIDED or self._duplicate_possible:
            return OutcomeUnknownError(_UNKNOWN.format(sent=_SENT if self._source.size else "", why=said))
        return UploadNotTakenError(_NOT_TAKEN.format(times=times, why=said))

    # ---- its parts

    def _create_for_later(self) -> Kept:
        # nothing is lost by asking again: an upload that nobody finishes expires
        upload_url, created = self._create_patiently(WorkbenchError)
        self._listener.secret(upload_url)
        upload = Kept(upload_url, *self._moment_of(created), duplicate_possible=self._duplicate_possible)
        self._listener.unsettled(upload)
        return upload

    def _create_patiently(self, *harmless: type[WorkbenchError]) -> tuple[str, Answer]:
        """Ask again after errors that are ``harmless`` and can pass: once where it only :func:`may_pass`."""
        backoff = self._job.backoff()
        again = False
        while True:
            try:
                return self._create()
            except WorkbenchError as error:
                failure = error
            self._job.control.check()
            pause = None
            if failure.retryable:
                pause = backoff.pause(failure.retry_after)
            elif may_pass(failure) and not again:
                longest = self._job.patience.longest_pause
                pause = random.uniform(longest / 3, longest)
            if pause is None or not isinstance(failure, harmless):
                raise failure
            again = not failure.retryable
            self._listener.log(f"{failure} Trying again in {pause:.1f} s.")
            self._job.control.sleep(pause)

    def _create(self) -> tuple[str, Answer]:
        self._job.control.check()
        self._attempts += 1
        self._round_started = time.monotonic()
        self._is_bound_fresh = self._job.session.age < _FRESH
        return create_file(self._job.session, self._job.settings, self._name, self._source.size)

    def _settling(self, upload: Kept) -> Settling:
        wanted = Wanted(until="listed", name=self._name, size=self._source.size, not_before=upload.not_before)
        return Settling(self._job, wanted, not_after=upload.not_after, known=self._known)

    def _moment_of(self, created: Answer) -> tuple[datetime, datetime]:
        """Server time no later, and no earlier, than create-file was answered so."""
        date = answer_time(created)
        now = datetime.now(UTC)
        if date is None:
            # a proxy took it: this machine's clock, with room for its being wrong
            return now - _CLOCKS_APART - self._since(self._round_started), now + _CLOCKS_APART
        frozen = timedelta(seconds=self._job.session.age)
        # a Date can also be old for reasons that cannot be seen from here
        not_after = max(date + _DATE_UNIT + frozen + _CLOCK_MARGIN, now)
        return date - self._since(self._round_started), not_after

    def _since(self, moment: float) -> timedelta:
        return timedelta(seconds=time.monotonic() - moment) + _CLOCK_MARGIN

    def _result(self, last: Answer | None, bound: datetime) -> UploadResult:
        endpoint = self._job.settings.endpoint
        date = answer_time(last)
        # the upload host's Date is fresh, the frontend's as old as its connection (recorded)
        not_before = date - self._since(self._round_started) if date else bound
        if self._is_bound_fresh:
            # but the frontend's is the clock that the File's own time is of
            not_before = min(not_before, bound)
        return UploadResult(
            filename=self._name,
            size=self._source.size,
            workflow_id=endpoint.workflow_id,
            step_slug=endpoint.step_slug,
            step_url=endpoint.step_url,
            not_before=not_before.isoformat(),
            duplicate_possible=self._duplicate_possible,
            bytes_sent=self._totals.bytes_sent,
            attempts=self._attempts,
            resumed_from=self._totals.resumed_from,
            seconds=round(time.monotonic() - self._started, 3),
        )


def _import_transfer() -> None:
    with contextlib.suppress(Exception):
        import airflow_provider_workbench.client.transfer  # noqa: F401


_EARLIER = (
    " Before that, all bytes were sent once, and Workbench did not confirm the File: the Step may or may not have it."
)
_SENT = "All bytes were sent, but "
_UNKNOWN = (
    "{sent}Workbench did not confirm the File: {why} The Step may or may not have it. "
    "Another try may upload it again, and the Step may then have it twice."
)
_NOT_TAKEN = (
    "All bytes were sent{times}, and Workbench did not take the File: {why} The Step does not have it. "
    "Workbench is in trouble: another try may find it well again."
)
_FOUND = {
    Finding.TAKEN: "Workbench took it.",
    Finding.NOT_TAKEN: "Workbench did not take it.",
    Finding.UNDECIDED: "Nothing tells whether Workbench took it.",
}


def ours(step_files: tuple[File, ...], result: UploadResult) -> list[File]:
    """The Files that can be what ``result`` delivered, newest first."""
    not_before = datetime.fromisoformat(result.not_before)
    wanted = Wanted(until="listed", name=result.filename, size=result.size, not_before=not_before)
    return [file for file in step_files if wanted.matches(file)]


def _with_uuid(result: UploadResult, job: Job) -> UploadResult:
    problem = ""
    try:
        found = ours(read_step(job.session, job.settings).files, result)
        if len(found) == 1:
            return replace(result, uuid=found[0].uuid)
        problem = f"{len(found)} Files of the Step can be it"
    except WorkbenchError as error:
        problem = str(error)
    # the File is there all the same: what cannot be read now must not fail the task
    job.listener.warning(f"Workbench accepted {printable(result.filename)!r}, but its uuid is not known: {problem}")
    return result


def _with_sha256(result: UploadResult, source: DigestingSource, job: Job) -> UploadResult:
    try:
        return replace(result, sha256=source.sha256(job.control.check))
    except WorkbenchError as error:
        problem = str(error)
    # the File is there all the same
    job.listener.warning(f"Workbench accepted {printable(result.filename)!r}, but its SHA-256 is not known: {problem}")
    return result
