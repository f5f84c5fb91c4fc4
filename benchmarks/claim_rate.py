"""How quickly items are claimed and completed, side by side with other local queues, at the same safety.

`make bench` runs all of it (about a quarter of an hour), writes `benchmarks/results/` and brings
docs/performance.md and its plot up to date. Systems take turns in every round, so that a change in the machine's
speed meets them all; quote ratios, since machines differ.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import msgspec
from chart import draw
from drains import Cell, Sample, measure
from entrants import ALL, BY_NAME, is_installed
from machine import describe
from results import LARGE, MIDDLE, OURS, SMALL, Added, Results, Summary
from single import add_rate, status_milliseconds, worker_megabytes
from stores import Store
from systems import System
from tables import LEVELS, busy, cell_table, goals_table, page

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- measured: written by benchmarks/claim_rate.py -->", "<!-- end of what was measured -->"
_SMALL_DRAINS = 3  # one drain of so few items is over before it says anything


def plan(options: argparse.Namespace) -> list[Cell]:
    """Return the cells: by default each number of processes at the middle depth, and the other depths at few."""
    if options.processes or options.depths:
        chosen = product(LEVELS, options.processes or [8], options.depths or [MIDDLE])
        return [Cell(*cell) for cell in chosen]
    if options.quick:
        return [Cell(*cell) for cell in product(LEVELS, (1, 8), (SMALL,))]
    cells = [Cell(*cell) for cell in product(LEVELS, (1, 2, 8, 32), (MIDDLE,))]
    cells += [Cell(False, *cell) for cell in product((1, 8), (SMALL, LARGE))]
    return cells + [Cell(True, 8, depth) for depth in (SMALL, LARGE)]


def run(options: argparse.Namespace, systems: Sequence[System]) -> Results:
    """Measure the planned cells, and in the default plan memory and status, in files that are removed in the end."""
    options.dir.mkdir(parents=True, exist_ok=True)
    results = Results(
        measured_at=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=describe(options.dir),
        rounds=options.rounds,
        limit_seconds=options.seconds,
        load=[os.getloadavg()[0]],
    )
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="claim-rate-") as folder:
        store = Store(Path(folder))
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            measure_round(results, plan(options), in_turn(systems, number, options.rounds), store)
        if not (options.quick or options.processes or options.depths):
            for system in systems:
                results.megabytes[system.name] = worker_megabytes(system, LARGE, store)
            if BY_NAME[OURS] in systems:
                results.status_milliseconds = status_milliseconds(Path(folder), LARGE)
    results.load.append(os.getloadavg()[0])
    return results


def in_turn(systems: Sequence[System], number: int, rounds: int) -> list[System]:
    """Return the systems with another one first in each round."""
    start = number * max(1, len(systems) // rounds) % len(systems)
    return [*systems[start:], *systems[:start]]


def measure_round(results: Results, cells: Sequence[Cell], systems: Sequence[System], store: Store) -> None:
    for cell in cells:
        start = time.perf_counter()
        for system in systems:
            if cell.durable in system.levels:
                results.samples += drains(system, cell, store, results.limit_seconds)
        print(f"  {time.perf_counter() - start:5.1f} s  {cell}", file=sys.stderr)
    for durable, system in product(LEVELS, systems):
        if durable in system.levels:
            results.added.append(
                Added(system.name, durable, add_rate(system, durable, store, results.limit_seconds / 3))
            )


def drains(system: System, cell: Cell, store: Store, limit_seconds: float) -> Iterator[Sample]:
    for _ in range(_SMALL_DRAINS if cell.depth <= SMALL else 1):
        sample = measure(system, cell, store, limit_seconds)
        yield sample
        if sample.missed is None:
            return


def show(summary: Summary) -> None:
    for durable, level in LEVELS.items():
        for cell in summary.cells(durable):
            print(f"\n{level}, {cell.processes} processes, {cell.depth:,} waiting\n\n{cell_table(summary, cell)}")
    print(f"\n{goals_table(summary)}\n{busy(summary)}")


def write_page(summary: Summary) -> None:
    """Put what was measured between the markers of the page, and draw the plot."""
    path = ROOT / "docs" / "performance.md"
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{page(summary)}\n\n{END}{after}")
    (ROOT / "docs" / "claim-rate.svg").write_text(draw(summary))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (3)")
    parser.add_argument("--seconds", type=float, default=1.2, help="a drain is cut off after so many (1.2)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(BY_NAME), help=", ".join(BY_NAME))
    parser.add_argument("--processes", type=int, nargs="+", metavar="P", help="measure these with each of --depths")
    parser.add_argument("--depths", type=int, nargs="+", metavar="K", help="measure these with each of --processes")
    parser.add_argument("--quick", action="store_true", help="few items and cells")
    parser.add_argument("--dir", type=Path, default=RESULTS, help="where the files are put (on the checkout's disk)")
    kept = RESULTS / f"claim-rate-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    parser.add_argument("--json", type=Path, default=kept, help="where the results are kept (benchmarks/results/)")
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="show kept results, measure nothing")
    parser.add_argument("--page", action="store_true", help="bring docs/performance.md and its plot up to date")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    if options.kept:
        results = msgspec.json.decode(options.kept.read_bytes(), type=Results)
    else:
        systems = [system for system in ALL if not options.only or system.name in options.only]
        missing = [system.name for system in systems if not is_installed(system)]
        if missing:
            raise SystemExit(f"not installed: {', '.join(missing)}; `make bench` installs them, --only leaves them out")
        gc.freeze()  # forked processes share what is loaded here; collecting it would copy it
        results = run(options, systems)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(msgspec.json.encode(results))
    summary = Summary(results)
    show(summary)
    if options.page:
        write_page(summary)


if __name__ == "__main__":
    main()
