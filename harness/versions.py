"""Which agent programs are on this machine, and whether their versions are among those whose behaviour was seen.

Guarantees: nothing that is asked for its version takes longer than 20 seconds, or runs on. A program of the user's
own is asked only where its `tried` says what the answer may be: another one might take `--version` for work to do.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ..worktrees.environment import scrub
from .configuration.settings import SHELL, Config, Program, completed
from .configuration.writing import keys_of

_LIMIT_SECONDS = 20.0  # some are started by an interpreter that takes many to begin, on a machine with much to do
_AT_ONCE = 32  # all of them: who does not answer keeps nobody else waiting
_MOST_CHARACTERS = 20_000
_NUMBER = r"v?(\d+\.\d+(?:\.\w+)*(?:[-+][0-9A-Za-z.-]+)?)"
_VERSION, _NAMED_VERSION = re.compile(rf"(?<![\w.]){_NUMBER}"), re.compile(rf"\bversion[ :]+{_NUMBER}", re.IGNORECASE)


class NoAnswer(Exception):
    """The program was asked for its version and had not ended when its time was over."""


State = Literal["tried", "untried", "only-read", "unknown", "own", "missing"]


@dataclass(frozen=True)
class Found:
    """A program as it is here. `configured` are the keys of it that `programs:` says otherwise than is built in.

    `state`: its version was `tried`, or is `untried`; of it was `only-read`; its version is `unknown`; it is the user's
    `own`; it is `missing`.
    """

    name: str
    start: str
    path: str | None
    version: str | None
    tried: tuple[str, ...]
    configured: tuple[str, ...]
    state: State
    has_answered: bool = True  # in time

    @property
    def remark(self) -> str:
        """Say what there is to know of it, in a few words."""
        versions = ", ".join(self.tried)
        said = "says no version" if self.has_answered else f"did not answer within {_LIMIT_SECONDS:g} s"
        return {
            "tried": "this version was tried",
            "untried": f"this version was not tried; those that were: {versions}",
            "only-read": "never tried: built from what is written about it",
            "unknown": f"{said}; those that were tried: {versions}",
            "own": "your own command line",
            "missing": f"{self.start} is {'not there' if '/' in self.start else 'not on PATH'}",
        }[self.state]


def find_programs(names: Iterable[str], config: Config, root: Path, environ: Mapping[str, str]) -> list[Found]:
    """Look for the programs of these names, but for the shell, as a run in the repository `root` would find them."""
    looked = [name for name in names if name != SHELL]
    with ThreadPoolExecutor(min(_AT_ONCE, len(looked) or 1)) as pool:
        return list(pool.map(partial(_find, config=config, root=root, environ=environ), looked))


def path_of(program: Program, root: Path, environ: Mapping[str, str]) -> str | None:
    """Return where the program is, None where it is not; one whose name depends on the attempt is as it is written."""
    start = (program.argv or ("",))[0]
    if "{" in start:
        return start
    if "/" in start:
        place = root / start
        return str(place) if place.exists() else None
    return shutil.which(start, path=environ.get("PATH"))


def _find(name: str, config: Config, root: Path, environ: Mapping[str, str]) -> Found:
    program = config.adapter(name)
    path, tried = path_of(program, root, environ), program.tried or ()
    built_in = keys_of(completed(name, Program()))
    configured = tuple(key for key, value in keys_of(program).items() if built_in.get(key) != value)
    is_own = "argv" in configured
    version, has_answered = None, True
    if path is not None and "{" not in path and (tried or not is_own):
        try:
            version = version_of(path, {**environ, **(program.env or {})})
        except NoAnswer:
            has_answered = False
    return Found(
        name=name,
        start=(program.argv or ("",))[0],
        path=path,
        version=version,
        tried=tried,
        configured=configured,
        state=_state(path, version, tried, is_own=is_own),
        has_answered=has_answered,
    )


def _state(path: str | None, version: str | None, tried: tuple[str, ...], *, is_own: bool) -> State:
    if path is None:
        return "missing"
    if not tried:
        return "own" if is_own else "only-read"
    if version is None:
        return "unknown"
    return "tried" if version in tried else "untried"


def version_of(path: str, environ: Mapping[str, str]) -> str | None:
    """Ask the program at `path` for its version; None when it says none. Raises NoAnswer."""
    place = tempfile.TemporaryDirectory(prefix="parallel-loop-", ignore_cleanup_errors=True)
    with contextlib.suppress(OSError, ValueError), place as folder:
        process = subprocess.Popen(
            [path, "--version"],
            cwd=folder,  # some leave files where they are started
            env=scrub(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with process:
            return _answer(process)
    return None


def _answer(process: subprocess.Popen[bytes]) -> str | None:
    said = b""
    try:
        said = process.communicate(timeout=_LIMIT_SECONDS)[0]
    except subprocess.TimeoutExpired:
        raise NoAnswer from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
    text = said[:_MOST_CHARACTERS].decode(errors="replace")
    found = (_VERSION.search(text) if process.returncode == 0 else None) or _NAMED_VERSION.search(text)
    return found[1] if found else None
