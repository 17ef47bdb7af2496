"""What the audit's DAGs come to. An audit of runs that never took place would find nothing, too."""

from __future__ import annotations

# DAG, task and map index: state, tries, and words of the last try's log
EXPECTED: dict[tuple[str, str, int], tuple[str, int, str]] = {
    (dag_id, task_id or dag_id, map_index): (state, tries, words)
    for dag_id, task_id, map_index, state, tries, words in [
        ("succeeds", "", -1, "success", 1, "Workbench accepted 'small.csv'"),
        ("succeeds_over_tls", "", -1, "success", 1, "Workbench accepted 'small.csv'"),
        ("succeeds_with_secret_link", "", -1, "success", 1, "Workbench accepted 'small.csv'"),
        ("upload_waits_deferred", "", -1, "success", 1, "Workbench accepted 'small.csv'"),
        ("sensor_waits_deferred", "", -1, "success", 1, ""),
        ("sensor_pokes", "", -1, "success", 1, ""),
        ("evidence_decides", "", -1, "success", 1, "Looking whether Workbench took the File"),
        ("killed_and_resumed", "", -1, "success", 2, "Going on from byte"),
        ("websocket_echoed", "", -1, "success", 1, "answered 502 to a websocket"),
        ("refused_before_sending", "", -1, "failed", 1, "Workbench takes at most 100"),
        ("refused_at_the_finish", "", -1, "failed", 1, "All bytes were sent, but Workbench did not take the File"),
        ("wrong_token", "", -1, "failed", 1, "authorization-bearer-token-invalid"),
        ("odd_token", "", -1, "failed", 1, "authorization-bearer-token-not-provided"),
        ("outcome_unknown", "", -1, "failed", 1, "All bytes were sent, "),
        ("render_fails", "", -1, "failed", 1, "could not render the File: This file has no table."),
        ("times_out", "", -1, "failed", 1, "AirflowTaskTimeout"),
        ("marked_failed", "", -1, "failed", 1, "The upload was stopped."),
        ("tls_fails", "", -1, "failed", 1, "self-signed certificate"),
        ("sensor_tls_fails", "", -1, "failed", 1, "self-signed certificate"),
        ("create_echoed", "", -1, "failed", 1, "answered 502 to create-file"),
        ("create_echoed_as_code", "", -1, "failed", 1, "(not a code of Workbench's form)"),
        ("create_echoed_in_redirect", "", -1, "failed", 1, "redirects create-file elsewhere (307)"),
        ("patch_echoed", "", -1, "failed", 1, "answered 502 to the upload"),
        ("page_echoed", "", -1, "failed", 1, "answered 502 to the Workflow's page"),
        ("mapped", "upload", 0, "success", 1, "Workbench accepted 'small.csv'"),
        ("mapped", "upload", 1, "failed", 1, "There is no file"),
        ("mapped", "misfilled", 0, "failed", 1, "stall_timeout must be a number"),
        ("mapped", "misfilled", 1, "failed", 1, "secret_link is of another host"),
        ("mapped", "misfilled", 2, "failed", 1, "session_token holds characters that no cookie has"),
        ("written_in_python", "decorated", -1, "success", 1, "Workbench accepted 'decorated.csv'"),
        ("written_in_python", "shows_everything", -1, "success", 1, "Settings("),
        ("written_in_python", "through_a_proxy", -1, "failed", 1, "answered 502 to create-file"),
        ("hears_of_delivery", "which", -1, "success", 1, ""),
        ("hears_of_new_file", "which", -1, "success", 1, ""),
        ("planted", "leaks", -1, "success", 1, ""),
        ("planted", "defers", -1, "failed", 1, "RuntimeError"),
    ]
}

# connection: words of what its test says
TESTS = {
    "secret_link": "The Step can be read",
    "late_cookie": "The Step can be read",
    "saved": "The Step can be read",
    "on a worker": "The Step can be read",
    "wrong_token": "The API token is not this Step's current one.",
    "self_signed": "self-signed certificate",
    "misfilled_link": "secret_link is of another host",
    "create_echoed": "answered 502 to create-file",
    "create_echoed_as_code": "(not a code of Workbench's form)",
    "create_echoed_in_redirect": "redirects create-file elsewhere (307)",
    "patch_echoed": "The API token is good",
    "page_echoed": "answered 502 to the Workflow's page",
    "websocket_echoed": "The Step can be read",
}

# Workbench: requests that it must have had, as host, method and status
RECORDED: dict[str, list[tuple[str, str, int]]] = {
    "good": [("frontend", "POST", 200), ("frontend", "POST", 403), ("upload", "PATCH", 204), ("upload", "PATCH", 403)],
    "late": [("frontend", "GET", 101), ("upload", "PATCH", 204), ("upload", "DELETE", 204)],
    "slow": [("upload", "HEAD", 200), ("upload", "PATCH", 204), ("upload", "DELETE", 204)],
    "tls": [("frontend", "GET", 200), ("frontend", "POST", 200), ("upload", "PATCH", 204)],
    "unknown": [("upload", "PATCH", 500)],
    "evidence": [("upload", "PATCH", 500), ("frontend", "GET", 200)],
}

ECHOED = (
    "forward proxy",
    "create_echoed",
    "create_echoed_as_code",
    "create_echoed_in_redirect",
    "patch_echoed",
    "page_echoed",
    "websocket_echoed",
)
