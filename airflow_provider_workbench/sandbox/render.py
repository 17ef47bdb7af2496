"""Rendering: a File becomes a table, as far as the sandbox can read it."""

from __future__ import annotations

import asyncio
import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .state import Output, Step, Workbench, Workflow
from .switches import Switches

if TYPE_CHECKING:
    import polars

NUMBER = {"type": "number", "format": "{:,}"}
TEXT = {"type": "text"}
SNIFFED_BYTES = 64 * 1024


class Unreadable(Exception):  # noqa: N818
    """A File that cannot become a table; the message is for the Step's page."""


class Renderer:
    """Renders Steps in a thread, one after the other, so that the servers go on answering."""

    def __init__(self, loop: asyncio.AbstractEventLoop, workbench: Workbench, switches: Switches) -> None:
        self._loop = loop
        self._workbench = workbench
        self._switches = switches
        self._threads = ThreadPoolExecutor(1, "workbench-sandbox-render")
        self._running: set[tuple[Step, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        workbench.render = self.start

    def start(self, step: Step) -> None:
        """Render a Step soon; from any thread."""
        self._loop.call_soon_threadsafe(self._start, step)

    def render_stale(self, workflow: Workflow) -> None:
        """What opening a page or a websocket does."""
        for step in workflow.steps:
            if not step.is_rendered:
                self._start(step)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, step: Step) -> None:
        key = (step, step.delta_id)
        if key not in self._running:
            self._running.add(key)
            task = self._loop.create_task(self._render(step, step.delta_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._running.discard(key))

    async def _render(self, step: Step, delta_id: int) -> None:
        await self._switches.pause("render_delay")
        with self._workbench.changed:
            file = step.selected
            if step.delta_id != delta_id or file is None:
                return
            path = step.path(file.uuid)
        if self._switches.render_error is not None:
            output = Output("error", errors=(self._switches.render_error,))
        else:
            output = await self._loop.run_in_executor(self._threads, render, path, file.name)
        self._workbench.rendered(step, delta_id, file.uuid, output)


def render(path: Path, name: str) -> Output:
    """Read a File and describe the table in it. A problem with the File is an ``error`` Output."""
    try:
        frame = _scan(path, name)
        if frame is None:
            return Output()
        n_rows, columns = _describe(frame)
    except Unreadable as problem:
        return Output("error", errors=(str(problem),))
    except BaseException as problem:  # a panic inside polars is no Exception
        text = str(problem).splitlines()
        return Output("error", errors=(f"The sandbox cannot read this File: {text[0] if text else problem!r}",))
    return Output("ok" if columns else "unreachable", n_rows, columns)


def _scan(path: Path, name: str) -> polars.LazyFrame | None:
    """The File's table, every column as text, numbers or lists; None for an empty File."""
    suffix = Path(name).suffix.lower()
    if suffix in (".xls", ".xlsx"):
        raise Unreadable("The sandbox does not read Excel files; a real Workbench does.")
    if suffix not in (".csv", ".tsv", ".txt", ".json"):
        raise Unreadable(f"Unknown file extension {suffix}: Workbench has no reader for such a File.")
    if path.stat().st_size == 0:
        return None
    if suffix == ".json":
        return _scan_json(path)
    import polars as pl

    separator = {".csv": ",", ".tsv": "\t"}.get(suffix) or _sniff(path)
    return pl.scan_csv(path, separator=separator, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True)


def _sniff(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(SNIFFED_BYTES).decode("utf-8", "replace")
    try:
        return csv.Sniffer().sniff(start, ",;\t|").delimiter
    except csv.Error:
        return ","


def _scan_json(path: Path) -> polars.LazyFrame | None:
    import polars as pl

    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise Unreadable(f"This File is not JSON: {error}.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable("The JSON must be an array of objects, one per row.")
    if not rows:
        return None
    frame = pl.DataFrame(
        [{key: _cell(value) for key, value in row.items()} for row in rows], infer_schema_length=None, strict=False
    )
    return frame.lazy()


def _cell(value: Any) -> Any:
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value)
    return value


def _describe(frame: polars.LazyFrame) -> tuple[int, tuple[dict[str, str], ...]]:
    """Number of rows, and name and type of each column. Memory does not grow with the File."""
    import polars as pl

    schema = frame.collect_schema()
    checks = [
        _as_number(name).is_not_null().eq(_has_value(name)).all().alias(f"{index}")
        if kind == pl.String
        else pl.lit(True).alias(f"{index}")
        for index, (name, kind) in enumerate(schema.items())
    ]
    filled = [_has_value(name).any().alias(f"{index} filled") for index, name in enumerate(schema)]
    facts = frame.select(pl.len().alias("rows"), *checks, *filled).collect(engine="streaming").row(0, named=True)
    columns = tuple(
        {"name": name, **(NUMBER if facts[f"{index}"] and facts[f"{index} filled"] else TEXT)}
        for index, name in enumerate(schema)
    )
    return facts["rows"], columns


def _has_value(name: str) -> polars.Expr:
    import polars as pl

    return pl.col(name).is_not_null() & pl.col(name).cast(pl.String).ne("")


def _as_number(name: str) -> polars.Expr:
    import polars as pl

    return pl.col(name).cast(pl.Float64, strict=False)


def table(path: Path | None, name: str, format: str, n_rows: int | None) -> str:
    """The rendered rows as JSON or CSV text; with ``n_rows``, only the first."""
    frame = _scan(path, name) if path else None
    if frame is None:
        return "[]" if format == "json" else ""
    import polars as pl

    _, columns = _describe(frame)
    numbers = [
        pl.col(column["name"]).replace("", None).cast(pl.Float64).alias(column["name"])
        for column in columns
        if column["type"] == "number"
    ]
    frame = frame.with_columns(numbers)
    result = (frame.head(n_rows) if n_rows is not None else frame).collect()
    if format == "csv":
        return result.write_csv()
    rows = [{key: _plain(value) for key, value in row.items()} for row in result.iter_rows(named=True)]
    return json.dumps(rows, separators=(",", ":"))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
