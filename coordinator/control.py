"""Speaking to the running coordinator: the wanted state is a file, which it reads when the bell rings.

A file rather than signals or a socket: it can be read with cat, it works over long paths, and no process
id can be mistaken.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from ..harness.configuration.settings import MAX_AGENTS
from ..harness.project import Project
from ..harness.state import Heartbeat, StateDirectory, read_record
from ..queue import atomic
from ..queue.requests import Refused
from .lock import Holder, read_holder
from .survivors import describe, survivors

Ending = Literal["", "finish", "stop"]
_PATIENCE_SECONDS = 1.0  # a coordinator that has just started has not written who it is yet


class Wanted(msgspec.Struct, frozen=True):
    """What a person wants of the coordinator: how many agents, whether they take items, whether it is to end."""

    agents: Annotated[int, msgspec.Meta(ge=1, le=MAX_AGENTS)]
    paused: bool = False
    ending: Ending = ""


class NotRunning(Exception):
    """There is no coordinator to speak to."""

    def __init__(self, left: Sequence[Heartbeat] = ()) -> None:
        """`left` are the workers that outlived the last one."""
        also = f". {describe(left)}" if left else ""
        super().__init__(f"no coordinator runs in this repository; start one with `parallel-loop run`{also}")
        self.left = left


def read_wanted(state: StateDirectory) -> Wanted | None:
    """Return the wanted state, None when nobody has written one that can be read."""
    return read_record(state.wanted, Wanted)


def write_wanted(state: StateDirectory, wanted: Wanted) -> None:
    atomic.replace_or_overwrite(state.wanted, msgspec.json.encode(wanted) + b"\n")


def request(
    project: Project, *, agents: int | None = None, paused: bool | None = None, ending: Ending | None = None
) -> Holder:
    """Ask the running coordinator for something and return who it is. Raises NotRunning, Refused."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        holder = read_holder(project.state.coordinator_lock)
        wanted = read_wanted(project.state)
        if holder is not None and wanted is not None:
            break
        if holder is None or time.monotonic() > deadline:
            raise NotRunning(survivors(project.state) if holder is None else ())
        time.sleep(0.02)
    if wanted.ending and not ending:
        raise Refused(
            f"the coordinator (pid {holder.pid}) is ending; when it has, start again with `parallel-loop run`"
        )
    changes = {"agents": agents, "paused": paused, "ending": ending}
    changed = msgspec.structs.replace(wanted, **{key: value for key, value in changes.items() if value is not None})
    write_wanted(project.state, changed)
    project.queue.bell.ring()
    return holder
