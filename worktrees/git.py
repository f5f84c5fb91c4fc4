"""The one door to git: every git command of parallel-loop is run by `Git.run`.

Guarantees:
- a command names its directory itself (`-C`, and `--git-dir` with `--work-tree` where known) and starts in `/`. If the
  directory is gone it fails; GitPython alone would run it in the process's own directory, where a reset destroys the
  user's work. With a known git directory, a checkout whose `.git` is gone is not mistaken for the repository around it.
- no variable that points git at another repository, index or configuration gets through, no hook of the user runs, no
  editor or password prompt waits, and nothing is packed or pruned.
- Ctrl-C in the terminal does not reach git: it runs in a session of its own, so a landing is not cut in half.
- failures are GitError, GitMissing or GitTooOld, never an exception of GitPython.

Assumes: GitPython >= 3.2.1, of which only `Git.execute` is used. Its index, ref and object interfaces ignore filters,
have no compare-and-swap and leave processes behind.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .environment import LOCAL_VARIABLES, OWN_CALLS, Identity, scrub
from .errors import GitError, GitMissing, GitTooOld
from .locks import hold
from .watchdog import Leash, Watchdog

__all__ = ["Git", "GitError", "GitMissing", "GitTooOld", "Identity", "Result", "require_git"]

OLDEST_GIT = (2, 38)  # `merge-tree --write-tree`

# Each speaks of a lock or a moment that another git process had, and means that nothing was done.
_TRANSIENT = re.compile(
    r"Unable to create '.*\.lock': File exists|could not lock config file|cannot lock ref .* unable to resolve"
    r"|failed to read .*/commondir|could not open .*/locked|gc is already running"
    r"|Unable to create '.*\.lock': No such file or directory"  # another git removed the empty folder just then
    r"|Resource temporarily unavailable"
)
_PAUSES_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.3)
_log = logging.getLogger(__name__)
# What changes nothing is most of what we run: below DEBUG, unless it takes long.
_LOOK = logging.DEBUG // 2
_LOOKS = re.compile(
    r"(diff-tree|for-each-ref|hash-object|ls-files|merge-base|rev-list|rev-parse|status|symbolic-ref --quiet"
    r"|worktree list|write-tree)\b"
)
_LONG_SECONDS = 1.0

_CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.checkStat=default",  # an edit of the same size with its time put back must still be seen
    "core.trustctime=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "advice.detachedHead=false",
    "i18n.commitEncoding=UTF-8",
    "submodule.recurse=false",  # in a worktree of ours they are not there; in the user's they are theirs
)


@dataclass(frozen=True)
class Result:
    """What one git command said."""

    returncode: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output without surrounding white space; bytes that are no UTF-8 survive as surrogates."""
        return os.fsdecode(self.stdout).strip()

    @property
    def fields(self) -> list[str]:
        """Standard output of a command with `-z`: its NUL-terminated fields."""
        return [os.fsdecode(field) for field in self.stdout.split(b"\0")[:-1]]


class Git:
    """Git bound to one absolute directory.

    `git_dir` binds it to one repository or worktree as well. `lease` is a lock file that every command holds shared
    until it has ended, also when our own process was killed meanwhile (see `Worktree.wait_until_idle`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        git_dir: Path | None = None,
        identity: Identity | None = None,
        configuration: Sequence[str] = (),
        lease: Path | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory = directory.absolute()
        self.git_dir = git_dir
        self._lease = lease
        self._pause = pause
        self._variables = dict(OWN_CALLS) | (identity.variables() if identity else {})
        self._prefix = ["git", "-C", str(self.directory)]
        if git_dir is not None:
            self._prefix += [f"--git-dir={git_dir}", f"--work-tree={self.directory}"]
        for setting in (*_CONFIGURATION, *configuration):
            self._prefix += ["-c", setting]

    def run(
        self,
        *argv: str,
        ok: tuple[int, ...] = (0,),
        stdin: bytes | None = None,
        timeout_seconds: float = 600,
        env: dict[str, str] | None = None,
        leash: Leash | None = None,
    ) -> Result:
        """Run `git argv…`; raises GitError unless its exit code is one of `ok`.

        A command that met another's lock is tried again a few times within half a second. A command that takes longer
        than `timeout_seconds`, or at whose `leash` another thread pulls, is ended and is a GitError with exit code -15.
        """
        pauses = iter(_PAUSES_SECONDS)
        while True:
            result = self._once(argv, stdin, Watchdog(timeout_seconds, leash), self._variables | (env or {}))
            if result.returncode in ok:
                return result
            pause_seconds = next(pauses, None) if _TRANSIENT.search(result.stderr) else None
            if pause_seconds is None:
                raise GitError(argv, self.directory, result.returncode, result.stderr)
            self._pause(pause_seconds)

    def text(self, *argv: str) -> str:
        """Standard output of `git argv…` without surrounding white space; raises GitError."""
        return self.run(*argv).text

    def become(self, *argv: str) -> NoReturn:
        """Go on as `git argv…` in place of this process, on its terminal: with the user's pager and colours."""
        os.execvpe("git", [*self._prefix, *argv], scrub(os.environ))  # noqa: S606 (no shell is what is meant)

    def _once(self, argv: Sequence[str], stdin: bytes | None, watchdog: Watchdog, env: dict[str, str]) -> Result:
        try:
            with self._leased() as descriptors:
                start = time.monotonic()
                result = _execute([*self._prefix, *argv], env, stdin, watchdog, descriptors)
            seconds = time.monotonic() - start
            command = " ".join(argv)
            level = _LOOK if _LOOKS.match(command) and seconds < _LONG_SECONDS else logging.DEBUG
            _log.log(level, "git %s: exit code %d after %.0f ms", command, result.returncode, 1000 * seconds)
            return result
        except (OSError, ValueError) as error:  # no process to be had, argv too long, NUL in it, lease gone
            transient = isinstance(error, BlockingIOError)
            return Result(-1, b"", "Resource temporarily unavailable" if transient else str(error))

    @contextmanager
    def _leased(self) -> Iterator[tuple[int, ...]]:
        if self._lease is None or not self._lease.parent.is_dir():  # git itself says best what is missing
            yield ()
            return
        with hold(self._lease, shared=True) as descriptor:
            yield (descriptor,)


def require_git() -> None:
    """Raise GitMissing or GitTooOld unless a git that can do the work is on PATH."""
    said = Git(Path("/")).text("version")
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GIT:
        raise GitTooOld(said, ".".join(map(str, OLDEST_GIT)))


def _execute(
    argv: list[str], env: dict[str, str], stdin: bytes | None, watchdog: Watchdog, inherit: tuple[int, ...]
) -> Result:
    from shutil import which

    if which("git") is None:  # before the import: GitPython's own import fails without git
        raise GitMissing
    import git

    unwanted = [name for name in LOCAL_VARIABLES if name in os.environ]
    if unwanted:  # GitPython can add variables but not take them away
        argv = ["env", *(f"--unset={name}" for name in unwanted), *argv]
    with watchdog:
        running = git.Git("/").execute(
            argv,
            istream=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            as_process=True,
            env=env,
            start_new_session=True,
            pass_fds=inherit,
        )
        process = running.proc  # `running` must live on: it ends the process when it is dropped
        assert process is not None
        watchdog.watch(process.pid)
        with process:
            out, err = process.communicate(stdin)
    if watchdog.has_bitten:
        err += f"\nended after {watchdog.seconds:g} s".encode()
    return Result(process.returncode, out, err.decode("utf-8", "replace").strip())
