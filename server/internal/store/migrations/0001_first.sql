-- One text for SQLite and Postgres. Times are microseconds since 1970 UTC; flags are 0 and 1; "start" and "owner" stand
-- where "offset" and "user" are reserved words.

-- +goose Up
CREATE TABLE owners (
  owner      TEXT PRIMARY KEY,
  runs       BIGINT NOT NULL DEFAULT 0,  -- number of the newest run
  last_start BIGINT NOT NULL DEFAULT 0   -- when an attempt of theirs was last given a slot
);

CREATE TABLE datasets (
  id      TEXT PRIMARY KEY,
  owner   TEXT NOT NULL,
  name    TEXT NOT NULL,
  digest  TEXT NOT NULL,
  state   TEXT NOT NULL,
  images  BIGINT NOT NULL,
  bytes   BIGINT NOT NULL,
  classes TEXT NOT NULL,
  created BIGINT NOT NULL,
  UNIQUE (owner, digest)
);
CREATE INDEX datasets_by_age ON datasets (owner, created, id);

CREATE TABLE packs (
  owner   TEXT NOT NULL,
  hash    TEXT NOT NULL,
  bytes   BIGINT NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (owner, hash)
);

CREATE TABLE blobs (
  owner  TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  pack   TEXT NOT NULL,
  start  BIGINT NOT NULL,
  length BIGINT NOT NULL,
  PRIMARY KEY (owner, sha256)
);
CREATE INDEX blobs_by_pack ON blobs (owner, pack);

CREATE TABLE dataset_packs (
  dataset TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
  owner   TEXT NOT NULL,
  pack    TEXT NOT NULL,
  PRIMARY KEY (dataset, pack)
);
CREATE INDEX dataset_packs_by_pack ON dataset_packs (owner, pack);

CREATE TABLE uploads (
  id       TEXT PRIMARY KEY,
  owner    TEXT NOT NULL,
  kind     TEXT NOT NULL,
  dataset  TEXT NOT NULL,
  size     BIGINT NOT NULL,
  received BIGINT NOT NULL,              -- durable bytes
  finished INTEGER NOT NULL,             -- 1: what was sent has been taken in
  created  BIGINT NOT NULL,
  expires  BIGINT NOT NULL
);
CREATE INDEX uploads_by_expiry ON uploads (expires);

CREATE TABLE tasks (
  id            TEXT PRIMARY KEY,
  owner         TEXT NOT NULL,
  kind          TEXT NOT NULL,
  state         TEXT NOT NULL,
  reason        TEXT NOT NULL,
  number        BIGINT NOT NULL,         -- of a run; 0 for other tasks
  name          TEXT NOT NULL,
  dataset       TEXT NOT NULL,           -- its id
  dataset_name  TEXT NOT NULL,
  digest        TEXT NOT NULL,
  classes       TEXT NOT NULL,           -- JSON array, the one label order
  recipe        TEXT NOT NULL,           -- JSON
  model_of      TEXT NOT NULL,           -- run whose model is used; empty for a run
  retry_of      TEXT NOT NULL,
  attempt       INTEGER NOT NULL,        -- the newest; 0: none yet
  crashes       INTEGER NOT NULL,
  interruptions INTEGER NOT NULL,
  stop          INTEGER NOT NULL,        -- 1: asked to finish now
  cancel        INTEGER NOT NULL,        -- 1: asked to give up
  phase         TEXT NOT NULL,
  done          BIGINT NOT NULL,
  total         BIGINT NOT NULL,
  rate          DOUBLE PRECISION,
  eta_seconds   DOUBLE PRECISION,
  epoch         INTEGER,
  val_accuracy  DOUBLE PRECISION,
  test_accuracy DOUBLE PRECISION,
  created       BIGINT NOT NULL,
  queued        BIGINT NOT NULL,         -- when it last entered the queue
  started       BIGINT,
  ended         BIGINT
);
CREATE INDEX tasks_by_age ON tasks (owner, kind, created, id);
CREATE INDEX tasks_active ON tasks (queued, id) WHERE ended IS NULL;
CREATE INDEX tasks_by_model ON tasks (model_of);

CREATE TABLE attempts (
  task       TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  attempt    INTEGER NOT NULL,
  executor   TEXT NOT NULL,              -- empty until one registers; the first owns the attempt
  token_hash TEXT NOT NULL,
  acked      BIGINT NOT NULL,            -- highest seq stored; all below it are too
  started    BIGINT NOT NULL,
  ended      BIGINT,
  outcome    TEXT NOT NULL,
  PRIMARY KEY (task, attempt)
);

CREATE TABLE streams (
  task TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
  last BIGINT NOT NULL                   -- number of the newest event
);

CREATE TABLE events (
  task     TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  attempt  INTEGER NOT NULL,
  executor TEXT NOT NULL,                -- "server" for state changes
  seq      BIGINT NOT NULL,
  id       BIGINT NOT NULL,              -- counts the task's events from 1 without holes
  type     TEXT NOT NULL,
  body     TEXT NOT NULL,                -- the whole record, JSON
  PRIMARY KEY (task, attempt, executor, seq)
);
CREATE UNIQUE INDEX events_by_number ON events (task, id);

CREATE TABLE artifacts (
  task     TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  name     TEXT NOT NULL,
  position INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  executor TEXT NOT NULL,
  body     TEXT NOT NULL,                -- JSON
  PRIMARY KEY (task, name)
);

-- +goose Down
DROP TABLE artifacts;
DROP TABLE events;
DROP TABLE streams;
DROP TABLE attempts;
DROP TABLE tasks;
DROP TABLE uploads;
DROP TABLE dataset_packs;
DROP TABLE blobs;
DROP TABLE packs;
DROP TABLE datasets;
DROP TABLE owners;
