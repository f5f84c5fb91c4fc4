"""The forecast: which branches in work conflict, found by the lander when it has nothing else to do.

Guarantees: branches are merged for trial at most once a minute, git is asked only when a branch in work or the landing
branch moved, and all of it takes no more than two hundredths of the time; where there is always something to land, that
waits for it once in ten minutes at most.

What programs have not committed yet is not looked at: a status of every worktree would cost more than all the merges,
and take their index locks, or read what is half written.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import NamedTuple

from ..harness.overlaps.forecast import BranchInWork, Clash, Forecast
from ..harness.overlaps.globs import condensed
from ..harness.project import Project
from ..harness.rereading import Watched
from ..harness.state import read_session
from ..queue.atomic import Unreadable
from ..queue.records import ENDED, Entry
from ..worktrees.errors import GitError
from ..worktrees.forecast import TrialMerges
from ..worktrees.landing import LANDING_BRANCH
from ..worktrees.repository import Repository
from ..worktrees.worktree import Worktree
from .target_report import LANDER

MOST_BRANCHES = 64  # 2,080 merges, a second; of more, the newest
MOST_PATHS = 100  # of one branch; of more, the folders that they lie in
_EVERY_SECONDS = 60.0
_LOOK_SECONDS = 10.0  # how soon a first commit is noticed; looking costs no git
_BUSY_SECONDS = 600.0
_SHARE = 50  # so many times what the last forecast took, until the next


class Branch(NamedTuple):
    """One attempt in work. `commit` is known of what was handed over."""

    item: str
    attempt: int
    name: str
    commit: str | None
    since: str


class Forecaster:
    """Makes forecasts for one lander, in its worktree's repository."""

    def __init__(self, project: Project, repository: Repository, worktree: Worktree) -> None:
        self._project, self._repository = project, repository
        self._merges = TrialMerges(worktree)
        self._file = Watched(project.state.forecast, Forecast)
        self._forecast = self._file.look()
        self._seen: object = None
        self._merged = False  # in the last forecast
        self._look_at = self._ask_at = 0.0
        self._busy_at = time.monotonic() + _BUSY_SECONDS

    @property
    def seconds_until_due(self) -> float:
        """For how long `is_due` need not be asked."""
        return max(0.0, max(self._look_at, self._ask_at) - time.monotonic())

    def is_due(self, *, busy: bool) -> bool:
        """Whether it is time; `busy` says that something may wait for landing."""
        now = time.monotonic()
        return now >= self._busy_at if busy else now >= max(self._look_at, self._ask_at)

    def make(self) -> bool:
        """Make a forecast and write it if a branch moved; False when nothing did, or git could not do it."""
        start = time.monotonic()
        self._look_at, self._busy_at = start + _LOOK_SECONDS, start + _BUSY_SECONDS
        branches = self._branches()
        seen = (branches, self._repository.trace(LANDING_BRANCH, *(branch.name for branch in branches)))
        if seen == self._seen or not (branches or self._forecast.branches or self._forecast.earlier):
            return False
        self._merged, made = False, False
        with contextlib.suppress(GitError, OSError):  # in a minute it may be otherwise
            made = self._make(branches)
            self._seen = seen
        seconds = time.monotonic() - start
        self._ask_at = time.monotonic() + max(_EVERY_SECONDS if self._merged else 0.0, _SHARE * seconds)
        return made

    def _make(self, branches: list[Branch]) -> bool:
        tips = self._merges.tips([LANDING_BRANCH, *(branch.name for branch in branches if branch.commit is None)])
        tip = tips.get(LANDING_BRANCH)
        if tip is None:
            return False
        commits = {branch: branch.commit or tips.get(branch.name) for branch in branches}
        known = {branch: commit for branch, commit in commits.items() if commit is not None}
        before = {(one.item, one.attempt): one.commit for one in self._forecast.branches}
        if tip == self._forecast.tip and {(b.item, b.attempt): commit for b, commit in known.items()} == before:
            return False
        changed = self._merges.changed(tip, known.values())
        worth = {branch: commit for branch, commit in known.items() if changed.get(commit)}
        self._forecast = Forecast(
            at=self._project.queue.now(),
            tip=tip,
            branches=tuple(_described(branch, commit, changed.get(commit, ())) for branch, commit in known.items()),
            conflicts=self._conflicts(tip, worth),
            earlier=self._earlier({branch.item for branch in branches}),
        )
        self._file.write(self._forecast)
        return True

    def _conflicts(self, tip: str, commits: dict[Branch, str]) -> tuple[Clash, ...]:
        items: dict[tuple[str, str], tuple[str, ...]] = {(tip, commit): (b.item,) for b, commit in commits.items()}
        for (one, first), (other, second) in itertools.combinations(commits.items(), 2):
            if one.item != other.item:
                items[first, second] = (one.item, other.item)
        self._merged = bool(items)
        clashes = self._merges.clashes(tip, list(items))
        found = (Clash(items=items[pair], paths=condensed(paths, MOST_PATHS)) for pair, paths in clashes.items())
        return tuple(sorted(found, key=lambda clash: (len(clash.items), clash.items)))

    # --- what is in work ------------------------------------------------------------------------------

    def _branches(self) -> list[Branch]:
        """Return the attempts in work, the oldest first."""
        found = {branch.name: branch for branch in (*self._at_work(), *self._handed_over())}
        return sorted(found.values(), key=lambda branch: (branch.since, branch.item))[-MOST_BRANCHES:]

    def _at_work(self) -> list[Branch]:
        state, found = self._project.state, []
        for name in state.agent_names():
            session = read_session(state.agent(name)) if name != LANDER else None
            entry = self._entry(session.item) if session is not None else None
            if session is None or entry is None or not entry.last_is("claimed") or entry.attempts != session.attempt:
                continue
            since = session.started_at or entry.item.added_at
            found.append(Branch(session.item, session.attempt, session.branch, None, since))
        return found

    def _handed_over(self) -> list[Branch]:
        found = []
        for item_id in self._project.queue.hints.landing()[-MOST_BRANCHES:]:
            entry = self._entry(item_id)
            if entry is None or entry.last is None or entry.last.kind != "landing":
                continue
            last = entry.last
            if last.branch is not None and last.commit is not None:
                found.append(Branch(item_id, entry.attempts, last.branch, last.commit, last.at))
        return found

    def _earlier(self, in_work: set[str]) -> dict[str, tuple[str, ...]]:
        """Return what is known of items that were in work and are to be again."""
        known = self._forecast.earlier | {one.item: one.paths for one in self._forecast.branches if one.paths}
        found = dict[str, tuple[str, ...]]()
        for item_id, paths in known.items():
            entry = self._entry(item_id) if item_id not in in_work else None
            if entry is not None and entry.last is not None and entry.last.kind not in ENDED:
                found[item_id] = paths
        return dict(list(found.items())[-MOST_BRANCHES:])

    def _entry(self, item_id: str) -> Entry | None:
        try:
            return self._project.queue.entry(item_id)
        except Unreadable:
            return None


def _described(branch: Branch, commit: str, paths: tuple[str, ...]) -> BranchInWork:
    return BranchInWork(
        item=branch.item,
        attempt=branch.attempt,
        branch=branch.name,
        commit=commit,
        paths=condensed(paths, MOST_PATHS),
    )
