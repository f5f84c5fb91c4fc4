"""Hearing a program while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.harness import listener as module
from parallel_loop.harness import resuming
from parallel_loop.harness.dialects.dialect import Dialect
from parallel_loop.harness.dialects.events import AnyEvent, KeptEvent, Result, Said, Session, Used
from parallel_loop.harness.listener import Listener
from parallel_loop.harness.logs import bound_log
from parallel_loop.harness.resuming import session_in
from parallel_loop.harness.spending import usage_in


def read_object(value: Mapping[str, Any], now: float) -> Iterable[AnyEvent]:
    if "say" in value:
        yield Said(text=value["say"])
    if "session" in value:
        yield Session(id=value["session"])
    if "used" in value:
        yield Used(input=value["used"])
    if "ok" in value:
        yield Result(ok=value["ok"])


PLAIN = Dialect("plain", objects=read_object, document=read_object)


class Ground:
    def __init__(self, folder: Path) -> None:
        self.log, self.events, self.result = folder / "log", folder / "events", folder / "result"
        self.now = 0.0
        self.log.write_text('{"say": "of an earlier command"}\n')
        self.listener = Listener(PLAIN, self.log, self.events, self.result, monotonic=lambda: self.now)

    def prints(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(text)
        self.listener.read()

    def kept(self) -> list[dict[str, Any]]:
        """What was heard; not where it begins and ends in the log, nor lines that say nothing."""
        kept = [json.loads(line) for line in self.events.read_text().splitlines()]
        return [one for one in kept if one["event"] not in {"begun", "printed", "over"}]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_lines_are_heard_when_they_are_whole_and_only_what_is_new(ground: Ground) -> None:
    ground.prints('not JSON\n{"say": "on')
    assert ground.kept() == []
    ground.now = 2.5
    ground.prints('e"}\r\n{"say": "two"}\n{"unknown": 1}\n')
    assert ground.kept() == [{"event": "said", "at": 2.5, "text": text} for text in ("one", "two")]
    ground.prints('{"ok": true}')  # without an end of the line
    story = ground.listener.end()
    assert (story.said, story.result and story.result.ok, story.events) == ("two", True, 3)


def test_what_a_program_writes_at_its_end_counts(ground: Ground) -> None:
    ground.result.write_text('{"ok": false, "used": 7}')
    story = ground.listener.end()
    assert (story.result and story.result.ok, story.usage().input) == (False, 7)


def test_a_log_that_is_cut_while_it_grows_is_read_on(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parallel_loop.harness.logs.MAX_LOG_BYTES", 1000)
    for number in range(1000):
        ground.prints(json.dumps({"say": f"line {number}"}) + "\n")
        bound_log(ground.log, while_it_runs=True)
    ground.prints('{"session": "last"}\n')
    assert ground.log.stat().st_size < 20_000
    assert ground.listener.story.session == "last"
    heard = [one["text"] for one in ground.kept() if one["event"] == "said"]
    assert len(heard) > 990
    assert len(set(heard)) == len(heard)


def test_who_prints_faster_than_we_read_is_caught_up_with(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BEHIND_BYTES", 10_000)
    ground.prints("".join(json.dumps({"say": f"line {number}"}) + "\n" for number in range(100_000)) + '{"ok": true}\n')
    assert ground.listener.story.result == Result(ok=True)
    assert 0 < len(ground.kept()) < 1000


def test_the_file_of_events_stays_small_and_keeps_what_counts(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_EVENT_BYTES", 10_000)
    for number in range(100):
        ground.prints("".join(json.dumps({"say": "x" * 100}) + "\n" for _ in range(20)))
        assert ground.listener.story.events == 20 * (number + 1)
    ground.prints('{"session": "s"}\n{"used": 3}\n{"ok": true}\n')
    assert ground.events.stat().st_size < 15_000
    assert [one["event"] for one in ground.kept()[-3:]] == ["session", "used", "result"]


def test_of_a_flood_no_more_is_kept_than_is_read_again(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker may be killed, and then nothing else says what the session is called and what it has cost."""
    monkeypatch.setattr(module, "_MOST_EVENT_BYTES", 10_000)
    monkeypatch.setattr(resuming, "_MOST_EVENT_BYTES", 20_000)
    ground.prints('{"session": "s-1"}\n{"used": 3}\n' + 20 * f'{{"say": "{4000 * "x"}"}}\n' + 1000 * '{"used": 4}\n')
    assert session_in(ground.events) == "s-1"
    used = usage_in(ground.events)
    assert used is not None
    assert used.input > 0


@pytest.mark.parametrize("what", ["gone", "folder", "link"])
def test_what_a_program_puts_in_place_of_its_log_stops_nothing(ground: Ground, tmp_path: Path, what: str) -> None:
    ground.log.unlink()
    if what == "folder":
        ground.log.mkdir()
    elif what == "link":
        (tmp_path / "other").write_text('{"say": "of another"}\n' * 100)
        ground.log.symlink_to(tmp_path / "other")
    ground.listener.read()
    assert ground.listener.end().said == ""


def test_neither_a_line_without_end_nor_nonsense_costs_memory(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    for _ in range(50):
        ground.prints("x" * 500)
    assert len(ground.listener._rest) <= 1500
    ground.prints('\n{"say": "later"}\n')
    assert ground.listener.story.said == "later"


def test_lines_without_end_cost_neither_memory_nor_disk_nor_the_last_words(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_EVENT_BYTES", 100_000)
    monkeypatch.setattr(module, "_MOST_AT_ONCE", 100)
    monkeypatch.setattr(module, "_LAST_BYTES", 1000)
    monkeypatch.setattr(module, "_MOST_SECONDS_AT_END", 0.05)
    most = 0
    write = ground.listener._write

    def count(found: Iterable[KeptEvent]) -> None:
        nonlocal most
        most = max(most, len(found := list(found)))
        write(found)

    monkeypatch.setattr(ground.listener, "_write", count)
    with ground.log.open("ab") as log:
        log.write(b"y\n" * 3_000_000 + b'{"session": "s"}\n{"ok": true}\n')
    story = ground.listener.end()
    assert story.result is not None
    assert (story.result.ok, story.session) == (True, "s")
    assert most <= 101
    assert ground.events.stat().st_size < 150_000


def test_one_look_takes_about_a_second_however_much_there_is(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_PIECE_BYTES", 5)
    ground.prints('{"say": "one"}\n')
    assert ground.kept() == []
    monkeypatch.setattr(module, "_MOST_SECONDS_AT_END", 60.0)
    assert ground.listener.end().said == "one"


def test_what_was_not_read_yet_when_the_log_was_cut_is_heard_as_far_as_it_is_left(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallel_loop.harness.logs.MAX_LOG_BYTES", 1000)
    ground.prints('{"say": "begun"}\n')
    with ground.log.open("a") as log:
        log.write("x\n" * 10_000 + '{"session": "s"}\n{"say": "cut in')
    ground.listener.note_cut(*bound_log(ground.log))
    with ground.log.open("a") as log:
        log.write(' two"}\n{"ok": true}\n')
    story = ground.listener.end()
    assert (story.session, story.said, story.result is not None) == ("s", "cut in two", True)
