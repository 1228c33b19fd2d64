package dropboxtest

import (
	"fmt"
	"net/http"
	"path"
	"time"
)

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Path     string `json:"path"`
		Settings *struct {
			Expires string `json:"expires"`
		} `json:"settings"`
	}
	if _, ok := body(w, r, &arg); !ok {
		return
	}
	if _, ok := s.files[arg.Path]; !ok {
		fail(w, http.StatusConflict, "path/not_found/..", map[string]any{".tag": "path", "path": tag{"not_found"}})
		return
	}
	l := Link{Path: arg.Path}
	if arg.Settings != nil && arg.Settings.Expires != "" {
		ends, err := time.Parse(time.RFC3339, arg.Settings.Expires)
		if err != nil || s.options.NoExpiry {
			fail(w, http.StatusConflict, "settings_error/not_authorized/..", map[string]any{".tag": "settings_error", "settings_error": tag{"not_authorized"}})
			return
		}
		l.Expires = &ends
	}
	if _, old, ok := s.linkTo(arg.Path); ok {
		e := map[string]any{".tag": "shared_link_already_exists"}
		if arg.Settings == nil { // with settings of its own, Dropbox does not tell the link there is
			e["shared_link_already_exists"] = map[string]any{".tag": "metadata", "metadata": s.link(old)}
		}
		fail(w, http.StatusConflict, "shared_link_already_exists/..", e)
		return
	}
	s.state.Created++
	id := fmt.Sprint(s.state.Created)
	l.URL = fmt.Sprintf("http://%s/s/%s/%s?dl=0", r.Host, id, path.Base(arg.Path))
	s.links[id] = l
	reply(w, s.link(l))
}

func (s *Server) linkTo(p string) (id string, l Link, ok bool) {
	for id, l := range s.links {
		if l.Path == p {
			return id, l, true
		}
	}
	return "", Link{}, false
}

func (s *Server) link(l Link) map[string]any {
	out := s.file(l.Path)
	delete(out, "content_hash")
	out["url"] = l.URL
	out["link_permissions"] = map[string]any{"can_revoke": true, "visibility_policies": []any{}}
	if l.Expires != nil {
		out["expires"] = stamp(*l.Expires)
	}
	return out
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Path       string `json:"path"`
		DirectOnly bool   `json:"direct_only"`
	}
	if _, ok := body(w, r, &arg); !ok {
		return
	}
	links := []any{}
	if _, l, ok := s.linkTo(arg.Path); ok {
		links = append(links, s.link(l))
	}
	reply(w, map[string]any{"links": links, "has_more": false})
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		URL string `json:"url"`
	}
	if _, ok := body(w, r, &arg); !ok {
		return
	}
	for id, l := range s.links {
		if l.URL == arg.URL {
			delete(s.links, id)
		}
	}
	reply(w, nil)
}
