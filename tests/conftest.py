"""For all tests."""

from __future__ import annotations

import signal

# A shell that starts this in the background has it ignore Ctrl-C, and children would inherit that:
# tests that interrupt a child would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
