"""How a store of a thousand keys differs from one of a million: start to the first answer, lookups, memory.

A thousand tenants are made as anybody makes them, and all that is measured is asked by them. The others lie beside them in the
tables: rows with names of their own and bytes of the right length that nobody asks for."""

import json
import sqlite3
import subprocess
import time

from .keyferry import QUOTA, Keyferry
from .processes import Failed, memory
from .stage import Stage, say

ASKING = 1_000
OF_A_TENANT = 10


def run(stage: Stage, systems: list, settings, total: int = 1_000_000) -> dict:
    figures = {}
    for system in systems:
        if type(system) is not Keyferry:
            say(f"  {system.name} is left out: only the embedded store is filled")
            continue
        tokens = furnish(system, stage.key)
        figures[system.name] = {str(ASKING): looked(stage, system, tokens)}
        system.process.stop()
        say(f"{system.name}: filling up to {total} keys")
        fill(system, total)
        figures[system.name][str(total)] = looked(stage, system, tokens)
    return figures


def furnish(system: Keyferry, key: str) -> list[str]:
    """A thousand tenants with a key each; answers their tokens."""
    tokens = []
    for number in range(ASKING):
        tenant = f"asking-{number:04}"
        system.admin("POST", "/tenants", {"id": tenant, "name": tenant, "byok_enabled": True, "daily_quota": QUOTA})
        system.admin("POST", f"/tenants/{tenant}/credentials", {"provider": "openai", "api_key": key})
        tokens.append(system.admin("POST", f"/tenants/{tenant}/tokens", {"role": "caller"})["token"])
    return tokens


def looked(stage: Stage, system: Keyferry, tokens: list[str]) -> dict:
    """Starts it anew, and asks once and again for each tenant."""
    system.process.stop()
    headers = system.folder / "callers.txt"
    headers.write_text("".join(f"authorization: Bearer {token}\n" for token in tokens))
    begun = time.monotonic()
    system.serve()
    ready = time.monotonic() - begun
    system.headers = []
    first = asked(stage, system, headers, 1)
    answered = time.monotonic() - begun
    cold = asked(stage, system, headers, len(tokens))
    warm = [asked(stage, system, headers, len(tokens)) for _ in range(3)][-1]
    size = sum(file.stat().st_size for file in (system.folder / "data").glob("keyferry.db*"))
    return {"ready_s": round(ready, 3), "first_answer_s": round(answered, 3), "first_us": first["latency_us"]["p50"],
            "cold_us": cold["latency_us"], "warm_us": warm["latency_us"], "memory_mib": memory(system.pids()),
            "store_mib": round(size / 2**20, 1)}


def asked(stage: Stage, system: Keyferry, headers, count: int) -> dict:
    done = subprocess.run(
        [str(word) for word in (stage.tools / "load", "--to", f"127.0.0.1:{system.port}", "--path", system.path, "--count", count,
                                "--vary", headers)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Failed(f"{system.name}: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    if seen["errors"]:
        raise Failed(f"{system.name}: {seen['first_error']}")
    return seen


def fill(system: Keyferry, total: int) -> None:
    """Copies one tenant's rows until there are so many keys."""
    tenants = (total - ASKING) // OF_A_TENANT
    base = sqlite3.connect(system.folder / "data/keyferry.db")
    base.execute("PRAGMA synchronous = OFF")
    base.execute("PRAGMA cache_size = -1000000")
    like = "asking-0000"
    one, = base.execute("SELECT id FROM credentials WHERE tenant_id = ?", (like,)).fetchone()
    base.execute("CREATE TEMP TABLE t AS WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ?) SELECT i FROM k", (tenants,))
    base.execute(f"CREATE TEMP TABLE l AS WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < {OF_A_TENANT - 1}) SELECT i FROM k")
    tenant, kek = "printf('filler-%07d', t.i)", "printf('kek_filler%014d', t.i)"
    key = "printf('cred_filler%07d%03d', t.i, l.i)"
    copy(base, "tenants", "id = ?", (like,), "t", {"id": tenant, "name": tenant})
    copy(base, "wrapped_keys", "owner = ?", (like,), "t", {"owner": tenant, "id": kek})
    copy(base, "tokens", "tenant_id = ?", (like,), "t", {"id": "printf('filler%07d', t.i)", "tenant_id": tenant, "hash": "randomblob(length(hash))"})
    copy(base, "credentials", "id = ?", (one,), "t, l",
         {"id": key, "tenant_id": tenant, "label": "printf('label-%d', l.i)", "kek_id": kek, "fingerprint": "lower(hex(randomblob(length(fingerprint) / 2)))"})
    copy(base, "credential_versions", "credential_id = ?", (one,), "t, l",
         {"credential_id": key, "kek_id": kek, "wrapped_dek": "randomblob(length(wrapped_dek))", "envelope": "randomblob(length(envelope))"})
    base.commit()
    stored, = base.execute("SELECT count(*) FROM credentials").fetchone()
    if stored < total - OF_A_TENANT:
        raise Failed(f"{stored} keys are stored, not {total}")
    base.close()


def copy(base: sqlite3.Connection, table: str, which: str, values: tuple, among: str, changed: dict) -> None:
    """Every column is as in the one row, but for those that are changed."""
    columns = [name for _, name, *_ in base.execute(f"PRAGMA table_info({table})") if name != "n"]
    read = [changed.get(name, f"o.{name}") for name in columns]
    base.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(read)} FROM {table} AS o, {among} WHERE o.{which}", values)


def table(figures: dict) -> str:
    lines = ["**Keys in the store**", "",
             "| system | keys | ready s | first answer s | first request of a tenant p50 / p99 µs | later ones p50 / p99 µs | MiB | store MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for name, sizes in figures.items():
        for size, one in sizes.items():
            cold, warm = one["cold_us"], one["warm_us"]
            lines.append(f"| {name} | {int(size):,} | {one['ready_s']} | {one['first_answer_s']} | {cold['p50']:,.0f} / {cold['p99']:,.0f} | "
                         f"{warm['p50']:,.0f} / {warm['p99']:,.0f} | {one['memory_mib']['pss']} | {one['store_mib']} |")
    return "\n".join(lines)
