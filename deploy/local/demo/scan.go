package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/carekeep/carekeep/deploy/local/stack"
)

// hit is a pattern that was found.
type hit struct {
	where   string
	pattern int
}

// scanner searches streams for all patterns at once. Most positions are settled
// by their two first bytes.
type scanner struct {
	patterns []pattern
	starting [1 << 16][]int // patterns by their first two bytes
	longest  int
	hits     []hit
	bytes    int64
}

func newScanner(patterns []pattern) *scanner {
	s := &scanner{patterns: patterns}
	for i, p := range patterns {
		first := uint16(p.bytes[0])<<8 | uint16(p.bytes[1])
		s.starting[first] = append(s.starting[first], i)
		s.longest = max(s.longest, len(p.bytes))
	}
	return s
}

// stream reads to the end; where says what is read.
func (s *scanner) stream(r io.Reader, where string) error {
	buffer := make([]byte, 1<<20)
	kept := 0
	found := make([]bool, len(s.patterns))
	for {
		n, err := r.Read(buffer[kept:])
		s.bytes += int64(n)
		window := buffer[:kept+n]
		s.window(window, where, found)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("search %s: %w", where, err)
		}
		// What may be the beginning of a pattern stays for the next round.
		kept = copy(buffer, window[max(0, len(window)-s.longest):])
	}
}

func (s *scanner) window(window []byte, where string, found []bool) {
	for at := range len(window) - 1 {
		for _, i := range s.starting[uint16(window[at])<<8|uint16(window[at+1])] {
			if !found[i] && bytes.HasPrefix(window[at:], s.patterns[i].bytes) {
				found[i] = true
				s.hits = append(s.hits, hit{where, i})
			}
		}
	}
}

// folder searches every file below a folder, except below the given ones. Files
// that vanish meanwhile, as the write-ahead log's do, are passed over.
func (s *scanner) folder(top string, except ...string) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("search %s: %w", top, err)
		}
		if d.IsDir() && path != top && slices.Contains(except, path) {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("search: %w", err)
		}
		defer file.Close() //nolint:errcheck // only read from
		return s.stream(file, path)
	})
}

// rows searches every row of every table of every database, as COPY prints them.
func (s *scanner) rows(ctx context.Context, place *stack.Place) (tables int, err error) {
	databases, err := column(ctx, place, "postgres", "SELECT datname FROM pg_database WHERE datallowconn")
	if err != nil {
		return 0, err
	}
	for _, database := range databases {
		if database == "template1" {
			continue // what every new database starts from; nothing of ours is in it
		}
		n, err := s.database(ctx, place, database)
		if err != nil {
			return 0, err
		}
		tables += n
	}
	return tables, nil
}

func (s *scanner) database(ctx context.Context, place *stack.Place, database string) (int, error) {
	// Catalogues too: statistics keep samples of columns, and comments keep texts.
	tables, err := column(ctx, place, database, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema'`)
	if err != nil {
		return 0, err
	}
	conn, err := place.AdminDB(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx) //nolint:errcheck // only read from
	for _, table := range tables {
		reader, writer := io.Pipe()
		go func() {
			_, err := conn.PgConn().CopyTo(ctx, writer, "COPY (SELECT * FROM "+table+") TO STDOUT")
			_ = writer.CloseWithError(err) // never fails
		}()
		err := s.stream(reader, "rows of "+database+"."+table)
		_ = reader.Close() // never fails; it ends a COPY that was not read to the end
		if err != nil {
			return 0, err
		}
	}
	return len(tables), nil
}

// column is the only column of a query.
func column(ctx context.Context, place *stack.Place, database, query string) ([]string, error) {
	conn, err := place.AdminDB(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx) //nolint:errcheck // only read from
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", database, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", database, err)
	}
	return found, nil
}
