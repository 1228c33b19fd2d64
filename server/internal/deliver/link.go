package deliver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/contenthash"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/files"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	mostBlock    = 150 << 20 // what Dropbox takes in one request
	mostRestarts = 3         // uploads begun in one attempt, and corrections of an offset in a row
)

// linker puts a file into a Dropbox account and makes a share link to it.
type linker struct {
	config   config.Dropbox
	artifact func(ctx context.Context, user, run, name string) (string, runspec.Artifact, error)
	now      func() time.Time
	block    int64
	roots    *x509.CertPool
}

func newLinker(o Options) (*linker, error) {
	l := &linker{config: *o.Config.Dropbox, artifact: o.Artifact, now: o.Now, block: o.Block, roots: o.Roots}
	if l.config.Folder == "" {
		l.config.Folder = "/cultivar"
	}
	switch {
	case l.config.AppKey == "" || l.config.AppSecretFile == "" || l.config.RefreshTokenFile == "":
		return nil, errors.New("app_key, app_secret_file and refresh_token_file are all needed")
	case !strings.HasPrefix(l.config.Folder, "/") || path.Clean(l.config.Folder) != l.config.Folder:
		return nil, fmt.Errorf("folder is %q, but must be a path such as /cultivar", l.config.Folder)
	case l.block < 1 || l.block > mostBlock:
		return nil, fmt.Errorf("a block is %d bytes, but must be 1 to %d", l.block, mostBlock)
	case l.config.LinkExpiry < 0:
		return nil, errors.New("link_expiry is negative")
	}
	return l, nil
}

// upload is a link's progress.
type upload struct {
	misses
	Session string `json:"session,omitempty"` // Dropbox keeps one for 7 days
	Offset  int64  `json:"offset,omitempty"`
}

// sending is one attempt at a link.
type sending struct {
	*linker
	*held
	account
	upload
	file *os.File
	size int64
	hash string // of the file, Dropbox's way: https://www.dropbox.com/developers/reference/content-hash
	path string // in the account
}

// send brings about the file and the link, or goes on from where an attempt before was cut off.
func (l *linker) send(ctx context.Context, h *held) error {
	err := l.attempt(ctx, h)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (l *linker) attempt(ctx context.Context, h *held) error {
	s := &sending{linker: l, held: h}
	_ = json.Unmarshal([]byte(h.Progress), &s.upload) // what is no JSON is no progress
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { _ = s.file.Close() }()
	var err error
	if s.account, err = connect(ctx, l.config, l.roots); err != nil {
		return err
	}
	there, err := s.there(ctx)
	if err == nil && !there {
		err = s.put(ctx)
	}
	if err != nil {
		return dropboxProblem(err)
	}
	return dropboxProblem(s.share(ctx))
}

// open opens the file and makes sure that it is the one that was promised.
func (s *sending) open(ctx context.Context) error {
	where, a, err := s.artifact(ctx, s.Owner, s.Task, s.Artifact)
	if err == nil {
		s.file, err = os.Open(where)
	}
	if err != nil {
		return &problem{text: "The model file is not on this server any more.", final: errors.Is(err, os.ErrNotExist), err: err}
	}
	plain, blocks := sha256.New(), contenthash.New()
	s.size, err = io.Copy(io.MultiWriter(plain, blocks), s.file)
	if got := hex.EncodeToString(plain.Sum(nil)); err == nil && (got != s.SHA256 || a.SHA256 != s.SHA256) {
		err = fmt.Errorf("its SHA-256 is %s, want %s", got, s.SHA256)
	}
	if err != nil {
		_ = s.file.Close()
		return &problem{text: "The model file on this server is damaged. Train again, or ask the server's admin for a backup.", final: true, err: err}
	}
	s.hash = blocks.HexDigest()
	s.path = path.Join(s.config.Folder, s.Task, a.Name)
	return nil
}

// there tells whether the account has the very file in its place already.
func (s *sending) there(ctx context.Context) (bool, error) {
	meta, err := s.files.GetMetadataContext(ctx, files.NewGetMetadataArg(s.path))
	var e files.GetMetadataAPIError
	if errors.As(err, &e) && e.EndpointError != nil && e.EndpointError.Path != nil && e.EndpointError.Path.Tag == files.LookupErrorNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, ok := meta.(*files.FileMetadata)
	return ok && f.ContentHash == s.hash, nil
}

// put uploads the file in blocks. Every block that Dropbox has is kept in the row, so that a crash loses one at most.
func (s *sending) put(ctx context.Context) error {
	for restarts := 0; ; {
		if s.Session == "" || s.Offset > s.size {
			if restarts++; restarts > mostRestarts {
				return &problem{text: "Dropbox gives up every upload that this server begins."}
			}
			if err := s.start(ctx); err != nil {
				return err
			}
		}
		err := s.blocks(ctx)
		if err == nil {
			err = s.finish(ctx)
		}
		if lost(err) {
			// The upload may have ended because its end arrived and the answer did not.
			there, err := s.there(ctx)
			if err != nil || there {
				return err
			}
			s.Session, s.Offset = "", 0
			continue
		}
		offset, moved := correct(err)
		if !moved {
			return err
		}
		if restarts++; restarts > mostRestarts || offset > s.size {
			s.Session, s.Offset = "", 0
			continue
		}
		s.Offset = offset
	}
}

func (s *sending) start(ctx context.Context) error {
	res, err := s.files.UploadSessionStartContext(ctx, files.NewUploadSessionStartArg(), strings.NewReader(""))
	if err != nil {
		return err
	}
	failpoint.Hit("deliver.link.started")
	s.Session, s.Offset = res.SessionId, 0
	return s.remember(ctx)
}

func (s *sending) remember(ctx context.Context) error {
	s.Good = s.Attempts
	return s.keep(ctx, s.upload, leaseFor)
}

func (s *sending) blocks(ctx context.Context) error {
	for s.Offset < s.size {
		n := min(s.block, s.size-s.Offset)
		arg := files.NewUploadSessionAppendArg(files.NewUploadSessionCursor(s.Session, uint64(s.Offset)))
		if err := s.files.UploadSessionAppendV2Context(ctx, arg, io.NewSectionReader(s.file, s.Offset, n)); err != nil {
			return err
		}
		failpoint.Hit("deliver.link.block")
		s.Offset += n
		if err := s.remember(ctx); err != nil {
			return err
		}
		failpoint.Hit("deliver.link.kept")
	}
	return nil
}

// finish gives the uploaded bytes their place, where they replace whatever is there: one file, however often it is done.
func (s *sending) finish(ctx context.Context) error {
	commit := files.NewCommitInfo(s.path)
	commit.Mode = &files.WriteMode{Tagged: dropbox.Tagged{Tag: files.WriteModeOverwrite}}
	commit.Mute = true
	meta, err := s.files.UploadSessionFinishContext(ctx, files.NewUploadSessionFinishArg(files.NewUploadSessionCursor(s.Session, uint64(s.Offset)), commit), strings.NewReader(""))
	if err != nil {
		return err
	}
	failpoint.Hit("deliver.link.finished")
	if meta.ContentHash != s.hash {
		s.Session, s.Offset = "", 0
		if err := s.keep(ctx, s.upload, leaseFor); err != nil {
			return err
		}
		return &problem{text: "The file was damaged on its way to Dropbox."}
	}
	return nil
}

// lost tells that Dropbox knows nothing of an upload any more.
func lost(err error) bool {
	var more files.UploadSessionAppendV2APIError
	if errors.As(err, &more) && more.EndpointError != nil {
		return more.EndpointError.Tag == files.UploadSessionAppendErrorNotFound || more.EndpointError.Tag == files.UploadSessionAppendErrorClosed
	}
	var finish files.UploadSessionFinishAPIError
	if errors.As(err, &finish) && finish.EndpointError != nil && finish.EndpointError.LookupFailed != nil {
		tag := finish.EndpointError.LookupFailed.Tag
		return tag == files.UploadSessionLookupErrorNotFound || tag == files.UploadSessionLookupErrorClosed
	}
	return false
}

// correct is the offset that Dropbox says an upload has come to, when it says so.
func correct(err error) (int64, bool) {
	var more files.UploadSessionAppendV2APIError
	var finish files.UploadSessionFinishAPIError
	var at *files.UploadSessionOffsetError
	switch {
	case errors.As(err, &more) && more.EndpointError != nil:
		at = more.EndpointError.IncorrectOffset
	case errors.As(err, &finish) && finish.EndpointError != nil && finish.EndpointError.LookupFailed != nil:
		at = finish.EndpointError.LookupFailed.IncorrectOffset
	}
	if at == nil || at.CorrectOffset > 1<<62 {
		return 0, false
	}
	return int64(at.CorrectOffset), true
}
