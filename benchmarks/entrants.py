"""All that is compared, by name; ours first."""

from __future__ import annotations

import importlib.util

from homemade import JsonFlock, PlainSqlite, RelaxedSqlite
from peers import Litequeue, PersistQueue
from removing import DiskcacheDeque, HueyFile, HueySqlite
from systems import ParallelLoop, System

ALL: tuple[System, ...] = (
    ParallelLoop(),
    PlainSqlite(),
    RelaxedSqlite(),
    Litequeue(),
    PersistQueue(),
    HueySqlite(),
    HueyFile(),
    DiskcacheDeque(),
    JsonFlock(),
)
BY_NAME = {system.name: system for system in ALL}


def is_installed(system: System) -> bool:
    return system.package is None or importlib.util.find_spec(system.package) is not None
