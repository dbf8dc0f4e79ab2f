-- One schema for SQLite and PostgreSQL. Integers are 64 bits wide; numbers are given by whoever writes, who is one.

-- One row of settings and marks. version: of this schema. chain: digest over all batches so far.
CREATE TABLE ledger_state (
    id       BIGINT PRIMARY KEY,
    version  BIGINT NOT NULL,
    currency TEXT NOT NULL,           -- "" until the first batch
    sequence BIGINT NOT NULL,         -- of the newest batch; the next one has the number after it
    seen_ms  BIGINT NOT NULL,         -- up to here somebody has looked
    chain    TEXT NOT NULL
);

-- Names that entries refer to by number. digest: of the content, so that each is stored once.
CREATE TABLE ledger_kinds (
    id      BIGINT PRIMARY KEY,
    driver  TEXT NOT NULL,
    model   TEXT NOT NULL,
    region  TEXT NOT NULL,
    UNIQUE (driver, model, region)
);

CREATE TABLE ledger_places (
    id      BIGINT PRIMARY KEY,
    digest  TEXT NOT NULL UNIQUE,
    node    TEXT NOT NULL,
    pool    TEXT NOT NULL,
    kind    BIGINT NOT NULL REFERENCES ledger_kinds (id),
    body    TEXT NOT NULL             -- JSON
);

CREATE TABLE ledger_devices (
    id     BIGINT PRIMARY KEY,
    place  BIGINT NOT NULL REFERENCES ledger_places (id),
    name   TEXT NOT NULL,
    UNIQUE (place, name)
);

CREATE TABLE ledger_accounts (
    id           BIGINT PRIMARY KEY,
    digest       TEXT NOT NULL UNIQUE,
    queue        TEXT NOT NULL,
    queue_path   TEXT NOT NULL,
    namespace    TEXT NOT NULL,
    workload     TEXT NOT NULL,
    workload_uid TEXT NOT NULL,
    claim        TEXT NOT NULL,
    owner        TEXT NOT NULL,
    model        TEXT NOT NULL,
    mode         TEXT NOT NULL,
    profile      TEXT NOT NULL,
    decision     TEXT NOT NULL,
    reason       TEXT NOT NULL,
    body         TEXT NOT NULL        -- JSON
);

CREATE TABLE ledger_labels (
    account BIGINT NOT NULL REFERENCES ledger_accounts (id),
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (account, name)
);
CREATE INDEX ledger_labels_name ON ledger_labels (name, value);

CREATE TABLE ledger_pods (
    account   BIGINT NOT NULL REFERENCES ledger_accounts (id),
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    uid       TEXT NOT NULL,
    PRIMARY KEY (account, name, uid)
);
CREATE INDEX ledger_pods_name ON ledger_pods (namespace, name);

-- What is written in one transaction. origin: what it was written for; "" for time that passed. Rows are
-- chained: chain = digest (chain of the batch before, digest of this one's entries).
CREATE TABLE ledger_batches (
    sequence BIGINT PRIMARY KEY,
    origin   TEXT NOT NULL,
    start_ms BIGINT NOT NULL,         -- the earliest start and the latest end of its entries
    end_ms   BIGINT NOT NULL,
    first_id BIGINT NOT NULL,         -- its entries have these numbers
    last_id  BIGINT NOT NULL,
    digest   TEXT NOT NULL,
    chain    TEXT NOT NULL
);
CREATE INDEX ledger_batches_end ON ledger_batches (end_ms);
CREATE INDEX ledger_batches_origin ON ledger_batches (origin);

-- The entries. Never changed, never deleted.
CREATE TABLE ledger_entries (
    id              BIGINT PRIMARY KEY,
    device          BIGINT NOT NULL,
    account         BIGINT NOT NULL,
    category        SMALLINT NOT NULL,
    kind            SMALLINT NOT NULL,
    start_ms        BIGINT NOT NULL,
    end_ms          BIGINT NOT NULL,
    device_ms       BIGINT NOT NULL,
    used_ms         BIGINT NOT NULL,
    known_ms        BIGINT NOT NULL,
    use_measured_ms BIGINT NOT NULL,
    energy_mj       BIGINT NOT NULL,
    metered_ms      BIGINT NOT NULL,
    measured_mj     BIGINT NOT NULL,
    cost_micros     BIGINT NOT NULL,
    carbon_ug       BIGINT NOT NULL
);

-- Sums of entries by the UTC day in which they start, kept in the same transaction as the entries: by place and
-- account, and, for reports that do not need both, by either alone.
CREATE TABLE ledger_days (
    day_ms          BIGINT NOT NULL,
    place           BIGINT NOT NULL,
    account         BIGINT NOT NULL,
    category        SMALLINT NOT NULL,
    device_ms       BIGINT NOT NULL,
    used_ms         BIGINT NOT NULL,
    known_ms        BIGINT NOT NULL,
    use_measured_ms BIGINT NOT NULL,
    energy_mj       BIGINT NOT NULL,
    metered_ms      BIGINT NOT NULL,
    measured_mj     BIGINT NOT NULL,
    cost_micros     BIGINT NOT NULL,
    carbon_ug       BIGINT NOT NULL,
    PRIMARY KEY (day_ms, place, account, category)
);

CREATE TABLE ledger_account_days (
    day_ms          BIGINT NOT NULL,
    kind            BIGINT NOT NULL,
    account         BIGINT NOT NULL,
    category        SMALLINT NOT NULL,
    device_ms       BIGINT NOT NULL,
    used_ms         BIGINT NOT NULL,
    known_ms        BIGINT NOT NULL,
    use_measured_ms BIGINT NOT NULL,
    energy_mj       BIGINT NOT NULL,
    metered_ms      BIGINT NOT NULL,
    measured_mj     BIGINT NOT NULL,
    cost_micros     BIGINT NOT NULL,
    carbon_ug       BIGINT NOT NULL,
    PRIMARY KEY (day_ms, kind, account, category)
);

CREATE TABLE ledger_place_days (
    day_ms          BIGINT NOT NULL,
    place           BIGINT NOT NULL,
    category        SMALLINT NOT NULL,
    device_ms       BIGINT NOT NULL,
    used_ms         BIGINT NOT NULL,
    known_ms        BIGINT NOT NULL,
    use_measured_ms BIGINT NOT NULL,
    energy_mj       BIGINT NOT NULL,
    metered_ms      BIGINT NOT NULL,
    measured_mj     BIGINT NOT NULL,
    cost_micros     BIGINT NOT NULL,
    carbon_ug       BIGINT NOT NULL,
    PRIMARY KEY (day_ms, place, category)
);

-- Devices as last seen: their time is settled up to since_ms.
CREATE TABLE ledger_open (
    driver   TEXT NOT NULL,
    pool     TEXT NOT NULL,
    name     TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    body     TEXT NOT NULL,           -- JSON of the occupancy
    PRIMARY KEY (driver, pool, name)
);

-- Alerts of budgets that were told, so that each is told once.
CREATE TABLE ledger_alerts (
    budget   TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    level    BIGINT NOT NULL,
    told_ms  BIGINT NOT NULL,
    PRIMARY KEY (budget, start_ms, level)
);
