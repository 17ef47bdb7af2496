"""The button "Open in Workbench" beside a task, from before the long work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskInstanceKey

    from airflow_provider_workbench.client.settings import Settings

# Airflow 3's API server reads this one without asking the class
XCOM_KEY = "_link_WorkbenchStepLink"


class WorkbenchStepLink(BaseOperatorLink):
    """Leads to the page with the task's Step.

    It is a secret link only if the connection's extra ``show_secret_link`` says so: whoever sees the task can then read
    the Workflow.
    """

    name = "Open in Workbench"

    @property
    def xcom_key(self) -> str:
        """Where the link is kept."""
        return XCOM_KEY

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """What the task has put there; empty if it never came to know its Step. Called by Airflow."""
        from airflow.providers.common.compat.sdk import XCom

        return XCom.get_value(ti_key=ti_key, key=XCOM_KEY) or ""


def show_link(context: Context, settings: Settings) -> None:
    """Put the link beside the task, from now on.

    :param context: the task's
    :param settings: of its connection
    """
    if (ti := context.get("ti")) is not None:
        ti.xcom_push(key=XCOM_KEY, value=link_of(settings))


def link_of(settings: Settings) -> str:
    """The page where a person sees the Step; with ``show_secret_link`` the secret link, if there is one."""
    return settings.endpoint.page_url(settings.secret_link if settings.show_secret_link else None)
