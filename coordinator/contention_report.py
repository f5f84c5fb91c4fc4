"""What the contention harness has shown, as lines for people."""

from __future__ import annotations

from .contention import Result, Round
from .contention_drain import DrainResult
from .contention_ground import Latency, Shown

_MOST_VIOLATIONS = 20  # lines; --json has all of them


def render(result: Result) -> str:
    """Return what the races have shown."""
    share = 100 * result.lost_at_the_link / result.lost if result.lost else 0.0
    processes = "process" if result.claimers == 1 else "processes"
    winners = (f"{count} x {number} winner{'s' * (number != 1)}" for number, count in result.winners.items())
    lines = [
        f"{result.iterations} iterations, {result.claimers} {processes} each: {_took(result)}",
        *_ground(result),
        f"winners per iteration: {', '.join(winners)}",
        f"losers: {result.lost}, of which {result.lost_at_the_link} ({share:.1f} %) tried the link and lost there",
        f"take, winner: {_times(result.winner)}",
        f"take, losers: {_times(result.loser) if result.lost else 'none'}",
        "wins: " + ", ".join(f"{name} {count}" for name, count in result.wins.items()),
        *_violations(result, "iteration"),
    ]
    return "\n".join(lines)


def render_round(found: Round) -> str:
    """Return what one race has shown, on one line."""
    who = " and ".join(found.winners) or "nobody"
    took = "" if found.winner_us is None else f" in {found.winner_us:.0f} µs"
    line = f"iteration {found.iteration}: {who} won{took}; losers: {_times(found.losers)}"
    return line if found.problem is None else f"{line}; VIOLATION: {found.problem}"


def render_drain(result: DrainResult) -> str:
    """Return what a drain has shown."""
    least = min(result.served, key=lambda name: result.served[name])
    lines = [
        f"{result.items} items, {result.claimers} processes: {result.seconds:.2f} s, seed {result.seed}",
        *_ground(result),
        f"{result.items_per_second:.0f} items a second, taken and completed",
        f"take: {_times(result.take)}",
        "served: " + ", ".join(f"{name} {count}" for name, count in result.served.items()),
        f"ended from outside on purpose, and so done twice: {result.late}",
        f"least served: {least}, {100 * result.least_share:.0f} % of an equal share",
        *_violations(result, "item"),
    ]
    return "\n".join(lines)


def _ground(result: Shown) -> list[str]:
    works = ", ".join(trial.name for trial in result.probed if trial.works)
    lines = [f"in {result.directory}, on {result.file_system}; tried there and fit: {works}"]
    return lines + [f"  does not work: {trial.name}: {trial.detail}" for trial in result.probed if not trial.works]


def _took(result: Result) -> str:
    return f"{result.seconds:.1f} s, seed {result.seed}"


def _times(latency: Latency) -> str:
    return f"p50 {latency.p50_us:.0f} µs, p99 {latency.p99_us:.0f} µs, worst {latency.worst_us:.0f} µs"


def _violations(result: Shown, unit: str) -> list[str]:
    lines = [f"violations: {len(result.violations)}"]
    for violation in result.violations[:_MOST_VIOLATIONS]:
        who = f" ({', '.join(violation.winners)})" if violation.winners else ""
        lines.append(f"  {unit} {violation.iteration}, {violation.item}: {violation.problem}{who}")
    if len(result.violations) > _MOST_VIOLATIONS:
        lines.append(f"  and {len(result.violations) - _MOST_VIOLATIONS} more; --json names all")
    if result.kept:
        lines.append(f"the queue is kept in {result.kept}")
    return lines
