"""How often the workers of one place may die, and for how long the place then stays empty.

Guarantees: workers that die at once are started `most` + 1 times at the most until the place is given up, with pauses
of 0, 1, 2, 4, ... up to 60 seconds in between. Whoever lived for ten minutes, or brought an item to its end, did not
die of what killed the one before: then the budget is whole again. Nothing here reads a clock.
"""

from __future__ import annotations

STABLE_SECONDS = 600.0
_LONGEST_SECONDS = 60.0


class Restarts:
    """The budget of one place."""

    def __init__(self) -> None:
        self.deaths_in_a_row = 0
        self.total = 0

    def note_death(self, lived_seconds: float, *, achieved: bool) -> None:
        """Count a death; `achieved` says that the worker brought an item to its end before."""
        if achieved or lived_seconds > STABLE_SECONDS:
            self.deaths_in_a_row = 0
        self.deaths_in_a_row += 1
        self.total += 1

    def note_refusal(self) -> None:
        """Count a start that came to nothing: there was no process."""
        self.deaths_in_a_row += 1

    def forgive(self) -> None:
        """Let the budget be whole again: what the workers died of may have been mended."""
        self.deaths_in_a_row = 0

    def are_spent(self, most: int) -> bool:
        """Whether more than `most` have died in a row."""
        return self.deaths_in_a_row > most

    def pause_seconds(self, jitter: float) -> float:
        """Return how long the place stays empty now. `jitter` is from 0 to 1, see `restart_pause_seconds`."""
        return restart_pause_seconds(self.deaths_in_a_row, jitter)


def restart_pause_seconds(deaths_in_a_row: int, jitter: float) -> float:
    """Return how long a place stays empty: the first restart is at once, then 1, 2, 4, … up to 60 s.

    `jitter` (0 to 1) spreads restarts of places that died together over a quarter of the pause.
    """
    if deaths_in_a_row <= 1:
        return 0.0
    return min(_LONGEST_SECONDS, 2.0 ** min(6, deaths_in_a_row - 2)) * (1 + jitter / 4)
