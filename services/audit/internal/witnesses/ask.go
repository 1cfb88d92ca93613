package witnesses

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

const (
	// typeSize marks the answer that says how much of the log a witness has seen.
	typeSize  = "text/x.tlog.size"
	maxAnswer = 16 << 10
	// attempts is enough for a witness that has to say twice what it saw, because another replica asks it as well.
	attempts = 3
)

// parse reads a checkpoint of our own database, which the appender verified.
func parse(signed string) (ledger.Checkpoint, error) {
	text, _, _ := strings.Cut(signed, "\n\n")
	return ledger.ParseCheckpoint(text + "\n")
}

// ask has a witness sign a checkpoint. Where the witness has seen less or more than we believe, it says so and
// is asked again with the proof from there.
func (c *Circle) ask(ctx context.Context, m *member, head ledger.Checkpoint, signed string) (store.Cosignature, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if !m.known {
		size, err := c.opts.Store.Cosigned(ctx, m.id)
		if err != nil {
			return store.Cosignature{}, err
		}
		m.size, m.known = size, true
	}
	old := m.size
	for range attempts {
		body, err := c.request(ctx, old, head, signed)
		if err != nil {
			return store.Cosignature{}, err
		}
		status, kind, answer, err := m.post(ctx, body)
		switch {
		case err != nil:
			return store.Cosignature{}, err
		case status == http.StatusOK:
			return m.accept(head, signed, answer)
		case status == http.StatusUnprocessableEntity && old > 0:
			return store.Cosignature{}, fmt.Errorf("%w: our proof from %d to %d entries does not fit what it has seen", ErrContradicted, old, head.Size)
		case status != http.StatusConflict:
			return store.Cosignature{}, fmt.Errorf("status %d%s", status, meaning[status])
		}
		seen, err := strconv.ParseInt(strings.TrimSuffix(answer, "\n"), 10, 64)
		switch {
		case kind != typeSize || err != nil || seen < 0:
			return store.Cosignature{}, errors.New("status 409 without the size that it has seen")
		case seen > head.Size:
			return store.Cosignature{}, fmt.Errorf("%w: it has seen %d entries, the log has %d", ErrContradicted, seen, head.Size)
		case seen == old && seen == head.Size:
			return store.Cosignature{}, fmt.Errorf("%w: its tree of %d entries has another root", ErrContradicted, seen)
		}
		old = seen
	}
	return store.Cosignature{}, errors.New("it says each time that it has seen something else")
}

// meaning explains the statuses of tlog-witness.
var meaning = map[int]string{
	http.StatusBadRequest:      ": it cannot read the request",
	http.StatusForbidden:       ": it knows another key of this log; tell its operator the new verifier key",
	http.StatusNotFound:        ": it does not know this log; ask its operator to add it, and look at the URL",
	http.StatusTooManyRequests: ": it is asked too often",
}

// request is the body: what the witness saw before, the proof that the log has only grown since, the checkpoint.
func (c *Circle) request(ctx context.Context, old int64, head ledger.Checkpoint, signed string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", old)
	if old > 0 && old < head.Size {
		proof, err := tlog.ProveTree(head.Size, old, tlog.TileHashReader(head.Tree(), c.opts.Store.Tiles(ctx)))
		if err != nil {
			return "", fmt.Errorf("prove %d to %d: %w", old, head.Size, err)
		}
		for _, hash := range proof {
			fmt.Fprintln(&b, hash)
		}
	}
	b.WriteString("\n" + signed)
	return b.String(), nil
}

func (m *member) post(ctx context.Context, body string) (status int, kind, answer string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(m.url, "/")+"/add-checkpoint", strings.NewReader(body))
	if err != nil {
		return 0, "", "", err
	}
	r.Header.Set("User-Agent", "carekeep-audit")
	response, err := m.client.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, response.Header.Get("Content-Type"), string(raw), err
}

// accept takes the witness's own signature out of its answer; those of other keys are ignored.
func (m *member) accept(head ledger.Checkpoint, signed, lines string) (store.Cosignature, error) {
	n, err := note.Open([]byte(signed+lines), note.VerifierList(m.verifier))
	if err != nil || len(n.Sigs) == 0 {
		return store.Cosignature{}, errors.New("its answer holds no signature by the key that is configured for it")
	}
	at, err := ledger.CosignTime(n.Sigs[0])
	if err != nil {
		return store.Cosignature{}, err
	}
	m.size = head.Size
	return store.Cosignature{
		Size: head.Size, Witness: m.id, Time: at,
		Signature: fmt.Sprintf("— %s %s", n.Sigs[0].Name, n.Sigs[0].Base64),
	}, nil
}
