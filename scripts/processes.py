"""Processes that end together: with a context, and also when the process that started them is killed.

A launcher leads the session in which they are, and ends the whole session when its standard input closes::

    with Processes(folder, [Command("redis", ("redis-server", "--port", "0"))], env=os.environ) as processes:
        processes.kill("redis")
        processes.start("redis")
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

# seconds that a process may take to end by its own ``stop`` signal, and those of the session by SIGTERM
STOP_PATIENCE = 5
TERM_PATIENCE = 2


@dataclass(frozen=True)
class Command:
    """How one of them is started.

    :param name: what :meth:`Processes.kill` and :meth:`Processes.start` call it
    :param argv: the command
    :param nice: how much others go first
    :param stop: the name of a signal that ends it well where SIGTERM, which they all get, does not
    """

    name: str
    argv: tuple[str, ...]
    nice: int = 0
    stop: str = ""


class Processes:
    """All output goes to ``folder/{log_name}``.

    :param folder: must exist; keeps what they say, and which of them are running
    :param commands: what to start
    :param env: their environment
    """

    def __init__(
        self, folder: Path, commands: Sequence[Command], *, env: Mapping[str, str], log_name: str = "processes.log"
    ) -> None:
        self.folder = folder
        self.log_file = folder / log_name
        self._commands = commands
        self._env = env
        self._launcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log_file.open("ab") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, __file__, str(self.folder), json.dumps([asdict(each) for each in self._commands])],
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End them all."""
        if self._launcher is not None and self._launcher.stdin is not None:
            self._launcher.stdin.close()  # the launcher ends everything when it sees this
            self._launcher.wait(timeout=30)
            self._launcher = None

    def check(self) -> None:
        """:raises RuntimeError: one of them ended, and with it all."""
        if self._launcher is None or self._launcher.poll() is not None:
            raise RuntimeError(f"A process ended:\n{self.log_tail()}")

    def kill(self, name: str) -> None:
        """End one of them, and what it started, as a power cut would. It stays away until :meth:`start`."""
        self._tell(f"kill {name}", lambda: not _running(self.folder, name).exists())

    def start(self, name: str) -> None:
        """Start one that was killed."""
        self._tell(f"start {name}", _running(self.folder, name).exists)

    def log_tail(self, lines: int = 40) -> str:
        """The last of what they all said."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _tell(self, order: str, is_done: Callable[[], bool]) -> None:
        assert self._launcher is not None
        assert self._launcher.stdin is not None
        self._launcher.stdin.write(f"{order}\n".encode())
        self._launcher.stdin.flush()
        for _ in until(20, pause=0.1):
            if is_done():
                return
        raise TimeoutError(f"{order}: not done\n{self.log_tail()}")


def until(seconds: float, pause: float = 0.3) -> Iterator[None]:
    """Turns of a loop, with pauses, for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)


# --- the launcher: leads the session in which all of them are


def _launch(folder: Path, commands: dict[str, Command]) -> None:
    """Run them until one ends or standard input closes, then end the whole session.

    Lines on standard input kill and start one: a process that was killed so is not one that ended.
    """
    running = {name: _start(command) for name, command in commands.items()}
    started = list(running.values())
    for name in running:
        _running(folder, name).touch()
    while all(each.poll() is None for each in running.values()):
        if not select.select([0], [], [], 0.5)[0]:
            continue
        if not (orders := os.read(0, 4096)):
            break
        for order, name in (line.split() for line in orders.decode().splitlines()):
            if order == "kill":
                killed = running.pop(name)
                os.killpg(killed.pid, signal.SIGKILL)
                killed.wait()
                _running(folder, name).unlink()
            else:
                running[name] = _start(commands[name])
                started.append(running[name])
                _running(folder, name).touch()
    for name, process in running.items():
        if process.poll() is not None:
            print(f"{name} ended: {process.returncode}", flush=True)
        if commands[name].stop:
            process.send_signal(signal.Signals[commands[name].stop])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_PATIENCE)
    # Airflow's tasks have process groups of their own: only the session holds all of them.
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in _session():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        for _ in until(TERM_PATIENCE, pause=0.1):
            for each in started:
                each.poll()
            if not _session():
                return


def _start(command: Command) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        preexec_fn=partial(os.nice, command.nice),
        process_group=0,  # what it starts can be killed with it
    )


def _running(folder: Path, name: str) -> Path:
    """Is there while the process is meant to run."""
    return folder / f"{name}.running"


def _session() -> list[int]:
    """The other processes of this session."""
    if os.path.isdir("/proc/self"):
        names = os.listdir("/proc")
    else:
        names = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True).stdout.split()
    found = []
    for pid in (int(name) for name in names if name.isdecimal()):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == os.getsid(0) and pid != os.getpid():
                found.append(pid)
    return found


if __name__ == "__main__":
    _launch(
        Path(sys.argv[1]),
        {
            each["name"]: Command(each["name"], tuple(each["argv"]), each["nice"], each["stop"])
            for each in json.loads(sys.argv[2])
        },
    )
