package store

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// Position is a row's place in a list, for Page.Before.
func Position(created time.Time, id string) string {
	return strconv.FormatInt(micros(created), 36) + "." + id
}

func (p Page) position() (created int64, id string, err error) {
	if p.Before == "" {
		return math.MaxInt64, "", nil
	}
	left, id, ok := strings.Cut(p.Before, ".")
	created, err = strconv.ParseInt(left, 36, 64)
	if !ok || err != nil {
		return 0, "", fmt.Errorf("read page position: %w", api.Errorf(api.CodeInvalid,
			"The cursor %q is none that this server gave; leave it out to start from the newest.", p.Before))
	}
	return created, id, nil
}
