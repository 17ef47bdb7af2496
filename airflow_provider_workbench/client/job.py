"""What every part of an upload works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_workbench.client.backoff import Backoff
from airflow_provider_workbench.client.listener import Listener
from airflow_provider_workbench.client.patience import Control, Patience
from airflow_provider_workbench.client.session import Session
from airflow_provider_workbench.client.settings import Settings

NOTHING = " The Step has nothing of it; another try uploads it again."


@dataclass(slots=True)
class Totals:
    """What an upload took, over all its rounds.

    :ivar bytes_sent: bytes of the file that were sent, repeated ones counted again
    :ivar resumed_from: bytes; where it last went on after a loss
    """

    bytes_sent: int = 0
    resumed_from: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """Connections, the brake, the clock and the ear of one upload.

    :ivar session: connections to both hosts
    :ivar control: stops it
    :ivar patience: how long to wait for what
    :ivar listener: is told about it
    """

    session: Session
    control: Control = field(default_factory=Control)
    patience: Patience = field(default_factory=Patience)
    listener: Listener = field(default_factory=Listener)

    @property
    def settings(self) -> Settings:
        """What the connection says."""
        return self.session.settings

    def backoff(self) -> Backoff:
        """Pauses within ``retry_budget`` seconds since the last progress."""
        patience = self.patience
        return Backoff(self.settings.retry_budget, first=patience.first_pause, longest=patience.longest_pause)
