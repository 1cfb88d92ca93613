package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/certificate"
	"github.com/carekeep/carekeep/services/ctl/internal/rest"
)

type exit struct {
	Status  exitStatus  `cmd:"" help:"Show how far the practice's exit is, and keep the certificate of its end."`
	Request requestExit `cmd:"" help:"Ask that the practice leaves."`
	Approve approveExit `cmd:"" help:"Approve the exit, by another person than asked."`
	Cancel  cancelExit  `cmd:"" help:"Withdraw the exit, as long as nothing is destroyed."`
	Export  exportExit  `cmd:"" help:"Write all records of the practice and their signed manifest."`
	Destroy destroyExit `cmd:"" help:"Destroy the practice's key and all its records; the manifest proves that they were exported."`
}

// exits is what the commands of an exit share.
type exits struct {
	kept
	form
}

func (c exits) call(ctx context.Context, t *terminal, client *rest.Client, method, verb string, request proto.Message) (*recordsv1.PracticeExit, error) {
	var e recordsv1.PracticeExit
	if err := client.Call(ctx, method, "/v1/practiceExit"+verb, request, &e); err != nil {
		return nil, fmt.Errorf("exit: %w", err)
	}
	return &e, display(c.form, t, []*recordsv1.PracticeExit{&e}, func() error {
		fmt.Fprintf(t.out, "%s, asked for %s", word(e.GetState(), "PRACTICE_EXIT_STATE_"), moment(e.GetRequestTime()))
		if e.GetApproveTime() != nil {
			fmt.Fprintf(t.out, ", approved %s", moment(e.GetApproveTime()))
		}
		fmt.Fprintln(t.out)
		if e.GetManifestDigest() != "" {
			fmt.Fprintf(t.out, "manifest %s\n", e.GetManifestDigest())
		}
		return nil
	})
}

type exitStatus struct {
	exits
	certified
}

// Run prints the state.
func (c *exitStatus) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	e, err := c.call(ctx, t, client, http.MethodGet, "", nil)
	if err != nil {
		return err
	}
	if c.Certificate != "" && e.GetCertificate() == "" {
		return errors.New("there is no certificate: nothing is destroyed")
	}
	return keepText(c.Certificate, e.GetCertificate())
}

type requestExit struct{ exits }

// Run asks; nothing happens before somebody else approves.
func (c *requestExit) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, t, client, http.MethodPost, ":request", &recordsv1.RequestPracticeExitRequest{})
	return err
}

type approveExit struct {
	exits
	sure
}

// Run approves, once the practice's name was typed.
func (c *approveExit) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	if err := c.confirmPractice(ctx, t, client, "This lets all records of the practice be exported and then destroyed"); err != nil {
		return err
	}
	_, err = c.call(ctx, t, client, http.MethodPost, ":approve", &recordsv1.ApprovePracticeExitRequest{})
	return err
}

type cancelExit struct{ exits }

// Run withdraws the exit.
func (c *cancelExit) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, t, client, http.MethodPost, ":cancel", &recordsv1.CancelPracticeExitRequest{})
	return err
}

type exportExit struct {
	kept
	Out      string `required:"" placeholder:"FILE" help:"File to write the records to, as NDJSON. It holds every patient in the clear."`
	Manifest string `required:"" placeholder:"FILE" help:"File to write the signed manifest to, which destroy asks for."`
	Key      string `help:"The verifier key of certificates, or a file with one key a line; by default what the gateway names."`
}

// Run writes both files or none, and prints the manifest's digest.
func (c *exportExit) Run(ctx context.Context, t *terminal) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	x := &practiceExport{meter: t.meter(), digest: sha256.New()}
	err = keep(c.Manifest, func(manifest io.Writer) error {
		err := keep(c.Out, func(out io.Writer) error {
			x.out = out
			if err := rest.Stream(ctx, client, "/v1/practiceExit:export", &recordsv1.ExportPracticeRequest{}, x.item); err != nil {
				return err
			}
			x.meter.clear()
			return x.check(ctx, client, c.Key)
		})
		if err != nil {
			return err
		}
		_, err = io.WriteString(manifest, x.manifest)
		return err
	})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	t.note("%d lines, %s, agree with the manifest", x.lines, megabytes(x.size))
	fmt.Fprintln(t.out, hexOf([]byte(x.manifest)))
	return nil
}

func hexOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// practiceExport takes the stream of an export.
type practiceExport struct {
	meter       *meter
	out         io.Writer
	digest      hash.Hash
	manifest    string
	lines, size int64
}

func (x *practiceExport) item(m *recordsv1.ExportPracticeResponse) error {
	if m.GetManifest() != "" {
		x.manifest = m.GetManifest()
		return nil
	}
	x.size += int64(len(m.GetChunk()))
	x.lines += int64(bytes.Count(m.GetChunk(), []byte("\n")))
	x.meter.show("%d lines", x.lines)
	x.digest.Write(m.GetChunk())
	_, err := x.out.Write(m.GetChunk())
	return err
}

// check holds what came against the manifest, without which the answer ended early.
func (x *practiceExport) check(ctx context.Context, client *rest.Client, key string) error {
	if x.manifest == "" {
		return fmt.Errorf("the answer ended early, after %d lines: export again", x.lines)
	}
	m, err := opened(ctx, client, key, x.manifest)
	if err != nil {
		return err
	}
	if m.Kind != certificate.PracticeExport || m.Digest != hex.EncodeToString(x.digest.Sum(nil)) {
		return errors.New("what came is not what the manifest says: export again")
	}
	return nil
}

// destroyTime is a little more than the server takes at most.
const destroyTime = 65 * time.Minute

type destroyExit struct {
	exits
	sure
	Manifest    string `required:"" type:"existingfile" placeholder:"FILE" help:"The signed manifest of the export."`
	Certificate string `required:"" placeholder:"FILE" help:"File to write the signed certificate of the destruction to; it must not exist yet."`
}

// Run destroys, once the practice's name was typed. Run again it finishes what was interrupted.
func (c *destroyExit) Run(ctx context.Context, t *terminal) error {
	manifest, err := os.ReadFile(c.Manifest)
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	client, err := c.client(t)
	if err != nil {
		return err
	}
	return keep(c.Certificate, func(file io.Writer) error {
		if err := c.confirmPractice(ctx, t, client, "This destroys the practice's key and all its records"); err != nil {
			return err
		}
		request := &recordsv1.DestroyPracticeRequest{ManifestDigest: hexOf(manifest)}
		e, err := c.call(ctx, t, client.Within(destroyTime), http.MethodPost, ":destroy", request)
		if err != nil {
			return err
		}
		_, err = io.WriteString(file, e.GetCertificate())
		return err
	})
}
