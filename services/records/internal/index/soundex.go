package index

// Soundex is the American Soundex code of a name, as the National Archives define
// it (archives.gov/research/census/soundex): one letter and three digits. It is
// written here because the Go libraries that have it are under the GPL or gone. Names
// without Latin letters have none.
func Soundex(name string) string {
	out := make([]byte, 0, 4)
	last := byte('0')
	for _, r := range Name(name) {
		if r < 'a' || r > 'z' {
			continue
		}
		digit := sounds[r-'a']
		if len(out) == 0 {
			out = append(out, byte(r)-'a'+'A')
			last = digit
			continue
		}
		if digit == 'h' { // h and w do not part two letters of one sound, vowels do
			continue
		}
		if digit != '0' && digit != last {
			out = append(out, digit)
		}
		if last = digit; len(out) == 4 {
			break
		}
	}
	for len(out) > 0 && len(out) < 4 {
		out = append(out, '0')
	}
	return string(out)
}

// sounds has the digit of each letter from a to z.
const sounds = "0123012h02245501262301h202"
