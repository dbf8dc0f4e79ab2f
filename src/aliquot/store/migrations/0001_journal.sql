-- Objects are stored once, by the digest of their content; a snapshot is a list of digests.
CREATE TABLE objects (
    digest BLOB PRIMARY KEY,
    kind   TEXT NOT NULL,
    body   BLOB NOT NULL              -- zlib-compressed JSON
) WITHOUT ROWID;

-- A snapshot is full (base IS NULL) or the difference to the one it is based on.
CREATE TABLE snapshots (
    id      INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL,            -- sum of the objects' digests
    base    INTEGER REFERENCES snapshots (id),
    depth   INTEGER NOT NULL,         -- how many differences lie between this one and a full one
    added   BLOB NOT NULL,            -- digests, 32 bytes each
    removed BLOB NOT NULL
);

-- One call of decide: its inputs and its whole answer.
CREATE TABLE records (
    id       INTEGER PRIMARY KEY,
    time     TEXT NOT NULL,           -- RFC 3339, UTC, microseconds: sorts as text
    snapshot INTEGER NOT NULL REFERENCES snapshots (id),
    policy   BLOB NOT NULL,           -- JSON
    plan     BLOB NOT NULL            -- zlib-compressed JSON
);
CREATE INDEX records_snapshot ON records (snapshot);

-- One decision with news in it. Rows are chained: chain = digest(chain of the row before, body).
CREATE TABLE entries (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    time      TEXT NOT NULL,
    record    INTEGER NOT NULL,
    decision  TEXT NOT NULL,
    kind      TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    queue     TEXT NOT NULL,
    body      BLOB NOT NULL,          -- JSON
    chain     BLOB NOT NULL
);
CREATE INDEX entries_workload ON entries (namespace, name, kind);
CREATE INDEX entries_decision ON entries (decision);
CREATE INDEX entries_time ON entries (time);

CREATE TABLE entry_pods (
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    entry     INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
    PRIMARY KEY (namespace, name, entry)
) WITHOUT ROWID;
CREATE INDEX entry_pods_entry ON entry_pods (entry);

CREATE TRIGGER entries_are_final BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TRIGGER records_are_final BEFORE UPDATE ON records
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

-- Where the chain of entries starts once old entries were let go.
CREATE TABLE chain_start (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    chain BLOB NOT NULL
);
INSERT INTO chain_start VALUES (1, x'');
