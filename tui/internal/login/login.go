// Package login keeps which servers a person has signed in to, and with which token, in one file that only they can read.
// It asks nobody: not the person for a token, nor a server whether it is right.
package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"
)

// Server is a server that was signed in to.
type Server struct {
	Server   string `json:"server"` // its address, as Address gives it
	Token    string `json:"token,omitempty"`
	Roots    string `json:"roots,omitempty"`    // certificates in PEM that are trusted for it besides the system's
	Insecure bool   `json:"insecure,omitempty"` // http to another machine was allowed
}

// Servers is what the file holds.
type Servers struct {
	Version int      `json:"version"`
	Current string   `json:"current,omitempty"` // the server that is used; empty: the one on this machine
	Servers []Server `json:"servers"`
}

// Path is where the file is.
func Path() string { return filepath.Join(xdg.ConfigHome, "cultivar", "servers.json") }

// Load reads the file; without one there are no servers.
func Load() (Servers, error) {
	s := Servers{Version: 1}
	b, err := os.ReadFile(Path())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("the servers you signed in to cannot be read (%w): delete %s and sign in again with `cultivar login`", err, Path())
	}
	return s, nil
}

// Find returns the server of this address; ok is false when there is none.
func (s *Servers) Find(address string) (Server, bool) {
	i := s.index(address)
	if i < 0 {
		return Server{}, false
	}
	return s.Servers[i], true
}

func (s *Servers) index(address string) int {
	return slices.IndexFunc(s.Servers, func(x Server) bool { return x.Server == address })
}

// Put adds a server, in place of an older one of its address, and makes it the one that is used.
func (s *Servers) Put(x Server) {
	if i := s.index(x.Server); i >= 0 {
		s.Servers[i] = x
	} else {
		s.Servers = append(s.Servers, x)
	}
	s.Current = x.Server
}

// Drop forgets a server and its token; false when there was none.
func (s *Servers) Drop(address string) bool {
	i := s.index(address)
	if i < 0 {
		return false
	}
	s.Servers = slices.Delete(s.Servers, i, i+1)
	if s.Current == address {
		s.Current = ""
	}
	return true
}

// Save writes the file whole or not at all, readable by its owner only.
func (s *Servers) Save() error {
	path := Path()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep the sign-in: %w", err)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the sign-in: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".servers-*") // made with 0600
	if err != nil {
		return fmt.Errorf("keep the sign-in: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the sign-in: %w", err)
	}
	return nil
}

// Address is a server's address in the one form that is kept: with https when no scheme is given, without a slash at its
// end. A name and password in it are refused, since addresses are shown.
func Address(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "unix" && u.Hostname() == "":
		return "", errors.New("that is no address of a server: write it as https://host, or http://127.0.0.1:8080")
	case u.User != nil:
		return "", errors.New("the address holds a name or a password: leave them out; `cultivar login` asks for the token")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the address ends in a query: give only https://host, and a path if the server lies below one")
	}
	u.ForceQuery = false
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return strings.TrimRight(u.String(), "/"), nil
}

// Readable tells whether what is said to the server at this address, the token too, can be read on the way: it is http to
// another machine. A forwarded port is on this one.
func Readable(address string) bool {
	u, err := url.Parse(address)
	if err != nil || !strings.EqualFold(u.Scheme, "http") {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}
