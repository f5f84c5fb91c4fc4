"""`run --debug` on a terminal: it tells all that it does, stops at breakpoints, and Ctrl-C is what it is elsewhere."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parallel_loop.harness.project import Project
from support.cli import CommandLine
from support.landing import landed_items
from support.runs import PATIENCE_SECONDS, add, end_all, make_project, states

# `breakpoint()` in our own code, as somebody plants one who looks for a fault.
PLANTED = """
import sys
from parallel_loop.coordinator.cli import main
from parallel_loop.harness.commands import Commands

original = Commands.run_program

def run_program(self, worktree, branch, *more):
    breakpoint()
    return original(self, worktree, branch, *more)

Commands.run_program = run_program
sys.exit(main(["run", "--debug", *sys.argv[1:]]))
"""
CTRL_C = "\x03"


class Terminal:
    """A program's controlling terminal, and somebody at it who reads and types."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self._descriptor = descriptor
        self._pid = pid
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until `text` is there."""
        begin, deadline = len(self.seen), time.monotonic() + PATIENCE_SECONDS
        while text not in self.seen[begin:]:
            assert time.monotonic() < deadline, self.seen
            assert self._read(), self.seen

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self._descriptor], (), (), PATIENCE_SECONDS)[0]:
            return False
        try:
            data = os.read(self._descriptor, 4096)
        except OSError:  # nobody is at the other end any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


@contextmanager
def debugging(project: Project, *options: str, **variables: str) -> Iterator[Terminal]:
    """`run --debug` with these options and a breakpoint planted before the program runs."""
    script = project.root.parent / "planted.py"
    script.write_text(PLANTED)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(project.root)
        os.execve(sys.executable, [sys.executable, str(script), *options], {**project.environ, **variables})
    try:
        yield Terminal(descriptor, pid)
    finally:
        os.close(descriptor)
        end_all(project)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "r", "checks: ['echo looks at $PARALLEL_LOOP_ITEM']")


def test_a_breakpoint_stops_on_the_terminal_and_the_item_lands_after_it(project: Project) -> None:
    add(project, "one", "echo begun; test -t 0 || (: < /dev/tty) 2>/dev/null || echo no terminal; echo x > x")
    with debugging(project, "--drain") as terminal:
        terminal.until("(Pdb) ")
        terminal.type("p branch\n")
        terminal.until("'parallel-loop/item/one/1'")
        terminal.type("c\n")
        code = terminal.end()
    assert code == 0, terminal.seen
    assert landed_items(project, "main") == ["one"]
    for step in (
        r"\[git\] git symbolic-ref .*parallel-loop/item/one/1: exit code 0 after \d+ ms\r\n",
        r"\[heart\] agent-1: working\r\n\[runner\] runs /bin/sh -c .*\r\nbegun\r\nno terminal\r\n",
        r"\[runner\] exited after [\d.]+ s, exit code 0\r\n",
        r"\[runner\] runs /bin/sh -c 'echo looks at .*\r\nlooks at one\r\n",
        r"one#1  done: landed",
        r"-        ended: 1 done, 0 failed, none left",
    ):
        assert re.search(step, terminal.seen), (step, terminal.seen)
    claimed, prepared = terminal.seen.index("one#1  claimed"), terminal.seen.index("agent-1: preparing")
    assert claimed < prepared
    assert "\x1b[" not in terminal.seen
    assert "git rev-parse" not in terminal.seen, "of what only looks there is too much"
    assert not re.search("[0-9a-f]{40}", terminal.seen)


def test_after_the_debugger_ctrl_c_finishes_the_item_in_hand(project: Project, tmp_path: Path) -> None:
    add(project, "in-hand", f"echo begun; until test -e {tmp_path}/go; do sleep 0.02; done; echo x > x")
    add(project, "later")
    with debugging(project) as terminal:
        terminal.until("(Pdb) ")
        terminal.type("c\n")
        terminal.until("begun\r\n")  # shown while the program runs
        terminal.type(CTRL_C)
        terminal.until("^C")
        (tmp_path / "go").touch()
        assert terminal.end() == 0, terminal.seen
    assert states(project) == {"in-hand": "done", "later": "ready"}


def test_quitting_the_debugger_is_an_interruption_and_loses_nothing(project: Project) -> None:
    add(project, "one")
    with debugging(project, "--drain") as terminal:
        terminal.until("(Pdb) ")
        terminal.type("q\n")
        assert terminal.end() == 130
        assert terminal.seen.endswith("parallel-loop: interrupted\r\n")
    with debugging(project, "--drain", PYTHONBREAKPOINT="0") as terminal:  # as everywhere in Python
        assert terminal.end() == 0, terminal.seen
    assert states(project) == {"one": "done"}


def test_what_contradicts_itself_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = CommandLine(capsys, monkeypatch, project.root)
    for more in (["--agents", "2"], ["--json"]):
        answer = cli("run", "--debug", *more)
        assert (answer.code, answer.line.startswith("--debug runs one agent")) == (2, True)
