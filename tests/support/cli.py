"""Calling the command line: in this process where only its answer matters, as a process where its end does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from parallel_loop.coordinator.cli import main
from support.repository import environment


class Answer(NamedTuple):
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error; AssertionError when it is not one line of the right form."""
        assert self.err.startswith("parallel-loop: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n"), self.err
        return self.err.removeprefix("parallel-loop: ").rstrip("\n")


class CommandLine:
    """Calls commands in this process, from `directory`."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self._capsys = capsys
        self.monkeypatch = monkeypatch
        self.directory = directory
        for name in ("PARALLEL_MODE", "PARALLEL_AGENTS", "PARALLEL_LOOP_ASK_FILE", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)

    def __call__(self, *argv: str) -> Answer:
        self.monkeypatch.chdir(self.directory)
        self._capsys.readouterr()
        code = main(argv)
        out, err = self._capsys.readouterr()
        return Answer(code, out, err)


def call(directory: Path, *argv: str | bytes, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> Answer:
    """Run the command line as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "parallel_loop.coordinator", *argv],
        cwd=directory,
        env=environment() | {"PYTHONPATH": "", "COLUMNS": "100"} | dict(environ or {}),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Answer(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))
