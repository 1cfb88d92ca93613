package faults

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/deploy/local/api"
	"github.com/carekeep/carekeep/deploy/local/generator"
	localseed "github.com/carekeep/carekeep/deploy/local/seed"
	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

const (
	known  = 20  // patients that are there before anything is killed, for the readers
	killed = 150 // patients of the import that is cut off
)

// Every part dies by SIGKILL in the middle of an import, under readers. After
// each restart the import is sent again until it goes through. In the end every
// resource is there once, in one version, with one entry for its import, and the
// log has at least one entry for every resource that a reader was given.
func TestDH16_KillingAnyPartDuringAnImportLosesNothing(t *testing.T) {
	suite, users := start(t)
	doctor, err := users.As(t.Context(), localseed.Smith)
	require.NoError(t, err)
	done, err := doctor.Import(t.Context(), bytes.NewReader(bundle(t, 0, known)), "", nil)
	require.NoError(t, err)
	require.Empty(t, done.Problems)

	readers := startReaders(t, doctor)
	first := known
	for _, victim := range []string{"records", "audit", "broker", "postgres", "transit", "auth", "gateway", "backup"} {
		content := bundle(t, first, killed)
		at, acknowledged := cutOff(t, doctor, content, func() { suite.Kill(victim) })
		assert.Positive(t, at, "%s was killed before the import began", victim)
		assert.Less(t, at, int64(killed*generator.PerPatient), "%s was killed after the import was done", victim)
		t.Logf("%s was killed after %d acknowledged resources; the import came to %d", victim, at, acknowledged)
		total := again(t, suite.WaitReady, doctor, content)
		created, seen := total.GetCreated(), total.GetCreated()+total.GetUnchanged()
		assert.EqualValues(t, killed*generator.PerPatient, seen, "after %s died, every entry is stored", victim)
		assert.LessOrEqual(t, created, int64(killed*generator.PerPatient)-acknowledged, "what was acknowledged before %s died is still there", victim)
		assert.Zero(t, total.GetUpdated(), "nothing was stored twice")
		first += killed
	}
	returned := readers.stop()
	delivered(t, suite)

	verify(t, suite)
	entries := logged(t, suite)
	all := documents(t, suite)
	wanted := 0
	for i := range first {
		patient := generator.Patient(seed, i)
		for _, resource := range generator.Resources(patient) {
			name := resource.Type + "/" + resource.ID.String()
			assert.Equal(t, stored{version: 1}, all[name], name)
			assert.Equal(t, 1, entries[accessv1.Action_ACTION_IMPORT][entryOf(patient, resource)], "entries of the import of %s", name)
			wanted++
		}
	}
	assert.Len(t, all, wanted, "nothing is there that was not sent")
	require.NotEmpty(t, returned)
	for i, times := range returned {
		patient := generator.Patient(seed, i)
		entry := entryOf(patient, generator.Resources(patient)[0])
		assert.GreaterOrEqual(t, entries[accessv1.Action_ACTION_READ][entry], times, "patient %d was returned %d times", i, times)
	}
}

// cutOff imports and kills at the first progress. It returns how much was
// acknowledged at that moment and until the import ended. That it fails is
// expected, not required: a part may die without the import noticing.
func cutOff(t *testing.T, doctor *api.Client, content []byte, kill func()) (at, acknowledged int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := doctor.Import(ctx, bytes.NewReader(content), "", func(p *recordsv1.ImportProgress) {
		acknowledged = p.GetCreated()
		if at == 0 {
			at = acknowledged
			kill()
		}
	})
	if err != nil {
		t.Logf("the import ended: %v", err)
	}
	return at, acknowledged
}

// again sends the bundle until an import goes through to its end.
func again(t *testing.T, ready func(context.Context) error, doctor *api.Client, content []byte) *recordsv1.ImportProgress {
	t.Helper()
	var total *recordsv1.ImportProgress
	require.NoError(t, ready(t.Context()))
	require.Eventually(t, func() bool {
		done, err := doctor.Import(t.Context(), bytes.NewReader(content), "", nil)
		if err != nil {
			t.Logf("sent again: %v", err)
			return false
		}
		if len(done.Problems) > 0 {
			t.Logf("sent again: %d problems, the first: %s", len(done.Problems), done.Problems[0].GetReason())
			return false
		}
		total = done.Total
		return true
	}, patience, often)
	return total
}

// readers read known patients all the time and note what they were given.
type readers struct {
	stopped atomic.Bool
	work    sync.WaitGroup
	mu      sync.Mutex
	got     map[int]int // by number of the patient
}

func startReaders(t *testing.T, doctor *api.Client) *readers {
	r := &readers{got: map[int]int{}}
	for n := range 2 {
		r.work.Go(func() {
			for i := n; !r.stopped.Load() && t.Context().Err() == nil; i++ {
				id := generator.Patient(seed, i%known).ID.String()
				answer, err := doctor.Send(t.Context(), http.MethodGet, "/v1/fhir/Patient/"+id, nil)
				if err == nil && answer.Status == http.StatusOK {
					r.mu.Lock()
					r.got[i%known]++
					r.mu.Unlock()
					continue
				}
				select { // a part is down: ask again soon, without a busy loop
				case <-time.After(often):
				case <-t.Context().Done():
				}
			}
		})
	}
	return r
}

func (r *readers) stop() map[int]int {
	r.stopped.Store(true)
	r.work.Wait()
	return r.got
}

// A broker that is down stops nobody from giving care, and loses no event.
func TestDH16_ReadsAndWritesGoOnWhileTheBrokerIsDown(t *testing.T) {
	suite, users := start(t)
	doctor, err := users.As(t.Context(), localseed.Smith)
	require.NoError(t, err)
	_, err = doctor.Import(t.Context(), bytes.NewReader(bundle(t, 0, 3)), "", nil)
	require.NoError(t, err)
	delivered(t, suite)
	before := logged(t, suite)

	suite.Stop("broker")
	patient := generator.Patient(seed, 1)
	chart := entryOf(patient, generator.Resources(patient)[0])
	const times = 25
	for n := range times {
		require.NoError(t, doctor.Call(t.Context(), http.MethodGet, "/v1/patients/"+patient.ID.String(), nil, &recordsv1.Patient{}), "read %d", n)
		require.NoError(t, doctor.Call(t.Context(), http.MethodPost, "/v1/patients/"+patient.ID.String()+"/notes",
			&recordsv1.Note{Title: fmt.Sprintf("Visit %d", n), Text: "Written while the broker was down."}, &recordsv1.Note{}), "write %d", n)
	}
	assert.Equal(t, before, logged(t, suite), "nothing can arrive while the broker is down")

	require.NoError(t, suite.Resume(t.Context(), "broker"))
	delivered(t, suite)
	after := logged(t, suite)
	reads, writes := after[accessv1.Action_ACTION_READ][chart]-before[accessv1.Action_ACTION_READ][chart], 0
	for name, count := range after[accessv1.Action_ACTION_CREATE] {
		writes += count - before[accessv1.Action_ACTION_CREATE][name]
	}
	assert.Equal(t, times, reads, "each read has one entry")
	assert.Equal(t, times, writes, "each write has one entry")
}
