-- What the platform has paid for a tenant: a month of UTC (months since the year 0), and all time (0).
-- The version grows with each change, so that counters can tell newer sums from older ones.
CREATE TABLE budgets (
    tenant_id       TEXT NOT NULL,
    span            INTEGER NOT NULL,
    spent_micro_usd INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, span)
) STRICT, WITHOUT ROWID;
