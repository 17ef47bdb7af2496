"""``WorkbenchHook``: an Airflow connection becomes a client of one Upload Step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowFailException, BaseHook

from airflow_provider_workbench.client.errors import ConfigurationError, WorkbenchError, printable
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.hooks import connection_form

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_workbench.client.listener import Kept
    from airflow_provider_workbench.client.patience import Control
    from airflow_provider_workbench.client.sources import Source
    from airflow_provider_workbench.client.steps import Step
    from airflow_provider_workbench.client.upload import UploadResult
    from airflow_provider_workbench.hooks.kept_uploads import KeptUploads

_T = TypeVar("_T")

_TEST_FILENAME = "airflow-connection-test.txt"


class WorkbenchFatalError(WorkbenchError, AirflowFailException):
    """A Workbench error that no retry can mend: Airflow fails the task at once.

    :ivar kind: the name of the client's error class, such as ``TokenInvalidError``
    """

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, kind: str | None = None
    ) -> None:
        super().__init__(message, code=code, status=status)
        self.kind = kind


def for_airflow(error: WorkbenchError) -> WorkbenchError:
    """The same error if a retry can help, else a :class:`WorkbenchFatalError` that says the same."""
    if error.retryable or isinstance(error, WorkbenchFatalError):
        return error
    return WorkbenchFatalError(str(error), code=error.code, status=error.status, kind=type(error).__name__)


class WorkbenchHook(BaseHook):
    """Uploads to one Workbench Step, and reads it.

    :param workbench_conn_id: a connection of type ``workbench``
    """

    conn_name_attr = "workbench_conn_id"
    default_conn_name = "workbench_default"
    conn_type = "workbench"
    hook_name = "Workbench"

    def __init__(self, workbench_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.workbench_conn_id = workbench_conn_id
        self._settings: Settings | None = None
        self._has_warned = False
        self._control: Control | None = None
        self._unsettled: Kept | None = None

    def __getstate__(self) -> dict[str, Any]:
        # without secrets: whoever unpickles or copies it looks the connection up
        return {**vars(self), "_settings": None, "_control": None, "_unsettled": None, "_log": None}

    @staticmethod
    def get_connection_form_widgets() -> dict[str, Any]:
        """The form's fields for Airflow 2; Airflow 3 takes them from ``get_provider_info``."""
        return connection_form.get_connection_form_widgets()

    @staticmethod
    def get_ui_field_behaviour() -> dict[str, Any]:
        """Labels, placeholders and hidden fields of the form for Airflow 2."""
        return connection_form.get_ui_field_behaviour()

    def get_settings(self) -> Settings:
        """What the connection says, checked. Its secrets are given to Airflow's masker before anything else.

        :raises WorkbenchFatalError: a field cannot work
        """
        if self._settings is None:
            self._settings = self._read(self.get_connection(self.workbench_conn_id))
            self._mask_settings(self._settings)
            self._warn(self._settings)
        return self._settings

    async def aget_settings(self, *, fresh: bool = False) -> Settings:
        """:meth:`get_settings` for asyncio, as in a trigger: nothing here blocks the event loop.

        :param fresh: look the connection up anew; else a look-up of the last seconds will do
        """
        from airflow_provider_workbench.hooks.shared_settings import shared_settings

        # not kept: of the token, only the form that reading could show is masked
        settings = await (self._look_up() if fresh else shared_settings(self.workbench_conn_id, self._look_up))
        # not in the look-up, which may be another trigger's: it would be in that one's log only
        self._warn(settings)
        return settings

    def _warn(self, settings: Settings) -> None:
        """Say once in each log what is odd about the connection."""
        if not self._has_warned:
            self._has_warned = True
            for warning in settings.warnings:
                self.log.warning("%s", warning)

    async def _look_up(self) -> Settings:
        from airflow.providers.common.compat.connection import get_async_connection
        from asgiref.sync import sync_to_async

        from airflow_provider_workbench.client.environment import proxy_passwords
        from airflow_provider_workbench.client.secret_forms import forms_for_reading
        from airflow_provider_workbench.hooks.masking import mask

        settings = self._read(await get_async_connection(self.workbench_conn_id))
        # each new form makes Airflow compile a pattern of all that it masks, and a triggerer may have many connections
        await sync_to_async(mask)((*forms_for_reading(settings), *proxy_passwords()))
        return settings

    def upload_file(
        self,
        filepath: Any,
        filename: str | None = None,
        *,
        source_conn_id: str | None = None,
        allowed_roots: Any = None,
        chunk_size: int | None = None,
        sha256: bool = False,
        read_step: bool = False,
        known: frozenset[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        kept_uploads: KeptUploads | None = None,
    ) -> UploadResult:
        """Upload a file, and return only if Workbench accepted it. Logs progress, what was overcome, and totals.

        An object in storage is read by ranges straight into the upload: no copy of it on disk, nor whole in memory.

        :param filepath: a path on this machine (``str`` or ``pathlib.Path``); an address such as
            ``"s3://conn_id@bucket/key"`` (any scheme that an installed provider or fsspec reads); an
            ``ObjectStoragePath`` or ``UPath``; bytes; or an opened source
        :param filename: the File's name in Workbench; the path's last part if None, required for bytes
        :param source_conn_id: the Airflow connection for an address or an ``ObjectStoragePath`` that names none itself
        :param allowed_roots: folders and addresses (``"s3://bucket/prefix"``, ``"s3://conn_id@bucket/prefix"``), one or
            a list of them, under which ``filepath`` must be if it is a path or an address; None for anywhere. Symbolic
            links are followed first. A root that names no connection allows that of ``source_conn_id`` only
        :param chunk_size: bytes per PATCH; None takes the connection's, which is one PATCH for all by default
        :param sha256: compute the SHA-256 of what is sent, while it is read; after a resume of an earlier try's upload,
            what that try sent is read again for it
        :param read_step: read the Step afterwards, to know the File's uuid
        :param known: uuids of the Step's Files, if it was just read: no older File can pass for this one then
        :param progress: called with bytes sent so far and bytes in all
        :param kept_uploads: where an unfinished upload is kept for the task's next try; whoever has noted the result
            may forget it there
        :raises WorkbenchFatalError: no retry can mend it; the message says what can
        :raises WorkbenchError: a retry can help
        """
        options = {"chunk_size": chunk_size, "sha256": sha256, "read_step_after": read_step, "known": known}

        def run() -> UploadResult:
            from airflow_provider_workbench.client.patience import Control
            from airflow_provider_workbench.hooks.sources import open_any

            self._control = Control()
            self._unsettled = None
            settings = self.get_settings()
            source = open_any(filepath, source_conn_id, allowed_roots)
            try:
                return self._upload(settings, source, filename, progress, kept_uploads, options)
            finally:
                # the upload closes it, too, if it is made
                source.close()

        return translated(run)

    def _upload(
        self,
        settings: Settings,
        source: Source,
        filename: str | None,
        progress: Callable[[int, int], None] | None,
        kept_uploads: KeptUploads | None,
        options: dict[str, Any],
    ) -> UploadResult:
        from airflow_provider_workbench.client.listener import Listener
        from airflow_provider_workbench.client.progress import ProgressLines, human_bytes, human_seconds
        from airflow_provider_workbench.client.upload import upload_file

        name = filename if filename is not None else source.name or ""
        lines = ProgressLines(self.log.info, printable(str(name), 120))

        def on_progress(sent: int, size: int) -> None:
            lines(sent, size)
            if progress:
                progress(sent, size)

        def on_unsettled(kept: Kept) -> None:
            self._unsettled = kept
            if kept_uploads:
                kept_uploads.save(kept, settings, name, source.fingerprint)

        def on_settled() -> None:
            self._unsettled = None
            if kept_uploads:
                kept_uploads.forget()

        kept = kept_uploads.load(settings, name, source.fingerprint) if kept_uploads else None
        # masked by the upload, as a new one's address is
        self._unsettled = kept
        result = upload_file(
            replace(settings, warnings=()),
            source,
            filename=filename,
            kept=kept,
            control=self._control,
            listener=Listener(
                progress=on_progress,
                log=self.log.info,
                warning=self.log.warning,
                secret=self._mask_upload_url,
                unsettled=on_unsettled,
                settled=on_settled,
            ),
            **options,
        )
        self._unsettled = None
        seconds = max(result.seconds, 0.001)
        self.log.info(
            "Workbench accepted %r: %d bytes (%s) in %s, %s/s. %s",
            printable(result.filename, 120),
            result.size,
            human_bytes(result.size),
            human_seconds(seconds),
            human_bytes(result.bytes_sent / seconds),
            result.step_url,
        )
        if result.duplicate_possible:
            self.log.warning("An earlier attempt may have left the same File in the Step: look for a duplicate.")
        return result

    def stop_upload(self, *, terminate: bool) -> None:
        """Stop the upload that another thread, or the code under a signal handler, is making. Takes at most 4 s.

        :param terminate: also delete it on the server; else a later try can go on with it, or it expires
        """
        if self._control is not None:
            self._control.stop()
        unsettled = self._unsettled
        if terminate and unsettled is not None:
            from airflow_provider_workbench.client.transfer import terminate_upload

            terminate_upload(self.get_settings(), unsettled.upload_url, within=3.0)

    def get_step(self) -> Step:
        """Read the Step: its Files, the selected one, and what it rendered. One request.

        :raises WorkbenchFatalError: the Step is gone, or the connection does not allow reading it
        :raises WorkbenchError: a retry can help
        """

        def run() -> Step:
            from airflow_provider_workbench.client.session import Session
            from airflow_provider_workbench.client.steps import read_step

            settings = self.get_settings()
            with Session(settings) as session:
                return read_step(session, settings)

        return translated(run)

    async def aget_step(self) -> Step:
        """:meth:`get_step` for asyncio."""
        from airflow_provider_workbench.client.async_session import AsyncSession

        failure = None
        try:
            async with AsyncSession(await self.aget_settings()) as session:
                return await session.read_step()
        except WorkbenchError as error:
            failure = for_airflow(error)
        raise failure

    def test_connection(self) -> tuple[bool, str]:
        """Prove the token and leave the Step untouched: create a 1-byte upload, delete it, and read the Step.

        :return: whether uploads can work, and what was found
        """
        from airflow_provider_workbench.client.create_file import create_file
        from airflow_provider_workbench.client.session import Session
        from airflow_provider_workbench.client.steps import read_step
        from airflow_provider_workbench.client.tus import HEADERS

        try:
            # the form's test gives the connection a made-up id, which would mislead
            connection = self.get_connection(self.workbench_conn_id)
            settings = self._read(connection, token_place='the field Password ("API token")')
            self._mask_settings(settings)
            with Session(settings) as session:
                upload_url, _ = create_file(session, settings, _TEST_FILENAME, 1)
                self._mask_upload_url(upload_url)
                session.request("DELETE", upload_url, headers=HEADERS)
                found = ["The API token is good.", *settings.warnings]
                try:
                    step = read_step(session, settings)
                    found.append(f"The Step can be read: it has {len(step.files)} Files.")
                except WorkbenchError as error:
                    found.append(f"The Step cannot be read, so uploads work, but waiting for Files does not: {error}")
            return True, " ".join(found)
        except WorkbenchError as error:
            return False, str(error)

    def _read(self, connection: Connection, token_place: str | None = None) -> Settings:
        def run() -> Settings:
            return Settings.from_fields(
                _create_file_url(connection),
                connection.password or "",
                _extra(connection),
                token_place=token_place or f"the password of connection {self.workbench_conn_id!r}",
            )

        return translated(run)

    def _mask_settings(self, settings: Settings) -> None:
        from airflow_provider_workbench.client.environment import proxy_passwords
        from airflow_provider_workbench.client.secret_forms import forms_of_settings
        from airflow_provider_workbench.hooks.masking import mask

        mask((*forms_of_settings(settings), *proxy_passwords()))

    def _mask_upload_url(self, url: str) -> None:
        from airflow_provider_workbench.client.secret_forms import forms_of_upload_url
        from airflow_provider_workbench.hooks.masking import mask

        mask(forms_of_upload_url(url))


def translated(run: Callable[[], _T]) -> _T:
    """What ``run`` returns; a Workbench error it raises becomes Airflow's (:func:`for_airflow`)."""
    failure = None
    try:
        return run()
    except WorkbenchError as error:
        failure = for_airflow(error)
    # outside the except, so that no context is chained
    raise failure


def _create_file_url(connection: Connection) -> str:
    """The Create-file URL, pasted whole as the host, or as a URI connection has it: host, port and schema."""
    pasted = (connection.host or "").strip()
    scheme, separator, host = pasted.rpartition("://")
    host = host.rstrip("/")
    if "/" in host:
        # pasted over the host of a URI connection: the form does not show what that left in port and schema
        return pasted
    if host.count(":") > 1 and not host.startswith("["):
        # a URI connection's IPv6 address comes without them
        host = f"[{host}]"
    port = f":{connection.port}" if connection.port else ""
    path = f"/{connection.schema.lstrip('/')}" if connection.schema else ""
    return f"{scheme}{separator}{host}{port}{path}"


def _extra(connection: Connection) -> dict[str, Any]:
    # not extra_dejson: it masks by key name, with a call that blocks in a trigger
    try:
        extra = json.loads(connection.extra) if connection.extra else {}
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise ConfigurationError("The connection's extra is not a JSON object.")
    return extra
