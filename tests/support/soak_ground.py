"""What a soak stands on: a repository, its coordinator, the items that keep coming, and who could be hit there."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from msgspec.structs import replace

from parallel_loop.harness.identity import Identity
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Heartbeat, living_worker
from parallel_loop.queue.records import Item
from support.proc import Seen, command_lines, environment_of, is_running, locked_inodes, mentioning, see
from support.repository import environment, make_repository

_PROGRAM = Path(__file__).parent / "programs" / "misbehave.py"
_LANDER = b"parallel_loop.coordinator.lander"
_KEEPER = b"keeper"  # in the arguments of what stands between a worker and its program
_CONFIG = """
checks: ['test -e README']
retry: {first: 0s}
health: {heartbeat: 500ms, silent: 5s, restarts: 1000}
"""
# How often each way to misbehave comes.
BUSY = {
    "plain": 6.0,
    "slow": 6.0,
    "tools": 3.0,
    "daemon": 3.0,
    "leaker": 3.0,
    "tree": 2.0,
    "stubborn": 2.0,
    "hopper": 1.0,
    "fails": 1.0,
    "hangs": 0.15,
}
QUICK = {"plain": 8.0, "daemon": 1.0, "leaker": 1.0}
SCRIBBLING = {"scribbles": 1.0}

Attempt = tuple[str, int]  # an item and the number of the attempt at it


class Ground:
    """A repository below `folder`, its queue, and the run on it."""

    def __init__(self, folder: Path, kinds: dict[str, float], chance: random.Random) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.added: dict[str, str] = {}  # item id to the way in which its program misbehaves
        self.runs = 0
        self.token = f"soak{uuid.uuid4().hex}"
        self._kinds = kinds
        self._chance = chance
        (folder / "held").mkdir(parents=True)
        root = make_repository(folder / "repo", {"README": "start\n", "parallel-loop.yaml": _CONFIG})
        self.project = Project.open(root, environment())
        self.project.state.create()
        self._run: subprocess.Popen[bytes] | None = None

    # --- the run --------------------------------------------------------------------------------------

    def start(self, agents: int, *options: str) -> None:
        """Start a coordinator, its output in `run.log`."""
        argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(self.project.root)]
        with (self.folder / "run.log").open("ab") as log:
            self._run = subprocess.Popen(
                [*argv, "run", "--agents", str(agents), *options],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.runs += 1

    @property
    def coordinator(self) -> int:
        """The process id of the coordinator, 0 when there is none."""
        return self._run.pid if self._run is not None and self._run.poll() is None else 0

    @property
    def exit_code(self) -> int | None:
        return None if self._run is None else self._run.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for the end of the run; None when it lasts longer."""
        assert self._run is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._run.wait(seconds)
        return None

    def log_end(self) -> str:
        return (self.folder / "run.log").read_text(errors="replace")[-3000:]

    # --- items ----------------------------------------------------------------------------------------

    def add(self, count: int) -> None:
        """Add items of which nobody can tell in advance what their programs will do."""
        items = []
        for _ in range(count):
            item_id = f"item-{len(self.added) + 1}"
            kind = self._chance.choices(tuple(self._kinds), tuple(self._kinds.values()))[0]
            # No two commands are the same: one that fails for two items would be paused, and its last item left ready.
            mark = f"{self.token}:{item_id}:$PARALLEL_LOOP_ATTEMPT"
            command = f"exec {sys.executable} -I -S {_PROGRAM} {mark} {kind} {self.folder}"
            attempts, seconds = {"fails": (2, None), "hangs": (1, 2.0)}.get(kind, (1000, None))
            item = Item(id=item_id, title=kind, added_at="", command=command, max_attempts=attempts)
            items.append(replace(item, timeout_seconds=seconds))
            self.added[item_id] = kind
        self.project.queue.add(items)

    def tidy(self) -> None:
        """Pack what is done."""
        argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(self.project.root), "tidy"]
        subprocess.run([*argv, "--older-than", "0s"], env=environment(), stdout=subprocess.DEVNULL, check=True)

    # --- who is there ---------------------------------------------------------------------------------

    def identities(self) -> dict[Seen, Identity]:
        """The living workers, as they tell of themselves."""
        found = {}
        for beat in self.beats():
            process = see(beat.pid)
            if process is not None and process.runs:
                found[process] = beat.identity
        return found

    def beats(self) -> list[Heartbeat]:
        """The last heartbeats of the living workers, by agent."""
        state = self.project.state
        beats = [living_worker(state.agent(name)) for name in state.agent_names() if name.startswith("agent-")]
        return [beat for beat in beats if beat is not None]

    def lander(self) -> Seen | None:
        root = os.fsencode(self.project.root)
        for pid, arguments in command_lines():
            if _LANDER in arguments and root in arguments:
                return see(pid)
        return None

    def of_programs(self) -> dict[Seen, Attempt]:
        """Every living process that an item's program is or has started, and of which attempt it is."""
        found, token = {}, self.token.encode()
        for pid, arguments in command_lines():
            if token in arguments and (attempt := self._attempt(pid, arguments)) and (process := see(pid)):
                found[process] = attempt
        return found

    def locked(self) -> set[Attempt]:
        """Return the attempts of which somebody lives, by the lock that all of it shares: a list can come too late."""
        inodes, found = locked_inodes(), set()
        with os.scandir(self.folder / "held") as files:
            for file in files:
                if file.inode() in inodes and (number := Path(file.path).read_text()).isdigit():
                    found.add((file.name, int(number)))
        return found

    def _attempt(self, pid: int, arguments: bytes) -> Attempt | None:
        """Return what the arguments say; before the shell has put that in, it is in its environment."""
        _, _, rest = arguments.partition(self.token.encode() + b":")
        item, _, number = rest.partition(b"\0")[0].partition(b":")
        if not number.isdigit():
            its = environment_of(pid)
            item, number = its.get(b"PARALLEL_LOOP_ITEM", b""), its.get(b"PARALLEL_LOOP_ATTEMPT", b"")
        return (item.decode(), int(number)) if number.isdigit() else None

    def keepers(self) -> list[Seen]:
        """What stands between a worker and its program."""
        token = self.token.encode()
        found = [see(pid) for pid, arguments in command_lines() if _KEEPER in arguments and token in arguments]
        return [process for process in found if process is not None]

    # --- end ------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Kill whatever is left of it."""
        while left := mentioning(self.folder):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._run is not None:
                self._run.poll()
        if self._run is not None:
            self._run.wait()


def hit(process: Seen, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it is gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_running(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
