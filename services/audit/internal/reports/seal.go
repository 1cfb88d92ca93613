package reports

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/services/audit/internal/seal"
	"github.com/carekeep/carekeep/services/audit/internal/store"
)

// sealer keeps what people wrote under transit's key audit-reports. What is sealed says of which report and step it is, so
// that a value copied to another row does not open there.
type sealer struct{ *seal.Sealer }

func (s *sealer) seal(ctx context.Context, id uuid.UUID, version int32, plain []byte) (string, error) {
	sealed, err := s.Seal(ctx, []seal.Value{{Place: place(id, version), Plain: plain}})
	if err != nil {
		return "", err
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
	sealed := []seal.Sealed{{Place: place(report.ID, receipt), Text: report.Sealed}}
	for _, step := range steps {
		sealed = append(sealed, seal.Sealed{Place: place(step.Report, step.Version), Text: step.Sealed})
	}
	opened, err := s.Open(ctx, sealed)
	if err != nil {
		return nil, nil, fmt.Errorf("open report: %w", err)
	}
	content := new(auditv1.ReportContent)
	if proto.Unmarshal(opened[0], content) != nil {
		return nil, nil, seal.ErrBroken
	}
	texts := make([]string, len(steps))
	for i := range steps {
		texts[i] = string(opened[i+1])
	}
	return content, texts, nil
}

// place is where a sealed value belongs.
func place(id uuid.UUID, version int32) []byte {
	return binary.BigEndian.AppendUint32(id[:], uint32(version)) // versions are 1 to 500
}
