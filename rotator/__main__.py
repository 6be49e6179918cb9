"""Runs the command line as ``python -m rotator``."""

from __future__ import annotations

from rotator.cli import main

if __name__ == "__main__":
    main()
