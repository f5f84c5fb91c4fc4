"""The arguments, the environment and the files in HOME with which each client runs once and alone.

All that a client keeps goes to the HOME it is given; keys are dummies; telemetry, updates and lookups are off as far as
it lets itself be told.
"""

from __future__ import annotations

import json
from pathlib import Path

from support.models.server import SIDE
from support.models.wishes import DUMMY, Invocation, Place, Wish, environment


def claude(place: Place, wish: Wish) -> Invocation:
    model = wish.model or "claude-sonnet-4-5"
    argv = ["claude", "-p", "--output-format", "stream-json", "--verbose", "--model", model]
    argv += ["--resume", wish.session] if wish.session else []
    argv += ["--max-turns", str(wish.turns)] if wish.turns else []
    argv += ["--max-budget-usd", str(wish.dollars)] if wish.dollars else []
    argv += ["--permission-mode", "acceptEdits", "--allowedTools", "Bash"] if wish.allowed else []
    key = "CLAUDE_CODE_OAUTH_TOKEN" if wish.subscription else "ANTHROPIC_API_KEY"
    env = environment(
        place,
        ANTHROPIC_BASE_URL=place.url,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=model + SIDE,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        CLAUDE_CODE_MAX_RETRIES=str(wish.retries),
        DISABLE_AUTOUPDATER="1",
        DISABLE_TELEMETRY="1",
    )
    return Invocation(argv, env | {key: DUMMY}, wish.prompt)


def codex(place: Place, wish: Wish) -> Invocation:
    folder = place.home / ".codex"
    folder.mkdir(parents=True, exist_ok=True)
    provider = {"name": "fake", "base_url": f"{place.url}/v1", "env_key": "FAKE_KEY", "wire_api": "responses"}
    numbers = {"request_max_retries": wish.retries, "stream_max_retries": wish.retries, "stream_idle_timeout_ms": 5000}
    lines = ['model_provider = "fake"', "[analytics]", "enabled = false", "[model_providers.fake]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in {**provider, **numbers}.items()]
    (folder / "config.toml").write_text("\n".join(lines) + "\n")
    argv = [
        "codex",
        "exec",
        *(["resume", wish.session] if wish.session else []),
        "--json",
        "-m",
        wish.model or "gpt-5.5",
    ]
    argv += (
        ["--dangerously-bypass-approvals-and-sandbox"] if wish.allowed else [] if wish.session else ["-s", "read-only"]
    )
    argv += ["--disable", "plugins", "--disable", "apps", "-"]
    return Invocation(argv, environment(place, CODEX_HOME=str(folder), FAKE_KEY=DUMMY), wish.prompt)


def gemini(place: Place, wish: Wish) -> Invocation:
    settings = {
        "general": {"maxAttempts": wish.retries + 1, "enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        **({"model": {"maxSessionTurns": wish.turns}} if wish.turns else {}),
    }
    _write(place.home / ".gemini" / "settings.json", settings)
    argv = ["gemini", "--output-format", "stream-json", "-m", wish.model or "gemini-2.5-pro"]
    argv += ["--approval-mode", "yolo"] if wish.allowed else []
    argv += ["--resume", wish.session] if wish.session else []
    env = environment(place, GOOGLE_GEMINI_BASE_URL=place.url, GEMINI_API_KEY=DUMMY, GEMINI_CLI_TRUST_WORKSPACE="true")
    return Invocation([*argv, "-p", ""], env, wish.prompt)


def opencode(place: Place, wish: Wish) -> Invocation:
    model = wish.model or "model-1"
    models = {name: {"name": name, "limit": {"context": 200000, "output": 8000}} for name in (model, model + SIDE)}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": f"{place.url}/v1", "apiKey": DUMMY}}
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "small_model": f"fake/{model}{SIDE}",
        "provider": {"fake": provider | {"models": models}},
        "permission": {} if wish.allowed else {"edit": "deny", "bash": "deny"},
    }
    _write(place.home / ".config" / "opencode" / "opencode.json", settings)
    argv = ["opencode", "run", "--format", "json", "--print-logs", "--log-level", "ERROR", "-m", f"fake/{model}"]
    argv += ["--auto"] if wish.allowed else []
    argv += ["-s", wish.session] if wish.session else []
    off = ("AUTOUPDATE", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "MODELS_FETCH", "SHARE")
    return Invocation(argv, environment(place, **{f"OPENCODE_DISABLE_{name}": "1" for name in off}), wish.prompt)


def mini(place: Place, wish: Wish) -> Invocation:
    argv = ["mini", "-m", f"openai/{wish.model or 'gpt-4o'}", "-t", wish.prompt, "-y", "--exit-immediately"]
    argv += ["-o", str(place.home / "traj.json"), "-c", "mini.yaml"]
    argv += ["-c", f"agent.step_limit={wish.turns}"] if wish.turns else []
    argv += ["-l", str(wish.dollars)] if wish.dollars else []
    env = environment(
        place,
        OPENAI_API_BASE=f"{place.url}/v1",
        OPENAI_API_KEY=DUMMY,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        MSWEA_CONFIGURED="true",
        MSWEA_COST_TRACKING="ignore_errors",
        MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT=str(wish.retries + 1),
    )
    return Invocation(argv, env)


def aider(place: Place, wish: Wish) -> Invocation:
    model = wish.model or "model-1"
    argv = ["aider", "--model", f"openai/{model}", "--weak-model", f"openai/{model}{SIDE}", "--edit-format", "whole"]
    argv += ["--yes-always", "--no-check-update", "--analytics-disable", "--no-show-model-warnings"]
    argv += ["--no-pretty", "--no-stream", "--map-tokens", "0", "--message", wish.prompt, "--no-gitignore"]
    argv += ["--input-history-file", str(place.home / "input"), "--chat-history-file", str(place.home / "chat")]
    env = environment(place, OPENAI_API_BASE=f"{place.url}/v1", OPENAI_API_KEY=DUMMY)
    return Invocation(argv, env | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


def _write(path: Path, settings: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=1))
