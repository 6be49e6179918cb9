"""Real servers that tests run against; ``make servers`` builds what is not installed."""
