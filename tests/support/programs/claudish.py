"""Speaks as Claude Code does, on an account whose state is a file: `claudish.py FOLDER (--session-id|--resume) ID`.

FOLDER/service says what the service does: `ok`, `limit EPOCH` (refuses until then), `limit in
SECONDS` (from the first call on), or a status such as 401, 429, 529.
Each call is a line of FOLDER/calls. With FOLDER/hold it waits, once it is let in, until that is gone.
"""

import json
import os
import sys
import time
from pathlib import Path


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> int:
    folder, how, session = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    sys.stdin.read()
    item, agent = os.environ["PARALLEL_LOOP_ITEM"], Path.cwd().name
    call = {"at": time.time(), "how": how, "session": session, "item": item, "agent": agent}
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps(call) + "\n")
    say(type="system", subtype="init", session_id=session, model="m")
    service = (folder / "service").read_text().split()
    if service[:2] == ["limit", "in"]:
        service = ["limit", str(time.time() + float(service[2]))]
        (folder / "service").write_text(" ".join(service))
    if service[0] == "limit" and time.time() < float(service[1]):
        info = {"status": "rejected", "resetsAt": float(service[1]), "rateLimitType": "five_hour"}
        say(type="rate_limit_event", rate_limit_info=info)
        return end("You've hit your session limit", 429)
    if service[0].isdigit():
        return end(f"API Error: {service[0]}", int(service[0]))
    say(type="assistant", message={"id": "1", "content": [{"type": "text", "text": "I do it"}]})
    while (folder / "hold").exists():
        time.sleep(0.02)
    Path(f"{item}.txt").write_text("done\n")
    return end("done", None)


def end(said: str, status: int | None) -> int:
    bad = status is not None
    say(type="result", subtype="success", is_error=bad, api_error_status=status, result=said, permission_denials=[])
    return int(bad)


sys.exit(main())
