"""Processes that end with this one, and what the kernel says of them."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """Something that was to be measured does not run."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _of_this_process() -> None:
    os.setsid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A program in a session of its own, so that its children are known, with what it writes in a file."""

    def __init__(self, name: str, command: list, folder: Path, env: dict | None = None, says_port: bool = False):
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=folder, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if says_port else log, stderr=log, preexec_fn=_of_this_process)
        self.port = None
        if says_port:
            line = self.process.stdout.readline()
            if not line.strip().isdigit():
                self.fail("it said no port")
            self.port = int(line)

    def fail(self, why: str):
        last = self.log.read_text(errors="replace").splitlines()[-15:]
        raise Failed("\n".join([f"{self.name}: {why}", *last]))

    def wait_for(self, ready, seconds: float = 60) -> float:
        """Waits until `ready()`; answers how long that took."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if self.process.poll() is not None:
                self.fail(f"ended with {self.process.returncode}")
            if ready():
                return time.monotonic() - begun
            time.sleep(0.01)
        return self.fail(f"not ready within {seconds} s")

    def pids(self) -> list[int]:
        """It and all that it started."""
        return family(self.process.pid)

    def stop(self) -> None:
        left = self.pids()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                pass
        # Those that did not end with it. What a number belongs to now is looked at once more.
        for pid in set(left) & set(family(self.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def family(first: int) -> list[int]:
    """A process that leads a session, its descendants, and what else is in its session, of all of these those that live.
    Some programs give their children sessions of their own, some leave them without a parent."""
    of_session, children = [], {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            state, parent, _, sid = stat[stat.rindex(")") + 2:].split()[:4]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry))
                if int(sid) == first:
                    of_session.append(int(entry))
    found, ahead = set(), list(of_session)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += children.get(pid, [])
    return sorted(found)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def memory(pids: list[int]) -> dict:
    """Of all of them, in MiB: what is there, its share where pages are shared, and the most there ever was."""
    sums = {"rss": 0, "pss": 0, "peak": 0}
    for pid in pids:
        status = _fields(f"/proc/{pid}/status")
        sums["rss"] += status.get("VmRSS", 0)
        sums["peak"] += status.get("VmHWM", 0)
        sums["pss"] += _fields(f"/proc/{pid}/smaps_rollup").get("Pss", 0)
    return {name: round(kib / 1024, 1) for name, kib in sums.items()}


def forget_peak(pids: list[int]) -> None:
    """The most that there ever was begins anew (proc(5), clear_refs)."""
    for pid in pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            pass


def _fields(file: str) -> dict:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {word[0].rstrip(":"): int(word[1]) for word in words if len(word) == 3 and word[2] == "kB"}
