"""Secrets that Airflow is told to keep out of its logs."""

from __future__ import annotations

from collections.abc import Iterable

# characters; Airflow 3 takes no shorter ones, and Airflow 2 would mask a letter everywhere
_SHORTEST = 5


def mask(secrets: Iterable[str]) -> None:
    """Register them with Airflow's masker, but for those that are shorter than 5 characters."""
    from airflow.providers.common.compat.sdk import mask_secret

    for secret in secrets:
        if len(secret) >= _SHORTEST:
            mask_secret(secret)
