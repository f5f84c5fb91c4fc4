"""Watching a command while it runs: what it prints, what it uses, what it changes. Evidence for `diagnose`."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ..queue import atomic
from .diagnose import MOST_IDLE_CALLS, Patience, Verdict, Work, judge_work
from .footprint import Footprint, footprint
from .keeping.bounds import Bounds
from .keeping.kept import Excess, Usage
from .telling import Telling

_MOST_BYTES = 65_536  # of new output are read at a look: the end of it tells enough
_REMEMBERED_LINES = 1000  # a loop whose round prints more passes for news
# A runtime that waits for an answer still wakes up: opencode uses 1.5 % of a core, in steps of up to 0.08 s.
_IDLE_CORES = 0.03
_LEAST_CPU_SECONDS = 0.1
_CPU_WINDOW_SECONDS = 30.0
_SLACK_SECONDS = 2.0  # by so much a look may come late without anybody calling it a gap
_FIRST_SECONDS = 5.0  # until then the worktree is not looked at: most commands are over
_SELDOM_SECONDS = 300.0  # between looks at the whole worktree when nothing asks for one


class Watch:
    """What is known of one command. `look` is called several times a second, with what its keeper said last."""

    def __init__(
        self,
        log: Path,
        worktree: Path,
        bounds: Bounds,
        patience: Patience,
        telling: Telling | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worktree, self._bounds, self._patience = worktree, bounds, patience
        self._monotonic, self._telling = monotonic, telling or Telling()
        now = monotonic()
        self._last_look = now
        self._output_at = self._news_at = self._cpu_at = self._change_at = now
        self._output = _Output(log)
        self._cpu_mark = (now, 0.0)
        self._footprint: Footprint | None = None
        self._footprint_at = now
        self._free_bytes = _free_bytes(worktree)
        self.usage: Usage | None = None
        self.excess: Excess | None = None

    def look(self, usage: Usage | None, excess: Excess | None) -> None:
        """Take in what there is to see now."""
        now = self._monotonic()
        self._forgive(now)
        self.usage, self.excess = usage, excess or self.excess
        self._telling.look(now)
        new, news = self._output.read()
        if new:
            self._output_at = now
        if news:
            self._news_at = now
        if usage is not None:
            self._note_cpu(now, usage.cpu_seconds)
        if self._has_to_look_at_files(now):
            self._note_files(now)

    @property
    def verdict(self) -> Verdict:
        return judge_work(self.work, self._patience)

    @property
    def work(self) -> Work:
        now = self._last_look
        return Work(
            output_age_seconds=now - self._output_at,
            news_age_seconds=now - self._news_at,
            cpu_age_seconds=now - self._cpu_at,
            change_age_seconds=now - self._change_at,
            repeated_lines=self._output.repeated_lines,
            wait_seconds=self._telling.wait_seconds(now),
            over=self.excess is not None,
            tool_open=self._telling.tool_open,
            idle_calls=self._telling.idle_calls,
            circles=self._telling.circles,
        )

    def _forgive(self, now: float) -> None:
        """Move all marks on by the time in which we did not run ourselves: nobody is blamed for that."""
        gap = now - self._last_look - _SLACK_SECONDS
        self._last_look = now
        if gap > 0:
            self._output_at += gap
            self._news_at += gap
            self._cpu_at += gap
            self._change_at += gap
            self._cpu_mark = (self._cpu_mark[0] + gap, self._cpu_mark[1])

    def _note_cpu(self, now: float, cpu_seconds: float) -> None:
        since, before = self._cpu_mark
        if cpu_seconds - before > max(_LEAST_CPU_SECONDS, _IDLE_CORES * (now - since)):
            self._cpu_at, self._cpu_mark = now, (now, cpu_seconds)
        elif now - since > _CPU_WINDOW_SECONDS:
            self._cpu_mark = (now, cpu_seconds)

    # --- files ----------------------------------------------------------------------------------------

    def _has_to_look_at_files(self, now: float) -> bool:
        """The whole worktree is looked at only when it may matter: that is a walk through all its files."""
        since = now - self._footprint_at
        if self._footprint is None:
            return since > _FIRST_SECONDS
        if self._telling.idle_calls >= MOST_IDLE_CALLS:
            return True
        if since > _SELDOM_SECONDS:
            return True
        longest = self._patience.no_progress_seconds
        work = self.work
        stands = min(work.output_age_seconds, work.cpu_age_seconds, work.change_age_seconds) > longest / 2
        if since > longest / 10 and (stands or work.news_age_seconds > longest / 2):
            return True
        return since > 1 and self._may_have_grown_too_large()

    def _may_have_grown_too_large(self) -> bool:
        """Whether the disk has lost as much as the worktree had left."""
        assert self._footprint is not None
        allowed = self._bounds.worktree_bytes
        return bool(allowed) and self._free_bytes - _free_bytes(self._worktree) >= allowed - self._footprint.bytes

    def _note_files(self, now: float) -> None:
        before, self._footprint = self._footprint, footprint(self._worktree)
        self._footprint_at, self._free_bytes = self._monotonic(), _free_bytes(self._worktree)
        if before is not None and before != self._footprint:
            self._change_at = now
            self._telling.note_change()
        if 0 < self._bounds.worktree_bytes < self._footprint.bytes and self.excess is None:
            self.excess = Excess("worktree", self._footprint.bytes)


class _Output:
    """What a command prints, as far as it says whether that is news."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._size = _size(log)
        self._rest = b""
        self._seen: OrderedDict[int, None] = OrderedDict()
        self.repeated_lines = 0

    def read(self) -> tuple[bool, bool]:
        """Return whether there is new output, and whether it says something new."""
        size, before = _size(self._log), self._size
        self._size = size
        if size == before:
            return False, False
        if size < before:  # cut by us, or by the program
            return True, False
        return True, self._is_news(before, size)

    def _is_news(self, begin: int, end: int) -> bool:
        """Compare what was printed with what was before; what comes faster than we look is known by its end."""
        skipped = end - begin > _MOST_BYTES
        try:
            with os.fdopen(atomic.open_own(self._log, os.O_RDONLY), "rb") as log:
                log.seek(end - _MOST_BYTES if skipped else begin)
                data = log.read(_MOST_BYTES)
        except OSError:
            return True
        *lines, self._rest = (data if skipped else self._rest + data).split(b"\n")
        if not lines:  # dots, or a line that moves
            return True
        news = [line for line in lines[int(skipped) :] if self._is_new(line)]
        self.repeated_lines = 0 if news else self.repeated_lines + len(lines)
        return bool(news)

    def _is_new(self, line: bytes) -> bool:
        name = hash(line)
        known = name in self._seen
        self._seen[name] = None
        self._seen.move_to_end(name)
        if len(self._seen) > _REMEMBERED_LINES:
            self._seen.popitem(last=False)
        return not known


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free_bytes(path: Path) -> int:
    try:
        status = os.statvfs(path)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize
