package server

import (
	"context"

	"google.golang.org/grpc"
)

// stream passes each message through the hooks of the chain.
type stream struct {
	grpc.ServerStream
	ctx   context.Context
	call  *call
	chain *chain
}

// Context is the one that the chain made: with caller, recorder and deadline.
func (s *stream) Context() context.Context { return s.ctx }

// RecvMsg hands a message to the handler once it passed validation.
func (s *stream) RecvMsg(m any) error {
	if err := interruptible(s.ctx, func() error { return s.ServerStream.RecvMsg(m) }); err != nil {
		return err
	}
	return s.chain.receive(s.ctx, s.call, m)
}

// SendMsg releases a message once it is redacted and there is evidence for it.
func (s *stream) SendMsg(m any) error {
	if err := s.chain.send(s.ctx, s.call, m); err != nil {
		return err
	}
	return interruptible(s.ctx, func() error { return s.ServerStream.SendMsg(m) })
}

// interruptible returns when the deadline of the rule passes, although gRPC waits
// on the connection's own context. What is left behind ends with the stream, which
// gRPC closes as soon as the handler returns; the message must not be used again.
func interruptible(ctx context.Context, wait func() error) error {
	done := make(chan error, 1)
	go func() { done <- wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// healthStream is a health watch that ends when the server drains: it would last
// as long as the client, and hold the shutdown up.
type healthStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *healthStream) Context() context.Context { return s.ctx }

func (s *Server) watchHealth(srv any, ss grpc.ServerStream, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	go func() {
		select {
		case <-s.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	return next(srv, &healthStream{ServerStream: ss, ctx: ctx})
}
