"""A small Workbench to try the provider with and to test against; needs the ``sandbox`` extra.

It imports nothing from the rest of the package, so it cannot share a client's mistakes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import Sandbox
    from .state import File, Step, Workflow
    from .traffic import Request

__all__ = ["File", "Request", "Sandbox", "Step", "Workflow"]

_HOMES = {"Sandbox": "server", "File": "state", "Step": "state", "Workflow": "state", "Request": "traffic"}


def __getattr__(name: str) -> Any:
    # Lazy (PEP 562): pytest imports this package in every run, to find the plugin.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
