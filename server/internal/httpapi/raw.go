package httpapi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"

	"github.com/gorilla/mux"

	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// maxInputs bounds the pack of images of one prediction.
const maxInputs = 64 << 20

func (s *Server) missingBlobs(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ingest.MaxHashes*32))
	if err != nil {
		s.fail(w, r, badRequest(err))
		return
	}
	bitmap, err := s.Ingest.Missing(r.Context(), user(r.Context()), body)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(bitmap)
}

func (s *Server) predict(w http.ResponseWriter, r *http.Request) {
	t, err := s.Tasks.Predict(r.Context(), user(r.Context()), mux.Vars(r)["id"], http.MaxBytesReader(w, r.Body, maxInputs))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.answer(w, http.StatusAccepted, task(t))
}

// artifact serves a file with Range and If-Range; its ETag is its SHA-256, which never changes.
func (s *Server) artifact(w http.ResponseWriter, r *http.Request) {
	name, a, err := s.Tasks.ArtifactPath(r.Context(), user(r.Context()), mux.Vars(r)["id"], mux.Vars(r)["name"])
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		s.fail(w, r, api.Errorf(api.CodeNotFound, "The file %q of this run is no longer on the server.", a.Name))
		return
	}
	if err != nil {
		s.fail(w, r, fmt.Errorf("open artifact: %w", err))
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		s.fail(w, r, fmt.Errorf("open artifact: %w", err))
		return
	}
	h := w.Header()
	h.Set("ETag", `"`+a.SHA256+`"`)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.Name}))
	h.Set("Cache-Control", "private, no-transform")
	http.ServeContent(w, r, "", info.ModTime(), f)
}
