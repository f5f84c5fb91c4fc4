"""The live view on real pseudo-terminals: what ends up on the screen, and that the terminal is put back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import IO

import msgspec
import pytest
from rich.console import Console

from parallel_loop.coordinator.drawing.live import RUN_HINTS, LiveView, can_draw, open_live_view
from parallel_loop.coordinator.snapshot import Snapshot
from support.runs import add, make_project
from support.snapshots import busy, hostile, quiet

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"
_SEQUENCE = re.compile(r"\x1b\[(\d+);1H|\x1b\[(2K|2J|J)|([^\x1b]+)|\x1b\[[?\d;]*[a-zA-Z]")


class Clock:
    """Moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """As much of a terminal as the view needs: it obeys positions and erasing, and takes text."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self._row = 1

    def feed(self, text: str) -> None:
        for row, erase, words in _SEQUENCE.findall(text):
            if row:
                self._row = int(row)
            elif erase == "2J":
                self.rows = {}
            elif erase == "J":
                self.rows = {row: text for row, text in self.rows.items() if row < self._row}
            elif erase == "2K":
                self.rows[self._row] = ""
            elif words:
                self.rows[self._row] = self.rows.get(self._row, "") + words

    def text(self) -> list[str]:
        return [self.rows.get(row, "") for row in range(1, max(self.rows, default=0) + 1)]


def console_on(file: IO[str], columns: int = 80, rows: int = 24) -> Console:
    return Console(file=file, width=columns, height=rows, force_terminal=True, _environ={"TERM": "xterm-256color"})


def older(snapshot: Snapshot, seconds: float) -> Snapshot:
    """The same after so many seconds of running, in a far future in which no age depends on the time of the test."""
    changed = msgspec.structs.replace(snapshot.coordinator, uptime_seconds=seconds)
    return msgspec.structs.replace(snapshot, at="2999-01-01T00:00:00.000000Z", coordinator=changed)


def picture(snapshot: Snapshot, size: tuple[int, int]) -> list[str]:
    """What a screen shows on which nothing was drawn before."""
    file, screen = StringIO(), Screen()
    with LiveView(console_on(file, *size), hints=RUN_HINTS, clock=Clock()) as view:
        view.show(snapshot)
        screen.feed(file.getvalue())
    return screen.text()


def test_what_is_sent_adds_up_to_the_picture_through_changes_and_sizes() -> None:
    file, clock, screen = StringIO(), Clock(), Screen()
    console = console_on(file)
    with LiveView(console, hints=RUN_HINTS, clock=clock) as view:
        for snapshot, size in [
            (older(busy(3), 724), (80, 24)),
            (older(busy(3), 725), (80, 24)),
            (older(quiet(), 726), (80, 24)),
            (older(busy(64), 727), (50, 18)),
            (older(hostile(), 728), (120, 40)),
            (older(busy(3), 729), (120, 40)),
        ]:
            console.size = size  # type: ignore[assignment]
            clock.now += 1
            file.seek(0)
            file.truncate()
            view.show(snapshot)
            screen.feed(file.getvalue())
            assert screen.text() == picture(snapshot, size)
            assert len(screen.text()) <= size[1]


def test_an_unchanged_picture_sends_nothing_and_many_at_once_are_drawn_once() -> None:
    file, clock = StringIO(), Clock()
    view = LiveView(console_on(file), clock=clock)
    with view:
        view.show(older(busy(), 724))
        drawn = file.tell()
        view.show(older(busy(), 800))  # at the same moment: too soon
        assert file.tell() == drawn
        clock.now += 1
        view.show(older(busy(), 724))
        assert file.tell() == drawn
        clock.now += 1
        view.show(older(busy(), 801))
        changed = file.getvalue()[drawn:]
    assert "up 13m21s" in changed
    assert changed.count("\x1b[2K") == 1  # the header alone


def test_the_last_picture_stays_on_the_users_own_screen_even_if_it_came_too_soon_to_be_drawn() -> None:
    file = StringIO()
    with LiveView(console_on(file), hints=RUN_HINTS, clock=Clock()) as view:
        view.show(busy())
        view.show(older(busy(), 4000))
    before, after = file.getvalue().split(LEAVE)
    assert before.startswith(ENTER)
    assert SHOW_CURSOR in before
    assert "up 1h06m" in after
    assert "Ctrl-C" not in after
    assert after.endswith("\n")
    assert after.count("\n") < 24  # the prompt that follows does not scroll it


@dataclass
class Pty:
    """A pseudo-terminal: what the program writes to, and what the user reads."""

    master: int
    file: IO[str]

    def read_all(self) -> str:
        """Read until the program's side is closed."""
        data = b""
        with suppress(OSError):  # that is how a pseudo-terminal says that nobody has it open any more
            while chunk := os.read(self.master, 1 << 16):
                data += chunk
        return data.decode()


@pytest.fixture
def pty() -> Iterator[Pty]:
    master, slave = os.openpty()
    found = Pty(master, os.fdopen(slave, "w", encoding="utf-8"))
    yield found
    os.close(found.master)
    found.file.close()


def test_a_terminal_that_nobody_reads_holds_nothing_up(pty: Pty) -> None:
    clock = Clock()
    with LiveView(console_on(pty.file, 200, 60), clock=clock) as view:
        for turn in range(60):  # each sends kilobytes more than the kernel keeps
            clock.now += 1
            view.show(older(hostile() if turn % 2 else busy(64), turn))


def test_after_a_frozen_terminal_goes_on_the_picture_is_whole(pty: Pty) -> None:
    clock = Clock()
    os.set_blocking(pty.master, False)
    received = b""

    def drain() -> bytes:
        data = b""
        try:
            while chunk := os.read(pty.master, 1 << 16):
                data += chunk
        except BlockingIOError:
            return data
        return data

    with LiveView(console_on(pty.file, 200, 60), hints=RUN_HINTS, clock=clock) as view:
        for turn in range(30):
            clock.now += 1
            view.show(older(hostile() if turn % 2 else busy(64), turn))
        last = older(busy(3), 90)
        for _ in range(1000):  # the kernel hands over in pieces of its own size
            received += drain()
            clock.now += 1
            view.show(last)
            screen = Screen()
            screen.feed(received.decode(errors="replace"))
            if screen.text() == picture(last, (200, 60)):
                return
    pytest.fail("the screen never showed the last picture")


def test_a_terminal_stopped_by_control_s_holds_nothing_up(pty: Pty) -> None:
    clock = Clock()
    with LiveView(console_on(pty.file), clock=clock) as view:
        view.show(busy())
        termios.tcflow(pty.file.fileno(), termios.TCOOFF)
        for turn in range(50):
            clock.now += 1
            view.show(older(busy(64), turn))
        termios.tcflow(pty.file.fileno(), termios.TCOON)


def test_a_terminal_that_is_gone_is_no_error(pty: Pty) -> None:
    clock = Clock()
    with LiveView(console_on(pty.file), clock=clock) as view:
        view.show(busy())
        os.close(pty.master)
        for turn in range(3):
            clock.now += 1
            view.show(older(busy(64), turn))
    pty.master = os.open(os.devnull, os.O_RDONLY)


_PROGRAM = """
import os, signal, sys
from support.snapshots import busy
from parallel_loop.coordinator.drawing.live import open_live_view
with open_live_view() as view:
    view.show(busy())
    {end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("raise RuntimeError('a fault')", 1),
        ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT),
    ],
)
def test_whatever_ends_it_the_terminal_is_put_back_with_the_picture_on_it(pty: Pty, end: str, code: int) -> None:
    termios.tcsetwinsize(pty.file.fileno(), (24, 80))
    environ = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parent)}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environ.pop(name, None)
    descriptor = pty.file.fileno()
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(end=end)],
        stdin=descriptor,
        stdout=descriptor,
        stderr=subprocess.DEVNULL,
        env=environ,
    ) as process:
        pty.file.close()
        output = pty.read_all()
        assert process.wait(timeout=60) == code
    drawn, left = output.split(LEAVE)
    assert drawn.index(ENTER) < drawn.index("fix-login-redi") < drawn.rindex(SHOW_CURSOR)
    assert "\x1b[?7h" in drawn
    assert "parallel-loop answer choose-licence TEXT" in left
    assert "\x1b[?" not in left


def test_a_run_with_the_dashboard_ends_with_a_line_that_says_what_came_of_it(pty: Pty, tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "one")
    descriptor = pty.file.fileno()
    command = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "run", "--agents", "1", "--drain"]
    environ = {**project.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=project.root, stdout=descriptor, stderr=descriptor, env=environ) as process:
        pty.file.close()
        output = pty.read_all()
        assert process.wait(timeout=60) == 0, output
    assert output.endswith("ended: 1 done, 0 failed, none left\r\n")


class Tty(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "asked", "coloured"), [("", False, True), ("1", False, False), ("", True, False)])
def test_no_colour_is_used_when_the_environment_or_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch, variable: str, asked: bool, coloured: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", Tty())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", variable)
    with open_live_view(no_color=asked) as view:
        view.show(busy())
    assert isinstance(sys.stdout, Tty)
    assert ("\x1b[32m" in sys.stdout.getvalue()) == coloured
    assert "running" in sys.stdout.getvalue()


def test_only_a_terminal_that_can_move_its_cursor_is_drawn_on(pty: Pty) -> None:
    assert can_draw(pty.file, {"TERM": "xterm"})
    assert not can_draw(pty.file, {"TERM": "dumb"})
    assert not can_draw(pty.file, {})
    assert not can_draw(StringIO(), {"TERM": "xterm"})
