"""A task's outlets that are the Step it uploads to, and the events that tell of the File."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_workbench.assets.workbench import SCHEME, sanitize_uri, uri_of
from airflow_provider_workbench.client.errors import ConfigurationError, printable

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_workbench.client.endpoint import Endpoint


class StepOutlets:
    """The outlets that are a Step's asset, and the aliases, which get one. Others are none of our business.

    :param outlets: the task's
    :param context: the task's
    :param endpoint: the Step that the task uploads to
    :param conn_id: of the connection that says so, for the error
    :raises ConfigurationError: an outlet is another Step; the error names both
    """

    def __init__(self, outlets: Iterable[Any], context: Context, endpoint: Endpoint, conn_id: str) -> None:
        self._uri = uri_of(endpoint)
        self._aliases = []
        self._assets = []
        for outlet in outlets:
            if isinstance(outlet, AssetAlias):
                self._aliases.append(outlet)
            elif (uri := _address(outlet, context)).startswith(f"{SCHEME}://"):
                self._check(uri, conn_id)
                self._assets.append(outlet)

    def __bool__(self) -> bool:
        return bool(self._aliases or self._assets)

    def tell(self, context: Context, upload: Mapping[str, Any], *, sha256: bool) -> None:
        """Give each event ``filename``, ``size`` (bytes), ``uuid`` (None if it is not known) and, if asked for,
        ``sha256``.

        :param context: the task's
        :param upload: an :class:`~airflow_provider_workbench.client.upload.UploadResult` as a dict
        :param sha256: whether it was asked for
        """
        if not self:
            return
        names = ("filename", "size", "uuid", "sha256") if sha256 else ("filename", "size", "uuid")
        extra = {name: upload.get(name) for name in names}
        events = context["outlet_events"]
        for asset in self._assets:
            events[asset].extra = {**events[asset].extra, **extra}
        for alias in self._aliases:
            _add(events[alias], self._uri, extra)

    def _check(self, uri: str, conn_id: str) -> None:
        problem = None
        try:
            same = urlunsplit(sanitize_uri(urlsplit(uri))) == self._uri
        except ValueError as error:
            # Airflow 2 only warns of it
            problem, same = str(error), False
        if problem:
            raise ConfigurationError(f"The task's outlet cannot be used: {problem}")
        if not same:
            raise ConfigurationError(
                f"The task's outlet is {printable(uri, 300)}, and connection {conn_id!r} uploads to {self._uri}. "
                "Give the task the asset of the connection's Step, or another connection."
            )


def _address(outlet: Any, context: Context) -> str:
    if type(outlet).__name__ == "AssetNameRef":
        # Airflow 3 looks the name up
        return str(getattr(context["outlet_events"][outlet].key, "uri", ""))
    return str(getattr(outlet, "uri", ""))


def _add(accessor: Any, uri: str, extra: dict[str, Any]) -> None:
    """The asset may have a name of its own, and Airflow 3 has one asset of an address."""
    if hasattr(Asset, "ref"):
        from airflow.sdk.exceptions import AirflowRuntimeError

        try:
            accessor.add(Asset.ref(uri=uri), extra)
        except AirflowRuntimeError:
            # nobody has such an asset yet
            pass
        else:
            return
    accessor.add(Asset(uri=uri), extra)
