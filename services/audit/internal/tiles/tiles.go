// Package tiles serves the log as files that never change, in the form of C2SP tlog-tiles, so that
// any standard verifier reads it: the checkpoint, the tiles of the tree, and for each entry the salted
// commitment to its event. Nothing of it says what an entry is about, so nobody is asked who they are,
// and reading it appends nothing: ARCHITECTURE.md says why.
package tiles

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/carekeep/carekeep/libs/ledger"
	"github.com/carekeep/carekeep/libs/telemetry"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Log is what is served.
type Log interface {
	// PublicCheckpoint is the checkpoint to show, with all its signatures; "" where there is none.
	PublicCheckpoint(ctx context.Context, witnessed bool) (string, error)
	// Tile and Bundle give store.ErrNoTile for what the log does not hold.
	Tile(ctx context.Context, t tlog.Tile) ([]byte, error)
	Bundle(ctx context.Context, n int64, width int) ([]byte, error)
}

const (
	typeCheckpoint = "text/plain; charset=utf-8"
	typeTile       = "application/octet-stream"
	// A checkpoint is overtaken in a moment; a tile, also one that is not complete, never changes.
	cacheCheckpoint = "public, max-age=1"
	cacheTile       = "public, max-age=31536000, immutable"
	cacheNothing    = "no-store"
	// maxLevel is that of the tiles table: 2^63 entries have no tile above it.
	maxLevel = 7
	// maxIndex keeps the number of the first entry below a tile within 63 bits.
	maxIndex = int64(1) << 54
	// slots bounds how many of the pool's connections strangers can hold; the rest wait.
	slots = 4
)

// Handler serves the log below /.
type Handler struct {
	log       Log
	witnessed bool
	out       *slog.Logger
	slots     chan struct{}
}

// New returns the handler; what goes wrong is said to out. Where the log has witnesses, the checkpoint is the newest
// that they signed.
func New(log Log, witnessed bool, out *slog.Logger) *Handler {
	return &Handler{log: log, witnessed: witnessed, out: out, slots: make(chan struct{}, slots)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", cacheNothing)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the log is only read", http.StatusMethodNotAllowed)
		return
	}
	read, ok := h.route(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-r.Context().Done():
		return
	}
	body, kind, cache, err := read(r.Context())
	switch {
	case errors.Is(err, store.ErrNoTile):
		http.NotFound(w, r)
		return
	case err != nil:
		h.out.WarnContext(r.Context(), "the public log could not be read", telemetry.KeyError, err.Error())
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the log cannot be read now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // a client that is gone asks again
}

// reader reads one file: its bytes, media type and how long it may be kept.
type reader func(context.Context) (body []byte, kind, cache string, err error)

func (h *Handler) route(path string) (reader, bool) {
	if path == "/checkpoint" {
		return h.checkpoint, true
	}
	t, ok := parse(path)
	if !ok {
		return nil, false
	}
	return func(ctx context.Context) ([]byte, string, string, error) {
		if t.L < 0 {
			body, err := h.log.Bundle(ctx, t.N, t.W)
			return body, typeTile, cacheTile, err
		}
		body, err := h.log.Tile(ctx, t)
		return body, typeTile, cacheTile, err
	}, true
}

func (h *Handler) checkpoint(ctx context.Context) ([]byte, string, string, error) {
	signed, err := h.log.PublicCheckpoint(ctx, h.witnessed)
	if err == nil && signed == "" {
		err = store.ErrNoTile
	}
	return []byte(signed), typeCheckpoint, cacheCheckpoint, err
}

// parse reads the path of a tile. C2SP leaves out the height, which is always 8, and says entries where
// sumdb says data, whose parser takes one spelling of each tile and no other.
func parse(path string) (tlog.Tile, bool) {
	rest, found := strings.CutPrefix(path, "/tile/")
	if !found || strings.HasPrefix(rest, "data/") {
		return tlog.Tile{}, false
	}
	if bundle, ok := strings.CutPrefix(rest, "entries/"); ok {
		rest = "data/" + bundle
	}
	t, err := tlog.ParseTilePath("tile/" + strconv.Itoa(ledger.TileHeight) + "/" + rest)
	return t, err == nil && t.L <= maxLevel && t.N >= 0 && t.N < maxIndex
}
