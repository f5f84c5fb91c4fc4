"""Which branches of attempts nobody needs any more, and their deletion.

Guarantees: a branch goes only when its item is done and on the target, or cancelled; and then only when its commits or
its patches are on the target, or a salvage ref holds them from the same step on. Branches of all other items stay, and
those of an item one of whose branches a work tree has checked out.

Assumes: decision 0019, which says why no attempt that is late can do harm without them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..harness.project import Project
from ..queue.atomic import Unreadable
from ..queue.ids import is_id
from ..queue.records import Entry
from ..worktrees.git import Git
from ..worktrees.patches import how_on
from ..worktrees.repository import Repository
from ..worktrees.salvage import salvage_ref
from ..worktrees.spent import AttemptBranch, Spent, attempt_branches, contained_in, delete

_MOST_COMPARED = 20  # patches in one go: each takes some git commands, and landing waits meanwhile


class SpentBranches:
    """The branches of attempts of one repository, seen from the `target`."""

    def __init__(self, project: Project, target: str, repository: Repository) -> None:
        self._project, self._target, self._repository = project, target, repository
        self._known: dict[tuple[str, str], bool] = {}  # by commit and target's tip: is it there?
        self._left = 0

    def find(self) -> list[Spent]:
        """Return those that can go. One git command when there is no branch of an attempt, else two and a few."""
        branches = attempt_branches(self._repository)
        ended = self._ended(branches) if branches else []
        tip = self._repository.branch_tip(self._target) if ended else None
        if tip is None:
            return []
        self._known = {looked: found for looked, found in self._known.items() if looked[1] == tip}
        self._left = _MOST_COMPARED
        contained = contained_in(self._repository, tip)
        return [one for entry, its in ended for one in self._spent_of(entry, its, tip, contained)]

    def delete(self, git: Git, spent: list[Spent]) -> list[Spent]:
        """Delete them with `git`, which should hold a lease; return those that are gone, and tell of what was kept."""
        gone = delete(git, spent, "its item has ended, and it is not on the target")
        for one in gone:
            if one.keep is not None:
                branch = one.branch
                self._project.state.record_event(
                    "salvaged", item=branch.item, attempt=branch.attempt, ref=one.keep, commit=branch.commit
                )
        return gone

    def _ended(self, branches: Iterable[AttemptBranch]) -> list[tuple[Entry, list[AttemptBranch]]]:
        """Return the items that are done or cancelled, with their branches; read after the branches were listed."""
        by_item: dict[str, list[AttemptBranch]] = defaultdict(list)
        for branch in branches:
            by_item[branch.item].append(branch)
        found = []
        for item, its in by_item.items():
            if any(branch.is_in_use for branch in its):  # by an attempt that is late, say: the others fence it
                continue
            entry = self._entry(item) if is_id(item) else None
            if entry is not None and entry.last is not None and entry.last.kind in {"done", "cancelled"}:
                found.append((entry, its))
        return found

    def _entry(self, item: str) -> Entry | None:
        try:
            return self._project.queue.entry(item)
        except Unreadable:
            return None

    def _spent_of(self, entry: Entry, branches: list[AttemptBranch], tip: str, contained: set[str]) -> Iterable[Spent]:
        last = entry.last
        assert last is not None
        landed = last.kind == "cancelled" or last.commit is None or last.branch in contained
        if not landed and not self._is_on(last.commit or "", tip):
            return  # `land: never`, or the target cannot follow now: nobody else has what was done
        for branch in branches:
            if branch.attempt is None or branch.attempt > entry.attempts:
                continue
            is_there = branch.name in contained or self._is_on(branch.commit, tip)
            if is_there is not None:
                yield Spent(branch, None if is_there else salvage_ref(branch.name))

    def _is_on(self, commit: str, tip: str) -> bool | None:
        """Whether the commit, or its patch, is on the target; None when enough was compared, and it is later's turn."""
        if (commit, tip) not in self._known:
            if self._left == 0:
                return None
            self._left -= 1
            exists = self._repository.resolve(commit) is not None
            self._known[commit, tip] = exists and how_on(self._repository.git, commit, tip) is not None
        return self._known[commit, tip]
