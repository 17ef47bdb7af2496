"""Memory: every hostile answer in one process, servers and all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
LIMIT = 300  # MiB

# VmHWM and not ru_maxrss: that one is inherited, and would begin with the peak of the process that started this one
RUN = """
import json, re, sys
import pytest

code = pytest.main([*sys.argv[1:], "-q", "-p", "no:cacheprovider", "-p", "no:cov"])
with open("/proc/self/status") as status:
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])
print(json.dumps({"code": int(code), "peak": peak / 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_all_hostile_answers_together_need_little_memory() -> None:
    names = ("answers", "uploads", "upload_urls", "websockets")
    files = [str(HERE / f"test_hostile_{name}.py") for name in names]
    done = subprocess.run([sys.executable, "-c", RUN, *files], capture_output=True, text=True, cwd=HERE.parent.parent)
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"peak of the hostile answers' tests: {result['peak']:.0f} MiB")
    assert result["code"] == 0, done.stdout
    assert result["peak"] < LIMIT
