"""Builds the snapshot from what is on disk and from what the coordinator observes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from ..harness import guard
from ..harness.accounts.account_file import AccountFile, policy_of
from ..harness.accounts.standing import held_by, opens_at, told_end
from ..harness.budgets import RunBudget
from ..harness.overlaps.forecast import Forecast
from ..harness.project import Project
from ..harness.rereading import Watched
from ..harness.shortage import Lack, find_lack
from ..harness.state import Heartbeat, place_order, read_record
from ..queue.clock import later, seconds_between, utc_now
from ..queue.markers import is_owner_alive
from ..queue.records import Entry, State
from ..queue.requests import reason
from ..queue.survey import Survey
from . import snapshot as model
from .attention import attention, paused, shared, shut
from .control import Ending, Wanted, read_wanted
from .lock import Holder, read_holder
from .paused_work import PausedWork
from .snapshot import (
    AccountStatus,
    AgentStatus,
    Attention,
    Conflict,
    CoordinatorStatus,
    QueueCounts,
    RecentItem,
    RemoteStatus,
    Snapshot,
    TargetStatus,
    Totals,
)
from .survivors import describe, survivors
from .target_report import LANDER, TargetReport, read_target

_FRESH_SECONDS = 5.0  # an older status file is of a coordinator that cannot write it: look for ourselves
_SILENCE_SECONDS = 15.0  # a machine with much to do may take a few; who is silent for longer is told of
_RECENT = 40


def current_snapshot(project: Project) -> Snapshot:
    """Return the coordinator's snapshot while one runs, else one made from the files alone."""
    holder = read_holder(project.state.coordinator_lock)
    last = None if holder is None else _last_published(project, holder)
    if last is not None and abs(seconds_between(last.at, utc_now())) < _FRESH_SECONDS:
        return last
    survey = Survey(project.queue)
    survey.refresh()
    coordinator = _coordinator(project, holder, read_wanted(project.state))
    beats = survivors(project.state)
    agents = _agents_by_their_word(beats, holder, last)
    paused_programs = pauses(project, PausedWork(project, survey))
    if holder is None:
        calls = (*_left_behind(beats), *_of_the_dead(project, survey), *paused_programs)
        return build(project, survey, agents, coordinator, calls)
    lack = find_lack(project.folders.values())
    silence = () if lack else _silence(last, holder)
    return build(project, survey, agents, coordinator, (*silence, *paused_programs), lack)


def pauses(project: Project, work: PausedWork) -> Iterator[Attention]:
    """Say which programs are paused, and which accounts need a person, while something is yet to be done with them."""
    for account in work.shut():
        yield shut(account, project.queue.now())
    for pause in work.needed():
        yield paused(pause, project.queue.now())


def _left_behind(left: Sequence[Heartbeat]) -> Iterator[Attention]:
    if left:
        yield Attention(item=None, why=f"no coordinator runs, and {describe(left)}", next="parallel-loop run")


def _of_the_dead(project: Project, survey: Survey) -> Iterator[Attention]:
    """Say whose worker is dead: without a coordinator nobody takes these items back."""
    claimed = [entry for entry in survey.entries() if entry.last_is("claimed")]
    record = project.queue.layout.record
    dead = [entry for entry in claimed if not is_owner_alive(record(entry.item.id, len(entry.records)))]
    if not dead:
        return
    who = "its worker is dead" if len(dead) == 1 else f"the workers of {len(dead)} items are dead"
    what = "it" if len(dead) == 1 else "them"
    why = f"{who}, and no coordinator runs: the next run takes {what} back, or `parallel-loop doctor --repair`"
    yield Attention(item=dead[0].item.id if len(dead) == 1 else None, why=why, next="parallel-loop run")


def _silence(last: Snapshot | None, holder: Holder) -> Iterator[Attention]:
    """Say since when a coordinator that published before does not; the single-agent loop never does."""
    if last is None or seconds_between(last.at, utc_now()) < _SILENCE_SECONDS:
        return
    since = f"the coordinator (pid {holder.pid}) has published nothing since {last.at}"
    remedy = f"ps -o pid,stat,wchan:30,args -p {holder.pid}"
    yield Attention(item=None, why=f"{since}: it is stopped, or hindered", next=remedy)


def _last_published(project: Project, holder: Holder) -> Snapshot | None:
    """Return the last snapshot that the holder of the lock has published, None when that one never did."""
    found = read_record(project.state.status, Snapshot)
    return found if found is not None and found.coordinator.pid == holder.pid else None


def _coordinator(project: Project, holder: Holder | None, wanted: Wanted | None) -> CoordinatorStatus:
    """Describe a coordinator that has not published (lately), or the single-agent loop, which does not."""
    if holder is None:
        return CoordinatorStatus(state="stopped")
    return CoordinatorStatus(
        state=coordinator_state(wanted.paused, wanted.ending) if wanted else "running",
        pid=holder.pid,
        started_at=holder.started_at,
        uptime_seconds=max(0.0, seconds_between(holder.started_at, utc_now())),
        wanted_agents=wanted.agents if wanted else None,
        run_usd=RunBudget(project).told_usd,
        run_budget_usd=project.config.budget.run_usd,
    )


def coordinator_state(paused: bool, ending: Ending) -> model.CoordinatorState:
    """Return the one word for what a running coordinator is at."""
    if ending:
        return "finishing" if ending == "finish" else "stopping"
    return "paused" if paused else "running"


def _agents_by_their_word(
    beats: Iterable[Heartbeat], holder: Holder | None, last: Snapshot | None
) -> list[AgentStatus]:
    """Agents that nobody has published lately.

    They are the single-agent loop, or of a coordinator that could not publish lately; else they outlived theirs.
    """
    return [
        agent_status(beat, health="well" if last or (holder and beat.pid == holder.pid) else "finishing")
        for beat in beats
    ]


def agent_status(beat: Heartbeat, *, health: model.Health) -> AgentStatus:
    """Describe a worker by its heartbeat."""
    now = time.monotonic()
    lack = beat.hindrance
    return AgentStatus(
        name=beat.agent,
        health=health if lack is None else "no-room",
        note=None if lack is None else lack.why,
        next=None if lack is None else lack.next,
        state=beat.state,
        pid=beat.pid,
        item=beat.item,
        attempt=beat.attempt,
        role=beat.role,
        program=beat.program,
        since=beat.since,
        heartbeat_age_seconds=round(max(0.0, now - beat.beat), 1),
        progress_age_seconds=None if beat.progress is None else round(max(0.0, now - beat.progress), 1),
        done=beat.done,
        failed=beat.failed,
        rss_bytes=beat.rss_bytes,
        cpu_percent=beat.cpu_percent,
    )


def build(
    project: Project,
    survey: Survey,
    agents: Sequence[AgentStatus],
    coordinator: CoordinatorStatus,
    calls: Iterable[Attention] = (),
    lack: Lack | None = None,
) -> Snapshot:
    """Put the snapshot together; `calls` are for a person and of the coordinator itself."""
    entries = [(entry, survey.state(entry)) for entry in survey.entries()]
    counts = survey.counts()
    target = read_target(project.state.root)
    shown = (agent for agent in agents if agent.name != LANDER)
    calls = (*calls, *map(shared, guard.calls(project.state)))
    return Snapshot(
        at=utc_now(),
        coordinator=coordinator,
        agents=tuple(sorted(shown, key=lambda agent: place_order(agent.name))),
        queue=QueueCounts(**counts),
        totals=_totals(survey, counts),
        attention=attention(entries, survey, agents, target, calls, lack),
        target=_target_status(target),
        conflicts=tuple(_conflicts(project, survey)),
        accounts=tuple(_accounts(project)),
        recent=tuple(recent([*entries, *((entry, "done") for entry in survey.done.recent)])),
    )


def _conflicts(project: Project, survey: Survey) -> Iterator[Conflict]:
    """Yield what the lander foresees, as far as it is still in work: nobody may have made a forecast since."""
    for clash in Watched(project.state.forecast, Forecast).look().conflicts:
        found = [survey.get(item) for item in clash.items]
        if all(entry is not None and survey.state(entry) in {"working", "landing"} for entry in found):
            yield Conflict(items=clash.items, paths=clash.paths)


def _target_status(report: TargetReport | None) -> TargetStatus:
    if report is None:
        return TargetStatus()
    remote = report.remote
    return TargetStatus(
        name=report.name,
        landed=report.landed,
        blocked=report.blocked,
        remote=None if remote is None else RemoteStatus(remote.name, remote.pushed, remote.blocked),
    )


def _accounts(project: Project) -> Iterator[AccountStatus]:
    """Yield what is known of accounts, but for those that are open as if nothing had been."""
    file, policy = AccountFile(project), policy_of(project.config)
    known = [one for one in file.look().accounts if one.standing != "open" or one.cap is not None]
    in_use = file.in_use() if known else {}
    for account in known:
        yield AccountStatus(
            name=account.name,
            state=account.standing,
            until=opens_at(account, policy),
            since=account.at,
            resets_at=told_end(account),
            held_by=held_by(account, policy),
            why=account.why or None,
            cap=account.cap,
            in_use=in_use.get(account.name, 0),
        )


def _totals(survey: Survey, counts: dict[State, int]) -> Totals:
    hour_ago = later(utc_now(), -3600)
    mean_seconds = survey.done.mean_seconds()
    ended = counts["done"] + counts["failed"]
    return Totals(
        items=sum(counts.values()),
        done_last_hour=survey.done.done_since(hour_ago),
        success_rate=round(counts["done"] / ended, 4) if ended else None,
        mean_seconds=None if mean_seconds is None else round(mean_seconds, 3),
    )


def recent(entries: Iterable[tuple[Entry, State]]) -> Iterable[RecentItem]:
    touched = [(entry, state) for entry, state in entries if entry.last is not None and entry.last.kind != "claimed"]
    touched.sort(key=lambda pair: pair[0].records[-1].at, reverse=True)
    for entry, state in touched[:_RECENT]:
        last = entry.records[-1]
        yield RecentItem(
            id=entry.item.id,
            title=entry.item.title,
            state=state,
            attempts=entry.attempts,
            agent=last.agent,
            at=last.at,
            seconds=last.seconds,
            why=reason(entry),
        )
