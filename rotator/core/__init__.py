"""The decisions, as pure functions over frozen values.

Nothing in this package does I/O, reads a clock, draws a random number, logs, or
can hold a plaintext. Time is always an argument (``now``).
"""
