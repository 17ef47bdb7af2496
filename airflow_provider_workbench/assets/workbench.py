"""``workbench://`` assets: an Upload Step as something that tasks bring up to date and DAGs are scheduled by.

The address names the Step, and is no way in: ``workbench://{host}/workflows/{id}/steps/{slug}``. With Airflow 2 an
asset is a ``Dataset``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from airflow.providers.common.compat.sdk import Asset

from airflow_provider_workbench.client.endpoint import Endpoint, is_host

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

SCHEME = "workbench"

_PATH = re.compile(r"/workflows/(?P<workflow>[0-9]{1,18})/steps/(?P<step>[-A-Za-z0-9_]+)")
_SECRET_PATH = re.compile(r"/workflows/w[-A-Za-z0-9_]+/steps/.*")
_EXPECTED = (
    "Expected is workbench://{host}/workflows/{id}/steps/{slug}, such as "
    "workbench://app.workbench.example/workflows/123/steps/step-abc"
)
_HTTPS_PORT = 443


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """The one way to write an asset's address. Airflow calls this for each ``workbench://`` asset.

    :param uri: with the host in any case, and the port if it is not https's
    :raises ValueError: it is not a Step's address; says why and what is expected, and quotes nothing of it
    """
    match = _PATH.fullmatch(uri.path.rstrip("/"))
    problem = _problem(uri) or (None if match else "its path is not a Step's")
    if problem or not match:
        raise ValueError(f"This is not a Step's asset: {problem}. {_EXPECTED}")
    return SplitResult(
        SCHEME, _netloc(uri), f"/workflows/{int(match['workflow'])}/steps/{match['step']}", query="", fragment=""
    )


def create_asset(
    *,
    host: str,
    workflow_id: int | str,
    step_slug: str,
    port: int | None = None,
    extra: dict[str, Any] | None = None,
) -> Asset:
    """A Step's asset, from its parts.

    :param host: the Workbench's, such as ``app.workbench.example``; ``host:port`` will do, too
    :param workflow_id: the Workflow's number
    :param step_slug: the Step's slug
    :param port: if it is not https's
    :param extra: what Airflow keeps with the asset
    :raises ValueError: they are not a Step's address
    """
    place = f"{host}:{port}" if port else host
    return Asset(uri=_uri(place, workflow_id, step_slug), extra=extra)


def step_asset(create_file_url: str, *, extra: dict[str, Any] | None = None) -> Asset:
    """A Step's asset, from what Workbench shows under "File-upload API", as the connection has it.

    For a DAG's ``schedule``, and for the ``outlets`` of the task that uploads::

        sales = step_asset("https://app.workbench.example/api/v1/workflows/123/steps/step-abc/files")

    :param create_file_url: the Create-file URL, pasted whole
    :param extra: what Airflow keeps with the asset
    :raises ConfigurationError: it is not a Create-file URL
    """
    # nothing is sent there, so it may well be http
    plain = create_file_url.strip().lower().startswith("http://")
    return Asset(uri=uri_of(Endpoint.parse(create_file_url, allow_http=plain)), extra=extra)


def uri_of(endpoint: Endpoint) -> str:
    """The address of a Step's asset."""
    return _uri(urlsplit(endpoint.origin).netloc, endpoint.workflow_id, endpoint.step_slug)


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> OpenLineageDataset:
    """A Step as OpenLineage names it. Called by Airflow.

    :param asset: a ``workbench://`` asset
    :param lineage_context: of no use here
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    namespace, name = openlineage_name(asset.uri)
    return Dataset(namespace, name)


def openlineage_name(uri: str) -> tuple[str, str]:
    """Namespace ``workbench://{host}`` and name ``workflows/{id}/steps/{slug}``.

    :param uri: of a Step's asset
    """
    parts = urlsplit(uri)
    return f"{SCHEME}://{parts.netloc}", parts.path.lstrip("/")


def _uri(place: str, workflow_id: int | str, step_slug: str) -> str:
    path = f"/workflows/{workflow_id}/steps/{step_slug}"
    return urlunsplit(sanitize_uri(SplitResult(SCHEME, place, path, query="", fragment="")))


def _problem(uri: SplitResult) -> str | None:
    try:
        host, _ = uri.hostname, uri.port
    except ValueError:
        return "its port is none"
    if uri.scheme.lower() != SCHEME:
        return "it does not start with workbench://"
    if "@" in uri.netloc:
        return "it has a user name or password"
    if not host or not is_host(host) or "/" in uri.netloc:
        return "it names no host"
    if uri.query or uri.fragment:
        return "something follows the Step's slug"
    if _SECRET_PATH.fullmatch(uri.path):
        return "it has a secret link's id instead of the Workflow's number"
    return None


def _netloc(uri: SplitResult) -> str:
    host = uri.hostname or ""
    # Airflow 2, and Airflow 3 with MySQL, take ASCII only
    host = host if host.isascii() else ".".join(map(_ascii_label, host.split(".")))
    host = f"[{host}]" if ":" in host else host
    return host if uri.port in (None, _HTTPS_PORT) else f"{host}:{uri.port}"


def _ascii_label(label: str) -> str:
    """As HTTP libraries write it. Python's own codec is of an older standard: it makes ``strasse`` of ``straße``."""
    if label.isascii():
        return label
    import idna

    return idna.encode(label, strict=True, std3_rules=True).decode()
