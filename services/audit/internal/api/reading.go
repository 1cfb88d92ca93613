package api

import (
	"sync/atomic"
	"time"

	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
	"github.com/carekeep/carekeep/libs/evidence"
)

// stretch is how many entries a stream reads at once: with what gRPC buffers, all the memory that it takes.
const stretch = 256

// ReadingOptions are what ReadingService works with. All are required.
type ReadingOptions struct {
	Log  Log
	Keys Keys
	Sink evidence.Sink
	// Stall is how long a reader of a tail may take nothing.
	Stall time.Duration
	// Tails is how many tails this replica serves at once.
	Tails int
	// Stopping is closed when the replica stops: tails end then, so that it need not wait for them.
	Stopping <-chan struct{}
}

// Reading implements ReadingService.
type Reading struct {
	auditv1.UnimplementedReadingServiceServer
	ReadingOptions
	tails atomic.Int64
}

// NewReading returns the service.
func NewReading(o ReadingOptions) *Reading { return &Reading{ReadingOptions: o} }
