"""How the work of an item is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.configuration.presets import PRESETS
from parallel_loop.harness.configuration.settings import DIALECTS, Config, ConfigError
from parallel_loop.harness.programs import Placement, invocation, program_of
from parallel_loop.queue.records import Item

CONFIG = """
program: mine
programs:
  mine: {argv: [agent, --print]}
  filed: {argv: [agent, --file, "{prompt_file}"], prompt: file}
  told:
    argv: [agent, "{prompt}", "--at={worktree}", "{{item}}", "{item}:{attempt}", "${HOME}", "{branch}"]
    prompt: argv
  claude: {model: sonnet}
roles:
  tester: {program: filed}
  plain: {wip: 1}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "parallel-loop.yaml").write_text(CONFIG)
    return load_config(tmp_path / "parallel-loop.yaml", {})


def item(**fields: object) -> Item:
    return Item(**({"id": "one", "title": "One", "added_at": "", "prompt": "do {item}"} | fields))


def place(work: Item) -> Placement:
    files = (Path("/the/prompt"), Path("/the/result"), Path("/the/outbox"))
    return Placement(work, 2, "the/branch", Path("/the/work tree"), "do {item}", *files)


@pytest.mark.parametrize(
    ("fields", "argv", "on_stdin"),
    [
        ({}, ("agent", "--print"), True),
        ({"role": "plain"}, ("agent", "--print"), True),
        ({"role": "gone"}, ("agent", "--print"), True),
        ({"role": "tester"}, ("agent", "--file", "/the/prompt"), False),
        ({"role": "tester", "program": "mine"}, ("agent", "--print"), True),
        (
            {"program": "told"},
            ("agent", "do {item}", "--at=/the/work tree", "{item}", "one:2", "${HOME}", "the/branch"),
            False,
        ),
        ({"command": "make $X"}, ("/bin/sh", "-c", "make $X"), True),
        ({"command": "make", "program": "told"}, ("/bin/sh", "-c", "make"), True),
        ({"command": "python -", "prompt": ""}, ("/bin/sh", "-c", "python -"), False),
    ],
)
def test_what_is_started(config: Config, fields: dict[str, object], argv: tuple[str, ...], on_stdin: bool) -> None:
    start = invocation(place(item(**fields)), config)
    assert (start.argv, start.prompt_on_stdin) == (argv, on_stdin)


def test_the_nearest_to_the_item_names_the_program(config: Config) -> None:
    assert program_of(item(command="x", program="mine", role="tester"), config) == "shell"
    assert program_of(item(program="told", role="tester"), config) == "told"
    assert program_of(item(role="tester"), config) == "filed"
    assert program_of(item(), config) == "mine"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"program": "shell"}, "this item has only a prompt; give --command"),
        ({"program": "shell", "command": ""}, "give --command"),
        ({"program": "tolt"}, "unknown program 'tolt'; did you mean `told`?"),
    ],
)
def test_what_cannot_be_started_says_why(config: Config, fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        invocation(place(item(**fields)), config)
    assert problem in str(caught.value)


def test_a_command_without_a_prompt_reads_what_a_person_answered(config: Config) -> None:
    work = place(item(command="sh ask.sh", prompt=""))
    assert not invocation(work, config).prompt_on_stdin
    assert invocation(replace(work, answered=True), config).prompt_on_stdin


def test_a_preset_is_started_with_what_the_user_says_otherwise(config: Config) -> None:
    work = replace(place(item(program="claude")), session="the-session")
    start = invocation(work, config)
    assert start.argv[:2] == ("claude", "-p")
    assert start.argv[-2:] == ("--model", "sonnet")
    assert start.argv[start.argv.index("--session-id") + 1] == "the-session"
    assert (start.prompt_on_stdin, start.dialect, start.quiet_seconds) == (True, "claude", 420.0)
    again = invocation(replace(work, resumes=True), config).argv
    assert again[again.index("--resume") + 1] == "the-session"
    assert "--session-id" not in again


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_configuration_that_passes_its_own_checks(name: str, tmp_path: Path) -> None:
    (tmp_path / "parallel-loop.yaml").write_text(f"program: {name}\nprograms: {{{name}: {{account: mine}}}}\n")
    config = load_config(tmp_path / "parallel-loop.yaml", {})
    start = invocation(place(item()), config)
    assert "{" not in "".join(start.argv).replace("{item}", "")
    program = config.adapter(name)
    assert (program.account, program.dialect in DIALECTS) == ("mine", True)
    if program.options is not None and program.options.model:
        (tmp_path / "parallel-loop.yaml").write_text(f"programs: {{{name}: {{model: big, args: [--more]}}}}\n")
        config = load_config(tmp_path / "parallel-loop.yaml", {})
        argv = invocation(place(item(program=name)), config).argv
        assert "big" in argv
        assert "--more" in argv


def test_aider_leaves_no_files_in_commits_and_opens_no_browser() -> None:
    """Whoever is asked to confirm all of it says yes to showing what is new in this version."""
    aider = Config().adapter("aider")
    assert aider.ignore == (".aider*",)
    assert "--no-show-release-notes" in (aider.argv or ())


def test_what_a_program_of_ones_own_needs_to_resume(tmp_path: Path) -> None:
    (tmp_path / "parallel-loop.yaml").write_text(
        "program: mine\nprograms:\n  mine:\n    argv: [mine, '{options}', --new, '{session}']\n"
        "    resume: [mine, --go-on, '{session}']\n    session: chosen\n    env: {LEVEL: '1'}\n"
        "    options: {turns: [-n, '{turns}']}\n    turns: 7\n    args: [-v]\n"
    )
    config = load_config(tmp_path / "parallel-loop.yaml", {})
    start = invocation(replace(place(item()), session="s"), config)
    assert start.argv == ("mine", "-n", "7", "-v", "--new", "s")
    assert (dict(start.environ), start.dialect) == ({"LEVEL": "1"}, None)
