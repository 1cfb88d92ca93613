package narrative_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"golang.org/x/net/html"

	"github.com/carekeep/carekeep/libs/devkit/samples"
	"github.com/carekeep/carekeep/services/records/internal/fhir/narrative"
)

func div(inner string) string { return `<div xmlns="http://www.w3.org/1999/xhtml">` + inner + `</div>` }

func document(t *testing.T, divs ...string) []byte {
	t.Helper()
	texts := make([]string, len(divs))
	for i, d := range divs {
		raw, err := json.Marshal(d)
		require.NoError(t, err)
		texts[i] = `{"status":"generated",  "div": ` + string(raw) + ` }`
	}
	doc := `{"resourceType":"Composition","text":` + texts[0] + `,"title":"<script>of a title</script>"`
	if len(texts) > 1 {
		doc += `,"contained":[{"resourceType":"Patient","text":` + texts[1] + `}]`
	}
	if len(texts) > 2 {
		doc += `,"section":[{"section":[{"text":` + texts[2] + `}]}]`
	}
	return []byte(doc + "}")
}

// What R4 allows keeps its bytes.
func TestAllowedNarrativesAreUntouched(t *testing.T) {
	t.Parallel()
	for _, inner := range []string{
		"", "plain &lt;text&gt; &amp; &nbsp;&#233;\n", `<p class="x">Ä <b>b</b><br/><i>i</i></p><hr></hr>`, `<table border="1"><tr><td colspan="2" style="color: #fff; width:10%">x</td></tr></table>`,
		`<a href="https://example.org/x?y=1">a</a><a name="n"/><a href="#n">b</a><a href="mailto:a@example.org">m</a><a href="Patient/1">p</a>`,
		`<img src="#pic" alt="A"/><img src="data:image/png;base64,iVBORw0KGgo="/>`, `<span xml:lang="de" lang="de" title="it's">x</span>`,
	} {
		doc := document(t, div(inner))
		out, changed := narrative.Sanitize(doc)
		require.False(t, changed, inner)
		require.Equal(t, string(doc), string(out))
	}
}

// attacks are what a narrative must not do to who reads it.
var attacks = []string{
	`<script>alert(1)</script>`, `<SCRIPT SRC=//x.example/x.js></SCRIPT>`, `<p onclick="alert(1)">x</p>`, `<img src="x" onerror="alert(1)"/>`,
	`<a href="javascript:alert(1)">x</a>`, `<a href="java&#115;cript:alert(1)">x</a>`, `<a href=" javascript:alert(1)">x</a>`, "<a href=\"java\tscript:alert(1)\">x</a>",
	`<a href="data:text/html,<script>alert(1)</script>">x</a>`, `<iframe src="https://x.example"></iframe>`, `<object data="x"></object>`, `<embed src="x"/>`,
	`<form action="https://x.example"><input name="a"/></form>`, `<link rel="stylesheet" href="https://x.example"/>`, `<meta http-equiv="refresh" content="0"/>`, `<base href="https://x.example"/>`,
	`<style>p{background:url(https://x.example)}</style>`, `<p style="background:url(https://x.example)">x</p>`, `<p style="width:expression(alert(1))">x</p>`, `<p style="position:fixed;top:0">x</p>`,
	`<p style="back\67 round:red">x</p>`, `<img src="https://x.example/pixel.gif"/>`, `<img src="data:image/svg+xml;base64,PHN2Zz4="/>`, `<svg><script>alert(1)</script></svg>`, `<svg xmlns="http://www.w3.org/2000/svg"/>`,
	`<math><mi xlink:href="javascript:alert(1)">x</mi></math>`, `<!-- --><script>alert(1)</script> -->`, `<![CDATA[<script>alert(1)</script>]]>`, `<?xml-stylesheet href="x"?>`, `<!DOCTYPE x [<!ENTITY e "x">]>`,
	`<p>unclosed <script>`, `<p><b>crossed</p></b>`, `</div><script>alert(1)</script><div>`, `<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>`, `<textarea></textarea><script>alert(1)</script>`,
	`<p title="&lt;img src=x onerror=alert(1)&gt;">x</p>`, `<noscript><p title="</noscript><img src=x onerror=alert(1)>"></p></noscript>`, `<button formaction="javascript:alert(1)">x</button>`,
}

// harmful finds what a browser would run, fetch or send, by the parser that browsers agree on.
func harmful(text string) string {
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return err.Error()
	}
	found := ""
	var visit func(n *html.Node)
	visit = func(n *html.Node) {
		if n.Type == html.ElementNode {
			if n.Namespace != "" || strings.Contains(" script style iframe object embed form input button link meta base textarea noscript ", " "+n.Data+" ") {
				found = n.Data
			}
			for _, a := range n.Attr {
				v := strings.ToLower(strings.Map(func(c rune) rune {
					if c <= ' ' {
						return -1
					}
					return c
				}, a.Val))
				if strings.HasPrefix(a.Key, "on") || a.Key == "formaction" || a.Key == "action" || strings.HasPrefix(v, "javascript:") || strings.HasPrefix(v, "data:text") ||
					strings.Contains(v, "svg+xml") || a.Key == "src" && strings.HasPrefix(v, "http") ||
					a.Key == "style" && (strings.Contains(v, "url") || strings.Contains(v, "expression") || strings.Contains(v, "position") || strings.Contains(v, `\`)) {
					found = a.Key
				}
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			visit(c)
		}
	}
	visit(root)
	if strings.Contains(text, "<!") {
		found = "declaration"
	}
	return found
}

// What is forbidden goes, wherever the narrative stands; what is good around it stays, and so
// does every other byte of the document.
func TestForbiddenPartsAreTakenOut(t *testing.T) {
	t.Parallel()
	for _, attack := range attacks {
		doc := document(t, div("<p>before</p>"+attack+"after"), div("fine"), div(attack))
		out, changed := narrative.Sanitize(doc)
		require.True(t, changed, attack)
		require.True(t, json.Valid(out), attack)
		for _, path := range []string{"text.div", "contained.0.text.div", "section.0.section.0.text.div"} {
			got := gjson.GetBytes(out, path).Str
			require.True(t, narrative.Safe(got), "%s: %s", attack, got)
			require.Empty(t, harmful(got), "%s: %s", attack, got)
		}
		require.Contains(t, gjson.GetBytes(out, "text.div").Str, "before", attack)
		require.Equal(t, div("fine"), gjson.GetBytes(out, "contained.0.text.div").Str)
		require.Equal(t, "<script>of a title</script>", gjson.GetBytes(out, "title").Str)
		again, changed := narrative.Sanitize(out)
		require.False(t, changed)
		require.Equal(t, out, again)
	}
	// However the document and the key are written.
	out, changed := narrative.Sanitize([]byte("\r\n\t { \"x\": [1, {\"y\":2}] , \"text\" : {\"status\":\"generated\",\n\"div\" :  \"<div><script>x</script></div>\" } }\n"))
	require.True(t, changed)
	require.Equal(t, "\r\n\t { \"x\": [1, {\"y\":2}] , \"text\" : {\"status\":\"generated\",\n\"div\" :  \"<div></div>\" } }\n", string(out))
	out, changed = narrative.Sanitize([]byte(`{"text":{"\u0064iv":"<div><script>x</script></div>"}}`))
	require.True(t, changed)
	require.NotContains(t, string(out), "script")
	out, changed = narrative.Sanitize([]byte(`{"text":{"div":["<script>x</script>"]}}`))
	require.True(t, changed)
	require.NotContains(t, string(out), "script")
}

func TestSamplePatientsAreUntouched(t *testing.T) {
	t.Parallel()
	for i, raw := range samples.Bundles(t) {
		_, changed := narrative.Sanitize(raw)
		require.False(t, changed, "sample %d", i)
	}
}

// What is called safe has nothing in it that a browser would run or fetch, and what
// comes out is safe.
func FuzzSanitize(f *testing.F) {
	for _, attack := range attacks {
		f.Add(div(attack))
	}
	f.Add(div(`<p style="color:rgb(1,2,3)">x</p>`))
	f.Fuzz(func(t *testing.T, text string) {
		if narrative.Safe(text) {
			if what := harmful(text); what != "" {
				t.Fatalf("called safe, but has %s: %q", what, text)
			}
		}
		raw, err := json.Marshal(text)
		if err != nil {
			return
		}
		out, _ := narrative.Sanitize([]byte(`{"text":{"div":` + string(raw) + `}}`))
		if got := gjson.GetBytes(out, "text.div").Str; !json.Valid(out) || !narrative.Safe(got) || harmful(got) != "" {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
