"""What holds for every test."""

from __future__ import annotations

import signal

# A shell starts background jobs with SIGINT ignored, and what we start inherits that: the tests of Ctrl-C would wait
# for ever wherever the tests themselves run in the background, as they may in CI.
signal.signal(signal.SIGINT, signal.default_int_handler)
