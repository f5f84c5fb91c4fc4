"""What the lander says about the target: a file, so that status need not ask git."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..harness.state import read_record
from ..queue import atomic

LANDER = "landing"  # the lander's name among the agents' directories and worktrees
_FILE = "target.json"


class RemoteReport(msgspec.Struct, frozen=True):
    """How the target's remote stands: the commit of ours that it has, and what keeps it from getting more."""

    name: str
    pushed: str | None = None
    blocked: str | None = None
    next: str | None = None


class TargetReport(msgspec.Struct, frozen=True):
    """How the target stands: what keeps it from following the landing branch, and what to do about it."""

    name: str
    landed: str
    blocked: str | None = None
    next: str | None = None
    remote: RemoteReport | None = None


def read_target(state_root: Path) -> TargetReport | None:
    """Return the last report, None when there is none that can be read."""
    return read_record(state_root / _FILE, TargetReport)


def write_target(state_root: Path, report: TargetReport) -> bool:
    """Write the report; False when it says nothing new."""
    if read_target(state_root) == report:
        return False
    atomic.replace_file(state_root / _FILE, msgspec.json.encode(report) + b"\n")
    return True
