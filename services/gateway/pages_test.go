package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/carekeep/carekeep/services/gateway/edge"
)

// The pages must work under the policy they are served with: no inline script or
// style, no event handler, nothing from elsewhere, and every file they name exists.
func TestPagesObeyTheirPolicy(t *testing.T) {
	s := newSuite(t)
	for _, page := range []string{"/", "/docs"} {
		got := s.call("GET", page, "", "Authorization", "")
		require.Equal(t, http.StatusOK, got.status, page)
		require.Equal(t, string(edge.OwnPages), got.header.Get("Content-Security-Policy"))
		require.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
		root, err := html.Parse(strings.NewReader(string(got.body)))
		require.NoError(t, err)
		for node := range root.Descendants() {
			if node.Type != html.ElementNode {
				continue
			}
			require.NotEqual(t, "style", node.Data, page)
			require.NotEqual(t, "base", node.Data, page)
			require.NotEqual(t, "form", node.Data, page)
			if node.Data == "script" {
				require.Nil(t, node.FirstChild, "inline script in %s", page)
			}
			for _, a := range node.Attr {
				require.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style", "%s in %s", a.Key, page)
				if a.Key != "href" && a.Key != "src" || strings.HasPrefix(a.Val, "data:") {
					continue
				}
				require.True(t, strings.HasPrefix(a.Val, "/"), "%s in %s is elsewhere", a.Val, page)
				linked := s.call("GET", a.Val, "", "Authorization", "")
				require.NotEqual(t, http.StatusNotFound, linked.status, a.Val)
				if node.Data == "script" || node.Data == "link" {
					requireKind(t, a.Val, linked.header.Get("Content-Type"))
				}
			}
		}
	}
}

// requireKind: with nosniff a browser takes a file only as what it is served.
func requireKind(t *testing.T, path, kind string) {
	t.Helper()
	for suffix, want := range map[string]string{".js": "text/javascript", ".css": "text/css", ".png": "image/png"} {
		if strings.HasSuffix(path, suffix) {
			require.Contains(t, kind, want, path)
		}
	}
}

// What the page brings along must not need what the policy forbids.
func TestSwaggerUINeedsNoUnsafePolicy(t *testing.T) {
	s := newSuite(t)
	client := s.client(true)
	bundle := s.do(client, s.request("GET", "/docs/swagger-ui-bundle.js", "", "Accept-Encoding", "identity"))
	require.Empty(t, bundle.header.Get("Content-Encoding"))
	require.Greater(t, len(bundle.body), 1<<20)
	require.NotRegexp(t, regexp.MustCompile(`createElement\(["']style["']\)|document\.write|\binsertRule\(`), string(bundle.body))
	packed := s.do(client, s.request("GET", "/docs/swagger-ui-bundle.js", "", "Accept-Encoding", "gzip"))
	require.Equal(t, "gzip", packed.header.Get("Content-Encoding"))
	require.Less(t, len(packed.body), len(bundle.body))
	style := s.do(client, s.request("GET", "/docs/swagger-ui.css", ""))
	require.NotRegexp(t, regexp.MustCompile(`url\(["']?https?:|@import`), string(style.body))
	start := s.do(client, s.request("GET", "/docs/docs.js", ""))
	require.Contains(t, string(start.body), `url: "/openapi.json"`)
}
