"""The durable steps of the queue, one by one, as they happen: each link, replace, unlink, fsync, mkdir and write.

A step is a call of `os` that changes files and is made by code in ``queue/``, directly or through the standard library.
Its name is the path of calls that led to it, such as ``requests.cancel>store.append>chain.append>atomic.publish>
atomic.link_once:link``: the same name is the same step in the same operation. The queue itself knows nothing of this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from parallel_loop.queue import atomic

QUEUE_FOLDER = str(Path(atomic.__file__).parent)
OPERATIONS = (
    *("link", "replace", "rename", "unlink", "rmdir", "mkdir", "fsync", "fdatasync", "sync"),
    *("write", "pwrite", "ftruncate", "open"),
)
LOOKS = ("open", "listdir", "lstat", "stat")  # what changes nothing; an `open` that makes no file is one, too


class Killed(BaseException):
    """Stands for a kill: nothing in the queue catches it."""


class Step(NamedTuple):
    """One call that is about to be made: `arguments` are those of the function `operation` of ``os``."""

    name: str
    operation: str
    arguments: tuple[Any, ...]


@contextmanager
def watched(
    before: Callable[[Step], None],
    after: Callable[[Step, Any], None] | None = None,
    folder: str = QUEUE_FOLDER,
    *,
    looks: bool = False,
) -> Iterator[None]:
    """Call `before` right before every durable step in this process, and `after` with its result right after it.

    What `before` raises takes the place of the step; it may also end the process. `folder` is where the code lies
    whose steps are meant. With `looks` the same is done for the calls that only read.
    """
    originals = {operation: getattr(os, operation) for operation in {*OPERATIONS, *(LOOKS if looks else ())}}

    def wrap(operation: str) -> Callable[..., Any]:
        original = originals[operation]

        def call(*arguments: Any, **options: Any) -> Any:
            if operation == "open" and not looks and not arguments[1] & os.O_CREAT:
                return original(*arguments, **options)
            name = _path_of_calls(folder)
            if name is None:
                return original(*arguments, **options)
            step = Step(f"{name}:{operation}", operation, arguments)
            before(step)
            result = original(*arguments, **options)
            if after is not None:
                after(step, result)
            return result

        return call

    for operation in originals:
        setattr(os, operation, wrap(operation))
    try:
        yield
    finally:
        for operation, original in originals.items():
            setattr(os, operation, original)


def _path_of_calls(folder: str) -> str | None:
    """Return the functions below `folder` that led here, the outermost first; None when the call is none of theirs."""
    names = []
    frame = sys._getframe(2)
    while frame is not None:
        name = _name_of(frame.f_code, folder)
        if name is not None:
            names.append(name)
        frame = frame.f_back
    return ">".join(reversed(names)) or None


@cache
def _name_of(code: CodeType, folder: str) -> str | None:
    path = code.co_filename
    return f"{Path(path).stem}.{code.co_name}" if path.startswith(folder) else None
