package index

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nyaruka/phonenumbers"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/pg"
	"github.com/carekeep/carekeep/services/records/internal/keys"
	"github.com/carekeep/carekeep/services/records/internal/store"
)

// DefaultRegion is where phone numbers without a country code are, unless the
// configuration says otherwise.
const DefaultRegion = "US"

// Settings of the blind index.
type Settings struct {
	// Region is where phone numbers without a country code are, for new generations
	// of the index; a practice's present one keeps its own. Empty means DefaultRegion.
	Region string `yaml:"region"`
}

// Validate implements config.Validator.
func (s Settings) Validate() error {
	if err := CheckRegion(s.Region); err != nil {
		return fmt.Errorf("region %w", err)
	}
	return nil
}

// CheckRegion refuses a region of which no phone numbers are known. Empty is none.
func CheckRegion(region string) error {
	if region != "" && phonenumbers.GetCountryCodeForRegion(region) == 0 {
		return errors.New(`must be the two letters of a country (ISO 3166-1), as "US"`)
	}
	return nil
}

// Generations knows which generations of the index a practice has. What it
// knows may be old, so every transaction that uses it looks again (Hold, Check).
type Generations struct {
	access *pg.Access
	keys   *keys.Keys
	region string
	now    func() time.Time

	mu    sync.Mutex
	known map[uuid.UUID][]store.Generation
}

// NewGenerations makes a Generations; region is that of new practices.
func NewGenerations(access *pg.Access, k *keys.Keys, region string, now func() time.Time) *Generations {
	if region == "" {
		region = DefaultRegion
	}
	return &Generations{access: access, keys: k, region: region, now: now, known: map[uuid.UUID][]store.Generation{}}
}

// Region is that of new generations.
func (s *Generations) Region() string { return s.region }

// errMoved ends a transaction that used generations which are no longer those of the practice.
var errMoved = errs.New(errs.KindConflict, "INDEX_MOVED", "The search index was switched at the same time: try again.").WithRetry(time.Second)

// ErrNoPhonetics answers a search by sound in a practice that has not switched it on.
var ErrNoPhonetics = errs.New(errs.KindInvalid, "SEARCH_UNSUPPORTED", "This practice has no phonetic index: its administrator can switch it on.").
	WithField("phonetic", "is not switched on in this practice")

// errBuilding answers a search while a practice has no live generation yet.
var errBuilding = errs.New(errs.KindUnavailable, "INDEX_BUILDING",
	"The search index of this practice is being built for the first time: try again later.").WithRetry(30 * time.Second)

// attempts bounds how often an operation meets other generations than it knew.
const attempts = 4

// Use runs an operation with the generations of a practice, again where they have changed meanwhile.
func (s *Generations) Use(ctx context.Context, practice uuid.UUID, run func([]Generation) error) error {
	for attempt := 1; ; attempt++ {
		generations, err := s.Of(ctx, practice)
		if err == nil {
			err = run(generations)
		}
		// What this replica knows may be older than a switch, so it looks once more before it refuses.
		refused := errors.Is(err, errBuilding) || errors.Is(err, ErrNoPhonetics)
		stale := errors.Is(err, errMoved) || refused && attempt == 1
		if !stale || attempt == attempts {
			return err
		}
		s.forget(practice)
	}
}

// Of returns a practice's generations that are kept: the live one and one that is being built.
func (s *Generations) Of(ctx context.Context, practice uuid.UUID) ([]Generation, error) {
	s.mu.Lock()
	rows, ok := s.known[practice]
	s.mu.Unlock()
	if !ok {
		var err error
		if rows, err = s.load(ctx, practice); err != nil {
			return nil, err
		}
	}
	return s.ready(ctx, practice, rows)
}

func (s *Generations) forget(practice uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, practice)
}

// load reads the generations. A practice that has none is new and gets its first.
func (s *Generations) load(ctx context.Context, practice uuid.UUID) ([]store.Generation, error) {
	var rows []store.Generation
	read := pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) { store.ReadGenerations(b, practice, &rows) }}
	if err := s.access.Do(ctx, read); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		var added bool
		first := store.Generation{
			Number: 1, State: store.GenerationLive, Format: Version, Region: s.region, Created: s.now().UTC().Truncate(time.Microsecond),
		}
		err := s.access.Do(ctx, pg.Unit{Practice: practice, Queue: func(b *pgx.Batch) {
			store.AddGeneration(b, practice, first, store.NewKey{}, nil, &added)
			store.ReadGenerations(b, practice, &rows)
		}})
		if err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[practice] = rows
	return rows, nil
}

// ready gives the generations their key.
func (s *Generations) ready(ctx context.Context, practice uuid.UUID, rows []store.Generation) ([]Generation, error) {
	p, err := s.keys.Practice(ctx, practice)
	if err != nil {
		return nil, err
	}
	var out []Generation
	for _, row := range rows {
		if row.State == store.GenerationDropping {
			continue
		}
		tokens := p.Index
		if row.Key != uuid.Nil {
			tokens, err = s.keys.GenerationIndex(ctx, p, row.Key)
			if errors.Is(err, keys.ErrNoIndexKey) {
				return nil, errMoved // it was dropped since it was read
			}
			if err != nil {
				return nil, err
			}
		}
		out = append(out, Generation{
			Number: row.Number, Live: row.State == store.GenerationLive, tokens: tokens,
			Format: Format{Version: row.Format, Region: row.Region, Phonetics: row.Phonetics},
		})
	}
	return out, nil
}

// Check refuses a transaction whose generations, as it read them, are others than
// those in use: the operation then runs again.
func Check(inUse []Generation, seen []store.Generation) error {
	n := 0
	for _, row := range seen {
		if row.State == store.GenerationDropping {
			continue
		}
		if n >= len(inUse) || inUse[n].Number != row.Number || inUse[n].Live != (row.State == store.GenerationLive) {
			return errMoved
		}
		n++
	}
	if n != len(inUse) {
		return errMoved
	}
	return nil
}

// Live returns the generation that searches use.
func Live(list []Generation) (Generation, error) {
	for _, g := range list {
		if g.Live {
			return g, nil
		}
	}
	return Generation{}, errBuilding
}
