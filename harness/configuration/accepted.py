"""The configuration in force: what a coordinator accepted, in a file of its own from which its workers read it.

Guarantees: a worker that is started while the user edits `parallel-loop.yaml`, or while that cannot be used, has the
configuration that its coordinator has.

The typed configuration and not the text: it was checked, PARALLEL_AGENTS and the like have been heard, its errors name
the user's file, and a worker needs no YAML to read it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from ...queue import atomic
from .settings import Config, ConfigError

_LIMIT_BYTES = 16_000_000


def write_accepted(path: Path, config: Config) -> None:
    """Put `config` in force for every worker that is started from now on, if it is not. Raises OSError."""
    data = msgspec.json.encode(config) + b"\n"
    with contextlib.suppress(atomic.Unreadable):
        if atomic.read_file(path, _LIMIT_BYTES) == data:
            return
    atomic.replace_file(path, data)


def read_accepted(path: Path) -> Config:
    """Return the configuration in force. Raises ConfigError."""
    try:
        data = atomic.read_file(path, _LIMIT_BYTES)
        if data is not None:
            return msgspec.json.decode(data, type=Config)
        problem = "is not there"
    except (msgspec.MsgspecError, UnicodeError, RecursionError, atomic.Unreadable) as error:
        problem = f"cannot be read ({error})"
    raise ConfigError(str(path), None, "", f"{problem}; a coordinator writes it when it starts: start it again")
