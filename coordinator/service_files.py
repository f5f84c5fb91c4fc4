"""What the machine's service manager is told of a coordinator: a systemd unit for a user, or a launchd property list.

Both restart what fails and leave alone what ended as it was asked to. Both first ask a coordinator to end as `stop`
does (the work in hand is finished), and wait as long as that may take.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..harness.project import Project

_LONGEST_NAME = 40
_WATCHDOG_SECONDS = 120  # the main loop turns every three seconds; a machine that swaps may need a minute
_LANDING_SECONDS = 300  # what committing and merging may take, beside programs and checks
ENDED_AS_ASKED = (1, 130)  # items failed; `stop --now`
NOT_MENDED_BY_A_RESTART = (2, 3)  # the configuration; another coordinator


class ServiceError(Exception):
    """The service manager cannot do it; says why, and what to do instead."""


@dataclass(frozen=True)
class Service:
    """A coordinator as a service: which repository, which Python, and the PATH on which agent programs are found."""

    root: Path
    python: str
    path: str
    stop_seconds: int

    @classmethod
    def of(cls, project: Project, python: str) -> Service:
        return cls(project.root, python, project.environ.get("PATH", os.defpath), longest_stop_seconds(project))

    @property
    def name(self) -> str:
        """A name for people, and a digest of the path, which no other repository has."""
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", self.root.name).strip("-")[:_LONGEST_NAME] or "repository"
        return f"parallel-loop-{readable}-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]}"

    def unit(self) -> str:
        """Return the systemd unit. Raises ServiceError for a path that no unit can hold."""
        start = [self.python, "-X", "faulthandler", "-P", "-m", "parallel_loop.coordinator"]
        start += ["--repo", str(self.root), "run"]
        if set(self.python) & set("\"'\\"):  # which systemd refuses in the name of a program, not in an argument
            start = ["/bin/sh", "-c", 'exec "$@"', "sh", *start]
        return _UNIT.format(
            description=_literal(self.root.name),
            # The colon: a dollar sign in a path is no variable.
            start=" ".join([":" + _quoted(start[0]), *map(_quoted, start[1:])]),
            directory=_literal(str(self.root)) + ("/." if str(self.root)[-1] in " \\" else ""),
            path=_quoted(f"PATH={self.path}"),
            watchdog_seconds=_WATCHDOG_SECONDS,
            stop_seconds=self.stop_seconds,
            ended=" ".join(map(str, ENDED_AS_ASKED)),
            not_mended=" ".join(map(str, NOT_MENDED_BY_A_RESTART)),
        )

    def plist(self, log: Path) -> bytes:
        """Return the launchd property list. Raises ServiceError for a path that no list can hold."""
        arguments = [self.python, "-P", "-m", "parallel_loop.coordinator.service_entry", str(self.root)]
        for text in (*arguments, self.path):
            _refuse_unwritable(text)
        return plistlib.dumps(
            {
                "Label": self.name,
                "ProgramArguments": arguments,
                "WorkingDirectory": str(self.root),
                "EnvironmentVariables": {"PATH": self.path},
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False},  # service_entry.py says which ends are no failures
                "ThrottleInterval": 30,
                "ExitTimeOut": self.stop_seconds,
                "StandardOutPath": str(log),
                "StandardErrorPath": str(log),
            }
        )


def longest_stop_seconds(project: Project) -> int:
    """Return how long the work in hand may take: a program, its checks, and the checks of landing it."""
    config = project.config
    program_seconds = max(
        [config.limits.time_seconds, *(role.timeout_seconds or 0.0 for role in config.roles.values())]
    )
    return int(program_seconds + 2 * len(config.checks) * config.check_timeout_seconds) + _LANDING_SECONDS


def _literal(text: str) -> str:
    """`text` for a setting that systemd takes as it stands, but for its own specifiers."""
    _refuse_unwritable(text)
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """`text` as one word of a command line or a list of variables."""
    escaped = _literal(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _refuse_unwritable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ServiceError(f"{text!r} is no UTF-8 text, which service files have to be; {USE_START}") from None
    if not all(character >= " " and character != "\x7f" for character in text):
        raise ServiceError(f"{text!r} holds a line break or control character, no service file can; {USE_START}")


USE_START = "start the coordinator with `parallel-loop start` instead"
_UNIT = """\
# Written by `parallel-loop service install`, which writes it anew; `systemctl --user edit` keeps your own additions.
[Unit]
Description=parallel-loop in {description}
StartLimitIntervalSec=10min
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={directory}
Environment={path}
Environment=PARALLEL_LOOP_DELEGATED=1
TimeoutStartSec=5min
WatchdogSec={watchdog_seconds}
Restart=on-failure
RestartSec=5
# 1: items failed, 130: stopped now; both ended as asked. 2: the configuration, 3: another coordinator; try no more.
SuccessExitStatus={ended}
RestartPreventExitStatus={not_mended}
# Stopping lets the work in hand finish, for at most so long; `parallel-loop stop --now` ends it at once. Only the
# coordinator is asked, and leaves nothing running. When it is killed, its workers finish what they have and end.
KillMode=process
TimeoutStopSec={stop_seconds}
# The coordinator gives every attempt a group of its own; one that uses up its memory must not take the others along.
Delegate=yes
OOMPolicy=continue
StandardOutput=journal
StandardError=journal
SyslogIdentifier=parallel-loop

[Install]
WantedBy=default.target
"""
