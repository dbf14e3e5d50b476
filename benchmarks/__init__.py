"""Each module is one benchmark and one command: ``python -m benchmarks.console``."""

import os

# Before torch is imported: memory in huge pages, for every competitor. Fresh pages of 4 KiB cost more time than
# many of the effects that are timed, and how much differs from machine to machine.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
