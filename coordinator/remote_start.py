"""The remote, before work starts: it must be one that there is, and what its branch has is fetched."""

from __future__ import annotations

from ..harness.configuration.settings import Config, ConfigError
from ..harness.configuration.wording import nearest, shown
from ..harness.project import Project
from ..worktrees.landing import LANDING_BRANCH, begin
from ..worktrees.remote import Fetched, RemoteBranch, Rewound, remote_names
from ..worktrees.repository import Repository

_FIRST_SECONDS = 15.0  # a run begins without a remote that does not answer; the lander tries again


def require_remote(config: Config, repository: Repository) -> None:
    """Raise ConfigError unless the configured remote is one of the repository's."""
    names = remote_names(repository.git)
    if config.remote is None or config.remote in names:
        return
    known = nearest(config.remote, names) if names else "it has none; `git remote add NAME URL` adds one"
    problem = f"the repository has no remote {shown(config.remote)}; {known}"
    raise ConfigError(config.source, None, "remote", problem)


def fetch_first(project: Project, remote: str, target: str) -> str | None:
    """Fetch the remote's target, and begin the landing branch there if it does not exist; say what did not work."""
    repository = Repository.open(project.root)
    found = RemoteBranch(repository, remote, target).fetch(seconds=_FIRST_SECONDS)
    if isinstance(found, Rewound):
        return None  # the lander tells of it, and goes on telling
    if not isinstance(found, Fetched):
        return f"{target} could not be fetched from {remote}, work starts from what is here: {found.said}"
    own = repository.branch_tip(target)
    if found.tip is None or own is None or repository.branch_tip(LANDING_BRANCH) is not None:
        return None
    if repository.git.run("merge-base", "--is-ancestor", own, found.tip, ok=(0, 1)).returncode == 0:
        begin(repository.git, found.tip)  # the target has nothing that the remote lacks
    return None
