"""What one student's process may take. Nothing here needs POSIX: every platform can import it."""

from __future__ import annotations

import os
from dataclasses import dataclass

SCRATCH = "/scratch"  # in the sandbox, the folder that can be written to


@dataclass(frozen=True)
class Limits:
    """What one student's process may take; sizes are in bytes."""

    memory: int = 3 << 30  # of private data; and with both scratch folders, of all that is used
    addresses: int = 24 << 30  # mapped at all
    scratch: int = 64 << 20  # of each scratch folder
    open_files: int = 128
    threads: int = 256 + 16 * (os.cpu_count() or 1)  # XLA starts some for each processor
