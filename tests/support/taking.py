"""Taking an item, and what a worker looks at when it does."""

from __future__ import annotations

from typing import Protocol

import pytest

from parallel_loop.queue.chain import Chain
from parallel_loop.queue.taking import Claim, Taker


class Takes(Protocol):
    def take(self) -> Claim | None: ...


def claimed(by: Takes) -> Claim:
    """What is taken next; there must be something."""
    claim = by.take()
    assert claim is not None
    return claim


def items_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the items that were read to decide about them, from now on."""
    read: list[str] = []
    real = Chain.read_named_item
    monkeypatch.setattr(Chain, "read_named_item", lambda chain, name: read.append(name) or real(chain, name))
    return read


def asked_of(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the taker is given to choose by, from now on; nothing where it takes what is first."""
    asked: list[object] = []
    take = taker.take
    monkeypatch.setattr(taker, "take", lambda *given: asked.extend(given) or take(*given))
    return asked
