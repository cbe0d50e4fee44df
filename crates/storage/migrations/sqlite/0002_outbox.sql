-- Orders to move a tenant's epoch in the counter store. The change that calls for it writes the row in
-- its own transaction; any replica carries it out, and then removes it.
CREATE TABLE outbox (
    n         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT NOT NULL
) STRICT;
