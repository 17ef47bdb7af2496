"""Run a property test with inputs that seek out code not yet reached (by hand; needs ``atheris`` installed).

``python tests/security/fuzz.py test_properties NAME 100000`` runs it until so many inputs were good ones. What fails is
shown with the test's arguments, and its bytes are kept as ``crash-…`` in the current directory.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import atheris

MODULE, NAME, EXAMPLES = sys.argv[1:]

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
with atheris.instrument_imports(include=["airflow_provider_workbench"]):
    run = getattr(importlib.import_module(MODULE), NAME).hypothesis.fuzz_one_input

ran = 0


def one(data: bytes) -> None:
    global ran
    # None: the bytes made no arguments, or such as the test leaves out
    ran += run(data) is not None
    if ran == int(EXAMPLES):
        print(f"{NAME}: {ran:,} inputs, no failure", flush=True)
        os._exit(0)


atheris.Setup([sys.argv[0], "-max_len=2000", "-len_control=20", "-verbosity=0", "-timeout=60"], one)
atheris.Fuzz()
