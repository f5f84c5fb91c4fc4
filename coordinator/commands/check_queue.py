"""What `doctor` looks at in the state directory, and what `doctor --repair` does about it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...harness.child import PlaceTaken, hold_for_life
from ...harness.guard import close_run, open_run
from ...harness.identity import own_identity
from ...harness.keeping.containment import end_groups
from ...harness.keeping.processes import end_marked
from ...harness.project import Project
from ...harness.state import AgentDirectory
from ...queue.atomic import Unreadable, own_names
from ...queue.foreign import foreign_hints
from ...queue.healing import heal
from ...queue.imports import is_import
from ...queue.markers import is_owner_alive
from ...queue.store import NewerFormat
from ...queue.survey import Survey
from ...worktrees.precious import is_protected_by_us
from ...worktrees.repository import Repository
from ..drawing.moments import date_and_clock
from ..git_repair import repair_git
from ..lock import CoordinatorLock, read_holder
from ..machine import dead_and_living
from .findings import Finding, fail, failed_with, ok, warn

_MOVE_AWAY = "look at it and move it away; it is passed over, and nothing else depends on it"
_RESTORE = "put it back from a copy, or move all files of this item away and add the item again; the others go on"
_MEND = "`parallel-loop run` or `parallel-loop doctor --repair` tidies it"


def check_coordinator(project: Project) -> Finding:
    holder = read_holder(project.state.coordinator_lock)
    return ok("coordinator", f"pid {holder.pid} since {date_and_clock(holder.started_at)}" if holder else "none runs")


def check_queue(project: Project) -> Iterator[Finding]:
    """Look for damage and for what killed processes left; with a coordinator at work, the latter is its own affair."""
    try:
        queue = project.queue
    except (NewerFormat, Unreadable) as error:
        yield failed_with("queue", error)
        return
    survey = Survey(queue)
    survey.refresh()
    for _ in survey.each_entry(packed=True):
        pass  # a survey reads no item that a hint or a pack answers for; here all are read
    for damage in survey.damage:
        yield fail("queue", f"{damage.path} {damage.problem}", _MOVE_AWAY if damage.item is None else _RESTORE)
    for damage in foreign_hints(queue.layout):
        yield warn("queue", f"{damage.path} {damage.problem}", _MOVE_AWAY)
    yield ok("queue", ", ".join(f"{count} {state}" for state, count in survey.counts().items() if count) or "no items")
    if read_holder(project.state.coordinator_lock) is None:
        yield from _leftovers(project, survey)


def _leftovers(project: Project, survey: Survey) -> Iterator[Finding]:
    layout = project.queue.layout
    for entry in survey.entries():
        if entry.last is None or entry.last.kind != "claimed":
            continue
        if not is_owner_alive(layout.record(entry.item.id, len(entry.records))):
            yield warn("claim", f"{entry.item.id} is held by {entry.last.agent}, whose worker is dead", _MEND)
    foreign = {damage.path for damage in survey.damage}
    for path in map(layout.imports.joinpath, filter(is_import, own_names(layout.imports))):
        if str(path) not in foreign:
            yield warn("import", f"{path} was not finished", _MEND)
    workers = (layout.workers / name for name in own_names(layout.workers))
    dead = sum(str(path) not in foreign and not is_owner_alive(path) for path in workers)
    if dead:
        yield warn("markers", f"{dead} of workers that were killed", _MEND)


def repair(project: Project) -> list[str]:
    """Do what is safe, and return what was done. Raises AlreadyRunning: a running coordinator does it itself."""
    if not project.queue.layout.format.exists():
        return []
    repository = Repository.open(project.root)
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    try:
        ended = [
            (name, _end_leftover_programs(project, project.state.agent(name))) for name in project.state.agent_names()
        ]
        done = [
            f"ended what a dead worker of {name} left running (processes: {count})" for name, count in ended if count
        ]
        drafts = project.state.remove_drafts()
        if drafts:
            done.append(f"removed what killed processes were writing (files: {drafts})")
        done += repair_git(project, repository)  # saves what the dead left, before it is taken back
        taken_back = heal(project.queue, project.retry)
        done += [f"took {entry.item.id} back from {entry.records[-1].agent}, whose worker died" for entry in taken_back]
        done += _let_go_of_repository(project, repository)
    finally:
        lock.close()
    return done


def _let_go_of_repository(project: Project, repository: Repository) -> list[str]:
    """Judge what killed programs did to what worktrees share, and lift the protection of a run that is over."""
    dead, living = dead_and_living(project.state)
    if living:
        return []
    was_left = is_protected_by_us(repository, project.state.precious)
    open_run(project.state, repository, dead, living)
    lifted = close_run(project.state, repository)
    return ["unset extensions.preciousObjects, which a killed run had set"] if was_left and lifted else []


def _end_leftover_programs(project: Project, agent: AgentDirectory) -> int:
    """End what runs in the place of a dead worker, before its item goes to another. A living worker keeps its place."""
    try:
        descriptor = hold_for_life(agent.lock, agent.name)
    except PlaceTaken:
        return 0
    try:
        end_groups(project.state, {agent.name})
        return end_marked(project.state.root, agent.name)
    finally:
        os.close(descriptor)
