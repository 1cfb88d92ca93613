package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/carekeep/carekeep/deploy/local/generator"
)

// fhirServers times the same mix of reads, searches and imports on any FHIR R4
// servers, side by side and in turns: ours beside HAPI, Medplum or another one. Each must take
// transaction bundles, answer a POST with the locations of what it made, and search by POST (R4 3.1.1.1).
type fhirServers struct {
	measured
	URL      []string      `arg:"" help:"Base URLs, such as https://127.0.0.1:8443/fhir/R4. The first is what the others are compared with."`
	Patients int           `default:"100" help:"Patients imported into each server before the mix runs; they stay there."`
	Seed     int64         `default:"1" help:"Population of the generated patients. A server that was measured before wants another one."`
	Mix      mix           `embed:"" prefix:"" help:"Shares of the mix."`
	Timeout  time.Duration `default:"30s" help:"How long one request may take."`
}

// mix is how often each operation comes, in parts.
type mix struct {
	Reads    int `default:"85" help:"Reads of a Patient by id, in parts of the mix."`
	Searches int `default:"14" help:"Searches for a Patient by identifier."`
	Imports  int `default:"1" help:"Transaction bundles of a new patient with 13 more resources."`
}

func (m mix) check() error {
	if m.Reads < 0 || m.Searches < 0 || m.Imports < 0 || m.Reads+m.Searches+m.Imports == 0 {
		return errors.New("the parts of the mix must be positive, and one at least must not be 0")
	}
	return nil
}

// Run prints one row for each server and operation, and one for the mix.
func (f *fhirServers) Run(ctx context.Context, out io.Writer) error {
	if err := f.Mix.check(); err != nil {
		return err
	}
	servers := make([]*fhirServer, len(f.URL))
	for i, base := range f.URL {
		headers, err := headersOf(f.Header, i+1)
		if err != nil {
			return err
		}
		client, err := f.client(f.Timeout)
		if err != nil {
			return err
		}
		servers[i] = &fhirServer{base: strings.TrimSuffix(base, "/"), headers: headers, client: client, seed: f.Seed}
		if err := servers[i].load(ctx, f.Patients); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d: import alone, one client: %.0f resources/s\n", i+1, servers[i].loaded)
	}
	for _, part := range []struct {
		name string
		mix
	}{{"reads", mix{Reads: 1}}, {"searches", mix{Searches: 1}}, {"the mix", f.Mix}} {
		ops := make([]operation, len(servers))
		for i, s := range servers {
			ops[i] = s.mixed(part.mix)
		}
		samples, err := contest(ctx, f.Clients, f.Length, f.Rounds, ops...)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		for i, s := range samples {
			fmt.Fprintf(out, "%d: %s: %.0f/s, %s, %.2f of the first\n", i+1, part.name, s.perSecond, latency(s), s.perSecond/samples[0].perSecond)
		}
	}
	return nil
}

// fhirServer is a server under measurement and what was stored there.
type fhirServer struct {
	base    string
	headers http.Header
	client  *http.Client
	seed    int64

	stored []storedPatient
	next   atomic.Int64 // number of the next patient to import
	loaded float64      // resources a second
}

type storedPatient struct{ location, identifier string }

func (s *fhirServer) load(ctx context.Context, patients int) error {
	begun := time.Now()
	for range patients {
		stored, err := s.importOne(ctx)
		if err != nil {
			return err
		}
		s.stored = append(s.stored, stored)
	}
	s.loaded = float64(patients*generator.PerPatient) / time.Since(begun).Seconds()
	return nil
}

// mixed spreads the operations of a mix evenly over a client's requests.
func (s *fhirServer) mixed(m mix) operation {
	total := m.Reads + m.Searches + m.Imports
	return func(ctx context.Context, client, n int) error {
		p := s.stored[(client*9973+n)%len(s.stored)]
		// 7919 is prime to any sensible total, so the kinds take turns instead of coming in blocks.
		switch at := (client + n*7919) % total; {
		case at < m.Reads:
			return s.read(ctx, p)
		case at < m.Reads+m.Searches:
			return s.search(ctx, p)
		}
		_, err := s.importOne(ctx)
		return err
	}
}

func (s *fhirServer) read(ctx context.Context, p storedPatient) error {
	raw, err := s.send(ctx, http.MethodGet, "/"+p.location, "", nil)
	if err == nil && !bytes.Contains(raw, []byte(`"Patient"`)) {
		err = fmt.Errorf("%s is no Patient", s.base)
	}
	return err
}

func (s *fhirServer) search(ctx context.Context, p storedPatient) error {
	form := url.Values{"identifier": {p.identifier}}.Encode()
	raw, err := s.send(ctx, http.MethodPost, "/Patient/_search", "application/x-www-form-urlencoded", []byte(form))
	if err == nil && !bytes.Contains(raw, []byte(path.Base(p.location))) {
		err = fmt.Errorf("a search at %s did not find the patient that it asked for", s.base)
	}
	return err
}

// importOne stores the next patient of the population and returns where it is now.
func (s *fhirServer) importOne(ctx context.Context) (storedPatient, error) {
	number := int(s.next.Add(1) - 1)
	var bundle bytes.Buffer
	if err := generator.Bundle(&bundle, generator.Options{Seed: s.seed, First: number, Patients: 1}); err != nil {
		return storedPatient{}, err
	}
	raw, err := s.send(ctx, http.MethodPost, "", "application/fhir+json", bundle.Bytes())
	if err != nil {
		return storedPatient{}, err
	}
	var answer struct {
		Entry []struct {
			Response struct{ Location string }
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return storedPatient{}, fmt.Errorf("the answer of %s to a bundle: %w", s.base, err)
	}
	for _, e := range answer.Entry {
		// A location is relative or absolute, with or without a version.
		at, _, _ := strings.Cut(e.Response.Location, "/_history/")
		if id := path.Base(at); path.Base(path.Dir(at)) == "Patient" && id != "" {
			f := generator.Patient(s.seed, number)
			return storedPatient{location: "Patient/" + id, identifier: generator.MRNSystem + "|" + f.MRN}, nil
		}
	}
	return storedPatient{}, fmt.Errorf("%s did not say where it stored the Patient of a bundle", s.base)
}

func (s *fhirServer) send(ctx context.Context, method, at, mediaType string, body []byte) ([]byte, error) {
	headers := s.headers.Clone()
	headers.Set("Accept", "application/fhir+json")
	if mediaType != "" {
		headers.Set("Content-Type", mediaType)
	}
	return ask(ctx, s.client, method, s.base+at, headers, body)
}
