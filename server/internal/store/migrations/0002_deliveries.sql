-- +goose Up
ALTER TABLE tasks ADD COLUMN profile TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN notify TEXT NOT NULL DEFAULT '{}';  -- JSON, what to do at the end

-- The outbox. A row is written in the transaction that makes it due; the effect comes after it.
CREATE TABLE deliveries (
  id       TEXT PRIMARY KEY,
  owner    TEXT NOT NULL,
  task     TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  kind     TEXT NOT NULL,                 -- link, email
  target   TEXT NOT NULL,                 -- address of a mail, file of a link
  artifact TEXT NOT NULL,                 -- file a link leads to; empty: none
  sha256   TEXT NOT NULL,                 -- of that file
  needs    TEXT NOT NULL,                 -- key of the delivery that must be delivered or failed first; empty: none
  key      TEXT NOT NULL UNIQUE,          -- same effect, same key
  state    TEXT NOT NULL,                 -- waiting, sending, delivered, failed
  attempts INTEGER NOT NULL,
  since    BIGINT NOT NULL,               -- when it was first tried since somebody asked for it
  due      BIGINT NOT NULL,               -- when to try next
  leased   BIGINT NOT NULL,               -- until when somebody is at it
  progress TEXT NOT NULL,                 -- JSON, the kind's own: where to resume
  url      TEXT NOT NULL,
  expires  BIGINT,
  reason   TEXT NOT NULL,
  created  BIGINT NOT NULL,
  updated  BIGINT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (kind, due, id) WHERE state IN ('waiting', 'sending');
CREATE INDEX deliveries_by_task ON deliveries (task, created, id);

CREATE TABLE tokens (
  id        TEXT PRIMARY KEY,
  owner     TEXT NOT NULL,
  name      TEXT NOT NULL,                -- what it is for, in its owner's words
  hash      TEXT NOT NULL UNIQUE,
  scopes    TEXT NOT NULL,                -- space separated: read upload train admin
  created   BIGINT NOT NULL,
  expires   BIGINT NOT NULL,
  last_used BIGINT,
  revoked   BIGINT
);
CREATE INDEX tokens_by_owner ON tokens (owner, created, id);

-- +goose Down
DROP TABLE tokens;
DROP TABLE deliveries;
ALTER TABLE tasks DROP COLUMN notify;
ALTER TABLE tasks DROP COLUMN profile;
