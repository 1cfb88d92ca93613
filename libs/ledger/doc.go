// Package ledger holds the proofs of the audit log: how an event becomes a leaf,
// how leaves become a tree with signed checkpoints, how the log is written to a
// file, and how that file is verified offline. It is pure: no database, no
// network, no key. It does not decide what is recorded (libs/evidence) or where
// it is stored (services/audit).
//
// # Leaf
//
// An event is committed to with a salt of 32 random bytes:
//
//	commitment = HMAC-SHA-256(key = salt, message = event bytes)
//	leaf hash  = SHA-256(0x00 || commitment)                  (RFC 6962, 2.1)
//
// A leaf hash says nothing about its event to somebody who lacks the salt, and
// when salt and event are destroyed the proofs of every other entry still hold.
//
// # Tree and tiles
//
// The tree is that of RFC 6962. A tile is 256 consecutive hashes of one level,
// where level n holds the roots of complete subtrees of 256^n leaves (tiles of
// height 8 in golang.org/x/mod/sumdb/tlog). Only complete tiles are kept; the
// rest of the right edge follows from the tiles and leaves below it.
//
// # Checkpoint
//
// A checkpoint is a signed note (C2SP tlog-checkpoint) with one extension line,
// the time of the append, which is also the append time of every entry between
// the checkpoint before and this one:
//
//	carekeep.example/audit
//	4711
//	qINS1GRFVFrVEf51ZsUsQNTVWKhoAGA/Ilt9wHEM7SQ=
//	time 2026-11-21T13:04:22.123456Z
//
//	— carekeep.example/audit Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//
// # Export
//
// Entries that retention let go are lines with number, leaf hash and the number of a later entry
// that says so ([LetGo]). A reader from before this was possible refuses such lines.
//
// An export is one stream of JSON lines, each an object with one member: header,
// entry, tile, checkpoint or end. See [Writer] for their order and [Verify] for
// what is checked.
package ledger
