package demo

import (
	"context"
	"fmt"

	"github.com/carekeep/carekeep/deploy/local/seed"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// importPatients brings every bundle in as the practice's administrator would
// who moves to carekeep: for dr.smith, in the name of admin.riverside.
func (s *story) importPatients(ctx context.Context) (string, error) {
	var err error
	if s.bundles, err = bundles(s.Bundles); err != nil {
		return "", err
	}
	if s.chart, err = protagonist(s.bundles); err != nil {
		return "", err
	}
	admin, err := s.as(ctx, seed.Admin)
	if err != nil {
		return "", err
	}
	var total recordsv1.ImportProgress
	var size, expected int64
	for _, b := range s.bundles {
		entries := int64(0)
		if err := b.entries(func(e entry) error { entries++; size += int64(len(e.raw)); return nil }); err != nil {
			return "", err
		}
		expected += entries
		file, err := b.open()
		if err != nil {
			return "", fmt.Errorf("bundle: %w", err)
		}
		done, err := admin.Import(ctx, file, s.People.Person(seed.Smith).User, nil)
		_ = file.Close() // only read from
		if err != nil {
			return "", fmt.Errorf("%s: %w", b.name, err)
		}
		if len(done.Problems) > 0 {
			return "", fmt.Errorf("%s: entry %d was refused: %s", b.name, done.Problems[0].GetIndex(), done.Problems[0].GetMessage())
		}
		total.Created += done.Total.GetCreated()
		total.Updated += done.Total.GetUpdated()
		total.Unchanged += done.Total.GetUnchanged()
	}
	if got := total.Created + total.Updated + total.Unchanged; got != expected {
		return "", fmt.Errorf("%d of %d entries are accounted for", got, expected)
	}
	return fmt.Sprintf("%d bundles, %d resources, %s: %d created, %d updated, %d there already, none refused",
		len(s.bundles), expected, amount(size), total.Created, total.Updated, total.Unchanged), nil
}
