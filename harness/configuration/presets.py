"""The agent programs that parallel-loop knows: a table each, in the keys of `programs.NAME` in `parallel-loop.yaml`.

Whatever stands here can be said otherwise there, key by key. `tried` are the versions whose behaviour was seen, the
first of them also when driven by coordinators (`make test-real-all`); of the others (`tried: []`) it was only read.
`opencode` keeps its sessions in one database, which several first starts at once damage: so each agent makes sure
before, one after the other, that it is there.

Source: the programs' own documentation, and runs of them against a scripted model server (tests/transcripts).
"""

from __future__ import annotations

from typing import Any


def _argv(*parts: str) -> list[str]:
    return [word for part in parts for word in part.split()]


PRESETS: dict[str, dict[str, Any]] = {
    "claude": {
        "argv": _argv(
            "claude -p --output-format stream-json --verbose --session-id {session}",
            "--permission-mode acceptEdits --allowedTools Bash {options}",
        ),
        "resume": _argv(
            "claude -p --output-format stream-json --verbose --resume {session}",
            "--permission-mode acceptEdits --allowedTools Bash {options}",
        ),
        "options": {
            "model": ["--model", "{model}"],
            "turns": ["--max-turns", "{turns}"],
            "budget": ["--max-budget-usd", "{budget}"],
        },
        "prompt": "stdin",
        "dialect": "claude",
        "session": "chosen",
        "resume_in": "same",
        "silent": "420s",
        "stop_signal": "INT",  # then it says what it has cost
        "env": {
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_MAX_RETRIES": "4",
        },
        "tried": ["2.1.329", "2.1.197"],
    },
    "codex": {
        # What it writes elsewhere than in its worktree its sandbox refuses, `parallel-loop ask` too.
        "argv": _argv("codex exec --json --sandbox workspace-write --add-dir {outbox} {options} -"),
        "resume": _argv(
            "codex exec --sandbox workspace-write --add-dir {outbox} resume {session} --json {options} -",
        ),
        "options": {"model": ["--model", "{model}"]},
        "prompt": "stdin",
        "dialect": "codex",
        "session": "told",
        "silent": "420s",
        "commits": False,
        "tried": ["0.169.0"],
    },
    "gemini": {
        "argv": _argv("gemini --output-format stream-json --approval-mode yolo {options} --prompt="),
        "resume": _argv(
            "gemini --output-format stream-json --approval-mode yolo --resume {session} {options}",
            "--prompt=",
        ),
        "options": {"model": ["-m", "{model}"]},
        "prompt": "stdin",
        "dialect": "gemini",
        "session": "told",
        "resume_in": "same",
        "silent": "180s",
        "env": {"GEMINI_CLI_TRUST_WORKSPACE": "true"},
        "tried": ["0.61.0"],
    },
    "opencode": {
        # Its log is where it tells of what it tries again; without that it is silent until it gives up.
        "argv": _argv("opencode run --format json --print-logs --log-level ERROR --auto {options}"),
        "resume": _argv("opencode run --format json --print-logs --log-level ERROR --auto -s {session} {options}"),
        "options": {"model": ["-m", "{model}"]},
        "prompt": "stdin",
        "dialect": "opencode",
        "session": "told",
        "silent": "180s",
        "prepare": ["opencode session list"],
        "tried": ["1.18.33"],
    },
    "aider": {
        "argv": _argv(
            "aider --yes-always --no-check-update --analytics-disable --no-pretty --no-stream",
            "--no-show-release-notes {options} --message-file {prompt_file}",
        ),
        "options": {"model": ["--model", "{model}"]},
        "prompt": "file",
        "dialect": "text",
        "silent": "180s",
        "ignore": [".aider*"],
        "tried": ["0.86.2"],
    },
    "mini": {
        "argv": _argv("mini -y --exit-immediately -o {result_file} {options} -t {prompt}"),
        "options": {
            "model": ["-m", "{model}"],
            "turns": ["-c", "mini.yaml", "-c", "agent.step_limit={turns}"],
            "budget": ["-l", "{budget}"],
        },
        "prompt": "argv",
        "dialect": "trajectory",
        "silent": "180s",
        "env": {"MSWEA_CONFIGURED": "true", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        "tried": ["2.4.6"],
    },
    "cursor-agent": {
        "argv": _argv("cursor-agent -p --output-format stream-json --force {options} {prompt}"),
        "resume": _argv(
            "cursor-agent -p --output-format stream-json --force",
            "--resume {session} {options} {prompt}",
        ),
        "options": {"model": ["--model", "{model}"]},
        "prompt": "argv",
        "dialect": "cursor",
        "session": "told",
        "silent": "180s",
        "tried": [],
    },
    "amp": {
        "argv": _argv("amp --stream-json -x {options}"),
        "prompt": "stdin",
        "dialect": "claude",
        "session": "told",
        "silent": "180s",
        "tried": [],
    },
    "goose": {
        "argv": _argv("goose run --output-format stream-json --no-session {options} -i -"),
        "options": {"model": ["--model", "{model}"], "turns": ["--max-turns", "{turns}"]},
        "prompt": "stdin",
        "dialect": "text",
        "silent": "180s",
        "env": {"GOOSE_MODE": "auto"},
        "tried": [],
    },
}
