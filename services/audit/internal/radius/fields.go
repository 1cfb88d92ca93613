package radius

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/carekeep/carekeep/libs/access"

	// Their answers are what is opened; the descriptors say which fields hold patients' data.
	_ "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	_ "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// answer is what an RPC shows of a patient.
type answer struct {
	// whole is true where it shows a document and not fields: raw FHIR, a file, an export.
	whole bool
	// fields are the fields of patient data, as "Patient.phone", like the withheld ones of an event.
	fields []string
}

func (a answer) shows() bool { return a.whole || len(a.fields) > 0 }

var answers sync.Map // method and what was withheld → answer

// answerOf reads what a method shows from its descriptor, by the same options that redact it, without the
// fields that were withheld and what is below them. What a job does shows nothing to anybody. A method that
// this release does not know counts as showing the whole.
func answerOf(method string, withheld []string) answer {
	if strings.HasPrefix(method, "jobs/") {
		return answer{}
	}
	key := method + "\x00" + strings.Join(withheld, "\x00")
	if known, ok := answers.Load(key); ok {
		return known.(answer)
	}
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	md, ok := found.(protoreflect.MethodDescriptor)
	if err != nil || !ok {
		return answer{whole: true} // not kept: names that callers invent must not fill the memory
	}
	w := &walk{withheld: withheld, seen: map[protoreflect.FullName]bool{}}
	w.whole = md.Output().FullName() == "google.api.HttpBody"
	w.message(md.Output())
	slices.Sort(w.fields)
	answers.Store(key, w.answer)
	return w.answer
}

type walk struct {
	answer
	withheld []string
	seen     map[protoreflect.FullName]bool
}

// message adds the fields of patient data of a message and of those in it. Bytes that hold it are a document.
func (w *walk) message(md protoreflect.MessageDescriptor) {
	if w.seen[md.FullName()] {
		return
	}
	w.seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		name := string(md.Name()) + "." + string(f.Name())
		if slices.Contains(w.withheld, name) {
			continue
		}
		if access.FieldRuleOf(f).GetPhi() {
			w.whole = w.whole || f.Kind() == protoreflect.BytesKind
			w.fields = append(w.fields, name)
		}
		if f.Message() != nil {
			w.message(f.Message())
		}
	}
}
