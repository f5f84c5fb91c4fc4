"""The items of the demo: real work on the files of the repository, with dependencies, priorities and one retry."""

from __future__ import annotations

import shlex
import sys
from itertools import chain, zip_longest
from pathlib import Path

from msgspec.structs import replace

from ...queue.records import Item
from .repository import FOLDERS, python

_REFERENCE_PAGES = 7
RETRIED = "summary"
# Both fill the same file and begin together, before every other item, so that landing has to merge them.
SAME_FILE = ("overview-layout", "overview-figures")


def demo_items(root: Path, now: str) -> list[Item]:
    """Return the items for the repository at `root`; `now` is the time of adding (see queue/clock.py)."""
    pages = [_reference(module, now) for module in _choose_modules(root)]
    index = _item("reference-index", "Reference: the index", now, _reference_tool("INDEX"), 2, pages)
    layout = _tool("layout", "Overview: what lies where", now, 0, item_id=SAME_FILE[0])
    figures = _tool("figures", "Overview: whose lines are how old", now, 0, item_id=SAME_FILE[1])
    alone = [
        # With a prompt, so that the next attempt is told on standard input what the check said of this one.
        replace(_tool("summary", "Summary: the longest modules", now, 1, item_id=RETRIED), prompt="Write the table."),
        _tool("measure", "Measure lines and functions", now, 4),
        _tool("graph", "Draw the import graph", now, 5),
        _tool("imports", "Check the order of imports", now, 6),
        _tool("words", "Collect the words of the docstrings", now, 7),
        _tool("history", "History: the commits by date", now, 8),
    ]
    others = [index, layout, figures, *alone]
    contents = _tool("contents", "Overview: where to read on", now, 0, others, item_id="overview-contents")
    return [*pages, *others, contents]


def _choose_modules(root: Path) -> list[str]:
    """Return the longest modules of the folders, each folder in turn."""
    by_folder = [sorted((root / folder).glob("*.py"), key=lambda p: (-p.stat().st_size, p.name)) for folder in FOLDERS]
    in_turn = [module for module in chain.from_iterable(zip_longest(*by_folder)) if module is not None]
    return [module.relative_to(root).as_posix() for module in in_turn[:_REFERENCE_PAGES]]


def _reference(module: str, now: str) -> Item:
    name = module.removesuffix(".py").replace("/", "-")
    return _item(f"reference-{name}", f"Reference: {module}", now, _reference_tool(module), 3)


def _reference_tool(argument: str) -> str:
    # With the installed libraries, unlike the other tools: what it measures is an import of a module that needs them.
    return shlex.join([sys.executable, "-P", "tools/reference.py", argument])


def _tool(
    tool: str, title: str, now: str, priority: int, after: list[Item] | None = None, *, item_id: str | None = None
) -> Item:
    return _item(item_id or tool, title, now, python("tools/chores.py", tool), priority, after)


def _item(item_id: str, title: str, now: str, command: str, priority: int, after: list[Item] | None = None) -> Item:
    names = tuple(item.id for item in after or ())
    return Item(id=item_id, title=title, added_at=now, command=command, priority=priority, after=names)
