"""Checking a candidate: the configured checks on the merged result, in the landing worktree, cleaned for it.

A tree that passed is not checked again for as long as the process lives, whatever commit it comes with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..harness.guard import Guard
from ..harness.heart import Seen
from ..harness.job import Job, Run
from ..harness.keeping.bounds import bounds_of
from ..harness.keeping.containment import held
from ..harness.keeping.processes import MARK_AGENT, MARK_STATE
from ..harness.logs import note_end, open_log, output_tail
from ..harness.project import Project
from ..harness.room import Room
from ..harness.runner import run
from ..harness.setting_up import CHECKS_IDENTITY, equip
from ..harness.watch import Watch
from ..worktrees.environment import scrub
from ..worktrees.landing import LandingBranch
from ..worktrees.pool import Pool
from ..worktrees.recycle import detach
from ..worktrees.worktree import Worktree
from .target_report import LANDER


@dataclass(frozen=True)
class Verdict:
    """What the checks said of a candidate: nothing wrong, or which check and how its output ended.

    `stopped` means that they were not run to the end, because we were told to stop or nobody wants the candidate.
    """

    stopped: bool = False
    failed: str | None = None
    output: str = ""

    @property
    def passed(self) -> bool:
        return not self.stopped and self.failed is None


class Checker:
    """Runs the checks; the lander's heart beats meanwhile."""

    def __init__(self, project: Project, pool: Pool, worktree: Worktree, branch: LandingBranch, room: Room) -> None:
        self._project, self._pool, self._worktree, self._branch = project, pool, worktree, branch
        self._room = room
        branch.keep = project.config.setup.keep
        agent = project.state.agent(LANDER)
        self._logs = agent.logs
        self._guard = Guard(project.state, pool.repository, agent)
        self._green: set[str] = set()

    def check(self, commit: str, tree: str, name: str, is_wanted: Callable[[], bool] = lambda: True) -> Verdict:
        """Run all checks on `commit` until one fails, `name` naming the log; stop when `is_wanted` says no.

        `tree` is the commit's.
        """
        if not self._project.config.checks or tree in self._green:
            return Verdict()
        self._guard.look()
        self._guard.settle()  # what a kill left
        try:
            verdict = self._check_all(commit, name, is_wanted)
        finally:
            worktree = self._pool.ensure(LANDER)  # a check may have deleted it
            self._guard.look()
            detach(worktree)
            self._guard.settle()
        if verdict.passed:
            self._green.add(tree)
        return verdict

    def check_twice(self, commit: str, tree: str, name: str) -> Verdict:
        """The same, but a failure counts when it comes twice; what passes the second time is on record as flaky."""
        first = self.check(commit, tree, name)
        if first.failed is None:
            return first
        second = self.check(commit, tree, name)
        if second.passed:
            self._project.state.record_event("flaky", commit=commit, why=first.failed)
        return second

    def _check_all(self, commit: str, name: str, is_wanted: Callable[[], bool]) -> Verdict:
        config = self._project.config
        self._branch.check_out(commit)
        equip(self._worktree, self._project)
        self._guard.begin(f"refs/parallel-loop/salvage/{LANDER}/{name}")
        log = self._logs / f"{name}.log"
        for command in (*config.setup.run, *config.checks):
            with open_log(log) as file:
                file.write(f"== {command}\n".encode(errors="replace"))
            since = log.stat().st_size
            result = self._run(command, log, is_wanted)
            output = output_tail(log, since)
            if not result.ok:
                note_end(log, result.describe("it"))
            if result.left:
                self._project.state.record_event("left-running", agent=LANDER, why=result.why_left)
            if result.ended in {"stopped", "fenced"}:
                return Verdict(stopped=True)
            if not result.ok and self._room.lack() is not None:  # that says nothing of what was checked
                return Verdict(stopped=True)
            if not result.ok:
                kind = "check" if command in config.checks else "command of `setup: run:`"
                return Verdict(failed=result.describe(f"the {kind} `{command}`"), output=output)
        return Verdict()

    def _run(self, command: str, log: Path, is_wanted: Callable[[], bool]) -> Run:
        def pulse(watch: Watch | None) -> bool:
            self._room.heart.beat(None if watch is None else Seen.of(watch))
            self._guard.keep_short()
            return is_wanted()

        environ = scrub(self._project.environ) | self._worktree.program_environment(CHECKS_IDENTITY)
        environ |= self._guard.variables(self._project.environ)
        environ |= {MARK_STATE: str(self._project.state.root), MARK_AGENT: LANDER}
        argv = ("/bin/sh", "-c", command)
        config, state = self._project.config, self._project.state
        with held(state, state.agent(LANDER), bounds_of(config, None, 0)) as bounds:
            seconds = config.check_timeout_seconds
            job = Job(
                *(argv, self._worktree.path, environ, log, seconds),
                bounds=bounds,
                no_progress_seconds=config.health.no_progress_seconds,
            )
            return run(job, self._room.orders, pulse)
