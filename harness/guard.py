"""Watches over what all worktrees of the repository share, for one agent's place: before and after its programs.

What is found and done is told as events; what a person should know of is in the quarantine, which `attention` reads.

Guarantees: two places never judge at the same time, and both by what the last of them left (`shared.json`); so what one
put back the other does not take for a change. What a kill left is judged by the next who has the place, or by the
coordinator at its start. Trouble in here costs no item an attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import msgspec

from ..queue import atomic
from ..worktrees import precious
from ..worktrees.errors import GitError
from ..worktrees.evidence import MOST_BYTES, Command, forget_trace, read_commands, trace_variables
from ..worktrees.locks import LockTimeout, hold
from ..worktrees.operations import read_line
from ..worktrees.quarantine import Call, Quarantine
from ..worktrees.reflogs import program_email
from ..worktrees.repository import Repository
from ..worktrees.shared import SharedFiles
from ..worktrees.shared_files import File
from ..worktrees.shared_refs import Attempted, Before, Deed, remember, settle
from .state import AgentDirectory, StateDirectory, read_record

_PATIENCE_SECONDS = 30.0
_SLACK_SECONDS = 10.0  # a worker beats every five seconds, and its program ends with it
_TROUBLE = (GitError, LockTimeout, OSError)


class _Known(msgspec.Struct, frozen=True):
    """The shared files as the last look left them."""

    files: dict[str, File]


class _Attempt(msgspec.Struct, frozen=True):
    """What an agent's attempt began with; there from its beginning until its changes are settled."""

    attempted: Attempted
    before: Before


class Guard:
    """The guard of one agent's place."""

    def __init__(self, state: StateDirectory, repository: Repository, agent: AgentDirectory) -> None:
        self._state, self._repository, self._agent = state, repository, agent
        self._earlier: list[Command] = []
        self._quarantine = Quarantine(state.quarantine)
        self._files = SharedFiles(repository.git_dir, self._quarantine)
        # For when a program has removed what was written down.
        self._last: _Known | None = None
        self._begun: _Attempt | None = None

    def variables(self, environ: Collection[str]) -> dict[str, str]:
        """What a program gets so that git writes down what it did; nothing where the user has it written elsewhere."""
        return {} if "GIT_TRACE2_EVENT" in environ else trace_variables(self._agent.git_trace)

    def begin(self, keep_below: str, branch: str | None = None) -> None:
        """Remember what there is before a program starts: its changes are kept as `<keep_below>-shared/…`."""
        with self._trouble_told():
            self._forget()
            self._begun, marker = None, self._agent.refs
            atomic.replace_own(marker, b"{}\n")  # its time is that of the file system, which reflogs are compared with
            before = remember(self._repository, marker.stat().st_mtime_ns)
            attempted = Attempted(program_email(self._agent.name), branch, keep_below)
            self._begun = _Attempt(attempted, before)
            atomic.replace_own(marker, msgspec.json.encode(self._begun))

    def look(self, is_quiet: Callable[[Path], bool] = lambda _: False) -> None:
        """Judge the shared files; a program's changes must not reach our own git, nor the next program."""
        with self._trouble_told(), self._alone():
            written = read_record(self._state.shared, _Known)
            known, now = written or self._last, self._files.look()
            if known is not None and now != known.files:
                for change in self._files.judge(known.files, cache(self._all_commands), is_quiet):
                    self._tell("security" if change.grave else "shared-changed", change.why)
                now = self._files.look()
            self._last = _Known(now)
            if written != self._last:
                atomic.replace_own(self._state.shared, msgspec.json.encode(self._last))

    def settle(self, own: Path | None = None) -> None:
        """Undo what the programs of the attempt did to other refs; `own` is the git directory of a worktree to spare.

        A branch that is checked out there goes when that worktree has been detached: see `Attempt`.
        """
        begun = self._begun or read_record(self._agent.refs, _Attempt)
        if begun is None:
            return
        # One at a time: git knows the entries of the stash by their numbers only.
        with self._trouble_told(), self._alone():
            commands = [*self._earlier, *self._commands(self._agent)]
            if own is not None and not read_line(own / "HEAD").startswith("ref: "):
                own = None
            deeds = settle(self._repository, begun.before, begun.attempted, commands, spare=own)
            for deed in deeds:
                self._tell_deed(deed)
            self._forget()
            if own is None:
                self._begun = None
                atomic.clear_the_way(self._agent.refs)
                self._agent.refs.unlink(missing_ok=True)

    def keep_short(self) -> None:
        """Keep what git writes down from growing for ever. Cheap; to be called now and then."""
        try:
            if self._agent.git_trace.stat().st_size > MOST_BYTES:
                self._earlier += self._commands(self._agent)
                forget_trace(self._agent.git_trace)
        except OSError:
            return

    def _alone(self) -> AbstractContextManager[int]:
        atomic.clear_the_way(self._state.shared_lock)
        return hold(self._state.shared_lock, timeout_seconds=_PATIENCE_SECONDS)

    def _forget(self) -> None:
        self._earlier = []
        forget_trace(self._agent.git_trace)

    def _all_commands(self) -> list[Command]:
        """What all programs that are or were at work did: the change may be another's than ours."""
        agents = [AgentDirectory(path) for path in self._state.agents.iterdir()]  # the lander among them
        return [*self._earlier, *(command for agent in agents for command in self._commands(agent))]

    def _commands(self, agent: AgentDirectory) -> list[Command]:
        return read_commands(agent.git_trace, self._repository.places())

    def _tell_deed(self, deed: Deed) -> None:
        if deed.remedy is None:
            self._tell("set-aside", deed.why, ref=deed.kept_as)
        elif self._quarantine.tell(deed.ref, deed.why, deed.remedy):
            self._tell("shared-changed", deed.why)

    def _tell(self, event: str, why: str, ref: str | None = None) -> None:
        self._state.record_event(event, agent=self._agent.name, why=why, ref=ref)

    @contextmanager
    def _trouble_told(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:  # the next look finds what this one did not
            self._tell("unguarded", str(error))


def calls(state: StateDirectory) -> list[Call]:
    """What a person should know of what programs did to what worktrees share."""
    return Quarantine(state.quarantine).calls()


def open_run(state: StateDirectory, repository: Repository, dead: Collection[str], trusted: Collection[str]) -> None:
    """Judge what the `dead` left behind, then protect objects from being pruned while the run lives.

    When nobody of `trusted`, who live on, was at work, what changed after the last sign of life is the user's doing.
    """
    quiet_after = _last_sign_of_life(state, dead) + _SLACK_SECONDS
    guards = [Guard(state, repository, state.agent(name)) for name in sorted(dead) if state.agent(name).root.is_dir()]

    def is_quiet(path: Path) -> bool:
        try:
            return not trusted and path.lstat().st_ctime > quiet_after
        except OSError:
            return False

    for guard in guards:
        guard.look(is_quiet)
        guard.settle()
    try:
        precious.protect(repository, state.precious)
    except _TROUBLE as error:
        state.record_event("unguarded", why=str(error))


def close_run(state: StateDirectory, repository: Repository) -> bool:
    """After the last program has ended: what changes from now on is the user's. True when protection was lifted."""
    try:
        with hold(state.shared_lock, timeout_seconds=_PATIENCE_SECONDS):
            state.shared.unlink(missing_ok=True)
        return precious.unprotect(repository, state.precious)
    except _TROUBLE as error:
        state.record_event("unguarded", why=str(error))
        return False


def _last_sign_of_life(state: StateDirectory, names: Collection[str]) -> float:
    """When a worker of these names last beat, in seconds since 1970 by the clock of the file system."""
    found = [0.0]
    for name in names:
        try:
            found.append(state.agent(name).heartbeat.stat().st_ctime)
        except OSError:
            continue
    return max(found)
