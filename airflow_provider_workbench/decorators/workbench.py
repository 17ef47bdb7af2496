"""``@task.workbench_upload``: what a function returns becomes a File of a Workbench Step."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_workbench.operators.workbench import WorkbenchUploadOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

_RETURNABLE = (
    "a path (text, pathlib or ObjectStoragePath), bytes, or a table (a pandas or polars frame, a pyarrow Table)"
)
# what a function may say it returns that brings no name for the File
_NAMELESS = ("bytes", "DataFrame", "LazyFrame", "Table", "RecordBatch")


class WorkbenchUploadDecoratedOperator(DecoratedOperator, WorkbenchUploadOperator):
    """The task that :func:`workbench_upload_task` makes of a function.

    :param python_callable: the function
    :param op_args: its positional arguments (templated)
    :param op_kwargs: its keyword arguments (templated)
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        # not known before the function was called, and nothing to show in Airflow's UI where it is content
        *(field for field in WorkbenchUploadOperator.template_fields if field != "filepath"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **WorkbenchUploadOperator.template_fields_renderers,
        **DecoratedOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.workbench_upload"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            filepath="",
            **kwargs,
        )

    @contextmanager
    def _content(self, context: Context) -> Iterator[Any]:
        from airflow_provider_workbench.client.errors import FilenameError, SourceError
        from airflow_provider_workbench.client.tables import TableSource, csv_name_warning, is_table

        self._check_filename()
        content = self._call(context)
        self._check_not_killed()
        if _is_path(content):
            yield content
            return
        kind = _kind(content)
        if not isinstance(content, bytes) and not is_table(content):
            forgotten = " Was its return forgotten?" if content is None else ""
            raise SourceError(f"{self._function} returned {kind}. It must return {_RETURNABLE}.{forgotten}")
        if self.filename is None:
            raise FilenameError(f"{self._function} returned {kind}, {_SET_FILENAME}")
        if isinstance(content, bytes):
            yield content
            return
        if warning := csv_name_warning(self.filename):
            self.log.warning(warning)
        source = TableSource(content)
        # the upload does not need the table's memory
        del content
        try:
            self.log.info("%s returned %s: %d bytes as CSV.", self._function, kind, source.size)
            self._check_not_killed()
            yield source
        finally:
            source.close()

    @property
    def _delivery_name(self) -> str:
        return f"what {self._function} returns"

    @property
    def _function(self) -> str:
        return f"The function {getattr(self.python_callable, '__name__', 'of this task')!r}"

    def _call(self, context: Context) -> Any:
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **kwargs)
        if inspect.iscoroutine(returned):
            # it will not be awaited, and Python need not complain of that, too
            returned.close()
        return returned

    def _check_filename(self) -> None:
        """Before the function is called, which may take hours."""
        from airflow_provider_workbench.client.create_file import check_filename
        from airflow_provider_workbench.client.errors import FilenameError

        if self.filename is not None:
            check_filename(self.filename)
            return
        announced = getattr(self.python_callable, "__annotations__", {}).get("return")
        name = announced if isinstance(announced, str) else getattr(announced, "__name__", "")
        if name.rpartition(".")[2] in _NAMELESS:
            raise FilenameError(f"{self._function} returns a {name}, {_SET_FILENAME}")

    def _check_not_killed(self) -> None:
        from airflow_provider_workbench.client.errors import UploadStoppedError

        if self._killed:
            raise UploadStoppedError("The task was killed before anything was sent.")


_SET_FILENAME = (
    "which has no name of its own: set the parameter filename, as in @task.workbench_upload(filename='sales.csv')."
)


def _is_path(content: Any) -> bool:
    # an object-storage path is no os.PathLike, or none that can be opened
    return isinstance(content, str | os.PathLike) or (hasattr(type(content), "fs") and hasattr(type(content), "path"))


def _kind(content: Any) -> str:
    if content is None:
        return "None"
    cls = type(content)
    library = cls.__module__.partition(".")[0]
    return f"a {cls.__name__}" if library == "builtins" else f"a {library} {cls.__name__}"


def workbench_upload_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Make a task that uploads what the function returns: ``@task.workbench_upload``.

    The function returns one of

    - a path: ``str`` (never content), ``os.PathLike``, ``ObjectStoragePath``/``UPath``, or text such as ``s3://…``;
    - ``bytes``;
    - a table: a pandas or polars ``DataFrame``, a polars ``LazyFrame``, a pyarrow ``Table`` or ``RecordBatch``. It is
      written as CSV by its own library, into a temporary file that goes with the upload; see
      :class:`~airflow_provider_workbench.client.tables.TableSource`, also for a pandas index.

    The function is called once in each try that uploads, and not again where an earlier try has delivered the File and
    only waiting is left (Airflow 3.3 and later). A retry goes on with an upload that was cut off if the function
    returns the same again.

    :param python_callable: the function
    :param multiple_outputs: also push each value of the result (``filename``, ``size``, ``uuid``, …) as an XCom of its
        own. Not taken from the function's return type, since that is not what the task returns
    :param kwargs: any parameter of :class:`~airflow_provider_workbench.operators.workbench.WorkbenchUploadOperator` but
        ``filepath``. ``filename`` is required for bytes and tables
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=bool(multiple_outputs),
        decorated_operator_class=WorkbenchUploadDecoratedOperator,
        **kwargs,
    )
