"""A queue directory with stepped processes on it, and everything that was seen and heard of them."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parallel_loop.queue.clock import later
from parallel_loop.queue.store import Queue
from support.queue_journal import Line, check_journal
from support.queue_watcher import Watcher
from support.queues import START, an_item
from support.stepping import TO_THE_END, Actor, Stepper, rehearse
from support.torture_roles import ROLES, WIP, settle, tidy_all

Role = Callable[[Stepper, Path], None]


class Stage:
    """One queue in the new directory `root`. Whatever it does, AssertionError says what has gone wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.turn = 0
        self.history: list[str] = []
        self.kills: list[str] = []  # where somebody was killed: the step that did not happen
        self.actors: list[Actor] = []
        self._watcher = Watcher(root, WIP)
        self._journal: list[Line] = []

    def add(self, **items: dict[str, Any]) -> None:
        """Add items here, before anybody comes."""
        queue = Queue(self.root, durable=False, now=lambda: START)
        queue.add([an_item(item_id, **fields) for item_id, fields in items.items()])
        self._journal.append(Line("stage", " ".join(["added", *items])))

    def follow(self, other: Stage) -> None:
        """Begin where `other` is; what is one file there is one file here."""
        assert not other.living()
        made: dict[int, str] = {}

        def copy(source: str, target: str) -> None:
            first = made.setdefault(Path(source).stat().st_ino, target)
            if first is target:
                shutil.copyfile(source, target)
            else:
                os.link(first, target)

        if other.root.exists():
            shutil.copytree(other.root, self.root, copy_function=copy)
        self.turn, self.actors = other.turn, [*other.actors]
        self.history, self._journal = [*other.history], [*other._journal]

    def start(self, name: str, role: Role, *, freely: bool = False) -> Actor:
        actor = Actor(name, functools.partial(role, root=self.root), self.living(), freely=freely)
        self.actors.append(actor)
        return actor

    def living(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.alive]

    def go(self, actor: Actor, stops: int = TO_THE_END) -> None:
        """Let it pass so many stops; then look at the files if there is news."""
        self.turn += 1
        before = actor.at
        try:
            actor.go(stops, self.turn)
        finally:
            self._note(actor, f"{before} … {actor.at if actor.alive else 'the end'}")
        if not actor.blocked:
            self._unblock()
        if actor.heard or not actor.alive:
            self._watcher.look()
        for text in actor.heard:
            self._note(actor, f"says: {text}")
            self._journal.append(Line(actor.name, text))
        actor.heard.clear()

    def kill(self, actor: Actor) -> None:
        self.turn += 1
        self._note(actor, f"is killed before {actor.at}")
        self.kills.append(actor.at)
        actor.kill(self.turn)
        self._unblock()
        self._watcher.look()

    def _unblock(self) -> None:
        for actor in self.actors:
            actor.blocked = False

    def _note(self, actor: Actor, text: str) -> None:
        self.history.append(f"{self.turn:4} {actor.name}: {text}")

    def finish(self) -> None:
        """Kill who is left, let one process recover and do all, compare all promises with the files, and tidy."""
        for actor in self.living():
            self.kill(actor)
        last = self.start(f"settle-{len(self.actors)}", settle, freely=True)
        self.go(last)
        assert not last.alive, f"{last.name} waits for ever: {last.at}"
        self._watcher.look_closely()
        ended = {actor.name: later(START, actor.ended_at * 1e-3) for actor in self.actors if actor.ended_at is not None}
        check_journal(self._journal, self._watcher, ended)
        self._watcher.check_recovered()
        self.go(self.start(f"tidy-{len(self.actors)}", tidy_all, freely=True))
        self._watcher.look_closely()
        self._watcher.check_tidied()


@contextmanager
def staged(like: Stage | None = None) -> Iterator[Stage]:
    """Give a stage in memory, where there is such a place (losing power is not the subject), and clear it away.

    `like`: one on which the same has happened as on that one, where nobody may live.
    """
    root = Path(tempfile.mkdtemp(prefix="torture-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    stage = Stage(root / "queue")
    if like is not None:
        stage.follow(like)
    try:
        yield stage
    finally:
        for actor in stage.living():
            actor.kill(stage.turn)
        shutil.rmtree(root)


def make_ready(roles: Iterable[Role] = (*ROLES.values(), settle, tidy_all)) -> None:
    """Do what would otherwise be done again in every process: fill caches, and leave the garbage where it is."""
    with staged() as stage:
        for role in roles:
            rehearse(functools.partial(role, root=stage.root))
    gc.collect()
    gc.freeze()
    gc.disable()
