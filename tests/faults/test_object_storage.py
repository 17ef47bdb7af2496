"""Memory and disk: 500 MB of an object through two cuts, sent by a process that does nothing else."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_script import Fault
from rig import Rig
from storage_server import Storage

MIB = 1024 * 1024
PART = 50 * MIB
SIZE = 10 * PART  # more than 500 MB
CUTS = 2

# VmHWM and not ru_maxrss: see test_memory. What is imported, and what the libraries make once, is there after the
# first upload
UPLOAD = """
import json, os, re, sys
from airflow_provider_workbench.client.object_source import ObjectSource
from airflow_provider_workbench.client.patience import Patience
from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.client.upload import upload_file
from storage_server import Storage

def kib(name):
    with open("/proc/self/status") as status:
        return int(re.search(name + r":\\s+(\\d+) kB", status.read())[1])

written = []
def note(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        written.append(str(args[0]))

url, token, storage_url, sha256 = sys.argv[1:]
settings = Settings.from_fields(url, token, {})
storage = Storage()
fs = storage.fs(storage_url)
patience = Patience(first_pause=0.05, grace=0.25)
upload_file(settings, ObjectSource(fs, "lake/small.bin"), patience=patience)
before = kib("VmRSS")
sys.addaudithook(note)
source = ObjectSource(fs, "lake/large.bin")
result = upload_file(settings, source, patience=patience, sha256=sha256 == "sha256")
print(json.dumps({"grown": kib("VmHWM") - before, "written": written, **result.as_dict()}))
"""


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with Storage() as storage:
        yield storage


@pytest.fixture(scope="module")
def large(storage: Storage) -> str:
    """The SHA-256 of ``large.bin``."""
    digest = hashlib.sha256()
    made = storage.client.create_multipart_upload(Bucket="lake", Key="large.bin")
    parts = []
    for number in range(1, SIZE // PART + 1):
        # no block can take another's place
        part = b"".join((number * PART + offset).to_bytes(16) * 4096 for offset in range(0, PART, 65536))
        digest.update(part)
        named = {"Bucket": "lake", "Key": "large.bin", "UploadId": made["UploadId"], "PartNumber": number}
        parts.append({"PartNumber": number, "ETag": storage.client.upload_part(**named, Body=part)["ETag"]})
    storage.client.complete_multipart_upload(
        Bucket="lake", Key="large.bin", UploadId=made["UploadId"], MultipartUpload={"Parts": parts}
    )
    return digest.hexdigest()


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
@pytest.mark.parametrize("sha256", ["sha256", "no sha256"])
def test_memory_and_disk_do_not_grow_with_the_object(rig: Rig, storage: Storage, large: str, sha256: str) -> None:
    storage.put("small.bin", b"x" * 100)
    rig.proxy.script = [
        Fault("pass", method="PATCH"),
        *(Fault("cut", method="PATCH", at=SIZE // (CUTS + 1)) for _ in range(CUTS)),
    ]
    settings = rig.settings(rig.wb.step)
    command = [sys.executable, "-c", UPLOAD, settings.endpoint.create_file_url, settings.token, storage.url, sha256]
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env={"PYTHONPATH": tests})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(f"grown by {result['grown'] / 1024:.1f} MiB, {result['bytes_sent']} bytes sent, {result['seconds']} s")
    assert result["grown"] < 32 * 1024  # KiB
    assert result["written"] == []
    assert rig.proxy.said("upload").count("PATCH None") == CUTS
    assert result["bytes_sent"] >= SIZE
    file = next(file for file in rig.wb.step.files if file.name == "large.bin")
    with rig.wb.step.path(file.uuid).open("rb") as arrived:
        assert hashlib.file_digest(arrived, "sha256").hexdigest() == large
    assert result["sha256"] == (large if sha256 == "sha256" else None)
