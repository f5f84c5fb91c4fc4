"""Lines on standard error that are errors by their form, whatever program wrote them.

Guarantees: a line that only speaks of an error is none; one whose kind is not known says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .events import AnyEvent
from .words import fault_of

# `Error: …`, `fatal: …`, `API Error: …`, `litellm.RateLimitError: …`, `ProviderAuthError: …`
_ERROR = re.compile(r"\[?(?:(?i:(?:fatal|api|unexpected)? ?error|fatal)|(?:\w+\.)*(\w*(?:Error|Exception)))\]?: (.+)")


def error_line(line: str, now: float) -> Iterable[AnyEvent]:
    """Return the error that the line is, if it is one of a kind that is known."""
    found = _ERROR.match(line)
    if found is None:
        return ()
    fault = fault_of(found[2], now, names=[found[1]] if found[1] else ())
    return () if fault.kind == "other" else (fault,)
