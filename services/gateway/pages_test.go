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
	for _, page := range []string{"/", "/docs", "/sign-in", "/invitation", "/reset"} {
		got := s.call("GET", page, "", "Authorization", "")
		require.Equal(t, http.StatusOK, got.status, page)
		policy := edge.AccountPages
		if page == "/docs" {
			policy = edge.OwnPages
		}
		require.Equal(t, string(policy), got.header.Get("Content-Security-Policy"), page)
		require.Equal(t, "text/html; charset=utf-8", got.header.Get("Content-Type"))
		root, err := html.Parse(strings.NewReader(string(got.body)))
		require.NoError(t, err)
		for node := range root.Descendants() {
			if node.Type != html.ElementNode {
				continue
			}
			require.NotEqual(t, "style", node.Data, page)
			require.NotEqual(t, "base", node.Data, page)
			if node.Data == "script" {
				require.Nil(t, node.FirstChild, "inline script in %s", page)
			}
			if node.Data == "form" {
				requireScripted(t, node)
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

// requireScripted: the policy lets no form be sent. Should a script not load, what
// was typed must not land in the address either.
func requireScripted(t *testing.T, form *html.Node) {
	t.Helper()
	for _, a := range form.Attr {
		require.NotEqual(t, "action", a.Key)
		if a.Key == "method" {
			require.Equal(t, "post", a.Val)
			return
		}
	}
	t.Error("a form without method=post")
}

// Every field has a label, and what is only shown by script is announced.
func TestSignInPagesAreAccessible(t *testing.T) {
	s := newSuite(t)
	for _, page := range []string{"/sign-in", "/invitation", "/reset"} {
		root, err := html.Parse(strings.NewReader(string(s.call("GET", page, "", "Authorization", "").body)))
		require.NoError(t, err)
		ids, labelled, refers, live := map[string]bool{}, map[string]bool{}, []string{}, 0
		var fields []string
		for node := range root.Descendants() {
			for _, a := range node.Attr {
				switch {
				case a.Key == "id":
					require.False(t, ids[a.Val], "%s twice in %s", a.Val, page)
					ids[a.Val] = true
					if node.Data == "input" {
						fields = append(fields, a.Val)
					}
				case a.Key == "for":
					labelled[a.Val] = true
				case a.Key == "aria-labelledby", a.Key == "aria-describedby":
					refers = append(refers, a.Val)
				case a.Key == "role" && (a.Val == "alert" || a.Val == "status"):
					live++
				case a.Key == "tabindex":
					require.Equal(t, "-1", a.Val, "the order of the keyboard is that of the page")
				case a.Key == "lang":
					require.Equal(t, "en", a.Val)
				}
			}
		}
		require.NotEmpty(t, fields, page)
		for _, field := range fields {
			require.True(t, labelled[field], "%s in %s has no label", field, page)
		}
		for _, id := range refers {
			require.True(t, ids[id], "%s in %s", id, page)
		}
		require.Equal(t, 2, live, page)
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
