package tasks

import (
	"fmt"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/address"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// checkWishes refuses what this server cannot do for a run: at once, rather than after an hour of training.
func (s *Service) checkWishes(c api.RunCreate) error {
	if c.Profile != nil && *c.Profile != "" && !s.hasProfile(*c.Profile) {
		return invalidField("profile", fmt.Sprintf("is %q, but this server has %s", *c.Profile, s.profileNames()))
	}
	if c.Notify == nil {
		return nil
	}
	if c.Notify.Email != nil && *c.Notify.Email != "" {
		if err := address.Check(*c.Notify.Email); err != nil {
			return invalidField("notify.email", err.Error())
		}
		if !s.abilities.Mail {
			return api.Errorf(api.CodeConflict, "This server is not set up to send mail. Start the run without an address, and fetch the model when it is done with: cultivar download RUN")
		}
	}
	if c.Notify.Share != nil && *c.Notify.Share && !s.abilities.Share {
		return api.Errorf(api.CodeConflict, "This server is not set up to make share links. Start the run without one, and fetch the model when it is done with: cultivar download RUN")
	}
	return nil
}

func (s *Service) hasProfile(name string) bool {
	for _, p := range s.abilities.Profiles {
		if p.Name == name {
			return true
		}
	}
	return false
}

func (s *Service) profileNames() string {
	var names []string
	for _, p := range s.abilities.Profiles {
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return "only one machine size, which needs no name"
	}
	return "the machine sizes " + strings.Join(names, ", ")
}

// Abilities tells what this server is set up to do.
func (s *Service) Abilities() api.Abilities { return s.abilities }
