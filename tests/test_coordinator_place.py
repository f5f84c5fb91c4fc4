"""A place and its process: real processes, started, watched, told, adopted and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from parallel_loop.coordinator.place import Place, Process
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.identity import Identity, boot_id, own_identity
from parallel_loop.harness.state import AgentDirectory, Heartbeat
from support.waiting import eventually

MODULES = {
    "obeys": "import sys\nprint('ready', flush=1)\nfor line in sys.stdin:\n print(line, end='', flush=1)\n"
    " if line == 'finish\\n': break\nelse: print('eof')",
    "fails": "import sys\nprint('first words')\nprint('no module named x\\n\\n')\nsys.exit(7)",
    "silent": "import signal\nsignal.pause()",
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    agent = AgentDirectory(tmp_path / "agents" / "agent-1")
    agent.create()
    place = Place(agent, "obeys", ())
    yield place
    if place.process is not None:
        place.process.send(signal.SIGKILL)
        assert place.process.wait(10.0)
        place.empty()


def start(place: Place, module: str) -> Process:
    """Start one of MODULES in the place, from a folder that only this process looks in."""
    folder = place.directory.root / "modules"
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(MODULES[module])
    place.module = module
    place.start({**os.environ, "PYTHONPATH": str(folder)}, folder)
    assert place.process is not None
    return place.process


def said(place: Place) -> list[str]:
    return place.directory.worker_log.read_text().split("\n")[:-1]


def test_a_process_is_told_orders_and_ends_when_it_is_told_to(place: Place) -> None:
    process = start(place, "obeys")
    process.tell("pause")
    eventually(lambda: "pause" in said(place))
    assert process.is_alive
    assert not process.wait(0.0)
    process.ask_to_finish()
    process.tell("nobody listens")
    assert process.wait(10.0)
    assert (process.exit_code, process.describe_end()) == (0, "ended with code 0")
    assert said(place) == ["ready", "pause", "finish"], "the end of its input would say that we died"


def test_orders_to_the_dead_are_lost_and_do_no_harm(place: Place) -> None:
    process = start(place, "silent")
    process.send(signal.SIGKILL)
    assert process.wait(10.0)
    assert process.describe_end() == "was ended by signal 9"
    process.tell("pause")
    process.ask_to_finish()
    process.send(signal.SIGTERM)


def test_a_process_that_does_not_read_cannot_stop_who_speaks_to_it(place: Place) -> None:
    process = start(place, "silent")
    for _ in range(20_000):
        process.tell("pause")
    process.ask_to_finish()
    assert process.is_alive


def test_nobody_else_can_give_it_orders_or_hide_that_we_died(place: Place) -> None:
    """Who opens a pipe of another process through /proc can write to it, and holds it open."""
    process = start(place, "obeys")
    with pytest.raises(OSError, match="No such device"):
        os.open(f"/proc/{process.pid}/fd/0", os.O_WRONLY)
    process.close()
    eventually(lambda: said(place) == ["ready", "eof"])


def test_the_last_words_are_those_of_this_process_and_of_none_before(place: Place) -> None:
    assert start(place, "fails").wait(10.0)
    assert place.last_words() == "no module named x"
    place.empty()
    process = start(place, "silent")
    process.send(signal.SIGKILL)
    assert process.wait(10.0)
    assert place.last_words() == ""


def test_what_the_processes_before_came_to_is_added_up(place: Place) -> None:
    for done in (2, 3):
        process = start(place, "silent")
        me = own_identity()
        beat = Heartbeat(agent=place.name, pid=process.pid, process_start=1.0, boot=me.boot, at="", beat=1.0)
        place.directory.heartbeat.write_bytes(msgspec.json.encode(msgspec.structs.replace(beat, done=done, failed=1)))
        process.send(signal.SIGKILL)
        assert process.wait(10.0)
        place.empty()
    assert (place.done, place.failed) == (5, 2)


def test_of_a_long_log_the_last_twenty_lines_are_kept(place: Place) -> None:
    assert start(place, "fails").wait(10.0)
    place.directory.worker_log.write_text("".join(f"line {number}\n" for number in range(5000)))
    place.keep_last_lines()
    assert place.last_lines == tuple(f"line {number}" for number in range(4980, 5000))
    place.empty()
    start(place, "silent")
    assert place.last_lines == (), "another chance"


def test_a_pipe_in_place_of_the_log_is_not_waited_for(place: Place) -> None:
    os.mkfifo(place.directory.worker_log)
    with pytest.raises(FileExistsError):
        start(place, "silent")


def test_a_log_that_is_gone_has_no_last_words(place: Place) -> None:
    assert place.last_words() == ""


def test_what_lies_in_the_users_repository_is_not_imported(place: Place, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the repository')")
    place.module = "json.tool"
    place.start(dict(os.environ), tmp_path)
    assert place.process is not None
    place.process.close()
    assert place.process.wait(10.0)
    assert "imported from the repository" not in place.last_words()


def test_deaths_are_counted_until_a_process_achieves_something(place: Place) -> None:
    for expected in (1, 2, 3):
        assert start(place, "fails").wait(10.0)
        place.count_death()
        assert (place.restarts.deaths_in_a_row, place.restarts.total) == (expected, expected)
        place.empty()
    process = start(place, "silent")
    Heart(place.directory, 0.0).rest(done=1)
    rewrite_pid(place, process.pid)
    process.send(signal.SIGKILL)
    assert process.wait(10.0)
    place.count_death()
    assert (place.restarts.deaths_in_a_row, place.restarts.total) == (1, 4)


def rewrite_pid(place: Place, pid: int) -> None:
    """Let the heartbeat that this process wrote be that of the process in the place."""
    path = place.directory.heartbeat
    path.write_text(path.read_text().replace(f'"pid":{os.getpid()}', f'"pid":{pid}'))


def test_the_heartbeat_of_a_predecessor_is_nobodys(place: Place) -> None:
    Heart(place.directory, 0.0).rest()
    assert place.heartbeat() is None
    process = start(place, "silent")
    assert place.heartbeat() is None
    rewrite_pid(place, process.pid)
    assert place.heartbeat() is not None


def test_a_heartbeat_of_the_future_hides_no_silence(place: Place) -> None:
    """A program can write one into its worker's file and then stop it."""
    process = start(place, "silent")
    Heart(place.directory, 0.0).rest()
    rewrite_pid(place, process.pid)
    before = place.heartbeat()
    assert before is not None
    Heart(place.directory, 0.0, lambda: 1e12).rest()
    rewrite_pid(place, process.pid)
    assert place.heartbeat() == before
    Heart(place.directory, 0.0).rest()
    rewrite_pid(place, process.pid)
    after = place.heartbeat()
    assert after is not None
    assert after.beat > before.beat


def test_a_process_of_an_earlier_coordinator_is_watched_and_can_be_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as other:
        identity = Identity(other.pid, identity_of(other.pid), boot_id())
        process = Process.adopt(identity)
        assert process is not None
        assert process.is_adopted
        assert process.is_alive
        assert not process.wait(0.0)
        process.send(signal.SIGTERM)
        assert process.wait(10.0)
        assert (process.exit_code, process.describe_end()) == (None, "ended")
        process.send(signal.SIGTERM)
        process.close()
        process.close()


def identity_of(pid: int) -> float:
    """The start of a process, as it says of itself."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def test_without_pidfd_it_goes_more_slowly_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parallel_loop.coordinator.process.exit_descriptor", lambda _pid: None)
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as other:
        process = Process.adopt(Identity(other.pid, identity_of(other.pid), boot_id()))
        assert process is not None
        process.send(signal.SIGKILL)
        assert process.wait(10.0)
        process.close()


@pytest.mark.parametrize("wrong", ["pid", "start", "boot"])
def test_a_process_that_only_has_the_same_number_is_not_adopted(wrong: str) -> None:
    own = own_identity()
    identities = {
        "pid": own._replace(pid=2**22 + 1),
        "start": own._replace(process_start=own.process_start - 100),
        "boot": own._replace(boot="another"),
    }
    descriptors = psutil.Process().num_fds()
    assert Process.adopt(identities[wrong]) is None
    assert psutil.Process().num_fds() == descriptors
