"""Observe, execute, reconcile: the engine that carries plans out.

It knows the ports (`rotator.ports`) and the core, never an adapter, a
configuration file or a scheduler.
"""
