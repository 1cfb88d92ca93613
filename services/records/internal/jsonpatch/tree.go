package jsonpatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
)

var (
	errTest  = errors.New("jsonpatch: test failed")
	errLimit = errors.New("jsonpatch: too large")
	errPath  = errors.New("jsonpatch: no such place")
)

// tree is a document taken apart, so that it can be put together again with the
// same bytes but for what has changed.
type tree struct {
	root        *node
	lead, after []byte // white space around the document
	size, nodes int    // bytes and values that the document has at most
}

// node is a value. A scalar has its bytes in raw; an object or a list its members,
// and in tail the white space of an empty one.
type node struct {
	open    byte // '{', '[', or 0 of a scalar
	raw     []byte
	members []member
	tail    []byte
}

// member is one of an object or a list, with the white space around it. A list's
// have no key.
type member struct {
	lead, key, mid, after []byte
	name                  string
	value                 *node
}

// newTree takes JSON apart, unless it has more than MaxNodes values.
func newTree(doc []byte) (*tree, error) {
	t := &tree{size: len(doc), nodes: count(doc)}
	if t.nodes > MaxNodes {
		return nil, errLimit
	}
	s := &scan{raw: doc}
	t.lead = s.space()
	t.root = s.value()
	t.after = s.space()
	return t, nil
}

func (t *tree) bytes() []byte {
	out := append(make([]byte, 0, t.size), t.lead...)
	return append(t.root.append(out), t.after...)
}

func (n *node) append(out []byte) []byte {
	if n.open == 0 {
		return append(out, n.raw...)
	}
	out = append(out, n.open)
	for i, m := range n.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.lead...), m.key...), m.mid...)
		out = append(m.value.append(out), m.after...)
	}
	return append(append(out, n.tail...), n.open+2) // ']' and '}' are two after their opening
}

// clone is a copy that changes on its own. Bytes are shared: none is ever changed.
func (n *node) clone() *node {
	c := *n
	c.members = make([]member, len(n.members))
	for i, m := range n.members {
		m.value = m.value.clone()
		c.members[i] = m
	}
	return &c
}

// scan reads a document that is known to be JSON.
type scan struct {
	raw []byte
	pos int
}

func (s *scan) space() []byte {
	start := s.pos
	for s.pos < len(s.raw) && bytes.IndexByte([]byte(" \t\r\n"), s.raw[s.pos]) >= 0 {
		s.pos++
	}
	return s.raw[start:s.pos]
}

func (s *scan) value() *node {
	n := &node{}
	start := s.pos
	switch c := s.raw[s.pos]; c {
	case '{', '[':
		n.open = c
		s.pos++
		s.list(n)
		return n
	case '"':
		s.text()
	default:
		for s.pos < len(s.raw) && bytes.IndexByte([]byte(",]} \t\r\n"), s.raw[s.pos]) < 0 {
			s.pos++
		}
	}
	n.raw = s.raw[start:s.pos]
	return n
}

func (s *scan) text() []byte {
	start := s.pos
	for s.pos++; s.raw[s.pos] != '"'; s.pos++ {
		if s.raw[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.raw[start:s.pos]
}

func (s *scan) list(n *node) {
	for {
		m := member{lead: s.space()}
		if s.raw[s.pos] == n.open+2 {
			n.tail = m.lead
			s.pos++
			return
		}
		if n.open == '{' {
			m.key = s.text()
			m.name = plain(m.key)
			start := s.pos
			s.space()
			s.pos++
			s.space()
			m.mid = s.raw[start:s.pos]
		}
		m.value = s.value()
		m.after = s.space()
		n.members = append(n.members, m)
		s.pos++
		if s.raw[s.pos-1] == n.open+2 {
			return
		}
	}
}

func plain(text []byte) string {
	var out string
	_ = json.Unmarshal(text, &out) // it is known to be a string
	return out
}

// index finds a member by its token; -1 where there is none. end allows the place
// after the last one of a list.
func (n *node) index(token string, end bool) int {
	if n.open == '{' {
		for i, m := range n.members {
			if m.name == token {
				return i
			}
		}
		return -1
	}
	last := len(n.members) - 1
	if end {
		if last++; token == "-" {
			return last
		}
	}
	i, err := strconv.Atoi(token)
	if err != nil || n.open == 0 || i < 0 || i > last || token != strconv.Itoa(i) {
		return -1
	}
	return i
}

// at returns the value at a path.
func (t *tree) at(path []string) (*node, error) {
	n := t.root
	for _, token := range path {
		i := n.index(token, false)
		if i < 0 {
			return nil, errPath
		}
		n = n.members[i].value
	}
	return n, nil
}

func (t *tree) apply(o operation) error {
	switch o.op {
	case "remove":
		_, err := t.remove(o.path)
		return err
	case "move":
		return t.move(o)
	case "copy":
		return t.copy(o)
	}
	value, err := newTree(o.value)
	if err != nil {
		return err
	}
	if o.op == "test" {
		n, err := t.at(o.path)
		if err == nil && !equal(n, value.root) {
			err = errTest
		}
		return err
	}
	if err := t.grow(value.size, value.nodes); err != nil {
		return err
	}
	if o.op == "add" {
		return t.add(o.path, value.root)
	}
	return t.replace(o.path, value.root)
}

func (t *tree) copy(o operation) error {
	n, err := t.at(o.from)
	if err != nil {
		return err
	}
	if err := t.grow(n.weigh()); err != nil {
		return err
	}
	return t.add(o.path, n.clone())
}

func (t *tree) move(o operation) error {
	if len(o.path) > len(o.from) && startsWith(o.path, o.from) {
		return errPath // into itself
	}
	n, err := t.remove(o.from)
	if err != nil {
		return err
	}
	return t.add(o.path, n)
}

func startsWith(path, prefix []string) bool {
	for i, token := range prefix {
		if path[i] != token {
			return false
		}
	}
	return true
}

func (t *tree) replace(path []string, value *node) error {
	n, err := t.at(path)
	if err != nil {
		return err
	}
	*n = *value
	return nil
}

func (t *tree) remove(path []string) (*node, error) {
	if len(path) == 0 {
		return nil, errPath
	}
	parent, err := t.at(path[:len(path)-1])
	if err != nil {
		return nil, err
	}
	i := parent.index(path[len(path)-1], false)
	if i < 0 {
		return nil, errPath
	}
	m := parent.members[i]
	if i == len(parent.members)-1 && i > 0 {
		parent.members[i-1].after = m.after // before the closing bracket all stays as it was
	}
	parent.members = append(parent.members[:i:i], parent.members[i+1:]...)
	return m.value, nil
}

func (t *tree) add(path []string, value *node) error {
	if len(path) == 0 {
		t.root = value
		return nil
	}
	parent, err := t.at(path[:len(path)-1])
	if err != nil {
		return err
	}
	token := path[len(path)-1]
	if parent.open == 0 {
		return errPath
	}
	i := parent.index(token, true)
	if parent.open == '{' {
		if i >= 0 {
			parent.members[i].value = value
			return nil
		}
		i = len(parent.members)
	}
	if i < 0 {
		return errPath
	}
	parent.insert(i, token, value)
	return nil
}

// insert puts a member in as its neighbours are written.
func (n *node) insert(i int, token string, value *node) {
	m := member{value: value}
	if n.open == '{' {
		m.name, m.mid = token, []byte(":")
		m.key = quote(token)
	}
	if last := len(n.members) - 1; last >= 0 {
		m.lead = n.members[min(i, last)].lead
		if n.open == '{' {
			m.mid = n.members[last].mid
		}
		if i > last {
			m.after, n.members[last].after = n.members[last].after, nil
		}
	}
	n.tail = nil
	n.members = append(n.members[:i:i], append([]member{m}, n.members[i:]...)...)
}

func quote(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string always can be
	return bytes.TrimRight(b.Bytes(), "\n")
}

// equal compares values as RFC 6902 4.6 says: numbers by what they are worth,
// strings by their characters, objects whatever their order.
func equal(a, b *node) bool {
	if a.open != b.open || len(a.members) != len(b.members) {
		return false
	}
	switch a.open {
	case 0:
		return sameScalar(a.raw, b.raw)
	case '[':
		for i := range a.members {
			if !equal(a.members[i].value, b.members[i].value) {
				return false
			}
		}
		return true
	}
	for _, m := range a.members {
		i := b.index(m.name, false)
		if i < 0 || !equal(m.value, b.members[i].value) {
			return false
		}
	}
	return true
}

func sameScalar(a, b []byte) bool {
	switch {
	case bytes.Equal(a, b):
		return true
	case a[0] == '"' && b[0] == '"':
		return plain(a) == plain(b)
	case a[0] == '"' || b[0] == '"':
		return false
	}
	// Exponents are bounded by strictjson, so no number is huge.
	x, isNumber := new(big.Rat).SetString(string(a))
	y, isToo := new(big.Rat).SetString(string(b))
	return isNumber && isToo && x.Cmp(y) == 0
}
