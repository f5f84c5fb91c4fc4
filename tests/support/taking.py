"""What a worker looks at when it takes an item."""

from __future__ import annotations

import pytest

from parallel_loop.queue.chain import Chain
from parallel_loop.queue.taking import Taker


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
