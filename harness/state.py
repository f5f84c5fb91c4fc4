"""The state directory `.parallel-loop/` in the user's repository: where what is kept."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ..queue import atomic
from ..queue.clock import utc_now
from ..queue.ids import is_id
from .configuration.wording import in_utf8
from .diagnose import Verdict
from .identity import Identity, is_alive
from .shortage import Lack

DIRECTORY = ".parallel-loop"
CONFIG_NAME = "parallel-loop.yaml"
_README = """This directory belongs to parallel-loop: the queue, the agents' worktrees, logs and status.
It is in no commit (see .gitignore beside this file). Deleting it while nothing runs forgets all items and
their history; branches, landed commits and refs/parallel-loop/salvage stay in the repository.
"""


_TRIES = 2  # a heartbeat is overwritten in place where there is no room for a new file
_FIRST_FILE_TIME = 1e9  # 2001; as a monotonic clock, 31 years without a restart
_MOST_ATTEMPTS = 1_000_000_000
_T = TypeVar("_T")


class StateDirectory:
    """Paths below `.parallel-loop/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = root / "queue"
        self.agents = root / "agents"
        self.events = root / "events.jsonl"
        self.status = root / "status.json"
        self.wanted = root / "wanted.json"
        self.pauses = root / "pauses.json"
        self.pauses_lock = root / "pauses.lock"
        self.accounts = root / "accounts.json"
        self.accounts_lock = root / "accounts.lock"
        self.touching = root / "touching.json"
        self.taking_lock = root / "taking.lock"
        self.costs = root / "costs.json"
        self.costs_lock = root / "costs.lock"
        self.forecast = root / "forecast.json"
        self.config = root / "config.json"
        self.coordinator_lock = root / "coordinator.lock"
        self.coordinator_log = root / "coordinator.log"
        self.prepare_lock = root / "prepare.lock"
        self.worktrees_lock = root / "worktrees.lock"
        self.landing_lock = root / "landing.lock"
        self.containment = root / "containment.json"
        self.shared = root / "shared.json"
        self.shared_lock = root / "shared.lock"
        self.quarantine = root / "quarantine"
        self.precious = root / "precious"
        self.readme = root / "README"

    def create(self) -> None:
        """Make the directory; it keeps itself out of git and explains itself."""
        self.agents.mkdir(parents=True, exist_ok=True)
        for path, text in ((self.root / ".gitignore", "*\n"), (self.readme, _README)):
            if not path.exists():
                atomic.replace_file(path, text.encode())

    def agent(self, name: str) -> AgentDirectory:
        return AgentDirectory(self.agents / name)

    def agent_names(self) -> list[str]:
        """Return the agents that ever had a worker, agent-2 before agent-10."""
        names = [path.name for path in self.agents.glob("*-*") if path.is_dir()]
        return sorted(names, key=place_order)

    def remove_drafts(self) -> int:
        """Remove the files that killed processes were writing, and return how many they were."""
        left = [
            folder / name
            for folder in (self.root, *(self.agents / name for name in atomic.own_names(self.agents)))
            for name in atomic.own_names(folder)
            if (pid := atomic.writer_of_replacement(name)) is not None and not _is_running(int(pid))
        ]
        for path in left:
            atomic.discard(path)
        return len(left)

    def stop_is_wanted(self) -> bool:
        """Whether a coordinator wants all work to end now; it writes that before it sends any signal."""
        wanted = read_record(self.wanted, _Wanted)
        return wanted is not None and wanted.ending == "stop"

    def record_event(self, event: str, **details: str | float | None) -> bool:
        """Append one line to the history of the run; what cannot be written is not worth stopping for, and False."""
        line: dict[str, str | float] = {"at": utc_now(), "event": event}
        for key, value in details.items():
            if value is not None:
                line[key] = in_utf8(value) if isinstance(value, str) else value
        try:
            atomic.append_line(self.events, msgspec.json.encode(line))
        except OSError:
            return False
        return True


def place_order(name: str) -> tuple[int, str]:
    """Return a key by which agent-2 comes before agent-10."""
    return len(name), name


def _is_running(pid: int) -> bool:
    """A guess that errs on one side only: a draft whose writer's id was given to another stays."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


class _Wanted(msgspec.Struct, frozen=True):
    """What a worker has to know of what is wanted; coordinator/control.py has the whole."""

    ending: str = ""


class AgentDirectory:
    """Paths below `agents/agent-1/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = root.name
        self.lock = root / "worker.lock"
        self.heartbeat = root / "heartbeat.json"
        self.session = root / "session.json"
        self.interrupt = root / "interrupt"
        self.using = root / "using.json"
        self.ballast = root / "ballast"
        self.refs = root / "refs.json"
        self.git_trace = root / "git.trace"
        self.logs = root / "logs"
        self.worker_log = root / "logs" / "worker.log"
        self.outbox = root / "outbox"  # where its programs write what they ask, and how long they wait

    def create(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        self.outbox.mkdir(exist_ok=True)

    @property
    def number(self) -> int:
        """The agent's number; 0 for who has none."""
        number = self.name.rpartition("-")[2]
        return int(number) if number.isdecimal() else 0

    def attempt_log(self, item_id: str, attempt: int) -> Path:
        return self.logs / f"{item_id}-{attempt}.log"

    def events_file(self, item_id: str, attempt: int) -> Path:
        """What the program told, in the form of harness/dialects/events.py."""
        return self.logs / f"{item_id}-{attempt}.jsonl"

    def prompt_file(self, item_id: str, attempt: int) -> Path:
        return self.logs / f"{item_id}-{attempt}.prompt"


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker last said of itself. `beat` and `progress` are CLOCK_MONOTONIC seconds of boot `boot`."""

    agent: str
    pid: int
    process_start: float
    boot: str
    at: str
    beat: float
    state: str = "idle"  # starting, idle, held, preparing, working, checking, ending
    item: str | None = None
    attempt: int | None = None
    role: str | None = None
    program: str | None = None
    since: str | None = None
    progress: float | None = None
    work: Verdict | None = None  # the verdict on its command, see diagnose.py
    rss_bytes: int | None = None  # with all that is below it
    cpu_percent: float | None = None
    done: int = 0
    failed: int = 0
    hindrance: Lack | None = None  # what there is no room for; it takes no item meanwhile

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.process_start, self.boot)


class Session(msgspec.Struct, frozen=True):
    """Which attempt an agent's worktree was last prepared for: what is found there later belongs to it."""

    item: str
    attempt: int
    branch: str
    started_at: str | None = None

    def __post_init__(self) -> None:
        """What is found is saved under this name; one that a program made up must not keep it from being saved."""
        if not is_id(self.item) or not 1 <= self.attempt <= _MOST_ATTEMPTS:
            raise ValueError(f"no attempt is called {self.item!r}/{self.attempt}")


def read_heartbeat(directory: AgentDirectory) -> Heartbeat | None:
    """Return the agent's last heartbeat, None when there is none that can be read.

    A worker that finds no room to write sets the file's time to its monotonic clock (see heart.py): such times are
    those of the first decades after 1970, and nobody mistakes them for a file's own.
    """
    beat = read_record(directory.heartbeat, Heartbeat)
    if beat is None:
        return None
    with suppress(OSError):
        touched = directory.heartbeat.stat().st_mtime
        if beat.beat < touched < _FIRST_FILE_TIME:
            return msgspec.structs.replace(beat, beat=touched)
    return beat


def living_worker(directory: AgentDirectory) -> Heartbeat | None:
    """Return the last heartbeat of the agent's worker if that very process still runs."""
    beat = read_heartbeat(directory)
    return beat if beat is not None and is_alive(beat.identity) else None


def read_session(directory: AgentDirectory) -> Session | None:
    return read_record(directory.session, Session)


def read_record(path: Path, kind: type[_T]) -> _T | None:
    """Return what a small file of ours holds, None when it is not there or holds something else."""
    for _ in range(_TRIES):
        with suppress(msgspec.MsgspecError, UnicodeError, RecursionError, atomic.Unreadable):
            data = atomic.read_file(path)
            return None if data is None else msgspec.json.decode(data, type=kind)
    return None
