"""Every way it can fail, and whether another try can help.

Each error says what happened and what the user can do. ``retryable`` is True where the same call
may succeed later with nobody changing anything. No error carries a URL, a token, a request or an answer.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any, ClassVar


class WorkbenchError(Exception):
    """Anything that went wrong between here and a Workbench Step.

    :param message: what happened, and what to do
    :param code: Workbench's error code, where it sent one
    :param status: the HTTP status, where there was an answer
    :ivar retry_after: seconds that the server asked to wait, or None
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For a trigger's event: JSON values only."""
        return {"kind": type(self).__name__, "message": str(self), "code": self.code, "status": self.status}


# ---- before any byte moves ------------------------------------------------------------------------


class ConfigurationError(WorkbenchError):
    """A connection field or a parameter that cannot work."""


class FilenameError(WorkbenchError):
    """A File name that Workbench would refuse (protocol section 1)."""


class SizeError(WorkbenchError):
    """More bytes than a Step can take (protocol section 1: the last byte of 2 GiB never fits)."""


class SourceError(WorkbenchError):
    """What should be uploaded cannot be read."""


class SourceNotAllowedError(SourceError):
    """It is in none of the places that the parameter ``allowed_roots`` names."""


class SourceMissingError(SourceError):
    """No such file on this machine. Another worker may have it, so a retry can help."""

    retryable = True


class SourceReadError(SourceError):
    """Reading failed half-way (a disk's or a network drive's fault)."""

    retryable = True


class SourceChangedError(SourceError):
    """The file changed while it was being sent; nothing of it reached the Step."""

    retryable = True


# ---- on the way -----------------------------------------------------------------------------------


class TransportError(WorkbenchError):
    """The network failed: no complete answer arrived."""

    retryable = True


class ConnectError(TransportError):
    """No connection was made, so the server has seen nothing of the request."""


class TlsError(ConnectError):
    """The server's certificate, or ours, was not accepted."""

    retryable = False


class ConnectionLostError(TransportError):
    """The connection ended or fell silent before the answer: the server may or may not have acted."""


class UnexpectedAnswerError(WorkbenchError):
    """An answer that no Workbench gives: most likely a proxy's, or another program's."""

    retryable = True


class ServerError(UnexpectedAnswerError):
    """Workbench, or something in front of it, answered 5xx."""


class BusyError(UnexpectedAnswerError):
    """The server asks to slow down (408, 425, 429)."""


# ---- Workbench's own refusals ---------------------------------------------------------------------

_COPY_TOKEN = "In Workbench open the Upload step → File-upload API, copy the API token, and put it into {token_place}."
_COPY_BOTH = (
    "In Workbench open the Upload step → File-upload API, and copy the Create-file URL and the API token "
    "again; the token goes into {token_place}."
)
_PROXY = (
    "This provider sends what Workbench asks for, so something on the way may be changing its requests: "
    "look at the proxies, and report it if there are none."
)


class RefusedError(WorkbenchError):
    """Workbench refused with an error code (protocol sections 1 and 3); each known code has its class.

    :ivar at_finish: True if all bytes had been sent, and Workbench then refused the File
    :ivar fields: for ``body-has-errors``, Workbench's codes by field: ``{"filename": ("max_length",)}``
    """

    known_code: ClassVar[str] = ""
    problem: ClassVar[str] = "Workbench refused with a code that this version does not know."
    advice: ClassVar[str] = ""

    at_finish: bool = False
    fields: Mapping[str, tuple[str, ...]] = {}


class TokenNotProvidedError(RefusedError):
    """403: the server saw no usable bearer token."""

    known_code = "authorization-bearer-token-not-provided"
    problem = "Workbench saw no usable API token."
    advice = f"{_COPY_TOKEN} If it is there, a proxy on the way may be removing the Authorization header."


class TokenInvalidError(RefusedError):
    """403: a wrong token, or another Step's."""

    known_code = "authorization-bearer-token-invalid"
    problem = "The API token is not this Step's current one."
    advice = _COPY_TOKEN


class ApiDisabledError(RefusedError):
    """403: the File-upload API is switched off on the Step."""

    known_code = "step-has-no-api-token"
    problem = "The File-upload API is switched off on this Step."
    advice = (
        "In Workbench open the Upload step → File-upload API, enable it, and put the new API token into {token_place}."
    )


class StepNotFoundError(RefusedError):
    """404: the Workflow has no such Step."""

    known_code = "step-not-found"
    problem = "The Workflow has no such Step: it was deleted, or the Create-file URL is wrong."
    advice = _COPY_BOTH


class WorkflowNotFoundError(RefusedError):
    """404: no such Workflow."""

    known_code = "workflow-not-found"
    problem = "There is no such Workflow: it was deleted, or the Create-file URL is wrong."
    advice = _COPY_BOTH


class StepHasNoFileParamError(RefusedError):
    """400: the Step is not one that takes Files."""

    known_code = "step-has-no-file-param"
    problem = "This Step takes no Files."
    advice = "Use the Create-file URL and the API token of an Upload step."


class StepModuleDeletedError(RefusedError):
    """400: the Step's module is gone from this Workbench."""

    known_code = "step-module-deleted"
    problem = "The module of this Step no longer exists in this Workbench."
    advice = "Add an Upload step, and use its Create-file URL and API token."


class BodyNotJsonError(RefusedError):
    """400: the server could not read the request as JSON."""

    known_code = "body-not-json"
    problem = "Workbench could not read the request as JSON."
    advice = _PROXY


class BodyNotUtf8Error(RefusedError):
    """400: the server could not read the request as UTF-8."""

    known_code = "body-not-utf8"
    problem = "Workbench could not read the request as UTF-8."
    advice = _PROXY


class BodyHasErrorsError(RefusedError):
    """400: Workbench found fault with the File's name or size."""

    known_code = "body-has-errors"
    problem = "Workbench does not take this File name or size."
    advice = "Change what the codes name."


_BY_CODE: dict[str, type[RefusedError]] = {cls.known_code: cls for cls in RefusedError.__subclasses__()}


def refusal(
    code: str,
    *,
    token_place: str,
    status: int | None = None,
    at_finish: bool = False,
    fields: Mapping[str, tuple[str, ...]] | None = None,
) -> RefusedError:
    """Make the error for one of Workbench's codes.

    :param code: the code of ``{"error": {"code": …}}``; an unknown one becomes a plain ``RefusedError``
    :param token_place: where the user keeps the token, such as "the password of connection 'x'"
    :param status: the HTTP status that it came with
    :param at_finish: True if it answered the last PATCH
    :param fields: for ``body-has-errors``, the codes by field
    """
    cls = _BY_CODE.get(code, RefusedError)
    faults = [f"{name}: {', '.join(codes)}" for name, codes in (fields or {}).items()]
    when = "All bytes were sent, but Workbench did not take the File. " if at_finish else ""
    parts = (f"{when}{cls.problem}", *faults, f"[{printable(code, 60)}]", cls.advice)
    text = " ".join(part for part in parts if part).replace("{token_place}", token_place)
    error = cls(text, code=code, status=status)
    error.at_finish = at_finish
    error.fields = dict(fields or {})
    return error


def is_known_code(code: str) -> bool:
    """True for a code of Workbench's: other servers on the way use the same JSON with codes of their own."""
    return code in _BY_CODE


# ---- the outcome ----------------------------------------------------------------------------------


class UploadInterruptedError(WorkbenchError):
    """The bytes did not all arrive; the Step has nothing of them."""

    retryable = True


class UploadGoneError(WorkbenchError):
    """The server does not know the upload (any more: expired or terminated); the Step has nothing of it."""

    retryable = True


class UploadNotTakenError(WorkbenchError):
    """All bytes were sent, more than once, and the evidence says that Workbench did not take the File."""

    retryable = True


class UploadStoppedError(WorkbenchError):
    """The upload was stopped from outside: the task was killed, or ran out of time."""

    retryable = True


class OutcomeUnknownError(WorkbenchError):
    """All bytes were sent, and nothing tells whether Workbench took the File (protocol section 3)."""

    retryable = True


# ---- what the Step shows --------------------------------------------------------------------------


class StepUnreadableError(WorkbenchError):
    """The Workflow's page is not shown to us: the token allows writing, never reading."""


class StepGoneError(WorkbenchError):
    """The Workflow, or the Step in it, is not there (any more)."""


class RenderError(WorkbenchError):
    """The Step uses the File and could not render it; carries Workbench's own words."""


class FileSupersededError(WorkbenchError):
    """A later File took the place of the one that was waited for."""


class UnexpectedTableError(WorkbenchError):
    """The Step rendered the File, and its rows or columns are not as many as the DAG meant to deliver."""


class WaitTimeoutError(WorkbenchError):
    """The File was accepted, and the Step did not show it in time. A retry can wait on."""

    retryable = True


class WaitingFailedError(WorkbenchError):
    """Waiting ended for a reason that has nothing to do with Workbench."""

    retryable = True


def error_from_dict(data: Mapping[str, Any]) -> WorkbenchError:
    """The error of :meth:`WorkbenchError.as_dict`, of its own kind."""
    known = [WorkbenchError]
    for cls in known:
        known += cls.__subclasses__()
    kind = next((cls for cls in known if cls.__name__ == data.get("kind")), WorkbenchError)
    return kind(str(data.get("message", "")), code=data.get("code"), status=data.get("status"))


# ---- safe text ------------------------------------------------------------------------------------


def printable(text: str, limit: int = 300) -> str:
    """Somebody else's text, safe for a log line: unprintable characters escaped, cut to ``limit``."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def where_from(error: BaseException) -> str:
    """An unexpected exception's type and traceback, without its own words: these may hold anything."""
    return f"{type(error).__name__} in\n{''.join(traceback.format_tb(error.__traceback__))}"
