"""The train: branches that wait are stacked on each other, and tested together.

Guarantees:
- the landing branch moves only to a tree that passed the checks, and every commit of its first-parent history is one;
- a branch that is innocent lands in the same round, and nobody is blamed on the word of one run: either what stands
  behind the one to blame passes without it, or its failure was seen twice. What passes the second time was flaky.

Whether a prefix of the stack passes says on which side of it the culprit stands, so sixteen branches with one culprit
take six runs: all of them, four to find it, one for what stands behind it.

Assumes: the landing worktree is ours for as long as `land` runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ..harness.programs import program_of
from ..harness.project import Project
from ..worktrees.errors import GitError
from ..worktrees.landing import Candidate, Joined, LandingBranch, Tip, landed_ref
from ..worktrees.repository import Repository
from .checking import Checker, Verdict
from .landing_records import LandingRecords, Waiting
from .train_size import TrainSize

_MOST_NAMED = 8  # of what landed meanwhile


class Unsettled(Exception):
    """The train is not what it was when it was made: we are to stop, an item was cancelled, or the branch moved."""

    def __init__(self, *, moved: bool = False) -> None:
        super().__init__("moved" if moved else "stopped")
        self.moved = moved


class RedBase(Exception):
    """What the train stands on fails the checks by itself, so they say nothing of `suspect`, which does not mend it."""

    def __init__(self, commit: str, verdict: Verdict, suspect: Waiting) -> None:
        super().__init__(verdict.failed)
        self.commit, self.verdict, self.suspect = commit, verdict, suspect


class Faulty(Exception):
    """git failed with one branch, which is the first of the train."""

    def __init__(self, waiting: Waiting, error: GitError) -> None:
        super().__init__(str(error))
        self.waiting, self.error = waiting, error


@dataclass(frozen=True)
class Car:
    """A waiting branch in its place on the stack."""

    waiting: Waiting
    joined: Joined


class Train:
    """Lands batches of what waits."""

    def __init__(
        self, project: Project, repository: Repository, branch: LandingBranch, checker: Checker, records: LandingRecords
    ) -> None:
        self._project, self._repository, self._branch = project, repository, branch
        self._checker, self._records = checker, records
        self._size = TrainSize()
        self._landed: dict[str, str] | None = None  # what landed and may not be recorded, None when that is not known
        self._recorded: list[str] = []

    @property
    def size(self) -> int:
        """How many branches the next batch should have. A linear history has each commit checked by itself."""
        return self._size.best if self._project.config.land_as == "merge" else 1

    def land(self, batch: Sequence[Waiting]) -> None:
        """Land the branches of `batch`, or send them back; what does not fit on others of it stays for the next.

        Raises Unsettled, RedBase, GitError, RecycleFailed; what was landed before that is recorded.
        """
        self._land(batch, known=None)

    def _land(self, batch: Sequence[Waiting], known: Verdict | None) -> None:
        """Land `batch`, of which it is `known` how it failed when it was tested as a whole, if it was."""
        tip = self._branch.look()
        cars = self._couple(batch, tip)
        if not cars:
            return
        with self._held(tip, cars) as whole:
            green, red = self._search(cars, known if len(cars) == len(batch) else None)
            if green == len(cars):
                self._advance(whole, cars)
            elif green:
                with self._held(tip, cars[:green]) as part:
                    self._advance(part, cars[:green])
        if red is not None:
            self._part(cars[green].waiting, red, [car.waiting for car in cars[green + 1 :]])

    def _search(self, cars: Sequence[Car], known: Verdict | None) -> tuple[int, Verdict | None]:
        """Return how many of the first cars pass together, and how they fail with one more, if there is one more."""
        low, high, red = 0, len(cars) + (known is None), known
        while high - low > 1:
            length = len(cars) if high > len(cars) else (low + high) // 2
            verdict = self._check(cars[:length])
            if verdict.passed:
                low = length
            else:
                high, red = length, verdict
        return low, red

    # --- the one that fails ---------------------------------------------------------------------------

    def _part(self, suspect: Waiting, red: Verdict, behind: Sequence[Waiting]) -> None:
        """Settle whether `suspect` is bad or its failure was flaky, and land what stands behind it."""
        tip = self._branch.look()
        without = self._land_if_it_passes(behind) if behind else None
        if without is not None and without.passed:
            self._blame(suspect, red, tip)
            return
        self._try_again(suspect, red, tip)
        if behind:
            self._land(behind, known=without if self._branch.look() == tip else None)

    def _land_if_it_passes(self, batch: Sequence[Waiting], note: str | None = None) -> Verdict | None:
        """Test `batch` as a whole and land it if it passes; None when nothing of it can be stacked."""
        tip = self._branch.look()
        cars = self._couple(batch, tip)
        if not cars:
            return None
        with self._held(tip, cars) as whole:
            verdict = self._check(cars)
            if verdict.passed:
                self._advance(whole, cars, note)
        return verdict

    def _try_again(self, suspect: Waiting, red: Verdict, tip: Tip) -> None:
        """Test the one to blame once more: it lands when it passes now, which is then on record as flaky."""
        verdict = self._land_if_it_passes(
            [suspect], note=f"its checks passed when they ran again; before, {red.failed}"
        )
        if verdict is None:
            return
        if verdict.passed:
            self._project.state.record_event("flaky", item=suspect.item.id, attempt=suspect.attempt, why=red.failed)
        else:
            self._blame(suspect, verdict, tip)

    def _blame(self, suspect: Waiting, red: Verdict, tip: Tip) -> None:
        """Send the item back with what the checks said, and say whether it is others that it does not go with.

        `tip` is what it was tested on; something may have landed since.
        """
        self._require_green(tip, suspect)
        self._size.note(bad=True)
        base = self._branch.base(suspect.commit, tip.commit)
        if base is None or base == tip.commit:
            why = f"{red.failed} on the result of merging it with what landed before"
            self._records.send_back(suspect.entry, suspect.handed, "check-failed", why, red.output)
            return
        why = f"{red.failed} when it is merged with what landed meanwhile, though nothing conflicts in the text"
        landed = self._branch.landed_between(base, tip.commit, _MOST_NAMED)
        facts = "\n".join(["What landed since the branch began:", *(f"  {line}" for line in landed), "", red.output])
        self._records.send_back(suspect.entry, suspect.handed, "semantic-conflict", why, facts.strip())

    def _require_green(self, tip: Tip, suspect: Waiting) -> None:
        """Raise RedBase when `tip` does not pass by itself, in two runs: then that is not the fault of `suspect`."""
        verdict = self._checker.check_twice(tip.commit, tip.tree, f"base-{tip.commit[:12]}")
        if verdict.stopped:
            raise Unsettled
        if verdict.failed is not None:
            raise RedBase(tip.commit, verdict, suspect)

    # --- steps ----------------------------------------------------------------------------------------

    def _couple(self, batch: Sequence[Waiting], tip: Tip) -> list[Car]:
        """Stack the branches on `tip`. What conflicts with `tip` is sent back; with others of the batch, left out."""
        if self._landed is None:
            self._landed = self._branch.landed()
        landed, cars, onto, tree = self._landed, list[Car](), tip.commit, tip.tree
        for waiting in batch:
            commit = landed.get(landed_ref(waiting.item.id, waiting.attempt))
            if commit is not None:
                self._finish(waiting, commit)
                continue
            joined = self._join(onto, waiting, is_first=not cars)
            if joined is None:
                continue
            if joined.tree == tree and self._branch.is_landed(waiting.commit):
                self._finish(waiting, waiting.commit)
                continue
            cars.append(Car(waiting, joined))
            onto, tree = joined.commit, joined.tree
        return cars

    def _join(self, onto: str, waiting: Waiting, *, is_first: bool) -> Joined | None:
        try:
            found = self._branch.join(
                onto, waiting.commit, self._message(waiting), self._project.config.land_as, facts=is_first
            )
        except GitError as error:
            if is_first:
                raise Faulty(waiting, error) from error
            return None  # when it is the first, it is seen whose fault that is
        if isinstance(found, Joined):
            return found
        if is_first:
            self._records.send_back(waiting.entry, waiting.handed, "conflict", found.describe(), found.facts)
        return None

    def _check(self, cars: Sequence[Car]) -> Verdict:
        last = cars[-1]
        others = f"-and-{len(cars) - 1}-before" if len(cars) > 1 else ""
        name = f"{last.waiting.item.id}-{last.waiting.attempt}{others}"
        verdict = self._checker.check(
            last.joined.commit,
            last.joined.tree,
            name,
            lambda: all(self._records.is_wanted(car.waiting) for car in cars),
        )
        if verdict.stopped:
            raise Unsettled
        return verdict

    def _held(self, tip: Tip, cars: Sequence[Car]) -> AbstractContextManager[Candidate]:
        hold = bool(self._project.config.checks)
        return self._branch.held(tip.commit, [car.joined for car in cars], _message_of_all(cars), hold=hold)

    def _advance(self, candidate: Candidate, cars: Sequence[Car], note: str | None = None) -> None:
        """Move the landing branch and record what landed with that."""
        if not all(self._records.is_wanted(car.waiting) for car in cars):  # looked at after the heirs' names were
            raise Unsettled
        landed = {landed_ref(car.waiting.item.id, car.waiting.attempt): car.joined.commit for car in cars}
        self._landed = None  # until all of it is recorded
        heirs = [car.waiting.heir for car in cars]
        if not self._branch.advance(candidate, heirs=heirs, landed=landed, recorded=self._recorded):
            raise Unsettled(moved=True)
        self._recorded = list(landed)
        self._repository.flush()
        for car in cars:
            self._size.note(bad=False)
            self._records.land(car.waiting, car.joined.commit, note=note)
        self._landed = {}

    def _finish(self, waiting: Waiting, commit: str) -> None:
        """Record what landed before somebody was killed."""
        self._repository.flush()
        self._records.land(waiting, commit)
        self._recorded.append(landed_ref(waiting.item.id, waiting.attempt))

    def tidy(self) -> None:
        """Remove the refs of what is recorded; for when there is nothing to land."""
        if self._landed is None:
            waiting = {landed_ref(entry.item.id, entry.attempts) for entry, _ in self._records.waiting()}
            found = self._branch.landed()
            self._recorded += found.keys() - waiting
            self._landed = {ref: commit for ref, commit in found.items() if ref in waiting}
        self._branch.forget_landed(self._recorded)
        self._recorded = []

    def _message(self, waiting: Waiting) -> str:
        item = waiting.item
        return (
            f"{item.title}\n\nItem: {item.id}\nAttempt: {waiting.attempt}\nAgent: {waiting.handed.agent}\n"
            f"Program: {program_of(item, self._project.config)}\nBranch: {waiting.handed.branch}\n"
        )


def _message_of_all(cars: Sequence[Car]) -> str:
    """The message of the commit with which several branches land together."""
    lines = [f"* {car.waiting.item.id}: {car.waiting.item.title}" for car in cars]
    return f"Land {len(cars)} items together\n\n" + "\n".join(lines) + "\n"
