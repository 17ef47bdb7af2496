"""Upload what functions return, with ``@task.workbench_upload``: a table, and bytes of several regions.

A path, an object-storage path, bytes, or a table can be returned; here the table is a polars frame, and pandas and
pyarrow do as well. No file has to be cleaned up.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["example", "workbench"])
def example_workbench_taskflow():
    """TaskFlow alone: a query, its table, and one File a region."""

    @task
    def query_orders() -> list[dict]:
        return [
            {"region": "north", "product": "apples", "sold": 12},
            {"region": "north", "product": "pears", "sold": 7},
            {"region": "south", "product": "apples", "sold": 30},
        ]

    @task.workbench_upload(
        filename="totals.csv",
        wait_until="rendered",
        deferrable=True,
        poke_interval=5,
        wait_timeout=timedelta(minutes=10),
    )
    def totals(orders: list[dict]):
        import polars

        return polars.DataFrame(orders).group_by("product", maintain_order=True).agg(polars.col("sold").sum())

    @task.workbench_upload(filename="{{ task.op_kwargs['region'] }}.csv")
    def one_region(orders: list[dict], region: str) -> bytes:
        lines = [f"{order['product']},{order['sold']}" for order in orders if order["region"] == region]
        return "\n".join(["product,sold", *lines, ""]).encode()

    @task
    def say_what_arrived(table: dict) -> None:
        print(f"{table['filename']}: {table['file']['n_rows']} rows, uuid {table['uuid']}")

    orders = query_orders()
    table = totals(orders)
    # a Step uses one File, the last to come: the table
    one_region.partial(orders=orders).expand(region=["north", "south"]) >> table
    say_what_arrived(table)


example_workbench_taskflow()
