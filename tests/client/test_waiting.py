from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_workbench.client.errors import ConfigurationError
from airflow_provider_workbench.client.steps import File, Step
from airflow_provider_workbench.client.waiting import (
    MAX_BYTES,
    MAX_FILES,
    UNTIL,
    Verdict,
    Wanted,
    judge,
    parse_time,
    since_moment,
)

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def file(uuid: str, name: str = "a.csv", size: int = 5, minute: float = 0) -> File:
    return File(uuid, name, size, T0 + timedelta(minutes=minute))


def step(*files: File, selected: str | None = None, **output: Any) -> Step:
    facts = {"rendered": True, "output_status": "ok", "output_errors": (), "n_rows": 7, "n_columns": 3, **output}
    return Step("step-a", files, selected, **facts)


def wanted(until: str = "selected", **facts: Any) -> Wanted:
    return Wanted(until, **{"name": "a.csv", "size": 5, "not_before": T0, **facts})


def test_file_of_the_same_name_and_size_from_before_is_not_ours() -> None:
    old = step(file("old", minute=-1), selected="old")
    assert judge(old, wanted("listed")).state == "waiting"
    assert judge(old, wanted("rendered")).file is None


@pytest.mark.parametrize("other", [file("x", name="A.csv"), file("x", size=6), file("x", minute=-0.01)])
def test_name_size_and_time_must_all_match(other: File) -> None:
    assert judge(step(other, selected="x"), wanted("listed")).state == "waiting"


def test_listed_is_enough_for_listed() -> None:
    verdict = judge(step(file("b", minute=2), file("u"), selected="b"), wanted("listed", uuid="u"))
    assert (verdict.state, verdict.file) == ("seen", file("u"))


def test_listed_file_that_is_not_used_yet_is_waited_for() -> None:
    for selected in (None, "old", "not-listed"):
        verdict = judge(step(file("u", minute=1), file("old", "o.csv"), selected=selected), wanted(not_before=T0))
        assert verdict.state == "waiting"
        assert "does not use it yet" in verdict.message


def test_used_file_is_seen_even_before_it_is_rendered() -> None:
    assert judge(step(file("u"), selected="u", rendered=False), wanted("selected")).state == "seen"
    verdict = judge(step(file("u"), selected="u", rendered=False), wanted("rendered"))
    assert verdict.state == "waiting"
    assert "is rendering it" in verdict.message


def test_rendered_file_carries_rows_and_columns() -> None:
    verdict = judge(step(file("u"), selected="u"), wanted("rendered"))
    assert verdict.state == "seen"
    assert verdict.file is not None
    assert (verdict.file.n_rows, verdict.file.n_columns) == (7, 3)
    assert "7 rows, 3 columns" in verdict.message


def test_notes_of_workbench_on_a_good_render_are_in_the_message() -> None:
    verdict = judge(step(file("u"), selected="u", output_errors=("Skipped a row",)), wanted("rendered"))
    assert verdict.state == "seen"
    assert verdict.message.endswith("Workbench notes: Skipped a row")


@pytest.mark.parametrize(
    ("status", "words", "state"),
    [
        ("error", ("Unknown file extension",), "render-error"),
        ("error", (), "render-error"),
        ("unreachable", ("No good",), "render-error"),
        ("unreachable", (), "seen"),  # an empty file (recorded)
    ],
)
def test_render_errors_are_told_in_workbenchs_words(status: str, words: tuple[str, ...], state: str) -> None:
    verdict = judge(step(file("u"), selected="u", output_status=status, output_errors=words), wanted("rendered"))
    assert verdict.state == state
    if state == "render-error":
        assert verdict.message == (words[0] if words else "(Workbench gave no reason)")


def test_render_error_cannot_write_into_the_log() -> None:
    verdict = judge(
        step(file("u"), selected="u", output_status="error", output_errors=("a\x1b[2J\nb",)), wanted("rendered")
    )
    assert verdict.message == r"a\x1b[2J\nb"


@pytest.mark.parametrize("until", ["selected", "rendered"])
def test_later_file_supersedes_and_is_named(until: str) -> None:
    verdict = judge(step(file("b", "late\n.csv", 9, minute=2), file("u"), selected="b"), wanted(until))
    assert verdict.state == "superseded"
    assert verdict.file == file("u")
    assert "'late\\\\n.csv' (9 bytes)" in verdict.message
    assert "2026-01-01T12:02:00+00:00" in verdict.message


def test_older_file_that_is_used_again_does_not_supersede() -> None:
    verdict = judge(step(file("u", minute=1), file("old", "o.csv"), selected="old"), wanted())
    assert verdict.state == "waiting"


def test_of_equal_files_any_that_is_used_will_do() -> None:
    twice = step(file("second", minute=2), file("first", minute=1), selected="first")
    assert judge(twice, wanted()).file == file("first", minute=1)
    assert judge(twice, wanted("listed")).file == file("second", minute=2)


def test_uuid_decides_alone() -> None:
    twice = step(file("second", minute=2), file("first", minute=1), selected="second")
    assert judge(twice, wanted(uuid="first")).state == "superseded"
    assert judge(twice, wanted(uuid="second")).state == "seen"


def test_thirty_later_files_have_pushed_ours_out() -> None:
    later = [file(str(n), "other.csv", minute=n + 1) for n in range(MAX_FILES)]
    assert judge(step(*later), wanted("listed")).state == "superseded"
    assert judge(step(*later[1:]), wanted("listed")).state == "waiting"
    assert judge(step(*later), wanted("listed", name="z*", is_pattern=True)).state == "waiting"
    assert judge(step(*later), wanted("listed", not_before=None)).state == "waiting"


def test_later_files_of_two_gibibytes_have_pushed_ours_out() -> None:
    def later(size: int) -> Step:
        return step(file("x", "other.csv", size, minute=1), file("old", "old.csv", 2**30, minute=-1))

    dropped = judge(later(MAX_BYTES - 4), wanted("listed"))
    assert (dropped.state, dropped.file) == ("superseded", None)
    assert "was dropped" in dropped.message
    assert judge(later(MAX_BYTES - 5), wanted("listed")).state == "waiting"
    assert judge(later(MAX_BYTES - 4), wanted("listed", name="z*", is_pattern=True)).state == "waiting"
    assert judge(step(), wanted("listed", size=MAX_BYTES + 1)).state == "waiting"


@pytest.mark.parametrize("until", UNTIL)
def test_a_file_that_was_known_and_is_not_listed_is_gone(until: str) -> None:
    for shown in (step(), step(file("other", minute=1), selected="other")):
        verdict = judge(shown, wanted(until, uuid="u"))
        assert (verdict.state, verdict.file) == ("superseded", None)
        assert "is gone" in verdict.message
        assert judge(shown, wanted(until, name="b.csv")).state == "waiting"


def test_the_output_of_an_upload_says_what_is_wanted() -> None:
    upload = {"filename": "a.csv", "size": 5, "not_before": T0.isoformat(), "uuid": None, "seconds": 1.0}
    assert Wanted.of_upload(upload, "selected") == wanted()
    assert Wanted.of_upload({**upload, "uuid": "u"}, "rendered") == wanted("rendered", uuid="u")


def test_pattern_takes_any_name_that_matches_with_case() -> None:
    any_csv = wanted("listed", name="*.csv", is_pattern=True, size=None, not_before=None)
    assert any_csv.matches(file("u", "x.csv", 99, minute=-1000))
    assert not any_csv.matches(file("u", "x.CSV"))
    assert not wanted("listed", name="*.csv").matches(file("u", "x.csv"))


def test_wanted_and_verdict_survive_a_trigger() -> None:
    for one in (wanted(uuid="u"), wanted(not_before=None), wanted(name=None, size=None)):
        assert Wanted.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    for verdict in (judge(step(file("u"), selected="u"), wanted("rendered")), judge(step(), wanted())):
        assert Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) == verdict


def test_label_is_safe_for_a_log_line() -> None:
    assert wanted(name="a\n.csv").label == "File 'a\\\\n.csv' of 5 bytes"
    assert wanted(size=None).label == "File 'a.csv'"
    assert Wanted("listed", uuid="u-1").label == "File u-1"


def test_unknown_until_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="listed, selected, rendered, not 'done'"):
        Wanted("done")


FILES = st.lists(
    st.builds(
        file, st.sampled_from("uvw"), st.sampled_from(["a.csv", "b.csv", "\x1b"]), st.integers(4, 6), st.integers(-2, 2)
    ),
    max_size=4,
)


@given(
    FILES,
    st.sampled_from([None, "u", "v", "gone"]),
    st.booleans(),
    st.sampled_from(["ok", "error", "unreachable", "busy"]),
    st.lists(st.text(max_size=5), max_size=2),
    st.builds(
        Wanted,
        st.sampled_from(UNTIL),
        st.sampled_from([None, "u"]),
        st.sampled_from([None, "a.csv", "*"]),
        st.booleans(),
        st.sampled_from([None, 5]),
        st.sampled_from([None, T0]),
    ),
)
def test_what_is_seen_is_there_and_matches(
    files: list[File], selected: str | None, rendered: bool, status: str, words: list[str], one: Wanted
) -> None:
    shown = step(*files, selected=selected, rendered=rendered, output_status=status, output_errors=tuple(words))
    verdict = judge(shown, one)
    assert verdict.message.isprintable()
    if verdict.state in ("seen", "render-error"):
        assert verdict.file is not None
        assert one.matches(verdict.file)
        assert verdict.file.uuid in {item.uuid for item in files}
        if one.until != "listed":
            assert verdict.file.uuid == selected
    if verdict.state == "render-error":
        assert one.until == "rendered"
        assert rendered


# ---- moments


def test_since_is_a_moment_a_span_or_any() -> None:
    plus2 = timezone(timedelta(hours=2))
    assert since_moment(T0.replace(tzinfo=None), started=T0) == T0
    assert since_moment(T0.astimezone(plus2), started=T0) == T0
    assert since_moment(timedelta(hours=1), started=T0) == T0 - timedelta(hours=1)
    assert since_moment(" 2026-01-01T14:00:00+02:00 ", started=T0) == T0
    assert since_moment("any", started=T0) is None


@pytest.mark.parametrize("since", ["", "  ", None, 0, 5, [], b"any"])
def test_empty_since_is_an_error(since: Any) -> None:
    with pytest.raises(ConfigurationError, match="since is required"):
        since_moment(since, started=T0)


@given(st.text(max_size=30))
def test_any_text_is_a_moment_with_a_zone_or_a_configuration_error(text: str) -> None:
    try:
        assert parse_time(text).tzinfo is not None
    except ConfigurationError as error:
        assert str(error).isprintable()
