"""A trigger that leaks on purpose. Beside the DAGs no triggerer would find it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

from airflow.triggers.base import BaseTrigger, TriggerEvent

PLANTS = json.loads(Path(os.environ["AUDIT_PLANTS"]).read_text())


class PlantedTrigger(BaseTrigger):
    def __init__(self, told):
        super().__init__()
        self.told = told

    def serialize(self):
        return "planted_trigger.PlantedTrigger", {"told": self.told}

    async def run(self):
        logging.getLogger("aiohttp.client").debug(PLANTS["log of a trigger"])
        while not Path(os.environ["AUDIT_FILES"], "triggers may end").exists():
            await asyncio.sleep(0.5)
        yield TriggerEvent("done")
