package telemetry

// Names of attributes in logs, traces and metrics. They stand here and nowhere
// else, so that a search for one finds its meaning. None carries patient data.
const (
	KeyTraceID    = "trace_id"
	KeySpanID     = "span_id"
	KeyService    = "service"
	KeyMethod     = "method"
	KeyPeer       = "peer"
	KeyCode       = "code"
	KeyReason     = "reason"
	KeyError      = "error"
	KeyStack      = "stack"
	KeyDependency = "dependency"
	KeyAddress    = "address"
	KeyEventID    = "event_id"
	KeySeq        = "seq"   // of an entry in the audit log
	KeySize       = "size"  // of the audit log, in entries
	KeyCount      = "count" // of entries
	// Of a REST request: the pattern that matched, the HTTP status, the time it took.
	KeyRoute    = "route"
	KeyStatus   = "status"
	KeyDuration = "duration_ms"
)
