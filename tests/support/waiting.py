"""The one way in which tests wait for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_LOOK_SECONDS = 0.02


def eventually(condition: Callable[[], _T], seconds: float = 10.0) -> _T:
    """Return what `condition` returns as soon as that is true; AssertionError when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {condition}; last: {found!r}"
        time.sleep(_LOOK_SECONDS)
