"""The command line `parallel-loop`: its commands, each in a module of its own that is imported when it is called.

Guarantees: one line on standard error and an exit code for whatever goes wrong (see `errors`), and never a traceback.
The contract with users and their scripts is in the help texts and in docs/.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import click

from . import errors
from .commands.caller import Caller

# Where each command is, in the order in which the help shows them. A table instead of imports: `status` must not wait
# for what only `run` needs.
_SECTIONS: dict[str, dict[str, str]] = {
    "Begin": {"init": "init:init", "demo": "demo:demo", "doctor": "doctor:doctor"},
    "Give work": {"add": "add:add", "import": "import_items:import_items"},
    "Run": {
        "run": "run:run",
        "start": "background:start",
        "stop": "steer:stop",
        "restart": "background:restart",
        "pause": "steer:pause",
        "resume": "steer:resume",
        "scale": "steer:scale",
        "service": "service:service",
    },
    "Look": {
        "status": "status:status",
        "list": "list_items:list_items",
        "show": "show:show",
        "logs": "logs:logs",
        "usage": "usage:usage",
        "diff": "diff:diff",
        "salvage": "salvage:salvage",
        "programs": "programs:programs",
    },
    "Decide": {
        "retry": "decide:retry",
        "cancel": "decide:cancel",
        "answer": "decide:answer",
        "interrupt": "decide:interrupt",
        "approve": "decide:approve",
        "reject": "decide:reject",
        "land": "land:land",
    },
    "Tidy up": {"tidy": "tidy:tidy"},
    "For programs and tests": {"ask": "ask:ask", "contention": "contention:contention"},
}
COMMANDS = {name: place for section in _SECTIONS.values() for name, place in section.items()}


class _Context(click.Context):
    """Names the command in an error that click raises without it, as of an option that lacks its value."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if isinstance(error, click.UsageError) and error.ctx is None:
            error.ctx = self
        return super().__exit__(kind, error, trace)


class _Commands(click.Group):
    """The commands of the table above."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(f".commands.{module}", __package__), attribute)
        assert isinstance(command, click.Command)
        for one in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            one.context_class = _Context
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            from ..harness.configuration.wording import nearest, shown

            raise click.UsageError(f"there is no command {shown(args[0])}; {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(100)) for name, command in commands if command])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGUMENTS]…",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--repo", metavar="DIR", help="The repository; without it, the one around the current directory.")
@click.option("--no-color", is_flag=True, help="Write no colours. NO_COLOR in the environment does the same.")
@click.version_option(None, "--version", package_name="parallel-loop", message="parallel-loop %(version)s")
@click.pass_context
def _group(ctx: click.Context, repo: str | None, no_color: bool) -> int:
    """Turn a queue of work items into tested commits, with several agents at once.

    Each agent works in a git worktree of its own. What passes the checks lands on the branch
    parallel-loop/landed, which your own branch follows by fast-forward.

    \b
    Example:
      parallel-loop init
      parallel-loop add --command 'make docs' --title 'Write the reference pages'
      parallel-loop run --agents 3 --drain

    Exit codes: 0 done; 1 items failed, or what was asked about does not exist; 2 wrong usage or configuration, nothing
    changed; 3 another coordinator runs here; 4 the environment cannot do it; 70 a fault in this program;
    130 interrupted.
    """
    caller = ctx.find_object(Caller)
    assert caller is not None
    caller.repo = None if repo is None else Path(repo)
    caller.no_color = no_color
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return errors.USAGE
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own arguments) and return its exit code."""
    _accept_any_text()
    caller = Caller()
    try:
        # Not `_group.main()`: it turns some errors into an exit of its own, with a message of several lines.
        arguments = list(sys.argv[1:] if argv is None else argv)
        with _group.make_context("parallel-loop", arguments, obj=caller) as context:
            return int(_group.invoke(context) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (a traceback would be a fault)
        return errors.report(error, caller.state_if_known)


def _accept_any_text() -> None:
    """Show what the terminal's encoding cannot (a path that is no UTF-8, say) as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
