"""Made-up workers and landers: what they claim and record is real, what their programs do is a matter of chance."""

from __future__ import annotations

import os

from parallel_loop.harness.configuration.settings import Config
from parallel_loop.queue.clock import seconds_until
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.taking import Claim, Taker
from support.virtual.bodies import Body
from support.virtual.world import Leftover

_LOOK_AGAIN_SECONDS = 150.0


class WorkerBody(Body):
    """A worker."""

    claim: Claim | None = None

    def begin(self, config: Config) -> None:
        wip = {name: role.wip for name, role in config.roles.items() if role.wip is not None}
        self._taker = Taker(self.queue, Owner(self.name, self.pid, self.started, "virtual"), wip)
        retry = config.retry
        self._policy = RetryPolicy(retry.attempts, retry.first_seconds, retry.factor, retry.max_seconds)

    def look(self) -> None:
        if self.claim is not None:
            return
        if self.finishing:
            self.end(0)
            return
        if self.paused:
            return
        self.claim = self._taker.take()
        if self.claim is not None:
            self.schedule(self.world.chance.expovariate(1 / 240), self.finish)
            return
        due = seconds_until(self._taker.next_due, self.queue.now()) + 0.001
        if due > _LOOK_AGAIN_SECONDS:
            self._taker.look_again()
        self.look_in(min(due, _LOOK_AGAIN_SECONDS))

    def finish(self) -> None:
        """The program has ended."""
        claim = self.claim
        assert claim is not None
        luck, at = self.world.chance.random(), self.queue.now()
        record = Record(kind="landing" if luck < 0.8 else "done", at=at, agent=self.name, commit="c")
        if luck > 0.9:
            failure = Record(kind="released", at=at, agent=self.name, outcome="failed")
            record = self._policy.after_failure(claim.entry, failure)
        self._record(record)
        self.done += 1
        self.schedule(0.01, self.look)

    def _record(self, record: Record) -> None:
        claim, self.claim = self.claim, None
        if claim is not None and not self._taker.end(claim, record):
            self.queue.note_abandoned(claim.item.id)

    def give_back(self) -> None:
        self._record(
            Record(kind="released", at=self.queue.now(), agent=self.name, outcome="interrupted", counted=False)
        )

    def end(self, code: int) -> None:
        if self.has_spoken:
            self._taker.close()
        super().end(code)

    def die(self, code: int) -> None:
        if self.has_spoken:  # what the kernel does: close, and unlink nothing
            for descriptor in (*self._taker._marker._descriptors, self._taker._held._descriptor):
                os.close(descriptor)
            for place in self._taker._places.values():
                place.abandon()
        if self.claim is not None:
            self.queue.note_death(self.claim)
            self.world.leftovers.add(Leftover(self.name, self.claim.item.id, self.generation))
        super().die(code)


class LanderBody(Body):
    """The lander."""

    _landing: str | None = None

    def look(self) -> None:
        if self._landing is not None:
            return
        for item_id in () if self.finishing else self.queue.hints.landing():
            entry = self.queue.entry(item_id)
            if entry is not None and entry.last_is("landing"):
                self._landing = item_id
                self.schedule(self.world.chance.uniform(0.5, 20.0), self.land)
                return
            self.queue.hints.unmark_landing(item_id)
        if self.finishing:
            self.end(0)
        else:
            self.look_in(_LOOK_AGAIN_SECONDS)

    def land(self) -> None:
        item_id, self._landing = self._landing, None
        assert item_id is not None
        entry = self.queue.entry(item_id)
        if entry is not None and entry.last_is("landing"):
            self.queue.append(entry, Record(kind="done", at=self.queue.now(), agent=self.name, commit="c"))
        self.queue.hints.unmark_landing(item_id)
        self.done += 1
        self.look()
