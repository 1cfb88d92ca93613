package ledger

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// fastEntry reads a line with an entry that is spelled as [Writer] spells it, which is nearly every line of an
// export. Decoding JSON in general was more than half of what verification costs. Where it says no, the line
// may still be right, and the strict decoder looks at it: nothing is taken here that it would not take alike.
func fastEntry(text []byte) (line, bool) {
	p := &scanner{rest: text}
	e := &Entry{}
	p.word(`{"entry":{"seq":`)
	e.Seq = p.number()
	p.word(`,"leaf":"`)
	p.decode(e.Leaf[:], p.until('"'))
	if p.optional(`,"event":"`) {
		e.Event = p.bytes(p.until('"'))
	}
	if p.optional(`,"salt":"`) {
		e.Salt = p.bytes(p.until('"'))
	}
	if p.optional(`,"index":{`) {
		e.Index = p.index()
	}
	if p.optional(`,"append_time":"`) {
		at := p.time(p.until('"'))
		e.AppendTime = &at
	}
	if p.optional(`,"let_go":`) {
		seq := p.number()
		e.LetGo = &seq
	}
	p.word("}}\n")
	return line{Entry: e}, !p.failed && len(p.rest) == 0
}

// scanner goes through a line. After the first thing that is not as expected it only fails.
type scanner struct {
	rest   []byte
	failed bool
}

func (p *scanner) word(w string) {
	if !p.optional(w) {
		p.failed = true
	}
}

func (p *scanner) optional(w string) bool {
	if len(p.rest) < len(w) || string(p.rest[:len(w)]) != w {
		return false
	}
	p.rest = p.rest[len(w):]
	return true
}

// until returns what stands before the next such byte, which is skipped. Nothing that the writer puts into a string
// here has an escape; one would make it another spelling.
func (p *scanner) until(end byte) []byte {
	i := bytes.IndexByte(p.rest, end)
	if i < 0 {
		p.failed = true
		return nil
	}
	found := p.rest[:i]
	p.rest = p.rest[i+1:]
	return found
}

// number reads a whole number of at most 18 digits.
func (p *scanner) number() int64 {
	n := 0
	for n < len(p.rest) && (p.rest[n] >= '0' && p.rest[n] <= '9' || n == 0 && p.rest[n] == '-') {
		n++
	}
	value, err := strconv.ParseInt(string(p.rest[:n]), 10, 64)
	// "007" and "-0" are no numbers of JSON that the writer writes.
	if err != nil || n > 18 || strconv.FormatInt(value, 10) != string(p.rest[:n]) {
		p.failed = true
	}
	p.rest = p.rest[n:]
	return value
}

func (p *scanner) small() int16 {
	value := p.number()
	if int64(int16(value)) != value {
		p.failed = true
	}
	return int16(value)
}

// bytes decodes base64. One that ends with an escape or a line break would be another spelling.
func (p *scanner) bytes(text []byte) []byte {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n := p.decodeInto(out, text)
	return out[:n]
}

// decode fills all of out.
func (p *scanner) decode(out, text []byte) {
	var buffer [64]byte
	if len(text) > base64.StdEncoding.EncodedLen(len(out)) {
		p.failed = true
		return
	}
	if n := p.decodeInto(buffer[:], text); n != len(out) {
		p.failed = true
	}
	copy(out, buffer[:])
}

func (p *scanner) decodeInto(out, text []byte) int {
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	if err != nil || bytes.ContainsAny(text, "\r\n\\") || len(text) == 0 {
		p.failed = true
	}
	return n
}

func (p *scanner) uuid() uuid.UUID {
	text := p.until('"')
	id, err := uuid.ParseBytes(text)
	if err != nil || len(text) != 36 {
		p.failed = true
	}
	return id
}

func (p *scanner) time(text []byte) time.Time {
	var at time.Time
	if at.UnmarshalText(text) != nil { // stricter than time.Parse, and what JSON uses
		p.failed = true
	}
	return at
}

func (p *scanner) index() *Index {
	x := &Index{}
	p.word(`"event_id":"`)
	x.EventID = p.uuid()
	p.word(`,"practice_id":"`)
	x.Practice = p.uuid()
	p.word(`,"user_id":"`)
	x.User = p.uuid()
	p.word(`,"patient_id":"`)
	x.Patient = p.uuid()
	p.word(`,"action":`)
	x.Action = p.small()
	p.word(`,"outcome":`)
	x.Outcome = p.small()
	p.word(`,"event_time":"`)
	x.EventTime = p.time(p.until('"'))
	if p.optional(`,"where":{`) {
		x.Where = p.where()
	}
	p.word("}")
	return x
}

func (p *scanner) where() *Where {
	w := &Where{}
	p.word(`"session_id":"`)
	w.Session = p.uuid()
	p.word(`,"device_id":"`)
	w.Device = p.uuid()
	p.word(`,"address":"`)
	if text := p.until('"'); len(text) > 0 {
		var err error
		if w.Address, err = netip.ParseAddr(string(text)); err != nil {
			p.failed = true
		}
	}
	p.word(`,"risk":`)
	w.Risk = p.small()
	p.word(`,"service":`)
	w.Service = p.small()
	p.word(`,"method":"`)
	method := p.until('"')
	for _, c := range method {
		// What JSON may spell in another way, as < and &, is left to the decoder.
		if c < ' ' || c > '~' || c == '\\' {
			p.failed = true
		}
	}
	w.Method = string(method)
	p.word("}")
	return w
}
