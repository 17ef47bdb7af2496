"""Which File is waited for, and whether the Step shows it yet. No I/O."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow_provider_workbench.client.errors import ConfigurationError, printable
from airflow_provider_workbench.client.steps import File, Step

UNTIL = ("listed", "selected", "rendered")
ON_SUPERSEDED = ("succeed", "skip", "fail")

# what a Step keeps (protocol section 4); a full list may have dropped the File that is waited for
MAX_FILES = 30
MAX_BYTES = 2**31

State = Literal["waiting", "seen", "superseded", "render-error"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A File, and how far Workbench should be with it.

    :ivar until: ``listed``: it is among the Step's Files; ``selected``: the Step uses it; ``rendered``: the Step has
        made a table of it
    :ivar uuid: exactly this File, if known: the Step has listed it, so if it does so no more, the File is gone
    :ivar name: else its exact name, or with ``is_pattern`` a pattern such as ``*.csv`` (case counts)
    :ivar is_pattern: True for Files that anybody uploads; then the newest that matches counts
    :ivar size: bytes, or None for any
    :ivar not_before: no File that Workbench took before this; None for any
    """

    until: str
    uuid: str | None = None
    name: str | None = None
    is_pattern: bool = False
    size: int | None = None
    not_before: datetime | None = None

    def __post_init__(self) -> None:
        one_of("until", self.until, UNTIL)
        if self.name is not None and not isinstance(self.name, str):
            raise ConfigurationError(
                f"filename must be text, not {self.name!r:.60}: a template may make a number of it."
            )
        if self.name is not None and not self.name.strip():
            raise ConfigurationError(
                "filename is blank, and no File's name is: a template may have had nothing to fill in."
            )

    @classmethod
    def of_upload(cls, upload: Mapping[str, Any], until: str) -> Wanted:
        """The File of an upload that Workbench accepted.

        :param upload: an :class:`~airflow_provider_workbench.client.upload.UploadResult` as a dict
        """
        return cls(
            until=until,
            uuid=upload.get("uuid"),
            name=upload["filename"],
            size=upload["size"],
            not_before=parse_time(upload["not_before"]),
        )

    def as_dict(self) -> dict[str, Any]:
        """For a trigger: JSON values only."""
        return {
            "until": self.until,
            "uuid": self.uuid,
            "name": self.name,
            "is_pattern": self.is_pattern,
            "size": self.size,
            "not_before": self.not_before.isoformat() if self.not_before else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Wanted:
        """From :meth:`as_dict`."""
        not_before = data.get("not_before")
        return cls(**{**data, "not_before": parse_time(not_before) if not_before else None})

    @property
    def label(self) -> str:
        """What it is, for a log line."""
        if self.name is None:
            return f"File {printable(self.uuid or '', 60)}"
        size = f" of {self.size} bytes" if self.size is not None else ""
        return f"File {printable(self.name, 120)!r}{size}"

    def matches(self, file: File) -> bool:
        """True if ``file`` may be the one."""
        if self.uuid is not None:
            return file.uuid == self.uuid
        same = matches_name if self.is_pattern else str.__eq__
        if self.name is not None and not same(file.name, self.name):
            return False
        if self.size is not None and file.size != self.size:
            return False
        return self.not_before is None or file.created_at >= self.not_before


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a Step says about a wanted File.

    :ivar state: ``waiting``, ``seen``, ``superseded`` or ``render-error``
    :ivar file: the File (with rows and columns once rendered), if it is listed
    :ivar message: the same in plain words, for a log line
    """

    state: State
    file: File | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For a trigger's event: JSON values only."""
        file = self.file.as_dict() if self.file else None
        return {"state": self.state, "file": file, "message": self.message}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """From :meth:`as_dict`."""
        file = data["file"]
        if file:
            file = File(**{**file, "created_at": parse_time(file["created_at"])})
        return cls(data["state"], file, data["message"])


def judge(step: Step, wanted: Wanted) -> Verdict:
    """Say whether ``step`` shows the wanted File as far as it should.

    Several Files may match when the same name and size was delivered more than once: then any of them that the Step
    uses will do, since nothing tells them apart.
    """
    ours = _ours(step.files, wanted)
    if not ours:
        return _judge_missing(step, wanted)
    newest = ours[0]
    if wanted.until == "listed":
        return Verdict("seen", newest, f"{wanted.label} is among the Step's Files.")
    selected = step.selected
    if selected is None or selected not in ours:
        if selected is not None and selected.created_at > newest.created_at:
            return Verdict("superseded", newest, _superseded_by(wanted, selected))
        return Verdict("waiting", newest, f"{wanted.label} is listed; the Step does not use it yet.")
    if wanted.until == "selected":
        return Verdict("seen", selected, f"The Step uses {wanted.label}.")
    if not step.rendered:
        return Verdict("waiting", selected, f"The Step uses {wanted.label} and is rendering it.")
    words = " ".join(printable(text, 500) for text in step.output_errors)
    if step.output_status == "error" or (step.output_status != "ok" and words):
        return Verdict("render-error", selected, words or "(Workbench gave no reason)")
    rendered = replace(selected, n_rows=step.n_rows, n_columns=step.n_columns)
    note = f" Workbench notes: {words}" if words else ""
    return Verdict(
        "seen",
        rendered,
        f"The Step has rendered {wanted.label}: {step.n_rows} rows, {step.n_columns} columns.{note}",
    )


def _judge_missing(step: Step, wanted: Wanted) -> Verdict:
    """Nothing that matches is listed: not yet, or not any more.

    Of an upload whose uuid is not known, only later Files that left no room for it prove that it was dropped: where
    evidence alone says that Workbench took it, it may never have been listed, and that must not pass for success.
    """
    why = pushed_out(step.files, wanted)
    if why:
        return Verdict("superseded", None, f"{wanted.label} was dropped: {why}.")
    if wanted.uuid is not None:
        return Verdict(
            "superseded",
            None,
            f"{wanted.label} is gone: it was among the Step's Files and is no more, because somebody deleted it or "
            "later Files pushed it out.",
        )
    return Verdict("waiting", None, f"{wanted.label} is not among the Step's Files yet.")


def resolved(step: Step, wanted: Wanted, *, just_delivered: bool = False) -> Wanted:
    """``wanted`` with the uuid of its File, where exactly one of the Step's Files can be it. From then on, a File that
    is not listed any more is known to be gone.

    :param just_delivered: True if it was delivered a moment ago
    """
    if wanted.uuid is not None or wanted.is_pattern:
        return wanted
    found = [file.uuid for file in _ours(step.files, wanted)]
    # later Files may have pushed ours out by now, and left its twin
    if len(found) == 1 and (just_delivered or not pushed_out(step.files, wanted)):
        return replace(wanted, uuid=found[0])
    return wanted


def _ours(files: Sequence[File], wanted: Wanted) -> list[File]:
    # by name first: a thousand waiters look through thirty Files at each push
    if wanted.name is not None and not wanted.is_pattern and wanted.uuid is None:
        name = wanted.name
        files = [file for file in files if file.name == name]
    return [file for file in files if wanted.matches(file)]


def matches_name(name: str, pattern: str) -> bool:
    """True if a File's name is ``pattern``, or fits it as a shell's would. Case counts, and brackets in a name may."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def pushed_out(files: tuple[File, ...], wanted: Wanted) -> str:
    """Why later Files left no room in the Step for the one that is wanted; empty if they did (protocol section 4)."""
    if wanted.is_pattern or wanted.not_before is None:
        return ""
    later = [file for file in files if file.created_at >= wanted.not_before]
    if len(later) >= MAX_FILES:
        return f"the Step has {MAX_FILES} later Files"
    later_bytes = sum(file.size for file in later)
    if later and wanted.size is not None and later_bytes + wanted.size > MAX_BYTES:
        return f"later Files have {later_bytes} bytes, and a Step keeps {MAX_BYTES}"
    return ""


def _superseded_by(wanted: Wanted, later: File) -> str:
    return (
        f"{wanted.label} was superseded: the Step uses {printable(later.name, 120)!r} ({later.size} bytes), which came "
        f"later, at {later.created_at.isoformat()}."
    )


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Check a parameter that is one of some words.

    :raises ConfigurationError: it is not; the error calls it ``name``
    """
    if value not in allowed:
        raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, not {printable(repr(value), 60)}.")


def parse_time(value: str) -> datetime:
    """A moment from ISO text; without a zone it is UTC.

    :raises ConfigurationError: it is not ISO 8601
    """
    moment = None
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(value.strip())
    if moment is None:
        raise ConfigurationError(
            f"{printable(repr(value), 60)} is no moment in ISO 8601, such as 2026-01-31T06:00:00+00:00."
        )
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def since_moment(since: Any, *, started: datetime) -> datetime | None:
    """The earliest ``createdAt`` that a File may have.

    :param since: a datetime, ISO text, a timedelta back from ``started``, or ``"any"``
    :param started: when the waiting task started
    :return: None for ``"any"``
    :raises ConfigurationError: empty or something else: a File of last month must not satisfy today's run
    """
    if isinstance(since, datetime):
        return since if since.tzinfo else since.replace(tzinfo=UTC)
    if isinstance(since, timedelta):
        try:
            return started - since
        except OverflowError:
            pass
    if isinstance(since, str) and since.strip():
        return None if since.strip() == "any" else parse_time(since)
    raise ConfigurationError(
        "since is required with filename, so that an old File does not satisfy today's run: give a datetime, ISO text "
        f"(such as {{{{ data_interval_start }}}}), a timedelta back from the task's first start, or 'any'; "
        f"not {since!r:.60}."
    )
