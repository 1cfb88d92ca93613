package app

import (
	"context"

	"github.com/carekeep/carekeep/services/records/internal/search"
)

// Engine is what runs the service's searches.
func (a *App) Engine() *search.Engine { return a.search }

// LookForOverdue runs once what the service does every minute.
func LookForOverdue(a *App, ctx context.Context) error { return a.glass.Overdue(ctx) } //nolint:revive // the app comes first
