"""Power cuts of recorded runs: `PYTHONPATH=tests python tests/support/power_explore.py FROM TO` tries runs by seed."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from support.power_checker import check_after_cut
from support.power_disk import Fact, Tree, cuts, lay_out
from support.power_recorder import Recorder
from support.power_runs import QUEUE, Run, random_run
from support.power_survivors import survivors

MEMORY = Path("/dev/shm")  # the disk is simulated; on a real one, removing the directories would take most of the time


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path).resolve()


def record_run(
    base: Path,
    script: Callable[[Run], None],
    seed: int | None = None,
    leaves_out: Callable[[Path, str], bool] | None = None,
) -> Recorder:
    """Do what `script` says in `base`, with kills and interruptions if there is a seed."""
    (base / QUEUE.parts[0]).mkdir(parents=True)
    recorder = Recorder(base, leaves_out)
    run = Run(base, recorder, None if seed is None else random.Random(seed))
    with mock.patch.object(os, "sync", return_value=None), run.recorded():  # only the simulated disk needs it
        script(run)
    return recorder


def check_cuts(recorder: Recorder, seed: int, *, share: float = 1.0, random_ones: int = 2, where: str = "") -> int:
    """Cut the power after a `share` of the changes, chosen by seed, and check what may be left; return how many.

    `where` must be found in the name of the step that made the change.

    AssertionError names the cut and the survivor. What was seen before with the same told facts is not checked again.
    """
    chance = random.Random(seed)
    seen: set[tuple[int, Tree]] = set()
    for index, disk in cuts(recorder.changes):
        if chance.random() >= share or where not in recorder.steps[index]:
            continue
        for survivor in survivors(disk, chance, random_ones):
            found = (len(disk.facts), survivor.tree(disk))
            if found in seen:
                continue
            seen.add(found)
            try:
                check_tree(found[1], disk.facts)
            except Exception as error:
                where = f"cut after change {index} of {len(recorder.changes)}, {recorder.steps[index]}"
                raise AssertionError(f"{where}; kept: {survivor.title}; {type(error).__name__}: {error}") from error
    return len(seen)


def check_tree(tree: Tree, facts: list[Fact]) -> None:
    with folder() as path:
        lay_out(tree, path)
        check_after_cut(path / QUEUE, facts)


def explore(seed: int, operations: int, share: float) -> int:
    """Try one random run; return how many disks were checked."""
    with folder() as base:
        recorder = record_run(base / "run", lambda run: random_run(run, operations), seed)
    return check_cuts(recorder, seed, share=share)


if __name__ == "__main__":
    for number in range(*map(int, sys.argv[1:])):
        sys.stdout.write(f"{number} {explore(number, operations=60, share=0.1)}\n")
        sys.stdout.flush()
