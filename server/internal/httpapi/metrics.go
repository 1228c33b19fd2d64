package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/cultivar-ml/cultivar/server/internal/curves"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func (s *Server) metricsTable(w http.ResponseWriter, r *http.Request) {
	s.metrics(w, r, "text/csv; charset=utf-8", func(run int) string { return fmt.Sprintf("run-%d.csv", run) }, curves.WriteCSV)
}

func (s *Server) metricsEvents(w http.ResponseWriter, r *http.Request) {
	s.metrics(w, r, "application/octet-stream", curves.EventsName, curves.WriteEvents)
}

// metrics answers with a run's curves as a file.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request, kind string, name func(run int) string, write func(io.Writer, []curves.Point) error) {
	run, err := s.Store.Run(r.Context(), user(r.Context()), mux.Vars(r)["id"])
	if err != nil {
		s.fail(w, r, err)
		return
	}
	points, err := s.points(r, run)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var file bytes.Buffer
	if err := write(&file, curves.Settled(points)); err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name(run.Number)}))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(file.Bytes()) // the caller may have gone
}

// points are the epochs among a run's events.
func (s *Server) points(r *http.Request, run store.Task) ([]curves.Point, error) {
	events, err := s.Store.EventsOf(r.Context(), run.Owner, run.ID, runspec.TypeEpoch)
	if err != nil {
		return nil, err
	}
	points := make([]curves.Point, 0, len(events))
	for _, e := range events {
		var record runspec.Record
		if err := json.Unmarshal(e.JSON, &record); err != nil {
			return nil, fmt.Errorf("read event %d of %s: %w", e.ID, run.ID, err)
		}
		epoch, ok := record.Body.(runspec.Epoch)
		if !ok {
			continue
		}
		epoch.Attempt = e.Attempt
		points = append(points, curves.Point{Time: record.Time, Epoch: epoch})
	}
	return points, nil
}
