package server

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"

	"github.com/carekeep/carekeep/libs/errs"
)

func TestALogRepeatsNoValueThatTheDatabaseQuotes(t *testing.T) {
	quoted := &pgconn.PgError{Severity: "ERROR", Code: "22P02", Message: `invalid input syntax for type uuid: "999-12-3456"`}
	text := loggable(errs.Wrap(fmt.Errorf("read chart: %w", quoted), errs.KindInternal, "READ", "internal error"))
	assert.NotContains(t, text, "999-12-3456")
	assert.Contains(t, text, "SQLSTATE 22P02")
	assert.Contains(t, text, "read chart")
	assert.Equal(t, "plain", loggable(errors.New("plain")))
}
