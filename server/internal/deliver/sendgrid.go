package deliver

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

const (
	sendGridURL = "https://api.sendgrid.com"
	sendPath    = "/v3/mail/send"
)

// sendGridPost hands mails to SendGrid: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send.
type sendGridPost struct {
	url     string
	keyFile string
	client  *http.Client
}

func newSendGrid(c config.Mail, roots *x509.CertPool) *sendGridPost {
	url := c.SendGridURL
	if url == "" {
		url = sendGridURL
	}
	return &sendGridPost{
		url: strings.TrimSuffix(url, "/") + sendPath, keyFile: c.SendGridFile,
		client: &http.Client{Transport: transport(roots), Timeout: mailTimeout, CheckRedirect: stay},
	}
}

type sendGridAddress struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
}

type sendGridPersonalization struct {
	To         []sendGridAddress `json:"to"`
	CustomArgs map[string]string `json:"custom_args"`
}

type sendGridContent struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type sendGridSwitch struct {
	Enable bool `json:"enable"`
}

type sendGridMail struct {
	Personalizations []sendGridPersonalization `json:"personalizations"`
	From             sendGridAddress           `json:"from"`
	Subject          string                    `json:"subject"`
	Content          []sendGridContent         `json:"content"`
	Headers          map[string]string         `json:"headers"`
	Tracking         map[string]sendGridSwitch `json:"tracking_settings"`
}

func (p *sendGridPost) send(ctx context.Context, l letter) error {
	key, err := readSecret(p.keyFile, "SendGrid key")
	if err != nil {
		return err
	}
	body, err := json.Marshal(sendGridMail{
		Personalizations: []sendGridPersonalization{{To: []sendGridAddress{{Email: l.To}}, CustomArgs: map[string]string{"delivery": l.Delivery}}},
		From:             sendGridAddress{Email: l.From.Address, Name: l.From.Name},
		Subject:          l.Subject,
		Content:          []sendGridContent{{"text/plain", l.Text}, {"text/html", l.HTML}},
		Headers:          map[string]string{"Message-ID": "<" + l.ID + ">", "Auto-Submitted": "auto-generated"},
		// The links in the mail stay as they are.
		Tracking: map[string]sendGridSwitch{"click_tracking": {}, "open_tracking": {}},
	})
	if err != nil {
		return &problem{text: "The mail could not be written.", final: true, err: err}
	}
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return &problem{text: "This server's mail settings do not work. Ask its admin.", err: err}
	}
	req.Header.Set("Authorization", "Bearer "+string(key))
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // a request whose answer is lost is not repeated behind our back
	res, err := p.client.Do(req)
	if err != nil && !connected.Load() {
		return &problem{text: "SendGrid could not be reached.", err: err}
	}
	if err != nil {
		return &problem{text: "The connection broke when SendGrid had the mail, so nobody knows whether it took it. It is sent once more.", unknown: true, err: err}
	}
	defer func() { _ = res.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<12)) // only to tell people
	return sendGridProblem(res, said)
}

func sendGridProblem(res *http.Response, said []byte) error {
	err := fmt.Errorf("sendgrid: %s", res.Status)
	switch status := res.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &problem{text: "SendGrid does not let this server send: " + sendGridWords(said) + ". Ask this server's admin.", final: true, err: err}
	case status == http.StatusTooManyRequests || status >= 500:
		return &problem{text: "SendGrid could not take the mail now.", passing: true, after: max(retryAfter(res.Header, nil), time.Minute), err: err}
	}
	return &problem{text: "SendGrid refused the mail: " + sendGridWords(said) + ". Check the address.", final: true, err: err}
}

// sendGridWords is the first sentence of an answer.
func sendGridWords(body []byte) string {
	var e struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &e) == nil && len(e.Errors) > 0 {
		return strings.TrimRight(words(e.Errors[0].Message), ".")
	}
	return "it does not say why"
}
