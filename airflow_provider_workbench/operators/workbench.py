"""``WorkbenchUploadOperator``: a task's output file becomes a File of a Workbench Step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

if TYPE_CHECKING:
    from os import PathLike

    from airflow.providers.common.compat.sdk import Context


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

    def execute(self, context: Context) -> dict[str, Any]:
        """Upload; see :meth:`WorkbenchHook.upload_file` for what is raised."""
        from airflow_provider_workbench.hooks.workbench import WorkbenchHook

        hook = WorkbenchHook(self.workbench_conn_id)
        result = hook.upload_file(self.filepath, self.filename, chunk_size=self.chunk_size)
        return result.as_dict()
