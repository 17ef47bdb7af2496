"""What a task read and where it went, as OpenLineage has it. Only its listener asks for this; nothing of it is needed
else. No I/O."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Any

from airflow_provider_workbench.assets.workbench import openlineage_name, uri_of
from airflow_provider_workbench.client.endpoint import Endpoint
from airflow_provider_workbench.client.local_files import may_be_address
from airflow_provider_workbench.client.object_source import is_azure_account, without_secrets

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<place>[^/]*)(?P<path>.*)", re.DOTALL)
# what OpenLineage calls the scheme, where names are keys without a slash in front
_BUCKETS = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs"}
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs", "adl", "az")
_CONTAINER = re.compile(r"[$A-Za-z0-9-]+")


def source_name(source: Any) -> dict[str, str] | None:
    """Namespace and name of what is uploaded, by OpenLineage's naming rules, without credentials.

    :param source: a path, an object-storage path, or anything else
    :return: None for what has no name: bytes, tables, and an address that may be read in two ways, by one of which a
        password would be in the name
    """
    if hasattr(type(source), "fs") and hasattr(type(source), "path"):
        text = source.path if source.protocol in ("", "file", "local") else str(source)
    elif isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
    else:
        return None
    if not text:
        return None
    match = _URL.fullmatch(text)
    if match is None or match["scheme"].lower() in ("file", "local"):
        path = _local_path(text, match)
        if may_be_address(path):
            # a misspelled one, most likely, which nothing reads: who knows what is in it
            return None
        return {"namespace": f"file://{socket.gethostname()}", "name": os.path.abspath(path)}
    return _object_name(text, match["place"].rpartition("@")[0])


def operator_lineage(
    source: Mapping[str, str] | None, endpoint: Endpoint | None, upload: Mapping[str, Any] | None = None
) -> Any:
    """The task's inputs and outputs.

    :param source: of :func:`source_name`
    :param endpoint: the Step, if it is known
    :param upload: the task's result, if the File was delivered
    :return: an ``OperatorLineage``; None where OpenLineage's provider is not installed
    """
    try:
        from airflow.providers.common.compat.openlineage.facet import InputDataset, OutputDataset
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    inputs, outputs = [], []
    if source:
        inputs = [InputDataset(source["namespace"], source["name"], inputFacets=_input_facets(upload))]
    if endpoint:
        namespace, name = openlineage_name(uri_of(endpoint))
        facets = _facets(namespace, endpoint, upload)
        outputs = [OutputDataset(namespace, name, facets=facets, outputFacets=_output_facets(upload))]
    return OperatorLineage(inputs=inputs, outputs=outputs)


def _local_path(text: str, match: re.Match[str] | None) -> str:
    if match is None:
        return text
    no_host = match["place"] in ("", "localhost") or match["place"].endswith("@")
    return match["path"] if no_host else match["place"] + match["path"]


def _object_name(address: str, user: str) -> dict[str, str] | None:
    plain = _URL.fullmatch(without_secrets(address) or "")
    if plain is None:
        return None
    scheme, host, path = plain["scheme"].lower(), plain["place"], plain["path"]
    if scheme in _BUCKETS:
        return {"namespace": f"{_BUCKETS[scheme]}://{host}", "name": path.lstrip("/") or "/"}
    if scheme in _CONTAINERS:
        # container@account.…; else what stands before the @ is Airflow's connection
        host = f"{user}@{host}" if is_azure_account(host) and _CONTAINER.fullmatch(user) else host
        return {"namespace": f"{scheme}://{host}", "name": path.lstrip("/") or "/"}
    return {"namespace": f"{scheme}://{host}", "name": path or "/"}


def _input_facets(upload: Mapping[str, Any] | None) -> dict[str, Any]:
    if not upload:
        return {}
    try:
        from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
    except ImportError:
        # younger than the rest
        return {}
    return {"inputStatistics": InputStatisticsInputDatasetFacet(size=upload["size"], fileCount=1)}


def _output_facets(upload: Mapping[str, Any] | None) -> dict[str, Any]:
    if not upload:
        return {}
    from airflow.providers.common.compat.openlineage.facet import OutputStatisticsOutputDatasetFacet

    rows = (upload.get("file") or {}).get("n_rows")
    return {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows, size=upload["size"])}


def _facets(namespace: str, endpoint: Endpoint, upload: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
        from openlineage.client.generated.datasource_dataset import DatasourceDatasetFacet
    except ImportError:
        return {}
    facets: dict[str, Any] = {"dataSource": DatasourceDatasetFacet(name=namespace, uri=endpoint.step_url)}
    if upload and upload.get("uuid"):
        # each File is another version of what the Step shows
        facets["version"] = DatasetVersionDatasetFacet(datasetVersion=upload["uuid"])
    return facets
