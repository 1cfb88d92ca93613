package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/libs/access"
	"github.com/carekeep/carekeep/tests/internal/mesh"
)

// Every secret and every piece of patient data that any RPC takes is sent, in every field
// that is marked as one, in random spellings, valid and not; nothing of it turns up in an answer's error, a
// span, a service's log or the database's log. What is marked is found by reflection.
func TestDMD03_NoSecretReachesAnErrorALogOrATrace(t *testing.T) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var markers []string
	sent := 0
	for _, r := range allRPCs(t) {
		if !marked(r.method.Input(), map[protoreflect.FullName]bool{}) {
			continue
		}
		conn := dial(t, "gateway", r.service)
		for range 3 {
			fill := &filler{random: random}
			request := dynamicpb.NewMessage(r.method.Input())
			fill.message(request, 0)
			markers = append(markers, fill.markers...)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			err := r.send(ctx, conn, sign(t, mesh.Doctor(uuid.Must(uuid.NewV7()), r.service), time.Now()), request)
			cancel()
			if err == nil {
				continue
			}
			text := prototext.Format(status.Convert(err).Proto())
			for _, marker := range fill.markers {
				assert.NotContains(t, text, marker, "%s repeats what it was sent", r.full)
			}
			sent++
		}
	}
	require.Greater(t, sent, 50)
	// As bearer, as cookie and in a form that nobody reads.
	plain, err := suite.Client()
	require.NoError(t, err)
	for _, header := range []string{"Authorization", "Cookie", "X-Device-Token", "X-Csrf-Token"} {
		marker := mark(random)
		markers = append(markers, marker)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, suite.URL()+"/v1/self", nil)
		require.NoError(t, err)
		request.Header.Set(header, "Bearer cks_"+marker+"; __Host-session=cks_"+marker)
		answer, err := plain.Do(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
	}

	everybodyTold(t)
	for _, id := range collector.Traces() {
		for _, span := range collector.Trace(id) {
			contains(t, "a span of "+span.Service, span.String(), markers)
		}
	}
	logs := 0
	for _, folder := range []string{suite.Logs(), suite.PostgresLog()} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			logs++
			contains(t, path, string(raw), markers)
			return err
		}))
	}
	require.GreaterOrEqual(t, logs, 6, "five services and the database")
}

func contains(t *testing.T, what, text string, markers []string) {
	t.Helper()
	if !strings.Contains(text, markerHead) {
		return
	}
	for _, marker := range markers {
		if strings.Contains(text, marker) {
			t.Errorf("%s holds %s", what, marker)
		}
	}
}

// everybodyTold waits until every service has sent the spans of a request that began now.
func everybodyTold(t *testing.T) {
	t.Helper()
	begun := uint64(time.Now().UnixNano())
	charts(t, 1)
	require.NoError(t, as(t, seed.Smith).Call(t.Context(), http.MethodGet, "/v1/patients", nil, nil))
	require.Eventually(t, func() bool {
		heard := map[string]bool{}
		for _, id := range collector.Traces() {
			for _, span := range collector.Trace(id) {
				if span.GetStartTimeUnixNano() >= begun {
					heard[span.Service] = true
				}
			}
		}
		return heard["gateway"] && heard["auth"] && heard["records"] && heard["audit"]
	}, time.Minute, 100*time.Millisecond)
}

// Markers begin alike, so that a text without the beginning holds none.
const markerHead = "zq7x"

func mark(random *rand.Rand) string {
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(random.UintN(256))
	}
	return markerHead + hex.EncodeToString(raw[:])
}

// spellings are how a marker may be dressed up as what a field expects, or as what it does not.
var spellings = []string{"%", "%@example.org", "cks_%", "+1202555 %", `"%"`, "%\n%", "{\"password\":\"%\"}", "\u202e%\x00"}

// filler puts markers into the fields of a message that are marked as secret or as patient data.
type filler struct {
	random  *rand.Rand
	markers []string
}

func (f *filler) text() string {
	marker := mark(f.random)
	f.markers = append(f.markers, marker)
	return strings.ReplaceAll(spellings[f.random.IntN(len(spellings))], "%", marker)
}

func (f *filler) message(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case field.IsMap() || depth > 4:
		case field.Kind() == protoreflect.MessageKind && field.IsList():
			f.message(m.Mutable(field).List().AppendMutable().Message(), depth+1)
		case field.Kind() == protoreflect.MessageKind:
			f.message(m.Mutable(field).Message(), depth+1)
		case !sensitive(field) || rules(field).HasPattern() && f.random.IntN(2) == 0:
			f.plausible(m, field)
		case field.Kind() == protoreflect.StringKind && field.IsList():
			m.Mutable(field).List().Append(protoreflect.ValueOfString(f.text()))
		case field.Kind() == protoreflect.StringKind:
			m.Set(field, protoreflect.ValueOfString(f.text()))
		case field.Kind() == protoreflect.BytesKind && !field.IsList():
			m.Set(field, protoreflect.ValueOfBytes([]byte(f.text())))
		}
	}
}

// plausible fills a field with what its rules ask for, so that the request gets as far as it can.
func (f *filler) plausible(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	if field.Kind() == protoreflect.EnumKind && !field.IsList() {
		m.Set(field, protoreflect.ValueOfEnum(1))
	}
	if field.Kind() != protoreflect.StringKind || field.IsList() {
		return
	}
	text := "probe"
	switch rule := rules(field); {
	case field.Name() == "address": // of a client: each request from another, so that none is limited
		text = fmt.Sprintf("127.8.%d.%d", f.random.IntN(256), f.random.IntN(256))
	case rule.GetUuid():
		text = uuid.NewString()
	case rule.HasPattern():
		text = rapid.StringMatching(rule.GetPattern()).Example(f.random.Int())
	}
	m.Set(field, protoreflect.ValueOfString(text))
}

func rules(field protoreflect.FieldDescriptor) *validate.StringRules {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	return rules.GetString()
}

func sensitive(field protoreflect.FieldDescriptor) bool {
	rule := access.FieldRuleOf(field)
	return rule.GetSecret() || rule.GetPhi()
}

// marked reports whether a message has a field, at any depth, that is secret or patient data.
func marked(m protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[m.FullName()] {
		return false
	}
	seen[m.FullName()] = true
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		if sensitive(field) || field.Message() != nil && marked(field.Message(), seen) {
			return true
		}
	}
	return false
}
