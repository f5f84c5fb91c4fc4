"""The states of the modelled queue, as plain tuples: what is on the disk, and what each process is about to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BEFORE = {"c": ("", "r"), "r": ("c",), "d": ("c",), "x": ("", "r", "c")}  # claimed, released, done, cancelled
OVER = ("d", "x")


class Violation(Exception):
    """A rule of the design is broken."""


class Item(NamedTuple):
    """What is on the disk of one item: its file (the anchor), a pack with it, its records, all hints ever made.

    `records` has a letter for each number, "." for one that was removed. `highest` is there for the checks: the
    highest number that was ever taken while the anchor was there.
    """

    anchor: bool
    packed: bool
    records: str
    hints: str
    highest: int


class Process(NamedTuple):
    """What a process does next, and what it knows, which may be out of date.

    `number` is that of its claim, and for a reclaimer that of the claim to end; `note` is then that in the dead
    worker's note which led there. A worker's `note` is there for the checks: 1 when its last link was made beside the
    anchor.
    """

    step: str
    item: int = 0
    number: int = 0
    note: int = 0


class Chances(NamedTuple):
    """What may still come from outside: an import that is not finished, and mishaps."""

    importing: bool = True
    crashes: int = 2
    releases: int = 1  # attempts that end without success
    misjudged: int = 0  # living workers that are taken for dead
    cancels: int = 0


Items = tuple[Item, ...]
Processes = tuple[Process, ...]
State = tuple[Items, Processes, Chances]

ABSENT = Item(False, False, "", "", 0)
WAITING = Item(True, False, "", "1", 0)
NOT_LIVING = {"dead", "buried"}
NOWHERE = {"idle", "buried", "go on importing", "end import"}  # the steps that concern no item
RECLAIMING = {
    "read chain",
    "probe owner",
    "break claim",
    "link release",
    "check taken back",
    "offer again",
    "drop note",
}


class Turn:
    """One process's turn: what it finds, and the way to what it leaves."""

    __slots__ = ("chances", "item", "items", "me", "mutant", "others")

    def __init__(self, state: State, me: Process, others: Processes, mutant: str) -> None:
        self.items, _, self.chances = state
        self.me = me
        self.others = others
        self.item = self.items[me.item]
        self.mutant = mutant

    def then(self, step: str, items: Items | None = None, note: int | None = None) -> State:
        """Go on with `step`, about the same item and number."""
        me = self.me
        process = Process(step, me.item, me.number, me.note if note is None else note)
        return canonical(self.items if items is None else items, (process, *self.others), self.chances)

    def about(self, step: str, item: int = 0, number: int = 0, note: int = 0) -> State:
        """Go on with `step`, about something else."""
        return canonical(self.items, (Process(step, item, number, note), *self.others), self.chances)

    def is_free(self, number: int) -> bool:
        return self.item.records[number - 1 : number] in ("", ".")

    def link(self, number: int, kind: str) -> Items | None:
        """Make record `number` of the item; None when it exists."""
        if not self.is_free(number):
            return None
        anchor, packed, records, hints, highest = self.item
        if anchor:
            if number <= highest:
                raise Violation("a number is used again")
            if number != highest + 1 or records[-1:] not in BEFORE[kind]:
                raise Violation(f"{kind} after {records}")
            highest = number
        records = records.ljust(number, ".")
        records = records[: number - 1] + kind + records[number:]
        return self.put(Item(anchor, packed, records, hints, highest))

    def unlink(self, number: int) -> Item:
        """Remove record `number` if it is there, of whomever it is."""
        item = self.item
        if number > len(item.records):
            return item
        records = item.records[: number - 1] + "." + item.records[number:]
        return item._replace(records=records.rstrip("."))

    def offer(self, number: int) -> Items:
        """Make the hint that says that `number` is free."""
        hints = "".join(sorted({*self.item.hints, str(number)}))
        return self.put(self.item._replace(hints=hints))

    def put(self, item: Item) -> Items:
        return (item, self.items[1]) if self.me.item == 0 else (self.items[0], item)


def prefix(records: str) -> str:
    """Return what a reader finds, who goes on to the first number that is free."""
    return records.partition(".")[0]


def turns(processes: Processes) -> Iterator[tuple[Process, Processes]]:
    """Yield each living process with the others; of two that are alike, one."""
    before = None
    for index, process in enumerate(processes):
        if process.step not in NOT_LIVING and process != before:
            yield process, processes[:index] + processes[index + 1 :]
        before = process


def canonical(items: Items, processes: Processes, chances: Chances) -> State:
    """Return the one state that stands for all that differ from this in the numbering of processes and items."""
    processes = tuple(sorted(Process(step) if step in NOWHERE else p for p in processes for step in (p.step,)))
    first, second = items
    if first < second:
        return items, processes, chances
    swapped = tuple(
        sorted(p if p.step in NOWHERE else Process(p.step, 1 - p.item, p.number, p.note) for p in processes)
    )
    if first == second:
        return items, min(swapped, processes), chances
    return (second, first), swapped, chances
