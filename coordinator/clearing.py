"""Ending the workers that outlived their coordinator, in its place: holding its lock, as it does at its own end."""

from __future__ import annotations

import msgspec

from ..harness.identity import own_identity
from ..harness.project import Project
from .control import Wanted, read_wanted, write_wanted
from .crew import Crew
from .lock import CoordinatorLock


def end_survivors(project: Project) -> None:
    """End them now and give their items back, at no cost of an attempt. Raises AlreadyRunning.

    Who does not hear is killed, and its item taken back from the dead.
    """
    state = project.state
    lock = CoordinatorLock(state.coordinator_lock, *own_identity())
    try:
        wanted = read_wanted(state) or Wanted(project.config.agents)
        write_wanted(state, msgspec.structs.replace(wanted, ending="stop"))  # by this they know who sends the signal
        crew = Crew(project, target="")  # which is for those who are started: nobody is
        crew.begin()
        crew.leave()
    finally:
        lock.close()
