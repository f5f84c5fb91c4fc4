"""The coordinator as a service of the user: installed, removed, looked at and spoken to through systemd or launchd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from ..harness.project import Project
from ..queue import atomic
from .service_files import USE_START, Service, ServiceError

_LOOK_SECONDS = 0.2


class Manager(ABC):
    """The service of one repository, as its manager sees it. Every method raises ServiceError or OSError."""

    program: str  # what it is spoken to with
    file: Path  # what tells it of the service

    def __init__(self, project: Project) -> None:
        self.service = Service.of(project, sys.executable)
        self._log = project.state.coordinator_log

    @property
    def is_installed(self) -> bool:
        return self.file.exists()

    @abstractmethod
    def content(self) -> bytes:
        """Return what `file` has to hold."""

    @abstractmethod
    def install(self) -> None:
        """Write the file, and have the service started now and whenever the user's session begins."""

    @abstractmethod
    def uninstall(self) -> None:
        """Stop the service and remove its file."""

    @abstractmethod
    def do(self, verb: str) -> None:
        """`start`, `stop` or `restart` the service."""

    @abstractmethod
    def state(self) -> dict[str, str]:
        """Return what is known of the service now: among others its `pid`, if it runs."""

    def runs(self, pid: int) -> bool:
        """Whether the process is this service's; False as well where that cannot be known."""
        try:
            return self.is_installed and self.state().get("pid") == str(pid)
        except (ServiceError, OSError):
            return False

    def _write(self) -> None:
        content = self.content()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace_file(self.file, content)

    def _call(self, *arguments: str) -> str:
        """Run the manager's program and return what it says. Raises ServiceError."""
        if shutil.which(self.program) is None:
            raise ServiceError(f"there is no {self.program} on this machine; {USE_START}")
        done = subprocess.run(
            [self.program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
            raise ServiceError(f"`{self.program} {' '.join(arguments)}` failed: {said}")
        return done.stdout


class Systemd(Manager):
    """A unit of the user's own systemd."""

    program = "systemctl"

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.unit = f"{self.service.name}.service"
        self.file = Path.home() / ".config/systemd/user" / self.unit

    def content(self) -> bytes:
        return self.service.unit().encode()

    def install(self) -> None:
        self._require_session()
        self._write()
        self._systemctl("daemon-reload")
        try:
            self._systemctl("enable", "--now", self.unit)
        except ServiceError as error:
            raise ServiceError(f"{error}; it is installed, and `journalctl --user -u {self.unit}` says more") from None

    def uninstall(self) -> None:
        self._systemctl("disable", "--now", self.unit)
        with suppress(ServiceError):  # only a unit that has failed has anything to reset
            self._systemctl("reset-failed", self.unit)
        self.file.unlink(missing_ok=True)
        self._systemctl("daemon-reload")

    def do(self, verb: str) -> None:
        self._systemctl(verb, self.unit)

    def state(self) -> dict[str, str]:
        shown = self._systemctl(
            "show", self.unit, "--property=ActiveState,SubState,MainPID,StatusText,NRestarts,UnitFileState"
        )
        found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        pid = found.pop("MainPID", "0")
        return {key: value for key, value in found.items() if value} | ({"pid": pid} if pid != "0" else {})

    def lingers(self) -> bool:
        """False when the user's services are ended at logout; True as well where that cannot be known."""
        try:
            done = subprocess.run(
                ["loginctl", "show-user", str(os.getuid()), "--property=Linger"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            return True
        return done.stdout.strip() != "Linger=no"

    def _require_session(self) -> None:
        try:
            self._systemctl("show", "--property=Version")
        except ServiceError as error:
            raise ServiceError(f"your own systemd cannot be reached here: {error}; {USE_START}") from None

    def _systemctl(self, *arguments: str) -> str:
        return self._call("--user", *arguments)


class Launchd(Manager):
    """An agent of the user's launchd."""

    program = "launchctl"

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.file = Path.home() / "Library/LaunchAgents" / f"{self.service.name}.plist"
        self._domain = f"gui/{os.getuid()}"
        self._target = f"{self._domain}/{self.service.name}"

    def content(self) -> bytes:
        return self.service.plist(self._log)

    def install(self) -> None:
        if self.is_installed and self._is_loaded():
            self._call("bootout", self._target)
        self._write()
        self._call("bootstrap", self._domain, str(self.file))

    def uninstall(self) -> None:
        if self._is_loaded():
            self._call("bootout", self._target)
        self.file.unlink(missing_ok=True)

    def do(self, verb: str) -> None:
        running = "pid" in self.state()
        if verb != "start" and running:
            self._call("kill", "SIGTERM", self._target)  # `kickstart -k` would not wait for the work in hand
        while verb == "restart" and "pid" in self.state():
            time.sleep(_LOOK_SECONDS)
        if verb != "stop":
            self._call("kickstart", self._target)

    def state(self) -> dict[str, str]:
        found = re.findall(r"^\s*(state|pid|last exit code) = (.*)$", self._call("print", self._target), re.MULTILINE)
        return dict(reversed(found))  # the first of a name is the service's own

    def _is_loaded(self) -> bool:
        try:
            self._call("print", self._target)
        except ServiceError:
            return False
        return True


def find_manager(project: Project) -> Manager:
    """Return the manager that this kind of machine has; that it can be reached shows when it is spoken to."""
    return Launchd(project) if os.uname().sysname == "Darwin" else Systemd(project)
