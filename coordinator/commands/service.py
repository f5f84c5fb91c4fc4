"""`parallel-loop service`: the coordinator kept running by systemd or launchd."""

from __future__ import annotations

import click

from ...harness.project import Project
from ..errors import NotThere, WrongUsage
from ..lock import AlreadyRunning, read_holder
from ..run import find_target
from ..service import Manager, Systemd, find_manager
from .caller import Caller

_ACTIONS = ("install", "uninstall", "status", "start", "stop", "restart")


@click.command(short_help="Let systemd or launchd keep the coordinator running")
@click.argument("action", type=click.Choice(_ACTIONS))
@click.option("--print", "only_print", is_flag=True, help="With install: print the unit, install nothing.")
@click.pass_obj
def service(caller: Caller, action: str, only_print: bool) -> int:
    """Keep the coordinator of this repository running as a service of yours, over crashes and logins.

    install writes a systemd unit below ~/.config/systemd/user (on macOS a property list in ~/Library/LaunchAgents) and
    starts it; uninstall stops and removes exactly that; status, start, stop and restart speak to the service manager.
    Stopping lets the work in hand finish; `parallel-loop stop --now` ends it at once, and the service stays stopped.

    The service finds programs on the PATH of the shell that installs it and has no other variable of it: keys that
    agent programs need belong into their own configuration, or into `systemctl --user edit`.

    \b
    Example:
      parallel-loop service install

    Exit codes: 0 done; 1 no service is installed here; 3 a coordinator runs here that is not the service's; 4 there is
    no service manager that can do it.
    """
    project = caller.project()
    manager = find_manager(project)
    if only_print:
        if action != "install":
            raise WrongUsage("--print belongs to `service install`; leave it out")
        click.echo(manager.content(), nl=False)
    elif action == "install":
        _install(project, manager)
    elif not manager.is_installed:
        raise NotThere(f"no service is installed for this repository ({manager.file} does not exist)")
    elif action == "uninstall":
        click.echo("stopping: the work in hand is finished first, `parallel-loop stop --now` ends it at once", err=True)
        manager.uninstall()
        click.echo(f"{manager.file} removed")
    elif action == "status":
        click.echo(
            f"{manager.file}\n" + "".join(f"{key}: {value}\n" for key, value in manager.state().items()), nl=False
        )
    else:
        manager.do(action)
    return 0


def _install(project: Project, manager: Manager) -> None:
    find_target(project)  # what could not run is not installed
    holder = read_holder(project.state.coordinator_lock)
    if holder is not None and not manager.runs(holder.pid):
        raise AlreadyRunning(holder)
    before = manager.file.read_bytes() if manager.is_installed else None
    manager.install()
    click.echo(f"{manager.file} installed and started; `parallel-loop service status` looks at it")
    if holder is not None and before != manager.content():
        click.echo("it runs as it was; `parallel-loop service restart` starts it with what is new")
    if isinstance(manager, Systemd) and not manager.lingers():
        click.echo("it ends when you log out; `loginctl enable-linger` lets it go on, and start with the machine")
