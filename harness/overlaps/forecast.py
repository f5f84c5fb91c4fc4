"""What trial merges of the branches in work came to, in a file that the lander writes and anybody may read."""

from __future__ import annotations

import msgspec


class BranchInWork(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's branch: how far its program has committed, and the paths that differ from where it began."""

    item: str
    attempt: int
    branch: str
    commit: str
    paths: tuple[str, ...] = ()


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """Two items whose branches conflict, or one whose branch conflicts with what has landed; and in which paths."""

    items: tuple[str, ...]
    paths: tuple[str, ...]


class Forecast(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known at one moment. `earlier` are the paths that branches of items changed which wait again."""

    at: str = ""
    tip: str = ""
    branches: tuple[BranchInWork, ...] = ()
    conflicts: tuple[Clash, ...] = ()
    earlier: dict[str, tuple[str, ...]] = {}
