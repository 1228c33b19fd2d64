// Command doubles serves a Dropbox account and a mail server on this machine, for tests that run a whole server. Files
// that are uploaded come to lie in a folder, mails in another; share links can be fetched. It prints one line of JSON
// with the addresses when both listen, and ends with its standard input.
//
// A server uses them with dropbox.api_url set to "dropbox", the app key "key", the secret "app-secret" and the refresh
// token "refresh-token", and with smtp.host 127.0.0.1 and smtp.port; it trusts the mail server when SSL_CERT_FILE names
// the file given by --certificate. GET <dropbox>/state tells what the account holds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dropboxAddr := flag.String("dropbox", "127.0.0.1:0", "address of the Dropbox API")
	smtpAddr := flag.String("smtp", "127.0.0.1:0", "address of the mail server")
	files := flag.String("files", ".", "existing folder for uploaded files")
	mails := flag.String("mails", ".", "existing folder for mails")
	tls := flag.String("tls", "starttls", "of the mail server: starttls, implicit or none")
	user := flag.String("user", "", "who may send mail; empty: everybody")
	password := flag.String("password", "", "of that user")
	certificate := flag.String("certificate", "", "file to write the mail server's certificate to")
	hangUps := flag.Int64("hang-ups", 0, "break the connection after so many mails that are taken")
	lose := flag.Int64("lose", 0, "lose every n-th answer of Dropbox; 0: none")
	flag.Parse()

	var left, asked atomic.Int64
	left.Store(*hangUps)
	mail, err := smtptest.Start(ctx, *smtpAddr, smtptest.Options{Dir: *mails, TLS: *tls, User: *user, Password: *password, Fault: func(string) smtptest.Fault {
		if left.Add(-1) >= 0 {
			return smtptest.HangUp
		}
		return smtptest.None
	}})
	if err != nil {
		return err
	}
	defer func() { _ = mail.Close() }()
	if *certificate != "" {
		if err := os.WriteFile(*certificate, mail.PEM(), 0o600); err != nil {
			return err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *dropboxAddr)
	if err != nil {
		return err
	}
	account := dropboxtest.New(dropboxtest.Options{
		AppKey: "key", AppSecret: "app-secret", RefreshToken: "refresh-token", Dir: *files,
		Fault: func(string) dropboxtest.Fault {
			if n := asked.Add(1); *lose > 0 && n%*lose == 0 {
				return dropboxtest.Lose
			}
			return dropboxtest.None
		},
	})
	server := http.Server{Handler: account, ReadHeaderTimeout: time.Minute}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	err = json.NewEncoder(os.Stdout).Encode(map[string]any{"dropbox": "http://" + l.Addr().String(), "smtp_port": mail.Addr().Port})
	if err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
