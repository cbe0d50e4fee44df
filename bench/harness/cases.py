"""What is asked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    name: str
    says: str
    connections: int = 64
    ask: int = 1024
    answer: int = 1024
    stream: bool = False
    #: How long the provider waits before an answer, or between two events.
    wait_ms: int = 0

    def flags(self) -> list:
        flags = ["--connections", self.connections, "--ask", self.ask, "--answer", self.answer]
        if self.stream:
            flags += ["--stream", "true"]
        return [*flags, "--wait", self.wait_ms] if self.wait_ms else flags


CASES = {case.name: case for case in (
    Case("c1", "answers of 1 KB, one connection", 1),
    Case("c16", "answers of 1 KB, 16 connections", 16),
    Case("c64", "answers of 1 KB, 64 connections", 64),
    Case("c256", "answers of 1 KB, 256 connections", 256),
    Case("stream", "streams of 20 events, as fast as they go, 64 connections", stream=True),
    Case("stream-5ms", "streams of 20 events, 5 ms between two, 64 connections", stream=True, wait_ms=5),
    Case("100k", "100 KB there and 100 KB back, 16 connections", 16, ask=100_000, answer=100_000),
    Case("1m", "1 MB there and 1 MB back, 16 connections", 16, ask=1_000_000, answer=1_000_000),
)}

#: Enough to see a change by.
QUICK = ("c64", "stream")
