"""Every line of the table in :mod:`evidence`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from airflow_provider_workbench.client.answers import Answer
from airflow_provider_workbench.client.evidence import Finding, Shown, weigh
from airflow_provider_workbench.client.tus import Meaning, Reading

SIZE = 12
TUS = {"tus-resumable": "1.0.0"}

AT_END = Reading(Meaning.AT, offset=SIZE)
HALF = Reading(Meaning.AT, offset=6)
GONE = Reading(Meaning.GONE)
LOCKED = Reading(Meaning.LOCKED)
NO_HEAD = Reading(Meaning.AGAIN)
WRONG = Reading(Meaning.WRONG, offset=99)

THERE = Answer(200, TUS, b"A,B\n")
MOVED = Answer(404, TUS, b"upload not found\n")
MOVED_2 = Answer(404, TUS, b"ERR_UPLOAD_NOT_FOUND: upload not found\n")
GET_LOCKED = Answer(423, TUS, b"file currently locked\n")
PROXYS_200 = Answer(200, {}, b"<html>log in</html>")
PROXYS_404 = Answer(404, {}, b"<html>no such page</html>")

YES, LIKE_IT, NO, UNREADABLE = Shown
NOT_SURE = (LIKE_IT, UNREADABLE)
EITHER = (True, False)


@pytest.mark.parametrize(
    ("steps", "head", "gets", "answered", "finding"),
    [
        (Shown, HALF, (None,), EITHER, Finding.RESUME),
        (Shown, LOCKED, (None,), EITHER, Finding.BUSY),
        (Shown, AT_END, (GET_LOCKED,), EITHER, Finding.BUSY),
        (Shown, AT_END, (THERE,), EITHER, Finding.NOT_TAKEN),
        ((YES,), AT_END, (MOVED, None, PROXYS_404, PROXYS_200), EITHER, Finding.TAKEN),
        ((YES,), GONE, (None,), EITHER, Finding.TAKEN),
        ((YES,), NO_HEAD, (None,), EITHER, Finding.TAKEN),
        ((LIKE_IT,), AT_END, (MOVED, MOVED_2), EITHER, Finding.TAKEN),
        ((NO,), AT_END, (MOVED, MOVED_2), EITHER, Finding.UNDECIDED),
        ((NO,), AT_END, (None, PROXYS_404, PROXYS_200), EITHER, Finding.NOT_TAKEN),
        ((NO,), GONE, (None,), EITHER, Finding.NOT_TAKEN),
        ((NO,), NO_HEAD, (None,), EITHER, Finding.BUSY),
        ((UNREADABLE,), AT_END, (MOVED, MOVED_2), (False,), Finding.TAKEN),
        ((UNREADABLE,), AT_END, (MOVED, MOVED_2), (True,), Finding.UNDECIDED),
        (NOT_SURE, GONE, (None,), EITHER, Finding.UNDECIDED),
        (NOT_SURE, AT_END, (None,), EITHER, Finding.BUSY),
        (NOT_SURE, NO_HEAD, (None,), EITHER, Finding.BUSY),
        (NOT_SURE, AT_END, (PROXYS_404, PROXYS_200), EITHER, Finding.UNDECIDED),
        ((LIKE_IT, NO, UNREADABLE), WRONG, (None,), EITHER, Finding.UNDECIDED),
    ],
)
def test_line_of_the_table(
    steps: Iterable[Shown],
    head: Reading,
    gets: tuple[Answer | None, ...],
    answered: tuple[bool, ...],
    finding: Finding,
) -> None:
    for shown, get, by_server in itertools.product(steps, gets, answered):
        assert weigh(shown=shown, head=head, get=get, size=SIZE, answered=by_server) is finding, (shown, get, by_server)


def test_head_at_full_offset_alone_is_never_acceptance() -> None:
    for shown, answered, get in itertools.product(
        (LIKE_IT, NO, UNREADABLE), EITHER, (None, THERE, PROXYS_404, PROXYS_200)
    ):
        assert weigh(shown=shown, head=AT_END, get=get, size=SIZE, answered=answered) is not Finding.TAKEN
