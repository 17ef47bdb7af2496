"""An HTTP answer as a value, and Workbench's error code inside one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from airflow_provider_workbench.client.unpicklable import Unpicklable

# as all of Workbench's are. What answers in its place may echo the request, and no token or upload's id looks so
_CODE = re.compile(r"(?=.{1,60}\Z)[a-z]+[0-9]?([-_][a-z]+[0-9]?)*")
_NO_CODE = "(not a code of Workbench's form)"
# fields with faults, and faults of one field, that are told
_MOST_FAULTS = 4
_DECODER = json.JSONDecoder()

# values in one JSON text. A short one takes fifty times as much memory as its text, and a Workflow has some thousands
MOST_VALUES = 500_000
# so many are counted with what texts hold, which costs less than parsing them
_CERTAINLY_FEW = 50_000
# characters
_PIECE = 256 * 1024
_BACKSLASHES = re.compile(r"\\*")


@dataclass(frozen=True, slots=True)
class Answer(Unpicklable):
    """A complete answer.

    :ivar status: the HTTP status
    :ivar headers: by lower-case name; may hold secrets (HEAD's ``Upload-Metadata``)
    :ivar body: at most as many bytes as were asked for
    :ivar cut: True if there was more of the body
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    cut: bool = field(default=False, repr=False)

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", "replace")


def strangeness(answer: Answer) -> str:
    """Why an answer may be none of Workbench's, to follow on other words; empty if nothing is seen at once."""
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        return " (it is compressed, which was not asked for)"
    return f" (it has more than {len(answer.body) // 1024} KiB)" if answer.cut else ""


def error_code(text: str) -> tuple[str, Mapping[str, tuple[str, ...]]] | None:
    """Workbench's code, and its codes by field, in ``{"error": {"code": …, "errors": …}}``; None elsewhere.

    The same JSON comes as text/plain when a finish is refused (protocol section 3), so the body decides. Words that are
    no codes in form are never quoted: they might be a secret.
    """
    error = json_object(text).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(error, dict) or not isinstance(code, str):
        return None
    found = error.get("errors")
    faults = found.items() if isinstance(found, dict) else ()
    return _code(code), {_code(name): _codes(items) for name, items in islice(faults, _MOST_FAULTS)}


def _codes(items: Any) -> tuple[str, ...]:
    found = [item.get("code") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return tuple(_code(code) for code in found if isinstance(code, str))[:_MOST_FAULTS]


def _code(text: str) -> str:
    return text if _CODE.fullmatch(text) else _NO_CODE


def json_object(text: str, *, counted: bool = False) -> dict[str, Any]:
    """The JSON object in ``text``; empty if it is anything else.

    :param counted: True if the caller has counted its values
    """
    try:
        value = json_value(text, counted=counted)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def json_value(text: str, start: int | None = None, *, counted: bool = False) -> Any:
    """The JSON value of ``text``; with ``start``, the one that begins there, whatever follows it.

    :raises ValueError: there is none, or it is too deep, or has more than ``MOST_VALUES`` values
    """
    if not counted and values_in(text, start or 0) > MOST_VALUES:
        raise ValueError("too many values")
    try:
        return json.loads(text) if start is None else _DECODER.raw_decode(text, start)[0]
    except RecursionError:
        pass
    raise ValueError("too deep")


def values_in(text: str, start: int = 0) -> int:
    """How many values JSON from ``start`` on can have at most; beyond ``MOST_VALUES`` it is counted no further.

    A table that was pasted into a Step is one text of the Workflow's, and has any number of commas.
    """
    if (most := _marks(text, start, len(text))) <= _CERTAINLY_FEW:
        return most
    found = inside = 0
    # piece by piece: a copy of all would be another 8 MiB, or four times as much
    while start < len(text) and found <= MOST_VALUES:
        end = start + _PIECE
        if text[end - 1 : end] == "\\" and (more := _BACKSLASHES.match(text, end)):
            # no escape is cut in two
            end = more.end() + 1
        piece = text[start:end].replace(r"\\", "").replace(r"\"", "")
        parts = piece.split('"')
        outside = "".join(parts[inside::2])
        found += _marks(outside, 0, len(outside))
        inside = (inside + len(parts) - 1) % 2
        start = end
    return found


def _marks(text: str, start: int, end: int) -> int:
    return text.count(",", start, end) + text.count("[", start, end) + text.count("{", start, end)
