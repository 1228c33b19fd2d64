package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// maxRedirects is as many as net/http follows by itself.
const maxRedirects = 10

// trusted returns the system's roots together with those in PEM; nil, which means the system's, when there are none.
func trusted(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, api.Errorf(api.CodeInvalid, "The file of certificates holds none that can be read. It must be in PEM, with lines -----BEGIN CERTIFICATE-----.")
	}
	return pool, nil
}

// redirect refuses to be led from https to http, where the token would travel in the clear, and from http to another
// machine without encryption: a port of this machine may be all that was agreed to.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return misled("it redirects in a circle")
	}
	first := via[0].URL
	if r.URL.Scheme != "https" && (first.Scheme == "https" || r.URL.Hostname() != first.Hostname()) {
		return misled("it redirects to an address without encryption")
	}
	return nil
}

// misled is why a redirect was not followed.
type misled string

func (m misled) Error() string { return string(m) }

// distrust explains an answer that was not taken because of the server's certificate or where it leads; nil for any other
// trouble. The code is none that is tried again: a certificate does not mend itself.
func (c *Client) distrust(err error) *api.Error {
	switch {
	case is[misled](err):
		return api.Errorf(api.CodeForbidden, "What answers at %s was not believed: %v. Check the address.", c.server, reason(err))
	case is[x509.UnknownAuthorityError](err):
		return api.Errorf(api.CodeForbidden, "The certificate of the server at %s was signed by an authority that this machine does not know. If the server is yours, name its authority once: cultivar login %s --ca FILE", c.server, c.server)
	case is[x509.HostnameError](err):
		return api.Errorf(api.CodeForbidden, "The certificate of the server at %s is made out for another name (%v). Use the name that the certificate has.", c.server, reason(err))
	case is[*tls.CertificateVerificationError](err):
		return api.Errorf(api.CodeForbidden, "The certificate of the server at %s is not valid (%v). Its admin has to renew it; check this machine's clock too.", c.server, reason(err))
	case is[tls.RecordHeaderError](err), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return api.Errorf(api.CodeForbidden, "What answers at %s does not speak https. Check the address and the port.", c.server)
	}
	return nil
}

// is tells whether an error of type T is in err.
func is[T error](err error) bool {
	var e T
	return errors.As(err, &e)
}
