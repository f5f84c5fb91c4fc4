"""One attempt at one item: prepare the worktree, run the program, commit what is left, check, judge."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ..queue import atomic
from ..queue.records import Record
from ..queue.taking import Claim, Taker
from ..worktrees.commit import Rest, commit_rest
from ..worktrees.environment import Identity, scrub
from ..worktrees.errors import GitError, WorktreeGone
from ..worktrees.locks import LockTimeout
from ..worktrees.recycle import BranchExists, RecycleFailed, detach, recycle
from ..worktrees.repository import Repository
from ..worktrees.salvage import salvage
from ..worktrees.setup import OutsideTree
from ..worktrees.worktree import Worktree
from .heart import Heart
from .orders import Orders
from .outcome import Evidence, judge
from .processes import MARK_AGENT, MARK_STATE
from .programs import Placement, invocation
from .project import Project
from .prompt import compose
from .runner import Job, Run, output_tail, run
from .setting_up import ensure_landing_branch, equip
from .settings import ConfigError
from .state import AgentDirectory, Session, read_session

_PORTS_EACH = 10
_FIRST_PORT = 42_000  # below the range that Linux gives to outgoing connections ends at 60,999: clashes are rare

_NO_FAULT_OF_THE_PROGRAM = (GitError, WorktreeGone, RecycleFailed, LockTimeout, OutsideTree, ConfigError, OSError)


@dataclass(frozen=True)
class Workplace:
    """What belongs to an agent's place while a worker fills it."""

    project: Project
    repository: Repository
    agent: AgentDirectory
    worktree: Worktree
    target: str
    orders: Orders
    heart: Heart

    @property
    def identity(self) -> Identity:
        return Identity(f"{self.agent.name} (parallel-loop)", f"{self.agent.name}@parallel-loop.invalid")

    @property
    def port_base(self) -> int:
        number = self.agent.name.rpartition("-")[2]
        return _FIRST_PORT + _PORTS_EACH * (int(number) if number.isdigit() else 0)


class Attempt:
    """The attempt that `claim` stands for, made at `place`."""

    def __init__(self, place: Workplace, taker: Taker, claim: Claim) -> None:
        self._place = place
        self._taker = taker
        self._claim = claim
        self._start = time.monotonic()
        self._log = place.agent.attempt_log(claim.item.id, claim.attempt)
        self._ask = self._log.with_suffix(".ask")
        self._branch = f"parallel-loop/item/{claim.item.id}/{claim.attempt}"
        self._log_size = 0

    def make(self) -> Record | None:
        """Make the attempt and return the record that ends it, None when the claim was lost on the way."""
        project = self._place.project
        evidence = Evidence(
            at=project.queue.now(),
            agent=self._place.agent.name,
            started_at=self._claim.started_at,
            seconds=0.0,
            branch=self._branch,
            log=str(self._log.relative_to(project.state.root)),
        )
        try:
            evidence = self._gather(evidence)
        except _NO_FAULT_OF_THE_PROGRAM as error:
            evidence = replace(evidence, error=str(error))
        evidence = replace(evidence, at=project.queue.now(), seconds=time.monotonic() - self._start)
        return judge(evidence, self._claim.entry, project.retry, project.config.land)

    def _gather(self, evidence: Evidence) -> Evidence:
        start = self._prepare()
        evidence = replace(evidence, branch=self._branch)
        setup = self._set_up()
        if setup is not None and setup.ended in {"stopped", "fenced"}:
            return replace(evidence, run=setup)
        if setup is not None:
            return replace(evidence, error=setup.describe("a command of `setup: run:`"), output=output_tail(self._log))
        self._place.heart.tell("working")
        since = self._log.stat().st_size if self._log.exists() else 0
        work = self._run_program()
        evidence = replace(evidence, run=work, output=output_tail(self._log, since))
        if work.ended == "fenced":
            return evidence
        self._place.heart.tell("ending")
        rest = self._commit(start)
        evidence = replace(evidence, commit=rest.commit if rest.commits else None, commits=rest.commits)
        evidence = replace(evidence, question=self._question())
        if work.ok and rest.commits and not evidence.question:
            evidence = self._check(evidence)
        detach(self._place.worktree)
        return evidence

    def _prepare(self) -> str:
        """Make the worktree as good as new on the attempt's branch; return the commit that it starts from."""
        place, claim = self._place, self._claim
        place.heart.tell("preparing", item=claim.item.id, attempt=claim.attempt, role=claim.item.role)
        rescue(place)
        start = ensure_landing_branch(place.repository, place.worktree, place.target).tip()
        base, number = self._branch, 1
        while True:
            session = Session(claim.item.id, claim.attempt, self._branch)
            atomic.replace_file(place.agent.session, msgspec.json.encode(session))
            try:
                recycle(place.worktree, start, self._branch)
            except BranchExists:  # of an earlier life of this queue, or of another item of that name
                number += 1
                self._branch = f"{base}-{number}"
            else:
                return start

    def _set_up(self) -> Run | None:
        """Give the worktree what the configuration says it needs; return the command that failed, if one did."""
        place, setup = self._place, self._place.project.config.setup
        missing = equip(place.worktree, place.project)
        if missing:
            place.project.state.record_event("setup-missing", agent=place.agent.name, names=", ".join(missing))
        for command in setup.run:
            result = self._run_shell(command)
            if not result.ok:
                return result
        return None

    def _run_program(self) -> Run:
        place, claim, config = self._place, self._claim, self._place.project.config
        prompt = compose(claim.entry)
        prompt_file = place.agent.prompt_file(claim.item.id, claim.attempt)
        prompt_file.write_text(prompt, encoding="utf-8", errors="surrogateescape")
        self._ask.unlink(missing_ok=True)
        placement = Placement(claim.item, claim.attempt, self._branch, place.worktree.path, prompt, prompt_file)
        start = invocation(placement, config)
        place.heart.tell("working", program=start.program)
        job = self._job(start.argv, self._timeout_seconds(), stdin=prompt_file if start.prompt_on_stdin else None)
        return run(job, place.orders, self._pulse)

    def _timeout_seconds(self) -> float:
        item, config = self._claim.item, self._place.project.config
        role = config.roles.get(item.role) if item.role else None
        return item.timeout_seconds or (role.timeout_seconds if role else None) or config.limits.time_seconds

    def _run_shell(self, command: str) -> Run:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"\n== {command}\n")
        job = self._job(("/bin/sh", "-c", command), self._place.project.config.check_timeout_seconds)
        return run(job, self._place.orders, self._pulse)

    def _job(self, argv: tuple[str, ...], timeout_seconds: float, stdin: Path | None = None) -> Job:
        return Job(argv, self._place.worktree.path, self._environ(), self._log, timeout_seconds, stdin)

    def _environ(self) -> dict[str, str]:
        place, claim = self._place, self._claim
        own = {
            MARK_STATE: str(place.project.state.root),
            MARK_AGENT: place.agent.name,
            "PARALLEL_LOOP_ITEM": claim.item.id,
            "PARALLEL_LOOP_ATTEMPT": str(claim.attempt),
            "PARALLEL_LOOP_ROLE": claim.item.role or "",
            "PARALLEL_LOOP_WORKTREE": str(place.worktree.path),
            "PARALLEL_LOOP_BRANCH": self._branch,
            "PARALLEL_LOOP_PROMPT_FILE": str(place.agent.prompt_file(claim.item.id, claim.attempt)),
            "PARALLEL_LOOP_PORT_BASE": str(place.port_base),
            "PARALLEL_LOOP_ASK_FILE": str(self._ask),
        }
        return scrub(place.project.environ) | place.worktree.program_environment(place.identity) | own

    def _pulse(self) -> bool:
        """Beat, and tell whether the claim is still ours."""
        try:
            size = self._log.stat().st_size
        except OSError:
            size = self._log_size
        self._place.heart.beat(progress=size != self._log_size)
        self._log_size = size
        return self._taker.holds(self._claim)

    def _commit(self, start: str) -> Rest:
        item, place = self._claim.item, self._place
        message = f"{item.title}\n\nItem: {item.id}\nAttempt: {self._claim.attempt}\nAgent: {place.agent.name}\n"
        return commit_rest(place.worktree, self._branch, message, place.identity, start=start)

    def _question(self) -> str:
        try:
            return self._ask.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return ""

    def _check(self, evidence: Evidence) -> Evidence:
        """Run the checks on what was committed; the landing runs them again on the merged result."""
        self._place.heart.tell("checking")
        for command in self._place.project.config.checks:
            since = self._log.stat().st_size
            result = self._run_shell(command)
            if result.ended in {"stopped", "fenced"}:
                return replace(evidence, run=result)
            if not result.ok:
                why = result.describe(f"the check `{command}`")
                return replace(evidence, failed_check=why, output=output_tail(self._log, since))
        return evidence


def rescue(place: Workplace) -> None:
    """Commit what an earlier attempt left in the worktree and no branch keeps, under its own salvage ref."""
    session = read_session(place.agent)
    owner = f"{session.item}/{session.attempt}" if session else f"unknown/{place.agent.name}"
    ref = f"refs/parallel-loop/salvage/{owner}"
    saved = salvage(place.worktree, ref, f"Left behind by {owner}", place.identity)
    if saved is not None:
        place.project.state.record_event("salvaged", agent=place.agent.name, ref=ref, commit=saved)
