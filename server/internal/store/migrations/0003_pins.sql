-- +goose Up
-- Names that people gave to runs, beside those that follow from what there is (best, latest).
CREATE TABLE pins (
  owner   TEXT NOT NULL,
  dataset TEXT NOT NULL,                 -- the dataset's name
  label   TEXT NOT NULL,
  task    TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  pinned  BIGINT NOT NULL,
  PRIMARY KEY (owner, dataset, label)
);
CREATE INDEX pins_by_task ON pins (task);

-- +goose Down
DROP TABLE pins;
