"""What holds the processes of an attempt together, so that all of them can be ended: the best that this machine has.

A keeper always does (keeper.py). Where a control group was delegated to us, the kernel does it as well: it ends a group
in one step, and it enforces the limits itself instead of having them looked after.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator
from dataclasses import replace

import msgspec

from ...queue import atomic
from ..identity import boot_id
from ..state import AgentDirectory, StateDirectory, read_record
from . import cgroup
from .bounds import Bounds

_names = itertools.count()


class Containment(msgspec.Struct, frozen=True, omit_defaults=True):
    """How processes are held together, as the coordinator found out. `base`: the folder of the control groups."""

    boot: str
    base: str = ""
    controllers: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say it in a few words."""
        if not self.base:
            return "keepers"
        if not self.controllers:
            return "keepers and control groups"
        return f"keepers and control groups with {', '.join(self.controllers)}"


def find_out(state: StateDirectory) -> Containment:
    """Find out what there is, and write it down for the workers. Moves this process to a group of its own, if alone."""
    base = cgroup.open_base(str(state.root)) or ""
    found = Containment(boot_id(), base, cgroup.controllers_of(base) if base else ())
    with contextlib.suppress(OSError):
        atomic.replace_file(state.containment, msgspec.json.encode(found))
    return found


def what_there_is() -> Containment:
    """Tell what a coordinator that is started here would find out; nothing is changed."""
    group = cgroup.own_group()
    if group is None or not cgroup.is_delegated(group):
        return Containment(boot_id())
    return Containment(boot_id(), group, cgroup.controllers_of(group))


def read_containment(state: StateDirectory) -> Containment | None:
    """Return what the last coordinator found out, None when that was before the machine was started.

    None, too, where the groups are not those of this directory: it may be a copy, or have been moved.
    """
    found = read_record(state.containment, Containment)
    if found is None or found.boot != boot_id():
        return None
    is_ours = not found.base or found.base.rpartition("/")[2] == cgroup.base_name(str(state.root))
    return found if is_ours else None


@contextlib.contextmanager
def held(state: StateDirectory, agent: AgentDirectory, bounds: Bounds) -> Iterator[Bounds]:
    """Give the bounds with a control group for one command of the agent, if there can be one; end it afterwards."""
    found = read_containment(state)
    group = None
    if found is not None and found.base:
        path = f"{found.base}/{agent.name}.{os.getpid()}.{next(_names)}"
        group = cgroup.Cgroup.make(
            path, memory_bytes=bounds.memory_bytes, processes=bounds.processes, cores=bounds.cores
        )
    if group is None:
        yield bounds
        return
    # The kernel gives shares of processors to groups with that controller; then nobody has to be kept to some.
    has_cpu = found is not None and "cpu" in found.controllers
    try:
        yield replace(bounds, group=group.path, cpus=() if has_cpu else bounds.cpus)
    finally:
        group.remove()


def let_go(state: StateDirectory) -> None:
    """Remove the folder of the groups when a run is over and nothing runs in any."""
    found = read_containment(state)
    if found is not None and found.base:
        cgroup.close_base(found.base)


def end_groups(state: StateDirectory, owners: Collection[str]) -> None:
    """End and remove the groups that `owners` left behind, whatever runs there.

    An owner is an agent without a worker (`agent-1`), or a dead worker of one (`agent-1.4711`): its place may have
    another one by now.
    """
    found = read_containment(state)
    if found is not None and found.base:
        for group in cgroup.groups_below(found.base):
            agent, pid, _ = f"{group.path.rpartition('/')[2]}..".split(".", 2)
            if agent in owners or f"{agent}.{pid}" in owners:
                group.remove()
