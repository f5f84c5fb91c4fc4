"""Runs on a small disk that fills up, has no inode left or becomes read-only while agents work, and is itself again.

`make room` tries all of it on tmpfs and on ext4, with workers and lander killed in the middle, and runs out of
descriptors and of processes; the tests try what takes seconds. All of it happens in a mount namespace of its own.

A file system with files open for writing cannot be made read-only, short of an error of its disk. So another mount of
it is laid over it, which is: whatever is opened, linked or removed from then on meets EROFS, as after such an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from parallel_loop.coordinator.snapshot import Snapshot, decode
from parallel_loop.harness.project import Project
from support.repository import environment
from support.runs import LANDER, WORKER, Run, add, events, make_project, running, states
from support.waiting import eventually

CONFIG = "floors: {memory: 0, disk: 0}\nagents: 2\nhealth: {heartbeat: 200ms, silent: 3s}\nchecks: ['true']\n"
SAYS = {
    "bytes": ("No space left on device", "df -h "),
    "inodes": ("No space left on device", "df -i "),
    "read-only": ("Read-only file system", "findmnt "),
    "descriptors": ("Too many open files", "prlimit --pid "),
    "processes": ("No process or thread can be started", "prlimit --pid "),
}
DISKS = ("tmpfs", "ext4")
_MEGABYTES, _INODES = 48, 4000
_PATIENCE_SECONDS = 60.0  # for what takes one or two, on a machine with much else to do
_GIVES_UP_SECONDS = 40.0  # more than a place would need to be given up, were its starts counted
_UNSHARE = ("unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--mount", "--propagation", "private")
_OTHER_USER = 54321  # nobody else's, so that the kernel counts no processes but ours


class Disk:
    """A small file system at `at`, which can be made to lack something."""

    def __init__(self, at: Path, cover: Path) -> None:
        self.at, self._cover = at, cover
        self._covered = False

    def take(self, what: str) -> None:
        """Leave nothing of it; to be called again, since others give some of it back."""
        if what == "bytes":
            self._fill()
        elif what == "inodes":
            with contextlib.suppress(OSError):
                (self.at / "many").mkdir(exist_ok=True)
                while True:
                    (self.at / "many" / os.urandom(8).hex()).touch()
        elif not self._covered:
            call("mount", "--bind", str(self.at), str(self._cover))
            call("mount", "-o", "remount,bind,ro", str(self._cover))  # before anybody can open a file through it
            call("mount", "--move", str(self._cover), str(self.at))
            self._covered = True

    def _fill(self) -> None:
        size = 1 << 20
        with contextlib.suppress(OSError), (self.at / "ballast").open("ab", buffering=0) as file:
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def give_back(self, what: str) -> None:
        if what == "bytes":
            (self.at / "ballast").unlink()
        elif what == "inodes":
            shutil.rmtree(self.at / "many")
        else:
            call("mount", "-o", "remount,bind,rw", str(self.at))
            self._covered = False


class Limit:
    """A limit of living processes that is reached, as `prlimit` sets it."""

    def __init__(self, run: Run, kind: int) -> None:
        self._run, self._kind = run, kind
        self._limited: set[int] = set()

    def take(self, _what: str) -> None:
        for process in self._processes():
            if process.pid in self._limited:
                continue
            self._limited.add(process.pid)
            used = {int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir()}
            lowest_free = min(set(range(len(used) + 1)) - used)
            self._set(process, lowest_free if self._kind == resource.RLIMIT_NOFILE else 1)

    def give_back(self, _what: str) -> None:
        self._limited.clear()
        for process in self._processes():
            self._set(process, 1024)

    def _set(self, process: psutil.Process, soft: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(process.pid, self._kind)
            resource.prlimit(process.pid, self._kind, (min(soft, hard) if hard >= 0 else soft, hard))

    def _processes(self) -> list[psutil.Process]:
        return [psutil.Process(self._run.process.pid), *self._run.children(WORKER), *self._run.children(LANDER)]


def call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


@contextlib.contextmanager
def mounted(kind: str) -> Iterator[Disk]:
    """A small file system of that kind; its image lies in memory."""
    base = Path(tempfile.mkdtemp(prefix="small-disk-"))
    try:
        call("mount", "-t", "tmpfs", "none", str(base))
        at, cover, image = base / "at", base / "cover", base / "image"
        at.mkdir()
        cover.mkdir()
        if kind == "tmpfs":
            call("mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m,nr_inodes={_INODES}", "none", str(at))
        else:
            with image.open("wb") as file:
                file.truncate(_MEGABYTES << 20)
            call(f"mkfs.{kind}", "-q", "-N", str(_INODES), str(image))
            call("mount", "-o", "loop", str(image), str(at))
        yield Disk(at, cover)
    finally:
        for point in (base / "at", base / "at", base):
            subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False)
        base.rmdir()


def ask(project: Project) -> Snapshot:
    """What `parallel-loop status --json` says, in a process of its own."""
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(project.root), "status", "--json"]
    done = subprocess.run(argv, env=environment(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return decode(done.stdout)


def complaint(picture: Snapshot, what: str) -> bool:
    """Whether the first thing that needs a person is this lack, with its remedy."""
    why, remedy = SAYS[what]
    return any(why in entry.why and entry.next.startswith(remedy) for entry in picture.attention[:2])


def go_through(run: Run, machine: Disk | Limit, what: str, go: Path, *, kill: bool = False) -> None:
    """Let the machine lack something while two items are worked on and one is ready, and have it back."""
    project, held = run.project, [f"{what}-{number}" for number in (1, 2)]
    for item_id in held:
        add(project, item_id, f"until test -e {go}; do sleep 0.02; done; echo $PARALLEL_LOOP_ITEM > {item_id}")
    eventually(lambda: [states(project)[item_id] for item_id in held] == ["working"] * 2, _PATIENCE_SECONDS)
    for item_id in held:
        run.until_working(item_id)
    add(project, f"{what}-next")
    before = len(events(project))

    def while_it_lacks(condition: Callable[[], object], seconds: float = _PATIENCE_SECONDS) -> None:
        eventually(lambda: machine.take(what) or condition(), seconds)

    if isinstance(machine, Disk):
        while_it_lacks(lambda: complaint(ask(project), what))
    else:
        while_it_lacks(lambda: any(f" {run.process.pid} " in entry.next for entry in ask(project).attention[:1]))
    machine.take(what)
    go.touch()  # both are through now, and can write down nothing
    while_it_lacks(lambda: complaint(ask(project), what))
    while_it_lacks(lambda: {agent.health for agent in ask(project).agents} == {"no-room"})
    if kill:
        for victim in (*run.children(WORKER)[:1], *run.children(LANDER)):
            victim.kill()
        with contextlib.suppress(AssertionError):  # that is how long it is looked at
            while_it_lacks(lambda: run.process.poll() is not None, _GIVES_UP_SECONDS)
    assert run.process.poll() is None, run.output[-2000:]
    new = [event for event in events(project)[before:] if event["event"] in {"claimed", "killed", "gave-up"}]
    assert new == [], "nothing is begun, and nobody is taken for silent"
    machine.give_back(what)
    everything_is_done(project)
    check_history(project, killed=int(kill))
    eventually(lambda: not ask(project).attention, _PATIENCE_SECONDS)
    go.unlink()


def stop_while_it_is_full(run: Run, disk: Disk, item_id: str) -> None:
    """Stop at once on a disk that is full and stays so: the item is given back all the same, at no cost."""
    project = run.project
    add(project, item_id, "exec sleep 1000")
    run.until_working(item_id)
    disk.take("bytes")
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(project.root), "stop", "--now"]
    subprocess.run(argv, env=environment(), check=True, capture_output=True)
    assert run.wait(_PATIENCE_SECONDS) == 130, run.output[-2000:]
    entry = project.queue.entry(item_id)
    assert entry is not None
    assert entry.last is not None
    assert (entry.last.kind, entry.last.outcome, entry.last.counted) == ("released", "interrupted", False)
    disk.give_back("bytes")


def everything_is_done(project: Project) -> None:
    eventually(lambda: set(states(project).values()) == {"done"}, _PATIENCE_SECONDS)


def check_history(project: Project, killed: int) -> None:
    """No attempt was counted as a failure, but of those whose worker was killed."""
    entries = [project.queue.entry(item_id) for item_id in states(project)]
    records = [record for entry in entries if entry is not None for record in entry.records]
    counted = [record.outcome for record in records if record.kind in {"released", "failed"} and record.counted]
    assert counted == ["died"] * len(counted), counted
    assert len(counted) <= killed


def check_nothing_is_left(project: Project) -> None:
    """No half-written file, and no line or record that is torn."""
    outside_git = (path for path in project.state.root.rglob("*") if "worktrees" not in path.parts)
    assert [path for path in outside_git if re.search(r"\d+-\d+-\d+$", path.name)] == []
    for line in project.state.events.read_text().splitlines():
        assert not line.strip() or json.loads(line)  # what was cut off is blank
    for path in project.state.queue.glob("items/*/*"):
        assert json.loads(path.read_bytes())


def try_disk(kind: str, shortages: list[str], *, kill: bool) -> None:
    """One run on one small disk, which lacks one thing after the other."""
    with mounted(kind) as disk, tempfile.TemporaryDirectory(prefix="small-disk-go-") as folder:
        project = make_project(disk.at / "repository", CONFIG)
        with running(project, "--agents", "2") as run:
            for what in shortages:
                go_through(run, disk, what, Path(folder, "go"), kill=kill)
            stop_while_it_is_full(run, disk, "endless")
        check_nothing_is_left(project)


def try_limit(what: str) -> None:
    kind = resource.RLIMIT_NOFILE if what == "descriptors" else resource.RLIMIT_NPROC
    with tempfile.TemporaryDirectory(prefix="small-limit-") as folder:
        project = make_project(Path(folder, "repository"), CONFIG)
        with running(project, "--agents", "2") as run:
            go_through(run, Limit(run, kind), what, Path(folder, "go"))
            run.send(2)
            assert run.wait(_PATIENCE_SECONDS) == 0, run.output[-2000:]
        check_nothing_is_left(project)


def as_another_user(what: str) -> list[str]:
    """The command that tries it as somebody who obeys the limit of processes, and may read what root may."""
    capabilities = "+dac_override,+dac_read_search"
    identity = ["--reuid", str(_OTHER_USER), "--regid", str(_OTHER_USER), "--clear-groups"]
    rights = [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    return ["setpriv", *identity, *rights, *inside(what)]


def inside(*arguments: str) -> list[str]:
    """The command that runs this file right where it is."""
    return [sys.executable, "-P", __file__, "--inside", *arguments]


def in_a_namespace(*arguments: str) -> list[str]:
    """The command that runs this file with `arguments` where it may mount."""
    return [*_UNSHARE, *inside(*arguments)]


def may_mount() -> bool:
    """Whether a file system can be mounted in such a namespace."""
    argv = [*_UNSHARE, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    return (
        shutil.which("unshare") is not None and subprocess.run(argv, capture_output=True, check=False).returncode == 0
    )


def main(words: list[str]) -> None:
    """Try all, or what one of `words` is in the name of."""
    tries = {
        f"{kind}, {what}, with kills": in_a_namespace(kind, what, "--kill")
        for kind in DISKS
        for what in ("bytes", "inodes", "read-only")
    }
    tries["descriptors"] = inside("descriptors")
    tries["processes"] = as_another_user("processes")
    for name, command in tries.items():
        if not words or any(word in name for word in words):
            subprocess.run(command, check=True)
            sys.stdout.write(f"{name}: nothing lost, nothing counted, went on by itself\n")
            sys.stdout.flush()


def try_inside(kind: str, *what: str) -> None:
    if kind in DISKS:
        try_disk(kind, [name for name in what if name in SAYS], kill="--kill" in what)
    else:
        try_limit(kind)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        try_inside(*sys.argv[2:])
    elif os.geteuid() != 0 or not may_mount():
        sys.exit("make room mounts file systems and limits processes of another user: run it as root on Linux")
    else:
        main(sys.argv[1:])
