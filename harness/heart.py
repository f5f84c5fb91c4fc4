"""The worker's heartbeat file: who it is, what it does, when the work last moved."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec

from ..queue import atomic
from ..queue.clock import utc_now
from .diagnose import Verdict
from .identity import own_identity
from .keeping.tree import look_at
from .shortage import Lack
from .state import AgentDirectory, Heartbeat
from .watch import Watch

_log = logging.getLogger(__name__)
_LEAST_CPU_SECONDS = 1.0
_LONGEST_SECONDS = 1800.0  # three times what one git command may take; what takes longer hangs


class Seen(NamedTuple):
    """What a worker sees of the command that it runs."""

    verdict: Verdict
    progress_age_seconds: float
    memory_bytes: int
    cpu_seconds: float
    processes: int

    @classmethod
    def of(cls, watch: Watch) -> Seen:
        work, usage = watch.work, watch.usage
        progress_age_seconds = min(work.output_age_seconds, work.change_age_seconds)
        return cls(watch.verdict, progress_age_seconds, *(usage if usage is not None else (0, 0.0, 0)))


class Heart:
    """Writes the heartbeat of one worker, every `interval_seconds` or when something changes."""

    def __init__(
        self, agent: AgentDirectory, interval_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        identity = own_identity()
        self._path = agent.heartbeat
        self._interval_seconds = interval_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._seen: Seen | None = None
        own = look_at(os.getpid())
        self._cpu_mark = (monotonic(), own.cpu_seconds if own is not None else 0.0)
        self._beat = Heartbeat(
            agent=agent.name,
            pid=identity.pid,
            process_start=identity.process_start,
            boot=identity.boot,
            at=utc_now(),
            beat=monotonic(),
            state="starting",
            since=utc_now(),
        )

    def tell(self, state: str, **details: object) -> None:
        """Say that the worker is in `state` from now on; `details` are further fields of the heartbeat."""
        _log.debug("%s: %s", self._beat.agent, state)
        with self._lock:
            self._seen = None
            self._write(msgspec.structs.replace(self._beat, state=state, since=utc_now(), **details))

    def rest(self, *, done: int = 0, failed: int = 0) -> None:
        """Say that the worker has no item in hand, and count what came of the last one."""
        self.tell(
            _at_rest(self._beat.hindrance),
            item=None,
            attempt=None,
            role=None,
            program=None,
            progress=None,
            done=self._beat.done + done,
            failed=self._beat.failed + failed,
        )

    def beat(self, seen: Seen | None = None) -> None:
        """Say that the worker lives, and what it sees of its command, unless it said so a moment ago."""
        now = self._monotonic()
        with self._lock:
            before, self._seen = self._seen, seen
            news = seen is not None and before is not None and seen.verdict != before.verdict
            if news or now - self._beat.beat >= self._interval_seconds:
                self._write(self._beat)

    def hinder(self, lack: Lack | None) -> None:
        """Say that this is lacking, or that nothing is any more; only what is new is said."""
        with self._lock:
            before, state = self._beat.hindrance, self._beat.state
            if lack == before or (lack is not None and lack.is_like(before)):
                return
            if state == _at_rest(before):
                state = _at_rest(lack)
            self._write(msgspec.structs.replace(self._beat, hindrance=lack, state=state))

    @property
    def seconds_until_beat(self) -> float:
        """For how long nothing has to be said."""
        return max(0.0, self._beat.beat + self._interval_seconds - self._monotonic())

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat while the block runs, which waits for git and cannot beat by itself; half an hour at most."""
        over = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(over,), daemon=True)
        with suppress(RuntimeError):  # no thread is to be had; the block itself will find that out, if it matters
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.ident is not None:
                thread.join()

    def _beat_until(self, over: threading.Event) -> None:
        end = self._monotonic() + _LONGEST_SECONDS
        while not over.wait(self._interval_seconds) and self._monotonic() < end:
            self.beat()

    def _write(self, beat: Heartbeat) -> None:
        self._beat = msgspec.structs.replace(beat, at=utc_now(), beat=self._monotonic(), **self._measures())
        data = msgspec.json.encode(self._beat)
        try:
            atomic.replace_file(self._path, data)
            self._keep_open()
        except OSError:
            # Want of room must not stop the work, nor have the worker taken for silent, nor keep it from saying so.
            if not self._write_in_place(data):
                with suppress(OSError):  # a file's time can be set even where nothing else can
                    os.utime(self._path, (self._beat.beat, self._beat.beat))

    def _keep_open(self) -> None:
        """Keep the file open: what it takes up on the disk can be written to again when nothing else is to be had."""
        descriptor = atomic.open_own(self._path, os.O_RDWR)
        if self._descriptor is None:
            self._descriptor = descriptor
            weakref.finalize(self, os.close, self._descriptor)
            return
        try:
            os.dup2(descriptor, self._descriptor, inheritable=False)
        finally:
            os.close(descriptor)

    def _write_in_place(self, data: bytes) -> bool:
        """Overwrite the file that is there; a reader that comes in the middle of it looks again."""
        if self._descriptor is None:
            return False
        try:
            status = os.fstat(self._descriptor)
            if not os.path.samestat(status, os.lstat(self._path)):
                return False
            return os.pwrite(self._descriptor, data.ljust(status.st_size), 0) >= len(data)
        except OSError:
            return False

    def _measures(self) -> dict[str, object]:
        """Return what the worker and its command use, and how its work looks."""
        now, seen, own = self._monotonic(), self._seen, look_at(os.getpid())
        if own is None:
            return {}
        cpu_seconds = own.cpu_seconds + (seen.cpu_seconds if seen else 0.0)
        since, before = self._cpu_mark
        percent = self._beat.cpu_percent
        if now - since >= _LEAST_CPU_SECONDS:  # over a shorter time it says nothing
            self._cpu_mark = (now, cpu_seconds)
            percent = round(100 * max(0.0, cpu_seconds - before) / (now - since), 1)
        return {
            "rss_bytes": own.rss_bytes + (seen.memory_bytes if seen else 0),
            "cpu_percent": percent,
            "work": seen.verdict if seen else None,
            **({"progress": round(now - seen.progress_age_seconds, 3)} if seen else {}),
        }


def _at_rest(lack: Lack | None) -> str:
    """Return the state of a worker that has no item in hand: while something is lacking, it takes none."""
    return "idle" if lack is None else "held"
