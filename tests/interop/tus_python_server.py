"""A TUS server from PyPI: ``python tus_python_server.py NAME DIRECTORY``. Prints its port, and ends with its stdin."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn


def app(name: str, directory: Path) -> Any:
    if name == "tussi":
        from tussi import FilesystemStorage, TUSApp

        (directory / "unfinished").mkdir()
        return TUSApp(storage=FilesystemStorage(directory / "unfinished"), completed_dir=directory, max_chunk_size=None)
    from fastapi import FastAPI
    from tuspyserver import create_tus_router

    api = FastAPI()
    api.include_router(create_tus_router(prefix="files", files_dir=str(directory)))
    return api


def end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    sock = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    application = app(sys.argv[1], Path(sys.argv[2]))
    print(sock.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False)).run(sockets=[sock])
