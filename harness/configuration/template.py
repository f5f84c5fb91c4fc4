"""The commented `parallel-loop.yaml` that `init` writes, and what it can find out about a repository beforehand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .documents import DocumentError, read_document
from .presets import PRESETS
from .writing import yaml_list, yaml_text

_MAX_READ_BYTES = 1_000_000

# Every commented line holds one whole key, so that removing its `#` is all it takes.
_TEMPLATE = """\
# parallel-loop: turns a queue of work items into tested commits, with several agents at once.
# A run hears of changes by itself, but for target, worktrees and parallel_mode: these need another start.
# Every key is optional. A line that begins with `#` and a key shows the default, or an example; remove the `#`.
# Durations: 500ms, 90s, 20m, 1h30m. Sizes: 512MB, 2GB (1000-based), 1GiB (1024-based).

# Your branch that landed work reaches, by fast-forward and only when nothing of yours is in the way.
target: {target}

# A remote (`git remote`) whose branch of that name is merged in and gets what landed, never by force. Example:
#remote: origin

# Commands run on the merged result before it lands, all of which must succeed. Without any, work lands unchecked.
{checks}
#check_timeout: 30m

# false: one worker at a time in one process. PARALLEL_MODE=false does the same for one run.
#parallel_mode: true
# How many agents work at once, 1 to 128. PARALLEL_AGENTS=5 and `run --agents 5` count more.
#agents: 3
# auto: what passes the checks lands; review: it waits for a person; never: it stays on its branch.
#land: auto
# How an item gets there: merge (a merge of its own), squash (one commit), rebase (its own commits, made anew).
#land_as: merge
# Where the agents' checkouts are, relative to this file.
#worktrees: .parallel-loop/worktrees

# What a fresh worktree needs: paths to copy or link from here, then commands. `keep` names caches that survive there;
# an item can put into them what the next one runs, and the checks, too. Example:
#setup: {{copy: [.env], link: [node_modules], run: [npm ci], keep: [.mypy_cache]}}

# What runs an item that names no program: shell, or a name from `programs`; and while its account is parked.
#program: shell
#fallback: codex
# {found}
# `parallel-loop programs` says how those are driven, and every key of that can be said otherwise here. To one of your
# own, the item's prompt comes on standard input (stdin), in an argument (argv) or as a file; "{{prompt}}",
# "{{prompt_file}}", "{{item}}", "{{worktree}}", "{{branch}}" and "{{attempt}}" are filled in. Example:
#programs: {{claude: {{model: sonnet}}, mine: {{argv: [my-agent, --file, "{{prompt_file}}"], prompt: file}}}}
# Files of the repository that agent programs get with an item, and a template of yours for all that they get. Examples:
#context: [AGENTS.md]
#prompt: prompt.txt
# Kinds of work, with their own limit on work in progress, program, fallback and limits. Example:
#roles: {{builder: {{wip: 3, program: claude, fallback: codex, timeout: 1h, memory: 2GB, cpu: 50%}}}}
# Attempts in all, and the wait before the next one: `first`, then `factor` times as long each time, at most `max`.
#retry: {{attempts: 3, first: 10s, factor: 2, max: 5m}}
# What one attempt may use, with all that it starts; 100% of `cpu` is one core, without it there is no ceiling.
#limits: {{time: 1h, memory: 4GB, cpu: 100%, processes: 500, worktree: 20GB}}
# After an account's limit: by itself, so long after the reset and up to `jitter` longer, in these hours of your day.
#after_limit: {{auto: true, slack: 60s, jitter: 30s, window: "22:00-07:00"}}
# What must be free before another attempt starts; until then the agents are held. 0: no matter how much.
#floors: {{memory: 256MB, disk: 500MB}}
# What an attempt, an item and a run may cost in US dollars, of programs that tell what they cost. Example:
#budget: {{attempt: 2, item: 5, run: 50}}
# For how long saved work (`parallel-loop salvage`) is kept; without this, for ever. Example:
#salvage: {{keep: 90d}}
# A worker says every `heartbeat` that it lives, is replaced when it was `silent` for so long, and its place is given up
# after so many deaths in a row. A program is stopped when for `no_progress` it neither prints nor computes nor writes.
#health: {{heartbeat: 5s, silent: 120s, no_progress: 20m, restarts: 5}}
# What workers do when the coordinator is killed. finish: the item in hand, then end; stop: give it back, and end.
#on_coordinator_death: finish
"""


def template(target: str, checks: Sequence[str], found: Sequence[str], suggested: Sequence[str] = ()) -> str:
    """Return the text of a configuration whose target and `checks` are set and that shows all else commented out.

    `found` are the agent programs on this machine. `suggested` checks stand commented out where there are no `checks`.
    """
    programs = f"On PATH when this was written: {', '.join(found)}." if found else "No agent program was found on PATH."
    shown = f"checks: {yaml_list(checks)}" if checks else f"#checks: {yaml_list(suggested or ['make test'])}"
    return _TEMPLATE.format(target=yaml_text(target), checks=shown, found=programs)


def found_programs() -> list[str]:
    """Return the agent programs on PATH that parallel-loop knows by name."""
    return [name for name in PRESETS if shutil.which(name)]


def guess_checks(root: Path) -> list[str]:
    """Return commands that probably test the repository: its Makefile's if it has one, else each language's own."""
    makefile = next((text for name in ("GNUmakefile", "makefile", "Makefile") if (text := _read(root / name))), "")
    if any(_is_test_rule(line) for line in makefile.splitlines()):
        return ["make test"]
    guesses = {
        "npm test": _npm_tests(_read(root / "package.json")),
        "pytest -q": _pytest_tests(root),
        "cargo test": (root / "Cargo.toml").is_file(),
        "go test ./...": (root / "go.mod").is_file(),
        "mvn -q test": (root / "pom.xml").is_file(),
    }
    return [command for command, likely in guesses.items() if likely]


def _is_test_rule(line: str) -> bool:
    targets, colon, rest = line.partition(":")
    return bool(colon) and not line[:1].isspace() and "test" in targets.split() and not rest.lstrip(":").startswith("=")


def _npm_tests(text: str) -> bool:
    try:
        package = read_document(text, "package.json")
        scripts = package.get("scripts") if isinstance(package, dict) else None
        test = scripts.get("test") if isinstance(scripts, dict) else None
    except DocumentError:
        return False
    return isinstance(test, str) and "no test specified" not in test  # what `npm init` writes


def _pytest_tests(root: Path) -> bool:
    configured = {"pyproject.toml": "[tool.pytest", "setup.cfg": "[tool:pytest]", "tox.ini": "[pytest]"}
    return (
        (root / "pytest.ini").is_file()
        or any(section in _read(root / name) for name, section in configured.items())
        or any((root / "tests").glob("test_*.py"))
    )


def _read(path: Path) -> str:
    """Return the beginning of a text file; a guess may be wrong, so what cannot be read is empty."""
    try:
        if not path.is_file():
            return ""
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_READ_BYTES)
    except OSError:
        return ""
