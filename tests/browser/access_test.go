package browser

import (
	_ "embed"
	"encoding/json"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/browser"
)

//go:embed probe.js
var probe string

// narrow is the width at which WCAG 2.2 asks for no sideways scrolling (1.4.10), in CSS pixels.
const narrow = 320

// accessible looks at what the tab shows now as it is measured and as it is read out,
// light and dark, wide and narrow.
func accessible(t *testing.T, tab *browser.Tab) {
	t.Helper()
	for _, scheme := range []string{"dark", "light"} {
		browser.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		for _, width := range []int64{narrow, 1280} {
			tab.Do(chromedp.EmulateViewport(width, 800))
			require.Empty(t, browser.Eval[[]string](tab, probe), "%s at %d", scheme, width)
		}
	}
	headings := 0
	for _, node := range browser.Call(tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		role := said(t, node.Role)
		if node.Ignored || !slices.Contains([]string{"button", "textbox", "checkbox", "link", "image", "heading"}, role) {
			continue
		}
		require.NotEmpty(t, said(t, node.Name), "a %s has no name", role)
		if role == "heading" {
			headings++
		}
	}
	require.GreaterOrEqual(t, headings, 2)
}

func said(t *testing.T, value *accessibility.Value) string {
	t.Helper()
	if value == nil || len(value.Value) == 0 {
		return ""
	}
	var text string
	require.NoError(t, json.Unmarshal(value.Value, &text))
	return text
}

// Everything on the way in and out is reached by keyboard, in the order of the page,
// and the focus goes along with what changes.
func TestChromiumSignsInByKeyboard(t *testing.T) {
	person := users.Person(seed.Superadmin)
	tab := open(t)
	focused := func(id string) {
		t.Helper()
		tab.Until("document.activeElement.id === '" + id + "'")
	}
	tab.Keys("\t\t\t\t\t")
	focused("qr-begin")
	tab.Keys("\r")
	focused("qr-title")
	accessible(t, tab)
	tab.Keys("\t\r")
	focused("start-title")

	tab.Keys("\t" + person.Username + "\t" + person.Password + "\r")
	focused("code")
	accessible(t, tab)
	for code := range codesOf(t, person) {
		tab.Keys(code + "\r")
		tab.Until(refusedOr + signedIn)
		if browser.Eval[bool](tab, signedIn) {
			break
		}
		focused("message")
		accessible(t, tab)
		tab.Keys("\t")
		focused("code")
		browser.Eval[bool](tab, `(document.getElementById("code").value = "", true)`)
	}
	focused("account-title")
	accessible(t, tab)
	tab.Keys("\t")
	focused("sign-out")
	tab.Keys("\r")
	focused("start-title")
	require.Contains(t, tab.Text("status"), "signed out")
	accessible(t, tab)
	require.Empty(t, tab.Problems())
}
