package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
)

const (
	formFile = "file" // fields of the form that a zip file may come in
	formName = "name"
	// maxFields bounds what a form may have before its file.
	maxFields = 16
	maxField  = 1 << 10
)

// importZip takes a zip file as the body or as a form's file, as curl sends them.
func (s *Server) importZip(w http.ResponseWriter, r *http.Request) {
	name, body, err := zipBody(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// A form is a little longer than its file, for which room is kept.
	done, err := s.Ingest.ImportZip(r.Context(), user(r.Context()), name, r.ContentLength, body)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := api.DatasetImport{Dataset: dataset(done.Dataset), Problems: done.Problems, Skipped: map[string]int{}}
	if out.Problems == nil {
		out.Problems = []manifest.Problem{}
	}
	for reason, n := range done.Skipped {
		out.Skipped[string(reason)] = n
	}
	status := http.StatusCreated
	if done.Known {
		status = http.StatusOK
	}
	s.answer(w, status, out)
}

// zipBody finds the zip file in a request, and what its dataset is to be called.
func zipBody(r *http.Request) (name string, body io.Reader, err error) {
	name = r.URL.Query().Get("name")
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return orPhotos(name), r.Body, nil
	}
	form, err := r.MultipartReader()
	if err != nil {
		return "", nil, badRequest(err)
	}
	for range maxFields {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, badRequest(err)
		}
		switch part.FormName() {
		case formFile:
			if name == "" {
				name = strings.TrimSuffix(path.Base(part.FileName()), path.Ext(part.FileName()))
			}
			return orPhotos(name), part, nil
		case formName:
			value, err := io.ReadAll(io.LimitReader(part, maxField))
			if err != nil {
				return "", nil, badRequest(err)
			}
			name = string(value)
		}
	}
	return "", nil, api.Errorf(api.CodeInvalid, "The form has no field %q with a zip file. With curl: -F %s=@photos.zip.", formFile, formFile)
}

// orPhotos is what a dataset is called that nobody named.
func orPhotos(name string) string {
	if name = strings.TrimSpace(name); name == "" || name == "." {
		return "photos"
	}
	return name
}
