"""One package or module per outside system, each a stranger to the others.

An adapter implements one port of `rotator.ports`, is the only importer of its
client library, and lets none of that library's exceptions out.
"""
