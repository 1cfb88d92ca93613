package ledger

import (
	"fmt"
	"iter"
	"runtime"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Item is one piece of a log, in the order of an export (see [Writer]): exactly one member is set.
type Item struct {
	Entry      *Entry
	Tile       *Tile
	Checkpoint string // the signed note
}

// VerifyItems is [Verify] for a whole log that was not written to a file: items come in chunks, straight from
// where they are stored. begin is when reading began, as in a header. The error is that of reading.
func VerifyItems(begin time.Time, items iter.Seq2[[]Item, error], trust Trust) (*Report, error) {
	v := newVerification(trust)
	v.take(checked{line: line{Header: &Header{Format: Format, Log: trust.Log, Scope: ScopeFull, CreateTime: begin}}})
	if err := v.run(func(out chan<- chan []checked) error { return checkItems(items, out, trust.Keys) }); err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	v.take(checked{line: line{End: &End{Entries: v.entryLines, Checkpoints: v.checkpointLines}}})
	v.finish()
	return &v.report, nil
}

// checkItems has chunks checked concurrently, and passes their results on in order.
func checkItems(items iter.Seq2[[]Item, error], out chan<- chan []checked, keys note.Verifiers) error {
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for chunk, err := range items {
		if err != nil {
			return err
		}
		result := make(chan []checked, 1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			results := make([]checked, len(chunk))
			for i, item := range chunk {
				results[i].line = item.line()
				results[i].check(keys)
			}
			result <- results
		}()
		out <- result
	}
	return nil
}

func (i Item) line() line {
	switch {
	case i.Entry != nil:
		return line{Entry: i.Entry}
	case i.Tile != nil:
		return line{Tile: &tileLine{Level: i.Tile.Level, Index: i.Tile.Index, Hashes: i.Tile.Hashes}}
	}
	return line{Checkpoint: &checkpointLine{Note: i.Checkpoint}}
}
