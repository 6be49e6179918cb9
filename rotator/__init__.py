"""Keeps OpenRouter API keys young: mints, publishes to HashiCorp Vault, and retires the predecessors."""

__version__ = "0.1.0"
