"""What an agent program told of its work, as people read it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.commands import readable
from parallel_loop.coordinator.drawing.narration import Narration, arguments
from parallel_loop.harness.dialects.events import (
    Begun,
    Denied,
    Fault,
    KeptEvent,
    Over,
    Printed,
    Quota,
    Result,
    Said,
    Session,
    ToolBegun,
    ToolEnded,
    Used,
    Waits,
)
from parallel_loop.queue.records import Usage
from support.actors import script
from support.cli import CommandLine
from support.harness import Workshop, make_workshop, program, spare_others

ACTOR = ["/bin/sh", "-c", 'echo "a warning" >&2; exec "$0" "$@"', *program("actor"), "--session-id", "{session}"]
CONFIG = f"""
program: actor
setup: {{run: [echo of the setup]}}
checks: ["echo of the check; echo '{{\\"type\\": \\"of the check\\"}}'"]
programs: {{actor: {{argv: {json.dumps(ACTOR)}, session: chosen, dialect: claude}}}}
"""


@pytest.fixture
def shop(tmp_path: Path, actor_home: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    spare_others(monkeypatch)
    return make_workshop(tmp_path / "repo", CONFIG)


def test_what_it_said_and_did_stands_between_what_others_printed(
    shop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (
        {"say": "I begin.\nNow."},
        {"run": "echo one >> notes; git add notes; git commit -qm notes; echo a; echo b"},
        {"run": "exit 3"},
        {"cost": 0.25},
    )
    done = shop.work("one", prompt=script(*steps))
    assert done.kind == "landing"
    cli = CommandLine(capsys, monkeypatch, shop.root)
    answer = cli("logs", "one")
    assert (answer.code, answer.err) == (0, "")
    assert (
        answer.out
        == f"""
== echo of the setup
of the setup
a warning
-- session {done.session}, model actor-1
I begin.
Now.
> Bash  echo one >> notes; git add notes; git commit -qm notes; echo a; echo b
  ok: a  (and 1 more line)
> Bash  exit 3
  failed
-- it has done what it was to do
-- used: 100 tokens read, 50 more from a cache, 10 written, $0.25

== echo of the check; echo '{{"type": "of the check"}}'
of the check
{{"type": "of the check"}}
"""
    )
    raw = cli("logs", "one", "--raw").out
    assert raw == shop.log("one")
    assert '"type": "assistant"' in raw
    assert cli("logs", "agent-1", "--follow").out == answer.out
    events = shop.project.state.agent("agent-1").events_file("one", 1)
    events.unlink()
    assert cli("logs", "one").out == raw, "an attempt of an older version"
    events.mkdir()
    assert cli("logs", "one").code == 1


class Files:
    """A log and its events, written as a worker does while somebody follows them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.events = folder / "log", folder / "events"
        self.steps: list[object] = []
        monkeypatch.setattr(readable.time, "sleep", lambda _seconds: self._step())

    def _step(self) -> None:
        step = self.steps.pop(0)
        if isinstance(step, bytes):
            with self.log.open("ab") as log:
                log.write(step)
        else:
            with self.events.open("ab") as events:
                events.write(msgspec.json.encode(step) + b"\n")

    def follow(self, *steps: object, usage: Usage | None = None) -> str:
        self.steps = list(steps)
        pieces = readable.readable_pieces(self.log, self.events, lambda: not self.steps, lambda: usage)
        return b"".join(pieces).decode()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(tmp_path, monkeypatch)


def test_it_is_followed_from_before_it_began_to_the_end_of_the_checks(files: Files) -> None:
    used = Used(input=7, scope="session")
    told = files.follow(
        b"setup 1\n", b"setup 2\n", Begun(log=16), b'{"a": 1}\n', Said(text="one"), Said(text="\x1b]0;two"), used,
        b"{}\n", Over(log=28), b"check\n", usage=Usage(3, 2, 1)
    )  # fmt: skip
    assert told == (
        "setup 1\nsetup 2\none\n\x1b]0;two\n-- used: 3 tokens read, 2 more from a cache, 1 written\ncheck\n"
    )


def test_text_for_people_stays_as_it_is_and_is_followed_by_what_was_used(files: Files) -> None:
    told = files.follow(
        b"before\n", Begun(log=7, plain=True), b"text\n", Said(text="text"), Used(usd=1.5), Over(log=12)
    )
    assert told == "before\ntext\n-- used: 0 tokens read, 0 more from a cache, 0 written, $1.50\n"


def test_a_worker_that_was_killed_leaves_what_was_told_until_then(files: Files) -> None:
    files.log.write_text("setup\n{}\n")
    files.events.write_bytes(
        msgspec.json.encode(Begun(log=6)) + b'\n{"event": "of a newer version"}\nnonsense\n'
        b'{"event":"said","text":"one"}\n{"event":"used","input":5,"scope":"session"}\n{"event":"sai'
    )
    told = files.follow()
    assert told == "setup\none\n-- used by its whole session: 5 tokens read, 0 more from a cache, 0 written\n"


def test_a_log_that_was_cut_shorter_than_where_it_ended_stops_nothing(files: Files) -> None:
    assert files.follow(b"xxxxx", Begun(log=5), b"y", Over(log=10_000), b"check\n") == "xxxxxcheck\n"


def lines(*events: KeptEvent) -> Iterable[str]:
    narration = Narration()
    return [line for event in events for line in narration.take(event)]


def test_what_hindered_it_is_said_once() -> None:
    full = Fault(kind="usage", text="You've hit\nyour limit", resets_at=1_800_000_000)
    quota = Quota(window="five_hour", used=0.84, resets_at=1e99)
    assert lines(
        Session(id="s", model="m"), Session(id="s", model="m"), Printed(text="{"), quota, quota,
        Waits(kind="rate", seconds=90, text="busy"), full, full, Result(ok=False, text="You've hit your limit"),
    ) == [
        "-- session s, model m",
        "{",
        "-- 84% of the account's quota five_hour is used",
        "-- it waits 1m 30s (rate): busy",
        "-- it cannot go on (usage): You've hit your limit, until 2027-01-15 08:00 UTC",
        "-- it did not do what it was to do",
    ]  # fmt: skip


def test_tools_that_run_at_once_are_told_apart() -> None:
    one, two = (
        ToolBegun(id="1", name="Read", args='{"path": "a", "limit": 3}'),
        ToolBegun(id="2", name="Bash", args="x"),
    )
    assert lines(one, two, ToolEnded(id="1", ok=None), ToolEnded(id="2", ok=False, output="\n\nno\n")) == [
        "> Read  path: a, limit: 3",
        "> Bash  x",
        "  ended (Read)",
        "  failed: no",
    ]
    assert arguments('{"command": "make\\ntest", "timeout": 5}') == "make test"
    assert arguments("[1]") == "[1]"
    assert len(arguments("x" * 1000)) == 200


def test_reading_logs_needs_no_more_of_python_than_before() -> None:
    code = "import sys, parallel_loop.coordinator.commands.logs; print('rich' in sys.modules, 'git' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_denial_is_told_once_however_often_the_program_says_it() -> None:
    narration = Narration()
    denied = (
        Denied(tool="Bash", id="a", text="not allowed"),
        Denied(tool="Bash", id="a", text="in other words"),
        Denied(tool="Write", id="b"),
        Denied(tool="Bash", id="a"),
        Denied(tool="Edit", text="no"),
        Denied(tool="Edit", text="no"),
    )
    assert [line for event in denied for line in narration.take(event)] == [
        "-- it was not allowed to use Bash: not allowed",
        "-- it was not allowed to use Write",
        "-- it was not allowed to use Edit: no",
    ]
