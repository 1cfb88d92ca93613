// Package pages serves what people open in a browser: the start page, the pages to
// sign in, to accept an invitation and to choose a new password, which a front end may replace, the OpenAPI
// document and the page to read it in. All of it is inside the binary.
package pages

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/swaggest/swgui/v5/static"

	"github.com/carekeep/carekeep/gen/openapi"
	"github.com/carekeep/carekeep/services/gateway/edge"
)

//go:embed files
var files embed.FS

// page is one path: its type, and its bytes plain and compressed.
type page struct {
	kind        string
	plain, gzip []byte
	policy      edge.Policy
}

// Handlers returns the handler of each page by its path.
func Handlers() (map[string]http.Handler, error) {
	handlers := map[string]http.Handler{}
	for at, name := range map[string]string{
		"/":               "index.html",
		"/docs":           "docs.html",
		"/docs/docs.js":   "docs.js",
		"/docs/docs.css":  "docs.css",
		"/docs/start.css": "start.css",
		"/sign-in":        "sign-in.html",
		"/invitation":     "invitation.html",
		"/reset":          "reset.html",

		"/account/account.css":   "account/account.css",
		"/account/approve.js":    "account/approve.js",
		"/account/client.js":     "account/client.js",
		"/account/invitation.js": "account/invitation.js",
		"/account/methods.js":    "account/methods.js",
		"/account/passkeys.js":   "account/passkeys.js",
		"/account/password.js":   "account/password.js",
		"/account/qr.js":         "account/qr.js",
		"/account/reset.js":      "account/reset.js",
		"/account/sign-in.js":    "account/sign-in.js",
	} {
		data, err := fs.ReadFile(files, "files/"+name)
		if err != nil {
			return nil, fmt.Errorf("page %s: %w", at, err)
		}
		policy := edge.AccountPages
		if strings.HasPrefix(at, "/docs") {
			policy = edge.OwnPages
		}
		handlers[at] = page{kind: kindOf(name), plain: data, policy: policy}
	}
	for _, name := range []string{"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"} {
		p, err := vendored(name)
		if err != nil {
			return nil, fmt.Errorf("page %s: %w", name, err)
		}
		handlers["/docs/"+name] = p
	}
	handlers["/openapi.json"] = page{kind: "application/json", plain: openapi.Document, policy: edge.NoContent}
	return handlers, nil
}

// vendored reads a file of Swagger UI, which its module holds compressed.
func vendored(name string) (page, error) {
	p := page{kind: kindOf(name), policy: edge.OwnPages}
	data, err := fs.ReadFile(static.FS, name)
	if err == nil {
		p.plain = data
		return p, nil
	}
	if p.gzip, err = fs.ReadFile(static.FS, name+".gz"); err != nil {
		return page{}, err
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(p.gzip))
	if err != nil {
		return page{}, err
	}
	p.plain, err = io.ReadAll(unpacked)
	return p, err
}

// kindOf is written out: package mime would ask the machine's own tables.
func kindOf(name string) string {
	return map[string]string{
		".html": "text/html; charset=utf-8",
		".js":   "text/javascript; charset=utf-8",
		".css":  "text/css; charset=utf-8",
		".png":  "image/png",
	}[path.Ext(name)]
}

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.policy.Apply(w)
	data := p.plain
	w.Header().Set("Content-Type", p.kind)
	if p.gzip != nil {
		w.Header().Add("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			data = p.gzip
		}
	}
	// A client that is gone needs no page.
	_, _ = w.Write(data)
}
