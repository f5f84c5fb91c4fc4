"""Workers and accounts, as far as taking items and ending them go."""

from __future__ import annotations

import contextlib
import os

from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.accounts.governor import Governor
from parallel_loop.harness.accounts.standing import Account
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.dialects.verdict import Finding
from parallel_loop.harness.job import Run
from parallel_loop.harness.outcome import OUTCOMES, Evidence
from parallel_loop.harness.overlaps.choice import Choice
from parallel_loop.harness.overlaps.named import Names
from parallel_loop.harness.pausing.trials import Trials
from parallel_loop.harness.programs import program_of
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import to_datetime
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.worktrees.git import Git

PAID = """
programs: {mine: {argv: [mine], account: paid}, ours: {argv: [ours], account: paid}, yours: {argv: [yours]}}
roles: {narrow: {wip: 1}, builder: {program: mine, fallback: yours}}
after_limit: {slack: 0s, jitter: 0s}
"""
SESSIONS = 'programs: {mine: {argv: [m], resume: [m, "{session}"], session: told, resume_in: same, dialect: claude}}\n'


class Stand:
    """A worker as far as taking and ending go: its attempts come to what the test says."""

    def __init__(self, project: Project, name: str = "agent-1") -> None:
        self.project, self.name = project, name
        project.state.agent(name).create()
        self.trials = Trials(project)
        self.governor = Governor(project, name, self.trials)
        self.choice = Choice(project, self.governor, Names(Git(project.root), "HEAD"))
        self.taker = Taker(project.queue, Owner(name, os.getpid()), project.wip)

    def take(self) -> Claim | None:
        return self.choice.take(self.taker)

    def taken(self) -> str | None:
        """Take one and hold it; say which, and by which program."""
        claim = self.take()
        return None if claim is None else f"{claim.item.id} {program_of(claim.item, self.project.config)}"

    def end(
        self,
        claim: Claim,
        word: str = "",
        resets_in: float | None = None,
        retry: float | None = None,
        story: Story | None = None,
        seconds: float = 30.0,
        **fields: object,
    ) -> Record:
        """End the attempt as one whose program ran into `word`; into nothing, and it is done."""
        at = self.project.queue.now()
        resets_at = None if resets_in is None else to_datetime(at).timestamp() + resets_in
        finding = Finding(word, word, resets_at, retry) if word else None
        code = 1 if word else 0
        run = Run("exited", seconds, code)
        evidence = Evidence(at, self.name, claim.started_at, seconds, "b", "l", run=run, finding=finding, story=story)
        named = {"kind": "released" if word else "done", "outcome": OUTCOMES.get(word, "done"), "counted": not word}
        record = Record(**({"at": at, "agent": self.name, "why": word} | named | fields))
        settled = self.trials.settle(claim.item, self.governor.settle(claim, record, evidence), evidence)
        assert settled is not None
        assert self.taker.end(claim, settled)
        return settled

    def account(self, name: str) -> Account:
        account = AccountFile(self.project).look().get(name)
        assert account is not None
        return account


def some(stands: contextlib.ExitStack, project: Project, count: int) -> list[Stand]:
    """As many workers, agent-1 and on, each of which ends with the test."""
    made = [Stand(project, f"agent-{number}") for number in range(1, count + 1)]
    for stand in made:
        stands.callback(stand.taker.close)
    return made
