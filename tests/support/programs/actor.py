"""An agent program that plays what its prompt says, and tells of it as Claude Code does: `actor.py --session-id ID`.

The prompt has `<<<SCRIPT [step, …] SCRIPT>>>`. What is left of the script is kept under ACTOR_HOME by session, so that
`actor.py --resume ID` goes on where it stopped; the prompts that a session got are kept there, too.

Each call is a line of ACTOR_HOME/calls. ACTOR_HOME/service, where it is there, says whether the call is let in: `ok`,
`limit EPOCH` (not before then), `limit in SECONDS` (counted from the first call), or a status such as 401, 429, 529.
"""

import json
import os
import signal
import subprocess
import sys
import time


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def result(ok, text="", **more):
    tell(**more, type="result", subtype="success", is_error=not ok, result=text, session_id=SESSION, num_turns=1)
    raise SystemExit(0 if ok else 1)


def assistant(*blocks):
    message = {"id": f"m{time.monotonic_ns()}", "model": "actor-1", "content": list(blocks)}
    tell(type="assistant", message=message, session_id=SESSION)


def call(command, name="Bash"):
    number = f"t{time.monotonic_ns()}"
    assistant({"type": "tool_use", "id": number, "name": name, "input": {"command": command}})
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    block = {"type": "tool_result", "tool_use_id": number, "content": done.stdout, "is_error": done.returncode != 0}
    tell(type="user", message={"role": "user", "content": [block]}, session_id=SESSION)


def limit(resets_at):
    info = {"status": "rejected", "resetsAt": resets_at, "rateLimitType": "five_hour"}
    tell(type="rate_limit_event", rate_limit_info=info, session_id=SESSION)
    result(False, "You've hit your 5-hour limit", api_error_status=429)


def fail(step):
    if step["fail"] == "usage":
        limit(int(time.time()) + step["reset_in"])
    result(False, f"API Error: {step['fail']}", api_error_status=step["status"])


def announce(step):
    retry = {"attempt": 1, "max_retries": 10, "retry_delay_ms": 1000 * step["announce"], "error_status": 429}
    tell(type="system", subtype="api_retry", error="rate_limit", **retry)


def deny(step):
    wanted = {"command": step.get("wanted", "")}
    denied.append({"tool_name": step["deny"], "tool_use_id": "t", "tool_input": wanted})


PLAYS = {
    "say": lambda step: assistant({"type": "text", "text": step["say"]}),
    "run": lambda step: [call(step["run"]) for _ in range(step.get("times", 1))],
    "fail": fail,
    "deny": deny,
    "announce": announce,
    "hang": lambda step: time.sleep(step["hang"]),
    "exit": lambda step: sys.exit(step["exit"]),
    "cost": lambda step: cost.append(step["cost"]),
}


def play(step):
    next(play for name, play in PLAYS.items() if name in step)(step)


def keep():
    with open(kept, "w") as file:
        json.dump(state, file)


def note_call():
    call = {"at": time.time(), "how": sys.argv[-2], "session": SESSION, "agent": os.path.basename(os.getcwd())}
    with open(os.path.join(home, "calls"), "a") as calls:
        calls.write(json.dumps(call | {"item": os.environ["PARALLEL_LOOP_ITEM"]}) + "\n")


def ask_service():
    place = os.path.join(home, "service")
    if not os.path.exists(place):
        return
    with open(place) as file:
        service = file.read().split()
    if service[:2] == ["limit", "in"]:
        service = ["limit", str(time.time() + float(service[2]))]
        with open(f"{place}.{os.getpid()}", "w") as file:
            file.write(" ".join(service))
        os.replace(file.name, place)  # another call may read it meanwhile
    if service[0] == "limit" and time.time() < float(service[1]):
        limit(float(service[1]))
    if service[0].isdigit():
        fail({"fail": service[0], "status": int(service[0])})


SESSION = sys.argv[-1]
RESUMED = sys.argv[-2] == "--resume"
home = os.environ["ACTOR_HOME"]
kept = os.path.join(home, f"{SESSION}.json")
prompt = sys.stdin.read()
note_call()
if RESUMED:
    if not os.path.exists(kept):
        tell(type="result", subtype="error_during_execution", is_error=True, errors=["No conversation found"])
        raise SystemExit(1)
    with open(kept) as file:
        state = json.load(file)
else:
    script = prompt.partition("<<<SCRIPT")[2].partition("SCRIPT>>>")[0]
    state = {"script": json.loads(script or "[]"), "prompts": []}
state["prompts"].append(prompt)
keep()
cost, denied = [], []
usage = {"input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 10}
signal.signal(signal.SIGINT, lambda *_: result(False, "interrupted", total_cost_usd=sum(cost), usage=usage))
tell(type="system", subtype="init", session_id=SESSION, model="actor-1", tools=["Bash"], cwd=os.getcwd())
ask_service()
while True:
    steps = state["script"]
    state["script"] = steps[1:]
    keep()
    if not steps:
        break
    play(steps[0])
result(True, "done", total_cost_usd=sum(cost), usage=usage, permission_denials=denied)
