"""What can be made to go wrong, and the server's limits."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

HOOK_MODES = ("ok", "down", "500", "store-then-500")


@dataclass
class Switches:
    """What can be made to go wrong, and the server's limits. Times are in seconds, sizes in bytes."""

    hook: str = "ok"
    """``ok``, ``down`` (tusd cannot reach it), ``500`` (it crashes), ``store-then-500`` (it lists the File, takes
    the bytes away and crashes before it selects the File)."""
    hook_delay: float = 0.0
    """How long each call of the hook takes."""
    hook_retry_seconds: float = 1.0
    """tusd's wait between its three calls of a failing hook (recorded: an answer after about 2 s)."""
    render_delay: float = 0.0
    render_error: str | None = None
    """A message with which every render fails."""
    idle_limit: float = 6.0
    """A PATCH that sends nothing for so long ends with 500 (recorded)."""
    flush_size: int = 50 * 1024 * 1024
    """What a silent PATCH loses is counted back to a multiple of this (recorded: 55 MiB became 50 MiB)."""
    cut_seconds: float = 0.1
    """How long an upload stays locked after its connection was cut (recorded: 0.06 to 0.55 s)."""
    create_timeout: float = 5.0
    """Create-file gives up on tusd after this (the real figure is not recorded; it shows with size 0 only)."""
    max_file_size: int = 2**31 - 1
    """The finish of a larger File always fails with 500: the real column is a 32-bit integer."""
    websocket_refusal: int | None = None
    """The HTTP status with which every websocket's handshake is refused, as by a proxy that knows none."""
    websockets_silent: bool = False
    """Websockets stay open and are told nothing. (Pings go on.)"""
    step_file_limit: int = 30
    step_byte_limit: int = 2**31

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "hook" and value not in HOOK_MODES:
            raise ValueError(f"hook is one of {', '.join(HOOK_MODES)}, not {value!r}")
        object.__setattr__(self, name, value)

    async def pause(self, name: str) -> None:
        """Wait as long as a delay switch says; setting it to 0 ends waits under way."""
        start = time.monotonic()
        while (left := start + getattr(self, name) - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))
