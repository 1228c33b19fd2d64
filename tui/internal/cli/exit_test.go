package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

func TestExitCodeAndMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code int
		says string
	}{
		"none":         {nil, 0, ""},
		"any":          {errors.New("disk full"), 1, "disk full"},
		"usage":        {usageError{errors.New("no such flag"), "cultivar check"}, 2, "no such flag\n`cultivar check --help` shows how."},
		"not found":    {fmt.Errorf("open: %w", api.Errorf(api.CodeNotFound, "gone")), 3, "open: gone"},
		"signed out":   {api.Errorf(api.CodeUnauthorized, "who?"), 4, "who?"},
		"forbidden":    {api.Errorf(api.CodeForbidden, "no"), 4, "no"},
		"no server":    {unreachable{errors.New("no program")}, 5, "no program"},
		"no answer":    {fmt.Errorf("x: %w", client.ErrUnreachable), 5, "x: server not reachable"},
		"busy":         {api.Errorf(api.CodeUnavailable, "busy"), 5, "busy"},
		"problems":     {codedError{errors.New("3 problems"), exitProblems}, 6, "3 problems"},
		"training":     {codedError{api.Errorf(api.CodeNotFound, "failed"), exitTraining}, 7, "failed"},
		"ctrl+c":       {fmt.Errorf("scan stopped: %w", context.Canceled), 130, ""},
		"refused":      {api.Errorf(api.CodeConflict, "still active"), 1, "still active"},
		"server fault": {api.Errorf(api.CodeInternal, "internal error 7"), 1, "internal error 7"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ExitCode(tc.err); got != tc.code {
				t.Errorf("exit code %d, want %d", got, tc.code)
			}
			if got := Message(tc.err); got != tc.says {
				t.Errorf("it says %q, want %q", got, tc.says)
			}
		})
	}
}
