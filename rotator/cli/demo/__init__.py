"""``demo``: everything on this machine, at a pace of seconds, with the real parts.

`bench` makes the sandbox's account and a configuration file, `process` runs the daemon as
a process of its own, `trail` reads what it writes into the audit trail, `crash` kills it
once at the worst moment, `screen` shows it all, and `verdict` counts in the end, from the
sandbox's own state and not from what the daemon says of itself. `command` puts them together.
"""

from __future__ import annotations
