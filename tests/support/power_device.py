"""Power cuts of real file systems: `PYTHONPATH=tests python tests/support/power_device.py [CUTS]`, as root on Linux.

A file on a file system that can clone files is the disk. While processes work on a queue in it, it is cloned: the clone
is what a cut at that instant leaves. Each is mounted (which replays its journal), healed and checked against what the
processes were told before the clone was begun. In the last round nothing is flushed, and something must be missing.

What this leaves out: a disk's own cache that reorders writes. `power_disk.py` is about that.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.power_checker import Added, Fact, Recorded, Trying, check_after_cut
from support.power_runs import QUEUE, Run
from support.waiting import eventually

FICLONE = 0x40049409
MEGABYTE = 1024 * 1024
WORKERS = 3
PATIENCE_SECONDS = 60.0
MOUNT_OPTIONS = {"ext4": "loop", "xfs": "loop,nouuid", "btrfs": "loop"}  # a clone has the same UUID as its original
HOLDER = "xfs"  # can clone files
MEMORY = Path("/dev/shm")


class Log:
    """Where a worker notes what it is told: in memory, so that a cut does not concern it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def tell(self, fact: Fact) -> None:
        self._file.write(base64.b64encode(pickle.dumps(fact)) + b"\n")


def read_log(path: Path) -> list[Fact]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # what follows the last is being written
    return [pickle.loads(base64.b64decode(line)) for line in lines]


def work(base: Path, log: Path, name: str, flushes: bool) -> None:
    """Use the queue for as long as we live."""
    if not flushes:
        os.fsync = os.sync = lambda *_: None  # type: ignore[assignment]
    run = Run(base, Log(log), random.Random(name), name)
    while True:
        run.act(run.processes[0])


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def call(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


def reason_not_to_try(kind: str, folder: Path) -> str:
    """Try to make and mount an empty file system of that kind; return why that fails, "" when it does not."""
    try:
        with mounted(make_image(folder / "trial", kind, 400), kind, folder / "tried"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    except OSError as error:
        return str(error)
    finally:
        (folder / "trial").unlink()


@contextlib.contextmanager
def mounted(image: Path, kind: str, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    call("mount", "-t", kind, "-o", MOUNT_OPTIONS[kind], image, at)
    try:
        yield at
    finally:
        call("umount", at)


def make_image(path: Path, kind: str, megabytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(megabytes * MEGABYTE)
    call(f"mkfs.{kind}", "-q", path)
    return path


def clone(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        fcntl.ioctl(new.fileno(), FICLONE, old.fileno())


@contextlib.contextmanager
def workers(base: Path, logs: Path, flushes: bool) -> Iterator[None]:
    script = [sys.executable, "-P", __file__, "work", str(base)]
    names = [f"worker-{number}" for number in range(WORKERS)]
    processes = [subprocess.Popen([*script, str(logs / name), name, str(int(flushes))]) for name in names]
    try:
        yield
        assert [process.poll() for process in processes] == [None] * WORKERS, "a worker ended by itself"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def facts_in(logs: Path) -> list[Fact]:
    return [fact for log in sorted(logs.iterdir()) for fact in read_log(log)]


def facts_after(logs: Path, more: int) -> list[Fact]:
    """Return what was told once there is so much more of it than now: a moment that nobody chose."""
    wanted = len(facts_in(logs)) + more
    return eventually(lambda: facts if len(facts := facts_in(logs)) >= wanted else [], PATIENCE_SECONDS)


def cut_while_working(kind: str, folder: Path, cuts: int, flushes: bool, chance: random.Random) -> list[list[Fact]]:
    """Clone a working disk at `cuts` moments; return for each what had been told before."""
    image, logs, told = make_image(folder / "disk", kind, 400), Path(tempfile.mkdtemp(dir=folder.parent)), []
    with mounted(image, kind, folder.parent / "working") as base:
        (base / "repo").mkdir()
        os.sync()
        with workers(base, logs, flushes):
            for number in range(cuts):
                told.append(facts_after(logs, chance.randrange(10, 150)))
                clone(image, folder / f"cut-{number}")
    tried = [fact for fact in facts_in(logs) if isinstance(fact, Trying)]
    shutil.rmtree(logs)
    image.unlink()
    return [[*facts, *tried] for facts in told]


def try_kind(kind: str, folder: Path, cuts: int, *, flushes: bool) -> tuple[int, int, list[str]]:
    """Return how many items and outcomes were acknowledged before the last cut, and what is wrong after them."""
    told = cut_while_working(kind, folder, cuts, flushes, random.Random(kind))
    wrong = []
    for number, facts in enumerate(told):
        image = folder / f"cut-{number}"
        with mounted(image, kind, folder.parent / "after") as base:
            if problem := check_apart(base, facts):
                wrong.append(f"{kind}, cut {number}: {problem}")
        image.unlink()
    items = sum(len(fact.items) for fact in told[-1] if isinstance(fact, Added))
    return items, sum(isinstance(fact, Recorded) for fact in told[-1]), wrong


def check_apart(base: Path, facts: list[Fact]) -> str:
    """Check in a process of its own, since whatever that leaves open would keep the clone mounted."""
    command = [sys.executable, "-P", __file__, "check", str(base)]
    done = subprocess.run(command, input=pickle.dumps(facts), capture_output=True, check=False)
    return "" if done.returncode == 0 else done.stderr.decode().splitlines()[-1]


def report(kind: str, top: Path, cuts: int, *, flushes: bool) -> bool:
    """Try that kind and say what came of it; False when it is not what should."""
    with mounted(make_image(top / "holder", HOLDER, 8000), HOLDER, top / "held") as folder:
        items, records, wrong = try_kind(kind, folder, cuts, flushes=flushes)
    title = kind if flushes else f"{kind}, nothing flushed (so something must be wrong)"
    say(f"{title}: {cuts} cuts, {items} items and {records} outcomes acknowledged, {len(wrong)} wrong")
    say(*(f"    {line}" for line in wrong[:5]))
    return bool(wrong) is not flushes


def main(cuts: int) -> int:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        reasons = {kind: reason_not_to_try(kind, Path(name)) for kind in MOUNT_OPTIONS}
        say(*(f"{kind}: skipped, {reason}" for kind, reason in reasons.items() if reason))
        if reasons[HOLDER]:
            say(f"nothing was tried: clones are made on {HOLDER}")
            return 0
        kinds = [kind for kind, reason in reasons.items() if not reason]
        rounds = [(kind, *each) for kind in kinds for each in ((True, cuts), (False, 1))]
        good = [report(kind, Path(name), count, flushes=flushes) for kind, flushes, count in rounds]
    return 0 if all(good) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5] == "1")
    elif sys.argv[1:2] == ["check"]:
        check_after_cut(Path(sys.argv[2]) / QUEUE, pickle.load(sys.stdin.buffer))
    elif os.geteuid() != 0:
        say("real file systems: skipped, only root can mount")
    else:
        sys.exit(main(*map(int, sys.argv[1:] or ["5"])))
