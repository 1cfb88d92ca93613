package jsonpatch

// count is how many values JSON has. It takes no memory: a value of two bytes becomes a node of
// about two hundred.
func count(doc []byte) int {
	n, last := 1, byte(0)
	s := &scan{raw: doc}
	for s.space(); s.pos < len(s.raw); s.space() {
		c := s.raw[s.pos]
		switch {
		case c == '"':
			s.text()
			last = c
			continue
		case c == ',' || c == '{' || c == '[':
			n++
		case (c == '}' || c == ']') && last == c-2: // it is empty
			n--
		}
		last = c
		s.pos++
	}
	return n
}

// weigh is how many bytes and values a value has.
func (n *node) weigh() (size, nodes int) {
	size, nodes = len(n.raw)+len(n.tail), 1
	if n.open != 0 {
		size += 2 + max(len(n.members)-1, 0) // brackets and commas
	}
	for _, m := range n.members {
		s, c := m.value.weigh()
		size += len(m.lead) + len(m.key) + len(m.mid) + len(m.after) + s
		nodes += c
	}
	return size, nodes
}

// grow counts what an operation adds, before it is made, so that the patch ends before memory does.
func (t *tree) grow(size, nodes int) error {
	t.size += size
	t.nodes += nodes
	if t.size > 2*MaxResult || t.nodes > MaxNodes {
		return errLimit
	}
	return nil
}
