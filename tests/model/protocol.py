"""The queue's protocol as a small machine: which file-system step each process may make next, from every state.

A step is one call that others can see: a link, an unlink, a probe of a lock. Any process may stop before any of its
steps, for a while or for ever, so a worker that hangs and wakes up late needs no rule of its own. What is left out,
and why that hides nothing:

- A worker looks at a hint and writes its own note in one step: the note is read only when its writer is dead.
- Hints are never removed: one that is out of date is all the harm that a hint can do.
- A chain is read at once: what is read record by record is what it once was, and a reader may be as slow as it likes.
- Which record is whose link follows from what its maker does next, so the disk does not say it again.
- Processes are alike and items are alike: states that differ in their numbering alone are one state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import keepers, workers
from .states import ABSENT, NOT_LIVING, OVER, WAITING, Chances, Process, State, Turn, Violation, canonical, turns


class Protocol:
    """All steps of all processes. `mutant` names what is done wrongly; with `healing` all chains are read at times."""

    def __init__(self, chances: Chances, mutant: str = "", *, processes: int = 3, healing: bool = False) -> None:
        self._mutant = mutant
        self._healing = healing
        self.steps: dict[str, Callable[[Turn], Iterator[State]]] = {
            "idle": self._begin,
            **workers.STEPS,
            **keepers.STEPS,
        }
        if mutant:
            self.steps |= workers.MUTANT_STEPS | keepers.MUTANT_STEPS
        item = ABSENT if chances.importing else WAITING
        self.start = canonical((item, item), (Process("idle"),) * processes, chances)

    def _begin(self, now: Turn) -> Iterator[State]:
        """Begin anything: every process may be a worker now and a keeper next."""
        yield from workers.see_hints(now)
        yield from keepers.see_the_dead(now)
        yield from keepers.see_done(now)
        yield from keepers.see_import(now)
        if self._healing:
            yield from keepers.see_missing_hints(now)

    def progress(self, state: State) -> Iterator[State]:
        """Yield the states after one step of a process."""
        for process, others in turns(state[1]):
            yield from self.steps[process.step](Turn(state, process, others, self._mutant))

    def mishaps(self, state: State) -> Iterator[State]:
        """Yield the states after a death (never of the last), a cancel, or a wrong belief that a worker is dead."""
        items, processes, chances = state
        may_die = chances.crashes and sum(process.step not in NOT_LIVING for process in processes) > 1
        for process, others in turns(processes):
            if may_die:
                corpse = (
                    Process("dead", process.item, process.number)
                    if process.step in workers.NOTED
                    else Process("buried")
                )
                yield canonical(items, (*others, corpse), chances._replace(crashes=chances.crashes - 1))
            if process.step == "idle":
                yield from self._interfere(state, others)

    def _interfere(self, state: State, others: tuple[Process, ...]) -> Iterator[State]:
        items, _, chances = state
        for index, item in enumerate(items):
            number = len(item.records)
            if chances.cancels and item.anchor and item.records[-1:] not in OVER:
                left = chances._replace(cancels=chances.cancels - 1)
                yield canonical(items, (*others, Process("link cancel", index, number)), left)
            if chances.misjudged and item.anchor and item.records[-1:] == "c":
                left = chances._replace(misjudged=chances.misjudged - 1)
                yield canonical(items, (*others, Process("link misjudged release", index, number)), left)

    def check(self, state: State) -> None:
        """Raise Violation for a state that must not be; the steps themselves do it for what must not be done."""
        items, processes, chances = state
        for index, item in enumerate(items):
            if not (item.anchor or item.packed or chances.importing):
                raise Violation("an item is lost")
            claims = [
                process.number for process in processes if process.step in workers.OWNING and process.item == index
            ]
            if item.anchor and len(set(claims)) < len(claims):
                raise Violation("two workers hold one claim")

    def is_clean(self, state: State) -> bool:
        """Tell whether every item has come to its end."""
        items, _, chances = state
        return not chances.importing and all(item.packed or item.records[-1:] in OVER for item in items)
