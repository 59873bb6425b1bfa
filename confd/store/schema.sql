CREATE TABLE IF NOT EXISTS records (
    n    INTEGER PRIMARY KEY,
    term INTEGER NOT NULL,
    kind TEXT    NOT NULL,
    key  TEXT    NOT NULL,
    at   REAL    NOT NULL,
    body BLOB    NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    id        TEXT PRIMARY KEY,
    admitted  INTEGER NOT NULL,  -- n of its first record
    last      INTEGER NOT NULL,  -- n of its latest record
    name      TEXT NOT NULL,
    intent    TEXT NOT NULL,
    user      TEXT NOT NULL,
    stage     TEXT NOT NULL,
    submitted REAL NOT NULL,
    ended     REAL,
    code      INTEGER,
    revision  INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_by_admission ON jobs (admitted);
CREATE INDEX IF NOT EXISTS jobs_unfinished ON jobs (admitted) WHERE ended IS NULL;
CREATE TABLE IF NOT EXISTS sections (
    key      TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    body     BLOB,               -- NULL: deleted in this revision
    PRIMARY KEY (key, revision)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revisions (
    revision INTEGER PRIMARY KEY,
    job      TEXT NOT NULL,
    user     TEXT NOT NULL,
    at       REAL NOT NULL,
    keys     TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS runtime (
    key  TEXT PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
