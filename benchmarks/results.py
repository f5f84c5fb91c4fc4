"""What a measurement came to: kept as JSON, summed up over its rounds, and compared with what was to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from drains import Cell, Sample
from entrants import BY_NAME

OURS = "parallel-loop"
MIDDLE, SMALL, LARGE = 10_000, 1_000, 100_000  # items waiting


class Added(msgspec.Struct, frozen=True):
    system: str
    durable: bool
    rate: float


class Results(msgspec.Struct):
    """All of one measurement. `load` is the machine's load average before and after, since others disturb it."""

    measured_at: str
    machine: dict[str, str]
    rounds: int
    limit_seconds: float
    load: list[float]
    samples: list[Sample] = []
    added: list[Added] = []
    megabytes: dict[str, float] = {}
    status_milliseconds: float | None = None


class Row(NamedTuple):
    """A system in one cell: medians over the samples; of what must not happen at all the worst of them."""

    system: str
    cell: Cell
    rate: float
    completed: int
    cut_off: bool
    mean: float
    p50: float
    p99: float
    worst: float
    least_share: float
    duplicates: int
    missed: int
    refused: int


class Goal(NamedTuple):
    what: str
    wanted: str
    measured: str
    met: bool


class Summary:
    """Access to what was measured, by cell and system."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._rows: dict[tuple[Cell, str], Row] = {}
        groups: dict[tuple[Cell, str], list[Sample]] = {}
        for sample in results.samples:
            key = Cell(sample.durable, sample.processes, sample.depth), sample.system
            groups.setdefault(key, []).append(sample)
        for (cell, system), samples in groups.items():
            self._rows[cell, system] = _row(cell, system, samples)

    def cells(self, durable: bool) -> list[Cell]:
        found = {cell for cell, _ in self._rows if cell.durable == durable}
        return sorted(found, key=lambda cell: (cell.depth, cell.processes))

    def rows(self, cell: Cell) -> list[Row]:
        return [self._rows[cell, name] for name in BY_NAME if (cell, name) in self._rows]

    def row(self, cell: Cell, system: str) -> Row | None:
        return self._rows.get((cell, system))

    def ratio(self, cell: Cell, system: str) -> float | None:
        """Return how many times the rate of `system` ours is."""
        ours, theirs = self.row(cell, OURS), self.row(cell, system)
        return None if ours is None or theirs is None or not theirs.rate else ours.rate / theirs.rate

    def hands_out_twice(self, system: str) -> bool:
        return any(sample.duplicates for sample in self.results.samples if sample.system == system)

    def add_rate(self, system: str, durable: bool) -> float | None:
        rates = [added.rate for added in self.results.added if (added.system, added.durable) == (system, durable)]
        return statistics.median(rates) if rates else None

    def growth(self, system: str) -> float | None:
        """Return the mean time of a claim with the most items waiting over that with the fewest, one process."""
        small, large = (self.row(Cell(False, 1, depth), system) for depth in (SMALL, LARGE))
        return None if small is None or large is None else large.mean / small.mean


def _row(cell: Cell, system: str, samples: list[Sample]) -> Row:
    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(map(value, samples))

    return Row(
        system,
        cell,
        rate=median(lambda sample: sample.rate),
        completed=int(median(lambda sample: sample.completed)),
        cut_off=any(sample.missed is None for sample in samples),
        mean=median(lambda sample: sample.mean),
        p50=median(lambda sample: sample.p50),
        p99=median(lambda sample: sample.p99),
        worst=max(sample.worst for sample in samples),
        least_share=median(lambda sample: sample.least_share),
        duplicates=max(sample.duplicates for sample in samples),
        missed=max(sample.missed or 0 for sample in samples),
        refused=max(sample.refused for sample in samples),
    )


def goals(summary: Summary) -> Iterator[Goal]:
    """Yield what was to be reached, as far as it was measured."""
    yield from _rates(summary)
    for durable, depth in ((False, LARGE), (True, MIDDLE)):
        row = summary.row(Cell(durable, 8, depth), OURS)
        if row is not None:
            what = f"least-served of 8 workers, {depth:,} waiting, {'durable' if durable else 'not durable'}"
            yield Goal(what, "≥ 0.5 of its share", f"{row.least_share:.2f}", row.least_share >= 0.5)
    growth = summary.growth(OURS)
    if growth is not None:
        yield Goal(f"a claim at {LARGE:,} waiting over one at {SMALL:,}", "≤ 1.3×", f"{growth:.2f}×", growth <= 1.3)
    took = summary.results.status_milliseconds
    if took is not None:
        yield Goal(f"`parallel-loop status` with {LARGE:,} waiting", "< 300 ms", f"{took:.0f} ms", took < 300)
    megabytes = summary.results.megabytes.get(OURS)
    if megabytes is not None:
        yield Goal(f"a worker's memory at {LARGE:,} waiting", "< 60 MB", f"{megabytes:.0f} MB", megabytes < 60)
    ours = [sample for sample in summary.results.samples if sample.system == OURS]
    wrong = sum(sample.duplicates + (sample.missed or 0) + sample.refused for sample in ours)
    if ours:
        yield Goal("items handed out twice, missed or refused, in all drains", "0", str(wrong), wrong == 0)


def _rates(summary: Summary) -> Iterator[Goal]:
    wanted = [(True, 8, "sqlite3", 2.0), (True, 8, "litequeue", 4.0)]
    wanted += [(False, 8, name, 5.0) for name in ("litequeue", "persist-queue")]
    wanted += [(False, processes, "sqlite3", 1.0) for processes in (2, 8, 32)]
    for durable, processes, system, least in wanted:
        ratio = summary.ratio(Cell(durable, processes, MIDDLE), system)
        if ratio is not None:
            what = f"items/s over {system}, {processes} processes, {'durable' if durable else 'not durable'}"
            yield Goal(what, f"≥ {least:g}×", f"{ratio:.2f}×", ratio >= least)
