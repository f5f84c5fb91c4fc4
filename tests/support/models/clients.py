"""The real coding agents that we know how to run without a person, against the fake model server and nothing else.

`CLIENTS[name]` knows how it is run (`invoking.py`), its version, and what it can do. Programs are looked for in the
folder that the variable CLIENTS names, or in `.venv/clients`, where `make` puts them; what the user has installed is
not touched. As a program, `clients.py npm claude codex` prints the packages to install,
`clients.py installed` who is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.models import invoking
from support.models.cases import Case
from support.models.wishes import Invocation, Place, Wish

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Client:
    name: str
    version: str
    package: str
    registry: str  # npm or PyPI
    invoke: Callable[[Place, Wish], Invocation]
    ending: str = "jsonl"  # of what it prints
    beside: str = ""  # a package that it needs and does not ask for
    result: str = ""  # a file below HOME that says how it ended
    can: frozenset[str] = field(default_factory=frozenset)  # of: resume deny turns budget subscription commands

    def can_do(self, case: Case) -> bool:
        return {*case.needs.split()} <= self.can and self.name in (case.only or {self.name})

    def program(self) -> Path | None:
        """The installed program, or None."""
        folder = Path(os.environ.get("CLIENTS") or ROOT / ".venv" / "clients")
        path = folder / ("node_modules/.bin" if self.registry == "npm" else f"{self.name}/bin") / self.name
        return path if path.exists() else None


def _can(words: str) -> frozenset[str]:
    return frozenset(words.split())


CLIENTS = {
    client.name: client
    for client in (
        Client(
            *("claude", "2.1.329", "@anthropic-ai/claude-code", "npm", invoking.claude),
            can=_can("resume deny turns budget subscription commands"),
        ),
        Client(*("codex", "0.169.0", "@openai/codex", "npm", invoking.codex), can=_can("resume deny commands")),
        Client(
            *("gemini", "0.61.0", "@google/gemini-cli", "npm", invoking.gemini), can=_can("resume deny turns commands")
        ),
        Client(*("opencode", "1.18.33", "opencode-ai", "npm", invoking.opencode), can=_can("resume deny commands")),
        Client(
            *("mini", "2.4.6", "mini-swe-agent", "PyPI", invoking.mini),
            ending="txt",
            beside="mcp",
            result="traj.json",
            can=_can("turns budget commands"),
        ),
        Client(*("aider", "0.86.2", "aider-chat", "PyPI", invoking.aider), ending="txt"),
    )
}


def main(what: str, *names: str) -> None:
    """Print what to install from a registry for these clients, or for all; or which of them are `installed`."""
    if what == "installed":
        _print_installed(names or tuple(CLIENTS))
    elif what == "names":
        sys.stdout.write(" ".join(client.name for client in CLIENTS.values() if client.registry in names) + "\n")
    else:
        _print_packages(what, names)


def _print_installed(names: tuple[str, ...]) -> None:
    """Print who is there, and say loudly who is not: what is left out was not tested."""
    there = [name for name in names if CLIENTS[name].program()]
    lacking = [name for name in names if name not in there]
    if lacking:
        folder = os.environ.get("CLIENTS") or ".venv/clients"
        sys.stderr.write(f"LEFT OUT, not tested: {' '.join(lacking)}; not installed in {folder}\n")
    if not there:
        sys.exit("none of them is installed: nothing was tested")
    sys.stdout.write(" ".join(there) + "\n")


def _print_packages(registry: str, names: tuple[str, ...]) -> None:
    between = "@" if registry == "npm" else "=="
    chosen = [
        client for client in CLIENTS.values() if client.registry == registry and client.name in (names or CLIENTS)
    ]
    packages = [f"{client.package}{between}{client.version} {client.beside}".strip() for client in chosen]
    sys.stdout.write(" ".join(packages) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
