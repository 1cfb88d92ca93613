package server

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/telemetry"
)

// recovery turns a panic into an internal error. The stack is logged; the value is
// not, unless the runtime made it, for it may hold what the request held.
func (s *Server) recovery(next handler) handler {
	return func(ctx context.Context, c *call) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			what := fmt.Sprintf("a %T", v)
			if e, ok := v.(runtime.Error); ok {
				what = e.Error()
			}
			s.log.ErrorContext(ctx, "handler panicked", telemetry.KeyMethod, c.method.name,
				telemetry.KeyError, what, telemetry.KeyStack, string(debug.Stack()))
			err = errs.New(errs.KindInternal, "PANIC", "internal error")
		}()
		return next(ctx, c)
	}
}

// deadline bounds the RPC by its rule; a client that asked for less gets less.
func deadline(next handler) handler {
	return func(ctx context.Context, c *call) error {
		ctx, cancel := context.WithTimeout(ctx, c.method.timeout)
		defer cancel()
		return next(ctx, c)
	}
}
