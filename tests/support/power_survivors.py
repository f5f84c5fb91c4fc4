"""Which of the many possible disks after a power cut are looked at: extreme ones, likely ones, and random ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from support.power_disk import Disk, Past, Tree


class Survivor(NamedTuple):
    """One way in which a cut may have left the disk: which state of each name, and which bytes of each file."""

    title: str
    name_of: Callable[[Past], Any]
    bytes_of: Callable[[Past], bytes]

    def tree(self, disk: Disk) -> Tree:
        return disk.tree(self.name_of, self.bytes_of)


def certain(past: Past) -> Any:
    return past.states[0][1]


def latest(past: Past) -> Any:
    return past.now


def zeros(past: Past) -> bytes:
    """The length is there, the bytes are not: a file that was made longer before its blocks were written."""
    return past.now if len(past.states) == 1 else bytes(len(past.now))


EXTREMES = (
    Survivor("nothing that is uncertain", certain, certain),
    Survivor("everything", latest, latest),
    Survivor("all names, no bytes", latest, certain),
    Survivor("all names, zeros", latest, zeros),
)


def survivors(disk: Disk, chance: random.Random, random_ones: int) -> Iterator[Survivor]:
    """Yield the extremes, what a journal leaves that was cut off anywhere, each name alone lost and alone kept, and
    `random_ones` of everything.
    """
    yield from EXTREMES
    names, _ = disk.uncertain()
    moments = sorted({since for past in names for since, _ in past.states[1:]})
    some = chance.sample(names, min(len(names), random_ones))
    for past in some:
        yield Survivor("one name lost", _but(past, latest, certain), latest)
        yield Survivor("one name kept", _but(past, certain, latest), latest)
    for moment in chance.sample(moments, min(len(moments), random_ones)):
        yield Survivor("names up to a moment", lambda past, moment=moment: past.at(moment), _any_bytes(chance))
    for _ in range(random_ones):
        kept = chance.random()
        yield Survivor(f"{kept:.0%} of the names", _any_state(chance, kept), _any_bytes(chance))


def _but(other: Past, rule: Callable[[Past], Any], exception: Callable[[Past], Any]) -> Callable[[Past], Any]:
    return lambda past: exception(past) if past is other else rule(past)


def _any_state(chance: random.Random, kept: float) -> Callable[[Past], Any]:
    return lambda past: past.now if chance.random() < kept else chance.choice(past.states)[1]


def _any_bytes(chance: random.Random) -> Callable[[Past], bytes]:
    def choose(past: Past) -> bytes:
        content: bytes = chance.choice(past.states)[1]
        if len(past.states) == 1:
            return content
        return chance.choice([content, content, content[: chance.randrange(len(content) + 1)], bytes(len(content))])

    return choose
