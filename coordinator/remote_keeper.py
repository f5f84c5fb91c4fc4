"""Keeps the target's remote with the landing branch: what others push there comes in, what landed goes out.

Guarantees: the lander never waits for the remote (a thread does), so landing goes on whatever the network does; nothing
is pushed that did not land, and nothing while the remote has what the landing branch lacks. What fails is tried again,
after 1, 2, 4 … 30 minutes, and told with the command that shows a person what is the matter.

When a push is refused because somebody else pushed, theirs is fetched, merged, checked, and what landed pushed again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from ..harness.project import Project
from ..harness.setting_up import LANDER_IDENTITY
from ..worktrees.landing import LANDING_BRANCH, LandingBranch
from ..worktrees.remote import Moved, Pushed, RemoteBranch, Rewound, Trouble
from ..worktrees.repository import Repository
from ..worktrees.target import Blocked
from ..worktrees.watchdog import Leash
from .incoming import Incoming, Source
from .remote_talk import Answer, Patience, Talk
from .target_report import RemoteReport

_FETCH_SECONDS = 60.0
_BUSY_SECONDS = 0.25  # how soon it is noticed that the remote has answered
_MOST_MOVES = 5  # in a row without anything new to fetch: then it is no race


class RemoteKeeper:
    """Talks to one remote now and then."""

    def __init__(
        self,
        project: Project,
        remote: RemoteBranch,
        repository: Repository,
        branch: LandingBranch,
        incoming: Incoming,
    ) -> None:
        self._project, self._remote, self._branch, self._incoming = project, remote, branch, incoming
        self._git = repository.git
        self._where = f"git -C {shlex.quote(str(repository.root))}"
        self._source = self._describe_source(shlex.quote(str(repository.root)))
        self._tip = remote.known_tip  # of the remote's branch
        self._is_known = False  # whether it was asked in our life
        self._talk: Talk | None = None
        self._next_fetch = 0.0
        self._fetching, self._pushing = Patience(), Patience()
        self._misfit: Blocked | None = None  # what it has does not go together with what landed, or was taken out
        self._moves = 0
        self._told: Blocked | None = None
        self._unpushed: tuple[tuple[str, str | None], bool] | None = None

    def _describe_source(self, where: str) -> Source:
        name, branch = (shlex.quote(text) for text in (self._remote.name, self._remote.branch))
        remedy = f"cd {where} && git switch {branch} && git pull --no-rebase {name} {branch}"
        return Source(f"{self._remote.branch} of {self._remote.name}", "commit", remedy)

    @property
    def seconds_until_due(self) -> float:
        """For how long there is nothing to hear and nothing to ask, unless something lands."""
        if self._talk is not None:
            return 0.0 if self._talk.answer is not None else _BUSY_SECONDS
        return max(0.0, self._fetch_at - time.monotonic())

    @property
    def _fetch_at(self) -> float:
        return max(self._next_fetch, self._fetching.until)

    @property
    def report(self) -> RemoteReport:
        """How things stand."""
        blocked = self._misfit or self._fetching.blocked or self._pushing.blocked
        return RemoteReport(
            self._remote.name, self._tip, blocked.why if blocked else None, blocked.remedy if blocked else None
        )

    @property
    def is_unsettled(self) -> bool:
        """Whether waiting for the remote a little would have it get what landed."""
        if self._talk is not None and self._talk.is_push:
            return True
        hopeless = self._misfit or self._fetching.blocked or self._pushing.blocked
        return hopeless is None and self._has_unpushed(self._branch.tip())

    def take_in(self) -> None:
        """Merge what is new there. Raises GitError."""
        if self._tip is not None and not isinstance(self._misfit, _Gone) and not self._branch.is_landed(self._tip):
            self._misfit = self._incoming.merge(self._source, self._tip)
        elif self._misfit is not None and not isinstance(self._misfit, _Gone):
            self._misfit = None
        self._tell()

    def give_out(self) -> None:
        """Begin to fetch or to push, if it is time to. Raises GitError."""
        if self._talk is not None:
            return
        now = time.monotonic()
        if now >= self._fetch_at:
            self._begin(self._remote.fetch, is_push=False)
        elif self._is_known and self._misfit is None and now >= self._pushing.until:
            tip, expected = self._branch.tip(), self._tip
            if self._has_unpushed(tip) and (expected is None or self._branch.is_landed(expected)):
                self._begin(lambda leash: self._remote.push(tip, expected, leash), is_push=True)

    def close(self) -> None:
        """End what is under way: it can be begun again."""
        if self._talk is not None:
            self._talk.end()
            self._talk = None

    def _begin(self, act: Callable[[Leash], Answer], *, is_push: bool) -> None:
        self._talk = Talk(act, is_push=is_push)
        self._talk.begin()

    def hear(self) -> None:
        """Take note of what the remote answered, if it has."""
        talk = self._talk
        if talk is None or talk.answer is None:
            return
        self._talk, answer, now = None, talk.answer, time.monotonic()
        if isinstance(answer, Trouble):
            patience, verb = (self._pushing, "push") if talk.is_push else (self._fetching, "fetch")
            patience.fail(self._blocked(verb, answer.said))
            return
        if isinstance(answer, Moved):
            self._note_move()
            return
        if isinstance(answer, Pushed):
            self._note_pushed(answer.commit)
            return
        self._next_fetch, self._is_known = now + _FETCH_SECONDS, True
        self._fetching.succeed()
        if isinstance(answer, Rewound):
            self._misfit = _gone(self._remote, answer.had, self._where)
            return
        if isinstance(self._misfit, _Gone):
            self._misfit = None
        if answer.tip != self._tip:
            self._moves = 0
        self._tip = answer.tip

    def _note_move(self) -> None:
        """Somebody else pushed: fetch at once, unless that goes on without anything new to fetch."""
        self._moves += 1
        if self._moves >= _MOST_MOVES:
            self._pushing.fail(self._blocked("push", "it says that its branch has moved, and has not"))
            self._moves = 0
        self._next_fetch = 0.0

    def _note_pushed(self, commit: str) -> None:
        self._tip, self._moves = commit, 0
        self._pushing.succeed()
        self._project.state.record_event("pushed", commit=commit, target=self._remote.branch, remote=self._remote.name)

    def _blocked(self, verb: str, said: str) -> Blocked:
        name, branch = (shlex.quote(text) for text in (self._remote.name, self._remote.branch))
        if verb == "fetch":
            return Blocked(f"{self._remote.name} cannot be fetched from: {said}", f"{self._where} fetch {name}")
        why = f"what landed cannot be pushed to {self._remote.name}: {said}"
        return Blocked(why, f"{self._where} push {name} {LANDING_BRANCH}:{branch}")

    def _has_unpushed(self, landed: str) -> bool:
        """Whether there is a commit of ours that the remote lacks: what is only the user's is theirs to push."""
        key = (landed, self._tip)
        if self._unpushed is None or self._unpushed[0] != key:
            without = () if self._tip is None else (f"^{self._tip}",)
            ours = ("--fixed-strings", f"--committer={LANDER_IDENTITY.email}", "--format=%H", "--no-show-signature")
            found = self._git.text("log", "--max-count=1", *ours, landed, *without)
            self._unpushed = key, bool(found)
        return self._unpushed[1]

    def _tell(self) -> None:
        blocked = self._misfit or self._fetching.blocked or self._pushing.blocked
        if blocked is not None and blocked != self._told:
            self._project.state.record_event("push-blocked", why=blocked.why, remote=self._remote.name)
        self._told = blocked


class _Gone(Blocked):
    """What the remote had was taken out of it: only a person can say whether it is to be brought back."""


def _gone(remote: RemoteBranch, had: str, where: str) -> _Gone:
    why = (
        f"{remote.branch} of {remote.name} was moved back, rewritten or deleted: it no longer has {had[:12]}; nothing "
        "is pushed, for that would bring back what was taken out. If it may be brought back, say so with this command"
    )
    return _Gone(why, f"{where} update-ref -d {shlex.quote(remote.trusted)}")
