package jsonpatch_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	evanphx "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/services/records/internal/jsonpatch"
	"github.com/carekeep/carekeep/services/records/internal/strictjson"
)

func apply(doc, patch string, frozen ...string) (string, error) {
	p, err := jsonpatch.Parse([]byte(patch))
	if err != nil {
		return "", err
	}
	out, err := p.Apply([]byte(doc), frozen...)
	return string(out), err
}

// doc is written as no library would write it.
const doc = "\n{ \"id\" : \"1\",\r\n  \"value\":1.500,  \"list\": [ 1 ,2,\t\"\\u00e4\" ] ,\"o\":{\"a/b\":{},\"m~n\":1e2} }\t"

func TestUntouchedBytesStay(t *testing.T) {
	t.Parallel()
	for patch, want := range map[string][2]string{
		`[]`: {"", ""},
		`[{"op":"replace","path":"/id","value":"2"}]`:         {`"id" : "1"`, `"id" : "2"`},
		`[{"op":"remove","path":"/value"}]`:                   {"\r\n  \"value\":1.500,", ""},
		`[{"op":"add","path":"/list/1","value":{"x": 0.10}}]`: {` 1 ,2`, ` 1 ,{"x": 0.10},2`},
		`[{"op":"add","path":"/list/-","value":3}]`:           {"\t\"\\u00e4\" ]", "\t\"\\u00e4\",\t3 ]"},
		`[{"op":"remove","path":"/list/2"}]`:                  {"2,\t\"\\u00e4\" ]", "2 ]"},
		`[{"op":"add","path":"/o/a~1b/new","value":null}]`:    {`"a/b":{}`, `"a/b":{"new":null}`},
		`[{"op":"replace","path":"/o/m~0n","value":1.0}]`:     {`1e2`, `1.0`},
		`[{"op":"copy","from":"/value","path":"/o/c"}]`:       {`1e2}`, `1e2,"c":1.500}`},
		`[{"op":"move","from":"/o/m~0n","path":"/list/0"}]`:   {`[ 1 ,2,` + "\t\"\\u00e4\" ] ,\"o\":{\"a/b\":{},\"m~n\":1e2}", `[ 1e2, 1 ,2,` + "\t\"\\u00e4\" ] ,\"o\":{\"a/b\":{}}"},
		`[{"op":"test","path":"/value","value":15e-1},{"op":"test","path":"/list","value":[1.0,2,"ä"]},{"op":"test","path":"/o","value":{"m~n":100,"a/b":{}}}]`: {"", ""},
		`[{"op":"move","from":"/id","path":"/id"}]`: {"\n{ \"id\" : \"1\",", "\n{"},
	} {
		got, err := apply(doc, patch)
		require.NoError(t, err, patch)
		if strings.Contains(patch, `"from":"/id"`) {
			require.JSONEq(t, doc, got)
			continue
		}
		require.Equal(t, strings.Replace(doc, want[0], want[1], 1), got, patch)
	}
}

func TestPatchesAreRefused(t *testing.T) {
	t.Parallel()
	for patch, want := range map[string]string{
		`{}`:                                    jsonpatch.ReasonMalformed,
		`[1]`:                                   jsonpatch.ReasonMalformed,
		`[{"op":"add","path":"/x"}]`:            jsonpatch.ReasonMalformed,
		`[{"op":"push","path":"/x","value":1}]`: jsonpatch.ReasonMalformed,
		`[{"op":"remove"}]`:                     jsonpatch.ReasonMalformed,
		`[{"op":"remove","path":"x"}]`:          jsonpatch.ReasonMalformed,
		`[{"op":"remove","path":"/~2"}]`:        jsonpatch.ReasonMalformed,
		`[{"op":"copy","path":"/x"}]`:           jsonpatch.ReasonMalformed,
		`[{"op":"remove","path":"/value","path":"/list"}]`: jsonpatch.ReasonMalformed,
		`[{"op":"add","path":"/x","value":1e999}]`:         jsonpatch.ReasonMalformed,
		`[{"op":"remove","path":"/secret"}]`:               jsonpatch.ReasonPath,
		`[{"op":"replace","path":"/secret","value":1}]`:    jsonpatch.ReasonPath,
		`[{"op":"add","path":"/secret/x","value":1}]`:      jsonpatch.ReasonPath,
		`[{"op":"add","path":"/list/4","value":1}]`:        jsonpatch.ReasonPath,
		`[{"op":"add","path":"/list/01","value":1}]`:       jsonpatch.ReasonPath,
		`[{"op":"add","path":"/list/+1","value":1}]`:       jsonpatch.ReasonPath,
		`[{"op":"replace","path":"/list/-","value":1}]`:    jsonpatch.ReasonPath,
		`[{"op":"add","path":"/value/x","value":1}]`:       jsonpatch.ReasonPath,
		`[{"op":"move","from":"/o","path":"/o/x"}]`:        jsonpatch.ReasonPath,
		`[{"op":"test","path":"/value","value":"1.500"}]`:  jsonpatch.ReasonTest,
		`[{"op":"test","path":"/list","value":[1,2]}]`:     jsonpatch.ReasonTest,
		`[{"op":"replace","path":"/id","value":"2"}]`:      jsonpatch.ReasonFrozen,
		`[{"op":"remove","path":"/id"}]`:                   jsonpatch.ReasonFrozen,
		`[{"op":"move","from":"/id","path":"/x"}]`:         jsonpatch.ReasonFrozen,
		`[{"op":"copy","from":"/value","path":"/id"}]`:     jsonpatch.ReasonFrozen,
		`[{"op":"replace","path":"","value":{"id":"2"}}]`:  jsonpatch.ReasonFrozen,
		`[{"op":"add","path":"/id/x","value":1}]`:          jsonpatch.ReasonFrozen,
		`[` + strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"","value":1},`, jsonpatch.MaxOperations+1), ",") + `]`: jsonpatch.ReasonLimit,
		`["` + strings.Repeat("x", jsonpatch.MaxBytes) + `"]`:                                                                jsonpatch.ReasonLimit,
		`[` + strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/list","path":"/list/-"},`, 40), ",") + `]`:            jsonpatch.ReasonLimit,
	} {
		_, err := apply(doc, patch, "id", "resourceType")
		require.Equal(t, want, errs.ReasonOf(err), "%.200s", patch)
		require.NotContains(t, err.Error(), "secret")
	}
	p, err := jsonpatch.Parse([]byte(`[{"op":"test","path":"/id","value":"1"},{"op":"copy","from":"/id","path":"/x"}]`))
	require.NoError(t, err)
	_, err = p.Apply([]byte(doc), "id")
	require.NoError(t, err, "what is frozen can be tested and copied")
}

// What a patch makes is bounded by its values too, not just by its bytes: a list of zeros has half
// as many values as bytes, and each takes a hundred times its bytes.
func TestValuesAreCountedBeforeTheyAreMade(t *testing.T) {
	t.Parallel()
	list := func(values int) string { // with the document and the list itself
		return `{"a":[` + strings.TrimSuffix(strings.Repeat("0,", values-2), ",") + `]}`
	}
	copies := func(n int) string {
		var ops []string
		for i := range n {
			ops = append(ops, fmt.Sprintf(`{"op":"copy","from":"/a","path":"/b%d"}`, i))
		}
		return "[" + strings.Join(ops, ",") + "]"
	}
	value := func(op string, values int) string {
		return `[{"op":"` + op + `","path":"/a","value":[` + strings.TrimSuffix(strings.Repeat("0,", values-1), ",") + `]}]`
	}
	for name, c := range map[string]struct{ doc, patch, says string }{
		"seven copies of half a MiB":  {list(262_000), copies(7), "replace it with PUT"},
		"seven copies of all it can":  {list(jsonpatch.MaxNodes), copies(7), "operation 0"},
		"seven copies of an eighth":   {list(jsonpatch.MaxNodes/8 + 1), copies(7), "operation 6"},
		"a document one value larger": {list(jsonpatch.MaxNodes + 1), "[]", "replace it with PUT"},
		"a value that is added":       {list(3), value("add", jsonpatch.MaxNodes-2), "operation 0"},
		"a value that replaces":       {list(3), value("replace", jsonpatch.MaxNodes-2), "operation 0"},
		"a value that is tested":      {list(3), value("test", jsonpatch.MaxNodes+1), "operation 0"},
	} {
		_, err := apply(c.doc, c.patch)
		require.Equal(t, jsonpatch.ReasonLimit, errs.ReasonOf(err), name)
		require.ErrorContains(t, err, c.says, name)
	}
	for name, c := range map[string][2]string{
		"a document of the limit":      {list(jsonpatch.MaxNodes), "[]"},
		"seven copies up to the limit": {list(jsonpatch.MaxNodes / 8), copies(7)},
		"a value up to the limit":      {list(3), value("add", jsonpatch.MaxNodes-3)},
		"empty ones and texts count 1": {`{"a":[` + strings.Repeat(`{} ,[ ],"{,[\\",`, (jsonpatch.MaxNodes-3)/3) + `0]}`, "[]"},
	} {
		_, err := apply(c[0], c[1])
		require.NoError(t, err, name)
	}
}

// A copy that is too large is not made.
func TestACopyBeyondTheLimitTakesNoMemory(t *testing.T) { //nolint:paralleltest // it counts allocations
	doc := []byte(`{"a":[` + strings.Repeat("0,", jsonpatch.MaxNodes-10) + `0]}`)
	p, err := jsonpatch.Parse([]byte(`[{"op":"copy","from":"/a","path":"/b"}]`))
	require.NoError(t, err)
	nothing := testing.AllocsPerRun(1, func() { _, err = jsonpatch.Patch{}.Apply(doc) })
	require.NoError(t, err)
	refused := testing.AllocsPerRun(1, func() { _, err = p.Apply(doc) })
	require.Equal(t, jsonpatch.ReasonLimit, errs.ReasonOf(err))
	require.Less(t, refused, nothing+100)
}

var keys = []string{"a", "b", "c/d", "e~f", "ä"}

func drawValue(t *rapid.T, depth int) any {
	if depth == 0 || rapid.Bool().Draw(t, "leaf") {
		return rapid.SampledFrom([]any{0, 1.5, "x", "", true, nil, "ä\n"}).Draw(t, "scalar")
	}
	if rapid.Bool().Draw(t, "list") {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) any { return drawValue(t, depth-1) }), 0, 3).Draw(t, "items")
	}
	return rapid.MapOfN(rapid.SampledFrom(keys), rapid.Custom(func(t *rapid.T) any { return drawValue(t, depth-1) }), 0, 4).Draw(t, "members")
}

func drawPointer(t *rapid.T) string {
	out := ""
	for range rapid.IntRange(1, 3).Draw(t, "depth") {
		out += "/" + rapid.SampledFrom([]string{"a", "b", "c~1d", "e~0f", "ä", "0", "1", "2", "-"}).Draw(t, "token")
	}
	return out
}

// Whatever the patch, the result is the library's; and what the library refuses is
// refused.
func TestPatchIsTheLibrarys(t *testing.T) {
	t.Parallel()
	applied := 0
	options := evanphx.NewApplyOptions()
	options.SupportNegativeIndices = false
	rapid.Check(t, func(t *rapid.T) {
		root := map[string]any{"a": drawValue(t, 3), "b": drawValue(t, 3), "c/d": []any{1, map[string]any{"a": "x"}}}
		before, err := json.MarshalIndent(root, "", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		require.NoError(t, err)
		var ops []map[string]any
		for range rapid.IntRange(1, 4).Draw(t, "operations") {
			op := map[string]any{"op": rapid.SampledFrom([]string{"add", "replace", "remove", "move", "copy", "test"}).Draw(t, "op"), "path": drawPointer(t)}
			switch op["op"] {
			case "add", "replace", "test":
				op["value"] = drawValue(t, 2)
			case "move", "copy":
				op["from"] = drawPointer(t)
			}
			ops = append(ops, op)
		}
		patch, err := json.Marshal(ops)
		require.NoError(t, err)
		got, gotErr := apply(string(before), string(patch))
		theirs, err := evanphx.DecodePatch(patch)
		require.NoError(t, err)
		want, wantErr := theirs.ApplyWithOptions(before, options)
		if gotErr != nil || wantErr != nil {
			if (gotErr == nil) != (wantErr == nil) && !differs(ops) {
				t.Fatalf("ours: %v, theirs: %v: %s of %s", gotErr, wantErr, patch, before)
			}
			return
		}
		applied++
		var x, y any
		require.NoError(t, json.Unmarshal([]byte(got), &x), got)
		require.NoError(t, json.Unmarshal(want, &y))
		require.Equal(t, y, x, "%s of %s", patch, before)
	})
	require.Positive(t, applied)
}

// differs reports whether the library is known to depart from RFC 6902: a test of
// null takes what is missing for null, and a value may be moved into itself.
func differs(ops []map[string]any) bool {
	for _, op := range ops {
		from, _ := op["from"].(string)
		if op["op"] == "test" && op["value"] == nil || from != "" && strings.HasPrefix(fmt.Sprint(op["path"]), from) {
			return true
		}
	}
	return false
}

// Patches and documents of any bytes are applied or refused without a panic; what
// comes out is JSON, and a patch that does nothing changes no byte.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(doc), []byte(`[{"op":"add","path":"/list/1","value":{"x":0.10}},{"op":"move","from":"/o","path":"/p"}]`))
	f.Add([]byte(`{"a":[{}]}`), []byte(`[{"op":"copy","from":"/a","path":"/a/0/b"},{"op":"test","path":"","value":{}}]`))
	f.Add([]byte(`{"a":[`+strings.Repeat("0,", 100)+`0]}`), []byte(`[`+strings.Repeat(`{"op":"copy","from":"","path":"/b"},`, 9)+`{"op":"remove","path":"/a"}]`))
	f.Add([]byte(`[`+strings.Repeat(`{},[ ],"[,{",`, 50)+`1]`), []byte(`[{"op":"copy","from":"/0","path":"/-"},{"op":"replace","path":"/1","value":[[],{}]}]`))
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		if same, err := (jsonpatch.Patch{}).Apply(doc); err == nil && string(same) != string(doc) {
			t.Fatalf("%q became %q", doc, same)
		}
		p, err := jsonpatch.Parse(patch)
		if err != nil {
			return
		}
		out, err := p.Apply(doc, "id")
		if err != nil {
			return
		}
		if err := strictjson.Check(out, jsonpatch.MaxResult); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
	})
}
