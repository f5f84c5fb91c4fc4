"""Want of room, made up for tests."""

from __future__ import annotations

import errno
import itertools

import pytest

from parallel_loop.harness.shortage import Lack

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
LACK = Lack("No space left on device (/x)", "df -h /x")


def lacking(monkeypatch: pytest.MonkeyPatch, *answers: Lack | None) -> None:
    """Let every look at the room of the machine find the next of `answers`, and the last for good."""
    found = itertools.chain(answers, itertools.repeat(answers[-1]))
    monkeypatch.setattr("parallel_loop.harness.room.find_lack", lambda _: next(found))
