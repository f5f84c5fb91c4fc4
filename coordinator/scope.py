"""A systemd scope for a run: where the user's systemd gives us control groups that this process does not have.

Guarantees: a run goes on as it is wherever that is not sure to work. The process keeps its id, its terminal, its
streams and what its parent waits for: systemd-run moves itself into the scope and becomes the command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from ..harness.keeping import cgroup

_SCOPE = ("--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes")
_PATIENCE_SECONDS = 5.0


def enter_scope(environ: MutableMapping[str, str], arguments: Sequence[str]) -> None:
    """Become `parallel-loop ARGUMENTS` in a scope of its own, unless we have control groups or cannot get them."""
    group, systemd_run = cgroup.own_group(), shutil.which("systemd-run")
    manager = Path(environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "systemd", "private")
    if cgroup.DELEGATED in environ or group is None or cgroup.is_delegated(group):
        return
    if systemd_run is None or not manager.exists():
        return
    command = [systemd_run, *_SCOPE, "--"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True, timeout=_PATIENCE_SECONDS)
        environ[cgroup.DELEGATED] = "1"
        os.execve(  # noqa: S606
            systemd_run, [*command, sys.executable, "-P", "-m", "parallel_loop.coordinator", *arguments], environ
        )
    except (OSError, subprocess.SubprocessError):
        environ.pop(cgroup.DELEGATED, None)
