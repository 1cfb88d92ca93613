package fhirapi

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/carekeep/carekeep/services/records/internal/chart"
)

// writer writes a bundle around resources, whose bytes stay as they are.
type writer struct {
	buffer  bytes.Buffer
	base    string
	entries int
}

func newBundle(base, kind string, now time.Time) *writer {
	w := &writer{base: base}
	w.text(`{"resourceType":"Bundle","type":` + quote(kind) + `,"timestamp":` + quote(instant(now)))
	return w
}

func (w *writer) text(s string) { w.buffer.WriteString(s) }

func (w *writer) raw(b []byte) { w.buffer.Write(b) }

// quote writes a JSON string. Every string here is ours: a URL, a type, a time.
func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(raw)
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// links adds links by their relation, each a path below the base; empty ones are left out.
func (w *writer) links(relations ...[2]string) {
	var out []string
	for _, r := range relations {
		if r[1] != "" {
			out = append(out, `{"relation":`+quote(r[0])+`,"url":`+quote(w.base+r[1])+`}`)
		}
	}
	if len(out) == 0 {
		return
	}
	w.text(`,"link":[`)
	for i, l := range out {
		if i > 0 {
			w.text(`,`)
		}
		w.text(l)
	}
	w.text(`]`)
}

// begin begins an entry; each of its members begins with a comma but the first.
func (w *writer) begin() {
	if w.entries == 0 {
		w.text(`,"entry":[{`)
	} else {
		w.text(`,{`)
	}
	w.entries++
}

func (w *writer) end() { w.text(`}`) }

func (w *writer) close() []byte {
	if w.entries > 0 {
		w.text(`]`)
	}
	w.text(`}`)
	return w.buffer.Bytes()
}

func pathOf(d chart.Document) string { return "/" + d.Type + "/" + d.ID.String() }

// match adds a resource that a search or a walk found.
func (w *writer) match(d chart.Document) {
	w.begin()
	w.text(`"fullUrl":` + quote(w.base+pathOf(d)) + `,"resource":`)
	w.raw(shown(d.JSON))
	w.text(`,"search":{"mode":"match"}`)
	w.end()
}

// note adds an OperationOutcome about the search.
func (w *writer) note(o []byte) {
	w.begin()
	w.text(`"resource":`)
	w.raw(o)
	w.text(`,"search":{"mode":"outcome"}`)
	w.end()
}

// Etag is the weak ETag of a version (R4 3.1.0.1.3).
func Etag(version int64) string { return `W/"` + strconv.FormatInt(version, 10) + `"` }

// query writes parameters of a link, in order.
func query(pairs ...string) string {
	var out string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if out == "" {
			out = "?"
		} else {
			out += "&"
		}
		out += pairs[i] + "=" + url.QueryEscape(pairs[i+1])
	}
	return out
}
