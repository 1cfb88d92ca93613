package transit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/carekeep/carekeep/libs/errs"
)

// translate classes what went wrong. Causes name paths and statuses, never what
// was sent or received: Vault's own texts do not quote values.
func translate(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("transit %s: %w", path, ctx.Err())
	}
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return errs.Wrap(err, errs.KindUnavailable, "TRANSIT_UNAVAILABLE", "the key service cannot be reached")
	}
	switch code := answer.StatusCode; {
	case code == http.StatusForbidden:
		return denied(err)
	case code == http.StatusTooManyRequests || code >= 500:
		return errs.Wrap(err, errs.KindUnavailable, "TRANSIT_UNAVAILABLE", "the key service cannot answer now")
	case code == http.StatusBadRequest && (strings.Contains(path, "/decrypt/") || strings.Contains(path, "/rewrap/")):
		return broken(err)
	default:
		return errs.Wrap(err, errs.KindInternal, "TRANSIT_REFUSED", "the key service refused a request")
	}
}

func denied(cause error) error {
	return errs.Wrap(cause, errs.KindDenied, "TRANSIT_DENIED", "this service has no right to that key")
}

// broken is a wrapped value that does not open: changed, under another key, or
// under a version that was trimmed.
func broken(cause error) error {
	return errs.Wrap(cause, errs.KindDataLoss, "TRANSIT_CANNOT_UNWRAP", "the key service cannot open this wrapped value")
}

func malformed(cause error) error {
	return errs.Wrap(cause, errs.KindInternal, "TRANSIT_MALFORMED", "the key service gave an answer that makes no sense")
}
