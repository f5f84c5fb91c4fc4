"""Landing: one branch at a time is merged, checked as merged, and only then becomes the landing branch.

Guarantees:
- whatever the landing branch points to has passed the checks, in a worktree of its own, as merged;
- the landing branch moves by compare-and-swap, and an item is done only after it moved; killed between the
  two, the next lander sees that the commit has landed and finishes the record;
- one lander at a time (a lock that ends with the process).

The target follows as soon as git can move it without touching the user's files (worktrees/target.py).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..harness.heart import Heart
from ..harness.orders import Orders
from ..harness.processes import MARK_AGENT, MARK_STATE, become_subreaper, end_marked
from ..harness.project import Project
from ..harness.runner import Job, Run, output_tail, run
from ..harness.setting_up import LANDER_IDENTITY, ensure_landing_branch, equip
from ..harness.worker import PlaceTaken
from ..queue.records import Entry, Record
from ..worktrees.environment import scrub
from ..worktrees.landing import Candidate, Conflict
from ..worktrees.pool import Pool
from ..worktrees.repository import Repository
from ..worktrees.target import Blocked, Diverged, follow
from .target_report import LANDER, TargetReport, write_target

_IDLE_SECONDS = 0.1
_TARGET_SECONDS = 3.0  # how soon the user's own commits on the target are noticed


@dataclass(frozen=True)
class Verdict:
    """What the checks said of a candidate: nothing wrong, or which check and how its output ended."""

    stopped: bool = False
    failed: str | None = None
    output: str = ""


class Lander:
    """The one who lands. Holds the landing worktree and the landing lock while it exists."""

    def __init__(self, project: Project, target: str, orders: Orders) -> None:
        self._project, self._target, self._orders = project, target, orders
        self._agent = project.state.agent(LANDER)
        self._agent.create()
        self._lock = self._take_lock()
        become_subreaper()
        end_marked(project.state.root, LANDER)
        self._heart = Heart(self._agent, project.config.health.heartbeat_seconds)
        self._repository = Repository.open(project.root)
        pool = Pool(self._repository, project.worktrees, project.state.worktrees_lock)
        self._worktree = pool.ensure(LANDER)
        self._branch = ensure_landing_branch(self._repository, self._worktree, target)
        self._rejection: tuple[str, Blocked] | None = None
        self._next_look = 0.0
        self._heart.rest()

    def _take_lock(self) -> int:
        descriptor = os.open(self._project.state.landing_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise PlaceTaken("another process is landing already; it is left alone") from None
        return descriptor

    def run(self) -> None:
        """Land what comes until the orders say to finish."""
        while not self._orders.finishing:
            if not self.land_next():
                self.look_at_target()
                self._heart.beat()
                self._orders.wait(_IDLE_SECONDS)

    def land_all(self) -> None:
        """Land everything that waits now, and let the target follow."""
        while not self._orders.stopping and self.land_next():
            pass
        self.look_at_target(now=True)

    def land_next(self) -> bool:
        """Land, or send back, the branch that has waited longest; False when none waits."""
        queue = self._project.queue
        for item_id in queue.hints.landing():
            entry = queue.entry(item_id)
            if entry is None or entry.last is None or entry.last.kind != "landing":
                queue.hints.unmark_landing(item_id)
                continue
            self._heart.tell("landing", item=item_id, attempt=entry.attempts)
            self._land(entry, entry.last)
            self._heart.rest()
            return not self._orders.stopping
        return False

    # --- one item -------------------------------------------------------------------------------------

    def _land(self, entry: Entry, handed: Record) -> None:
        item = entry.item
        assert handed.commit is not None, "only work with a commit is handed over"
        message = (
            f"{item.title}\n\nItem: {item.id}\nAttempt: {entry.attempts}\nAgent: {handed.agent}\n"
            f"Branch: {handed.branch}\n"
        )
        while not self._branch.is_landed(handed.commit):
            candidate = self._branch.merge(handed.commit, message)
            if isinstance(candidate, Conflict):
                self._send_back(entry, handed, "conflict", _conflict_text(candidate))
                return
            verdict = self._check(candidate, f"{item.id}-{entry.attempts}")
            if verdict.stopped or verdict.failed:
                self._branch.abandon(candidate)
            if verdict.stopped:
                return
            if verdict.failed:
                why = f"{verdict.failed} on the result of merging it with what landed before"
                self._send_back(entry, handed, "check-failed", why, verdict.output)
                return
            if self._branch.advance(candidate):
                self._record_landed(entry, handed, candidate.commit)
                return
        self._record_landed(entry, handed, handed.commit)

    def _record_landed(self, entry: Entry, handed: Record, commit: str) -> None:
        done = msgspec.structs.replace(handed, kind="done", at=self._project.queue.now(), commit=commit)
        self._close(entry, done, "landed")
        self.look_at_target(now=True)

    def _send_back(self, entry: Entry, handed: Record, outcome: str, why: str, output: str = "") -> None:
        """Give the item back for another attempt, which is told why; out of attempts, it is failed."""
        failure = msgspec.structs.replace(
            handed, kind="released", at=self._project.queue.now(), outcome=outcome, why=why, text=output or None
        )
        record = self._project.retry.after_failure(entry, failure)
        self._close(entry, record, record.kind)

    def _close(self, entry: Entry, record: Record, event: str) -> None:
        if self._project.queue.append(entry, record):
            self._project.state.record_event(
                event,
                item=entry.item.id,
                attempt=entry.attempts,
                agent=record.agent,
                outcome=record.outcome,
                why=record.why,
                commit=record.commit,
                seconds=record.seconds,
            )
        self._project.queue.hints.unmark_landing(entry.item.id)

    # --- checks ---------------------------------------------------------------------------------------

    def _check(self, candidate: Candidate, name: str) -> Verdict:
        """Run the checks on the candidate in the landing worktree, cleaned for it."""
        config = self._project.config
        if not config.checks:
            return Verdict()
        self._branch.check_out(candidate.commit)
        equip(self._worktree, self._project)
        log = self._agent.logs / f"{name}.log"
        for command in (*config.setup.run, *config.checks):
            since = log.stat().st_size if log.exists() else 0
            result = self._run(command, log)
            if result.ended == "stopped":
                return Verdict(stopped=True)
            if not result.ok:
                return Verdict(failed=result.describe(f"the check `{command}`"), output=output_tail(log, since))
        return Verdict()

    def _run(self, command: str, log: Path) -> Run:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"== {command}\n")
        environ = scrub(self._project.environ) | self._worktree.program_environment(LANDER_IDENTITY)
        environ |= {MARK_STATE: str(self._project.state.root), MARK_AGENT: LANDER}
        argv = ("/bin/sh", "-c", command)
        job = Job(argv, self._worktree.path, environ, log, self._project.config.check_timeout_seconds)
        return run(job, self._orders, self._pulse)

    def _pulse(self) -> bool:
        self._heart.beat()
        return True

    # --- the target -----------------------------------------------------------------------------------

    def look_at_target(self, *, now: bool = False) -> None:
        """Let the target follow, after merging in what the user committed there."""
        if not now and time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _TARGET_SECONDS
        result = follow(self._repository, self._target, self._branch.tip())
        if isinstance(result, Diverged):
            result = self._merge_target(result.target_tip) or follow(self._repository, self._target, self._branch.tip())
        blocked = result if isinstance(result, Blocked) else None
        self._report(
            TargetReport(
                self._target, self._branch.tip(), blocked.why if blocked else None, blocked.remedy if blocked else None
            )
        )

    def _merge_target(self, tip: str) -> Blocked | None:
        """Bring the user's new commits onto the landing branch; Blocked when they cannot be, checked as merged."""
        if self._rejection is not None and self._rejection[0] == tip:
            return self._rejection[1]
        candidate = self._branch.merge(tip, f"Merge {self._target}")
        if isinstance(candidate, Conflict):
            return self._reject(tip, _conflict_text(candidate))
        verdict = self._check(candidate, f"{self._target.replace('/', '-')}-{tip[:12]}")
        if not verdict.failed and not verdict.stopped and self._branch.advance(candidate):
            self._project.state.record_event("target-merged", commit=candidate.commit, target=self._target)
            return None
        self._branch.abandon(candidate)
        return self._reject(tip, verdict.failed) if verdict.failed else None

    def _reject(self, tip: str, problem: str) -> Blocked:
        """Remember that this commit of the user cannot be merged, so that it is not tried again every few seconds."""
        why = f"your commit {tip[:12]} on {self._target} does not go together with what landed: {problem}"
        blocked = Blocked(why, f"git checkout {self._target} && git merge parallel-loop/landed")
        self._rejection = (tip, blocked)
        return blocked

    def _report(self, report: TargetReport) -> None:
        if write_target(self._project.state.root, report):
            event = "target-blocked" if report.blocked else "target-followed"
            self._project.state.record_event(event, why=report.blocked, commit=report.landed, target=report.name)
            self._project.queue.bell.ring()

    def close(self) -> None:
        os.close(self._lock)


def _conflict_text(conflict: Conflict) -> str:
    names = ", ".join(conflict.paths[:10]) + (" and more" if len(conflict.paths) > 10 else "")
    return f"it conflicts with what landed meanwhile, in {names}"


def main(arguments: list[str]) -> int:
    """Land for the repository `arguments[0]` with the target `arguments[1]`; orders come on standard input."""
    root, target = arguments
    orders = Orders()
    orders.obey_terminate()
    orders.obey_stream(sys.stdin.fileno())
    try:
        lander = Lander(Project.open(Path(root)), target, orders)
    except PlaceTaken as error:
        print(error, file=sys.stderr)  # noqa: T201 (standard error is the lander's log)
        return 3
    try:
        lander.run()
    finally:
        lander.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
