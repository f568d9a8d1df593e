"""What a process uses, as Linux tells it under /proc; other systems tell nothing here, and the report says so."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far.

    Attributes:
        cpu_seconds: of user and system time.
        memory_bytes: its resident set.
        peak_bytes: the largest resident set that it ever had; an agent's is that of its start, when scrypt takes 32 MiB for
            a moment.
    """

    cpu_seconds: float
    memory_bytes: int
    peak_bytes: int


def use_of(pid: int, proc: Path = Path("/proc")) -> Use | None:
    """What a process has used; None where it has ended or the system does not tell."""
    directory = proc / str(pid)
    try:
        # the second member is the program's name in brackets, and may hold anything, also brackets
        members = (directory / "stat").read_text().rpartition(")")[2].split()
        status = (directory / "status").read_text().splitlines()
        ticks = int(members[11]) + int(members[12])
        fields = dict(line.split(":", 1) for line in status)
        resident, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    except (OSError, ValueError, LookupError):
        return None
    return Use(ticks / os.sysconf("SC_CLK_TCK"), resident, peak)
