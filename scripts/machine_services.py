"""PostgreSQL, Redis and an S3 server for a test, on loopback: processes of our own, with nothing left behind.

PostgreSQL and Redis are the distribution's. Where root runs this on Debian and they are missing, they are installed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self
from urllib.request import Request, urlopen

from airflow_standalone import free_port
from processes import Command, Processes, until

START_TIMEOUT = 60
POLICY = Path("/usr/sbin/policy-rc.d")


class Services:
    """Both databases ask for a password. What they store is gone with the context.

    :param folder: must exist; keeps what they say
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._password = secrets.token_urlsafe(16)
        self.ports = {name: free_port() for name in ("postgres", "redis", "s3")}
        self._stack = contextlib.ExitStack()
        self.s3_url = f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def postgres_url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg2://airflow:{self._password}@127.0.0.1:{self.ports['postgres']}/postgres"

    @property
    def redis_url(self) -> str:
        """For Celery's broker."""
        return f"redis://:{self._password}@127.0.0.1:{self.ports['redis']}/0"

    def __enter__(self) -> Self:
        install_missing()
        with contextlib.ExitStack() as stack:
            store = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="services-", ignore_cleanup_errors=True))
            )
            commands = [self._postgres(store), self._redis(store), self._s3()]
            processes = Processes(self._folder, commands, env=os.environ, log_name="services.log")
            stack.enter_context(processes)
            for _ in until(START_TIMEOUT):
                processes.check()
                if all(map(_answers, self.ports.values())):
                    break
            else:
                raise TimeoutError(f"No answer after {START_TIMEOUT} s:\n{processes.log_tail()}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def make_bucket(self, name: str) -> None:
        """An empty bucket. This S3 server looks at no credentials."""
        with urlopen(Request(f"{self.s3_url}/{name}", method="PUT"), timeout=30):
            pass

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        """Store it."""
        # urllib's own type is that of a form, which the server would take apart
        headers = {"Content-Type": "application/octet-stream"}
        with urlopen(Request(f"{self.s3_url}/{bucket}/{key}", content, headers, method="PUT"), timeout=60):
            pass

    def _postgres(self, store: Path) -> Command:
        as_other_user: list[str] = []
        store.chmod(0o711)
        data = store / "postgres"
        data.mkdir(mode=0o700)
        password = data.with_suffix(".password")
        password.write_text(self._password)
        if os.getuid() == 0:  # with whose rights it refuses to run
            as_other_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            for path in (data, password):
                shutil.chown(path, "postgres", "postgres")
        initdb = [*as_other_user, _program("initdb"), "-D", str(data), "-U", "airflow", "-A", "scram-sha-256"]
        done = subprocess.run(
            [*initdb, f"--pwfile={password}", "--no-sync", "-E", "UTF8", "--locale=C"],
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        password.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}")
        settings = {
            "port": self.ports["postgres"],
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 300,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # SIGTERM would wait for the clients to go
        return Command("postgres", (*as_other_user, _program("postgres"), "-D", str(data), *options), stop="SIGINT")

    def _redis(self, store: Path) -> Command:
        settings = store / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind 127.0.0.1\nport {self.ports['redis']}\nrequirepass {self._password}\n"
            f'dir "{store}"\nsave ""\nappendonly no\n'
        )
        return Command("redis", (_program("redis-server"), str(settings)))

    def _s3(self) -> Command:
        return Command("s3", (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.ports["s3"])))


def install_missing() -> None:
    """:raises RuntimeError: PostgreSQL or Redis is missing, and cannot be installed from here."""
    programs = {"postgres": "postgresql", "redis-server": "redis-server"}
    missing = [package for program, package in programs.items() if not _find(program)]
    if not missing:
        return
    if os.getuid() or not shutil.which("apt-get"):
        raise RuntimeError(f"Install {' and '.join(missing)} first (on Debian: apt-get install {' '.join(missing)}).")
    with contextlib.ExitStack() as stack:
        if not POLICY.exists():  # else the packages start services
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            stack.callback(POLICY.unlink)
            POLICY.chmod(0o755)
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "-qq", *command], env=env, stdout=subprocess.DEVNULL, check=True)


def _program(name: str) -> str:
    found = _find(name)
    if not found:
        raise RuntimeError(f"There is no program {name!r}")
    return found


def _find(name: str) -> str | None:
    """Debian keeps PostgreSQL's server programs off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, folders)))


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
