package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	auditv1 "github.com/carekeep/carekeep/gen/carekeep/audit/v1"
)

// Class says how long an entry is kept at least, counted from its append.
type Class string

const (
	// ClassEntries is kept until the later of 2,555 days and seven calendar years (claims DH-47, DMD-32).
	ClassEntries Class = "entries"
	// ClassEvents, security events that name no patient, for 365 days (claim DH-48).
	ClassEvents Class = "events"
)

// ClassOf returns the class of an event, "" for what is kept forever. The database has the same rule
// for its columns: security events that name no patient are a closed list.
func ClassOf(e *auditv1.Event) Class {
	switch e.GetAction() {
	case accessv1.Action_ACTION_RETAIN:
		return ""
	case accessv1.Action_ACTION_ADMIT, accessv1.Action_ACTION_BLOCK_CHANGE, accessv1.Action_ACTION_ALERT:
		if id, err := uuid.Parse(e.GetPatientId()); e.GetPatientId() == "" || err == nil && id == uuid.Nil {
			return ClassEvents
		}
	}
	return ClassEntries
}

const (
	entryYears = 7
	entryDays  = 2555
	eventDays  = 365
)

// KeptUntil returns when the shortest lawful retention of what was appended at a time ends. Who
// appended on 29 February waits until 1 March begins where the last year has none. It never
// decreases, so the newest of several entries speaks for all.
func (c Class) KeptUntil(appended time.Time) time.Time {
	appended = appended.UTC()
	if c == ClassEvents {
		return appended.Add(eventDays * 24 * time.Hour)
	}
	years := appended.AddDate(entryYears, 0, 0)
	if years.Day() != appended.Day() {
		years = time.Date(years.Year(), years.Month(), years.Day(), 0, 0, 0, 0, time.UTC)
	}
	if days := appended.Add(entryDays * 24 * time.Hour); days.After(years) {
		return days
	}
	return years
}

// LetGo is what an entry says about older ones that retention deletes: it is in the log before
// they go, and alone makes a verifier accept that they are gone.
type LetGo struct {
	Class       Class
	Cutoff      time.Time // all of them were appended before; UTC, microseconds
	First, Last int64     // their least and greatest number
	Count       int64
	Digest      [sha256.Size]byte // see [Gone]
}

const letGoFormat = "carekeep-retention/1 %s before %s first %d last %d count %d sha256 %x"

// Text returns what the event carries. The database takes this form and no other.
func (l LetGo) Text() string {
	return fmt.Sprintf(letGoFormat, l.Class, l.Cutoff.UTC().Format(timeFormat), l.First, l.Last, l.Count, l.Digest)
}

// ParseLetGo reads such a text; false where it is anything else.
func ParseLetGo(text string) (LetGo, bool) {
	var l LetGo
	var cutoff string
	var digest []byte
	if _, err := fmt.Sscanf(text, letGoFormat, &l.Class, &cutoff, &l.First, &l.Last, &l.Count, &digest); err != nil {
		return LetGo{}, false
	}
	var err error
	if l.Cutoff, err = time.Parse(timeFormat, cutoff); err != nil || len(digest) != len(l.Digest) {
		return LetGo{}, false
	}
	l.Digest = [sha256.Size]byte(digest)
	return l, l.Text() == text && (l.Class == ClassEntries || l.Class == ClassEvents)
}

// letGoOf returns what an event says about entries that were let go, nil where it says nothing.
// Only the log itself may say so.
func letGoOf(e *auditv1.Event) *LetGo {
	if e.GetService() != accessv1.Service_SERVICE_AUDIT || e.GetAction() != accessv1.Action_ACTION_RETAIN || e.GetOutcome() != auditv1.Outcome_OUTCOME_OK {
		return nil
	}
	l, ok := ParseLetGo(e.GetRetention())
	if !ok {
		return nil
	}
	return &l
}

// Gone collects entries that one LetGo is about, by number. The digest is SHA-256 over number
// (8 bytes, big-endian) and leaf hash of each.
type Gone struct {
	First, Last, Count int64
	digest             hash.Hash
}

// Add takes the next one.
func (g *Gone) Add(seq int64, leaf tlog.Hash) {
	if g.Count == 0 {
		g.First, g.digest = seq, sha256.New()
	}
	g.Last = seq
	g.Count++
	g.digest.Write(binary.BigEndian.AppendUint64(nil, uint64(seq)))
	g.digest.Write(leaf[:])
}

// LetGo is what an announcement says about them. There must be one at least.
func (g *Gone) LetGo(class Class, cutoff time.Time) LetGo {
	return LetGo{Class: class, Cutoff: cutoff, First: g.First, Last: g.Last, Count: g.Count, Digest: [sha256.Size]byte(g.digest.Sum(nil))}
}

// are reports whether these are the entries of which l speaks.
func (g *Gone) are(l *LetGo) bool {
	return g.LetGo(l.Class, l.Cutoff) == *l
}
