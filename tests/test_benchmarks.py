"""The benchmark itself: it runs, and what it checks of others it would notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def drains(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import drains

    return drains


def logged(drains, claimed: list[int], completed: list[int], **fields: object):
    fields = {"started": 0, "ended": 10**9, "refused": 0, "cut_off": False} | fields
    return drains.Log(claimed=claimed, completed=completed, nanoseconds=[1000] * len(claimed), **fields)


def test_an_item_handed_out_twice_is_noticed_and_counts_once(drains) -> None:
    cell = drains.Cell(durable=False, processes=2, depth=4)
    logs = [logged(drains, [0, 1, 2], [0, 1, 2]), logged(drains, [2], [2])]
    sample = drains.count("some", cell, logs, 5.0)
    assert (sample.duplicates, sample.missed, sample.completed) == (1, 1, 3)
    assert (sample.rate, sample.least_share) == (3.0, 0.5)


def test_a_drain_that_was_cut_off_lasts_as_long_as_its_limit_and_misses_nothing(drains) -> None:
    cell = drains.Cell(durable=False, processes=1, depth=100)
    sample = drains.count("some", cell, [logged(drains, [0, 1], [0], cut_off=True)], 5.0)
    assert (sample.missed, sample.completed, sample.seconds) == (None, 1, 5.0)


def test_payloads_are_json_of_one_length_and_keep_their_numbers(drains) -> None:
    from systems import make_payload, number_of

    for number in (0, 7, 99_999):
        payload = make_payload(number)
        assert len(payload) == 96
        assert json.loads(payload)["number"] == number_of(payload) == number


def test_it_measures_what_needs_no_library_and_a_slow_system_is_cut_off(tmp_path: Path) -> None:
    only = ["parallel-loop", "sqlite3-relaxed", "json-flock"]
    argv = ["--rounds", "1", "--seconds", "0.3", "--processes", "2", "--depths", "300", "--dir", str(tmp_path)]
    done = subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "claim_rate.py"),
            *argv,
            "--json",
            str(tmp_path / "kept.json"),
            "--only",
            *only,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    samples = json.loads((tmp_path / "kept.json").read_text())["samples"]
    assert {(sample["system"], sample["durable"]) for sample in samples} == {
        *((name, True) for name in only),
        *((name, False) for name in only if name != "sqlite3-relaxed"),
    }
    assert sum(sample["duplicates"] + (sample["missed"] or 0) + sample["refused"] for sample in samples) == 0
    assert all(sample["completed"] > 0 for sample in samples)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert "| json-flock" in done.stdout
