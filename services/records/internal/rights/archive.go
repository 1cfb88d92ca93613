package rights

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/records/internal/chart"
)

// archive writes an export: one NDJSON file for each type, then what is kept beside the
// chart, a summary for people, and last a manifest with the digest of every file.
type archive struct {
	zip     *zip.Writer
	made    time.Time
	current *file
	files   []*file
	omitted []string
	summary *summary

	manifest  manifest
	resources int
}

type manifest struct {
	Patient string    `json:"patient"`
	Request string    `json:"request"`
	Created time.Time `json:"created"`
	FHIR    string    `json:"fhirVersion"`
	Files   []*file   `json:"files"`
	// Omitted are types that whoever made the export may not read.
	Omitted []string `json:"omittedTypes,omitempty"`
}

// file is one file of the archive while it is written, and its line in the manifest.
type file struct {
	Name      string `json:"name"`
	SHA256    string `json:"sha256"`
	Bytes     int64  `json:"bytes"`
	Resources int    `json:"resources,omitempty"`

	resourceType string
	out          io.Writer
	hash         hash.Hash
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	f.hash.Write(p[:n])
	f.Bytes += int64(n)
	return n, err
}

// kept is what stands beside the chart.
type kept struct {
	requests   []*Request
	accounting *recordsv1.AccountingOfDisclosures
}

func newArchive(out io.Writer, now time.Time, at Place) *archive {
	return &archive{
		zip: zip.NewWriter(out), made: now, summary: newSummary(now),
		manifest: manifest{Patient: "patients/" + at.Patient.String(), Request: requests.name(at), Created: now, FHIR: "4.0.1"},
	}
}

func (a *archive) open(name, resourceType string) error {
	a.end()
	out, err := a.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: a.made})
	a.current = &file{Name: name, resourceType: resourceType, out: out, hash: sha256.New()}
	return err
}

func (a *archive) end() {
	if a.current != nil {
		a.current.SHA256 = hex.EncodeToString(a.current.hash.Sum(nil))
		a.files = append(a.files, a.current)
		a.current = nil
	}
}

// breaks may stand in JSON between tokens only. In NDJSON they would end the resource, so
// they become spaces; every other byte is as it was stored.
var breaks = func(r byte) byte {
	if r == '\n' || r == '\r' {
		return ' '
	}
	return r
}

func (a *archive) resource(d chart.Document) error {
	if a.current == nil || a.current.resourceType != d.Type {
		if err := a.open("fhir/"+d.Type+".ndjson", d.Type); err != nil {
			return err
		}
	}
	line := make([]byte, 0, len(d.JSON)+1)
	for _, b := range bytes.TrimSpace(d.JSON) {
		line = append(line, breaks(b))
	}
	a.summary.add(d)
	a.resources++
	a.current.Resources++
	_, err := a.current.Write(append(line, '\n'))
	return err
}

func (a *archive) omit(resourceType string) {
	if !slices.Contains(a.omitted, resourceType) {
		a.omitted = append(a.omitted, resourceType)
	}
}

func (a *archive) message(name string, m proto.Message) error {
	if err := a.open("rights/"+name, ""); err != nil {
		return err
	}
	text, err := protojson.MarshalOptions{Multiline: true}.Marshal(m)
	if err == nil {
		_, err = a.current.Write(text)
	}
	return err
}

func (a *archive) close(k kept) error {
	if err := a.open("summary.html", ""); err != nil {
		return err
	}
	if err := a.summary.write(a.current, k, a.omitted); err != nil {
		return err
	}
	a.end()
	a.manifest.Files, a.manifest.Omitted = a.files, a.omitted
	out, err := a.zip.CreateHeader(&zip.FileHeader{Name: "manifest.json", Method: zip.Deflate, Modified: a.made})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(a.manifest); err != nil {
		return err
	}
	return a.zip.Close()
}
