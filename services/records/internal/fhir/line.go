package fhir

import (
	"bytes"
	"encoding/json"
	"errors"
)

// Line is a document as a line of NDJSON: as it is, unless it has line breaks; its white space
// carries nothing, so then it goes.
func Line(doc []byte) ([]byte, error) {
	if !bytes.ContainsAny(doc, "\r\n") {
		return doc, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		return nil, errors.New("a stored document is no JSON") // the cause would quote it
	}
	return compact.Bytes(), nil
}
