package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

const limit = 1 << 20

func reason(err error) string {
	var f *strictjson.Fault
	if errors.As(err, &f) {
		return f.Reason
	}
	return ""
}

func TestCheck(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	var keys []string
	for i := range 60 {
		keys = append(keys, `"k`+strings.Repeat("x", i)+`":0`)
	}
	for in, want := range map[string]string{
		` {"a":[1,-0.5e+3,true,null,"ä\u00e4\ud83d\ude00"],"b":{}} `: "",
		deep(strictjson.MaxDepth):                                    "",
		deep(strictjson.MaxDepth + 1):                                strictjson.ReasonTooDeep,
		`{"a":1,"a":2}`:                                              strictjson.ReasonDuplicate,
		`{"a":1,"\u0061":2}`:                                         strictjson.ReasonDuplicate,
		`{"x":[{"a":1,"b":{"a":1}},{"a":1}]}`:                        "",
		`{` + strings.Join(keys, ",") + `}`:                          "",
		`{` + strings.Join(append(keys, keys[2]), ",") + `}`:         strictjson.ReasonDuplicate,
		`{` + strings.Join(append(keys[:9:9], keys[2]), ",") + `}`:   strictjson.ReasonDuplicate,
		`1e308`:                                "",
		`1e309`:                                strictjson.ReasonNumber,
		`1E-0000309`:                           strictjson.ReasonNumber,
		`1e99999999999999999999`:               strictjson.ReasonNumber,
		strings.Repeat("9", 64):                "",
		strings.Repeat("9", 65):                strictjson.ReasonNumber,
		`01`:                                   strictjson.ReasonMalformed,
		`-`:                                    strictjson.ReasonMalformed,
		`1.`:                                   strictjson.ReasonMalformed,
		`1e`:                                   strictjson.ReasonMalformed,
		`+1`:                                   strictjson.ReasonMalformed,
		`NaN`:                                  strictjson.ReasonMalformed,
		`"\u0000"`:                             strictjson.ReasonText,
		"\"\x00\"":                             strictjson.ReasonText,
		"\"\xff\"":                             strictjson.ReasonText,
		"\"\xed\xa0\x80\"":                     strictjson.ReasonText,
		`"\ud800"`:                             strictjson.ReasonText,
		`"\ude00\ud83d"`:                       strictjson.ReasonText,
		`"\ud83dx"`:                            strictjson.ReasonText,
		`"\x41"`:                               strictjson.ReasonMalformed,
		`"\u00g0"`:                             strictjson.ReasonMalformed,
		`"\u+041"`:                             strictjson.ReasonMalformed,
		`{"a":1,}`:                             strictjson.ReasonMalformed,
		`[1 2]`:                                strictjson.ReasonMalformed,
		`{"a" 1}`:                              strictjson.ReasonMalformed,
		`{a:1}`:                                strictjson.ReasonMalformed,
		`"a`:                                   strictjson.ReasonMalformed,
		``:                                     strictjson.ReasonMalformed,
		`{} {}`:                                strictjson.ReasonMalformed,
		"{}\x00":                               strictjson.ReasonMalformed,
		`"` + strings.Repeat("x", limit) + `"`: strictjson.ReasonTooLarge,
	} {
		err := strictjson.Check([]byte(in), limit)
		if want == "" {
			require.NoError(t, err, in)
			continue
		}
		require.Equal(t, want, reason(err), "%.80s", in)
	}
}

// What is taken is JSON for encoding/json too, and what encoding/json refuses is
// refused for its syntax.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"a":[1,-0.5e+3,true,null,"ä\u00e4\ud83d\ude00\n"],"b":{}}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Add([]byte(`[1e309,"\ud800"]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := strictjson.Check(raw, limit)
		if err == nil && !json.Valid(raw) {
			t.Fatalf("taken, but no JSON: %q", raw)
		}
		if reason(err) == strictjson.ReasonMalformed && json.Valid(raw) {
			t.Fatalf("refused for its syntax, but JSON: %q: %v", raw, err)
		}
		if err != nil {
			return
		}
		r, err := strictjson.NewReader(raw, limit)
		if err != nil || r.Kind() != strictjson.Text {
			return
		}
		got, err := r.Text()
		var want string
		if err != nil || json.Unmarshal(raw, &want) != nil || string(got) != want {
			t.Fatalf("read %q as %q: %v", raw, got, err)
		}
	})
}
