"""What one attempt runs in its worktree: the item's program, and the commands of the configuration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from ..queue import atomic
from ..queue.requests import OVER_BUDGET
from ..queue.taking import Claim, Taker
from ..worktrees.worktree import Worktree
from .briefing import Place, prompt_for
from .budgets import cap_of
from .configuration.config import Config
from .configuration.settings import SHELL
from .dialects.story import Story
from .heart import Seen
from .job import Job, Run
from .listener import Listener
from .logs import note_end, open_log, output_tail, plain
from .pausing.pauses import QUICK_SECONDS
from .programs import Invocation, Placement, invocation
from .resuming import Resumption, used_before
from .runner import run
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
        self._ask = place.agent.outbox / f"{self.log.stem}.ask"
        self._wait = place.agent.outbox / f"{self.log.stem}.wait"
        self._result_file = self.log.with_suffix(".result")
        self._events = place.agent.events_file(claim.item.id, claim.attempt)
        self.session: str | None = None  # what we called the program's session, where it will not tell it itself

    def run_program(
        self, worktree: Worktree, branch: str, resumed: Resumption | None, note_lasting: Callable[[], None]
    ) -> tuple[Run, str, Story | None]:
        """Run the item's program; return how it ended, the end of its output, and what it told of its work.

        It goes on with the session that is to be `resumed`. `note_lasting` is called again and again once it has lasted
        for longer than a quick failure. Raises ConfigError, OSError.
        """
        place, claim, config = self._place, self._claim, self._place.project.config
        place_in_git = Place(worktree.git(), "HEAD", branch, claim.attempt, place.target)
        prompt = prompt_for(claim.entry, place.project, place_in_git, resumed)
        atomic.replace_own(self._prompt_file, prompt.encode(errors="surrogatepass"))
        self._ask.unlink(missing_ok=True)
        self._wait.unlink(missing_ok=True)
        self.interruption()  # one that came before was for what ran then
        cap = cap_of(claim.entry, place.project)
        if cap is not None and resumed is not None:
            cap = cap._replace(before=used_before(resumed, place.project.state))
        answered = any(record.kind == "answered" for record in claim.entry.records)
        placement = Placement(
            item=claim.item,
            attempt=claim.attempt,
            branch=branch,
            worktree=worktree.path,
            prompt=prompt,
            prompt_file=self._prompt_file,
            result_file=self._result_file,
            outbox=place.agent.outbox,
            answered=answered,
            session=_new_session() if resumed is None else resumed.session,
            resumes=resumed is not None,
            most_usd=None if cap is None else cap.usd,
        )
        if cap is not None and cap.is_nothing:
            return Run(OVER_BUDGET, 0.0, problem=f"nothing is left of what it may cost ({cap.key})"), "", None
        start = invocation(placement, config)
        listener = self._listener(start)
        place.heart.tell("working", program=start.program)
        role = config.roles.get(claim.item.role) if claim.item.role else None
        seconds = claim.item.timeout_seconds or (role.timeout_seconds if role else None) or config.limits.time_seconds
        begun = time.monotonic()

        def pulse(watch: Watch | None) -> bool:
            if time.monotonic() - begun >= QUICK_SECONDS:
                note_lasting()
            return self.pulse(watch)

        if _names_what_nobody_tells(start, config):
            self.session = placement.session
        ended, output = self._run(
            replace(self._job(worktree, branch, start, seconds), listener=listener, cap=cap), pulse
        )
        return ended, output, None if listener is None else listener.story

    def _listener(self, start: Invocation) -> Listener | None:
        """Return what hears a program whose output is understood."""
        self._result_file.unlink(missing_ok=True)
        if start.dialect is None:
            return None
        from .dialects.table import BY_NAME  # not before a program needs it: a worker must start quickly

        return Listener(BY_NAME[start.dialect], self.log, self._events, self._result_file)

    def run_shell(self, worktree: Worktree, branch: str, command: str) -> tuple[Run, str]:
        """Run a command line of the configuration; return how it ended, and the end of its output."""
        with open_log(self.log) as log:
            log.write(f"\n== {command}\n".encode(errors="replace"))
        start = Invocation(SHELL, ("/bin/sh", "-c", command), prompt_on_stdin=False)
        seconds = self._place.project.config.check_timeout_seconds
        ended, output = self._run(self._job(worktree, branch, start, seconds), self.pulse)
        if not ended.ok:
            note_end(self.log, ended.describe("it"))
        return ended, output

    def _job(self, worktree: Worktree, branch: str, start: Invocation, seconds: float) -> Job:
        return Job(
            argv=start.argv,
            directory=worktree.path,
            environ=self._environ(worktree, branch) | dict(start.environ),
            log=self.log,
            timeout_seconds=seconds,
            stdin=self._prompt_file if start.prompt_on_stdin else None,
            no_progress_seconds=self._place.project.config.health.no_progress_seconds,
            wait_file=self._wait,
            quiet_seconds=start.quiet_seconds,
            stop_seconds=start.stop_seconds,
            stop_signal=start.stop_signal,
            interrupt_file=self._place.agent.interrupt,
        )

    def _run(self, job: Job, pulse: Callable[[Watch | None], bool]) -> tuple[Run, str]:
        since = self.log.stat().st_size if self.log.exists() else 0
        place = self._place
        with place.bounds(self._claim.item) as bounds:
            ended = run(replace(job, bounds=bounds), place.orders, pulse)
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

    def interruption(self) -> str:
        """Return what a person said who interrupted the program, and forget it."""
        path = self._place.agent.interrupt
        try:
            data = atomic.read_file(path, _MAX_QUESTION_BYTES)
        except (atomic.Unreadable, OSError):
            data = None
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return "" if data is None else plain(data.decode(errors="replace"))

    def log_name(self) -> str:
        """Return how records name the log: relative to the repository, as a person there can open it."""
        return str(self.log.relative_to(self._place.project.root))


def _names_what_nobody_tells(start: Invocation, config: Config) -> bool:
    """Whether we name the program's session, and nothing that it prints can be read as that name."""
    if start.program == SHELL or start.dialect not in {None, "text", "trajectory"}:
        return False
    return config.adapter(start.program).session == "chosen"


def _new_session() -> str:
    from uuid import uuid4

    return str(uuid4())
