# ruff: noqa: E501 - a table of messages is read best with one case on a line
"""parallel-loop.yaml and the environment: what they mean, and what is said of what cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from parallel_loop.harness.configuration.accepted import read_accepted, write_accepted
from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.configuration.config_checks import check
from parallel_loop.harness.configuration.documents import DocumentError
from parallel_loop.harness.configuration.schema import Invalid, read_struct
from parallel_loop.harness.configuration.settings import PLACEHOLDERS, Config, ConfigError, Program, Role, Setup
from support.configuration import load

CONTRACT = """
parallel_mode: true
agents: 4
program: claude
target: main
land: review
checks: [make test, "ruff check ."]
check_timeout: 10m
setup: {copy: [.env], link: [node_modules], run: [npm ci], keep: [target/]}
programs:
  claude: {model: sonnet, args: [--verbose]}
  mine: {argv: [my-agent, --file, "{prompt_file}"], prompt: file}
roles:
  builder: {wip: 3, program: claude, timeout: 1h, memory: 2GB, cpu: 50%}
  tester:
retry: {attempts: 5, first: 1s, factor: 1.5, max: 1m}
limits: {time: 30m, memory: 1GiB, cpu: 200%, processes: 50, worktree: 1GB}
health: {heartbeat: 1s, silent: 10s, no_progress: 1h, restarts: 2}
floors: {memory: 0, disk: 1GB}
worktrees: ../checkouts
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem_of(root: Path, text: str | bytes, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(root, text, **environ)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "null", "{}", "retry:\nchecks:\nagents:\nroles: {}"])
def test_what_is_not_given_is_the_default(root: Path, text: str) -> None:
    assert load(root, text) == Config()


def test_no_file_is_the_defaults_and_yaml_is_not_loaded_for_it(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from parallel_loop.harness.configuration.config import *;"
        "assert load_config(Path('parallel-loop.yaml'), {}) == Config(); assert 'yaml' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_key_of_the_contract_is_read_with_its_unit(root: Path) -> None:
    config = load(root, CONTRACT)
    assert (config.agents, config.program, config.target, config.land) == (4, "claude", "main", "review")
    assert config.checks == ("make test", "ruff check .")
    assert config.check_timeout_seconds == 600
    assert config.setup == Setup((".env",), ("node_modules",), ("npm ci",), ("target/",))
    assert config.programs == {
        "claude": Program(model="sonnet", args=("--verbose",)),
        "mine": Program(argv=("my-agent", "--file", "{prompt_file}"), prompt="file"),
    }
    assert config.roles == {"builder": Role(3, "claude", 3600.0, 2_000_000_000, 0.5), "tester": Role()}
    assert structs.astuple(config.retry) == (5, 1.0, 1.5, 60.0)
    assert structs.astuple(config.limits) == (1800.0, 2**30, 2.0, 50, 10**9)
    assert structs.astuple(config.health) == (1.0, 10.0, 3600.0, 2)
    assert structs.astuple(config.floors) == (0, 10**9)
    assert config.worktrees == "../checkouts"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n- b", "the document must be a mapping of keys to values, not a list"),
        ("just text", "the document must be a mapping of keys to values, not 'just text'"),
        ("a: b: c", "1: not valid YAML: mapping values are not allowed in this context; look at the indentation, colons and quotes there"),
        ("a: &a [*a]", "1: uses the anchor `&a`; anchors are not supported, remove it"),
        ("agents: 2\nagents: 3", "2: the key 'agents' is there twice in one mapping; remove one of them"),
        (b"target: \xff", "1: not UTF-8 text (byte 0xff); save the file as UTF-8"),
        ("é" * 500_001, "larger than 1,000,000 bytes; a YAML document here must be smaller"),
        ("land: auto\nagnets: 3", "2: agnets: unknown key; did you mean `agents`?"),
        ("retry: {tries: 3}", "1: retry.tries: unknown key; known here: attempts, first, factor, max"),
        ("given: [a]\nsource: b", "1: given: unknown key; known here: parallel_mode, agents, program, fallback, target, remote, land, land_as, checks, check_timeout, setup, prompt, context, programs, roles, retry, limits, health, after_limit, floors, budget, salvage, worktrees, on_coordinator_death"),
        ("retry:\n  firsts: 3", "2: retry.firsts: unknown key; did you mean `first`?"),
        ('"a\\nb": 1', "1: a\\nb: unknown key; known here: parallel_mode, agents, program, fallback, target, remote, land, land_as, checks, check_timeout, setup, prompt, context, programs, roles, retry, limits, health, after_limit, floors, budget, salvage, worktrees, on_coordinator_death"),
        ("parallel_mode: yes", "1: parallel_mode: must be true or false, not 'yes'"),
        ("agents: 0", "1: agents: must be a whole number from 1 to 128, not 0"),
        ("agents: 129", "1: agents: must be a whole number from 1 to 128, not 129"),
        ("agents: '3'", "1: agents: must be a whole number from 1 to 128, not '3'"),
        ("agents: 2.5", "1: agents: must be a whole number from 1 to 128, not 2.5"),
        ("agents: true", "1: agents: must be a whole number from 1 to 128, not true"),
        ("program: [claude]", "1: program: must be text, not a list; put it in quotes if it is text"),
        ("program: claud", "1: program: unknown program 'claud'; did you mean `claude`?"),
        ("program: mine", "1: program: unknown program 'mine'; did you mean `mini`?"),
        ("target: 12", "1: target: must be text, not 12; put it in quotes if it is text"),
        ("target: ''", "1: target: is empty; write something there or remove it"),
        ("target: -rf", "1: target: '-rf' is not the name of a branch; write for example main"),
        ("target: my branch", "1: target: 'my branch' is not the name of a branch; write for example main"),
        ("target: refs/heads/main", "1: target: 'refs/heads/main' is not the name of a branch; write for example main"),
        ("target: HEAD", "1: target: 'HEAD' is not the name of a branch; write for example main"),
        ("target: parallel-loop/landed", "1: target: 'parallel-loop/landed' belongs to parallel-loop itself; name a branch of your own"),
        ("remote: --upload-pack=x", "1: remote: '--upload-pack=x' is not the name of a remote; write one that `git remote` lists, such as origin"),
        ("remote: https://x.invalid/y", "1: remote: 'https://x.invalid/y' is not the name of a remote; write one that `git remote` lists, such as origin"),
        ("land: always", "1: land: must be one of auto, review, never, not 'always'"),
        ("land: [auto]", "1: land: must be one of auto, review, never, not a list"),
        ("checks: make test", "1: checks: must be a list such as [make test], not 'make test'"),
        ("checks:\n  - make\n  - ' '", "3: checks[1]: is empty; write something there or remove it"),
        ("checks: [make, ]\nsetup: {run: [5]}", "2: setup.run[0]: must be text, not 5; put it in quotes if it is text"),
        ("checks: [null]", "1: checks[0]: must be text, not nothing; put it in quotes if it is text"),
        ("check_timeout: 0s", "1: check_timeout: must be at least 1ms, not '0s'"),
        ("setup: [a]", "1: setup: must be a mapping of keys to values, not a list"),
        ("setup: {copy: [/etc/passwd]}", "1: setup.copy[0]: '/etc/passwd' is not inside the repository; write a path relative to its root"),
        ("setup: {link: [a, b/../../c]}", "1: setup.link[1]: 'b/../../c' is not inside the repository; write a path relative to its root"),
        ("setup: {link: [./]}", "1: setup.link[0]: './' is not inside the repository; write a path relative to its root"),
        ("setup: {keep: [a/b]}", "1: setup.keep[0]: 'a/b' is not the name of a file or folder, nor a pattern for names; write one such as node_modules or *.egg-info"),
        ("setup: {keep: [target, '!src']}", "1: setup.keep[1]: '!src' is not the name of a file or folder, nor a pattern for names; write one such as node_modules or *.egg-info"),
        ("setup: {keep: [..]}", "1: setup.keep[0]: '..' is not the name of a file or folder, nor a pattern for names; write one such as node_modules or *.egg-info"),
        ("setup: {keep: ['**']}", "1: setup.keep[0]: '**' would keep whatever is left; name the caches"),
        ("programs: {shell: {argv: [sh]}}", "1: programs.shell: is built in and cannot be changed; choose another name"),
        ("programs: {mine: {prompt: stdin}}", "1: programs.mine: needs `argv:`, the command that runs it; without it, did you mean `mini`?"),
        ("programs: {'a b': {argv: [x]}}", "1: programs.a b: 'a b' is not usable as a name; use letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"),
        ("programs: {x: {argv: []}}", "1: programs.x.argv: is empty; write the command that runs the program"),
        ("programs: {x: {argv: my-agent}}", '1: programs.x.argv: must be a list such as [my-agent, --file, "{prompt_file}"], not \'my-agent\''),
        ("programs: {x: {argv: [x], model: m}}", "1: programs.x.model: has no effect beside `argv` without \"{options}\"; write it into `argv`"),
        ("programs: {x: {argv: [x], args: [m]}}", "1: programs.x.args: has no effect beside `argv` without \"{options}\"; write it into `argv`"),
        ("programs:\n  x:\n    argv: [x, '{promt}']", "3: programs.x.argv[1]: unknown placeholder {promt}; did you mean `prompt`? `{{promt}}` is the text itself"),
        ("programs: {x: {argv: [x], prompt: argv}}", '1: programs.x.prompt: `argv` needs "{prompt}" in argv, where the prompt goes; add it or write `stdin`'),
        ("programs: {x: {argv: [x, '{{prompt_file}}'], prompt: file}}", '1: programs.x.prompt: `file` needs "{prompt_file}" in argv, where the prompt goes; add it or write `stdin`'),
        ("roles:\n  builder:\n    timeout: soon", "3: roles.builder.timeout: 'soon' is not a duration; write for example 90s, 20m, 1h30m or 500ms"),
        ("roles: {b: {program: shel}}", "1: roles.b.program: unknown program 'shel'; did you mean `shell`?"),
        ("roles: {b: {fallback: clade}}", "1: roles.b.fallback: unknown program 'clade'; did you mean `claude`?"),
        ("fallback: shell", "1: fallback: cannot be `shell`, which does nothing with a prompt; name another program"),
        ("after_limit: {auto: 1}", "1: after_limit.auto: must be true or false, not 1"),
        ("after_limit:\n  slack: -1s", "2: after_limit.slack: '-1s' is not a duration; write for example 90s, 20m, 1h30m or 500ms"),
        ("after_limit: {wait: 1s}", "1: after_limit.wait: unknown key; known here: auto, slack, jitter, window"),
        ("after_limit: {window: night}", "1: after_limit.window: 'night' is not from one time of day to another; write for example \"22:00-07:00\""),
        ("after_limit: {window: 24:00-07:00}", "1: after_limit.window: '24:00-07:00' is not from one time of day to another; write for example \"22:00-07:00\""),
        ("after_limit: {window: 07:00-07:00}", "1: after_limit.window: '07:00-07:00' ends when it begins; write for example \"22:00-07:00\", or leave it out"),
        ("roles: {b: {wip: 0}}", "1: roles.b.wip: must be a whole number from 1 to 1000, not 0"),
        ("roles: {b: {memory: 2}}", "1: roles.b.memory: must be at least 1MB, not 2"),
        ("roles: {b: {cpu: 0.5}}", "1: roles.b.cpu: 0.5 is not a share of a processor core; write for example 50% or 200%"),
        ("roles: [b]", "1: roles: must be a mapping of keys to values, not a list"),
        ("retry: {attempts: 0}", "1: retry.attempts: must be a whole number from 1 to 1000, not 0"),
        ("retry: {factor: 0.5}", "1: retry.factor: must be a number from 1 to 100, not 0.5"),
        ("retry: {factor: x}", "1: retry.factor: must be a number from 1 to 100, not 'x'"),
        ("retry: {first: 10m}", "1: retry.max: is shorter than `retry.first`; make it at least as long"),
        ("limits: {memory: 2G}", "1: limits.memory: '2G' is not a size; write for example 512MB, 2GB or 1GiB"),
        ("limits: {cpu: 0%}", "1: limits.cpu: must be at least 1%, not '0%'"),
        ("limits: {time: -1}", "1: limits.time: -1 is not a duration; write for example 90s, 20m, 1h30m or 500ms"),
        ("floors: {memory: 512}", "1: floors.memory: must be at least 1MB, not 512"),
        ("floors: {disk: false}", "1: floors.disk: false is not a size; write for example 512MB, 2GB or 1GiB"),
        ("floors: {dsk: 1GB}", "1: floors.dsk: unknown key; did you mean `disk`?"),
        ("health: {silent: 5s}", "1: health.silent: must be longer than `health.heartbeat`, or every worker counts as hung"),
        ("worktrees: .", "1: worktrees: is the repository itself or inside `.git`; name a folder of its own, such as .parallel-loop/worktrees"),
        ("worktrees: .git/trees", "1: worktrees: is the repository itself or inside `.git`; name a folder of its own, such as .parallel-loop/worktrees"),
        ("worktrees: ~/trees", "1: worktrees: `~` is not expanded; write the whole path"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_cannot_be_is_told_with_line_key_and_remedy(root: Path, text: str | bytes, problem: str) -> None:
    numbered = problem[0].isdigit()
    assert problem_of(root, text) == f"parallel-loop.yaml:{problem}" if numbered else f"parallel-loop.yaml: {problem}"


def test_the_repository_given_as_an_absolute_path_is_no_place_for_worktrees(root: Path) -> None:
    assert "is the repository itself" in problem_of(root, f"worktrees: {root}/a/..")
    assert load(root, f"worktrees: {root}/a").worktrees == f"{root}/a"


def test_a_file_that_cannot_be_read_is_told_and_never_waited_for(root: Path) -> None:
    path = root / "parallel-loop.yaml"
    kinds = {
        "not a regular file; move it away or replace it with a file": (path.mkdir, lambda: os.mkfifo(path)),
        "links to a file that is not there; restore that or remove the link": (lambda: path.symlink_to("gone"),),
        "cannot be read (Too many levels of symbolic links); correct its permissions or place": (
            lambda: path.symlink_to(path.name),
        ),
    }
    for problem, makers in kinds.items():
        for make in makers:
            make()
            with pytest.raises(ConfigError) as caught:
                load_config(path, {})
            assert str(caught.value) == f"parallel-loop.yaml: {problem}"
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_a_file_elsewhere_is_named_in_full_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "odd\nplace"
    path.write_text("agents: none")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value).startswith(f"{tmp_path}/odd\\nplace:1: agents: must be a whole number")


@pytest.mark.parametrize(
    ("environ", "mode", "agents"),
    [
        ({}, True, 5),
        ({"PARALLEL_MODE": "", "PARALLEL_AGENTS": " "}, True, 5),
        ({"PARALLEL_MODE": "False", "PARALLEL_AGENTS": "64"}, False, 64),
        ({"PARALLEL_MODE": "0"}, False, 5),
        ({"PARALLEL_MODE": "no"}, False, 5),
        ({"PARALLEL_MODE": "YES", "PARALLEL_AGENTS": "1"}, True, 1),
    ],
)
def test_the_environment_counts_more_than_the_file(
    root: Path, environ: dict[str, str], mode: bool, agents: int
) -> None:
    config = load(root, "agents: 5", **environ)
    assert (config.parallel_mode, config.agents) == (mode, agents)
    assert load(root, "parallel_mode: false", PARALLEL_MODE="1").parallel_mode


@pytest.mark.parametrize("value", ["0", "129", "-1", "3.0", "many", "٣", "9" * 5000])
def test_an_impossible_number_of_agents_in_the_environment_is_refused(root: Path, value: str) -> None:
    problem = problem_of(root, "", PARALLEL_AGENTS=value)
    assert problem.startswith("PARALLEL_AGENTS: must be a whole number from 1 to 128, not '")
    assert problem.endswith("; set it again or unset it")
    assert len(problem) < 200


def test_an_unclear_mode_in_the_environment_is_refused(root: Path) -> None:
    problem = problem_of(root, "", PARALLEL_MODE="off")
    assert problem == "PARALLEL_MODE: must be true or false, not 'off'; set it again or unset it"


def test_placeholders_are_filled_once_and_other_braces_are_left_alone() -> None:
    argv = ("a", "{prompt}", "--at={worktree}/{branch}", '{"k": {"v": 1}}', "${HOME} {} {0} {{item}} {item}{attempt}")
    values = {name: name.upper() for name in PLACEHOLDERS} | {"prompt": "say {item} and {{item}}"}
    assert Program(argv=argv).command(values) == [
        "a", "say {item} and {{item}}", "--at=WORKTREE/BRANCH", '{"k": {"v": 1}}', "${HOME} {} {0} {item} ITEMATTEMPT",
    ]  # fmt: skip


def test_only_known_programs_pass(root: Path) -> None:
    config = load(root, "programs: {claude: {model: m}, codex: {argv: [codex]}, mine: {argv: [x]}}")
    for runnable in ("shell", "claude", "codex", "mine", "aider", "goose"):
        config.check_program(runnable)
    for name, problem in (
        ("mime", "unknown program 'mime'; did you mean `mine`?"),
        ("", "unknown program ''; known here: shell, claude, codex, mine, gemini, opencode, aider, mini, cursor-agent, amp, goose"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            config.check_program(name)
        assert str(caught.value) == f"parallel-loop.yaml: {problem}"


KEYS = st.sampled_from([*structs.fields(Config)]).map(lambda field: field.encode_name) | st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1h", "2GB", "50%", "shell"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.sampled_from(["argv", "timeout", "copy"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(KEYS, VALUES, max_size=5) | VALUES)
def test_any_document_gives_a_configuration_or_names_what_is_invalid(value: object) -> None:
    try:
        config = read_struct(Config, value)
        check(config, Path("/somewhere"))
    except Invalid as error:
        assert error.problem  # noqa: PT017 - not every document is invalid
    else:
        assert config.known_programs()


def test_any_bytes_give_a_configuration_or_a_config_error_of_one_line(root: Path) -> None:
    @given(st.binary(max_size=30) | st.text(alphabet="agents: {}[]&*!\n-1", max_size=30).map(str.encode))
    def loads(data: bytes) -> None:
        try:
            load(root, data)
        except ConfigError as error:
            assert str(error).isprintable()  # noqa: PT017 - not every document is invalid

    loads()


def test_reading_an_entry_of_the_environment_needs_no_file(root: Path) -> None:
    assert load_config(root / "absent.yaml", {"PARALLEL_AGENTS": "7"}).agents == 7


def test_a_deleted_current_directory_does_not_hide_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load(tmp_path, "agents: 2").source == f"{tmp_path}/parallel-loop.yaml"


def test_document_errors_of_the_configuration_are_config_errors(root: Path) -> None:
    assert not issubclass(ConfigError, DocumentError)  # one class for callers to catch
    with pytest.raises(ConfigError):
        load(root, "a: *b")


@pytest.mark.parametrize(("text", "agents", "in_file"), [("agents: 2", 2, 2), ("", 3, 3)])
def test_what_the_file_says_of_agents_is_kept_beside_what_counts_more(
    root: Path, text: str, agents: int, in_file: int
) -> None:
    assert (load(root, text).agents, load(root, text).file_agents) == (agents, in_file)
    config = load_config(root / "parallel-loop.yaml", {"PARALLEL_AGENTS": "7"})
    assert (config.agents, config.file_agents) == (7, in_file)


def test_what_a_worker_reads_is_what_the_coordinator_accepted(root: Path, tmp_path: Path) -> None:
    config = load(
        root,
        "agents: 2\ntarget: é\nprograms: {mine: {argv: [a, '{prompt}'], prompt: argv}}\n"
        "roles: {r: {wip: 2, timeout: 90s, memory: 1GB, cpu: 50%}}\nlimits: {cpu: 150%}\non_coordinator_death: stop\n",
    )
    write_accepted(tmp_path / "config.json", config)
    assert read_accepted(tmp_path / "config.json") == config
