"""Memory of a process that does nothing but upload: 2 GiB at once, 1 GiB through twenty cuts."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fault_script import Fault
from rig import Rig

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.sandbox import Sandbox

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from"),
]

MIB = 1024 * 1024
SIZE = 1024 * MIB
CUTS = 20
BLOCK = 64 * 1024

# VmHWM and not ru_maxrss: that one is inherited, and would begin with the peak of the process that started this one
UPLOAD = """
import json, re, sys
from airflow_provider_workbench.client.patience import Patience
from airflow_provider_workbench.client import transfer  # else imported with the upload
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file

def kib(name):
    with open("/proc/self/status") as status:
        return int(re.search(name + r":\\s+(\\d+) kB", status.read())[1])

url, token, path = sys.argv[1:]
settings = Settings.from_fields(url, token, {})
before = kib("VmRSS")
result = upload_file(settings, path, patience=Patience(first_pause=0.05, grace=0.25))
print(json.dumps({"grown": kib("VmHWM") - before, **result.as_dict()}))
"""


@pytest.fixture
def gibibyte(tmp_path: Path) -> Path:
    """1 GiB, nearly all of it holes; each block begins with its own offset, so that none can take another's place."""
    path = tmp_path / "large.bin"  # no .csv: the sandbox would render it
    with path.open("wb") as file:
        for offset in range(0, SIZE, BLOCK):
            file.seek(offset)
            file.write(offset.to_bytes(8))
        file.truncate(SIZE)
    return path


def upload(settings: Settings, path: Path) -> dict[str, Any]:
    """In a fresh process. By how many KiB it grew, and the result."""
    command = [sys.executable, "-c", UPLOAD, settings.endpoint.create_file_url, settings.token, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    print(f"grown by {result['grown'] / 1024:.1f} MiB, {result['bytes_sent']} bytes sent, {result['seconds']} s")
    return result


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_memory_is_the_same_for_a_file_of_16_mib_and_the_largest(fault_sandbox: Sandbox, tmp_path: Path) -> None:
    """A smaller one cannot fill the buffers, which hold some blocks of 512 KiB, and needs that much less. How full they
    are at most is a matter of luck, and makes up to 0.8 MiB; two bytes for each KiB of the file would be 4 MiB."""
    fault_sandbox.reset()
    step = fault_sandbox.step
    settings = Settings.from_fields(step.create_file_url, step.api_token or "")
    grown = []
    for size in (MIB, 16 * MIB, 2147483647):
        path = tmp_path / f"{size}.bin"
        with path.open("wb") as file:
            file.truncate(size)
        result = upload(settings, path)
        assert result["bytes_sent"] == step.files[0].size == size
        grown.append(result["grown"])
    assert max(grown) <= 8 * 1024  # KiB
    assert abs(grown[2] - grown[1]) <= 2 * 1024


def test_memory_does_not_grow_with_the_file_nor_with_twenty_cuts(rig: Rig, gibibyte: Path) -> None:
    rig.proxy.script = [Fault("cut", method="PATCH", at=SIZE // (CUTS + 1)) for _ in range(CUTS)]
    settings = rig.settings(rig.wb.step)
    result = upload(settings, gibibyte)
    assert result["grown"] < 16 * 1024  # KiB
    assert rig.proxy.said("upload").count("PATCH None") == CUTS
    assert rig.sent == SIZE
    (file,) = rig.wb.step.files
    assert digest(rig.wb.step.path(file.uuid)) == digest(gibibyte)
