from __future__ import annotations

import pytest

from airflow_provider_workbench.client.progress import ProgressLines, human_bytes, human_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(*steps: tuple[float, int], size: int = 1000) -> list[str]:
    """What is logged when ``sent`` bytes have left at ``seconds``, for each step."""
    clock, lines = Clock(), []
    progress = ProgressLines(lines.append, "a.csv", clock=clock)
    for seconds, sent in steps:
        clock.now = 100.0 + seconds
        progress(sent, size)
    return lines


def test_line_has_share_bytes_rate_and_time_left() -> None:
    assert lines_of((0, 0), (10, 250)) == ["a.csv: 25 % – 250 B of 1000 B, 25 B/s, 30 s left"]


def test_rate_is_of_what_left_now_and_not_with_an_earlier_try() -> None:
    assert lines_of((0, 500), (10, 600)) == ["a.csv: 60 % – 600 B of 1000 B, 10 B/s, 40 s left"]


def test_fast_upload_writes_no_line() -> None:
    assert lines_of(*((sent / 1000, sent) for sent in range(0, 1001, 10))) == []


def test_slow_upload_writes_one_line_per_ten_percent() -> None:
    lines = lines_of(*((sent, sent) for sent in range(1001)))
    assert [line.split()[1] for line in lines] == ["10", "20", "30", "40", "50", "60", "70", "80", "90"]


def test_lines_are_ten_seconds_apart() -> None:
    lines = lines_of(*((sent / 25, sent) for sent in range(1001)))  # 40 s in all
    assert [line.split()[1] for line in lines] == ["25", "50", "75"]


def test_end_and_empty_file_write_no_line() -> None:
    assert lines_of((50, 1000)) == []
    assert lines_of((50, 0), size=0) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (2**31 - 1, "2.0 GiB"),
        (5 * 2**40, "5120.0 GiB"),
    ],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.416, "0.42 s"), (45.4, "45 s"), (125, "2 min 5 s"), (3600, "1 h 0 min"), (3780, "1 h 3 min")],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
