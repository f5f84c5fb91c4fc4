"""Checking a candidate: the configured checks on the merged result, in the landing worktree, cleaned for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..harness.heart import Seen
from ..harness.keeping.bounds import bounds_of
from ..harness.keeping.containment import held
from ..harness.keeping.processes import MARK_AGENT, MARK_STATE
from ..harness.logs import output_tail
from ..harness.project import Project
from ..harness.room import Room
from ..harness.runner import Job, Run, run
from ..harness.setting_up import LANDER_IDENTITY, equip
from ..harness.watch import Watch
from ..worktrees.environment import scrub
from ..worktrees.landing import Candidate, LandingBranch
from ..worktrees.pool import Pool
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
        self._logs = project.state.agent(LANDER).logs

    def check(self, candidate: Candidate, name: str, is_wanted: Callable[[], bool] = lambda: True) -> Verdict:
        """Run all checks on `candidate` until one fails, `name` naming the log; stop when `is_wanted` says no."""
        if not self._project.config.checks:
            return Verdict()
        try:
            return self._check_all(candidate, name, is_wanted)
        finally:
            self._pool.ensure(LANDER)  # a check may have deleted it

    def _check_all(self, candidate: Candidate, name: str, is_wanted: Callable[[], bool]) -> Verdict:
        config = self._project.config
        self._branch.check_out(candidate.commit)
        equip(self._worktree, self._project)
        log = self._logs / f"{name}.log"
        for command in (*config.setup.run, *config.checks):
            with log.open("a", encoding="utf-8") as file:
                file.write(f"== {command}\n")
            since = log.stat().st_size
            result = self._run(command, log, is_wanted)
            if result.ended in {"stopped", "fenced"}:
                return Verdict(stopped=True)
            if not result.ok and self._room.lack() is not None:  # that says nothing of what was checked
                return Verdict(stopped=True)
            if not result.ok:
                kind = "check" if command in config.checks else "command of `setup: run:`"
                return Verdict(failed=result.describe(f"the {kind} `{command}`"), output=output_tail(log, since))
        return Verdict()

    def _run(self, command: str, log: Path, is_wanted: Callable[[], bool]) -> Run:
        def pulse(watch: Watch | None) -> bool:
            self._room.heart.beat(None if watch is None else Seen.of(watch))
            return is_wanted()

        environ = scrub(self._project.environ) | self._worktree.program_environment(LANDER_IDENTITY)
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
