"""Whether and when a failed attempt is followed by another: exponential backoff with a limit."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from .clock import later
from .records import Entry, Record


class RetryPolicy(NamedTuple):
    """`attempts` is the number of attempts that an item has unless it names its own."""

    attempts: int = 3
    first_seconds: float = 10.0
    factor: float = 2.0
    max_seconds: float = 300.0

    def delay_seconds(self, failures: int) -> float:
        """Return how long to wait after the n-th counted failure (1, 2, 3, …)."""
        try:
            return float(min(self.max_seconds, self.first_seconds * self.factor ** (failures - 1)))
        except OverflowError:
            return self.max_seconds

    def after_failure(self, entry: Entry, failure: Record) -> Record:
        """Turn `failure` into the record to append: released with a due time, or failed for good."""
        failures = entry.counted_attempts + 1
        limit = entry.item.max_attempts or self.attempts
        if failures >= limit:
            return replace(failure, kind="failed", counted=True, not_before=None)
        due = later(failure.at, self.delay_seconds(failures))
        return replace(failure, kind="released", counted=True, not_before=due)
