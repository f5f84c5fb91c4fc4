"""`run` for launchd, which takes every exit code but 0 for a failure, and starts again what failed.

`python -m parallel_loop.coordinator.service_entry ROOT` ends with 0 where the coordinator ended as it was asked to, or
where another start would end in the same way; what was wrong is in the log.
"""

from __future__ import annotations

import sys

from .cli import main
from .service_files import ENDED_AS_ASKED, NOT_MENDED_BY_A_RESTART


def run_kept(root: str) -> int:
    """Run the coordinator of the repository `root` and return 0 unless it should be started again."""
    code = main(["--repo", root, "run"])
    return 0 if code in (*ENDED_AS_ASKED, *NOT_MENDED_BY_A_RESTART) else code


if __name__ == "__main__":
    sys.exit(run_kept(*sys.argv[1:]))
