"""The keeper: a small process between a worker and each command that it runs, and all that the command starts.

Guarantees: when the keeper says that it is over, nothing that the command started is alive, whatever it forked and
wherever that went. When its worker dies, also by SIGKILL and together with the coordinator, it ends all of it at once.
The command and what it starts stay below the limits; what goes beyond is ended and told of.

Assumes: Linux (see tree.py); that it is not killed itself. If it is, the worker, which is a subreaper, too, ends what
becomes its own; and if both are, the coordinator does. Only all three at once leave something behind.

Run as a script without site-packages. Its standard streams, environment and directory are those of the command. The
worker holds the other end of a connection, the life-line, on which it may say `end SECONDS SIGNAL`; the keeper says
`started`, or `failed ERRNO`; `usage BYTES CPU-SECONDS PROCESSES`; `over LIMIT AMOUNT`; `exit CODE`; at last
`gone LEFT`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    import cgroup  # type: ignore[import-not-found]
    import tree  # type: ignore[import-not-found]
else:
    from . import cgroup, tree

_LEAST_SECONDS, _MOST_SECONDS = 0.025, 1.0  # between looks at the usage
_FASTEST_BYTES, _FASTEST_FORKS = 8e9, 4000  # a second: a look comes before a limit can be reached at this rate
_DOUBTFUL = 0.9  # of the limit: from here on memory that is shared is not counted twice, which costs more to find out
_LEFTOVER_SECONDS = 0.5  # between SIGTERM and SIGKILL for what a command left running when it ended by itself
_OOM_SCORE = "500"  # the kernel takes a program before it takes a worker or the user's editor


class Limits:
    """What a command and all below it may use; 0 is no limit. `cpus`: on which processors, empty for all.

    What is used is told every `tell_seconds`.
    """

    def __init__(self, memory_bytes: int, processes: int, cpus: str, tell_seconds: float) -> None:
        self.memory_bytes, self.processes, self.tell_seconds = memory_bytes, processes, tell_seconds
        self.cpus = {int(cpu) for cpu in cpus.split(",") if cpu}


class Keeper:
    """Keeps one command."""

    def __init__(self, wire: int, limits: Limits, group: str) -> None:
        self._wire, self._limits = wire, limits
        self._is_alone = False
        self._unsaid = self._unheard = b""
        self._group = cgroup.Cgroup(group) if group else None
        self._program = 0
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._look_at = self._tell_at = 0.0
        self._over = False
        self._ending: tree.Ending = tree.Ending(reaped=self._note_end)
        self._is_ending = False
        os.set_blocking(wire, False)
        os.set_inheritable(wire, False)

    def run(self, argv: list[str]) -> None:
        """Start the command, keep it, end what is left."""
        tree.become_subreaper()
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._end(_LEFTOVER_SECONDS))
        if self._start(argv):
            while not self._is_over():
                self._turn()
        if self._group is not None:
            self._group.remove()
        os.set_blocking(self._wire, True)  # a worker that is stopped hears the rest when it goes on
        self._tell(f"gone {self._ending.left}")

    def _start(self, argv: list[str]) -> bool:
        failure, failing = os.pipe2(os.O_CLOEXEC)
        try:
            self._program = os.fork()
        except OSError as error:  # no room for another process, which is no fault of the command
            self._tell(f"failed {error.errno}")
            return False
        if self._program == 0:
            self._become(argv, failing)
        os.close(failing)
        with os.fdopen(failure, "rb") as pipe:
            problem = pipe.read().decode()
        self._tell(f"failed {problem}" if problem else "started")
        return not problem

    def _become(self, argv: list[str], failing: int) -> None:
        """Be the command; never returns."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGCHLD,
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGPIPE,
                signal.SIGXFSZ,
            ):
                signal.signal(number, signal.SIG_DFL)
            if self._group is not None:
                self._group.enter()
            self._restrain()
            os.execvpe(argv[0], argv, os.environ)  # noqa: S606
        except OSError as error:
            os.write(failing, f"{error.errno}".encode())
        finally:
            os._exit(127)

    def _restrain(self) -> None:
        """Be the first to go when memory is short, and stay on the processors that were given.

        Not also below others in the waiting for processors (`nice`, autogroup): on a busy machine what is being ended
        then takes half a minute to end.
        """
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(_OOM_SCORE)
        if self._limits.cpus:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, self._limits.cpus)

    # --- while it runs --------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._is_ending and self._ending.step()

    def _turn(self) -> None:
        seconds = tree.LOOK_SECONDS if self._is_ending else max(0.0, self._look_at - time.monotonic())
        ready, _, _ = select.select([self._wake, *([] if self._is_alone else [self._wire])], (), (), seconds)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        tree.reap_ended((), self._note_end)  # in any case: the program can open the pipe, and read what is to wake us
        if self._wire in ready:
            self._obey()
        if not self._is_ending and time.monotonic() >= self._look_at:
            self._look()

    def _note_end(self, pid: int, status: int) -> None:
        if pid == self._program:
            self._program = 0
            self._ask_group()
            self._tell(f"exit {os.waitstatus_to_exitcode(status)}")
            self._end(_LEFTOVER_SECONDS)

    def _obey(self) -> None:
        """Do what the worker says; when there is no worker any more, nobody wants this to go on."""
        try:
            data = os.read(self._wire, 4096)
        except ConnectionError:
            data = b""
        *lines, self._unheard = (self._unheard + data).split(b"\n")
        for line in lines:
            grace_seconds, number = line.removeprefix(b"end ").split()
            if self._program:
                self._ending.first[self._program] = signal.Signals(int(number))
            self._end(float(grace_seconds))
        if not data:
            self._is_alone = True
            self._end(0.0)

    def _end(self, grace_seconds: float) -> None:
        self._is_ending = True
        self._ending.hurry(grace_seconds)
        if grace_seconds <= 0 and self._group is not None:
            self._group.kill()

    # --- limits ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Compare what is used with the limits, and look again before one can have been passed."""
        members = tree.below(os.getpid())
        rss_bytes = sum(member.rss_bytes for member in members)
        memory_bytes = self._memory_bytes(members, rss_bytes)
        limits, now = self._limits, time.monotonic()
        self._ask_group()
        if memory_bytes > limits.memory_bytes > 0:  # what forks between two looks at it counts twice: look again
            members = tree.below(os.getpid())
            memory_bytes = min(memory_bytes, self._memory_bytes(members, sum(one.rss_bytes for one in members)))
        if limits.memory_bytes and memory_bytes > limits.memory_bytes:
            self._tell_over("memory", memory_bytes)
        elif limits.processes and len(members) > limits.processes:
            self._tell_over("processes", len(members))
        room = min(
            limits.tell_seconds,
            (limits.memory_bytes - memory_bytes) / _FASTEST_BYTES if limits.memory_bytes else _MOST_SECONDS,
            (limits.processes - len(members)) / _FASTEST_FORKS if limits.processes else _MOST_SECONDS,
        )
        self._look_at = now + min(_MOST_SECONDS, max(_LEAST_SECONDS, room))
        if now >= self._tell_at:
            self._tell_at = now + limits.tell_seconds
            times = os.times()
            cpu_seconds = sum(member.cpu_seconds for member in members) + times.children_user + times.children_system
            fair_bytes = sum(tree.shared_fairly_bytes(member.pid) or 0 for member in members) or rss_bytes
            if not self._unsaid:
                self._tell(f"usage {fair_bytes} {cpu_seconds:.2f} {len(members)}")

    def _ask_group(self) -> None:
        """See whether the kernel has refused or ended something for a limit."""
        excess = self._group.excess() if self._group is not None else None
        if excess is not None:
            self._tell_over(*excess)

    def _memory_bytes(self, members: list[tree.Member], rss_bytes: int) -> int:
        if not self._limits.memory_bytes or rss_bytes < _DOUBTFUL * self._limits.memory_bytes:
            return rss_bytes
        return sum(tree.shared_fairly_bytes(member.pid) or self._rss_bytes(member) for member in members)

    def _rss_bytes(self, member: tree.Member) -> int:
        """Return the memory of one of which nothing better is known: none if it has ended meanwhile."""
        now = tree.look_at(member.pid)
        return now.rss_bytes if now is not None else 0

    def _tell_over(self, limit: str, amount: int) -> None:
        if not self._over:
            self._over = True
            self._tell(f"over {limit} {amount}")
            self._end(0.0)

    def _tell(self, line: str) -> None:
        """Say it; what a worker that has been stopped has no room for any more waits for the next word."""
        self._unsaid += os.fsencode(line) + b"\n"
        with contextlib.suppress(OSError):  # nobody reads it now, or ever
            while self._unsaid:
                self._unsaid = self._unsaid[os.write(self._wire, self._unsaid) :]


def main(arguments: list[str]) -> None:
    """Keep the command after the first seven arguments; see kept.py for those."""
    wire, memory, processes, cpus, group, tell_seconds, own_ctype = arguments[:7]
    if not own_ctype:
        os.environ.pop("LC_CTYPE", None)  # Python sets it where the locale is C; it is none of the command's
    limits = Limits(int(memory), int(processes), cpus, float(tell_seconds))
    Keeper(int(wire), limits, group).run(arguments[7:])
    os._exit(0)  # there is nothing to put away, and a worker waits


if __name__ == "__main__":
    main(sys.argv[1:])
