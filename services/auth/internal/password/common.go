package password

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/text/cases"
)

// commonList holds passwords that turned up in breaches, the most common ones of at least
// LeastLength characters, folded and sorted: passwords.json of the npm package
// @zxcvbn-ts/language-common 4.1.3 (MIT).
//
//go:embed common.txt.gz
var commonList []byte

// common is the list as a set, unpacked at the first use.
var common = sync.OnceValue(func() map[string]bool {
	unpacked, err := gzip.NewReader(bytes.NewReader(commonList))
	if err != nil {
		panic(fmt.Sprintf("password: the embedded list: %v", err))
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		panic(fmt.Sprintf("password: the embedded list: %v", err))
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	set := make(map[string]bool, len(lines))
	for _, line := range lines {
		set[line] = true
	}
	return set
})

// breached reports whether the whole password, whatever its case, is one of those
// that attackers try first (SP 800-63B-4 section 3.1.1.2). A password that only
// holds one of them is zxcvbn's business.
func breached(normal string) bool { return common()[cases.Fold().String(normal)] }
