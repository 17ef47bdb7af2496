"""What the provider tells Airflow about itself."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files

import pytest
from jsonschema import validate

from airflow_provider_workbench.client.settings import Settings
from airflow_provider_workbench.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_workbench.hooks import connection_form

INFO = get_provider_info()
[CONNECTION_TYPE] = INFO["connection-types"]


def test_it_has_the_shape_that_this_airflow_wants():
    validate(INFO, json.loads((files("airflow") / "provider_info.schema.json").read_text()))


def test_the_connection_type_has_the_shape_that_this_airflow_wants():
    if not _declares_fields():
        pytest.skip("this Airflow asks the hook for its form")
    schema = json.loads((files("airflow") / "provider.yaml.schema.json").read_text())
    validate([CONNECTION_TYPE], schema["properties"]["connection-types"] | {"definitions": schema.get("definitions")})


def _declares_fields():
    schema = files("airflow") / "provider.yaml.schema.json"
    return schema.is_file() and "conn-fields" in schema.read_text()


def test_airflow_finds_it():
    [found] = [each for each in entry_points(group="apache_airflow_provider") if each.module.startswith("airflow_prov")]
    assert found.load()() == INFO


def test_reading_it_imports_no_airflow_and_no_http_library():
    script = (
        "import sys; before = set(sys.modules); import airflow_provider_workbench.get_provider_info as it;"
        "it.get_provider_info(); print(*set(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    imported = {name.partition(".")[0] for name in out.split()} - sys.stdlib_module_names
    assert imported == {"airflow_provider_workbench"}


def test_everything_it_names_can_be_imported():
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in INFO[kind]:
            assert entry["integration-name"] == INFO["integrations"][0]["integration-name"]
            for module in entry["python-modules"]:
                importlib.import_module(module)
    hook = named(CONNECTION_TYPE["hook-class-name"])
    assert (hook.conn_type, hook.hook_name) == (CONNECTION_TYPE["connection-type"], CONNECTION_TYPE["hook-name"])


def named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_links_decorators_and_assets_can_be_imported():
    [link] = INFO["extra-links"]
    assert named(link)().name == "Open in Workbench"
    [decorator] = INFO["task-decorators"]
    assert callable(named(decorator["class-name"]))
    [assets] = INFO["asset-uris"]
    assert assets["schemes"] == ["workbench"]
    assert all(callable(named(assets[part])) for part in ("handler", "factory", "to_openlineage_converter"))
    # one list, under the name of either Airflow
    assert INFO["dataset-uris"] == INFO["asset-uris"]


def test_the_form_offers_just_the_extras_that_the_client_knows():
    url = "https://app.example.com/api/v1/workflows/1/steps/step-a/files"
    [warning] = Settings.from_fields(url, "t0ken", {"unheard_of": 1}).warnings
    known = warning.partition("Known are ")[2].rstrip(".").split(", ")
    assert sorted(CONN_FIELDS) == sorted(known)


def test_the_forms_defaults_are_the_clients():
    defaults = {name: field["schema"]["default"] for name, field in CONN_FIELDS.items() if "default" in field["schema"]}
    url = "https://app.example.com/api/v1/workflows/1/steps/step-a/files"
    with_defaults = Settings.from_fields(url, "t0ken", defaults)
    assert with_defaults == Settings.from_fields(url, "t0ken")
    assert set(defaults) == {name for name, field in CONN_FIELDS.items() if _has_default(name)}


def _has_default(name):
    if name in ("allow_http", "show_secret_link"):  # no setting; would be masked
        return name == "allow_http"
    return Settings.__dataclass_fields__[name].default is not None


def test_secrets_have_names_that_airflow_masks_and_password_inputs():
    secrets = {name for name, field in CONN_FIELDS.items() if field["schema"].get("format") == "password"}
    assert secrets == {"secret_link", "session_token"}
    assert all("secret" in name or "token" in name for name in secrets)


def test_every_field_has_a_label_and_one_sentence_that_says_its_unit():
    for name, field in CONN_FIELDS.items():
        assert field["label"]
        assert field["description"].endswith(".")
        assert field["description"].count(". ") == 0
        if "integer" in field["schema"]["type"]:
            unit = "bytes" if name == "chunk_size" else "seconds"
            assert unit in field["label"]


def test_the_older_form_is_the_same_form():
    pytest.importorskip("flask_appbuilder", reason="this Airflow reads conn-fields")
    widgets = connection_form.get_connection_form_widgets()
    assert list(widgets) == list(CONN_FIELDS)
    for name, widget in widgets.items():
        schema = CONN_FIELDS[name]["schema"]
        assert str(widget.args[0]) == CONN_FIELDS[name]["label"]
        assert widget.kwargs["default"] == schema.get("default")
        assert (widget.field_class.__name__ == "PasswordField") == (schema.get("format") == "password")


def test_the_create_file_url_and_the_token_have_workbenchs_names():
    behaviour = connection_form.get_ui_field_behaviour()
    assert behaviour["relabeling"] == {"host": "Create-file URL", "password": "API token"}
    assert behaviour["hidden_fields"] == ["schema", "login", "port"]


def test_the_hook_shows_the_form_too():
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    assert WorkbenchHook.get_ui_field_behaviour() == connection_form.get_ui_field_behaviour()


@pytest.mark.filterwarnings("ignore:.*ProvidersManager:DeprecationWarning")
def test_airflow_knows_the_hook_and_the_form(airflow_db):
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert manager.providers["airflow-provider-workbench"].data["name"] == "Workbench"
    assert manager.hooks["workbench"].hook_name == "Workbench"
    if not _declares_fields():
        pytest.importorskip("wtforms", reason="without it Airflow 3.1 shows the form only in its UI")
    assert manager.field_behaviours["workbench"]["relabeling"]["password"] == "API token"
    assert {f"extra__workbench__{name}" for name in CONN_FIELDS} <= set(manager.connection_form_widgets)


@pytest.mark.filterwarnings("ignore:.*ProvidersManager")
def test_airflow_knows_the_link_and_the_decorator_and_complains_of_nothing(airflow_db, caplog):
    from airflow.providers.common.compat.sdk import task
    from airflow.providers_manager import ProvidersManager

    from airflow_provider_workbench.decorators.workbench import workbench_upload_task

    manager = ProvidersManager()
    assert INFO["extra-links"][0] in manager.extra_links_class_names
    assert task.workbench_upload is workbench_upload_task
    assert [record.getMessage() for record in caplog.records if "workbench" in record.getMessage().lower()] == []
