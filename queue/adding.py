"""Checks on new items that need to see the others: ids, dependencies, cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from .clock import later
from .ids import slug
from .records import Item


class InvalidItem(ValueError):
    """One of the items to be added cannot be; `index` is its place among them, from 0."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(problem)
        self.index = index
        self.problem = problem


def complete(items: Iterable[Item], exists: Callable[[str], bool], now: str) -> list[Item]:
    """Give every item its time of adding and, if it has none, an id made from its title.

    Items added together keep their order: each is a microsecond younger than the one before.
    """
    items = list(items)
    used = {item.id for item in items if item.id}
    result = []
    for index, item in enumerate(items):
        item_id = item.id or _free_id(slug(item.title), used, exists)
        used.add(item_id)
        result.append(replace(item, id=item_id, added_at=later(now, index / 1e6) if index else now))
    return result


def _free_id(wish: str, used: set[str], exists: Callable[[str], bool]) -> str:
    candidate, number = wish, 1
    while candidate in used or exists(candidate):
        number += 1
        candidate = f"{wish}-{number}"
    return candidate


def check(items: Sequence[Item], exists: Callable[[str], bool]) -> None:
    """Raise InvalidItem for the first id that is taken, unknown dependency, or cycle."""
    index_of: dict[str, int] = {}
    for index, item in enumerate(items):
        if item.id in index_of or exists(item.id):
            where = "earlier in this list" if item.id in index_of else "in the queue"
            raise InvalidItem(index, f"there is already an item {item.id!r} {where}; give another --id")
        index_of[item.id] = index
    for index, item in enumerate(items):
        for dependency in item.after:
            if dependency not in index_of and not exists(dependency):
                raise InvalidItem(index, f"it waits for {dependency!r}, but there is no such item; add that one first")
    _refuse_cycles(items, index_of)


def _refuse_cycles(items: Sequence[Item], index_of: dict[str, int]) -> None:
    """Walk the dependencies depth first without recursion; only new items can form a cycle."""
    finished: set[str] = set()
    for start in items:
        path: list[str] = []
        todo: list[tuple[str, bool]] = [(start.id, False)]
        while todo:
            item_id, leaving = todo.pop()
            if leaving:
                path.pop()
                finished.add(item_id)
                continue
            if item_id in finished or item_id not in index_of:
                continue
            if item_id in path:
                cycle = " -> ".join([*path[path.index(item_id) :], item_id])
                raise InvalidItem(index_of[item_id], f"the items wait for each other in a circle: {cycle}")
            path.append(item_id)
            todo.append((item_id, True))
            todo.extend((dependency, False) for dependency in items[index_of[item_id]].after)
