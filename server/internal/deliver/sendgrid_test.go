package deliver_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/shared/api"
)

const sendGridKey = "canary-sendgrid-key"

// sendGrid is a double that answers with the given statuses, then 202; 0 hangs up. It keeps the bodies.
func sendGrid(t *testing.T, statuses ...int) (url string, bodies *[]string) {
	t.Helper()
	bodies = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.Path != "/v3/mail/send" || r.Header.Get("Authorization") != "Bearer "+sendGridKey || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked %s %s with %v", r.Method, r.URL.Path, r.Header)
		}
		*bodies = append(*bodies, string(b))
		status := http.StatusAccepted
		if len(*bodies) <= len(statuses) {
			status = statuses[len(*bodies)-1]
		}
		if status == 0 {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
			return
		}
		w.Header().Set("Retry-After", "300")
		w.WriteHeader(status)
		if status != http.StatusAccepted {
			_, _ = w.Write([]byte(`{"errors":[{"message":"The provided thing is wrong.\u001b[31m"}]}`))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, bodies
}

func sendGridWorld(t *testing.T, url string) *world {
	t.Helper()
	return newWorld(t, settings{change: func(c *config.Deliver) {
		c.Mail = &config.Mail{From: "Cultivar <cultivar@example.org>", SendGridFile: secretFile(t, "key", sendGridKey), SendGridURL: url}
	}})
}

func TestSendGrid(t *testing.T) {
	url, bodies := sendGrid(t)
	w := sendGridWorld(t, url)
	w.ended("r1", api.StateSucceeded, toAda, 10)
	w.settle()
	d := w.rows("r1")[1]
	if d.State != api.DeliveryDelivered || len(*bodies) != 1 {
		t.Fatalf("%s after %d requests: %s", d.State, len(*bodies), d.Reason)
	}
	var m struct {
		Personalizations []struct {
			To         []map[string]string `json:"to"`
			CustomArgs map[string]string   `json:"custom_args"`
		} `json:"personalizations"`
		From     map[string]string          `json:"from"`
		Subject  string                     `json:"subject"`
		Content  []map[string]string        `json:"content"`
		Headers  map[string]string          `json:"headers"`
		Tracking map[string]map[string]bool `json:"tracking_settings"`
	}
	dec := json.NewDecoder(strings.NewReader((*bodies)[0]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	link := w.dropbox.State().Links[0].URL
	switch {
	case len(m.Personalizations) != 1 || len(m.Personalizations[0].To) != 1 || m.Personalizations[0].To[0]["email"] != "ada@example.org":
		t.Errorf("it goes to %v", m.Personalizations)
	case m.Personalizations[0].CustomArgs["delivery"] != d.ID || m.Headers["Message-ID"] != "<"+d.ID+"@example.org>":
		t.Errorf("it is known as %v, %v", m.Personalizations[0].CustomArgs, m.Headers)
	case m.From["email"] != "cultivar@example.org" || m.From["name"] != "Cultivar" || !strings.HasPrefix(m.Subject, "Run #1 tulips & roses is done"):
		t.Errorf("it is from %v: %s", m.From, m.Subject)
	case len(m.Content) != 2 || m.Content[0]["type"] != "text/plain" || m.Content[1]["type"] != "text/html" || !strings.Contains(m.Content[0]["value"], link):
		t.Errorf("it says %v", m.Content)
	case len(m.Tracking) != 2 || m.Tracking["click_tracking"]["enable"] || m.Tracking["open_tracking"]["enable"]:
		t.Errorf("it is tracked: %v", m.Tracking)
	}
}

func TestSendGridAnswers(t *testing.T) {
	for _, c := range []struct {
		name     string
		statuses []int
		state    api.DeliveryState
		requests int
		reason   string
	}{
		{"busy", []int{429, 503}, api.DeliveryDelivered, 3, ""},
		{"bad address", []int{400}, api.DeliveryFailed, 1, "Check the address"},
		{"bad key", []int{401}, api.DeliveryFailed, 1, "admin"},
		{"lost once", []int{0}, api.DeliveryDelivered, 2, ""},
		{"lost twice", []int{0, 0}, api.DeliveryFailed, 2, "probably arrived"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, bodies := sendGrid(t, c.statuses...)
			w := sendGridWorld(t, url)
			w.ended("r1", api.StateFailed, toAda, 0)
			w.step()
			first := w.rows("r1")[0]
			if c.statuses[0] == 429 && first.Due.Sub(w.now) != 5*time.Minute {
				t.Errorf("waits %v, not as long as asked", first.Due.Sub(w.now))
			}
			if c.statuses[0] == 0 && first.Due.Sub(w.now) != 10*time.Minute {
				t.Errorf("waits %v, want 10 minutes", first.Due.Sub(w.now))
			}
			w.settle()
			d := w.rows("r1")[0]
			if d.State != c.state || len(*bodies) != c.requests || !strings.Contains(d.Reason, c.reason) || strings.Contains(d.Reason, "\x1b") || strings.Contains(d.Reason, sendGridKey) {
				t.Errorf("%s after %d requests: %s", d.State, len(*bodies), d.Reason)
			}
		})
	}
	t.Run("not reachable", func(t *testing.T) {
		w := sendGridWorld(t, "http://127.0.0.1:1")
		w.ended("r1", api.StateFailed, toAda, 0)
		w.step()
		if d := w.rows("r1")[0]; d.State != api.DeliveryWaiting || d.Due.Sub(w.now) != time.Minute {
			t.Errorf("%s for %v: %s", d.State, d.Due.Sub(w.now), d.Reason)
		}
	})
}
