"""``workbench-sandbox``: start a sandbox and print what a connection to it needs."""

from __future__ import annotations

import argparse
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="workbench-sandbox", description="A small Workbench on this machine, to try uploads and to test against."
    )
    parser.add_argument("--port", type=int, default=8000, help="the frontend's port; 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--upload-port", type=int, default=8001, help="the upload host's port; 0 takes a free one (%(default)s)"
    )
    parser.add_argument("--token", help="the default Step's API token (default: a new one)")
    options = parser.parse_args(arguments)
    try:
        from .server import Sandbox
    except ImportError as error:
        print(f"{error}\nInstall the extra 'sandbox' (in a clone: pip install '.[sandbox]').", file=sys.stderr)
        return 2

    # Blocked here and in the threads to come, so that no thread but this one can take a signal.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        sandbox = Sandbox(options.port, options.upload_port, api_token=options.token).start()
    except OSError as error:
        print(f"Cannot start: {error}. Choose other ports with --port and --upload-port.", file=sys.stderr)
        return 1
    try:
        step = sandbox.step
        print(
            f"""\
A Workbench sandbox is running. Its Files are gone when it stops (Ctrl-C).

Page             {step.page_url}
Create-file URL  {step.create_file_url}
API token        {step.api_token}
Control API      {sandbox.frontend_url}/sandbox/

An Airflow connection to it, in either form:
export AIRFLOW_CONN_WORKBENCH_DEFAULT='{step.connection_uri()}'
export AIRFLOW_CONN_WORKBENCH_DEFAULT='{step.connection_json()}'
""",
            flush=True,
        )
        signal.sigwait(signals)
    finally:
        sandbox.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
