package server

import "context"

// visit runs Options.Enter and Leave around what a caller asks for.
func (s *Server) visit(next handler) handler {
	return func(ctx context.Context, c *call) error {
		if s.enter == nil || c.caller == nil {
			return next(ctx, c)
		}
		ctx, err := s.enter(ctx, c.caller)
		if err != nil {
			return err
		}
		err = next(ctx, c)
		if refusal := s.leave(ctx); err == nil {
			err = refusal
		}
		return err
	}
}

// parting lets a message out once Leave has nothing against it.
func (s *Server) parting(ctx context.Context, c *call, _ any) error {
	if s.leave == nil || c.caller == nil {
		return nil
	}
	return s.leave(ctx)
}
