package narrative

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Safe reports whether a narrative is one that R4 allows, and that a browser can show
// as it is: one div of well-formed XHTML with nothing but formatting. It must be right when it
// says yes; whatever it does not know is not safe.
func Safe(text string) bool {
	// Comments, CDATA, declarations and instructions: browsers read them by other
	// rules than XML, so what stands in them may become alive.
	if strings.Contains(text, "<!") || strings.Contains(text, "<?") || strings.ContainsRune(text, 0) {
		return false
	}
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict = true
	d.Entity = xml.HTMLEntity
	depth, roots := 0, 0
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return depth == 0 && roots == 1 && balanced(text)
		}
		if err != nil {
			return false
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > maxDepth || !allowed(t, depth == 1) {
				return false
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && strings.TrimSpace(string(t)) != "" {
				return false
			}
		default:
			return false
		}
	}
}

// maxDepth bounds the nesting of elements, as browsers do.
const maxDepth = 256

// balanced reports whether each element is closed where it must be, which raw
// tokens do not show.
func balanced(text string) bool {
	d := xml.NewDecoder(strings.NewReader(text))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// allowed checks one element and its attributes. Raw tokens keep prefixes as they
// are written, so none has another name than it seems.
func allowed(e xml.StartElement, root bool) bool {
	if e.Name.Space != "" || !slices.Contains(elements, e.Name.Local) || root && e.Name.Local != "div" {
		return false
	}
	for _, a := range e.Attr {
		switch {
		case a.Name.Space == "xml" && a.Name.Local == "lang" && plain.MatchString(a.Value):
			continue
		case a.Name.Space != "":
			return false
		case a.Name.Local == "xmlns":
			if a.Value != xhtml {
				return false
			}
			continue
		case a.Name.Local == "style":
			if !harmless(a.Value) {
				return false
			}
			continue
		}
		if want := value(e.Name.Local, a.Name.Local); want == nil || !want.MatchString(a.Value) {
			return false
		}
	}
	return true
}

// css is a list of plain declarations: no functions but colours, so nothing is fetched or
// run, no escapes and no comments, so nothing is hidden.
var css = regexp.MustCompile(`^\s*([a-z\-]+\s*:\s*([A-Za-z0-9#%.,\s'!\-]|rgb\([0-9%,.\s]*\))*;?\s*)*$`)

// covering are properties by which a narrative could lay itself over the page around it.
var covering = regexp.MustCompile(`(^|[;\s])(position|z-index|behavior|-moz-binding)\s*:`)

func harmless(style string) bool { return css.MatchString(style) && !covering.MatchString(style) }
