"""How many waiting branches are tested together: as many as cost the fewest runs of the checks for each that lands.

`benchmarks/train.py` simulates it. With a share p of bad branches, runs for each branch are, by the size of the train:

    p       1     2     4     8     16    32
    2 %   1.02  0.54  0.31  0.21  0.17  0.15
    10 %  1.10  0.70  0.55  0.53  0.57  0.63
    25 %  1.25  1.01  1.01  1.14  1.30  1.50
    40 %  1.40  1.29  1.45  1.70  1.95  2.27
"""

from __future__ import annotations

from collections import deque

LARGEST = 16  # beyond it little is gained, and one stack of so many rarely stays free of conflicts
_REMEMBERED = 50
_BEFORE = (0.5, 16.0)  # bad ones, and branches in all, that count as seen before the first
_BEST = 0.65  # the best size is near this divided by the share of bad ones


class TrainSize:
    """Adapts to how often branches turned out to be bad lately."""

    def __init__(self) -> None:
        self._bad: deque[bool] = deque(maxlen=_REMEMBERED)

    def note(self, *, bad: bool) -> None:
        """Note what one branch turned out to be when its checks had run."""
        self._bad.append(bad)

    @property
    def best(self) -> int:
        """The size of the next train."""
        share = (sum(self._bad) + _BEFORE[0]) / (len(self._bad) + _BEFORE[1])
        return max(1, min(LARGEST, round(_BEST / share)))
