"""Each module is one benchmark and one command: ``python -m benchmarks.console``."""
