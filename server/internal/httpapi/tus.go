package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"
	"golang.org/x/exp/slog"

	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// uploadLife is what Upload-Expires promises; each chunk puts it off again.
const uploadLife = 24 * time.Hour

func newTus(in *ingest.Service) (*handler.UnroutedHandler, error) {
	uploads := ingest.Uploads{Service: in}
	composer := handler.NewStoreComposer()
	composer.UseCore(uploads)
	composer.UseTerminater(uploads)
	memorylocker.New().UseIn(composer)
	tus, err := handler.NewUnroutedHandler(handler.Config{
		StoreComposer:        composer,
		BasePath:             base + "/uploads/",
		DisableDownload:      true,
		DisableConcatenation: true,
		Cors:                 &handler.CorsConfig{Disable: true},
		Logger:               slog.New(slog.NewTextHandler(io.Discard, nil)), // errors are logged by fail, once
	})
	if err != nil {
		return nil, fmt.Errorf("set up uploads: %w", err)
	}
	return tus, nil
}

// uploads runs a tus handler with what tusd lacks: checksums, expiry, and our one error type. nil only answers OPTIONS.
func (s *Server) uploads(next http.HandlerFunc) http.HandlerFunc {
	if next == nil {
		next = func(http.ResponseWriter, *http.Request) {}
	}
	inner := http.StripPrefix(base+"/uploads", s.tus.Middleware(next))
	return func(w http.ResponseWriter, r *http.Request) {
		if sum := r.Header.Get("Upload-Checksum"); sum != "" {
			ctx, err := ingest.WithChecksum(r.Context(), sum)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			r = r.WithContext(ctx)
		}
		tw := &tusWriter{ResponseWriter: w, server: s, request: r}
		inner.ServeHTTP(tw, r)
		tw.finish()
	}
}

// tusWriter completes tusd's headers and replaces its plain-text errors.
type tusWriter struct {
	http.ResponseWriter
	server  *Server
	request *http.Request
	plain   *bytes.Buffer // an error's text, held back
	status  int
}

// Unwrap lets http.ResponseController reach the connection's deadlines.
func (w *tusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *tusWriter) WriteHeader(status int) {
	h := w.Header()
	if ext := h.Get("Tus-Extension"); ext != "" {
		h.Set("Tus-Extension", ext+",checksum,expiration")
		h.Set("Tus-Checksum-Algorithm", "sha256")
	}
	if status == http.StatusCreated || status == http.StatusNoContent && w.request.Method == http.MethodPatch {
		h.Set("Upload-Expires", w.server.Now().Add(uploadLife).UTC().Format(http.TimeFormat))
	}
	w.status = status
	if status >= http.StatusBadRequest && strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
		w.plain = &bytes.Buffer{}
		h.Del("Content-Length")
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *tusWriter) Write(b []byte) (int, error) {
	if w.plain != nil {
		return w.plain.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

func (w *tusWriter) finish() {
	if w.plain == nil {
		return
	}
	said := strings.TrimSpace(w.plain.String())
	code, what, _ := strings.Cut(said, ": ")
	if code == "ERR_INTERNAL_SERVER_ERROR" {
		w.server.fail(w.ResponseWriter, w.request, fmt.Errorf("%s", what))
		return
	}
	e := w.server.stamped(w.request, api.Errorf(api.CodeOf(w.status), "The upload was refused: %s.", what))
	w.Header().Set("Content-Type", "application/json")
	w.ResponseWriter.WriteHeader(w.status)
	if w.request.Method != http.MethodHead {
		_ = json.NewEncoder(w.ResponseWriter).Encode(e) // the caller may have gone
	}
}
