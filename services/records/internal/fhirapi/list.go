package fhirapi

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/caller"
	"github.com/carekeep/carekeep/libs/errs"
	"github.com/carekeep/carekeep/libs/outcome"
	"github.com/carekeep/carekeep/services/records/internal/chart"
	"github.com/carekeep/carekeep/services/records/internal/fhir"
	"github.com/carekeep/carekeep/services/records/internal/interact"
	"github.com/carekeep/carekeep/services/records/internal/search"
	"github.com/carekeep/carekeep/services/records/policy"
)

const (
	defaultCount = 100
	// everythingCount and everythingBytes bound a page of $everything: a usual chart is one page.
	everythingCount = 1000
	everythingBytes = 8 << 20
)

var errPage = errs.New(errs.KindInvalid, "PAGE_TOKEN_INVALID", "The page does not belong to this list: follow the link of its last page.").
	WithField("_page", "is not a page of this list")

// History implements the RPC.
func (s *Service) History(ctx context.Context, r *recordsv1.FhirServiceHistoryRequest) (*recordsv1.FhirAnswer, error) {
	id, err := readable(ctx, r.GetType(), r.GetId())
	if err != nil {
		return nil, err
	}
	below := int64(0)
	if r.GetPage() != "" {
		if below, err = strconv.ParseInt(r.GetPage(), 36, 64); err != nil || below <= 0 {
			return nil, errPage
		}
	}
	count := int(r.GetCount())
	if count == 0 {
		count = defaultCount
	}
	versions, next, err := s.Store.History(ctx, r.GetType(), id, below, count)
	if err != nil {
		return nil, err
	}
	w := newBundle(s.Base, "history", s.Now())
	here := "/" + r.GetType() + "/" + id.String() + "/_history"
	links := [][2]string{{"self", here + query("_count", counted(r.GetCount()), "_page", r.GetPage())}}
	if next != 0 {
		links = append(links, [2]string{"next", here + query("_count", counted(r.GetCount()), "_page", strconv.FormatInt(next, 36))})
	}
	w.links(links...)
	for _, v := range versions {
		w.version(v)
	}
	return &recordsv1.FhirAnswer{Content: w.close()}, nil
}

func counted(n int32) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

// version adds one version to a history.
func (w *writer) version(v interact.Version) {
	method, status, url := "PUT", "200", v.Type+"/"+v.ID.String()
	switch {
	case v.Deleted:
		method, status = "DELETE", "204"
	case v.Version == 1:
		method, status, url = "POST", "201", v.Type
	}
	w.begin()
	w.text(`"fullUrl":` + quote(w.base+pathOf(v.Document)))
	if !v.Deleted {
		w.text(`,"resource":`)
		w.raw(shown(v.JSON))
	}
	w.text(`,"request":{"method":` + quote(method) + `,"url":` + quote(url) + `},"response":{"status":` + quote(status) +
		`,"etag":` + quote(Etag(v.Version)) + `,"lastModified":` + quote(instant(v.Updated)) + `}`)
	w.end()
}

// Everything implements the RPC.
func (s *Service) Everything(ctx context.Context, r *recordsv1.FhirServiceEverythingRequest) (*recordsv1.FhirAnswer, error) {
	id, err := readable(ctx, fhir.TypePatient, r.GetId())
	if err != nil {
		return nil, err
	}
	types, left, err := s.walkable(ctx, r.GetTypes())
	if err != nil {
		return nil, err
	}
	walk := interact.Walk{Types: types, Since: r.GetSince().AsTime(), Count: int(r.GetCount()), Bytes: everythingBytes}
	if walk.Count == 0 {
		walk.Count = everythingCount
	}
	if walk.After, err = parseCursor(r.GetPage()); err != nil {
		return nil, err
	}
	docs, next, err := s.Store.Everything(ctx, id, walk)
	if err != nil {
		return nil, err
	}
	w := newBundle(s.Base, "searchset", s.Now())
	since := ""
	if r.GetSince() != nil {
		since = r.GetSince().AsTime().Format(time.RFC3339Nano)
	}
	link := func(page string) string {
		return "/Patient/" + id.String() + "/$everything" + query("_type", r.GetTypes(), "_since", since, "_count", counted(r.GetCount()), "_page", page)
	}
	links := [][2]string{{"self", link(r.GetPage())}}
	if next != nil {
		links = append(links, [2]string{"next", link(formatCursor(*next))})
	}
	w.links(links...)
	for _, d := range docs {
		w.match(d)
	}
	if left && r.GetPage() == "" {
		w.note(outcome.Note("information", "suppressed", "Types that the caller may not read are left out."))
	}
	return &recordsv1.FhirAnswer{Content: w.close()}, nil
}

// compartment are the types of a chart, Patient among them.
var compartment = sync.OnceValue(func() []string {
	return slices.DeleteFunc(slices.Clone(fhir.StoredTypes()), fhir.Directory)
})

// walkable are the types of a chart that were asked for and that the caller may read, and
// whether some were left out. A type that no chart holds is refused: left out, it would look like one of which there is nothing.
func (s *Service) walkable(ctx context.Context, asked string) (types []string, left bool, err error) {
	wanted := compartment()
	if asked != "" {
		wanted = strings.Split(asked, ",")
	}
	for _, t := range wanted {
		if !slices.Contains(compartment(), t) {
			return nil, false, unwalkable(t)
		}
	}
	types = []string{}
	for _, t := range compartment() {
		switch {
		case !slices.Contains(wanted, t):
		case policy.CheckRead(caller.ViewOf(ctx), t) != nil:
			left = true
		default:
			types = append(types, t)
		}
	}
	return types, left, nil
}

// unwalkable names the type that is refused: by the proto file it is a word of letters.
func unwalkable(resourceType string) error {
	return errs.New(errs.KindInvalid, "TYPE_UNKNOWN", resourceType+" in _type is no resource type that a chart holds.").
		WithField("_type", "must name types of the patient compartment, with commas between them")
}

// A cursor is version, time, id and type, in base64url. It is no secret and grants
// nothing: every page is checked as the first one is.
const cursorVersion = 1

func formatCursor(c interact.Cursor) string {
	raw := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(c.Created.UnixMicro()))
	raw = append(append(raw, c.ID[:]...), c.Type...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(token string) (interact.Cursor, error) {
	if token == "" {
		return interact.Cursor{Created: time.Unix(0, 0), ID: uuid.Nil}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 25 || raw[0] != cursorVersion || !fhir.Known(string(raw[25:])) {
		return interact.Cursor{}, errPage
	}
	c := interact.Cursor{Type: string(raw[25:]), Created: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:]))).UTC()}
	if c.Created.Year() < 1 || c.Created.Year() > 9999 { // beyond what Postgres and FHIR know
		return interact.Cursor{}, errPage
	}
	copy(c.ID[:], raw[9:])
	return c, nil
}

// Search implements the RPC.
func (s *Service) Search(ctx context.Context, r *recordsv1.FhirServiceSearchRequest) (*recordsv1.FhirAnswer, error) {
	form, err := url.ParseQuery(string(r.GetContent()))
	if err != nil {
		return nil, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "The body of a search is application/x-www-form-urlencoded, and this is not.")
	}
	return s.search(ctx, r.GetType(), form)
}

// SearchPage implements the RPC.
func (s *Service) SearchPage(ctx context.Context, r *recordsv1.FhirServiceSearchPageRequest) (*recordsv1.FhirAnswer, error) {
	return s.search(ctx, r.GetType(), url.Values{"_page": {r.GetPage()}})
}

func (s *Service) search(ctx context.Context, resourceType string, form url.Values) (*recordsv1.FhirAnswer, error) {
	found, err := s.found(ctx, resourceType, form)
	if err != nil {
		return nil, err
	}
	w := newBundle(s.Base, "searchset", s.Now())
	if found.Next != "" {
		w.links([2]string{"next", "/_search/" + resourceType + query("page", found.Next)})
	}
	for _, d := range found.Documents {
		w.match(d)
	}
	return &recordsv1.FhirAnswer{Content: w.close()}, nil
}

func (s *Service) found(ctx context.Context, resourceType string, form url.Values) (search.Result, error) {
	q, err := parsed(ctx, resourceType, form)
	if err != nil {
		return search.Result{}, err
	}
	return s.Engine.Run(ctx, q)
}

// parsed is a search for resources that the caller may read.
func parsed(ctx context.Context, resourceType string, form url.Values) (*search.Query, error) {
	if _, err := readable(ctx, resourceType, ""); err != nil {
		return nil, err
	}
	return search.Parse(resourceType, form)
}

var errMany = errs.New(errs.KindPrecondition, outcome.ReasonMany, "If-None-Exist finds more than one resource: make its parameters narrower.")

// existing is the resource that a conditional create finds, nil where there is none; and what the
// create has to go without, nil where it has no condition.
func (s *Service) existing(ctx context.Context, resourceType, condition string) (*recordsv1.FhirAnswer, chart.Criteria, error) {
	if condition == "" {
		return nil, nil, nil
	}
	form, err := url.ParseQuery(condition)
	if err != nil || len(form) == 0 || slices.ContainsFunc(search.Results(), form.Has) {
		return nil, nil, errs.New(errs.KindInvalid, "PARAMETER_MALFORMED", "If-None-Exist takes search parameters that say what is looked for, and no others.")
	}
	q, err := parsed(ctx, resourceType, form)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.Engine.Run(ctx, q)
	switch {
	case err != nil:
		return nil, nil, err
	case len(found.Documents) > 1:
		return nil, nil, errMany
	case len(found.Documents) == 1:
		return answer(found.Documents[0]), nil, nil
	}
	return nil, q.Criteria(), nil
}
