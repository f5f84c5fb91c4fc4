"""The environment git runs in: ours, and the one an agent's program gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# `git rev-parse --local-env-vars`, and what newer versions add. A parallel-loop that was started from a hook or from
# `rebase --exec` inherits some of them, and every command would then work on the wrong index or repository.
# The rest change how path arguments are read, or which refs are seen.
LOCAL_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)

# What git gets from us in every call, beside an identity.
OWN_CALLS: Mapping[str, str] = {
    "LC_ALL": "C",  # messages are matched
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",  # a `status` that refreshes the index makes a program's own commit fail
    "GIT_EDITOR": "true",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
}


@dataclass(frozen=True)
class Identity:
    """Who a commit is by. It travels in the environment: `git config` in a worktree writes the shared file."""

    name: str
    email: str

    def variables(self) -> dict[str, str]:
        """The variables that make git commit as this identity, whatever is configured."""
        return {
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": self.email,
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": self.email,
        }


def configuration_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """`settings` (key to value) as the variables by which git takes configuration from the environment."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def program_environment(identity: Identity, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """What an agent's program gets on top of `scrub(os.environ)`.

    Its commits are the agent's, are not signed with the user's key, and pack nothing: a gc in the middle of a run may
    prune what another agent is about to commit. `settings` are further configuration.
    """
    quiet = {"gc.auto": "0", "maintenance.auto": "false", "commit.gpgSign": "false"}
    quiet |= {"core.logAllRefUpdates": "always"}  # so that each ref tells whose step it took, see reflogs.py
    quiet |= {"core.filesRefLockTimeout": "2000", "core.packedRefsTimeout": "10000"}  # milliseconds for another git
    prompts = {"GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true"}
    return identity.variables() | prompts | configuration_variables(quiet | dict(settings or {}))


def scrub(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what would point a program's git at another repository, index or configuration."""
    numbered = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
    return {
        name: value for name, value in environ.items() if name not in LOCAL_VARIABLES and not name.startswith(numbered)
    }
