"""The system's clock, behind the port: the one place that asks the operating system for time."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Wall clock and monotonic clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds, never going back."""
        return time.monotonic()
