"""The loop: when which target is looked at, and how the process starts, lives and stops.

What is done with a target is the engine's matter. `loop` decides when, `workers` does it
in threads, `supervise` keeps the main thread for signals and watches over the rest, and
`once` goes over everything that is due a single time.
"""

from __future__ import annotations

from rotator.daemon.loop import Daemon
from rotator.daemon.once import Passes, run_once
from rotator.daemon.serving import served
from rotator.daemon.signals import Signals
from rotator.daemon.supervise import supervise
from rotator.daemon.workers import Workers

__all__ = ["Daemon", "Passes", "Signals", "Workers", "run_once", "served", "supervise"]
