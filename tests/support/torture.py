"""Random schedules of real processes on one queue, each killed with -9 at random steps: FROM TO [FAULT].

A schedule is decided by its number: which actors there are, who goes on for how many steps, who is killed where. The
same number gives the same history (`support.stepping` says how). Between the turns the files are looked at; in the end
all that is left is killed, a recovery that may be killed, too, begins, one process does what is left, and all that was
promised to anybody is compared with the files.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from support import faults
from support.stage import Role, Stage, make_ready, staged
from support.stepping import Actor
from support.torture_roles import ROLES

CREW = ("work", "work", "add", "recover", "ask", "tidy")
RACE = ("work", "work", "work")
OTHERS = ("ask", "work", "work", "tidy")
_MOST_TURNS = 300
_MOST_STARTS = 3  # after the crew's first


class Schedule:
    """What happens on a stage, by a number."""

    def __init__(self, seed: int, stage: Stage) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self._stage = stage

    def run(self) -> None:
        """Run it to its end; AssertionError says what has gone wrong."""
        roles = ("", "narrow", "narrow", "wide")[: self._chance.randint(1, 4)]
        self._stage.add(**{f"first.{index}": {"role": role or None} for index, role in enumerate(roles)})
        if self._chance.random() < 0.3:
            self._oversleep()
        self._torture()
        for actor in self._stage.living():
            self._stage.kill(actor)
        if self._chance.random() < 0.5:
            self._stage.go(self._start("recover"), self._chance.randrange(1, 100))
        self._stage.finish()

    def _oversleep(self) -> None:
        """Let a worker stop somewhere, until others have perhaps ended its item and packed it."""
        late = self._start("work")
        self._stage.go(late, self._chance.randrange(10, 100))
        for role in OTHERS:
            self._stage.go(self._start(role))
        if self._chance.random() < 0.3 and late.alive:
            self._stage.go(late, self._chance.randint(1, 6))
            if late.alive:
                self._stage.kill(late)

    def _torture(self) -> None:
        stage, chance = self._stage, self._chance
        longest = chance.choice([1, 3, 10, 40])  # from a change after every step to long strides
        deadliness = chance.choice([0.005, 0.02, 0.06])
        for role in chance.choice([RACE, chance.sample(CREW, chance.randint(2, 4))]):
            self._start(role)
        starts = _MOST_STARTS
        asleep = ""  # one that was stopped in the middle of a link, to see what others do in the meantime
        for _ in range(_MOST_TURNS):
            living = stage.living()
            if not living:
                return
            able = [actor for actor in living if not actor.blocked]
            assert able, f"all wait for each other: {[(actor.name, actor.at) for actor in living]}"
            actor = chance.choice([actor for actor in able if actor.name != asleep] or able)
            if chance.random() < deadliness:
                stage.kill(actor)
            else:
                stage.go(actor, chance.randint(1, longest))
            if chance.random() < (0.5 if "taking._link" in actor.at else 0.1 if "source found" in actor.at else 0.0):
                asleep = actor.name
            elif chance.random() < 0.1:
                asleep = ""
            if not actor.alive and starts:
                starts -= 1
                self._start(chance.choice(CREW))

    def _start(self, name: str) -> Actor:
        role: Role = ROLES[name]
        return self._stage.start(f"{name}-{self._seed}-{len(self._stage.actors):02d}", role)


class Report(NamedTuple):
    """What came of one schedule; `problem` is empty when all was well."""

    seed: int
    kills: list[str]
    history: list[str]
    problem: str


def run_schedule(seed: int) -> Report:
    problem = ""
    with staged() as stage:
        try:
            Schedule(seed, stage).run()
        except AssertionError as error:
            problem = str(error) or repr(error)
    return Report(seed, stage.kills, stage.history, problem)


def main(start: str, end: str, fault: str = "", mark: str = "") -> int:
    """Run the schedules from `start` to before `end` up to the first problem, and tell the history of that one.

    With a fault of `support.faults` planted, up to the first problem in which `mark` is found. One schedule alone
    tells its history anyhow.
    """
    began, kills, problem = time.monotonic(), Counter[str](), ""
    seeds = range(int(start), int(end))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), initializer=_prepare, initargs=(fault,)) as pool:
        for report in pool.map(run_schedule, seeds, chunksize=1 if fault else max(1, min(10, len(seeds) // 8))):
            kills.update(report.kills)
            if re.search(mark, report.problem):
                problem = report.problem
            if problem or len(seeds) == 1:
                sys.stdout.write("\n".join([*report.history, ""]))
            if problem:
                sys.stdout.write(f"schedule {report.seed}: {problem}\n")
                pool.shutdown(cancel_futures=True)
                return 1
    seconds = time.monotonic() - began
    sys.stdout.write(f"{len(seeds)} schedules; {kills.total()} kills at {len(kills)} steps; {seconds:.1f} s\n")
    return 0


def _prepare(fault: str) -> None:
    make_ready()
    if fault:
        faults.dawdle_seconds = 0.0
        (faults.FAULTS | faults.DEADLY_FAULTS)[fault]()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
