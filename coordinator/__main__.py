"""`python -m parallel_loop.coordinator` is the same program as `parallel-loop`."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
