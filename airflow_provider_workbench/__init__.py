"""Deliver files from Airflow to Workbench."""

__version__ = "0.1.0"
