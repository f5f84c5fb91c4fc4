"""Snapshots as a real run makes them, for tests of what is drawn from them."""

from __future__ import annotations

from parallel_loop.coordinator.snapshot import (
    AgentStatus,
    Attention,
    CoordinatorStatus,
    QueueCounts,
    RecentItem,
    Snapshot,
    TargetStatus,
    Totals,
)
from parallel_loop.queue.clock import later

NOW = "2026-01-31T12:03:44.000000Z"
HOSTILE = (
    "\x1b[31mred\x1b[0m [bold red]markup[/] \x07\r\n\ttab \u202eesrever \u2066 :smile: "
    "\N{FAMILY}\u200d\N{WOMAN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}\ufe0f \u05e9\u05dc\u05d5\u05dd \u4e2d\u6587 "
    + 60
    * "long "
)


def ago(seconds: float) -> str:
    return later(NOW, -seconds)


def agent(number: int, **changes: object) -> AgentStatus:
    """A worker in the middle of an item; `changes` replace any field."""
    fields: dict[str, object] = {
        "name": f"agent-{number}",
        "health": "well",
        "state": "working",
        "pid": 4000 + number,
        "item": f"write-page-{number}",
        "attempt": 1,
        "program": "shell",
        "since": ago(12.0 + 61 * number),
        "heartbeat_age_seconds": 0.4 * number,
        "progress_age_seconds": 1.7 * number,
        "done": 4 - number % 3,
        "failed": number % 2,
        "rss_bytes": 48_000_000 * number,
        "cpu_percent": 12.5 * number,
    }
    return AgentStatus(**(fields | changes))  # type: ignore[arg-type]


def busy(agents: int = 3) -> Snapshot:
    """Three agents at work on twelve items, one of which waits for a person and one of which failed."""
    known = [
        agent(1, item="fix-login-redirect", program="claude", role="builder", attempt=2, done=3),
        agent(2, item="reference-queue", done=2, failed=0),
        agent(3, state="checking", item="sort-imports", done=1, failed=1),
    ]
    return Snapshot(
        at=NOW,
        coordinator=CoordinatorStatus(
            state="running",
            pid=4000,
            started_at=ago(724),
            uptime_seconds=724.0,
            cpu_percent=0.4,
            rss_bytes=31_000_000,
            wanted_agents=agents,
        ),
        agents=tuple((known + [agent(number) for number in range(4, agents + 1)])[:agents]),
        queue=QueueCounts(ready=1, blocked=1, delayed=1, working=3, landing=1, waiting=1, done=3, failed=1),
        totals=Totals(items=12, done_last_hour=3, success_rate=0.75, mean_seconds=42.1),
        attention=(
            Attention(
                item="choose-licence",
                why="which licence should the examples have, MIT or Apache-2.0?",
                next="parallel-loop answer choose-licence TEXT",
            ),
            Attention(
                item="speed-up-parser",
                why="the check `make test` ended with exit status 2 after 3 attempts",
                next="parallel-loop retry speed-up-parser",
            ),
        ),
        target=TargetStatus(name="main", landed="1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b"),
        recent=tuple(_recent()),
    )


def _recent() -> list[RecentItem]:
    rows = [
        ("reference-worktrees", "Write the reference page of worktrees", "landing", 1, "agent-2", 3.0, 38.2, None),
        ("measure-modules", "Measure every module", "done", 1, "agent-3", 41.0, 12.3, None),
        (
            "flaky-search-test",
            "Mend the flaky search test",
            "delayed",
            1,
            "agent-3",
            66.0,
            95.0,
            "the check `make test` ended with exit status 1",
        ),
        ("reference-harness", "Write the reference page of harness", "done", 1, "agent-1", 118.0, 40.9, None),
        (
            "choose-licence",
            "Choose a licence for the examples",
            "waiting",
            1,
            "agent-1",
            190.0,
            22.5,
            "which licence should the examples have, MIT or Apache-2.0?",
        ),
        (
            "speed-up-parser",
            "Make the parser twice as fast",
            "failed",
            3,
            "agent-2",
            301.0,
            305.0,
            "the check `make test` ended with exit status 2",
        ),
        ("update-changelog", "Bring the changelog up to date", "done", 2, "agent-1", 420.0, 73.0, None),
    ]
    return [
        RecentItem(id=id_, title=title, state=state, attempts=tries, agent=who, at=ago(since), seconds=took, why=why)
        for id_, title, state, tries, who, since, took, why in rows
    ]


def quiet() -> Snapshot:
    """A repository in which nothing was ever run."""
    return Snapshot(
        at=NOW,
        coordinator=CoordinatorStatus(state="stopped"),
        agents=(),
        queue=QueueCounts(),
        totals=Totals(),
        attention=(),
    )


def hostile() -> Snapshot:
    """Everything that a person or a program may have written is as nasty as can be."""
    return Snapshot(
        at=NOW,
        coordinator=CoordinatorStatus(state="running", uptime_seconds=1.0, wanted_agents=1),
        agents=(agent(1, item="x" * 100, program=HOSTILE, role=HOSTILE, note=HOSTILE, health="failing"),),
        queue=QueueCounts(waiting=1),
        totals=Totals(items=1),
        attention=(Attention(item=None, why=HOSTILE, next=HOSTILE), Attention(item="x" * 100, why=HOSTILE)),
        target=TargetStatus(name=HOSTILE, landed=HOSTILE, blocked=HOSTILE),
        recent=(
            RecentItem(id="x" * 100, title=HOSTILE, state="waiting", attempts=1, at=NOW, why=HOSTILE),
            RecentItem(id="y", title=HOSTILE, state="done", attempts=0, at="not a time"),
        ),
    )
