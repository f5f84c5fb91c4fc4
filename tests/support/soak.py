"""The soak: a real run on a real repository, with items that keep coming, programs that misbehave, and kills.

`make soak MINUTES=5 SEED=1`, `make soak KILLS=200`; `make soak KILLS=5000 FAST=1` kills nothing but workers, as fast as
they are replaced, and looks at what that leaves in the coordinator. Exit code 1 when anything was lost, done twice or
left running. A seed chooses items, victims and pauses; what the victims were doing at that moment is up to the machine.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.survey import Survey
from support.proc import Seen, see
from support.soak_gauges import Gauges, Use
from support.soak_ground import BUSY, QUICK, SCRIBBLING, Ground, hit
from support.soak_judge import Judge
from support.written import Written

# Who is hit at once, and how often that comes.
KILLS = {
    "worker": 12,
    "worker+worker": 2,
    "lander": 2,
    "program": 4,
    "keeper": 2,
    "worker+program": 3,
    "worker+keeper": 2,
    "program+keeper": 1,
    "worker+lander": 1,
    "coordinator": 1.5,
    "coordinator+worker": 1.5,
    "coordinator+lander": 0.5,
    "coordinator+program": 0.5,
    "coordinator+worker+program": 0.5,
    "all": 0.3,
}
STOPS = {"coordinator": 1, "worker": 1, "lander": 0.5, "program": 1}
_STOPS_SHARE = 0.1
_LOOK_SECONDS = 0.03
_CLOSE_LOOK_SECONDS = 0.004  # so soon after a kill that it is seen how soon what it left is ended
_READ_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0
_MOMENT_SECONDS = 0.4
_WARM_KILLS = 500  # of a fast soak: memory that has been used once is kept by the allocator
_TIDY_SECONDS = 20.0  # a done item costs a coordinator a kilobyte until it is packed; that is not what is looked for
_MOST_GROWTH_MEGABYTES = 2.0
_MOST_LANDING = 40  # what waits costs memory, and the lander may be slower than the workers


@dataclass(frozen=True)
class Plan:
    """How long and how hard. It ends after `kills`, or after `minutes` if that is 0."""

    seed: int = 0
    agents: int = 4
    minutes: float = 0.0
    kills: int = 0
    pause_seconds: float = 0.5  # between kills, on average
    fast: bool = False
    short: bool = (
        False  # nothing that takes ten seconds: no program that has to be ended by force, nobody who is silent
    )
    scribble: bool = False  # programs that write down what they have closed, see written.py
    orphan_seconds: float = 1.0
    strict: bool = False


class Soak:
    """One soak. Everything happens in one loop, so that what is judged is judged at its time."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        kinds = (
            SCRIBBLING
            if plan.scribble
            else QUICK
            if plan.fast
            else {name: share for name, share in BUSY.items() if name != "hangs" or not plan.short}
        )
        self.ground = Ground(folder, kinds, random.Random(plan.seed + 1))
        self.judge = Judge(self.ground, plan.orphan_seconds, plan.strict)
        self.written = Written(self.ground)
        self.gauges = Gauges()
        self.hits: Counter[str] = Counter()
        self._told = 0
        self.ends: dict[str, int] = {}
        self._survey = Survey(self.ground.project.queue)
        self._restart_at: float | None = None
        self._stopped: list[tuple[float, Seen]] = []
        self._due: dict[int, float] = {}  # of a fast soak: when who has proved itself is killed
        self._rest: list[Use] = []  # the coordinator when all was quiet: after the warm-up, and at the end
        self._begun = time.monotonic()

    def run(self) -> list[str]:
        """Do all of it; return what was wrong."""
        try:
            self._hit_until_the_end()
            self._drain()
            self.ends = self.judge.judge_end()
        finally:
            self.ground.leave()
        if self._plan.scribble:
            self.judge.violations += self.written.judge()
        return self.judge.violations

    # --- the loop -------------------------------------------------------------------------------------

    def _hit_until_the_end(self) -> None:
        self.ground.add(3 * self._plan.agents)
        self.ground.start(self._plan.agents)
        next_hit, next_tidy = self._begun + 1.0, self._begun + _TIDY_SECONDS
        next_read = next_add = self._begun
        while not self._is_over():
            now = time.monotonic()
            self._keep_coordinator(now)
            if now >= next_hit and self._hit():
                next_hit = now if self._plan.fast else now + self._chance.expovariate(1 / self._plan.pause_seconds)
            if now >= next_add:
                self._add()
                next_add = now + 0.5
            if now >= next_read:
                self._read()
                next_read = now + _READ_SECONDS
            if self._plan.fast and now >= next_tidy:
                self.ground.tidy()
                next_tidy = now + _TIDY_SECONDS
            self.judge.look()
            if self._plan.fast and not self._rest and self.hits.total() >= min(_WARM_KILLS, self._plan.kills // 2):
                self._wait_until_quiet()
            # Who is hit when is a matter of time here, and so is what the judge looks for: nothing to wait for.
            time.sleep(_LOOK_SECONDS if self.judge.all_is_well else _CLOSE_LOOK_SECONDS)

    def _is_over(self) -> bool:
        if self._plan.kills:
            return self.hits.total() >= self._plan.kills
        return time.monotonic() >= self._begun + 60 * self._plan.minutes

    def _keep_coordinator(self, now: float) -> None:
        """Let go on who was stopped for long enough, and start the coordinator again if it was killed."""
        for until, process in list(self._stopped):
            if now >= until:
                hit(process, signal.SIGCONT)
                self._stopped.remove((until, process))
        if self.ground.coordinator:
            return
        if self._restart_at is None:
            what = f"the coordinator ended by itself with {self.ground.exit_code}: {self.ground.log_end()}"
            self.judge.violations.append(what)
            self._restart_at = now
        if now >= self._restart_at:
            self.ground.start(self._plan.agents)
            self._restart_at = None

    def _add(self) -> None:
        """Keep some items ahead of the workers, and not many waiting to land."""
        self._survey.refresh()
        counts = self._survey.counts()
        ahead = counts["ready"] + counts["delayed"]
        if ahead < 3 * self._plan.agents and counts["landing"] < _MOST_LANDING:
            self.ground.add(self._chance.randint(1, 2 * self._plan.agents))

    # --- hits -----------------------------------------------------------------------------------------

    def _hit(self) -> bool:
        """Kill or stop somebody; False when nobody of the chosen kind is there."""
        if self._plan.fast:
            return self._kill_the_proven()
        if self._chance.random() < _STOPS_SHARE:
            return self._stop()
        kind = self._chance.choices(tuple(KILLS), tuple(KILLS.values()))[0]
        victims = self._victims(kind)
        if all(victims.values()):
            self._kill(kind, [process for processes in victims.values() for process in processes])
        return True  # also when there was nobody: the next kind is another

    def _victims(self, kind: str) -> dict[str, list[Seen]]:
        """Return whom `kind` names, by the parts of its name."""
        names = kind.split("+")
        if kind == "all":
            names = ["coordinator", *["worker"] * self._plan.agents, "lander"]
        workers = list(self.ground.identities())
        self._chance.shuffle(workers)
        programs = list(self.ground.of_programs())
        self._chance.shuffle(programs)
        coordinator, lander = see(self.ground.coordinator), self.ground.lander()
        there = {
            "coordinator": [coordinator] if coordinator else [],
            "worker": workers[: names.count("worker")],
            "lander": [lander] if lander else [],
            "program": programs[:1],
            "keeper": self.ground.keepers()[:1],
        }
        return {name: there[name] for name in names}

    def _kill(self, kind: str, victims: list[Seen]) -> None:
        coordinator = self.ground.coordinator
        workers = self.ground.identities()
        helpless = {process.pid for process in (*victims, *(process for _, process in self._stopped))}
        attended = coordinator not in helpless
        for process in victims:
            if hit(process, signal.SIGKILL) and process in workers:
                self.judge.note_kill(workers[process], attended=attended and process.parent == coordinator)
        if any(process.pid == coordinator for process in victims):
            self.ground.wait(_PATIENCE_SECONDS)
            self._restart_at = time.monotonic() + self._chance.uniform(0.0, 1.0)
        self.hits[kind] += 1

    def _stop(self) -> bool:
        """Stop somebody for a while; of the workers half for good, which only their silence tells."""
        kind = self._chance.choices(tuple(STOPS), tuple(STOPS.values()))[0]
        seconds = self._chance.uniform(0.2, 1.5)
        for_good = kind == "worker" and self._chance.random() < 0.5 and not self._plan.short
        for process in self._victims(kind)[kind]:
            if hit(process, signal.SIGSTOP):
                self._stopped.append((time.monotonic() + (60.0 if for_good else seconds), process))
                self.hits[f"stop {kind}{' for good' if for_good else ''}"] += 1
        return True

    def _kill_the_proven(self) -> bool:
        """Kill who has ended an item, some time later; who has not would leave its place empty for a pause."""
        now = time.monotonic()
        proven = [beat.pid for beat in self.ground.beats() if beat.done + beat.failed > 0]
        self._due = {pid: self._due.get(pid) or now + self._chance.uniform(0.0, _MOMENT_SECONDS) for pid in proven}
        victims = [see(pid) for pid, due in self._due.items() if due <= now]
        for process in filter(None, victims):
            self._kill("worker", [process])
        return bool(victims)

    # --- the end --------------------------------------------------------------------------------------

    def _wait_until_quiet(self) -> None:
        """Wait until every place is filled and idle, and read what the coordinator has then."""
        end = time.monotonic() + _PATIENCE_SECONDS
        self.ground.tidy()
        idle = 0
        while (idle < self._plan.agents or not self._survey.is_drained()) and time.monotonic() < end:
            time.sleep(0.5)  # a look reads the whole queue, and would keep busy what is to become quiet
            self.judge.look()
            self._survey.refresh()
            idle = sum(beat.state == "idle" for beat in self.ground.beats())
        idle_since = utc_now()
        while current_snapshot(self.ground.project).at < idle_since and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)  # until the coordinator has published what came last; if it never does, go on
        now = self.gauges.read(self.ground.coordinator, [], None)
        if now is not None:
            self._rest.append(now)
            tell(f"at rest after {self.hits.total()} kills: coordinator {now}")

    def _drain(self) -> None:
        """Let all that is left be done."""
        for _, process in self._stopped:
            hit(process, signal.SIGCONT)
        self._stopped = []
        self._keep_coordinator(time.monotonic() + _PATIENCE_SECONDS)
        if self._plan.fast:
            self._wait_until_quiet()
            self._judge_growth()
        self._read()
        end = time.monotonic() + _PATIENCE_SECONDS
        coordinator = see(self.ground.coordinator)
        if coordinator is not None:
            hit(coordinator, signal.SIGTERM)
        next_read = time.monotonic() + _READ_SECONDS
        for options in ((), ("--drain",)):
            if options:
                self.ground.start(self._plan.agents, *options)
            while self.ground.coordinator and time.monotonic() < end:
                self.judge.look()
                if time.monotonic() >= next_read:
                    self._read()
                    next_read += _READ_SECONDS
                time.sleep(_LOOK_SECONDS)  # the judge looks at every turn, until the run has ended or has had its time
        if self.ground.exit_code not in {0, 1}:
            code = self.ground.exit_code
            self.judge.violations.append(f"what was left was not done, exit code {code}: {self.ground.log_end()}")

    def _judge_growth(self) -> None:
        if len(self._rest) < 2:
            return
        first, last = self._rest[0], self._rest[-1]
        if last.rss_megabytes - first.rss_megabytes > _MOST_GROWTH_MEGABYTES:
            self.judge.violations.append(f"the coordinator's memory grew from {first} to {last}")
        if last.descriptors > first.descriptors:
            self.judge.violations.append(f"the coordinator's descriptors grew from {first} to {last}")

    # --- telling --------------------------------------------------------------------------------------

    def _read(self) -> None:
        lander = self.ground.lander()
        workers = [beat.pid for beat in self.ground.beats()]
        now = self.gauges.read(self.ground.coordinator, workers, lander.pid if lander else None)
        self._survey.refresh()
        counts = self._survey.counts()
        tell(
            f"{time.monotonic() - self._begun:6.0f} s {self.hits.total():5} hits {len(self.ground.added):5} added"
            f" {counts['done']:5} landed {counts['failed']:3} failed {len(self.judge.violations):2} wrong"
            f"  coordinator {now or 'is dead'}  trees ended after {self.judge.describe_ends()}",
        )
        for violation in self.judge.violations[self._told :]:
            tell(f"  wrong: {violation}")
        self._told = len(self.judge.violations)

    def report(self) -> str:
        """Say what happened, in a screen."""
        seconds, counts = time.monotonic() - self._begun, self.judge.journal_counts()
        lines = [f"\nseed {self._plan.seed}, {seconds:.0f} s, {self.hits.total()} hits, {self.ground.runs} runs:"]
        lines += [f"  {count:5}  {kind}" for kind, count in self.hits.most_common()]
        ended = ", ".join(f"{count} {state}" for state, count in sorted(self.ends.items()))
        lines.append(f"items: {len(self.ground.added)} added; {ended}")
        lines.append(f"programs: {counts['start']} started, {counts['end']} came to their end")
        lines.append(f"trees of killed workers ended after: {self.judge.describe_ends()}")
        lines += [f"most, {name}: {use}" for name, use in self.gauges.most.items()]
        longest = self.gauges.longest()
        if longest is not None:
            lines.append(f"the coordinator that lived longest: first {longest[0]}, last {longest[1]}")
        if self.judge.apart:
            lines.append(f"apart, where no coordinator was there to end what a killed worker left: {self.judge.apart}")
        if self._plan.scribble:
            lines.append(f"written: {self.written.describe()}")
        lines.append(f"wrong: {len(self.judge.violations)}")
        lines += [f"  {violation}" for violation in self.judge.violations[:40]]
        return "\n".join(lines)


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kills", type=int, default=0, help="end after so many, however long that takes")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between kills, on average")
    parser.add_argument("--orphans", type=float, default=1.0, help="seconds after which an orphan is wrong")
    parser.add_argument("--fast", action="store_true", help="workers only, as fast as they are replaced")
    parser.add_argument("--scribble", action="store_true", help="what programs wrote and closed must be found again")
    parser.add_argument("--strict", action="store_true", help="also where worker and coordinator die together")
    given = parser.parse_args()
    plan = Plan(
        seed=given.seed,
        agents=given.agents,
        minutes=given.minutes,
        kills=given.kills,
        pause_seconds=given.pause,
        fast=given.fast,
        scribble=given.scribble,
        orphan_seconds=given.orphans,
        strict=given.strict,
    )
    tell(f"seed {plan.seed}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), plan)
        wrong = soak.run()
        tell(soak.report())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
