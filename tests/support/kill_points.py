"""Every operation of the queue, killed with -9 before every one of its durable steps and after the last.

Killed after a step is killed before the next: in between nothing changes on disk. Each kill is followed by recoveries
that are killed, too, or that run two at once, and by one that is not; in the end every item is done, once, and every
promise kept.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from support.operations import OPERATIONS, Deed, Worker
from support.stage import Stage, make_ready, staged
from support.stepping import Actor, Stepper
from support.torture_roles import heal_once

_ITEMS = {"a": {}, "b": {"after": ("a",)}, "c": {"role": "narrow"}, "d": {}, "e": {}}


def perform(deeds: tuple[Deed, ...], before: tuple[Deed, ...], stepper: Stepper, root: Path) -> None:
    worker = Worker(stepper, root)
    for deed in before:
        deed(worker)
    with stepper.stepped(finely=False):
        for deed in deeds:
            deed(worker)
        stepper.say("through")


def _start(stage: Stage, name: str, deeds: tuple[Deed, ...], before: tuple[Deed, ...] = ()) -> Actor:
    return stage.start(name, functools.partial(perform, deeds, before), freely=True)


def set_up(stage: Stage, name: str) -> None:
    """Do what must be there before the operation, by processes that are dead then."""
    if name == "create":
        return
    stage.add(**_ITEMS)
    for index, killed in enumerate(OPERATIONS[name].by_the_dead):
        actor = _start(stage, f"dead-{index}", killed.deeds)
        for _ in range(killed.times):
            stage.go(actor, 1)
            while killed.step not in actor.at:
                stage.go(actor, 1)
                assert actor.alive, f"dead-{index} has not come to {killed.step}"
        stage.kill(actor)


def go_to(stage: Stage, name: str, step: int) -> Actor:
    """Let a process do the operation up to its step of that number, from 0, or to its end if it has none."""
    actor = _start(stage, "victim", (OPERATIONS[name].run,), OPERATIONS[name].before)
    stage.go(actor, step + 1)
    return actor


def kill_everywhere(name: str, *, every_recovery: bool, but: Container[str] = ()) -> Iterator[str]:
    """Yield the steps of the operation, one after the other, when a kill there was survived, or when it is in `but`.

    Each kill is followed by a recovery that is killed, at another step each time or, if `every_recovery`, at all.
    """
    with staged() as first:
        set_up(first, name)
        for step in itertools.count():
            for recovery_step in itertools.count() if every_recovery else (step,):
                with staged(first) as stage:
                    victim = go_to(stage, name, step)
                    if not victim.alive:
                        return
                    if victim.at in but:
                        break
                    stage.kill(victim)
                    recovery = stage.start("recovery", heal_once, freely=True)
                    stage.go(recovery, recovery_step + 1)
                    last = not recovery.alive
                    stage.finish()
                if last:
                    break
            yield victim.at


def recover_twice_at_once() -> Iterator[str]:
    """Yield the steps of a recovery of what many dead have left, having stopped it there while another ran whole."""
    with staged() as first:
        set_up(first, "heal")
        for step in itertools.count():
            with staged(first) as stage:
                one = go_to(stage, "heal", step)
                if not one.alive:
                    return
                name = one.at
                other = stage.start("other", heal_once, freely=True)
                stage.go(other)
                while other.alive:  # it waits for a lock that the first one has
                    stage.go(one, 1)
                    stage.go(other)
                if one.alive:
                    stage.go(one)
                stage.finish()
            yield name


def main(how: str = "all", *names: str) -> int:
    """Kill all operations, or those named, at all steps, and `all` recoveries from that at all of theirs.

    `how` may be `once`: at each step only in the first operation that has it, and each recovery once.
    """
    make_ready()
    killed: set[str] = set()
    for name in names or OPERATIONS:
        steps = list(kill_everywhere(name, every_recovery=how == "all", but=killed if how == "once" else ()))
        killed.update(steps)
        _say(f"{name}: killed at {len(steps)} steps")
    _say(f"two recoveries at once: stopped at {len(list(recover_twice_at_once()))} steps")
    for step in sorted({step.rpartition(">")[2] for step in killed}):
        _say(f"reached {step}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
