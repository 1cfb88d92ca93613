package app

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/carekeep/carekeep/services/records/internal/search"
)

// Engine is what runs the service's searches.
func (a *App) Engine() *search.Engine { return a.search }

// LookForOverdue runs once what the service does every minute.
func LookForOverdue(a *App, ctx context.Context) error { return a.glass.Overdue(ctx) } //nolint:revive // the app comes first

// PurgeDue runs once what the service does every day for a practice.
func PurgeDue(a *App, ctx context.Context, practice uuid.UUID) error { //nolint:revive // the app comes first
	return a.life.PurgeDue(ctx, practice, 24*time.Hour)
}
