"""Processes that go on only when they are told to: a real one for each actor, of which one runs at a time.

An actor is a forked process. It stops before every durable step of the queue, before every look, in the middle of
every link (between finding the source and making the name: `link(2)` is not atomic on its source, and here that can be
seen), where a lock is held by another, and before it says something. There it waits until the scheduler lets it go on
or kills it with -9. So who does what when is decided by the scheduler alone, and the same decisions give the same
history: process ids and the bytes of times in the bell differ, nothing that the queue decides by.

Time is the scheduler's too: an actor's clock shows the turn that it was given. Random names are made from the actor's.
"""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import select
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from parallel_loop.queue import markers
from parallel_loop.queue.clock import later
from support.queues import START
from support.steps import Step, watched

_GO = struct.Struct("<IQ")  # how many stops to pass, and the turn
_LONGEST_MESSAGE = 10_000
TO_THE_END = 2**32 - 1
_real_stat = os.stat  # the one in `os` may be a stop
Body = Callable[["Stepper"], None]


class Stepper:
    """The side of the actor: its clock, what it says, and its stops."""

    def __init__(self, name: str, connection: socket.socket) -> None:
        self.name = name
        self._connection = connection
        self._to_pass = 0
        self._turn = 0
        self._readings = 0
        self._waited_seconds = 0.0
        self._step = ""

    def now(self) -> str:
        """The time of this turn, each reading a microsecond later than the one before."""
        self._readings += 1
        return later(START, self._waited_seconds + self._turn * 1e-3 + self._readings * 1e-6)

    def let_pass(self, seconds: float) -> None:
        """Be so much later from now on."""
        self._waited_seconds += seconds

    def say(self, text: str) -> None:
        """Tell the scheduler; a kill right before is the last that the operation before it can meet."""
        self.stop(f"said {text.partition(' ')[0]}")
        self._connection.send(b"!" + text.encode())

    def stop(self, name: str, kind: bytes = b"?") -> None:
        """Wait here for the next turn, unless this one goes on."""
        if self._to_pass == 0 or kind != b"?":
            self._connection.send(kind + name.encode())
            self._to_pass, self._turn = _GO.unpack(self._connection.recv(_GO.size))
            self._readings = 0
        self._to_pass -= 1

    @contextmanager
    def stepped(self, *, finely: bool = True) -> Iterator[None]:
        """Stop before every durable step of the queue, and instead of waiting for a lock.

        `finely` also before every look, at every lock, and in every link: where others can come in between.
        """
        real_flock, real_link, real_sleep = fcntl.flock, os.link, time.sleep
        fcntl.flock = self._flock(real_flock, finely=finely)
        time.sleep = lambda _: self.stop("lock, held by another", b"~")  # the queue sleeps for nothing else
        if finely:
            os.link = self._link(real_link, os.open)
        try:
            with watched(self._before, looks=finely):
                yield
        finally:
            fcntl.flock, os.link, time.sleep = real_flock, real_link, real_sleep

    def _flock(self, real: Callable[[int, int], None], *, finely: bool) -> Callable[[int, int], None]:
        def flock(descriptor: int, how: int) -> None:
            if finely:
                self.stop("flock")
            while True:
                try:
                    return real(descriptor, how | fcntl.LOCK_NB)
                except BlockingIOError:
                    if how & fcntl.LOCK_NB:
                        raise
                    self.stop("flock, held by another", b"~")

        return flock

    def _link(self, real: Callable[..., None], real_open: Callable[..., int]) -> Callable[..., None]:
        def link(source: str, target: str, **options: Any) -> None:
            if options:
                return real(source, target, **options)
            found = real_open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self.stop(f"{self._step}, source found")
                return real(f"/proc/self/fd/{found}", target, src_dir_fd=found, follow_symlinks=True)
            finally:
                os.close(found)

        return link

    def _before(self, step: Step) -> None:
        self._step = step.name
        if step.operation != "mkdir" or not _exists(step.arguments[0]):  # making what is there changes nothing
            self.stop(step.name)

    def take_over(self) -> None:
        """Let time and chance in this process be the scheduler's."""
        chance = random.Random(self.name)
        secrets.token_hex = lambda size=32: chance.randbytes(size or 32).hex()  # type: ignore[assignment]
        markers.utc_now = self.now
        os.sync = lambda: None  # whole machines wait for it, and losing power is not the subject here


class Actor:
    """The side of the scheduler: one forked process that runs `body`, stopped at its beginning."""

    def __init__(self, name: str, body: Body, others: list[Actor], *, freely: bool = False) -> None:
        """`others` are those whose connections the new process must not keep; `freely` makes it stop nowhere."""
        self.name = name
        self.heard: list[str] = []  # since it was last asked
        self.at = "start"
        self.blocked = False
        self.alive = True
        self.ended_at: int | None = None  # the turn after which it can have done nothing
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._connection.close()
            for other in others:
                other._connection.close()
            _run(Stepper(name, theirs), body, freely=freely)
        theirs.close()

    def go(self, stops: int, turn: int) -> None:
        """Let it pass so many stops, and wait until it is stopped again or has ended."""
        if self.at == "start":
            self._hear(turn)
        self._connection.send(_GO.pack(stops, turn))
        self._hear(turn)

    def let_run(self, turn: int) -> None:
        """Let it go on without waiting for it; for one that stops nowhere."""
        self._hear(turn)
        self._connection.send(_GO.pack(TO_THE_END, turn))

    def has_ended(self) -> bool:
        """Hear what it has said since, without waiting for more."""
        while self.alive and select.select([self._connection], [], [], 0)[0]:
            self._hear(0, most=1)
        return not self.alive

    def _hear(self, turn: int, most: int = TO_THE_END) -> None:
        """Hear it until it stops or ends, or has said so many things."""
        for _ in range(most):
            message = self._connection.recv(_LONGEST_MESSAGE)
            kind, text = message[:1], message[1:].decode()
            if kind == b"!":
                self.heard.append(text)
                continue
            if kind in {b"?", b"~"}:
                self.at, self.blocked = text, kind == b"~"
                return
            self._bury(turn)
            if kind != b".":
                raise AssertionError(f"{self.name} failed:\n{text or 'it has vanished'}")
            return

    def kill(self, turn: int) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._bury(turn)

    def _bury(self, turn: int) -> None:
        os.waitpid(self.pid, 0)  # its locks are free before this returns
        self._connection.close()
        self.alive, self.ended_at = False, turn


def _exists(path: str) -> bool:
    try:
        _real_stat(path)
    except FileNotFoundError:
        return False
    return True


def rehearse(body: Body) -> None:
    """Run `body` here, in no other process and without a stop."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(_GO.pack(TO_THE_END, 0))
        stepper = Stepper("rehearsal", theirs)
        with stepper.stepped():
            body(stepper)


def _run(stepper: Stepper, body: Body, *, freely: bool) -> None:
    """Be the actor, and never return into the scheduler's code."""
    connection: Any = stepper._connection
    try:
        stepper.take_over()
        stepper.stop("start")
        if freely:
            body(stepper)
        else:
            with stepper.stepped():
                body(stepper)
        connection.send(b".")
    except BaseException:  # noqa: BLE001 (told to the scheduler, who fails)
        connection.send(b"#" + traceback.format_exc()[-_LONGEST_MESSAGE:].encode())
    finally:
        os._exit(0)
