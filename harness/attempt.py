"""One attempt at one item: prepare the worktree, run the program, commit what is left, check, judge."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ..queue import atomic
from ..queue.records import Record
from ..queue.taking import Claim, Taker
from ..worktrees.branches import attempt_branch, free_branch
from ..worktrees.commit import Rest, commit_rest
from ..worktrees.errors import GitError, WorktreeGone
from ..worktrees.locks import LockTimeout, hold
from ..worktrees.pool import ForeignDirectory
from ..worktrees.recycle import BranchExists, RecycleFailed, detach, recycle, reset_to
from ..worktrees.repository import EmptyRepository
from ..worktrees.salvage import SALVAGE
from ..worktrees.setup import OutsideTree
from ..worktrees.worktree import Worktree
from .budgets import held_for_budget
from .commands import Commands
from .configuration.settings import SHELL, ConfigError
from .dialects.story import Story
from .job import Run
from .outcome import Evidence, find, judge
from .programs import program_of
from .rescuing import is_left_behind, tell_saved
from .resuming import Resumption, resumption, used_before, where_it_stopped
from .setting_up import equip, landing_tip
from .shortage import is_shortage, once_there_is_room
from .state import Session
from .workplace import Workplace

# What stops an attempt although its program did nothing wrong. Everything else is a bug, and ends the worker.
NO_FAULT_OF_THE_PROGRAM = (
    *(GitError, WorktreeGone, ForeignDirectory, BranchExists, RecycleFailed, LockTimeout, EmptyRepository),
    *(OutsideTree, ConfigError, OSError),
)
_PREPARING_SECONDS = 600.0  # for others that prepare the same program
_ENDED_BY_US = {"stopped", "fenced"}


class Attempt:
    """The attempt that `claim` stands for, made at `place`.

    `note_lasting` is called while its program runs, when that has lasted for longer than a quick failure.
    """

    def __init__(
        self, place: Workplace, taker: Taker, claim: Claim, note_lasting: Callable[[], None] = lambda: None
    ) -> None:
        self._place = place
        self._claim = claim
        self._commands = Commands(place, taker, claim)
        self._note_lasting = note_lasting
        self._start = time.monotonic()
        self._evidence = Evidence(
            at=place.project.queue.now(),
            agent=place.agent.name,
            started_at=claim.started_at,
            seconds=0.0,
            branch=attempt_branch(claim.item.id, claim.attempt),
            log=self._commands.log_name(),
            program=program_of(claim.item, place.project.config),
        )
        self._heir: str | None = None
        self._base = ""  # what the attempt's commits are counted from
        self._resumed: Resumption | None = None
        self._own: Path | None = None

    def make(self) -> Record | None:
        """Make the attempt and return the record that ends it, None when the claim was lost on the way."""
        project = self._place.project
        try:
            self._work()
        except NO_FAULT_OF_THE_PROGRAM as error:
            shortage = is_shortage(error) or self._place.room.lack() is not None  # git does not always say why
            self._note(error=str(error), shortage=shortage)
        self._place.guard.look()
        self._place.guard.settle(self._own)
        unasked = self._place.orders.terminated and not project.state.stop_is_wanted()
        self._note(at=project.queue.now(), seconds=time.monotonic() - self._start, unasked=unasked)
        record = judge(self._evidence, self._claim.entry, project.retry, project.config.land)
        return None if record is None else held_for_budget(record, self._claim.entry, project)

    @property
    def evidence(self) -> Evidence:
        """What is known of the attempt; all of it once it is made."""
        return self._evidence

    def _note(self, **evidence: Any) -> None:
        self._evidence = replace(self._evidence, **evidence)

    def _work(self) -> None:
        heart, claim = self._place.heart, self._claim
        self._place.agent.create()  # a program may have deleted it
        heart.tell("preparing", item=claim.item.id, attempt=claim.attempt, role=claim.item.role)
        with heart.beating():
            worktree = self._place.worktree()
            self._own = worktree.git_dir
            start = self._prepare(worktree)
        if start is None or not self._set_up(worktree):
            return
        branch = self._evidence.branch
        work, output, story = self._commands.run_program(worktree, branch, self._resumed, self._note_lasting)
        self._note(run=work, output=output, story=story)
        if work.ended not in {"not-started", "fenced"} and work.seconds > 0:
            self._note(session=self._commands.session)
        if work.ended == "interrupted":
            self._note(interruption=self._commands.interruption())
        if story is not None:
            self._hear(story, work)
        if work.ended == "fenced":
            return
        self._place.guard.look()  # what it planted must not have a say in what is committed
        if work.ended == "exited" and not self._evidence.ended_well:
            self._blame_want_of_room(work.describe("the program"))
        heart.tell("ending")
        self._note(question=once_there_is_room(self._commands.question, self._wait_for_room))
        if not self._is_ours():
            return
        with heart.beating():
            worktree = self._regain(worktree, start)
            rest = once_there_is_room(lambda: self._commit(worktree), self._wait_for_room)
        self._note(commit=rest.commit if rest.commits else None, commits=rest.commits)
        if rest.commits and self._evidence.is_done:
            self._check(worktree)
        detach(worktree)

    def _prepare(self, worktree: Worktree) -> str | None:
        """Make the worktree as good as new on the attempt's branch; return the commit that it starts from.

        None when the claim is not ours any more.
        """
        place, claim = self._place, self._claim
        place.rescue(worktree)
        self._base = landing_tip(place.repository, worktree, place.target)
        self._resumed = self._find_session()
        stop = None if self._resumed is None else where_it_stopped(self._resumed, place.repository, self._base)
        start, self._base = stop or (self._base, self._base)
        git = worktree.git()
        self._note(branch=free_branch(git, self._evidence.branch))
        self._heir = free_branch(git, attempt_branch(claim.item.id, claim.attempt + 1))
        if not self._is_ours():  # looked at only now: see branches.py
            return None
        keep = place.project.config.setup.keep
        recycle(worktree, start, self._evidence.branch, heir=self._heir, keep=keep)
        if not self._is_ours():  # the heir's branch is deleted when the item has ended, and then it fences nobody
            return None
        # What is found in the worktree from here on is of this attempt; what was there before has been salvaged.
        session = Session(claim.item.id, claim.attempt, self._evidence.branch, claim.started_at)
        atomic.replace_own(place.agent.session, msgspec.json.encode(session))
        place.guard.begin(f"{SALVAGE}/{session.item}/{session.attempt}", session.branch)
        return start

    def _find_session(self) -> Resumption | None:
        """Return the session to go on with, unless what it did is still where its worker was killed.

        It would take for done what is not there.
        """
        place = self._place
        found = resumption(self._claim.entry, place.project, place.agent.name)
        if found is None or found.record.outcome != "died" or found.record.agent in {None, place.agent.name}:
            return found
        name, state = str(found.record.agent), place.project.state
        return None if is_left_behind(state, place.repository, name, found.item, found.attempt) else found

    def _hear(self, story: Story, work: Run) -> None:
        """Note what follows from what the program told."""
        project = self._place.project
        adapter = project.config.adapter(program_of(self._claim.item, project.config))
        before = None if self._resumed is None else used_before(self._resumed, project.state)
        finding, resumed = find(story, adapter, work, time.time()), self._resumed is not None
        self._note(finding=finding, resumed=resumed, used_before=before)

    def _is_ours(self) -> bool:
        """Tell whether the claim is still ours; if not, that is what the attempt came to."""
        ours = self._commands.pulse()
        if not ours:
            self._note(run=Run("fenced", 0.0))
        return ours

    def _set_up(self, worktree: Worktree) -> bool:
        """Give the worktree what the configuration says it needs; False when that failed, which is noted."""
        project = self._place.project
        program = program_of(self._claim.item, project.config)
        missing = equip(worktree, project, () if program == SHELL else project.config.adapter(program).ignore or ())
        if missing:
            project.state.record_event("setup-missing", agent=self._place.agent.name, names=", ".join(missing))
        return self._run_all(worktree, project.config.setup.run, "setup: run:") and self._prepare_program(worktree)

    def _prepare_program(self, worktree: Worktree) -> bool:
        """Run what the program wants to be run once before it; by one agent after the other, since that is why."""
        place = self._place
        program = program_of(self._claim.item, place.project.config)
        commands = () if program == SHELL else place.project.config.adapter(program).prepare or ()
        if not commands or program in place.prepared:
            return True
        with place.heart.beating(), hold(place.project.state.prepare_lock, timeout_seconds=_PREPARING_SECONDS):
            if not self._run_all(worktree, commands, f"programs: {program}: prepare:"):
                return False
        place.prepared.add(program)
        return True

    def _run_all(self, worktree: Worktree, commands: Sequence[str], key: str) -> bool:
        """Run commands of the configuration; False when one failed, which is noted."""
        for command in commands:
            ended, output = self._commands.run_shell(worktree, self._evidence.branch, command)
            if ended.ended in _ENDED_BY_US:
                self._note(run=ended)
            elif not ended.ok:
                what = ended.describe(f"the command `{command}` of `{key}`")
                self._note(error=what, output=output)
                self._blame_want_of_room(what)
            if not ended.ok:
                return False
        return True

    def _blame_want_of_room(self, what: str) -> None:
        """Note, when a command failed while there was no room on the machine, that this says little of the item."""
        lack = self._place.room.lack()
        if lack is not None:
            self._note(error=f"{what}, and at its end there was this: {lack.why}", shortage=True)

    def _regain(self, worktree: Worktree, start: str) -> Worktree:
        """Return the worktree, made again if the program deleted it: then only what it committed before is left."""
        if worktree.path.is_dir() and not worktree.path.is_symlink() and worktree.git_dir.is_dir():
            return worktree
        place = self._place
        worktree = place.worktree()
        place.rescue(worktree)
        tip = place.repository.branch_tip(self._evidence.branch) or start
        reset_to(worktree, tip)
        if tip == start:
            self._note(error="the program deleted its worktree before anything was committed")
        return worktree

    def _commit(self, worktree: Worktree) -> Rest:
        item, place = self._claim.item, self._place
        message = (
            f"{item.title}\n\nItem: {item.id}\nAttempt: {self._claim.attempt}\nAgent: {place.agent.name}\n"
            f"Program: {program_of(item, place.project.config)}\n"
        )
        rest = commit_rest(worktree, self._evidence.branch, message, place.identity, start=self._base, heir=self._heir)
        tell_saved(place.project.state, place.agent, rest.kept, item.id, self._claim.attempt)
        if rest.commits:
            place.repository.flush()  # the record that names the commit is flushed, too
        return rest

    def _wait_for_room(self, error: OSError | GitError) -> bool:
        """Wait, so that finished work is committed when there is room; False when nobody wants it any more."""
        self._place.room.wait(error)
        return not self._place.orders.stopping and self._commands.pulse()

    def _check(self, worktree: Worktree) -> None:
        """Run the checks on what was committed; the landing runs them again on the merged result."""
        self._place.heart.tell("checking")
        for command in self._place.project.config.checks:
            ended, output = once_there_is_room(partial(self._run_check, worktree, command), self._wait_for_room)
            if ended.ended in _ENDED_BY_US:
                self._note(run=ended)
            elif not ended.ok:
                self._note(failed_check=ended.describe(f"the check `{command}`"), output=output)
            if not ended.ok:
                return

    def _run_check(self, worktree: Worktree, command: str) -> tuple[Run, str]:
        """Run one check. Raises OSError when it fails while there is no room: that says nothing of what it checked."""
        ended, output = self._commands.run_shell(worktree, self._evidence.branch, command)
        if ended.ended == "exited" and not ended.ok:
            lack = self._place.room.lack()
            if lack is not None:
                raise OSError(errno.ENOSPC, lack.why)
        return ended, output
