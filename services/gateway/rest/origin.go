package rest

import (
	"fmt"
	"net/http"

	"github.com/carekeep/carekeep/libs/errs"
)

const reasonOrigin = "CROSS_ORIGIN"

var errOrigin = errs.New(errs.KindDenied, reasonOrigin,
	"a page of another origin may not send this request: call from the gateway's own origin, or with `Authorization: Bearer` from one of allowed_origins")

// origins tells requests that a browser sends for a page of another origin from
// all others, by Sec-Fetch-Site or Origin (claim DC-20).
type origins struct {
	// own takes only pages of the gateway's origin, listed also those that the operator listed.
	own, listed *http.CrossOriginProtection
}

func newOrigins(allowed []string) (origins, error) {
	o := origins{own: http.NewCrossOriginProtection(), listed: http.NewCrossOriginProtection()}
	for _, origin := range allowed {
		if err := o.listed.AddTrustedOrigin(origin); err != nil {
			return origins{}, fmt.Errorf("allowed origin %s: %w", origin, err)
		}
	}
	return o, nil
}

// foreign says whether another origin's page sends the request: any but our own,
// and any but our own and the listed ones.
func (o origins) foreign(r *http.Request) (own, listed bool) {
	// Reading counts too, which net/http lets pass: what a page reads in a victim's
	// name it cannot see, but it would stand in the audit log as the victim's.
	asPost := &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
	return o.own.Check(asPost) != nil, o.listed.Check(asPost) != nil
}

// checkOrigin refuses what a browser could be made to send in its user's name:
// whatever comes with the session as a cookie or asks for one, and from origins
// that are not listed also an anonymous request, which could sign the victim in as
// somebody else. A bearer token is never sent by itself.
func (s session) checkOrigin(anonymous bool) error {
	if s.cookies && s.foreign || anonymous && s.unlisted {
		return errOrigin
	}
	return nil
}
