"""A log, of a command or a process of ours: bounded, and its end as text that is safe to print.

Guarantees: what a program puts in a log's place is neither followed, as a link to a file elsewhere would be, nor
waited for, as a pipe would be.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from ..queue import atomic

MAX_LOG_BYTES = 20_000_000
_WHILE_IT_RUNS = 10  # times MAX_LOG_BYTES may be there before the middle goes
_MOST_CATCHING_UP = 100  # reads while a command prints faster than the end of its output can be read
_CUT = b"\n[... the middle of the output was left out here by parallel-loop ...]\n"
_TAIL_BYTES = 8192
_TAIL_LINES = 20
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to. Raises OSError, also when something else is in its place."""
    descriptor = atomic.open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "ab", buffering=0)


def note_end(path: Path, words: str) -> None:
    """Write how a command ended below what it printed. That is a remark: without room it is left out."""
    with contextlib.suppress(OSError), open_log(path) as log:
        log.write(f"\n== {words}\n".encode(errors="replace"))


def bound_log(path: Path, *, while_it_runs: bool = False) -> tuple[int, int]:
    """Cut the middle out of a log that is longer than MAX_LOG_BYTES; its beginning and end say most.

    Return where its end begins now, and how many bytes are gone before that; (0, 0) when nothing was cut.

    A command that runs goes on writing: it appends, so what it writes next goes to the new end, but what it writes
    between the last read and the cut is lost. So that is done late, and its very end is cut only when it is over.
    """
    try:
        size = path.lstat().st_size
        if size <= MAX_LOG_BYTES * (_WHILE_IT_RUNS if while_it_runs else 1):
            return 0, 0
        with os.fdopen(atomic.open_own(path, os.O_RDWR), "r+b") as log:
            log.seek(size - MAX_LOG_BYTES // 2)
            end = log.read(MAX_LOG_BYTES // 2)
            for _ in range(_MOST_CATCHING_UP):
                more = log.read(MAX_LOG_BYTES // 2)
                if not more:
                    break
                end = (end + more)[-MAX_LOG_BYTES // 2 :]
            begin = log.tell() - len(end)
            log.truncate(MAX_LOG_BYTES // 4)
        with open_log(path) as log:
            log.write(_CUT + end)
        now_begin = MAX_LOG_BYTES // 4 + len(_CUT)
        return now_begin, begin - now_begin
    except OSError:
        return 0, 0  # the program removed or replaced it, or the disk is full: no reason to stop the work


def output_tail(path: Path, since: int = 0) -> str:
    """Return the last lines that were written to `path` after offset `since`, safe to print."""
    try:
        with os.fdopen(atomic.open_own(path, os.O_RDONLY), "rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = since if since <= size else 0  # the log was cut meanwhile
            log.seek(max(begin, size - _TAIL_BYTES))
            data = log.read(_TAIL_BYTES)
    except OSError:
        return ""
    return plain(data.decode(errors="replace"))


def plain(text: str) -> str:
    """Return the last lines of `text` without what moves a cursor or colours; of a progress bar, how it ended."""
    lines = _ESCAPE_SEQUENCE.sub("", text).split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    clean = ["".join(c for c in line if c.isprintable() or c == "\t").rstrip() for line in shown]
    return "\n".join("\n".join(clean).strip().split("\n")[-_TAIL_LINES:])
