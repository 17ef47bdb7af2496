"""Something done in a fork of this process, as Airflow runs tasks and parses DAGs."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def in_fork(function: Callable[[], Any]) -> Any:
    """What ``function`` returns in a fork of this process, by way of JSON."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, json.dumps(function()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


class Worker:
    """Calls a function as often as it is called, in one fork of this process."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, function), daemon=True).start()

    def __call__(self) -> Any:
        self._pipe.send(None)
        return self._pipe.recv()


def _serve(pipe: Connection, function: Callable[[], Any]) -> None:
    while True:
        pipe.recv()
        pipe.send(function())
