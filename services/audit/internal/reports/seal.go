package reports

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/evidence"
	"github.com/carekeep/carekeep/libs/transit"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// Keys is the part of transit that seals; *transit.Client has it.
type Keys interface {
	CreateKey(ctx context.Context, name, kind string) error
	Encrypt(ctx context.Context, name string, plain [][]byte) ([]string, error)
	Decrypt(ctx context.Context, name string, sealed []string) ([][]byte, error)
}

// sealer keeps what people wrote under transit's key audit-reports. What is sealed says of which report and step it is, so
// that a value copied to another row does not open there.
type sealer struct {
	keys Keys
	made atomic.Bool
}

var errBroken = errs.New(errs.KindDataLoss, evidence.ReasonSealBroken, "a stored value does not belong where it was found")

func (s *sealer) seal(ctx context.Context, id uuid.UUID, version int32, plain []byte) (string, error) {
	if !s.made.Load() {
		// A key that exists stays as it is.
		if err := s.keys.CreateKey(ctx, transit.AuditReports, transit.AES256); err != nil {
			return "", fmt.Errorf("make the key %s: %w", transit.AuditReports, err)
		}
		s.made.Store(true)
	}
	sealed, err := s.keys.Encrypt(ctx, transit.AuditReports, [][]byte{append(place(id, version), plain...)})
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return sealed[0], nil
}

func (s *sealer) content(ctx context.Context, id uuid.UUID, content *auditv1.ReportContent) (string, error) {
	plain, err := proto.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode report: %w", err)
	}
	return s.seal(ctx, id, receipt, plain)
}

// text seals what was written in a step; nothing stays nothing.
func (s *sealer) text(ctx context.Context, id uuid.UUID, version int32, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	return s.seal(ctx, id, version, []byte(text))
}

// open returns what the reporter wrote, and the text of each step.
func (s *sealer) open(ctx context.Context, report store.Report, steps []store.ReportStep) (*auditv1.ReportContent, []string, error) {
	sealed := []string{report.Sealed}
	for _, step := range steps {
		if step.Sealed != "" {
			sealed = append(sealed, step.Sealed)
		}
	}
	opened, err := s.keys.Decrypt(ctx, transit.AuditReports, sealed)
	if err != nil {
		return nil, nil, fmt.Errorf("open report: %w", err)
	}
	plain, ok := bytes.CutPrefix(opened[0], place(report.ID, receipt))
	content := new(auditv1.ReportContent)
	if !ok || proto.Unmarshal(plain, content) != nil {
		return nil, nil, errBroken
	}
	texts, rest := make([]string, len(steps)), opened[1:]
	for i, step := range steps {
		if step.Sealed == "" {
			continue
		}
		if plain, ok = bytes.CutPrefix(rest[0], place(step.Report, step.Version)); !ok {
			return nil, nil, errBroken
		}
		texts[i], rest = string(plain), rest[1:]
	}
	return content, texts, nil
}

// place is where a sealed value belongs.
func place(id uuid.UUID, version int32) []byte {
	return binary.BigEndian.AppendUint32(id[:], uint32(version)) // versions are 1 to 500
}
