"""The contention harness: many real processes race for one item, over and over, through the real queue.

Each iteration adds one item. Every claimer looks at the listing first, so that all of them know the item
when they are released together; then each takes through the same `Taker` that workers use. A loser has
therefore tried the very link and found the name taken, which is counted, or the race proved nothing.

Guarantees: an iteration without exactly one winner, or whose chain of records says anything else than
what the claimers say, is reported as a violation, and then the queue's directory is kept.

Assumes: a monotonic clock that all processes share (Linux, macOS).
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from secrets import randbits

import msgspec

from ..queue.records import Item
from .contention_claimer import Claimers, Outcome
from .contention_ground import TAKER, Ground, Latency, Shown, Winner, latency, prepared


class Round(msgspec.Struct, frozen=True):
    """One iteration; `winner_us` is how long the winner's take lasted, in microseconds."""

    iteration: int
    winners: tuple[str, ...]
    winner_us: float | None
    losers: Latency
    problem: str | None = None


class Result(Shown, frozen=True, kw_only=True):
    """What a run has shown. `winners` tells how many iterations had how many winners."""

    iterations: int
    winners: dict[int, int]
    lost: int
    lost_at_the_link: int
    winner: Latency
    loser: Latency
    wins: dict[str, int]
    rounds: tuple[Round, ...]


class _Tally:
    """What the rounds add up to."""

    def __init__(self, on_round: Callable[[Round], None] | None) -> None:
        self._on_round = on_round
        self.rounds: list[Round] = []
        self.lost_at_the_link = 0
        self.winner_ns = array("Q")  # of a million races too
        self.loser_ns = array("Q")

    def count(self, outcomes: list[Outcome], problem: str | None) -> None:
        losers = [outcome for outcome in outcomes if not outcome.won]
        won_ns = [outcome.nanoseconds for outcome in outcomes if outcome.won]
        lost_ns = [outcome.nanoseconds for outcome in losers]
        self.lost_at_the_link += sum(outcome.reached_link for outcome in losers)
        self.winner_ns.extend(won_ns)
        self.loser_ns.extend(lost_ns)
        winners = tuple(outcome.name for outcome in outcomes if outcome.won)
        winner_us = won_ns[0] / 1000 if won_ns else None
        found = Round(len(self.rounds) + 1, winners, winner_us, latency(lost_ns), problem)
        self.rounds.append(found)
        if self._on_round is not None:
            self._on_round(found)


def run_contention(
    directory: Path,
    iterations: int = 1000,
    claimers: int = 10,
    *,
    seed: int | None = None,
    taker: str = TAKER,
    on_round: Callable[[Round], None] | None = None,
) -> Result:
    """Let `claimers` processes race `iterations` times in a new queue below `directory`.

    `seed` varies who comes first. `taker` (``module:Class``) is what takes: tests plant a faulty one.
    Raises ClaimerDied when a claimer ends or hangs, OSError, NoHardLinks or Unsuitable for what the directory
    cannot do.
    """
    seed = randbits(32) if seed is None else seed
    tally = _Tally(on_round)
    with prepared(directory) as ground:
        start = time.monotonic()
        with Claimers(ground.queue.layout.root, ground.root, claimers, seed, taker) as field:
            for iteration in range(1, iterations + 1):
                item = Item(id=f"race-{iteration:06d}", title="a race", added_at="")
                ground.queue.add([item])
                outcomes = field.race()
                winners = [Winner(outcome.name, outcome.pid, outcome.ended) for outcome in outcomes if outcome.won]
                tally.count(outcomes, ground.judge(iteration, item.id, winners))
        return _result(tally, ground, claimers, seed, time.monotonic() - start)


def _result(tally: _Tally, ground: Ground, claimers: int, seed: int, seconds: float) -> Result:
    wins = Counter(name for found in tally.rounds for name in found.winners)
    return Result(
        claimers=claimers,
        seed=seed,
        seconds=seconds,
        violations=tuple(ground.violations),
        kept=ground.kept,
        directory=ground.directory,
        file_system=ground.file_system,
        probed=ground.probed,
        iterations=len(tally.rounds),
        winners=dict(sorted(Counter(len(found.winners) for found in tally.rounds).items())),
        lost=len(tally.loser_ns),
        lost_at_the_link=tally.lost_at_the_link,
        winner=latency(tally.winner_ns),
        loser=latency(tally.loser_ns),
        wins={f"claimer-{index}": wins[f"claimer-{index}"] for index in range(1, claimers + 1)},
        rounds=tuple(tally.rounds),
    )
