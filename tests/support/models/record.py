"""Runs real clients against the fake model server, and keeps what they print (`make transcripts`).

`record.py claude codex --case usage`: some of them; without names all that are installed. In `tests/transcripts`
`<case>.jsonl` is standard output as it came, `<case>.err` standard error where there was any, and `cases.json` says for
each case how the run ended and what is to be read from it. Paths, ports and this machine's name are replaced by fixed
ones, and it is an error if one is left. Nothing but `tests/transcripts` is written to. Run it where there is no network
but the loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.models.cases import CASES, Case
from support.models.clients import CLIENTS, ROOT, Client
from support.models.running import Run, run, session_of
from support.models.script import prompt
from support.models.scrubbing import Scrub, cut_loop, cut_traceback, in_short
from support.models.server import ModelServer
from support.models.wishes import Place, Wish
from support.repository import git, make_repository

TRANSCRIPTS = ROOT / "tests" / "transcripts"


def record(client: Client, case: Case, folder: Path) -> dict[str, Any]:
    """Record one case in `folder`; returns what `cases.json` says of it."""
    with tempfile.TemporaryDirectory() as tmp, ModelServer() as server:
        root = Path(tmp)
        place = Place(root / "home", make_repository(root / "repo"), server.url)
        (place.home / "tmp").mkdir(parents=True)
        wish = Wish(prompt(*case.steps), **case.wish)
        if case.before:
            begun = run(client, client.invoke(place, replace(wish, prompt=prompt(*case.before))), place, server)
            wish = replace(wish, session=session_of(begun))
        first, earlier = git(place.repository, "rev-parse", "HEAD"), len(server.steps)
        wanted = client.invoke(place, wish)
        done = run(client, wanted, place, server, case)
        assert not server.problems, server.problems
        program = client.program()
        assert program
        _write(folder, case, client, done, Scrub(place, program))
        if client.result:
            result = place.home / client.result
            text = result.read_text() if result.exists() else ""
            _put(folder / f"{case.name}.json", Scrub(place, program)(in_short(text)))
        limits = [request.resets_at for request in server.steps if request.resets_at]
        return {
            "outcome": case.otherwise.get(client.name, case.outcome),
            "exit_code": done.exit_code,
            "seconds": done.seconds,
            "version": client.version,
            "steps": len(server.steps) - earlier,
            "commits": int(git(place.repository, "rev-list", "--count", f"{first}..HEAD")),
            "changed": bool(git(place.repository, "status", "--porcelain")),
            "session": session_of(done),
            "ended_at": int(time.time()),
            **({"resets_at": limits[-1]} if limits else {}),
        }


def _write(folder: Path, case: Case, client: Client, done: Run, scrub: Scrub) -> None:
    out, err = done.out, scrub(done.err)
    if case.outcome == "loop":
        out = cut_loop(out)
    _put(folder / f"{case.name}.{client.ending}", scrub(out), always=True)
    _put(folder / f"{case.name}.err", cut_traceback(err))


def _put(path: Path, text: str, *, always: bool = False) -> None:
    if text or always:
        path.write_text(text)
    else:
        path.unlink(missing_ok=True)


def record_all(client: Client, only: str | None) -> None:
    folder = TRANSCRIPTS / client.name
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "cases.json"
    told: dict[str, Mapping[str, Any]] = json.loads(index.read_text()) if index.exists() else {}
    for case in CASES:
        if only in {None, case.name} and client.can_do(case):
            told[case.name] = record(client, case, folder)
            sys.stdout.write(f"{client.name:9} {case.name:18} {json.dumps(told[case.name])}\n")
            sys.stdout.flush()
            index.write_text(json.dumps(told, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument("--case")
    asked = parser.parse_args()
    for name in asked.clients or [name for name, client in CLIENTS.items() if client.program()]:
        if CLIENTS[name].program() is None:
            sys.exit(f"{name} is not installed in {os.environ.get('CLIENTS') or '.venv/clients'}")
        record_all(CLIENTS[name], asked.case)


if __name__ == "__main__":
    main()
