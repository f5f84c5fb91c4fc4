"""A real `systemd --user` of its own, in namespaces, and what it makes of our unit: `make service`, as root on Linux.

It sees the machine's files but only its own processes and control groups; everything of it ends with this script.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from parallel_loop.coordinator.lock import read_holder
from parallel_loop.coordinator.service import Systemd
from parallel_loop.harness.keeping.containment import read_containment
from parallel_loop.harness.project import Project
from support.cli import call
from support.runs import LANDER, PATIENCE_SECONDS, WORKER, add, kinds, make_project, states
from support.waiting import eventually

_SYSTEMD = "/lib/systemd/systemd"
_GROUPS = Path("/sys/fs/cgroup/unified" if Path("/sys/fs/cgroup/unified").is_dir() else "/sys/fs/cgroup")
_UNSHARE = ["unshare", "--cgroup", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc"]
_MOUNTS = (
    ("mount", "--make-rprivate", "/"),
    ("mount", "-t", "tmpfs", "tmpfs", "/run"),
    ("mkdir", "-p", "/run/systemd/system"),  # where systemd looks whether the machine was started by it
    ("umount", "--lazy", "/sys/fs/cgroup"),
    ("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"),
)


def enter() -> int:
    """Run this script again inside namespaces and a control group of its own, and return its exit code."""
    group = _GROUPS / f"parallel-loop-test-{os.getpid()}"
    group.mkdir()
    try:
        join = f"echo $$ > {group}/cgroup.procs; exec " + '"$@"'
        return subprocess.run(
            ["sh", "-c", join, "sh", *_UNSHARE, sys.executable, __file__, "inside"], check=False
        ).returncode
    finally:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()


@contextmanager
def user_systemd(folder: Path) -> Iterator[None]:
    """A running user manager, spoken to by `systemctl --user` in the environment of this process."""
    for command in _MOUNTS:
        subprocess.run(command, check=True)
    for name in ("home", "runtime"):
        (folder / name).mkdir(mode=0o700)
    os.environ |= {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "runtime")}
    with (folder / "systemd.log").open("wb") as log:
        manager = subprocess.Popen([_SYSTEMD, "--user", "--log-target=console"], stdout=log, stderr=log)
    try:
        eventually(lambda: systemctl("is-system-running") in {"running", "degraded"}, PATIENCE_SECONDS)
        yield
    finally:
        systemctl("exit")
        manager.wait(PATIENCE_SECONDS)


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", "--user", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


class Kept:
    """The service of `project`, and what becomes of it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.unit = Systemd(project).unit

    def call(self, *argv: str) -> None:
        answer = call(self.project.root, *argv)
        assert answer.code == 0, answer

    def show(self, name: str) -> str:
        return systemctl("show", "--value", f"--property={name}", self.unit)

    def until(self, name: str, value: str) -> None:
        eventually(lambda: self.show(name) == value, PATIENCE_SECONDS)

    def pid(self) -> int:
        self.until("ActiveState", "active")
        return int(self.show("MainPID"))

    def others(self) -> list[psutil.Process]:
        """Workers and landers that live."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if {WORKER, LANDER} & set(process.info["cmdline"] or ())
        ]


def is_up_and_spoken_to(kept: Kept) -> None:
    """Installed, it is up when `enable --now` returns, in a group of its own, and nobody below it can speak for it."""
    kept.call("service", "install")
    holder = read_holder(kept.project.state.coordinator_lock)
    assert holder is not None
    assert (kept.show("ActiveState"), kept.show("MainPID")) == ("active", str(holder.pid))
    assert kept.show("StatusText") == "2 agents up"
    assert len(kept.others()) == 3
    for process in kept.others():
        assert "NOTIFY_SOCKET" not in process.environ()
        assert kept.unit in Path(f"/proc/{process.pid}/cgroup").read_text()


def is_started_again_when_killed(kept: Kept) -> None:
    """Killed, it is started again, and watches the worker that goes on; the item lands in its first attempt."""
    go = kept.project.root.parent / "go-on"
    add(kept.project, "long", f"touch {go}.up; until test -e {go}; do sleep 0.02; done; echo x > long")
    eventually(Path(f"{go}.up").exists, PATIENCE_SECONDS)
    before = kept.pid()
    os.kill(before, signal.SIGKILL)
    kept.until("NRestarts", "1")
    assert kept.pid() != before
    go.touch()
    eventually(lambda: states(kept.project) == {"long": "done"}, PATIENCE_SECONDS)
    assert kinds(kept.project, "long") == ["claimed", "landing", "done"]


def is_held_in_control_groups(kept: Kept) -> None:
    """What an attempt starts is in a control group of its own; so it is in a run by hand, which enters a scope."""
    holder = read_holder(kept.project.state.coordinator_lock)
    assert holder is not None
    found = read_containment(kept.project.state)
    assert found is not None
    assert f"/{kept.unit}/parallel-loop-" in found.base, found
    kept.call("stop", "--wait")
    add(kept.project, "looks", "cat /proc/self/cgroup > groups")
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(kept.project.root), "run", "--drain"]
    subprocess.run(argv, check=True)
    assert ".scope/parallel-loop-" in (kept.project.root / "groups").read_text()
    kept.call("service", "start")


def is_started_again_when_it_hangs(kept: Kept) -> None:
    """Stopped in its tracks, it gives no sign of life, and is started again; while it turns, it is left alone."""
    overrides = Systemd(kept.project).file.with_name(f"{kept.unit}.d")
    overrides.mkdir()
    (overrides / "soon.conf").write_text("[Service]\nWatchdogSec=3\nRestartSec=0\n")
    systemctl("daemon-reload")
    kept.call("service", "restart")
    before = kept.pid()
    time.sleep(7)  # more than twice WatchdogSec: that it is not started again has no other sign than time that passed
    assert kept.pid() == before
    os.kill(before, signal.SIGSTOP)
    kept.until("NRestarts", "1")
    assert kept.pid() != before


def finishes_the_work_in_hand_when_stopped(kept: Kept) -> None:
    """Stopping waits for the program and its landing; it is no failure."""
    go = kept.project.root.parent / "go"
    add(kept.project, "slow", f"touch {go}.up; until test -e {go}; do sleep 0.02; done; echo x > x")
    eventually(Path(f"{go}.up").exists, PATIENCE_SECONDS)
    systemctl("stop", "--no-block", kept.unit)
    kept.until("ActiveState", "deactivating")
    go.touch()
    kept.until("ActiveState", "inactive")
    assert (kept.show("Result"), states(kept.project)["slow"]) == ("success", "done")


def stays_stopped_when_stopped_now(kept: Kept) -> None:
    """`stop --now` ends with 130, which is no failure either."""
    kept.call("service", "start")
    kept.call("stop", "--now", "--wait")
    kept.until("ActiveState", "inactive")
    assert (kept.show("ExecMainStatus"), kept.show("Result"), kept.show("NRestarts")) == ("130", "success", "0")


def is_not_tried_again_with_a_wrong_configuration(kept: Kept) -> None:
    """A configuration is not mended by another start."""
    file = kept.project.root / "parallel-loop.yaml"
    right = file.read_text()
    file.write_text("agents: many\n")
    systemctl("start", kept.unit)
    assert (kept.show("ActiveState"), kept.show("ExecMainStatus"), kept.show("NRestarts")) == ("failed", "2", "0")
    file.write_text(right)


def is_gone_when_uninstalled(kept: Kept) -> None:
    """Uninstalled, nothing of it runs, and systemd knows it no more."""
    kept.call("service", "start")
    kept.call("service", "uninstall")
    assert kept.others() == []
    assert kept.show("LoadState") == "not-found"


TRIALS = (
    is_up_and_spoken_to,
    is_started_again_when_killed,
    is_held_in_control_groups,
    is_started_again_when_it_hangs,
    finishes_the_work_in_hand_when_stopped,
    stays_stopped_when_stopped_now,
    is_not_tried_again_with_a_wrong_configuration,
    is_gone_when_uninstalled,
)


def main() -> int:
    """Try everything on a repository with an odd name; an AssertionError says what is not as it should be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = make_project(folder / '50% of $HOME "q" it\'s ☃ \\', "agents: 2")
        with user_systemd(folder):
            kept = Kept(project)
            for trial in TRIALS:
                trial(kept)
                sys.stdout.write(f"seen: {' '.join((trial.__doc__ or '').split())}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main() if sys.argv[1:] == ["inside"] else enter())
