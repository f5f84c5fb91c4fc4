"""A heart: it beats when that is due, by itself while one waits, and whatever the disk says."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.harness import identity
from parallel_loop.harness.heart import Heart, Seen
from parallel_loop.harness.state import AgentDirectory, Heartbeat, read_heartbeat
from parallel_loop.queue import atomic
from support.shortage import NO_SPACE
from support.waiting import eventually


def test_a_heart_beats_when_it_is_due_and_tells_changes_at_once(tmp_path: Path) -> None:
    now = [100.0]
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    heart = Heart(agent, 5.0, lambda: now[0])

    def read() -> Heartbeat:
        beat = read_heartbeat(agent)
        assert beat is not None
        return beat

    heart.tell("working", item="one", attempt=2)
    now[0] = 104.0
    seen = Seen("well", 0.5, 10**9, 7.0, 3)
    heart.beat(seen)
    assert (read().beat, read().progress) == (100.0, None)
    now[0] = 105.0
    heart.beat(seen)
    assert (read().beat, read().progress, read().item, read().attempt) == (105.0, 104.5, "one", 2)
    assert (read().work, read().rss_bytes // 10**9) == ("well", 1)
    assert read().cpu_percent >= 140, "seven seconds in five, and its own"
    now[0] = 106.0
    heart.beat(seen._replace(verdict="over-limit"))
    assert (read().beat, read().work) == (106.0, "over-limit"), "a change of the verdict is told at once"
    heart.rest(failed=1)
    assert (read().state, read().item, read().progress, read().failed) == ("idle", None, None, 1)
    assert (read().work, read().rss_bytes // 10**9) == (None, 0)
    assert read().identity == identity.own_identity()
    agent.heartbeat.write_text("{")
    assert read_heartbeat(agent) is None


def test_a_heart_beats_by_itself_while_one_waits_for_git_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    heart = Heart(agent, 0.01)
    heart.tell("preparing")

    def at() -> float:
        beat = read_heartbeat(agent)
        assert beat is not None
        return beat.beat

    with heart.beating():
        before = at()
        eventually(lambda: at() > before)
        monkeypatch.setattr("parallel_loop.harness.heart._LONGEST_SECONDS", 0.02)
    with heart.beating():  # as if git hung
        last = [0.0]

        def is_still() -> bool:
            before, last[0] = last[0], at()
            return before == last[0] and heart._monotonic() > before + 1.0

        eventually(is_still)


def test_a_full_disk_stops_no_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    now = [100.0]
    heart = Heart(agent, 5.0, lambda: now[0])
    heart.tell("working")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "replace_file", lambda *_: (_ for _ in ()).throw(NO_SPACE))
        now[0] = 107.5
        heart.beat()
        seen = read_heartbeat(agent)
        assert seen is not None
        assert (seen.beat, seen.state) == (107.5, "working"), "nothing can be written, and it is not silent"
        agent.heartbeat.unlink()
        heart.rest()
    now[0] = 120.0
    heart.beat()
    seen = read_heartbeat(agent)
    assert seen is not None
    assert (seen.beat, seen.state) == (120.0, "idle")
