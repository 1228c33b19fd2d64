package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/sharing"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
)

const noExpiry = "The Dropbox account cannot make links that end, so this one stays until the file is removed."

// share makes the link, or finds the one that was made before, and puts it into the row.
func (s *sending) share(ctx context.Context) error {
	found, err := s.createLink(ctx, time.Duration(s.config.LinkExpiry))
	if settings(err) {
		found, err = s.createLink(ctx, 0)
	}
	if exists, known := already(err); exists {
		found, err = known, nil
		if found == nil {
			found, err = s.listed(ctx)
		}
	}
	if err != nil {
		return err
	}
	file, ok := found.(*sharing.FileLinkMetadata)
	if !ok || file.Url == "" {
		return &problem{text: "Dropbox made a link but does not tell it."}
	}
	if file.Expires != nil && !time.Time(*file.Expires).After(s.now()) {
		return s.renew(ctx, file.Url)
	}
	failpoint.Hit("deliver.link.shared")
	s.URL, s.Expires, s.Reason = file.Url, nil, ""
	if file.Expires != nil {
		ends := time.Time(*file.Expires)
		s.Expires = &ends
	} else if s.config.LinkExpiry > 0 {
		s.Reason = noExpiry
	}
	return nil
}

func (s *sending) createLink(ctx context.Context, expiry time.Duration) (sharing.IsSharedLinkMetadata, error) {
	arg := sharing.NewCreateSharedLinkWithSettingsArg(s.path)
	if expiry > 0 {
		ends := dropbox.DBXTime(s.now().Add(expiry))
		arg.Settings = sharing.NewSharedLinkSettings()
		arg.Settings.Expires = &ends
	}
	return s.sharing.CreateSharedLinkWithSettingsContext(ctx, arg)
}

// settings tells that the account may not have the settings that were asked for.
func settings(err error) bool {
	var e sharing.CreateSharedLinkWithSettingsAPIError
	return errors.As(err, &e) && e.EndpointError != nil && e.EndpointError.Tag == sharing.CreateSharedLinkWithSettingsErrorSettingsError
}

// already tells that there is a link, and which one when Dropbox says so.
func already(err error) (bool, sharing.IsSharedLinkMetadata) {
	var e sharing.CreateSharedLinkWithSettingsAPIError
	if !errors.As(err, &e) || e.EndpointError == nil || e.EndpointError.Tag != sharing.CreateSharedLinkWithSettingsErrorSharedLinkAlreadyExists {
		return false, nil
	}
	if e.EndpointError.SharedLinkAlreadyExists == nil {
		return true, nil
	}
	return true, e.EndpointError.SharedLinkAlreadyExists.Metadata
}

func (s *sending) listed(ctx context.Context) (sharing.IsSharedLinkMetadata, error) {
	arg := sharing.NewListSharedLinksArg()
	arg.Path, arg.DirectOnly = s.path, true
	res, err := s.sharing.ListSharedLinksContext(ctx, arg)
	if err != nil {
		return nil, err
	}
	for _, l := range res.Links {
		if file, ok := l.(*sharing.FileLinkMetadata); ok {
			return file, nil
		}
	}
	return nil, &problem{text: "Dropbox says that there is a link already, but does not list it."}
}

// renew takes back a link that has ended. The next attempt makes another.
func (s *sending) renew(ctx context.Context, url string) error {
	if err := s.sharing.RevokeSharedLinkContext(ctx, sharing.NewRevokeSharedLinkArg(url)); err != nil {
		return err
	}
	return &problem{text: "The link that was there has ended; another one is being made."}
}
