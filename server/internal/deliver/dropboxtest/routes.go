package dropboxtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"time"
)

const mostBody = 150 << 20 // of one upload request

type tag struct {
	Tag string `json:".tag"`
}

type cursor struct {
	Session string `json:"session_id"`
	Offset  int64  `json:"offset"`
}

// body reads the JSON of a call, from its body or, for content routes, from its header, and the content.
func body(w http.ResponseWriter, r *http.Request, arg any) ([]byte, bool) {
	content, err := io.ReadAll(io.LimitReader(r.Body, mostBody+1))
	text := content
	if h := r.Header.Get("Dropbox-API-Arg"); h != "" {
		text = []byte(h)
	}
	if err == nil && len(content) > mostBody {
		err = fmt.Errorf("more than %d bytes", mostBody)
	}
	if err == nil {
		err = json.Unmarshal(text, arg)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, false
	}
	return content, true
}

func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Path string `json:"path"`
	}
	if _, ok := body(w, r, &arg); !ok {
		return
	}
	if _, ok := s.files[arg.Path]; !ok {
		fail(w, http.StatusConflict, "path/not_found/..", map[string]any{".tag": "path", "path": tag{"not_found"}})
		return
	}
	reply(w, s.file(arg.Path))
}

func (s *Server) file(p string) map[string]any {
	return map[string]any{
		".tag": "file", "name": path.Base(p), "id": "id:" + hash([]byte(p))[:20], "path_lower": p, "path_display": p,
		"client_modified": stamp(s.options.Now()), "server_modified": stamp(s.options.Now()), "rev": "0123456789abcdef",
		"size": len(s.files[p]), "content_hash": hash(s.files[p]), "is_downloadable": true,
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func (s *Server) start(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Hash string `json:"content_hash"`
	}
	content, ok := body(w, r, &arg)
	if !ok || !whole(w, content, arg.Hash) {
		return
	}
	id := fmt.Sprintf("session-%d", len(s.sessions)+s.state.Finished+1)
	for s.sessions[id] != nil {
		id += "x"
	}
	s.sessions[id] = append([]byte{}, content...)
	reply(w, map[string]string{"session_id": id})
}

func whole(w http.ResponseWriter, content []byte, want string) bool {
	if want != "" && want != hash(content) {
		fail(w, http.StatusConflict, "content_hash_mismatch/..", tag{"content_hash_mismatch"})
		return false
	}
	return true
}

// at finds a session, or what Dropbox says when there is none or it is at another offset.
func (s *Server) at(c cursor) (content []byte, problem map[string]any) {
	content, ok := s.sessions[c.Session]
	if !ok {
		return nil, map[string]any{".tag": "not_found"}
	}
	if int64(len(content)) != c.Offset {
		return nil, map[string]any{".tag": "incorrect_offset", "correct_offset": len(content)}
	}
	return content, nil
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Cursor cursor `json:"cursor"`
		Hash   string `json:"content_hash"`
	}
	content, ok := body(w, r, &arg)
	if !ok {
		return
	}
	have, problem := s.at(arg.Cursor)
	if problem != nil {
		fail(w, http.StatusConflict, fmt.Sprint(problem[".tag"], "/.."), problem)
		return
	}
	if !whole(w, content, arg.Hash) {
		return
	}
	s.sessions[arg.Cursor.Session] = append(have, content...)
	s.state.Bytes += int64(len(content))
	reply(w, nil)
}

func (s *Server) finish(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Cursor cursor `json:"cursor"`
		Commit struct {
			Path       string `json:"path"`
			Mode       tag    `json:"mode"`
			Autorename bool   `json:"autorename"`
		} `json:"commit"`
		Hash string `json:"content_hash"`
	}
	content, ok := body(w, r, &arg)
	if !ok || !whole(w, content, arg.Hash) {
		return
	}
	have, problem := s.at(arg.Cursor)
	if problem != nil {
		fail(w, http.StatusConflict, fmt.Sprint("lookup_failed/", problem[".tag"], "/.."), map[string]any{".tag": "lookup_failed", "lookup_failed": problem})
		return
	}
	p := arg.Commit.Path
	if _, taken := s.files[p]; taken && arg.Commit.Mode.Tag != "overwrite" {
		if !arg.Commit.Autorename {
			fail(w, http.StatusConflict, "path/conflict/..", map[string]any{".tag": "path", "path": map[string]any{".tag": "conflict", "conflict": tag{"file"}}})
			return
		}
		p += " (1)"
	}
	s.files[p] = append(have, content...)
	delete(s.sessions, arg.Cursor.Session)
	s.state.Finished++
	if err := s.save(p, s.files[p]); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	meta := s.file(p)
	delete(meta, ".tag")
	reply(w, meta)
}
