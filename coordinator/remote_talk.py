"""One fetch or push, in a thread of its own, and the patience with a remote that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..worktrees.errors import GitError, GitMissing
from ..worktrees.remote import Fetched, Moved, Pushed, Rewound, Trouble
from ..worktrees.target import Blocked
from ..worktrees.watchdog import Leash

_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 1800.0

Answer = Fetched | Rewound | Pushed | Moved | Trouble


class Talk(threading.Thread):
    """One fetch or push under way."""

    def __init__(self, act: Callable[[Leash], Answer], *, is_push: bool) -> None:
        super().__init__(daemon=True, name="remote")
        self.is_push = is_push
        self.answer: Answer | None = None
        self._leash = Leash()
        self._act = act

    def begin(self) -> None:
        """Start it; that there is no thread for it is an answer, too."""
        try:
            self.start()
        except RuntimeError as error:
            self.answer = Trouble(str(error))

    def end(self) -> None:
        """End what is under way, and wait for that; it can be begun again."""
        self._leash.pull()
        if self.ident is not None:
            self.join()

    def run(self) -> None:
        try:
            self.answer = self._act(self._leash)
        except (GitError, GitMissing, OSError) as error:
            self.answer = Trouble(" ".join(str(error).split()))
        finally:  # a fault of ours is in the lander's log; who waits for an answer must get one
            if self.answer is None:
                self.answer = Trouble("it ended without an answer")


@dataclass
class Patience:
    """When to try again what failed, and what a person is told meanwhile."""

    blocked: Blocked | None = None
    until: float = 0.0
    _failures: int = 0

    def fail(self, blocked: Blocked) -> None:
        """Tell this of it, and let twice as much time pass as after the failure before."""
        self.blocked = blocked
        self.until = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, 10)

    def succeed(self) -> None:
        """Forget the failures."""
        self.blocked, self.until, self._failures = None, 0.0, 0
