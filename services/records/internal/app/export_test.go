package app

import "github.com/carekeep/carekeep/services/records/internal/search"

// Engine is what runs the service's searches.
func (a *App) Engine() *search.Engine { return a.search }
