"""In-memory fakes, one for each port, with faults at every call."""
