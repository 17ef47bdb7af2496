"""The connection form as a running API server describes it to the UI."""

from __future__ import annotations

import pytest

from airflow_provider_workbench.get_provider_info import CONN_FIELDS, CREATE_FILE_URL_PLACEHOLDER


@pytest.fixture(scope="module")
def form(airflow_standalone):
    [form] = [
        each for each in airflow_standalone.get("/ui/connections/hook_meta") if each["connection_type"] == "workbench"
    ]
    return form


def test_the_form_has_every_field_with_its_label_description_and_default(form):
    assert form["hook_name"] == "Workbench"
    assert list(form["extra_fields"]) == list(CONN_FIELDS)
    for name, field in CONN_FIELDS.items():
        shown = form["extra_fields"][name]
        assert shown["schema"]["title"] == field["label"]
        assert shown["description"] == field["description"]
        assert shown["value"] == field["schema"].get("default")
        assert set(shown["schema"]["type"]) == set(field["schema"]["type"])


def test_secrets_are_password_inputs(form):
    passwords = {name for name, shown in form["extra_fields"].items() if shown["schema"].get("format") == "password"}
    assert passwords == {"secret_link", "session_token"}


def test_host_and_password_have_workbenchs_names_and_the_rest_is_hidden(form):
    fields = form["standard_fields"]
    assert (fields["host"]["title"], fields["host"]["placeholder"]) == ("Create-file URL", CREATE_FILE_URL_PLACEHOLDER)
    assert fields["password"]["title"] == "API token"
    assert {name for name, field in fields.items() if field and field["hidden"]} == {"url_schema", "login", "port"}
