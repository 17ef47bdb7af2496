"""Workbench without Airflow: usable from a plain script, tested without a DAG.

Nothing in this package imports Airflow, and importing the package alone pulls in no HTTP library::

    from airflow_provider_workbench.client.settings import Settings
    from airflow_provider_workbench.client.upload import upload_file

    settings = Settings.from_fields(create_file_url="https://app…/files", token="…")
    result = upload_file(settings, "/data/sales.csv")
"""
