"""What supervision costs, and how soon it acts: deaths noticed, trees ended, places filled again, beside others.

`make bench` runs it; on a quiet machine in a quarter of an hour. Real runs in throw-away repositories, and the same
program under other supervisors (supervisord and circus from PyPI, runit and s6 from Debian, those that are installed).
`--page` brings docs/supervision.md up to date.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import machine
import restless
from results import Goal
from starts import Starts, listening
from supervised import Death, OurRun, end_program, hogs, kill_program, kill_worker, our_run
from supervisors import ALL, supervised
from tables import table
from waking import use_of

from parallel_loop.queue.records import Item

PAGE = Path(__file__).resolve().parent.parent / "docs" / "supervision.md"
BEGIN, END = "<!-- measured: written by benchmarks/supervision.py -->", "<!-- end of what was measured -->"
COMMANDS = 40
_WARM_UP_SECONDS = 3.0


class Report:
    """The parts of the page, shown as they come."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.goals: list[Goal] = []

    def add(self, text: str) -> None:
        self.parts.append(text)
        print(f"\n{text}", flush=True)

    def want(self, what: str, value: float | None, limit: float, unit: str) -> None:
        met = value is not None and value < limit
        self.goals.append(Goal(what, f"< {limit:g} {unit}", "never" if value is None else f"{value:.3g} {unit}", met))


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


def _spread(deaths: Iterable[Death], of: Callable[[Death], float | None]) -> tuple[list[str], list[float]]:
    """Return p50, p99 and the most in ms as text, how often it did not come, and the values."""
    all_of_them = [of(death) for death in deaths]
    found = [1000 * value for value in all_of_them if value is not None]
    if not found:
        return ["–", "–", "–", str(len(all_of_them))], found
    cells = [f"{value:.1f}" for value in (statistics.median(found), quantile(found, 0.99), max(found))]
    return [*cells, str(len(all_of_them) - len(found))], found


# --- deaths ---------------------------------------------------------------------------------------------------------

_STEPS: tuple[tuple[str, Callable[[Death], float | None]], ...] = (
    ("death noticed by the coordinator", lambda death: death.noticed),
    ("its tree gone", lambda death: death.tree_gone),
    ("tree gone and the item takable", lambda death: death.takable),
    ("the replacement's first heartbeat", lambda death: death.beating),
    ("the program runs again, with all helpers", lambda death: death.again),
)


def measure_deaths(folder: Path, report: Report, kills: int, hog_count: int) -> None:
    rows, load = [], f", {hog_count} CPU hogs" if hog_count else ""
    with listening(folder) as starts, our_run(folder / "run", 10) as run, hogs(hog_count):
        deaths = [kill_worker(starts, run, "all") for _ in range(kills)]
    for name, of in _STEPS:
        cells, found = _spread(deaths, of)
        rows.append([name, *cells])
        if hog_count:
            continue
        if name == _STEPS[0][0]:
            report.want("a worker's death noticed, p50", statistics.median(found), 5, "ms")
        limit = {_STEPS[0][0]: 50, _STEPS[2][0]: 100, _STEPS[3][0]: 250}.get(name)
        if limit is not None:
            whole = quantile(found, 0.99) if len(found) == kills else None
            report.want(f"{name}, p99", whole, limit, "ms")
    head = [f"a worker of 10 killed{load}, ms after it", "p50", "p99", "most", "never"]
    report.add(f"{kills} kills at random moments, the program with a helper of each kind:\n\n{table(head, rows)}")


def measure_kinds(folder: Path, report: Report, trials: int) -> None:
    rows = []
    with listening(folder) as starts, our_run(folder / "run", 4) as run:
        for kind in restless.KINDS:
            killed = [kill_worker(starts, run, kind).tree_gone for _ in range(trials)]
            _let_go(starts, run)
            ended = [end_program(starts, run, kind) for _ in range(trials)]
            _let_go(starts, run)
            left = sum(seconds is None for seconds in (*killed, *ended))
            rows.append([kind, *_middle_and_most(killed), *_middle_and_most(ended), str(left)])
    survived = sum(int(row[-1]) for row in rows)
    report.goals.append(Goal("trees of which anything survived", "0", str(survived), survived == 0))
    head = ["the program's helpers", "worker killed", "most", "program ended", "most", "left"]
    text = "ms until nothing was left of it; what a program leaves when it ends by itself is asked politely first"
    report.add(f"{text}, {trials} each:\n\n{table(head, rows)}")


def _let_go(starts: Starts, run: OurRun) -> None:
    """Have all programs end, so that the next is of the next kind."""
    while not all(beat.state == "idle" for beat in run.beats()):
        for start in starts.living():
            start.finish()
        run.is_busy = False
        starts.pass_time(0.1)


def _middle_and_most(seconds: list[float | None]) -> list[str]:
    found = [1000 * value for value in seconds if value is not None]
    return [f"{statistics.median(found):.0f}", f"{max(found):.0f}"] if found else ["–", "–"]


def measure_peers(folder: Path, report: Report, trials: int) -> None:
    """The same program killed under each; after a second, before which some of them wait with starting it again."""
    rows = []
    for supervisor in ALL:
        if supervisor.path is None:
            rows.append([supervisor.name, *["not installed"] * 6])
            continue
        with listening(folder) as starts, supervised(supervisor, folder / supervisor.name, starts, "all"):
            rows.append(_peer_row(supervisor.name, [_kill(starts, None) for _ in range(trials)]))
    with listening(folder) as starts, our_run(folder / "ours", 1) as run:
        rows.insert(0, _peer_row("parallel-loop", [_kill(starts, run) for _ in range(trials)]))
    head = ["the program killed, ms after it", "noticed p50", "most", "runs again p50", "most", "tree gone p50", "left"]
    text = f"{trials} kills of the program itself. `left`: how often helpers lived two seconds later"
    report.add(
        f"{text}. Ours has the attempt recorded, what was written committed, and the worktree made new in between:\n\n"
        f"{table(head, rows)}"
    )


def _kill(starts: Starts, run: OurRun | None) -> Death:
    return kill_program(starts, run, "all", wait_seconds=1.1)


def _peer_row(name: str, deaths: list[Death]) -> list[str]:
    noticed, again, gone = (_spread(deaths, of)[0] for of in (_STEPS[0][1], _STEPS[4][1], _STEPS[1][1]))
    return [name, noticed[0], noticed[2], again[0], again[2], gone[0], gone[3]]


# --- what it costs --------------------------------------------------------------------------------------------------


def measure_idle(folder: Path, report: Report, seconds: float) -> None:
    rows = []
    for agents, cpu, megabytes in ((1, 0.25, 40), (10, 0.25, 40), (100, 1.0, 50)):
        with our_run(folder / f"idle-{agents}", agents) as run:
            time.sleep(_WARM_UP_SECONDS)
            workers = [beat.pid for beat in run.beats()]
            before = use_of(run.coordinator)
            time.sleep(seconds)
            used = use_of(run.coordinator) - before
            memory = {pid: _memory(pid) for pid in (run.coordinator, *workers)}
        share = 100 * used.cpu_seconds / seconds
        rss, pss = memory.pop(run.coordinator)
        worker_rss, worker_pss = (statistics.median(found) for found in zip(*memory.values(), strict=True))
        rows.append([str(agents), *(f"{value:.3f}" for value in (share,)), f"{used.waits / seconds:.1f}"])
        rows[-1] += [f"{value:.1f}" for value in (rss, pss, worker_rss, worker_pss)]
        if agents > 1:
            report.want(f"the coordinator at {agents} idle workers", share, cpu, "% of a core")
            report.want(f"its memory (RSS) at {agents} idle workers", rss, megabytes, "MB")
        report.want(f"a worker's memory (RSS), {agents} idle", worker_rss, 30, "MB")
    head = ["idle workers", "coordinator % of a core", "waits/s", "MB RSS", "MB PSS", "a worker MB RSS", "MB PSS"]
    report.add(f"Idle for {seconds:.0f} s:\n\n{table(head, rows)}")


def _memory(pid: int) -> tuple[float, float]:
    """Megabytes: resident, and with what is shared counted by its share."""
    found = dict.fromkeys(("Rss", "Pss"), 0.0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) / 1000
    return found["Rss"], found["Pss"]


def measure_commands(folder: Path, report: Report) -> None:
    """One command more in an attempt, beside the same command started by nobody but us."""
    seconds = {}
    for count in (0, COMMANDS):
        with our_run(folder / f"commands-{count}", 1, f"setup: {{run: {['true'] * count}}}\n") as run:
            items = [Item(id=f"item-{n}", title="n", added_at="", command="true") for n in range(5)]
            run.project.queue.add(items)
            run.wait_until_idle(1)
            seconds[count] = statistics.median(_seconds(run, item.id) for item in items)
    bare = []
    for _ in range(COMMANDS):
        start = time.perf_counter()
        subprocess.run(["/bin/sh", "-c", "true"], check=True)
        bare.append(time.perf_counter() - start)
    ours = 1000 * (seconds[COMMANDS] - seconds[0]) / COMMANDS
    rows = [
        ["`sh -c true` by subprocess.run", f"{1000 * statistics.median(bare):.1f}"],
        ["one command more of an attempt, watched and its tree ended", f"{ours:.1f}"],
    ]
    report.add(table(["one command", "ms"], rows))


def _seconds(run: OurRun, item_id: str) -> float:
    while True:
        entry = run.project.queue.entry(item_id)
        if entry is not None and len(entry.records) > 1:
            assert entry.records[1].seconds is not None
            return entry.records[1].seconds
        time.sleep(0.02)


# --- all of it ------------------------------------------------------------------------------------------------------


def parts(options: argparse.Namespace, report: Report) -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield "deaths", lambda folder: measure_deaths(folder, report, options.kills, 0)
    hog_count = 10 * (os.cpu_count() or 1)
    yield "load", lambda folder: measure_deaths(folder, report, max(10, options.kills // 4), hog_count)
    yield "kinds", lambda folder: measure_kinds(folder, report, options.trials)
    yield "peers", lambda folder: measure_peers(folder, report, options.trials)
    yield "idle", lambda folder: measure_idle(folder, report, options.seconds)
    yield "commands", lambda folder: measure_commands(folder, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--trials", type=int, default=10, help="of each kind of helpers and of each supervisor")
    parser.add_argument("--seconds", type=float, default=30.0, help="of being idle")
    parser.add_argument("--only", nargs="+", metavar="PART", help="deaths load kinds peers idle commands")
    parser.add_argument("--page", action="store_true", help="bring docs/supervision.md up to date")
    options = parser.parse_args()
    report = Report()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="sup-") as name:
        described = ", ".join(f"{what} {value}" for what, value in machine.describe(Path(name)).items())
        when = f"{datetime.now(UTC):%Y-%m-%d}"
        busy = "" if load <= 1 else " **The machine was busy: measure again.**"
        report.add(f"Measured {when}: {described}. Load average before {load:.1f}.{busy}")
        for what, measure in parts(options, report):
            if not options.only or what in options.only:
                folder = Path(name) / what
                folder.mkdir()
                measure(folder)
    rows = ([goal.what, goal.wanted, goal.measured, "yes" if goal.met else "**no**"] for goal in report.goals)
    report.add("### To reach\n\n" + table(["", "wanted", "measured", "met"], rows))
    if options.page:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        text = "\n\n".join(report.parts)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    sys.exit(main())
