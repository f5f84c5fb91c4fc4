"""The snapshot: everything a reader may know at one instant. It is what `status --json` prints (version 1)."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..harness.diagnose import Verdict

VERSION = 1

CoordinatorState = Literal["running", "paused", "finishing", "stopping", "stopped"]
Health = Verdict | Literal["no-room", "finishing", "off"]


class CoordinatorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The coordinator; all but `state` is None when none runs."""

    state: CoordinatorState
    pid: int | None = None
    started_at: str | None = None
    uptime_seconds: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    wanted_agents: int | None = None
    agents_by: str | None = None  # what counts more than `agents:` in the configuration, where that is another number
    configured_agents: int | None = None  # that number
    run_usd: float | None = None  # what the run has cost so far; None while no program has said what it costs
    run_budget_usd: float | None = None  # what it may, where that is configured
    containment: str | None = None  # what holds the processes of an attempt together


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's place and the worker in it. `state` is what the worker says; `health` what the monitor thinks."""

    name: str
    health: Health
    state: str
    pid: int | None = None
    item: str | None = None
    attempt: int | None = None
    role: str | None = None
    program: str | None = None
    since: str | None = None
    heartbeat_age_seconds: float | None = None
    progress_age_seconds: float | None = None
    restarts: int = 0
    done: int = 0
    failed: int = 0
    rss_bytes: int | None = None
    cpu_percent: float | None = None
    note: str | None = None
    next: str | None = None  # the command to begin with, where `note` says what is lacking
    last_lines: tuple[str, ...] = ()  # of its worker's log, when it is failing


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many items are in each state."""

    ready: int = 0
    blocked: int = 0
    delayed: int = 0
    working: int = 0
    landing: int = 0
    waiting: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Figures over all items. `success_rate` is done / (done + failed); both it and `mean_seconds` may be unknown."""

    items: int = 0
    done_last_hour: int = 0
    success_rate: float | None = None
    mean_seconds: float | None = None


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs a person: why, and the one command to run next. `item` is None when it is about no item."""

    item: str | None
    why: str
    next: str | None = None
    lines: tuple[str, ...] = ()  # what a log says about it


class RemoteStatus(msgspec.Struct, frozen=True):
    """The remote that gets what landed: the commit that its branch has of ours, and what keeps it from getting more."""

    name: str
    pushed: str | None = None
    blocked: str | None = None


class TargetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The user's branch, and what keeps it from following the landing branch, if anything does."""

    name: str | None = None
    landed: str | None = None
    blocked: str | None = None
    remote: RemoteStatus | None = None  # where one is configured


class AccountStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An account that is not simply open. `until`: when the next attempt may begin, None when that takes a person.

    `since`: when it last met a limit, a busy service or a refusal. `resets_at`: when its limit is over, None when that
    was not told; `held_by`: the key of the configuration that has it wait for longer than that.
    `cap`: how many attempts at once, where a busy service says so; `in_use`: how many there are.
    """

    name: str
    state: Literal["open", "limited", "backing-off", "refused"]
    until: str | None = None
    since: str | None = None
    resets_at: str | None = None
    held_by: str | None = None
    why: str | None = None
    cap: int | None = None
    in_use: int = 0


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Items in work whose branches would conflict as they are now, and where; one alone: with what has landed."""

    items: tuple[str, ...]
    paths: tuple[str, ...]


class RecentItem(msgspec.Struct, frozen=True, kw_only=True):
    """One of the items that changed last, for the dashboard."""

    id: str
    title: str
    state: str
    attempts: int
    agent: str | None = None
    at: str | None = None
    seconds: float | None = None
    why: str | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, immutable."""

    at: str
    coordinator: CoordinatorStatus
    agents: tuple[AgentStatus, ...]
    queue: QueueCounts
    totals: Totals
    attention: tuple[Attention, ...]
    target: TargetStatus = TargetStatus()
    recent: tuple[RecentItem, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    accounts: tuple[AccountStatus, ...] = ()
    version: int = VERSION


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Snapshot).decode
