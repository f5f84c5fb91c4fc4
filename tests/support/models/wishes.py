"""What one run of a client is to be like, where it is, and how it is started; the same words for all of them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

DUMMY = "sk-dummy-0000"
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Wish:
    """What one run is to be like; what a client cannot do it is not asked for (`Client.can`)."""

    prompt: str
    model: str = ""  # one that the client knows
    session: str = ""  # the one to go on with
    allowed: bool = True  # may write and run commands
    turns: int | None = None
    dollars: float | None = None
    subscription: bool = False  # not by key: its limits say until when
    retries: int = 2


@dataclass(frozen=True)
class Place:
    """Where a client runs: its home, its repository, and the server it speaks with."""

    home: Path
    repository: Path
    url: str


@dataclass(frozen=True)
class Invocation:
    argv: list[str]
    env: dict[str, str]
    stdin: str = ""


def environment(place: Place, **more: str) -> dict[str, str]:
    """Nothing of this process but where programs are; what git needs to commit as nobody in particular."""
    node = shutil.which("node")
    folders = [str(Path(node).parent)] if node else []
    return {
        "HOME": str(place.home),
        "PATH": os.pathsep.join([*folders, _SYSTEM_PATH]),
        "TMPDIR": str(place.home / "tmp"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        "IS_SANDBOX": "1",  # Claude Code as root
        "GIT_CONFIG_NOSYSTEM": "1",
        **more,
    }
