"""The command line as a process of its own: its end, its streams, its speed of loading."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.coordinator import cli as command_line
from parallel_loop.coordinator.cli import main
from support.cli import CommandLine, call
from support.repository import environment, make_repository

PROGRAM = [sys.executable, "-m", "parallel_loop.coordinator"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "répo with 'quotes'\nand more")


def test_json_is_one_document_and_everything_else_goes_to_standard_error(root: Path) -> None:
    prompt = "Fix it\n" + "x" * 1_000_000
    (root / "parallel-loop.yaml").write_text("program: mine\nprograms:\n  mine: {argv: [cat]}\n")

    added = call(root, "add", "--prompt-file", "-", "--json", stdin=prompt.encode())
    answers = [call(root, *argv, "--json") for argv in (["list"], ["show", "fix-it"], ["status"])]

    assert json.loads(added.out)["id"] == "fix-it"
    listed, shown, status = (json.loads(answer.out) for answer in answers)
    assert [row["id"] for row in listed] == [shown["id"]] == ["fix-it"]
    assert (status["version"], status["coordinator"]["state"], status["queue"]["ready"]) == (1, "stopped", 1)
    assert [(answer.code, answer.err) for answer in (added, *answers)] == [(0, "")] * 4
    refused = call(root, "show", "nope", "--json")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)


def test_a_repository_path_that_is_no_utf8_can_be_used(tmp_path: Path) -> None:
    place = os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9po")
    root = make_repository(Path(place))

    assert call(root, "add", "--command", "true").out == "true\n"
    assert json.loads(call(root, "doctor", "--json").out)["repaired"] == []
    assert "r\\xe9po" in call(root, "doctor", "--json").out.replace("\\\\", "\\")
    assert call(root, "init").code == 0


def test_a_prompt_that_is_no_utf8_is_refused(root: Path) -> None:
    answer = call(root, "add", b"caf\xe9")

    assert (answer.code, answer.line) == (2, "the prompt is not UTF-8 text at byte 3; convert it to UTF-8")


def test_a_reader_that_goes_away_ends_the_output_in_silence(root: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, "list", "--json"], cwd=root, env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room; macOS has none")
def test_a_full_disk_under_the_output_is_said(root: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "list", "--json"], cwd=root, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode == 4
    assert done.stderr == (
        b"parallel-loop: cannot go on: No space left on device; make room on the disk, then run this again\n"
    )


@pytest.mark.skipif(
    not Path("/sys/kernel").exists(), reason="needs /sys/kernel of Linux, where not even root can make a folder"
)
def test_a_state_directory_that_cannot_be_written_is_said_with_its_path(root: Path) -> None:
    (root / ".parallel-loop").symlink_to("/sys/kernel")

    answer = call(root, "add", "--command", "true")

    assert answer.code == 4
    assert answer.line.startswith("cannot use ")
    assert ".parallel-loop/agents: " in answer.line


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("RLIMIT_FSIZE", "0", b"File too large; a limit on the size of files is in force"),
        ("RLIMIT_NOFILE", "lowest", b"Too many open files; raise the limit of open files"),
    ],
)
def test_a_disk_or_a_process_that_takes_no_more_is_said_and_leaves_no_half_item(
    root: Path, limit: str, value: str, said: bytes
) -> None:
    call(root, "add", "--command", "true", "--id", "a")
    # The limit is lifted again at the end: what measures coverage has a file to write there.
    script = (
        "import os, sys; from resource import *; from parallel_loop.coordinator.cli import main\n"
        f"lowest = os.dup(0); os.close(lowest); before = getrlimit({limit})\n"
        f"setrlimit({limit}, ({value}, before[1])); code = main(['add', '--command', 'true', '--id', 'b'])\n"
        f"setrlimit({limit}, before); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment(), capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr.count(b"\n") == 1
    assert said in done.stderr
    assert [row["id"] for row in json.loads(call(root, "list", "--json").out)] == ["a"]
    assert call(root, "add", "--command", "true", "--id", "b").code == 0


def test_a_file_system_without_hard_links_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    cli = CommandLine(capsys, monkeypatch, root)
    monkeypatch.setattr(os, "link", refuse)

    for command in (["init"], ["add", "--command", "true"]):
        answer = cli(*command)
        assert answer.code == 4
        assert "has no hard links (Operation not permitted); keep the repository's state on one that has" in answer.line
    assert not (root / "parallel-loop.yaml").exists()


def test_a_queue_that_was_moved_to_where_it_cannot_be_is_not_run(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = CommandLine(capsys, monkeypatch, root)
    assert cli("add", "--command", "true", "--id", "a").code == 0
    honest = os.listdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda path: [name.lower() for name in honest(path)])
        lower_case = cli("run", "--drain")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: None)
        without_locks = cli("run", "--drain")

    assert (lower_case.code, "does not keep names as they were given; keep" in lower_case.line) == (4, True)
    assert (without_locks.code, "gives one lock to two holders; keep" in without_locks.line) == (4, True)
    assert [row["state"] for row in json.loads(call(root, "list", "--json").out)] == ["ready"]


def test_a_file_in_place_of_the_state_directory_is_said_with_its_path(root: Path) -> None:
    (root / ".parallel-loop").write_text("mine")

    answer = call(root, "add", "--command", "true")

    assert (answer.code, answer.line.endswith("something else has that name; move it away")) == (4, True)
    assert (root / ".parallel-loop").read_text() == "mine"


def test_a_current_directory_that_was_deleted_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd '{gone}' && rmdir '{gone}' && exec '{sys.executable}' -m parallel_loop.coordinator list"

    done = subprocess.run(["/bin/sh", "-c", script], env=environment(), capture_output=True, check=False)

    assert done.returncode == 4
    assert done.stderr.startswith(b"parallel-loop: the current directory cannot be used")


def test_following_a_log_shows_it_on_a_terminal_without_steering_it_and_ends_with_ctrl_c(
    root: Path,
) -> None:
    from parallel_loop.harness.identity import own_identity
    from parallel_loop.harness.project import Project
    from parallel_loop.queue.markers import Owner
    from parallel_loop.queue.taking import Taker

    project = Project.open(root, {})
    call(root, "add", "--command", "true", "--id", "a")
    taker = Taker(project.queue, Owner("agent-1", *own_identity()))
    assert taker.take() is not None
    log = project.state.agent("agent-1").attempt_log("a", 1)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"begin \x1b[2J\x1b[32mgreen\x1b[0m\n")
    terminal, theirs = pty.openpty()
    follower = subprocess.Popen(
        [*PROGRAM, "logs", "a", "--follow"], cwd=root, env=environment(), stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    seen = b""
    while b"green" not in seen:
        seen += os.read(terminal, 1000)
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    os.close(terminal)
    taker.close()

    assert seen.startswith(b"begin ^[[2J\x1b[32mgreen")
    assert (follower.returncode, err) == (130, b"parallel-loop: interrupted\n")


def test_watching_draws_on_the_terminal_until_ctrl_c(root: Path) -> None:
    call(root, "add", "--command", "true", "--id", "watched-item")
    call(root, "cancel", "watched-item")
    terminal, theirs = pty.openpty()
    watcher = subprocess.Popen(
        [*PROGRAM, "status", "--watch"],
        cwd=root,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"},
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    seen = b""
    while b"watched-item" not in seen:
        seen += os.read(terminal, 10_000)
    watcher.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the other end was closed
        while os.read(terminal, 10_000):
            pass
    _, err = watcher.communicate(timeout=30)
    os.close(terminal)

    assert (watcher.returncode, err) == (130, b"parallel-loop: interrupted\n")


def test_a_fault_of_ours_is_one_line_that_names_the_kept_traceback(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = CommandLine(capsys, monkeypatch, root)
    cli("add", "--command", "true")
    monkeypatch.setitem(command_line.COMMANDS, "list", "no_such_module:nothing")

    answer = cli("list")

    [kept] = (root / ".parallel-loop").glob("crash-*.txt")
    assert answer.code == 70
    assert answer.line.startswith("a fault in parallel-loop itself: ModuleNotFoundError: ")
    assert answer.line.endswith(f"please report it with {kept}".replace("\n", "\\n"))
    assert "Traceback (most recent call last)" in kept.read_text()


def test_no_arguments_show_the_help_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("Usage: parallel-loop")) == ("", True)


@pytest.mark.parametrize("argv", [["--version"], ["list", "--json"], ["status", "--json"], ["add", "--command", "x"]])
def test_quick_commands_load_none_of_the_heavy_libraries(root: Path, argv: list[str]) -> None:
    script = (
        "import sys; from parallel_loop.coordinator.cli import main; code = main(sys.argv[1:]);"
        "print({'rich', 'git', 'yaml', 'asyncio'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *argv], cwd=root, env=environment(), capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"set()\n")
