package legacy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxLine is more than a blob with the largest entry of an import (2 MiB) has.
const MaxLine = 4 << 20

// Read calls each for every line: with the resource, or with the reason why there is
// none. The resource is cleared afterwards. It ends at the first error of each or of
// the reader, and at a line over MaxLine.
func (k *Keys) Read(r io.Reader, each func(line int, resource []byte, refused error) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine)
	n := 0
	for lines.Scan() {
		n++
		plain, refused := k.open(lines.Bytes())
		err := each(n, plain, refused)
		clear(plain)
		if err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", n+1, MaxLine)
	}
	return lines.Err()
}

// Bundle writes the resources as a FHIR transaction bundle, entry i from line i+1.
// It fails at the first blob that is refused, so that what was written is no whole bundle.
func (k *Keys) Bundle(w io.Writer, r io.Reader) error {
	before := `{"resourceType":"Bundle","type":"transaction","entry":[`
	err := k.Read(r, func(line int, resource []byte, refused error) error {
		if refused != nil {
			return fmt.Errorf("line %d %w", line, refused)
		}
		if _, err := io.WriteString(w, before+`{"resource":`); err != nil {
			return err
		}
		before = ","
		if _, err := w.Write(resource); err != nil {
			return err
		}
		_, err := io.WriteString(w, "}")
		return err
	})
	if err != nil {
		return err
	}
	if before != "," {
		return errors.New("there is no blob in it")
	}
	_, err = io.WriteString(w, "]}")
	return err
}
