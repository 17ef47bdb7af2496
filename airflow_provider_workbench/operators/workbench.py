"""``WorkbenchUploadOperator``: a task's output file becomes a File of a Workbench Step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

if TYPE_CHECKING:
    from os import PathLike

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.hooks.workbench import WorkbenchHook


class WorkbenchUploadOperator(BaseOperator):
    """Upload a file to the Upload Step of a connection, and succeed only if Workbench accepted it.

    Returns the :class:`~airflow_provider_workbench.client.upload.UploadResult` as a dict, which
    ``WorkbenchFileSensor(upload=…)`` takes.

    :param filepath: path on the worker's disk; may be an upstream task's output (templated)
    :param filename: the File's name in Workbench; the path's last part if None (templated)
    :param workbench_conn_id: a connection of type ``workbench`` (templated)
    :param chunk_size: bytes per PATCH, where a proxy on the way limits them; None takes the connection's, and that is
        one PATCH for all by default
    """

    template_fields: Sequence[str] = ("filepath", "filename", "workbench_conn_id")
    ui_color = "#e6f2ff"

    def __init__(
        self,
        *,
        filepath: str | PathLike[str],
        filename: str | None = None,
        workbench_conn_id: str = "workbench_default",
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filepath = filepath
        self.filename = filename
        self.workbench_conn_id = workbench_conn_id
        self.chunk_size = chunk_size
        self._hook: WorkbenchHook | None = None
        self._is_last_try = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload, going on where an earlier try of this task was cut off (Airflow 3.3 and later).

        See :meth:`WorkbenchHook.upload_file` for what is raised.
        """
        from airflow_provider_workbench.hooks.kept_uploads import KeptUploads
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        ti = context.get("ti")
        self._is_last_try = ti is None or ti.try_number > ti.max_tries
        self._hook = WorkbenchHook(self.workbench_conn_id)
        result = self._hook.upload_file(
            self.filepath,
            self.filename,
            chunk_size=self.chunk_size,
            kept_uploads=KeptUploads(context, self.log.info),
        )
        return result.as_dict()

    def on_kill(self) -> None:
        """Stop sending. The upload stays for the next try; if there is none, it is deleted on the server."""
        if self._hook is not None:
            self._hook.stop_upload(terminate=self._is_last_try)
