package fhir

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const (
	attachment = "content.0.attachment"
	plainText  = "text/plain; charset=utf-8"
)

// NoteView reads a DocumentReference. Text comes only from an inline attachment
// of plain text; a scan or a linked file has none.
func NoteView(doc []byte) *recordsv1.Note {
	root := gjson.ParseBytes(doc)
	a := root.Get(attachment)
	return &recordsv1.Note{
		Title:      first(a.Get("title"), root.Get("description"), root.Get("type.text")),
		Text:       attachedText(a),
		AuthorTime: parseTime(root.Get("date").String()),
		Status:     root.Get("status").String(),
	}
}

// NewNote writes a DocumentReference for a view. Without a time of its own it
// bears the server's.
func NewNote(id, patient uuid.UUID, n *recordsv1.Note, now time.Time) ([]byte, error) {
	fields, err := Fields(n, nil)
	if err != nil {
		return nil, err
	}
	skeleton := fmt.Appendf(nil, `{"resourceType":"DocumentReference","id":"%s","status":"current",`+
		`"subject":{"reference":"Patient/%s"},"date":%q,"content":[{"attachment":{"contentType":%q}}]}`,
		id, patient, formatTime(now), plainText)
	return PatchNote(skeleton, n, fields)
}

// PatchNote changes the named fields of a DocumentReference.
func PatchNote(doc []byte, n *recordsv1.Note, fields []string) ([]byte, error) {
	e := &edit{doc: slices.Clone(doc)}
	for _, field := range fields {
		switch field {
		case "title":
			patchTitle(e, n.Title)
		case "text":
			patchText(e, n.Text)
		case "author_time":
			if n.AuthorTime == nil {
				e.remove("date")
			} else {
				e.set("date", formatTime(n.AuthorTime.AsTime()))
			}
		case "status":
			if n.Status == "" {
				return nil, invalid("status", "a note must have a status; name current, superseded or entered-in-error")
			}
			e.set("status", n.Status)
		}
	}
	return e.doc, e.err
}

func patchTitle(e *edit, title string) {
	if title == "" { // the view falls back to these, so all must go
		e.remove("description")
		if e.get("type.coding").Exists() {
			e.remove("type.text")
		}
	}
	e.setOrRemove(attachment+".title", title)
}

// patchText also takes out what described the former content.
func patchText(e *edit, text string) {
	e.set(attachment+".contentType", plainText)
	for _, stale := range []string{"url", "hash", "size"} {
		e.remove(attachment + "." + stale)
	}
	e.setOrRemove(attachment+".data", base64.StdEncoding.EncodeToString([]byte(text)))
}

func attachedText(a gjson.Result) string {
	if !strings.HasPrefix(strings.ToLower(a.Get("contentType").Str), "text/") {
		return ""
	}
	text, err := base64.StdEncoding.DecodeString(a.Get("data").Str)
	if err != nil || !utf8.Valid(text) {
		return ""
	}
	return string(text)
}

func first(candidates ...gjson.Result) string {
	for _, c := range candidates {
		if s := c.String(); s != "" {
			return s
		}
	}
	return ""
}
