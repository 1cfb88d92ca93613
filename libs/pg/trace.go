package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// redactingTracer traces statements without a value in them: no parameters, and
// of errors only the code, for Postgres repeats values in its messages
// (`invalid input syntax for type date: "…"`).
type redactingTracer struct{ *otelpgx.Tracer }

func newTracer() redactingTracer {
	return redactingTracer{otelpgx.NewTracer(otelpgx.WithDisableConnectionDetailsInAttributes())}
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t redactingTracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	data.Err = redact(data.Err)
	t.Tracer.TraceQueryEnd(ctx, conn, data)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (t redactingTracer) TraceBatchQuery(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	data.Err = redact(data.Err)
	t.Tracer.TraceBatchQuery(ctx, conn, data)
}

// TraceBatchEnd implements pgx.BatchTracer.
func (t redactingTracer) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	data.Err = redact(data.Err)
	t.Tracer.TraceBatchEnd(ctx, conn, data)
}

// TraceCopyFromEnd implements pgx.CopyFromTracer.
func (t redactingTracer) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromEndData) {
	data.Err = redact(data.Err)
	t.Tracer.TraceCopyFromEnd(ctx, conn, data)
}

// TracePrepareEnd implements pgx.PrepareTracer.
func (t redactingTracer) TracePrepareEnd(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareEndData) {
	data.Err = redact(data.Err)
	t.Tracer.TracePrepareEnd(ctx, conn, data)
}

// redact keeps what tells the cause without the data: the code of an SQL error,
// that a context ended or no row was there, and of anything else the type.
func redact(err error) error {
	var sql *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &sql):
		return &pgconn.PgError{Severity: sql.Severity, Code: sql.Code, Message: "SQL error"}
	case errors.Is(err, pgx.ErrNoRows):
		return pgx.ErrNoRows
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	return fmt.Errorf("database error of type %T", err)
}
