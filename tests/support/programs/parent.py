"""Leaves children behind: one that ends when asked, one that does not, one in a session of its own. Ends with 0."""

import os
import signal

for kind in ("polite", "stubborn", "elsewhere"):
    ready, tell = os.pipe()
    if not os.fork():
        if kind == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if kind == "elsewhere":
            os.setsid()
        os.write(tell, b".")
        while True:
            signal.pause()
    os.read(ready, 1)
