"""One run of a real client: to its end, or to where its case has it stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from support.models.cases import Case
from support.models.clients import Client
from support.models.server import ModelServer
from support.models.wishes import Invocation, Place

_PATIENCE_SECONDS = 150.0
_GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """How a run of a client ended."""

    out: str
    err: str
    exit_code: int
    seconds: float


def run(client: Client, wanted: Invocation, place: Place, server: ModelServer, case: Case | None = None) -> Run:
    """Run `client` to its end, or to where `case` stops it."""
    program = client.program()
    assert program, f"{client.name} is not installed"
    began = time.monotonic()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(wanted.stdin.encode())
        given.seek(0)
        argv = [str(program), *wanted.argv[1:], *(case.more_argv if case else ())]
        streams = {"stdin": given, "stdout": out, "stderr": err}
        process = subprocess.Popen(argv, cwd=place.repository, env=wanted.env, start_new_session=True, **streams)
        try:
            _wait(process, server, case)
        finally:
            _end(process)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return Run(texts[0], texts[1], process.returncode, round(time.monotonic() - began, 2))


def session_of(done: Run) -> str:
    """What a client says that its session is called, or ""."""
    found = re.search(r'"(?:session_id|thread_id|sessionID)":"([^"]+)"', done.out)
    return found[1] if found else ""


def _wait(process: subprocess.Popen[bytes], server: ModelServer, case: Case | None) -> None:
    """Return when it has ended or is to be stopped."""
    before, due = len(server.steps), time.monotonic() + _PATIENCE_SECONDS
    reached = False
    while process.poll() is None and time.monotonic() < due:
        if not reached and case and case.stop_at and len(server.steps) - before >= case.stop_at:
            reached, due = True, time.monotonic() + case.stop_after
        time.sleep(_LOOK_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its process group, as a runner does, and SIGKILL to what is left of it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
