"""An exhaustive search, breadth first, of all states that a machine can come to."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple, Protocol

from .states import Violation


class Machine(Protocol):
    """What can be explored. `mishaps` are steps that nobody may need for coming to a clean end."""

    start: Hashable

    def progress(self, state: Hashable) -> Iterable[Hashable]: ...

    def mishaps(self, state: Hashable) -> Iterable[Hashable]: ...

    def check(self, state: Hashable) -> None: ...

    def is_clean(self, state: Hashable) -> bool: ...


class Explored(NamedTuple):
    """All states that were found, how many steps join them, and what was wrong, with a shortest way to it."""

    states: list[Hashable]
    steps: int
    problem: str | None = None
    path: tuple[Hashable, ...] = ()

    def __str__(self) -> str:
        story = "\n".join(f"  {state}" for state in self.path)
        return f"{len(self.states)} states, {self.steps} steps: {self.problem or 'no violation'}\n{story}"


def explore(machine: Machine) -> Explored:
    """Search all states; stop at the first that breaks a rule, or from which no clean end can be reached."""
    states = [machine.start]
    number_of = {machine.start: 0}
    came_from = [0]
    leads_here: list[list[int]] = [[]]  # by steps that are no mishaps
    steps = 0

    def note(found: Iterable[Hashable], at: int, *, mishap: bool) -> int:
        count = 0
        for state in found:
            count += 1
            number = number_of.setdefault(state, len(states))
            if number == len(states):
                states.append(state)
                came_from.append(at)
                leads_here.append([])
            if not mishap:
                leads_here[number].append(at)
        return count

    for at, state in enumerate(states):  # which grows meanwhile
        try:
            machine.check(state)
            steps += note(machine.progress(state), at, mishap=False)
            steps += note(machine.mishaps(state), at, mishap=True)
        except Violation as violation:
            return Explored(states, steps, str(violation), _path(states, came_from, at))
    stuck = _first_stuck([machine.is_clean(state) for state in states], leads_here)
    if stuck is not None:
        return Explored(states, steps, "no clean end can be reached", _path(states, came_from, stuck))
    return Explored(states, steps)


def _path(states: list[Hashable], came_from: list[int], at: int) -> tuple[Hashable, ...]:
    path = [states[at]]
    while at:
        at = came_from[at]
        path.append(states[at])
    return tuple(reversed(path))


def _first_stuck(reaches: list[bool], leads_here: list[list[int]]) -> int | None:
    """Go backwards from the clean states; return the first state that is not met."""
    todo = [number for number, clean in enumerate(reaches) if clean]
    while todo:
        for before in leads_here[todo.pop()]:
            if not reaches[before]:
                reaches[before] = True
                todo.append(before)
    return next((number for number, met in enumerate(reaches) if not met), None)
