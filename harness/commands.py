"""What one attempt runs in its worktree: the item's program, and the commands of the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..queue import atomic
from ..queue.taking import Claim, Taker
from ..worktrees.worktree import Worktree
from .heart import Seen
from .logs import open_log, output_tail, plain
from .pausing.pauses import QUICK_SECONDS
from .programs import Placement, invocation
from .prompt import compose
from .runner import Job, Run, run
from .shortage import is_shortage
from .watch import Watch
from .workplace import Workplace

_MAX_QUESTION_BYTES = 65_536


class Commands:
    """Runs commands for the attempt that `claim` stands for, one after the other, into the attempt's log."""

    def __init__(self, place: Workplace, taker: Taker, claim: Claim) -> None:
        self._place = place
        self._taker = taker
        self._claim = claim
        self.log = place.agent.attempt_log(claim.item.id, claim.attempt)
        self._prompt_file = place.agent.prompt_file(claim.item.id, claim.attempt)
        self._ask = self.log.with_suffix(".ask")
        self._wait = self.log.with_suffix(".wait")

    def run_program(
        self, worktree: Worktree, branch: str, note_lasting: Callable[[], None] = lambda: None
    ) -> tuple[Run, str]:
        """Run the item's program; return how it ended, and the end of its output. Raises ConfigError, OSError.

        `note_lasting` is called again and again once it has lasted for longer than a quick failure.
        """
        place, claim, config = self._place, self._claim, self._place.project.config
        prompt = compose(claim.entry)
        atomic.replace_file(self._prompt_file, prompt.encode(errors="surrogatepass"))
        self._ask.unlink(missing_ok=True)
        self._wait.unlink(missing_ok=True)
        answered = any(record.kind == "answered" for record in claim.entry.records)
        placement = Placement(claim.item, claim.attempt, branch, worktree.path, prompt, self._prompt_file, answered)
        start = invocation(placement, config)
        place.heart.tell("working", program=start.program)
        role = config.roles.get(claim.item.role) if claim.item.role else None
        seconds = claim.item.timeout_seconds or (role.timeout_seconds if role else None) or config.limits.time_seconds
        stdin = self._prompt_file if start.prompt_on_stdin else None
        begun = time.monotonic()

        def pulse(watch: Watch | None) -> bool:
            if time.monotonic() - begun >= QUICK_SECONDS:
                note_lasting()
            return self.pulse(watch)

        return self._run(worktree, branch, start.argv, seconds, stdin, pulse)

    def run_shell(self, worktree: Worktree, branch: str, command: str) -> tuple[Run, str]:
        """Run a command line of the configuration; return how it ended, and the end of its output."""
        with open_log(self.log) as log:
            log.write(f"\n== {command}\n".encode(errors="replace"))
        argv, seconds = ("/bin/sh", "-c", command), self._place.project.config.check_timeout_seconds
        return self._run(worktree, branch, argv, seconds)

    def _run(
        self,
        worktree: Worktree,
        branch: str,
        argv: tuple[str, ...],
        seconds: float,
        stdin: Path | None = None,
        pulse: Callable[[Watch | None], bool] | None = None,
    ) -> tuple[Run, str]:
        since = self.log.stat().st_size if self.log.exists() else 0
        place = self._place
        with place.bounds(self._claim.item) as bounds:
            no_progress_seconds = place.project.config.health.no_progress_seconds
            environ = self._environ(worktree, branch)
            job = Job(argv, worktree.path, environ, self.log, seconds, stdin, bounds, no_progress_seconds, self._wait)
            ended = run(job, place.orders, pulse or self.pulse)
        if ended.left:
            place.project.state.record_event(
                "left-running",
                item=self._claim.item.id,
                attempt=self._claim.attempt,
                agent=place.agent.name,
                why=ended.why_left,
            )
        return ended, output_tail(self.log, since)

    def _environ(self, worktree: Worktree, branch: str) -> dict[str, str]:
        return self._place.environ(worktree) | {
            "PARALLEL_LOOP_ITEM": self._claim.item.id,
            "PARALLEL_LOOP_ATTEMPT": str(self._claim.attempt),
            "PARALLEL_LOOP_ROLE": self._claim.item.role or "",
            "PARALLEL_LOOP_BRANCH": branch,
            "PARALLEL_LOOP_PROMPT_FILE": str(self._prompt_file),
            "PARALLEL_LOOP_ASK_FILE": str(self._ask),
            "PARALLEL_LOOP_WAIT_FILE": str(self._wait),
        }

    def pulse(self, watch: Watch | None = None) -> bool:
        """Beat, and tell whether the claim is still ours."""
        self._place.heart.beat(None if watch is None else Seen.of(watch))
        self._place.guard.keep_short()
        return self._taker.holds(self._claim)

    def question(self) -> str:
        """Return what the program asks a person, empty when it asks nothing. Raises OSError for want of room."""
        try:
            data = atomic.read_file(self._ask, _MAX_QUESTION_BYTES)
        except (atomic.Unreadable, OSError) as error:  # a directory, a pipe, a gigabyte
            if is_shortage(error):
                raise
            return f"it asked something that cannot be read: {error}"
        return "" if data is None else plain(data.decode(errors="replace")) or "it gave no reason"

    def log_name(self) -> str:
        """Return how records name the log: relative to the repository, as a person there can open it."""
        return str(self.log.relative_to(self._place.project.root))
