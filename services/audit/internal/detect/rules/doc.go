// Package rules reads packs of detection rules: strict YAML whose conditions are CEL over an
// audit event and over counters. What it accepts always ends soon: conditions know no
// clock, no randomness and no loop but over the fields that an event withheld, and one that
// could cost too much is refused. It counts nothing and decides nothing about events.
package rules
