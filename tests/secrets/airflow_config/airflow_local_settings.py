"""Read by every component of the audit's Airflow: all that can be logged is."""

from __future__ import annotations

import http.client
import json
import logging
import os
from pathlib import Path

import airflow._shared.secrets_masker
import airflow.sdk._shared.secrets_masker

for _name in (None, "airflow", "airflow.task", "urllib3", "requests", "http.client", "aiohttp", "asyncio", "tusclient"):
    logging.getLogger(_name).setLevel(logging.DEBUG)
# prints each request's and answer's headers
http.client.HTTPConnection.debuglevel = 1

# nothing may rely on the masker, which hides what it was told of; what it hides by the name of its key stays hidden
for _masker in (airflow._shared.secrets_masker, airflow.sdk._shared.secrets_masker):
    _masker.SecretsMasker.add_mask = lambda self, secret, name=None: None

# a planted leak
print(json.loads(Path(os.environ["AUDIT_PLANTS"]).read_text())["output of the components"], flush=True)
