"""How the work of an item is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.configuration.settings import Config, ConfigError
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
    return Placement(work, 2, "the/branch", Path("/the/work tree"), "do {item}", Path("/the/prompt"))


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
        ({"program": "claude"}, "not driven yet in this version; give `argv:`"),
        ({"program": "codex"}, "not driven yet in this version; give `argv:`"),
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
