"""From an exception to one line on standard error and an exit code.

Guarantees: whatever a command raises, the caller sees one line and no traceback, and the exit code tells scripts what
kind of failure it was. What we did not foresee is a fault of ours: its traceback goes into a file that the line names,
and the exit code is 70.

Assumes: our errors say in their own text what, where, why and what to do; only their kind is told apart here.
"""

from __future__ import annotations

import errno
import os
import re
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from ..harness.configuration.wording import one_line  # not where it is used: with no file left to open, imports fail

FAILED = 1  # items failed, or what was asked about does not exist
USAGE = 2  # wrong usage or configuration; nothing was changed
RUNNING = 3  # another coordinator runs here
ENVIRONMENT = 4  # git, the file system or the machine cannot do it
FAULT = 70  # a fault in this program (EX_SOFTWARE of sysexits.h)
INTERRUPTED = 130  # as a shell reports an end by SIGINT
READER_GONE = 141  # as a shell reports an end by SIGPIPE

# Our errors by name, whatever module they are in: importing them all here would make this the one place that fails
# when something else is broken, which is when it is needed. A test compares the table with the classes there are.
CODES = {
    **dict.fromkeys(("ClaimerDied", "NoSuchItem", "NotRunning", "NotThere", "Refused"), FAILED),
    **dict.fromkeys(("ConfigError", "DocumentError", "InvalidId", "InvalidItem", "BranchTaken", "WrongUsage"), USAGE),
    **dict.fromkeys(("AlreadyRunning", "PlaceTaken", "Superseded"), RUNNING),
    **dict.fromkeys(("BareRepository", "EmptyRepository", "NotARepository"), ENVIRONMENT),
    **dict.fromkeys(("ForeignDirectory", "GitError", "GitMissing", "GitTooOld", "WorktreeGone"), ENVIRONMENT),
    **dict.fromkeys(("ImportUnfinished", "LockTimeout", "NewerFormat", "NoHardLinks"), ENVIRONMENT),
    **dict.fromkeys(("NoPlace", "ServiceError", "StateGone", "Unreadable", "Unsuitable"), ENVIRONMENT),
}
_REMEDIES = {
    errno.ENOSPC: "make room on the disk, then run this again",
    errno.EDQUOT: "make room in your quota, then run this again",
    errno.EFBIG: "a limit on the size of files is in force; raise it (`ulimit -f`), then run this again",
    errno.EROFS: "the file system is read-only; mount it writable, or work in a copy of the repository",
    errno.EACCES: "give yourself the permission, or run this as the owner of that path",
    errno.EPERM: "give yourself the permission, or run this as the owner of that path",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), then run this again",
    errno.ENFILE: "the machine has too many open files; end some programs, then run this again",
    errno.ENOMEM: "end some programs to free memory, then run this again",
    errno.EAGAIN: "the machine has no process or memory left; raise `ulimit -u` or end some programs",
    errno.EIO: "the disk does not answer as it should; look at the kernel's log",
    errno.ETIMEDOUT: "let it go on (`fg`) or end it, then run this again",
    errno.EEXIST: "something else has that name; move it away",
    errno.ENOTDIR: "something else has that name; move it away",
    errno.EISDIR: "a directory has that name; move it away",
    errno.ELOOP: "a symbolic link leads nowhere; move it away",
    errno.ENAMETOOLONG: "the path is too long; move the repository to a shorter one",
}


class WrongUsage(Exception):
    """The command line asks for something that cannot be done; says what and what to write instead."""


class NotThere(Exception):
    """What was asked about does not exist."""


class NoPlace(Exception):
    """The current directory was deleted or cannot be entered."""


def report(error: BaseException, find_state: Callable[[], Path | None]) -> int:
    """Print the line for `error` and return the exit code. `find_state` tells where a traceback may be kept."""
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        _forget_output()
        return READER_GONE
    if isinstance(error, OSError):  # may be about the output itself, which would fail again when we end
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()
    code, text = _explain(error, find_state)
    with suppress(OSError, ValueError):
        click.echo(f"parallel-loop: {one_line(text)}", err=True)
    return code


def _explain(error: BaseException, find_state: Callable[[], Path | None]) -> tuple[int, str]:
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED, "interrupted"
    if isinstance(error, click.ClickException):
        return USAGE, _explain_usage(error)
    code = _code_of(error)
    if code is not None:
        seen = "; see `parallel-loop doctor`" if type(error).__name__ == "Unreadable" else ""
        return code, _flat(str(error)) + seen
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        where = f"cannot use {os.fsdecode(error.filename)}" if error.filename is not None else "cannot go on"
        return ENVIRONMENT, f"{where}: {error.strerror}; {_REMEDIES[error.errno]}"
    place = _keep_traceback(error, find_state)
    return FAULT, f"a fault in parallel-loop itself: {type(error).__name__}: {error}; {place}"


def _explain_usage(error: click.ClickException) -> str:
    """Click's message on one line, with the command it is about and where its options are explained."""
    text = error.format_message().strip().removesuffix(".").replace("\n", " ")
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and context is not None:
        text = _of_all_commands(error.option_name, context) or text
    path = context.command_path if context is not None else "parallel-loop"
    name = path.removeprefix("parallel-loop").strip()
    return f"{name + ': ' if name else ''}{text[:1].lower()}{text[1:]}; see `{path} --help`"


def _of_all_commands(option: str, context: click.Context) -> str | None:
    """Say where an option goes that is not of one command but of all; None when it is no such one."""
    for parameter in context.find_root().command.params:
        if option in parameter.opts:
            value = f" {parameter.metavar}" if parameter.metavar else ""
            command = context.command_path.removeprefix("parallel-loop").strip()
            return f"{option} goes before the command: `parallel-loop {option}{value} {command}`"
    return None


def _code_of(error: BaseException) -> int | None:
    """Return the exit code of an error of ours, None for one of anybody else's."""
    ours = __name__.partition(".")[0] + "."
    for kind in type(error).__mro__:
        if kind.__module__.startswith(ours) and kind.__name__ in CODES:
            return CODES[kind.__name__]
    return None


def _flat(text: str) -> str:
    """Join the lines of a message that shows a command's output indented; other line breaks stay visible."""
    return re.sub(r"\n {2,}", " ", text)


def _keep_traceback(error: BaseException, find_state: Callable[[], Path | None]) -> str:
    """Write the traceback to a file and return the end of the message, which names it."""
    with suppress(OSError, ImportError):  # what went wrong before may go wrong here as well
        import tempfile
        import traceback

        text = f"Python {sys.version}\n\n" + "".join(traceback.format_exception(error))
        for folder in (find_state(), Path(tempfile.gettempdir())):
            if folder is None:
                continue
            with suppress(OSError):
                descriptor, name = tempfile.mkstemp(prefix="crash-", suffix=".txt", dir=folder)
                with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
                return f"please report it with {name}"
    return "its traceback could not be kept, please report it all the same"


def _reader_is_gone() -> bool:
    """Tell a closed standard output (`| head`) from any other broken pipe, which must not end in silence."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _forget_output() -> None:
    """Let what is left of the output go nowhere, or Python would complain about it at its end."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
