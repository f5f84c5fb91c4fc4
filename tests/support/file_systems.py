"""Other file systems, for real: each is made and mounted, and what the queue promises is tried on it; prints a table.

`make filesystems` runs this as root in a mount namespace of its own, so nothing is mounted for anybody else. Images lie
in memory. What cannot be made or mounted here is named with the reason; what is expected to be refused must be refused.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from parallel_loop.coordinator import file_system
from parallel_loop.coordinator.contention import run_contention
from parallel_loop.coordinator.contention_drain import run_drain
from parallel_loop.queue.adding import InvalidItem
from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.store import Queue
from support.queue_checker import check_all_done_once
from support.queue_processes import start
from support.queues import AT_ONCE, an_item, drain, make_queue, make_taker
from support.repository import environment, make_repository

RACES, CLAIMERS, ITEMS, KILLS = 200, 10, 5000, 8


class Kind(NamedTuple):
    """A file system: how it is made and mounted ({image}, {at}, {base} for further folders), and what is expected."""

    name: str
    commands: tuple[str, ...]
    megabytes: int = 0
    fit: bool = True
    ignores_case: bool = False


MOUNT = "mount -o loop {image} {at}"
OVERLAY = "lowerdir={base}/lower,upperdir={upper}/upper,workdir={upper}/work"
KINDS = (
    Kind("tmpfs", ("mount -t tmpfs none {at}",)),
    Kind("ramfs", ("mount -t ramfs none {at}",)),
    Kind("ext4", ("mkfs.ext4 -q {image}", MOUNT), 400),
    Kind("ext4, data=journal", ("mkfs.ext4 -q {image}", "mount -o loop,data=journal {image} {at}"), 400),
    Kind("ext2", ("mkfs.ext2 -q {image}", MOUNT), 400),
    Kind("xfs", ("mkfs.xfs -q {image}", MOUNT), 400),
    Kind("xfs, ignoring case", ("mkfs.xfs -q -n version=ci {image}", MOUNT), 400, ignores_case=True),
    Kind("btrfs", ("mkfs.btrfs -q {image}", MOUNT), 400),
    Kind(
        "overlayfs over tmpfs",
        (
            "mkdir {base}/lower {base}/upper {base}/work",
            f"mount -t overlay overlay -o {OVERLAY.replace('{upper}', '{base}')} {{at}}",
        ),
    ),
    Kind(
        "overlayfs over ext4",
        (
            "mkfs.ext4 -q {image}",
            "mkdir {base}/lower {base}/disk",
            "mount -o loop {image} {base}/disk",
            "mkdir {base}/disk/upper {base}/disk/work",
            f"mount -t overlay overlay -o {OVERLAY.replace('{upper}', '{base}/disk')} {{at}}",
        ),
        400,
    ),
    Kind("NTFS (lowntfs-3g)", ("mkfs.ntfs -F -q {image}", "lowntfs-3g {image} {at}"), 200),
    Kind(
        "NTFS (lowntfs-3g, ignore_case)",
        ("mkfs.ntfs -F -q {image}", "lowntfs-3g -o ignore_case {image} {at}"),
        200,
        fit=False,
    ),
    Kind("NTFS (ntfs-3g)", ("mkfs.ntfs -F -q {image}", "ntfs-3g {image} {at}"), 200, fit=False),
    Kind("bindfs over tmpfs", ("mkdir {base}/source", "bindfs {base}/source {at}"), fit=False),
    Kind("mergerfs over tmpfs", ("mkdir {base}/one {base}/two", "mergerfs {base}/one:{base}/two {at}"), fit=False),
    Kind(
        "sshfs over tmpfs",
        (
            "mkdir {base}/source",
            "sshfs -o 'ssh_command=sh -c /usr/lib/openssh/sftp-server' this-host:{base}/source {at}",
        ),
        fit=False,
    ),
    Kind(
        "fuse-overlayfs over tmpfs",
        (
            "mkdir {base}/lower {base}/upper {base}/work",
            f"fuse-overlayfs -o {OVERLAY.replace('{upper}', '{base}')} {{at}}",
        ),
    ),
    Kind("FAT (fusefat)", ("mkfs.vfat {image}", "fusefat -o rw+ {image} {at}"), 64, fit=False),
    Kind("FAT (vfat)", ("mkfs.vfat {image}", MOUNT), 64, fit=False),
    Kind("exFAT (exfat-fuse)", ("mkfs.exfat {image}", "mount.exfat-fuse {device} {at}"), 64, fit=False),
    Kind("exFAT (exfat)", ("mkfs.exfat {image}", MOUNT), 64, fit=False),
    Kind("NFS", ("mount -t nfs -o vers=4 localhost:/ {at}",)),
)


class CannotMount(Exception):
    """This machine lacks what it takes; not a finding about the file system."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    type: str = ""
    verdict: str = ""
    races: str = ""
    drain: str = ""
    kills: str = ""


def mount(kind: Kind, base: Path) -> Path:
    """Make and mount it; CannotMount says what is missing."""
    at, image = base / "at", base / "image"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(kind.megabytes * 1024 * 1024)
    before = at.stat().st_dev
    names = {"at": str(at), "image": str(image), "base": str(base)}
    for command in kind.commands:
        if "{device}" in command:
            names["device"] = call("losetup", "--find", "--show", str(image))
        call(*(part.format(**names) for part in shlex.split(command)))
    if at.stat().st_dev == before:  # a FUSE program that failed after it went into the background
        raise CannotMount(f"{shlex.split(kind.commands[-1])[0]} mounted nothing")
    return at


def call(*argv: str) -> str:
    if shutil.which(argv[0]) is None:
        raise CannotMount(f"{argv[0]} is not installed")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CannotMount(said[0] if said else f"{argv[0]} ended with {done.returncode}")
    return done.stdout.strip()


def try_fit(kind: Kind, at: Path) -> Row:
    """Race, drain, kill; AssertionError when a promise is broken."""
    broken = [trial for trial in file_system.examine(at) if not trial.works]
    assert not broken, broken
    races = run_contention(at, RACES, CLAIMERS)
    assert races.violations == (), races.violations
    drained = run_drain(at, ITEMS, CLAIMERS)
    assert drained.violations == (), drained.violations[:5]
    taken_back = [kill_and_recover(at / f"queue-{seed}", seed) for seed in range(2)]
    try_flushed(at / "flushed")
    try_case(at / "case", kind)
    return Row(
        kind.name,
        file_system.type_of(at),
        "fit, ignores case" if kind.ignores_case else "fit",
        f"{RACES} of {RACES}; {races.winner.p50_us:.0f} / {races.winner.p99_us:.0f} µs",
        f"{drained.items_per_second:.0f}/s; {100 * drained.least_share:.0f} %",
        f"{sum(taken_back)} claims taken back; 0 lost, 0 twice",
    )


def kill_and_recover(root: Path, seed: int) -> int:
    """Kill workers and recoveries with -9 again and again; every item is done once, and what was told is true.

    Returns how many claims of killed workers were taken back, at least the one of a worker that certainly had one.
    """
    chance = random.Random(seed)
    queue = make_queue(root)
    items = queue.add([an_item(f"i{index}", after=(f"i{index - 5}",) if index > 4 else ()) for index in range(300)])
    workers = {index: start("work", root, f"agent-{index}", seed) for index in range(3)}
    said: list[str | None] = []
    holder = start("hold", root, "holder")
    assert holder.said() == "ready"
    holder.tell()
    assert (holder.said() or "").startswith("took ")
    holder.kill()
    for kill in range(KILLS):
        for worker in workers.values():
            worker.tell(5)
        victim = chance.randrange(3)
        said += [workers[victim].said() for _ in range(chance.randrange(1, 10))]
        said += workers[victim].kill()
        recovery = start("heal", root, f"healer-{kill}", seed)
        recovery.said()
        recovery.kill()
        take_back_from_the_dead(queue, AT_ONCE)
        workers[victim] = start("work", root, f"agent-{victim}", seed + kill)
    for worker in workers.values():
        said += worker.finish()
    heal(queue, AT_ONCE)
    drain(queue, make_taker(queue))
    chains = check_all_done_once(root, {item.id for item in items})
    done = [line for line in said if line is not None and line.startswith("done ")]
    assert len(done) == len(set(done)), "an item was completed twice"
    assert not any(line is not None and line.startswith("lost ") for line in said), "a living worker lost its claim"
    taken_back = sum(record.get("outcome") == "died" for chain in chains.values() for record in chain)
    assert taken_back
    return taken_back


def try_flushed(root: Path) -> None:
    queue = Queue(root)
    queue.add([an_item(f"i{index}") for index in range(20)])
    queue.add([an_item("alone")])
    assert len(drain(queue, make_taker(queue))) == 21


def try_case(root: Path, kind: Kind) -> None:
    """Ids that differ only in case are two items, or are refused; none is ever acknowledged and not there."""
    queue = make_queue(root)
    queue.add([an_item("Fix")])
    for items in ([an_item("fix")], [an_item("B"), an_item("b")]):
        try:
            queue.add(items)
        except InvalidItem:
            assert kind.ignores_case
        else:
            assert not kind.ignores_case
    assert sorted(drain(queue, make_taker(queue))) == (["Fix"] if kind.ignores_case else ["B", "Fix", "b", "fix"])


def try_refused(kind: Kind, at: Path) -> Row:
    """Every command that would make a queue here says so in one line, with exit code 4, and makes none."""
    lacking = [trial for trial in file_system.examine(at) if not trial.works]
    assert lacking
    root = make_repository(at.parent / "repository")
    (root / ".parallel-loop").symlink_to(at, target_is_directory=True)  # git itself need not work there
    commands = (("init",), ("add", "--command", "true"), ("run", "--drain"), ("contention", "--dir", str(at)))
    for command in commands:
        argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(root), *command]
        done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 4, (command, done)
        assert done.stderr.count("\n") == 1, (command, done.stderr)
        assert "parallel-loop: the file system of " in done.stderr, (command, done.stderr)
    assert not list(at.glob("queue/items/*/*"))
    return Row(kind.name, file_system.type_of(at), f"refused: {', '.join(trial.name for trial in lacking)}")


def examine(index: int, base: Path) -> bool:
    """Mount it and let a process of its own try it, whose end closes all that is open there; False when that failed."""
    base.mkdir()
    try:
        at = mount(KINDS[index], base)
    except CannotMount as error:
        show(Row(KINDS[index].name, "", f"not tried: {str(error).rpartition(': ')[2]}"))
        return True
    try:
        done = subprocess.run([sys.executable, "-P", __file__, "--try", str(index), str(at)], check=False)
    finally:
        unmount(at, base)
    return done.returncode == 0


def unmount(at: Path, base: Path) -> None:
    """Unmount what is still there; the namespace would at its end, but FUSE programs and memory should go now."""
    for point in (at, base / "disk"):
        subprocess.run(["umount", str(point)], capture_output=True, check=False)
    loops = subprocess.run(["losetup", "-j", str(base / "image")], capture_output=True, text=True, check=False).stdout
    for line in loops.splitlines():
        subprocess.run(["losetup", "-d", line.partition(":")[0]], check=False)
    (base / "image").unlink(missing_ok=True)


def show(row: Row) -> None:
    sys.stdout.write(f"| {' | '.join(row)} |\n")
    sys.stdout.flush()


def main(names: list[str]) -> bool:
    """Examine all, or those whose names contain one of `names`; False when any is not as expected."""
    with tempfile.TemporaryDirectory(prefix="file-systems-", ignore_cleanup_errors=True) as folder:
        base = Path(folder) / "memory"
        base.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", str(base)], check=True)
        try:
            show(Row("file system", "type", "verdict", "races: one winner; take", "drain; least served", "killed"))
            show(Row(*["---"] * len(Row._fields)))
            chosen = [index for index, kind in enumerate(KINDS) if any(name in kind.name for name in names or [""])]
            failed = [index for index in chosen if not examine(index, base / str(index))]
            return not failed
        finally:
            subprocess.run(["umount", "--lazy", str(base)], check=False)


def try_one(kind: Kind, at: Path) -> None:
    attempt: Callable[[Kind, Path], Row] = try_fit if kind.fit else try_refused
    try:
        show(attempt(kind, at))
    except Exception as error:
        show(Row(kind.name, file_system.type_of(at), "NOT AS EXPECTED"))
        error.add_note(f"on {kind.name}")
        raise


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(not main(sys.argv[2:]))
    elif sys.argv[1:2] == ["--try"]:
        try_one(KINDS[int(sys.argv[2])], Path(sys.argv[3]))
    elif os.geteuid() != 0 or shutil.which("unshare") is None:
        sys.exit("make filesystems mounts file systems: run it as root on Linux, with unshare(1)")
    else:
        own = [sys.executable, "-P", __file__, "--inside", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", *own])
