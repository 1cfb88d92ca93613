package chart

import (
	"strconv"
	"strings"

	"github.com/carekeep/carekeep/libs/errs"
)

// Etag is the opaque mark of a version.
func Etag(version int64) string { return "v" + strconv.FormatInt(version, 36) }

// parseEtag reads an etag; an empty one is 0.
func parseEtag(etag string) (int64, error) {
	if etag == "" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(etag, "v")
	version, err := strconv.ParseInt(digits, 36, 64)
	if !ok || err != nil || version <= 0 || Etag(version) != etag {
		return 0, errs.New(errs.KindInvalid, "ETAG_INVALID", "This is no etag of a resource: send the etag that was read, as it is.").
			WithField("etag", "is not an etag")
	}
	return version, nil
}
