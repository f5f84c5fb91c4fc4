"""The contention harness: many real processes race for one item, over and over, through the real queue.

Each iteration adds one item. Every claimer looks at the listing first, so that all of them know the item
when they are released together; then each takes through the same `Taker` that workers use. A loser has
therefore tried the very link and found the name taken, which is counted, or the race proved nothing.

Guarantees: an iteration without exactly one winner, or whose chain of records says anything else than
what the claimers say, is reported as a violation, and then the queue's directory is kept.

Assumes: a monotonic clock that all processes share (Linux, macOS).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from secrets import randbits
from typing import NamedTuple

import msgspec

from ..queue.atomic import Unreadable
from ..queue.records import Item
from ..queue.store import Queue
from .contention_claimer import Claimers, Outcome

TAKER = "parallel_loop.queue.taking:Taker"


class Latency(msgspec.Struct, frozen=True):
    """How long calls of `take` lasted, in microseconds."""

    p50_us: float
    p99_us: float
    worst_us: float


class Violation(msgspec.Struct, frozen=True):
    """An iteration that went wrong; `iteration` counts from 1."""

    iteration: int
    item: str
    winners: tuple[str, ...]
    problem: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has shown. `winners` tells how many iterations had how many winners."""

    iterations: int
    claimers: int
    seed: int
    seconds: float
    winners: dict[int, int]
    violations: tuple[Violation, ...]
    lost: int
    lost_at_the_link: int
    winner: Latency
    loser: Latency
    wins: dict[str, int]
    kept: str | None = None


class _Run(NamedTuple):
    """How the races were run."""

    claimers: int
    seed: int
    seconds: float
    kept: str | None


def run_contention(
    directory: Path, iterations: int = 1000, claimers: int = 10, *, seed: int | None = None, taker: str = TAKER
) -> Result:
    """Let `claimers` processes race `iterations` times in a new queue below `directory`.

    `seed` varies who comes first. `taker` (``module:Class``) is what takes: tests plant a faulty one.
    Raises ClaimerDied when a claimer ends or hangs, OSError or NoHardLinks for what the directory cannot do.
    """
    seed = randbits(32) if seed is None else seed
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="contention-", dir=directory))
    queue = Queue(root, durable=False)
    queue.create()
    races: list[list[Outcome]] = []
    violations: list[Violation] = []
    start = time.monotonic()
    try:
        with Claimers(root, claimers, seed, taker) as field:
            for iteration in range(1, iterations + 1):
                item = Item(id=f"race-{iteration:06d}", title="a race", added_at="")
                queue.add([item])
                outcomes = field.race()
                races.append(outcomes)
                problem = _problem(queue, item.id, outcomes)
                if problem is not None:
                    winners = tuple(outcome.name for outcome in outcomes if outcome.won)
                    violations.append(Violation(iteration, item.id, winners, problem))
    finally:
        if not violations:
            shutil.rmtree(root, ignore_errors=True)
    kept = str(root) if violations else None
    return _result(races, violations, _Run(claimers, seed, time.monotonic() - start, kept))


def _problem(queue: Queue, item_id: str, outcomes: list[Outcome]) -> str | None:
    """Say what is wrong with one race, None when it had one winner and its records say so."""
    winners = [outcome for outcome in outcomes if outcome.won]
    if len(winners) != 1:
        return f"{len(winners)} winners instead of 1"
    if not winners[0].ended:
        return "the winner could not end its attempt"
    try:
        entry = queue.entry(item_id)
    except Unreadable as error:
        return str(error)
    kinds = [record.kind for record in entry.records] if entry else []
    if entry is None or kinds != ["claimed", "done"]:
        return f"the records say {', '.join(kinds) or 'nothing'} instead of claimed, done"
    if entry.records[0].pid != winners[0].pid:
        return f"{winners[0].name} (pid {winners[0].pid}) won, but the claim names pid {entry.records[0].pid}"
    return None


def _result(races: list[list[Outcome]], violations: list[Violation], run: _Run) -> Result:
    outcomes = [outcome for race in races for outcome in race]
    losers = [outcome for outcome in outcomes if not outcome.won]
    wins = Counter(outcome.name for outcome in outcomes if outcome.won)
    return Result(
        iterations=len(races),
        claimers=run.claimers,
        seed=run.seed,
        seconds=run.seconds,
        winners=dict(sorted(Counter(sum(outcome.won for outcome in race) for race in races).items())),
        violations=tuple(violations),
        lost=len(losers),
        lost_at_the_link=sum(outcome.reached_link for outcome in losers),
        winner=_latency([outcome.nanoseconds for outcome in outcomes if outcome.won]),
        loser=_latency([outcome.nanoseconds for outcome in losers]),
        wins={f"claimer-{index}": wins[f"claimer-{index}"] for index in range(1, run.claimers + 1)},
        kept=run.kept,
    )


def _latency(nanoseconds: list[int]) -> Latency:
    if not nanoseconds:
        return Latency(0.0, 0.0, 0.0)
    ordered = sorted(nanoseconds)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] / 1000 for share in (0.50, 0.99))
    return Latency(p50, p99, ordered[-1] / 1000)


def render(result: Result) -> str:
    """Return the result as lines for people."""
    share = 100 * result.lost_at_the_link / result.lost if result.lost else 0.0
    winners = (f"{count} x {number} winner{'s' * (number != 1)}" for number, count in result.winners.items())
    lines = [
        f"{result.iterations} iterations, {result.claimers} processes each: {result.seconds:.1f} s, seed {result.seed}",
        f"winners per iteration: {', '.join(winners)}",
        f"losers: {result.lost}, of which {result.lost_at_the_link} ({share:.1f} %) tried the link and lost there",
        _latency_line("winner", result.winner),
        _latency_line("losers", result.loser),
        "wins: " + ", ".join(f"{name} {count}" for name, count in result.wins.items()),
        f"violations: {len(result.violations)}",
    ]
    for violation in result.violations:
        who = f" ({', '.join(violation.winners)})" if violation.winners else ""
        lines.append(f"  iteration {violation.iteration}, {violation.item}: {violation.problem}{who}")
    if result.kept:
        lines.append(f"the queue is kept in {result.kept}")
    return "\n".join(lines)


def _latency_line(who: str, latency: Latency) -> str:
    return f"take, {who}: p50 {latency.p50_us:.0f} µs, p99 {latency.p99_us:.0f} µs, worst {latency.worst_us:.0f} µs"
