package outcome_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
)

type read struct {
	Type  string `json:"resourceType"`
	Issue []struct {
		Severity, Code, Diagnostics string
		Details                     struct {
			Coding []struct{ System, Code string }
			Text   string
		}
		Expression []string
	}
}

func written(t *testing.T, err error) (*httptest.ResponseRecorder, read) {
	t.Helper()
	w := httptest.NewRecorder()
	for _, stale := range []string{"ETag", "Location", "Content-Location", "Content-Length"} {
		w.Header().Set(stale, "1")
	}
	outcome.Write(w, err)
	var o read
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &o))
	require.Equal(t, "OperationOutcome", o.Type)
	require.NotEmpty(t, o.Issue)
	for _, stale := range []string{"ETag", "Location", "Content-Location", "Content-Length"} {
		require.Empty(t, w.Header().Get(stale), "an error is of no resource")
	}
	require.Equal(t, "application/fhir+json; charset=utf-8", w.Header().Get("Content-Type"))
	return w, o
}

func TestKindAndReasonDecideTheStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err            error
		status         int
		code, severity string
	}{
		{errs.New(errs.KindInvalid, "X", ""), 400, "invalid", "error"},
		{errs.New(errs.KindUnauthenticated, "X", ""), 401, "login", "error"},
		{errs.New(errs.KindDenied, "X", ""), 403, "forbidden", "error"},
		{errs.New(errs.KindNotFound, "X", ""), 404, "not-found", "error"},
		{errs.New(errs.KindConflict, "X", ""), 409, "conflict", "error"},
		{errs.New(errs.KindPrecondition, "X", ""), 422, "business-rule", "error"},
		{errs.New(errs.KindLimited, "X", ""), 429, "throttled", "error"},
		{errs.New(errs.KindUnavailable, "X", ""), 503, "transient", "fatal"},
		{errs.New(errs.KindDataLoss, "X", ""), 500, "exception", "fatal"},
		{errs.New(errs.KindNotFound, outcome.ReasonGone, ""), 410, "deleted", "error"},
		{errs.New(errs.KindConflict, outcome.ReasonStale, ""), 412, "conflict", "error"},
		{errs.New(errs.KindPrecondition, outcome.ReasonMatch, ""), 428, "required", "error"},
		{errs.New(errs.KindNotFound, outcome.ReasonNotPut, ""), 405, "not-found", "error"},
		{errs.New(errs.KindInvalid, outcome.ReasonType, ""), 415, "not-supported", "error"},
		{errs.New(errs.KindInvalid, outcome.ReasonAccept, ""), 406, "not-supported", "error"},
		{errs.New(errs.KindUnimplemented, outcome.ReasonMethod, ""), 405, "not-supported", "error"},
	} {
		w, o := written(t, c.err)
		require.Equal(t, c.status, w.Code, "%v", c.err)
		require.Equal(t, c.code, o.Issue[0].Code)
		require.Equal(t, c.severity, o.Issue[0].Severity)
		require.Equal(t, c.status == http.StatusUnauthorized, w.Header().Get("WWW-Authenticate") != "")
	}
}

// What nobody classified, and the cause of what somebody did, stay inside.
func TestCausesStayInside(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("password=hunter2"),
		errs.Wrap(errors.New("password=hunter2"), errs.KindUnavailable, "DEPENDENCY_UNAVAILABLE", "try again"),
	} {
		w, _ := written(t, err)
		require.GreaterOrEqual(t, w.Code, 500)
		require.NotContains(t, w.Body.String(), "hunter2")
	}
}

func TestEachFieldIsAnIssue(t *testing.T) {
	t.Parallel()
	w, o := written(t, errs.New(errs.KindInvalid, "FORM", `<b>two</b>`).WithField("Patient.name", "one").WithField("Patient.id", "two").WithRetry(1500*time.Millisecond))
	require.Len(t, o.Issue, 2)
	require.Equal(t, []string{"Patient.name"}, o.Issue[0].Expression)
	require.Equal(t, "two", o.Issue[1].Diagnostics)
	require.Equal(t, "FORM", o.Issue[1].Details.Coding[0].Code)
	require.Equal(t, "urn:carekeep:reason", o.Issue[1].Details.Coding[0].System)
	require.NotContains(t, w.Body.String(), "<b>", "harmless in a page")
	require.Equal(t, "2", w.Header().Get("Retry-After"), "rounded up")
}
