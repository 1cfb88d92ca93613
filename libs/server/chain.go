package server

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/evidence"
	"google.golang.org/grpc"
)

// stages is the one list that unary and stream RPCs run through, outermost first.
func (s *Server) stages() []stage {
	return []stage{
		// Outside everything, so that whatever happens within, denials and panics
		// included, is recorded, and no error leaves untranslated.
		{name: "audit", wrap: s.audit, sending: s.withhold},
		// Next, so that a panic in any check below is an answer and an event.
		{name: "recovery", wrap: s.recovery},
		// Before the first thing that may wait.
		{name: "deadline", wrap: deadline},
		// The service that calls comes before the user it calls for: a token in the
		// hands of the wrong service is not even looked at.
		{name: "peer", wrap: s.peer},
		{name: "caller", wrap: s.identify},
		// Needs the caller.
		{name: "access", wrap: permit},
		// After access: it may look at the caller's practice.
		{name: "visit", wrap: s.visit, sending: s.parting},
		// After access: somebody who may not call learns nothing about what a request must hold.
		{name: "validation", received: s.validate},
		// Next to the handler: what it returns is cut before any other stage sees it.
		{name: "redaction", sending: redact},
	}
}

// stage is one link. wrap goes around the whole RPC, received sees each request
// message on its way in, sending each response message on its way out.
type stage struct {
	name     string
	wrap     func(next handler) handler
	received func(ctx context.Context, c *call, message any) error
	sending  func(ctx context.Context, c *call, message any) error
}

type handler func(ctx context.Context, c *call) error

// call is one RPC on its way through the chain.
type call struct {
	method    *method
	streaming bool
	recorder  *evidence.Recorder
	caller    *caller.Caller // nil where the rule is anonymous
	// run calls the service's handler, with its messages passing the hooks.
	run handler

	mu      sync.Mutex
	refusal error
}

// refuse keeps the first message that a hook refused: a stream handler that goes
// on regardless fails all the same.
func (c *call) refuse(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == nil {
		c.refusal = err
	}
	return err
}

func (c *call) refused() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusal
}

// chain is the list, composed once.
type chain struct {
	entry    handler
	received []func(ctx context.Context, c *call, message any) error
	sending  []func(ctx context.Context, c *call, message any) error
}

func newChain(stages []stage) chain {
	ch := chain{entry: func(ctx context.Context, c *call) error {
		err := c.run(ctx, c)
		if refusal := c.refused(); refusal != nil {
			return refusal
		}
		return err
	}}
	for _, st := range slices.Backward(stages) {
		if st.wrap != nil {
			ch.entry = st.wrap(ch.entry)
		}
		// Responses pass from the handler outwards, requests the other way.
		if st.sending != nil {
			ch.sending = append(ch.sending, st.sending)
		}
		if st.received != nil {
			ch.received = slices.Insert(ch.received, 0, st.received)
		}
	}
	return ch
}

func (ch *chain) receive(ctx context.Context, c *call, message any) error {
	for _, hook := range ch.received {
		if err := hook(ctx, c, message); err != nil {
			return c.refuse(err)
		}
	}
	return nil
}

func (ch *chain) send(ctx context.Context, c *call, message any) error {
	for _, hook := range ch.sending {
		if err := hook(ctx, c, message); err != nil {
			return c.refuse(err)
		}
	}
	return nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		return next(ctx, req)
	}
	return s.through(ctx, info.FullMethod, req, next)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, healthPrefix) {
		return s.watchHealth(srv, ss, next)
	}
	c := s.newCall(info.FullMethod)
	c.streaming = true
	c.run = func(ctx context.Context, c *call) error {
		return next(srv, &stream{ServerStream: ss, ctx: ctx, call: c, chain: &s.chain})
	}
	return s.chain.entry(evidence.With(ss.Context(), c.recorder), c)
}

func (s *Server) newCall(fullMethod string) *call {
	m := s.methodOf(fullMethod)
	c := &call{method: m, recorder: evidence.New(s.service, m.name, m.rule.GetAction(), s.now)}
	counted := m.name
	if s.methods[m.name] == nil {
		counted = "" // whoever calls chooses the name
	}
	s.calls.count(c.recorder.Began(), counted)
	return c
}
