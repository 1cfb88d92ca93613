package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"sync/atomic"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type importFiles struct {
	kept
	Files   []string `arg:"" name:"file" help:"FHIR R4 bundles in JSON, of any size; - for standard input."`
	Doctor  string   `placeholder:"ID" help:"The doctor whose patients these become; by default you, if you are a doctor."`
	Patient string   `placeholder:"ID" help:"Take only the entries of this patient, who exists already."`
}

// Help says what happens to an import that breaks off.
func (importFiles) Help() string {
	return "Every refused entry is printed with its index in the bundle and the reason, and the exit status is then 1. " +
		"What is stored already is left alone, so an import that broke off is simply run again."
}

// Run imports file after file. A refused entry does not stop it; a refused file does.
func (c *importFiles) Run(ctx context.Context, t *terminal) error {
	path, err := importPath(c.Doctor, c.Patient)
	if err != nil {
		return err
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	refused := int64(0)
	for _, name := range c.Files {
		b := &bundle{name: name, in: t.in}
		total, err := upload(ctx, t, client, path, &parcel{
			name: name, open: b.open, share: b.share, entry: func(i int64) string { return fmt.Sprintf("entry %d", i) },
		})
		if err != nil {
			return fmt.Errorf("import %s: %w", name, err)
		}
		t.note("%s: %s", name, counts(total))
		refused += total.GetRefused()
	}
	if refused > 0 {
		return fmt.Errorf("%d entries were refused; all others are stored", refused)
	}
	return nil
}

func importPath(doctor, patient string) (string, error) {
	query := url.Values{}
	for _, id := range []struct{ name, collection, text string }{{"doctor", "users", doctor}, {"patient", "patients", patient}} {
		if id.text == "" {
			continue
		}
		text, err := idOf(id.collection, id.text)
		if err != nil {
			return "", fmt.Errorf("--%s: %w", id.name, err)
		}
		query.Set(id.name, id.collection+"/"+text)
	}
	if len(query) == 0 {
		return "/v1/patients:import", nil
	}
	return "/v1/patients:import?" + query.Encode(), nil
}

// parcel is a bundle to send, and how to talk about it.
type parcel struct {
	name  string
	open  func() (io.ReadCloser, error) // once more after a rate limit
	share func() string                 // how much was sent
	entry func(index int64) string      // where an entry comes from
}

func upload(ctx context.Context, t *terminal, client *rest.Client, path string, p *parcel) (*recordsv1.ImportProgress, error) {
	m := t.meter()
	var total *recordsv1.ImportProgress
	err := rest.Upload(ctx, client, path, "application/fhir+json", p.open, func(r *recordsv1.ImportBundleResponse) error {
		switch item := r.GetItem().(type) {
		case *recordsv1.ImportBundleResponse_Progress:
			m.show("%s: %s, %s sent", p.name, counts(item.Progress), p.share())
		case *recordsv1.ImportBundleResponse_Problem:
			m.clear()
			fmt.Fprintf(t.out, "%s: %s: %s: %s\n", p.name, p.entry(item.Problem.GetIndex()), item.Problem.GetReason(), item.Problem.GetMessage())
		case *recordsv1.ImportBundleResponse_Result:
			total = item.Result
		}
		return nil
	})
	m.clear()
	if err == nil && total == nil {
		err = errors.New("the answer ended before the totals")
	}
	if errors.As(err, new(*fs.PathError)) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w; what was stored stays, and running the import again adds the rest", err)
	}
	return total, nil
}

// bundle is a file, or standard input as "-", that counts what was read of it.
type bundle struct {
	name string
	in   io.Reader
	used bool
	size int64 // 0 where nobody knows it
	sent atomic.Int64
}

func (b *bundle) open() (io.ReadCloser, error) {
	if b.name == "-" {
		if b.used {
			return nil, errors.New("there were too many requests, and standard input cannot be read again: wait a minute")
		}
		b.used = true
		return &counter{ReadCloser: io.NopCloser(b.in), n: &b.sent}, nil
	}
	file, err := os.Open(b.name)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		b.size = info.Size()
	}
	b.sent.Store(0)
	return &counter{ReadCloser: file, n: &b.sent}, nil
}

func (b *bundle) share() string {
	if b.size == 0 {
		return megabytes(b.sent.Load())
	}
	return fmt.Sprintf("%d %%", b.sent.Load()*100/b.size)
}

type counter struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func counts(p *recordsv1.ImportProgress) string {
	return fmt.Sprintf("%d created, %d updated, %d unchanged, %d refused", p.GetCreated(), p.GetUpdated(), p.GetUnchanged(), p.GetRefused())
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
