"""The connection form for Airflow before 3.2, which asks the hook's class for it.

Newer versions read ``conn-fields`` from :mod:`airflow_provider_workbench.get_provider_info`; both are the same table.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_workbench.get_provider_info import CONN_FIELDS, FIELD_BEHAVIOUR


def get_connection_form_widgets() -> dict[str, Any]:
    """WTForms fields by name, for the extras."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, IntegerField, PasswordField, StringField
    from wtforms.validators import Optional

    def widget(field: dict[str, Any]) -> Any:
        schema = field["schema"]
        about = {"description": field["description"], "default": schema.get("default")}
        label = lazy_gettext(field["label"])
        if "boolean" in schema["type"]:
            return BooleanField(label, **about)
        about["validators"] = [Optional()]
        if schema.get("format") == "password":
            return PasswordField(label, widget=BS3PasswordFieldWidget(), **about)
        kind = IntegerField if "integer" in schema["type"] else StringField
        return kind(label, widget=BS3TextFieldWidget(), **about)

    return {name: widget(field) for name, field in CONN_FIELDS.items()}


def get_ui_field_behaviour() -> dict[str, Any]:
    """Which of a connection's own fields are hidden or have another name."""
    return {key.replace("-", "_"): value for key, value in FIELD_BEHAVIOUR.items()}
