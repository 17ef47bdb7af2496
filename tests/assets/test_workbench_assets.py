"""``workbench://`` assets: their addresses, the ways to make one, and what Airflow finds of them."""

from __future__ import annotations

import warnings
from urllib.parse import urlsplit, urlunsplit

import pytest
from airflow import __version__
from airflow.providers.common.compat.sdk import Asset

from airflow_provider_workbench.assets.workbench import (
    convert_asset_to_openlineage,
    create_asset,
    sanitize_uri,
    step_asset,
    uri_of,
)
from airflow_provider_workbench.client.endpoint import Endpoint
from airflow_provider_workbench.client.errors import ConfigurationError

AIRFLOW_3 = not __version__.startswith("2.")
URI = "workbench://app.workbench.example/workflows/123/steps/step-abc"


def sanitized(uri):
    return urlunsplit(sanitize_uri(urlsplit(uri)))


@pytest.mark.parametrize(
    "written",
    [
        URI,
        "workbench://APP.Workbench.Example/workflows/123/steps/step-abc",
        "WORKBENCH://app.workbench.example/workflows/123/steps/step-abc",
        "workbench://app.workbench.example:443/workflows/123/steps/step-abc",
        "workbench://app.workbench.example:/workflows/123/steps/step-abc",
        "workbench://app.workbench.example/workflows/0123/steps/step-abc",
        "workbench://app.workbench.example/workflows/123/steps/step-abc/",
    ],
)
def test_an_address_is_written_in_one_way(written):
    assert sanitized(written) == URI


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("LocalHost:8000", "localhost:8000"),
        ("[::1]:8000", "[::1]:8000"),
        ("[::1]", "[::1]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("a_b.STRAßE.example.:8000", "a_b.xn--strae-oqa.example.:8000"),
    ],
)
def test_hosts_of_every_kind(written, place):
    assert (
        sanitized(f"workbench://{written}/workflows/1/steps/step-a") == f"workbench://{place}/workflows/1/steps/step-a"
    )


def test_the_slugs_case_counts():
    assert sanitized("workbench://a.example/workflows/1/steps/Step-A").endswith("/Step-A")


REFUSED = [
    ("workbench:///workflows/123/steps/step-abc", "it names no host"),
    ("workbench://a b/workflows/123/steps/step-abc", "it names no host"),
    ("workbench://hidden@a.example/workflows/123/steps/step-abc", "it has a user name or password"),
    ("workbench://:hidden@a.example/workflows/123/steps/step-abc", "it has a user name or password"),
    ("workbench://a.example/workflows/123/steps/step-abc?token=hidden", "something follows the Step's slug"),
    ("workbench://a.example/workflows/123/steps/step-abc#hidden", "something follows the Step's slug"),
    ("workbench://a.example:hidden/workflows/123/steps/step-abc", "its port is none"),
    ("workbench://a.example/workflows/123", "its path is not a Step's"),
    ("workbench://a.example/", "its path is not a Step's"),
    ("workbench://a.example/workflows/123/steps/step-abc/files", "its path is not a Step's"),
    ("workbench://a.example/api/v1/workflows/123/steps/step-abc/files", "its path is not a Step's"),
    ("workbench://a.example/workflows/whidden/steps/step-abc", "it has a secret link's id"),
    ("https://a.example/workflows/123/steps/step-abc", "it does not start with workbench://"),
]


@pytest.mark.parametrize(("uri", "why"), REFUSED)
def test_what_is_not_a_steps_address_is_refused_with_the_expected_form_and_without_quoting_it(uri, why):
    with pytest.raises(ValueError, match=why) as caught:
        sanitize_uri(urlsplit(uri))
    assert "workbench://{host}/workflows/{id}/steps/{slug}" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_from_parts():
    assert create_asset(host="APP.workbench.example", workflow_id=123, step_slug="step-abc").uri == URI
    with_port = create_asset(host="localhost", port=8000, workflow_id="7", step_slug="step-a", extra={"team": "sales"})
    assert with_port.uri == "workbench://localhost:8000/workflows/7/steps/step-a"
    assert with_port.extra == {"team": "sales"}
    assert create_asset(host="localhost:8000", workflow_id=7, step_slug="step-a").uri == with_port.uri


@pytest.mark.parametrize(
    "parts",
    [
        {"host": "https://app.workbench.example", "workflow_id": 1, "step_slug": "step-a"},
        {"host": "app.workbench.example", "workflow_id": "wSecret", "step_slug": "step-a"},
        {"host": "app.workbench.example", "workflow_id": 1, "step_slug": "step-a/files"},
        {"host": "", "workflow_id": 1, "step_slug": "step-a"},
    ],
)
def test_parts_that_are_no_steps_are_refused(parts):
    with pytest.raises(ValueError, match="This is not a Step's asset"):
        create_asset(**parts)


@pytest.mark.skipif(not AIRFLOW_3, reason="a Dataset has no name")
def test_its_name_is_its_address_in_the_one_way():
    assert create_asset(host="APP.workbench.example", workflow_id=123, step_slug="step-abc").name == URI


@pytest.mark.parametrize(
    ("create_file_url", "uri"),
    [
        ("https://app.workbench.example/api/v1/workflows/123/steps/step-abc/files", URI),
        (" https://APP.workbench.example:443/api/v1/workflows/123/steps/step-abc/files\n", URI),
        ("app.workbench.example/api/v1/workflows/123/steps/step-abc/files", URI),
        (
            "http://127.0.0.1:8000/api/v1/workflows/1/steps/step-a/files",
            "workbench://127.0.0.1:8000/workflows/1/steps/step-a",
        ),
        (
            "http://workbench.lan/api/v1/workflows/1/steps/step-a/files",
            "workbench://workbench.lan/workflows/1/steps/step-a",
        ),
    ],
)
def test_from_the_create_file_url_as_the_connection_has_it(create_file_url, uri):
    assert step_asset(create_file_url).uri == uri
    assert uri_of(Endpoint.parse(create_file_url, allow_http=create_file_url.startswith("http:"))) == uri


def test_another_url_says_where_to_find_the_right_one():
    with pytest.raises(ConfigurationError, match="File-upload API"):
        step_asset("https://app.workbench.example/workflows/123/")


def test_airflow_writes_it_in_the_one_way():
    assert Asset(uri="workbench://APP.workbench.example:443/workflows/123/steps/step-abc/").uri == URI


def test_airflow_refuses_or_warns_of_what_is_no_step():
    uri = "workbench://app.workbench.example/workflows/123"
    if AIRFLOW_3:
        with pytest.raises(ValueError, match="its path is not a Step's"):
            Asset(uri=uri)
    else:
        with pytest.warns(UserWarning, match="its path is not a Step's"):
            Asset(uri=uri)


@pytest.mark.filterwarnings("ignore:ProvidersManager.*is deprecated")
def test_airflow_finds_handler_factory_and_converter_without_a_warning(airflow_db, caplog):
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    kind = "asset" if AIRFLOW_3 else "dataset"
    assert getattr(manager, f"{kind}_uri_handlers")["workbench"] is sanitize_uri
    assert getattr(manager, f"{kind}_factories")["workbench"] is create_asset
    assert getattr(manager, f"{kind}_to_openlineage_converters")["workbench"] is convert_asset_to_openlineage
    assert "workbench" not in caplog.text.lower()


def test_openlineage_names_it_by_host_and_step():
    pytest.importorskip("openlineage.client")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = convert_asset_to_openlineage(Asset(uri=URI), None)
    assert (dataset.namespace, dataset.name) == (
        "workbench://app.workbench.example",
        "workflows/123/steps/step-abc",
    )
