"""How long 1 GiB takes over loopback, HTTP and HTTPS, to a sink that discards it: this provider beside its peers.

``SIZE_MIB`` and ``ROUNDS`` can make it shorter. Run it with ``make bench-transfer``.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import peers
from report import Table
from rounds import Subject, interleave, median, ratios, spread
from sink import Sink
from surroundings import MIB, airflow_home, connection, large_file

SIZE = int(os.environ.get("SIZE_MIB", "1024")) * MIB
ROUNDS = int(os.environ.get("ROUNDS", "7"))
WARM_UP = 16 * MIB
CURL = "`curl -T`"
SENDFILE = "`socket.sendfile`"


def subjects(sink: Sink, file: Path) -> dict[str, Subject]:
    from airflow_provider_workbench.hooks.workbench import WorkbenchHook

    hook = WorkbenchHook(connection(sink))
    found: dict[str, Subject] = {
        CURL: partial(peers.curl, sink, file),
        SENDFILE: partial(peers.sendfile, sink, file),
        "this provider: hook": lambda: hook.upload_file(file) and None,
        "`requests.patch(data=file)`": partial(peers.requests_patch, sink, file),
        "tuspy": partial(peers.tuspy, sink, file),
        "tuspy, chunks of 8 MiB": partial(peers.tuspy, sink, file, 8 * MIB),
        "tus-js-client": partial(peers.tus_js, sink, file),
    }
    if sink.scheme == "https":
        del found[SENDFILE]
    if not peers.has_tus_js():
        del found["tus-js-client"]
    return found


def main() -> None:
    table = Table(
        f"Transfer of {SIZE // MIB:,} MiB over loopback, {ROUNDS} rounds",
        *("scheme", "subject", "seconds", "min–max", "× `curl -T`", "min–max", "CPU seconds"),
    )
    with airflow_home(), large_file(WARM_UP) as small, large_file(SIZE) as file:
        for tls in (False, True):
            with Sink(tls=tls) as sink:
                os.environ["REQUESTS_CA_BUNDLE"] = str(sink.authorities)
                runs = interleave(subjects(sink, file), ROUNDS, warm_up=subjects(sink, small))
            for name, of_subject in runs.items():
                seconds = [run.seconds for run in of_subject]
                times = ratios(of_subject, runs[CURL])
                cpu = [run.cpu for run in of_subject]
                table.row(
                    sink.scheme, name, median(seconds), spread(seconds), median(times), spread(times), median(cpu)
                )
    table.save(
        "transfer",
        "Medians; × `curl -T` is of the same round. This provider's times hold its create-file request, and those of "
        "curl the start of its process. tuspy's HEAD is left out here, and kept with the small files; it makes a new "
        "connection for each chunk, and over HTTPS reads all authorities again each time.",
        peers.versions(),
    )


if __name__ == "__main__":
    main()
