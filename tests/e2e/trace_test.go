package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/generator"
	"github.com/carekeep/carekeep/deploy/local/seed"
	"github.com/carekeep/carekeep/tests/internal/otlp"
)

// One trace runs from the REST call through the gateway, auth, records and
// PostgreSQL to the append of its event in the audit service, and none of its
// spans holds patient data.
func TestOneTraceRunsFromRESTToTheAuditAppend(t *testing.T) {
	charts(t, 3)
	patient := generator.Patient(population, 2)
	before := map[string]bool{}
	for _, id := range collector.Traces() {
		before[id] = true
	}
	answer, err := as(t, seed.Smith).Send(t.Context(), http.MethodGet, "/v1/patients/"+patient.ID.String(), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Status, string(answer.Body))

	// Each service sends its spans when it likes, so the whole trace is waited for.
	var chain, all []otlp.Span
	require.Eventually(t, func() bool {
		for _, id := range collector.Traces() {
			if before[id] {
				continue
			}
			all = collector.Trace(id)
			chain = appendToRoot(all)
			if chain != nil && has(all, "auth", "Admit") && has(all, "records", "pg.Access") {
				return true
			}
		}
		return false
	}, time.Minute, 100*time.Millisecond, "no trace holds admission, access and the append of the event that a REST call to records caused")

	services := make([]string, 0, len(chain))
	for _, span := range chain {
		services = append(services, span.Service)
	}
	assert.Equal(t, "audit", services[0], "the chain of parents starts at the append")
	assert.Contains(t, services, "records")
	assert.Equal(t, "gateway", services[len(services)-1], "and ends at the REST call")
	for _, span := range all {
		text := span.String()
		for _, secret := range []string{patient.FamilyName, patient.SSN, patient.Phone, patient.BirthDate} {
			assert.NotContains(t, text, secret, "span %s of %s", span.GetName(), span.Service)
		}
	}
}

// appendToRoot finds the append of records' GetPatient event and walks its
// parents up to the root; nil while any of it has not arrived.
func appendToRoot(spans []otlp.Span) []otlp.Span {
	byID := map[string]otlp.Span{}
	for _, span := range spans {
		byID[string(span.GetSpanId())] = span
	}
	for _, span := range spans {
		if span.Service != "audit" || !strings.Contains(strings.ToLower(span.GetName()), "append") {
			continue
		}
		chain := []otlp.Span{span}
		throughRecords := false
		for at := span; len(at.GetParentSpanId()) > 0; {
			parent, ok := byID[string(at.GetParentSpanId())]
			if !ok {
				chain = nil
				break
			}
			throughRecords = throughRecords || parent.Service == "records"
			chain, at = append(chain, parent), parent
		}
		if chain != nil && throughRecords {
			return chain
		}
	}
	return nil
}

func has(spans []otlp.Span, service, part string) bool {
	return slices.ContainsFunc(spans, func(span otlp.Span) bool {
		return span.Service == service && strings.Contains(span.GetName(), part)
	})
}
