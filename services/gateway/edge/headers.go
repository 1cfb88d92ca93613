package edge

import (
	"net/http"
	"slices"
)

// Policy is a Content-Security-Policy.
type Policy string

const (
	// NoContent is for answers that are data: a browser that is tricked into
	// showing one loads and runs nothing.
	NoContent Policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	// OwnPages is for the pages that the gateway brings: its own files, no inline code.
	OwnPages Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	// AccountPages is for those where people sign in: besides, no text becomes markup or
	// code there (Trusted Types). Swagger UI could not work so.
	AccountPages = OwnPages + "; require-trusted-types-for 'script'; trusted-types 'none'"
)

// Apply sets the policy of an answer.
func (p Policy) Apply(w http.ResponseWriter) {
	w.Header().Set("Content-Security-Policy", string(p))
}

// securityHeaders stand on every answer, errors included (ASVS 3.4; HSTS for a year with subdomains).
var securityHeaders = map[string]string{
	"Strict-Transport-Security":    "max-age=31536000; includeSubDomains",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), publickey-credentials-create=(self), publickey-credentials-get=(self)",
}

func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		NoContent.Apply(w)
		next.ServeHTTP(w, r)
	})
}

// cors lets pages of the given web origins call the API with a bearer token.
// Cookies are for the gateway's own origin, so credentials stay off and
// X-Session-Transport is no header that such a page may send.
func cors(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(origins, origin) {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate, X-Trace-Id, ETag, Last-Modified, Location")
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		Of(r.Context()).Route = "preflight"
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Purpose-Of-Use, X-Background, X-Device-Token, "+
			"If-Match, If-None-Match, If-Modified-Since, If-None-Exist, Prefer, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}
