-- Every time is in milliseconds since the Unix epoch, UTC.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- Keys under a root: tenants' KEKs, the service secret, sealing keys. Destroying a tenant is deleting
-- its KEKs: without them nothing opens the DEKs they wrap.
CREATE TABLE wrapped_keys (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose    TEXT NOT NULL,
    owner      TEXT NOT NULL,
    id         TEXT NOT NULL,
    root       TEXT NOT NULL,
    wrapped    BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    UNIQUE (purpose, owner, id)
) STRICT;

-- One KEK of a tenant, and one service secret, is in use; sealing keys overlap.
CREATE UNIQUE INDEX wrapped_keys_one_in_use
    ON wrapped_keys (purpose, owner) WHERE retired_at IS NULL AND purpose <> 'sealing';

-- The public halves of sealing keys; the private ones are wrapped keys of the same id.
CREATE TABLE sealing_keys (
    kid        TEXT PRIMARY KEY,
    kem        INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which sealed keys were used, by whom, and how often.
CREATE TABLE seal_claims (
    key   BLOB PRIMARY KEY,
    owner BLOB NOT NULL,
    uses  INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seal_claims_to_forget ON seal_claims (until);

-- Up to which end uses were forgotten.
CREATE TABLE seal_floor (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    until INTEGER NOT NULL
) STRICT;

CREATE TABLE tenants (
    id               TEXT PRIMARY KEY,
    name             TEXT NOT NULL,
    tier             TEXT NOT NULL,
    byok_enabled     INTEGER NOT NULL,
    daily_quota      INTEGER NOT NULL,
    fallback         TEXT NOT NULL,
    budget_micro_usd INTEGER,
    budget_period    TEXT NOT NULL,
    created_at       INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    tenant_id    TEXT NOT NULL,
    provider     TEXT NOT NULL,
    label        TEXT NOT NULL,
    version      INTEGER NOT NULL,
    state        TEXT NOT NULL,
    last4        TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    kek_id       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    last_used_at INTEGER,
    test_status  TEXT NOT NULL,
    test_at      INTEGER
) STRICT;

-- One active key each tenant, provider and label.
CREATE UNIQUE INDEX credentials_one_active
    ON credentials (tenant_id, provider, label) WHERE state = 'active';
CREATE INDEX credentials_of_tenant ON credentials (tenant_id, n);

-- The sealed keys. Destroying a key is deleting its row: without the wrapped DEK in it, nothing
-- can open the envelope. `secure_delete` overwrites the bytes in the file.
CREATE TABLE credential_versions (
    credential_id TEXT NOT NULL,
    version       INTEGER NOT NULL,
    origin        TEXT NOT NULL,
    kek_id        TEXT NOT NULL,
    wrapped_dek   BLOB NOT NULL,
    envelope      BLOB NOT NULL,
    destroy_at    INTEGER,
    PRIMARY KEY (credential_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX credential_versions_by_kek ON credential_versions (kek_id);
CREATE INDEX credential_versions_to_destroy
    ON credential_versions (destroy_at) WHERE destroy_at IS NOT NULL;

CREATE TABLE tokens (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    tenant_id  TEXT NOT NULL,
    hash       BLOB NOT NULL,
    role       TEXT NOT NULL,
    name       TEXT,
    models     TEXT,
    rate       TEXT,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX tokens_of_tenant ON tokens (tenant_id, n);

CREATE TABLE issuers (
    id         TEXT PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    issuer     TEXT NOT NULL,
    audience   TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    jwks       TEXT,
    jwks_url   TEXT,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (tenant_id, issuer, audience)
) STRICT;

CREATE TABLE usage (
    n                   INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id          TEXT NOT NULL UNIQUE,
    at                  INTEGER NOT NULL,
    tenant_id           TEXT NOT NULL,
    caller              TEXT NOT NULL,
    provider            TEXT NOT NULL,
    model               TEXT,
    operation           TEXT NOT NULL,
    credential          TEXT NOT NULL,
    credential_id       TEXT,
    accounting          TEXT NOT NULL,
    status              INTEGER NOT NULL,
    outcome             TEXT NOT NULL,
    error               INTEGER NOT NULL,
    input_tokens        INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens       INTEGER NOT NULL,
    cost_micro_usd      INTEGER NOT NULL,
    usage_source        TEXT NOT NULL,
    latency_ms          INTEGER NOT NULL,
    overhead_us         INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_of_tenant ON usage (tenant_id, at);

CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL,
    tenant_id TEXT,
    target    TEXT NOT NULL,
    source    TEXT NOT NULL,
    detail    TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL,
    mac       TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_tenant ON audit (tenant_id, seq);

CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    seq  INTEGER NOT NULL,
    hash TEXT NOT NULL,
    mac  TEXT NOT NULL
) STRICT;
