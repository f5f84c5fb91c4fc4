"""Real processes killed with -9 at every step and in random schedules, and proof that this finds faults.

The processes are forked; each test does that from an interpreter of its own, which is small and has no threads.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from parallel_loop.coordinator.contention import run_contention
from parallel_loop.coordinator.contention_drain import run_drain
from support.faults import DEADLY_FAULTS, FAULTS
from support.operations import OPERATIONS as DEEDS
from support.steps import OPERATIONS

TESTS = Path(__file__).parent
QUEUE = TESTS.parent / "queue"

# What the torture says when it finds the fault, and not another that follows from it; and the number of the schedule
# that found it when this was written. After a change in the queue it may be a later one: the search goes on from there.
MARKS = {
    "owner after link": (5, r"can be seen and is not complete: b''"),
    "shared marker": (2, r"ends the attempt of"),
    "check, then create": (3, r"has changed from .*\"kind\":\"(claimed|cancelled)\""),
    "take back by age": (32, r"taken back at .*, alive until"),
    "JSON rewritten": (5, r"has changed from"),
    "textbook": (78, r"was taken twice|ends the attempt of|took .*, but it says"),
    "end without number": (
        120,
        r"(done|landing|released|waiting|failed) after (cancelled|retried)|ends the attempt of",
    ),
    "import one by one": (178, r"only .* were added"),
    "place of the dead": (175, r"claims of the role narrow are open"),
}
_MOST_SCHEDULES = 600  # to look for a fault in; it takes so long only where it is not found


def run(script: str, *arguments: str) -> tuple[int, list[str]]:
    """Run a program of `support`; return its exit code and the lines of its output."""
    environment = os.environ | {"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", str(TESTS / "support" / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_random_schedules_of_kills_lose_nothing_and_do_nothing_twice() -> None:
    code, lines = run("torture.py", "0", "50")
    assert code == 0, "\n".join(lines)
    kills = re.fullmatch(r"50 schedules; (\d+) kills at (\d+) steps; .*", lines[-1])
    assert kills
    assert int(kills[1]) > 120
    assert int(kills[2]) > 80


def test_a_schedule_is_decided_by_its_number() -> None:
    first, again, other = (run("torture.py", str(seed), str(seed + 1))[1][:-1] for seed in (7, 7, 8))
    assert len(first) > 20
    assert first == again
    assert first != other


def test_every_operation_survives_a_kill_at_every_step_and_a_kill_of_its_recovery() -> None:
    code, lines = run("kill_points.py", "once")
    assert code == 0, "\n".join(lines)
    killed = dict(re.findall(r"^(.*): (?:killed|stopped) at (\d+) steps$", "\n".join(lines), re.MULTILINE))
    assert set(killed) == {*DEEDS, "two recoveries at once"}
    assert all(int(steps) > 2 for steps in killed.values()), killed
    reached = {line.removeprefix("reached ") for line in lines if line.startswith("reached ")}
    assert steps_in_the_source() - reached == NOT_KILLED.keys()


# Steps in the source of the queue that no operation takes, and why.
NOT_KILLED = {
    "atomic.append_line:write": "nothing in the queue appends lines",
    "atomic._make_blank:pwrite": "nothing in the queue appends lines",
    "atomic.replace_or_overwrite:pwrite": "nothing in the queue is written over",
    "atomic.clear_the_way:rename": "nothing of somebody else's is in the way there",
    "probe.examine:mkdir": "only `doctor` tries this, outside of the queue",
    "probe.try_names:touch": "only `doctor` tries this, outside of the queue",
}


def steps_in_the_source() -> set[str]:
    """Find every call in ``queue/`` that changes files: `module.function:operation`, as `support.steps` names it."""
    found = set()
    for path in QUEUE.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                found |= {f"{path.stem}.{function.name}:{operation}" for operation in steps_in(function)}
    return found


def steps_in(function: ast.FunctionDef) -> Iterator[str]:
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            operation, of = call.func.attr, ast.unparse(call.func.value)
            if operation == "open":
                if of == "os" and "O_CREAT" in ast.unparse(function):
                    yield operation
            elif (of == "os" and operation in OPERATIONS) or operation in {"mkdir", "rmdir", "unlink", "touch"}:
                yield operation


@pytest.mark.parametrize("fault", FAULTS | DEADLY_FAULTS)
def test_a_planted_fault_is_found_by_the_torture(fault: str) -> None:
    start, mark = MARKS[fault]
    code, lines = run("torture.py", str(start), str(start + _MOST_SCHEDULES), fault, mark)
    assert code == 1, lines


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_in_a_free_drain(fault: str) -> None:
    code, lines = run("drains.py", fault)
    assert code == 1, lines


def test_a_free_drain_finds_nothing_where_there_is_nothing() -> None:
    assert run("drains.py") == (0, ["all is well"])


RACES = partial(run_contention, iterations=20)
DRAIN = partial(run_drain, items=80)


@pytest.mark.parametrize(
    ("harness", "taker", "problem"),
    [
        (RACES, "SharedMarker", r"winners instead of 1|won, but the claim names"),
        (RACES, "CheckThenCreate", r"winners instead of 1|won, but the claim names"),
        (RACES, "RewrittenJson", r"the records say done instead of claimed, done"),
        (RACES, "TakeBackByAge", r"winners instead of 1|could not end its attempt"),
        (DRAIN, "OwnerAfterLink", r"saw a record that was not complete"),
        (DRAIN, "Textbook", r"[2-9] winners instead of 1"),
        (DRAIN, "EndWithoutNumber", r"an attempt was ended that somebody else had ended before"),
    ],
)
def test_a_planted_fault_is_found_by_the_contention_harness(tmp_path, monkeypatch, harness, taker, problem) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    found = []
    for seed in range(1, 5):  # real processes on a real machine: none of them need meet the others in time
        (tmp_path / str(seed)).mkdir()
        result = harness(tmp_path / str(seed), claimers=4, seed=seed, taker=f"support.faults:{taker}")
        found += [violation.problem for violation in result.violations]
        if any(re.search(problem, one) for one in found):
            return
    raise AssertionError(found)
