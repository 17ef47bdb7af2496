"""The one list of what the provider offers to Airflow. Read by every Airflow process at its start: import nothing."""

from __future__ import annotations

from typing import Any

CREATE_FILE_URL_PLACEHOLDER = "https://app.workbenchdata.com/api/v1/workflows/123/steps/step-abc/files"


def _field(label: str, kind: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


# The connection's extras, in the order of the form. hooks/connection_form.py makes Airflow 2's widgets of the
# same table. Airflow masks values by the field's *name* (secret, token, …); the format only picks the input.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "secret_link": _field(
        "Secret link",
        "string",
        "The workflow's secret link, needed to read the Step if its workflow is private; not needed to upload.",
        format="password",
    ),
    "session_token": _field(
        "Session token",
        "string",
        "The sessionid cookie of a logged-in Workbench user, to read a private Step that has no secret link.",
        format="password",
    ),
    "verify_tls": _field(
        "Verify TLS certificates",
        "boolean",
        "Switch this off only to try something out: nothing then proves that the server is your Workbench.",
        default=True,
    ),
    "ca_bundle": _field(
        "CA bundle",
        "string",
        "Path, on the workers, of a PEM file with the certificate authorities to trust instead of the usual ones.",
    ),
    "client_cert": _field(
        "Client certificate",
        "string",
        "Path, on the workers, of a PEM file with the certificate (and key) to show if Workbench asks for one.",
    ),
    "client_key": _field(
        "Client key",
        "string",
        "Path, on the workers, of the client certificate's key if the certificate's file does not hold it.",
    ),
    "chunk_size": _field(
        "Chunk size (bytes)",
        "integer",
        "Most bytes to send in one request, for proxies with a limit; empty sends the whole file in one request.",
        minimum=1,
    ),
    "connect_timeout": _field(
        "Connect timeout (seconds)",
        "integer",
        "Seconds to wait until a connection is made.",
        default=10,
        minimum=1,
    ),
    "stall_timeout": _field(
        "Stall timeout (seconds)",
        "integer",
        "Seconds without a byte moving after which a connection is cut and the upload resumed.",
        default=60,
        minimum=1,
    ),
    "finish_timeout": _field(
        "Finish timeout (seconds)",
        "integer",
        "Seconds that Workbench may take, after the last byte, to answer that it has taken the file.",
        default=600,
        minimum=1,
    ),
    "retry_budget": _field(
        "Retry budget (seconds)",
        "integer",
        "Seconds to go on trying, within one try of the task, since Workbench last confirmed progress.",
        default=900,
        minimum=1,
    ),
    "allow_http": _field(
        "Allow plain HTTP",
        "boolean",
        "Accept a Create-file URL that starts with http:// on another machine: the API token then travels unencrypted.",
        default=False,
    ),
    # no default: Airflow masks by name, and the form would get *** instead of false
    "show_secret_link": _field(
        "Show the secret link in links",
        "boolean",
        "Let links from Airflow's UI open the secret link: everyone who sees the task can then read the workflow.",
    ),
}

FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login", "port"],
    "relabeling": {"host": "Create-file URL", "password": "API token"},
    "placeholders": {"host": CREATE_FILE_URL_PLACEHOLDER},
}


def get_provider_info() -> dict[str, Any]:
    """Entry point ``apache_airflow_provider``; the shape is ``airflow/provider_info.schema.json``."""
    package = "airflow_provider_workbench"
    assets = [
        {
            "schemes": ["workbench"],
            "handler": f"{package}.assets.workbench.sanitize_uri",
            "factory": f"{package}.assets.workbench.create_asset",
            "to_openlineage_converter": f"{package}.assets.workbench.convert_asset_to_openlineage",
        }
    ]
    return {
        "package-name": "airflow-provider-workbench",
        "name": "Workbench",
        "description": "Deliver files to `Workbench <https://workbenchdata.com/>`__ (CJWorkbench) "
        "and know that they arrived.",
        "integrations": [
            {
                "integration-name": "Workbench",
                "external-doc-url": "https://workbenchdata.com/",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "workbench",
                "hook-name": "Workbench",
                "hook-class-name": f"{package}.hooks.workbench.WorkbenchHook",
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": FIELD_BEHAVIOUR,
            }
        ],
        **{
            kind: [{"integration-name": "Workbench", "python-modules": [f"{package}.{kind}.workbench"]}]
            for kind in ("hooks", "operators", "sensors", "triggers")
        },
        "task-decorators": [
            {"name": "workbench_upload", "class-name": f"{package}.decorators.workbench.workbench_upload_task"}
        ],
        "extra-links": [f"{package}.links.workbench.WorkbenchStepLink"],
        "asset-uris": assets,
        # Airflow 2's name for them
        "dataset-uris": assets,
    }
