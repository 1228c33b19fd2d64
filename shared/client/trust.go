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

// redirect refuses to be led from https to http: the token would travel in the clear.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("it redirects in a circle")
	}
	if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("it redirects to an address without encryption")
	}
	return nil
}

// distrust explains an answer that was not taken because of the server's certificate; nil for any other trouble. The code
// is none that is tried again: a certificate does not mend itself.
func (c *Client) distrust(err error) *api.Error {
	switch {
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
