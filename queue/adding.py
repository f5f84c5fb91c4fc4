"""Checks on new items, alone (can they be stored and read again?) and among the others: ids, dependencies, cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from .clock import to_datetime, to_text
from .ids import InvalidId, check_id, slug
from .records import Item, decode_item, encode

MAX_ITEM_BYTES = 16 * 1024 * 1024  # as JSON; what is above belongs in a file that the prompt names


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
    start = to_datetime(now)
    used = {item.id for item in items if item.id}
    next_number: dict[str, int] = {}
    result = []
    for index, item in enumerate(items):
        item_id = item.id or _free_id(slug(item.title), used, exists, next_number)
        used.add(item_id)
        result.append(replace(item, id=item_id, added_at=to_text(start + timedelta(microseconds=index))))
    return result


def _free_id(wish: str, used: set[str], exists: Callable[[str], bool], next_number: dict[str, int]) -> str:
    """Return `wish`, or the first of wish-2, wish-3, … that is free; `next_number` spares asking again."""
    number = next_number.get(wish, 1)
    while True:
        candidate = wish if number == 1 else f"{wish}-{number}"
        number += 1
        if candidate not in used and not exists(candidate):
            next_number[wish] = number
            return candidate


def check(items: Sequence[Item], exists: Callable[[str], bool], ignores_case: Callable[[], bool]) -> None:
    """Raise InvalidItem for the first item that cannot be stored, or whose id or dependencies do not fit.

    `exists` sees what the file system sees; `ignores_case` tells whether that takes `A` and `a` for one name.
    """
    index_of: dict[str, int] = {}
    by_folded: dict[str, str] = {}
    for index, item in enumerate(items):
        _check_alone(index, item)
        if item.id in index_of or exists(item.id):
            where = "earlier in this list" if item.id in index_of else "in the queue"
            raise InvalidItem(index, f"there is already an item {item.id!r} {where}; give another id")
        index_of[item.id] = index
        namesake = by_folded.setdefault(item.id.lower(), item.id)
        if namesake != item.id and ignores_case():
            problem = f"its id {item.id!r} and {namesake!r} are one name on this file system, which ignores case"
            raise InvalidItem(index, f"{problem}; give another id")
    for index, item in enumerate(items):
        for dependency in item.after:
            if dependency not in index_of and not exists(dependency):
                raise InvalidItem(index, f"it waits for {dependency!r}, but there is no such item; add that one first")
    _refuse_cycles(items, index_of)


def _check_alone(index: int, item: Item) -> None:
    """Refuse what could not be read again once it is stored."""
    try:
        check_id(item.id)
        data = encode(item)
        decode_item(data)
    except InvalidId as error:
        raise InvalidItem(index, str(error)) from error
    except UnicodeEncodeError as error:
        raise InvalidItem(index, f"it holds text that is not valid Unicode ({error.reason})") from error
    except msgspec.ValidationError as error:
        raise InvalidItem(index, f"it cannot be stored: {error}") from error
    if len(data) > MAX_ITEM_BYTES:
        raise InvalidItem(
            index,
            f"it has {len(data)} bytes, at most {MAX_ITEM_BYTES} are allowed; "
            "put the long part into a file of the repository and name it in the prompt",
        )


def _refuse_cycles(items: Sequence[Item], index_of: dict[str, int]) -> None:
    """Walk the dependencies depth first without recursion; only new items can form a cycle."""
    finished: set[str] = set()
    for start in items:
        path: dict[str, None] = {}  # in the order of the walk; a list would make long chains quadratic
        todo: list[tuple[str, bool]] = [(start.id, False)]
        while todo:
            item_id, leaving = todo.pop()
            if leaving:
                del path[item_id]
                finished.add(item_id)
                continue
            if item_id in finished or item_id not in index_of:
                continue
            if item_id in path:
                walked = list(path)
                cycle = " -> ".join([*walked[walked.index(item_id) :], item_id])
                raise InvalidItem(index_of[item_id], f"the items wait for each other in a circle: {cycle}")
            path[item_id] = None
            todo.append((item_id, True))
            todo.extend((dependency, False) for dependency in items[index_of[item_id]].after)
