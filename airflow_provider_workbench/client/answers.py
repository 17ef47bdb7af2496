"""An HTTP answer as a value, and Workbench's error code inside one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# as all of Workbench's are. What answers in its place may echo the request, and no token or upload's id looks so
_CODE = re.compile(r"(?=.{1,60}\Z)[a-z]+[0-9]?([-_][a-z]+[0-9]?)*")
_NO_CODE = "(not a code of Workbench's form)"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer.

    :ivar status: the HTTP status
    :ivar headers: by lower-case name; may hold secrets (HEAD's ``Upload-Metadata``)
    :ivar body: at most as many bytes as were asked for
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", "replace")


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
    return _code(code), {_code(name): _codes(items) for name, items in faults}


def _codes(items: Any) -> tuple[str, ...]:
    found = [item.get("code") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return tuple(_code(code) for code in found if isinstance(code, str))


def _code(text: str) -> str:
    return text if _CODE.fullmatch(text) else _NO_CODE


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in ``text``; empty if it is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
