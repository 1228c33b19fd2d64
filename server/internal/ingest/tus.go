package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/pack"
)

const (
	// maxManifest is above what 500,000 images with the longest usual paths need.
	maxManifest = 512 << 20
	// statusChecksum is tus's answer to a chunk whose checksum differs (https://tus.io/protocols/resumable-upload#checksum).
	statusChecksum = 460
)

type checksumKey struct{}

// WithChecksum returns a context for WriteChunk that holds the value of an Upload-Checksum header, such as
// "sha256 <base64>". An *api.Error tells that it is none we know.
func WithChecksum(ctx context.Context, header string) (context.Context, error) {
	algorithm, value, _ := strings.Cut(header, " ")
	sum, err := base64.StdEncoding.DecodeString(value)
	if algorithm != "sha256" || err != nil || len(sum) != sha256.Size {
		return ctx, api.Errorf(api.CodeInvalid, "Upload-Checksum must be \"sha256\", a space and the base64 of 32 bytes.")
	}
	return context.WithValue(ctx, checksumKey{}, sum), nil
}

// Uploads is the tus data store: what it acknowledges is durable. It implements handler.DataStore and
// handler.TerminaterDataStore.
type Uploads struct{ *Service }

// NewUpload implements handler.DataStore.
func (s Uploads) NewUpload(ctx context.Context, info handler.FileInfo) (handler.Upload, error) {
	p, ok := auth.From(ctx)
	if !ok {
		return nil, refuse(api.Errorf(api.CodeUnauthorized, "Say who you are."))
	}
	u := store.Upload{ID: auth.NewID(), Owner: p.User, Kind: info.MetaData["kind"], Dataset: info.MetaData["dataset"], Size: info.Size, Expires: s.now().Add(uploadLife)}
	if err := s.check(ctx, u, info.SizeIsDeferred); err != nil {
		return nil, refuse(err)
	}
	if err := s.begin(ctx, u); err != nil {
		return nil, refuse(err)
	}
	return &upload{s.Service, u}, nil
}

func (s *Service) check(ctx context.Context, u store.Upload, deferred bool) error {
	limit := int64(pack.MaxBytes)
	switch u.Kind {
	case kindPack:
	case kindManifest:
		limit = maxManifest
		if _, err := s.store.Dataset(ctx, u.Owner, u.Dataset); errors.Is(err, store.ErrNotFound) {
			return api.Errorf(api.CodeNotFound, "There is no dataset %q to send a manifest for. Create the dataset first.", u.Dataset)
		} else if err != nil {
			return err
		}
	default:
		return api.Errorf(api.CodeInvalid, "Upload-Metadata needs the kind \"pack\" or \"manifest\"; it has %q.", u.Kind)
	}
	if deferred || u.Size < 1 {
		return api.Errorf(api.CodeInvalid, "Give the size of the upload in Upload-Length; it must be at least 1.")
	}
	if u.Size > limit {
		return api.Errorf(api.CodeTooLarge, "A %s may have at most %d bytes; this one would have %d.", u.Kind, limit, u.Size)
	}
	if err := s.allowed(ctx, u.Owner, u.Size); err != nil {
		return err
	}
	return s.room(ctx, u.Size)
}

func (s *Service) begin(ctx context.Context, u store.Upload) error {
	name, err := s.volume.Path(partName(u))
	if err != nil {
		return err
	}
	if err := files.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	if err := s.store.AddUpload(ctx, u); err != nil {
		return err
	}
	return files.WriteBytes(name, files.FileMode, nil)
}

// GetUpload implements handler.DataStore. An upload whose last byte became durable just before a crash is taken in now,
// so that whoever asks for the offset never hears "complete" of something that was not.
func (s Uploads) GetUpload(ctx context.Context, id string) (handler.Upload, error) {
	p, _ := auth.From(ctx)
	u, err := s.store.Upload(ctx, p.User, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(api.Errorf(api.CodeNotFound, "There is no such upload; it may have expired. Start a new one."))
	}
	if err != nil {
		return nil, refuse(err)
	}
	up := &upload{s.Service, u}
	if u.Received == u.Size && !u.Finished {
		if err := up.FinishUpload(ctx); err != nil {
			return nil, err
		}
	}
	return up, nil
}

// AsTerminatableUpload implements handler.TerminaterDataStore.
func (s Uploads) AsTerminatableUpload(u handler.Upload) handler.TerminatableUpload {
	return u.(*upload) //nolint:forcetypeassert // made by this store
}

type upload struct {
	service *Service
	row     store.Upload
}

// GetInfo implements handler.Upload.
func (u *upload) GetInfo(context.Context) (handler.FileInfo, error) {
	return handler.FileInfo{
		ID: u.row.ID, Size: u.row.Size, Offset: u.row.Received,
		MetaData: handler.MetaData{"kind": u.row.Kind, "dataset": u.row.Dataset},
	}, nil
}

// GetReader implements handler.Upload; uploads cannot be read back.
func (u *upload) GetReader(context.Context) (io.ReadCloser, error) {
	return nil, refuse(api.Errorf(api.CodeNotFound, "Uploads cannot be read back."))
}

// WriteChunk implements handler.Upload: the bytes and the new offset are durable when it returns. With a checksum the
// chunk counts whole or not at all; without, as much as arrived counts.
func (u *upload) WriteChunk(ctx context.Context, offset int64, src io.Reader) (int64, error) {
	ctx = context.WithoutCancel(ctx) // what has arrived is kept also when the client has gone
	s := u.service
	name, err := s.volume.Path(partName(u.row))
	if err != nil {
		return 0, refuse(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, files.FileMode)
	if err != nil {
		return 0, refuse(fmt.Errorf("open upload: %w", err))
	}
	defer func() { _ = f.Close() }()
	n, err := u.append(ctx, f, offset, src)
	if err != nil {
		// Bytes beyond the offset count for nothing; cutting them off frees the room.
		return 0, refuse(errors.Join(err, f.Truncate(offset)))
	}
	failpoint.Hit("ingest.chunk")
	if err := s.store.AdvanceUpload(ctx, u.row.Owner, u.row.ID, offset+n, s.now().Add(uploadLife)); err != nil {
		return 0, refuse(err)
	}
	failpoint.Hit("ingest.advanced")
	u.row.Received = offset + n
	return n, nil
}

func (u *upload) append(ctx context.Context, f *os.File, offset int64, src io.Reader) (int64, error) {
	if err := f.Truncate(offset); err != nil { // what an earlier, unacknowledged try left
		return 0, fmt.Errorf("write upload: %w", err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, fmt.Errorf("write upload: %w", err)
	}
	want, checked := ctx.Value(checksumKey{}).([]byte)
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, h), onlyReader{src}, make([]byte, 256<<10))
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return 0, api.Errorf(api.CodeUnavailable, "The server's disk is full. Delete datasets or runs you no longer need, then try again.")
	}
	if err != nil {
		return 0, fmt.Errorf("write upload: %w", err)
	}
	if checked && !bytes.Equal(h.Sum(nil), want) {
		return 0, errChecksum
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("write upload: %w", err)
	}
	return n, nil
}

var errChecksum = api.Errorf(api.CodeInvalid, "The chunk arrived altered or cut: its SHA-256 is not the one in Upload-Checksum. Send it again.")

// onlyReader hides WriterTo, which would bypass the buffer.
type onlyReader struct{ io.Reader }

// FinishUpload implements handler.Upload.
func (u *upload) FinishUpload(ctx context.Context) error {
	if u.row.Finished {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := u.service.finish(ctx, u.row)
	var fault *api.Error
	if errors.As(err, &fault) {
		err = errors.Join(err, u.service.drop(ctx, u.row))
	}
	if err != nil {
		return refuse(err)
	}
	u.row.Finished = true
	return nil
}

// Terminate implements handler.TerminatableUpload.
func (u *upload) Terminate(ctx context.Context) error {
	if err := u.service.drop(context.WithoutCancel(ctx), u.row); err != nil {
		return refuse(err)
	}
	return nil
}

// refuse turns an error into tusd's, with our one error type as the body. An error that is not meant for people keeps
// its text for the log and shows none of it.
func refuse(err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("upload: %w", err)
	}
	status := api.Status(e.Code)
	if errors.Is(err, errChecksum) {
		status = statusChecksum
	}
	out := handler.NewError(string(e.Code), e.Message, status)
	body, encodeErr := json.Marshal(e)
	if encodeErr != nil {
		return fmt.Errorf("upload: %w", errors.Join(err, encodeErr))
	}
	out.HTTPResponse.Body = string(body)
	out.HTTPResponse.Header = handler.HTTPHeader{"Content-Type": "application/json"}
	if status == http.StatusServiceUnavailable {
		out.HTTPResponse.Header["Retry-After"] = "60"
	}
	return out
}
