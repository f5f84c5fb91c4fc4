"""Whom we take for alive, and whom we end: nobody else, and all of them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parallel_loop.harness import identity as whose
from parallel_loop.harness.identity import is_alive, own_identity
from parallel_loop.harness.keeping import tree
from parallel_loop.harness.keeping.processes import (
    MARK_AGENT,
    MARK_STATE,
    end_marked,
    exit_descriptor,
)
from parallel_loop.harness.keeping.tree import become_subreaper, below, end_below, look_at
from support.harness import Mark, program
from support.waiting import eventually

SLEEP = ("sleep", "600")


@pytest.fixture
def mark() -> Iterator[Mark]:
    mark = Mark()
    yield mark
    for pid in mark.living():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def others() -> list[int]:
    """Children that earlier tests in this process may have left; not ours to end."""
    return [child.pid for child in psutil.Process().children()]


def start(mark: Mark, argv: tuple[str, ...] = SLEEP, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, env=os.environ | mark.environ | environ, start_new_session=True)


def started(mark: Mark, file: Path, argv: tuple[str, ...], **environ: str) -> subprocess.Popen[bytes]:
    child = start(mark, argv, **environ)
    eventually(file.exists)
    return child


def test_a_process_is_itself_and_nobody_else() -> None:
    me = own_identity()
    assert is_alive(me)
    assert not is_alive(me._replace(process_start=me.process_start + 0.01)), "the pid was given to a later process"
    assert not is_alive(me._replace(boot="another boot"))
    assert not is_alive(me._replace(pid=2**22 + 1))


def test_setting_the_clock_makes_nobody_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = own_identity()
    monkeypatch.setattr(psutil, "boot_time", lambda: 1.0)  # it is the wall clock less the uptime
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 1.0)
    assert own_identity() == before
    assert is_alive(before)


def test_processes_are_known_where_there_is_no_proc(mark: Mark, monkeypatch: pytest.MonkeyPatch) -> None:
    child = start(mark)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda self: False)
        patch.setattr(tree, "_HAS_PROC", False)
        assert child.pid in tree.children(os.getpid())
        seen = look_at(child.pid)
        assert seen is not None
        assert tree.send(tree.Member(seen.pid, "1"), signal.SIGKILL)
        assert look_at(child.pid) is not None
        assert tree.send(seen, signal.SIGKILL)
        assert eventually(lambda: look_at(child.pid) is None), "a zombie is none"
        assert child.pid in tree.children(os.getpid()), "but it is to be reaped"
        assert child.wait() == -signal.SIGKILL
        me = own_identity()
        assert is_alive(me)
        assert not is_alive(me._replace(pid=2**22 + 1))


def test_a_zombie_is_dead_and_its_end_is_told(mark: Mark) -> None:
    child = start(mark)
    seen = whose._look_up(child.pid)
    assert seen is not None
    identity = own_identity()._replace(pid=child.pid, process_start=seen[0])
    assert is_alive(identity)
    descriptor = exit_descriptor(child.pid)
    assert descriptor is not None
    child.kill()
    eventually(lambda: not is_alive(identity))
    assert child.returncode is None, "nobody has waited for it: it is a zombie"
    os.close(descriptor)
    child.wait()
    assert exit_descriptor(child.pid) is None


def test_a_name_that_imitates_the_process_table_is_read_correctly(mark: Mark, tmp_path: Path) -> None:
    hostile = tmp_path / ") Z 1 1"
    hostile.symlink_to("/bin/sleep")
    child = start(mark, (str(hostile), "600"))
    eventually(lambda: Path(f"/proc/{child.pid}/comm").read_text().startswith(")"))
    seen = whose._look_up(child.pid)
    assert seen is not None
    assert not seen[1]
    child.kill()
    child.wait()


def test_descendants_end_politely_when_they_can(mark: Mark, tmp_path: Path, others: list[int]) -> None:
    child = started(mark, tmp_path / "said", program("polite", tmp_path / "said"))
    eventually(lambda: (tmp_path / "said").read_text() == "ready")
    assert end_below(10.0, others) == 1
    assert (tmp_path / "said").read_text() == "SIGTERM"
    assert mark.living() == []
    child.wait()


def test_a_kept_child_keeps_its_own_children(mark: Mark, tmp_path: Path, others: list[int]) -> None:
    kept = started(mark, tmp_path / "up", ("/bin/sh", "-c", f"sleep 600 & : > {tmp_path}/up; wait"))
    other = start(mark)
    assert end_below(0.0, [*others, kept.pid]) == 1
    assert len(mark.living()) == 2
    assert end_below(0.0, others) == 2
    assert mark.living() == []
    kept.wait()
    other.wait()


def test_a_daemon_becomes_our_child_and_ends(mark: Mark, tmp_path: Path, others: list[int]) -> None:
    assert become_subreaper()
    child = started(mark, tmp_path / "pid", program("daemon", tmp_path / "pid"))
    child.wait()
    daemon = int((tmp_path / "pid").read_text())
    assert mark.living() == [daemon]
    assert end_below(0.05, others) == 1, "it ignores SIGTERM"
    assert mark.living() == []


@pytest.mark.parametrize("way", ["", "sessions"])
def test_who_forks_faster_than_we_look_is_caught(mark: Mark, tmp_path: Path, others: list[int], way: str) -> None:
    assert become_subreaper()
    hopper = started(mark, tmp_path / "said", program("hopper", tmp_path / "said", way))
    end_below(0.0, others)
    assert mark.living() == []
    assert (tmp_path / "said").read_text() != "nobody caught me"
    hopper.wait()


def test_a_child_that_appears_when_its_parent_is_reaped_is_not_overlooked(
    mark: Mark, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reap, later = tree.reap_ended, []

    def reap_and_inherit(*arguments: object) -> None:
        if not later:
            later.append(start(mark))  # as if it had been the parent's
        reap(*arguments)

    parent = start(mark, ("true",))
    eventually(lambda: not mark.living())
    monkeypatch.setattr(tree, "reap_ended", reap_and_inherit)
    assert end_below(0.0, others) == 1
    assert mark.living() == []
    for child in (parent, *later):
        child.wait()


def test_somebody_elses_process_is_not_waited_for(
    mark: Mark, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(process: int, number: int) -> None:
        raise PermissionError

    child = start(mark)
    with monkeypatch.context() as patch:  # as with what sudo started
        patch.setattr(signal, "pidfd_send_signal", forbid)
        patch.setattr(os, "killpg", forbid)
        patch.setattr(os, "kill", forbid)
        assert end_below(600.0, others) == 1
    assert mark.living() == [child.pid]
    child.kill()
    child.wait()


def test_what_does_not_die_is_given_up(mark: Mark, others: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    child = start(mark)
    monkeypatch.setattr(tree, "STUCK_SECONDS", 0.05)
    with monkeypatch.context() as patch:  # as with what hangs in the kernel
        patch.setattr(tree, "kill", lambda found: set())
        assert end_below(0.0, others) == 1
    assert mark.living() == [child.pid]
    child.kill()
    child.wait()


def test_nobody_is_signalled_who_got_the_number_of_one_that_ended(mark: Mark) -> None:
    child = start(mark)
    eventually(lambda: mark.living() == [child.pid])
    member = look_at(child.pid)
    assert member is not None
    assert tree.send(tree.Member(member.pid, "1"), signal.SIGKILL), "that one has ended"
    assert mark.living() == [child.pid]
    assert tree.send(member, signal.SIGKILL)
    child.wait()
    assert tree.send(member, signal.SIGKILL), "nobody is left to signal"


def test_no_group_is_signalled_of_who_got_the_number_of_one_that_ended(mark: Mark) -> None:
    child = start(mark)
    eventually(lambda: mark.living() == [child.pid])
    assert tree.kill([tree.Member(child.pid, "1")]) == set()
    assert mark.living() == [child.pid]
    child.kill()
    child.wait()


def test_the_end_has_not_come_while_one_that_was_looked_at_has_left_a_successor(
    mark: Mark, others: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forked and ended between the list of our children and the look at it; what it forked is our child by then."""
    child = start(mark)
    eventually(lambda: mark.living() == [child.pid])
    first = tree.Ending(others)
    first.hurry(0.0)
    monkeypatch.setattr(tree, "below", lambda pid, keep=(): [])
    assert not first.step()
    monkeypatch.setattr(tree, "below", below)
    while not first.step():
        pass
    assert mark.living() == []
    child.wait()


def test_only_the_marked_are_ended_and_what_is_below_them(mark: Mark, tmp_path: Path) -> None:
    state = tmp_path / "a 'state'\nwith ü"
    mine = {MARK_STATE: str(state)}
    orphan = started(
        mark,
        tmp_path / "up",
        ("/bin/sh", "-c", f"env -u {MARK_STATE} sleep 600 & touch {tmp_path}/up; wait"),
        **mine,
        **{MARK_AGENT: "agent-1"},
    )
    spared = [
        start(mark, **mine, **{MARK_AGENT: "agent-10"}),
        start(mark, **{MARK_STATE: "/elsewhere", MARK_AGENT: "agent-1"}),
        start(mark, **mine),
        start(mark),
    ]
    eventually(lambda: len(mark.living()) == 6)
    assert end_marked(state, {"agent-1"}) == 2
    orphan.wait()
    assert sorted(mark.living()) == sorted(child.pid for child in spared)
    assert end_marked(state, "agent-10") == 1, "one name is not read as a collection of letters"
    for child in spared:
        child.kill()
        child.wait()


def test_what_lives_below_is_found_and_measured(mark: Mark, tmp_path: Path) -> None:
    child = started(mark, tmp_path / "up", ("/bin/sh", "-c", f"sleep 600 & : > {tmp_path}/up; wait"))

    def names() -> list[str]:
        return [Path(f"/proc/{member.pid}/comm").read_text() for member in below(child.pid)]

    eventually(lambda: names() == ["sleep\n"])  # between fork and exec it still has the shell's name
    own = look_at(os.getpid())
    fair = tree.shared_fairly_bytes(os.getpid())
    assert own is not None
    assert fair is not None
    assert abs(own.rss_bytes - psutil.Process().memory_info().rss) < 2_000_000
    assert 0 < fair <= own.rss_bytes * 1.01
    assert own.cpu_seconds > 0
    for pid in mark.living():
        os.kill(pid, signal.SIGKILL)
    child.wait()
    assert look_at(child.pid) is None
    assert below(child.pid) == []
    assert tree.shared_fairly_bytes(child.pid) is None
