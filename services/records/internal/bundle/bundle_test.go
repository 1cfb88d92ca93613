package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/services/records/internal/bundle"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

const limit = 1 << 16

func readAll(in io.Reader, limit int) ([]bundle.Entry, error) {
	r := bundle.NewReader(in, limit)
	var out []bundle.Entry
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
}

func entry(resource string) string {
	return `{"fullUrl":"urn:uuid:a","resource":` + resource + `,"request":{"method":"POST","url":"Patient"}}`
}

func whole(entries ...string) string {
	return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
}

// The bytes of a resource come out as they went in, whatever white space, escapes,
// numbers and characters they hold, and however the stream is cut.
func TestResourcesKeepTheirBytes(t *testing.T) {
	t.Parallel()
	resource := "{ \"resourceType\" : \"Patient\",\n\t\"a\":[ 1.50, -0e+10 ,true , null],\"ü\":\"\\u00fc \\\"\\\\ 𝄞 \\/\" , \"b\":{} }"
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"at once":      func(r io.Reader) io.Reader { return r },
		"byte by byte": iotest.OneByteReader,
		"half by half": iotest.HalfReader,
		"with the end": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readAll(wrap(strings.NewReader("\ufeff"+whole(entry(resource), " "+entry("{}")+" "))), limit)
			require.NoError(t, err)
			require.Len(t, got, 2)
			require.Equal(t, resource, string(got[0].Resource))
			require.Equal(t, "urn:uuid:a", got[0].FullURL)
			require.Equal(t, "POST", got[0].Method)
			require.Equal(t, int64(1), got[1].Index)
			require.Nil(t, got[1].Problem)
		})
	}
}

func TestRoundTripOfAnyJSON(t *testing.T) {
	t.Parallel()
	value := rapid.Custom(func(t *rapid.T) string { return drawJSON(t, 0) }).Filter(func(s string) bool {
		return strictjson.Check([]byte(s), len(s)) == nil
	})
	rapid.Check(t, func(t *rapid.T) {
		var entries, resources []string
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			r := fmt.Sprintf(`{"resourceType":"Basic",%s"x":%s}`, rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "space"), value.Draw(t, "value"))
			resources, entries = append(resources, r), append(entries, entry(r))
		}
		cut := rapid.IntRange(1, 100).Draw(t, "cut")
		got, err := readAll(&chunks{data: []byte(whole(entries...)), size: cut}, limit)
		require.NoError(t, err)
		require.Len(t, got, len(resources))
		for i, r := range resources {
			require.Nil(t, got[i].Problem)
			require.Equal(t, r, string(got[i].Resource))
		}
	})
}

type chunks struct {
	data []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.size, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func drawJSON(t *rapid.T, depth int) string {
	kinds := 5
	if depth < 4 {
		kinds = 7
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0, 1, 2:
		raw, _ := json.Marshal(rapid.String().Draw(t, "string"))
		return string(raw)
	case 3:
		raw, _ := json.Marshal(rapid.Float64Range(-1e9, 1e9).Draw(t, "number"))
		return string(raw)
	case 4:
		return rapid.SampledFrom([]string{"true", "false", "null", "[]", "{}", "-0", "1E5"}).Draw(t, "word")
	case 5:
		var parts []string
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			parts = append(parts, drawJSON(t, depth+1))
		}
		return "[" + strings.Join(parts, " , ") + "]"
	default:
		var parts []string
		for i := range rapid.IntRange(0, 30).Draw(t, "members") {
			parts = append(parts, fmt.Sprintf(`"k%d": %s`, i, drawJSON(t, 4)))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
}

func TestMembersMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	got, err := readAll(strings.NewReader(`{"total":1,"entry":[`+entry("{}")+`],"link":[{"relation":"self"}],"type":"batch","resourceType":"Bundle"} `), limit)
	require.NoError(t, err)
	require.Len(t, got, 1)
	got, err = readAll(strings.NewReader(`{"resourceType":"Bundle","type":"collection"}`), limit)
	require.NoError(t, err)
	require.Empty(t, got)
}

// A bad entry is told apart from the good ones around it.
func TestBadEntriesAreReportedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ entry, reason string }{
		"no object":           {`[]`, bundle.ReasonMalformed},
		"no resource":         {`{"fullUrl":"urn:uuid:a"}`, bundle.ReasonMalformed},
		"resource is text":    {`{"resource":"{}"}`, bundle.ReasonMalformed},
		"fullUrl is a number": {`{"fullUrl":1,"resource":{}}`, bundle.ReasonMalformed},
		"request is a list":   {`{"resource":{},"request":[]}`, bundle.ReasonMalformed},
		"key twice":           {`{"resource":{},"resource":{"a":1}}`, bundle.ReasonMalformed},
		"key twice, deep":     {entry(`{"a":[{"b":1,"c":{},"b":2}]}`), bundle.ReasonMalformed},
		"key twice, escaped":  {entry(`{"id":"1","\u0069d":"2"}`), bundle.ReasonMalformed},
		"key twice of many":   {entry(manyKeys(40) + `"k7":0}`), bundle.ReasonMalformed},
		"delete":              {`{"resource":{},"request":{"method":"DELETE"}}`, bundle.ReasonMethod},
		"conditional":         {`{"resource":{},"request":{"method":"PUT","url":"Patient?identifier=1"}}`, bundle.ReasonMethod},
		"if match":            {`{"resource":{},"request":{"method":"PUT","url":"Patient/1","ifMatch":"W/\"1\""}}`, bundle.ReasonMethod},
		"no UTF-8":            {entry("{\"a\":\"\xc3\x28\"}"), bundle.ReasonUTF8},
		"cut UTF-8":           {entry("{\"a\":\"\xf0\x9d\x84\"}"), bundle.ReasonUTF8},
		"too large":           {entry(`{"a":"` + strings.Repeat("x", limit) + `"}`), bundle.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readAll(strings.NewReader(whole(entry(`{"n":0}`), c.entry, entry(`{"n":2}`))), limit)
			require.NoError(t, err)
			require.Len(t, got, 3)
			require.NotNil(t, got[1].Problem)
			require.Equal(t, c.reason, got[1].Problem.Reason)
			require.Equal(t, int64(1), got[1].Index)
			require.Nil(t, got[1].Resource)
			require.Equal(t, `{"n":0}`, string(got[0].Resource))
			require.Equal(t, `{"n":2}`, string(got[2].Resource))
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	return b.String()
}

// What breaks the structure ends the bundle, and the error says where.
func TestMalformedBundlesNameThePlace(t *testing.T) {
	t.Parallel()
	good := entry(`{"n":0}`)
	for name, c := range map[string]struct {
		in    string
		index int64
		text  string
	}{
		"nothing":             {"", -1, "ends too early"},
		"a list":              {"[]", -1, "JSON object"},
		"another resource":    {`{"resourceType":"Patient"}`, -1, "not a FHIR Bundle"},
		"no type":             {`{"resourceType":"Bundle"}`, -1, "lacks its type"},
		"no resourceType":     {`{"type":"batch","entry":[]}`, -1, "lacks resourceType"},
		"history":             {`{"resourceType":"Bundle","type":"history"}`, -1, "type must be"},
		"empty object":        {`{}`, -1, "lacks resourceType"},
		"entry is an object":  {`{"resourceType":"Bundle","type":"batch","entry":{}}`, -1, "entry must be a list"},
		"entry twice":         {`{"resourceType":"Bundle","type":"batch","entry":[],"entry":[]}`, -1, "twice"},
		"cut in an entry":     {whole(good, good)[:len(whole(good))+10], 1, "ends too early"},
		"cut between entries": {strings.TrimSuffix(whole(good), "]}"), 1, "ends too early"},
		"more behind":         {whole(good) + "{}", -1, "more follows"},
		"trailing comma":      {whole(good, ""), 1, "value is expected"},
		"missing comma":       {whole(good + good), 1, "comma"},
		"bad escape":          {whole(entry(`{"a":"\x"}`)), 0, "escape"},
		"bad number":          {whole(entry(`{"a":01}`)), 0, "comma"},
		"control character":   {whole(entry("{\"a\":\"\n\"}")), 0, "control character"},
		"unknown word":        {whole(entry(`{"a":nul}`)), 0, "value is expected"},
		"nested too deeply":   {whole(entry(`{"a":` + strings.Repeat("[", 200))), 0, "too deeply"},
		"no UTF-8 outside":    {"{\"resourceType\":\"Bundle\",\"\xff\":1}", -1, "not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readAll(strings.NewReader(c.in), limit)
			var m *bundle.Malformed
			require.ErrorAs(t, err, &m)
			require.Equal(t, c.index, m.Index, m.Error())
			require.Contains(t, m.Error(), c.text)
			require.LessOrEqual(t, m.Offset, int64(len(c.in)))
			require.NotContains(t, err.Error(), `"n"`)
		})
	}
}

func TestStreamErrorsComeThrough(t *testing.T) {
	t.Parallel()
	broken := errors.New("the line went dead")
	_, err := readAll(io.MultiReader(strings.NewReader(whole(entry("{}"))[:60]), iotest.ErrReader(broken)), limit)
	require.ErrorIs(t, err, broken)
}

// A bundle a thousand times larger takes no more memory: nothing but the entry at
// hand is kept.
func TestConstantMemory(t *testing.T) {
	measure := func(entries int) float64 {
		return testing.AllocsPerRun(1, func() {
			r := bundle.NewReader(&endless{entry: entry(`{"a":"` + strings.Repeat("x", 1000) + `"}`), left: entries}, limit)
			for n := 0; ; n++ {
				_, err := r.Next()
				if err != nil {
					require.ErrorIs(t, err, io.EOF)
					require.Equal(t, entries, n)
					return
				}
			}
		}) / float64(entries)
	}
	require.InDelta(t, measure(100), measure(20_000), 3, "allocations an entry")
}

// endless is a bundle that is made as it is read.
type endless struct {
	entry string
	left  int
	rest  []byte
	state int
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		switch {
		case e.state == 0:
			e.rest = []byte(`{"resourceType":"Bundle","type":"batch","entry":[`)
		case e.left > 0:
			e.left--
			e.rest = []byte(e.entry)
			if e.left > 0 {
				e.rest = append(e.rest, ',')
			}
		case e.left == 0:
			e.rest = []byte(`]}`)
			e.left--
		default:
			return 0, io.EOF
		}
		e.state++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// Whatever comes in, the reader ends, and agrees with encoding/json on what is valid.
func FuzzReader(f *testing.F) {
	f.Add([]byte(whole(entry(`{"resourceType":"Patient","id":"1"}`), entry(`{}`))))
	f.Add([]byte(`{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"a":"\u00e9` + "\xc3" + `"}}]}`))
	f.Add([]byte(`{"entry":[1,{"resource":{"b":[1,2,{"c":null}],"b":-1.5e9}}],"type":"batch"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(bytes.NewReader(data), 1<<12)
		again, errAgain := readAll(iotest.OneByteReader(bytes.NewReader(data)), 1<<12)
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(errAgain))
		require.Equal(t, got, again)
		if err == nil && !json.Valid(bytes.TrimPrefix(data, []byte("\ufeff"))) {
			t.Fatalf("taken, yet no JSON")
		}
		for _, e := range got {
			if e.Problem == nil && (!json.Valid(e.Resource) || !bytes.Contains(data, e.Resource)) {
				t.Fatalf("entry %d is not what came in", e.Index)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	data := whole(strings.Split(strings.Repeat(entry(`{"resourceType":"Observation","code":{"coding":[{"system":"http://loinc.org","code":"1-1"}]},"value":[1,2,3],"text":"`+strings.Repeat("lorem ipsum ", 100)+`"}`)+"\x00", 999)+entry("{}"), "\x00")...)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := readAll(strings.NewReader(data), 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
