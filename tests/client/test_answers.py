from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_workbench.client import answers
from airflow_provider_workbench.client.answers import Answer, error_code, json_object, values_in


def test_repr_shows_neither_headers_nor_body() -> None:
    assert repr(Answer(200, {"upload-metadata": "c2VjcmV0"}, b"hidden")) == "Answer(status=200)"


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert Answer(200, {}, b"a\xffb").text == "a\ufffdb"


def test_code_and_field_codes_are_found() -> None:
    errors = {"filename": [{"code": "required"}, {"code": "max_length"}], "size": [{"code": "invalid"}]}
    text = json.dumps({"error": {"code": "body-has-errors", "errors": errors}})
    assert error_code(text) == ("body-has-errors", {"filename": ("required", "max_length"), "size": ("invalid",)})


def test_odd_field_errors_are_left_out() -> None:
    errors = {"a": None, "b": ["x", {"code": 5}, {"code": "ok"}], "c\n": [{}]}
    assert error_code(json.dumps({"error": {"code": "c", "errors": errors}})) == (
        "c",
        {"a": (), "b": ("ok",), "(not a code of Workbench's form)": ()},
    )


def test_no_code_elsewhere() -> None:
    for text in ("", "<html>", "[]", '{"error": "x"}', '{"error": {"code": 5}}', '{"code": "x"}', "[" * 100_000):
        assert error_code(text) is None


@pytest.mark.parametrize(
    "words",
    ["\x1b[2J", "x" * 61, "mh_QuXM1Bm3lOoCdh", "29c0be997537e709", "a b", "a-", "", "/files/a", "\u00e4", "a\n"],
)
def test_what_is_no_code_in_form_is_not_quoted(words: str) -> None:
    """It may be a secret that something on the way read in the request."""
    form = {"code": words, "errors": {words: [{"code": words}]}}
    found = error_code(json.dumps({"error": form}))
    other = "(not a code of Workbench's form)"
    assert found == (other, {other: (other,)})


TEXT = st.text(max_size=30)
VALUE = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "errors", "x"]), inner),
    max_leaves=8,
)


@given(VALUE)
def test_any_json_gives_a_printable_code_or_none(value: object) -> None:
    found = error_code(json.dumps({"error": value}))
    if found is not None:
        code, fields = found
        assert code.isprintable()
        assert all(name.isprintable() and all(map(str.isprintable, codes)) for name, codes in fields.items())


@given(TEXT | st.binary(max_size=30).map(lambda data: data.decode("latin-1")))
def test_any_text_gives_an_object(text: str) -> None:
    assert isinstance(json_object(text), dict)
    assert json_object(json.dumps({"a": text})) == {"a": text}


@settings(max_examples=300)
@given(st.lists(VALUE | st.text('\\",[{x', max_size=30), max_size=4), st.integers(1, 40), st.sampled_from(["", "x,[{"]))
def test_values_are_counted_without_what_texts_hold(items: list[object], piece: int, before: str) -> None:
    """However the text is cut into pieces."""
    text = before + json.dumps(items, ensure_ascii=False)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text[len(before) :], flags=re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_CERTAINLY_FEW", 0)
        patch.setattr(answers, "_PIECE", piece)
        assert values_in(text, len(before)) == sum(outside.count(mark) for mark in ",[{")
