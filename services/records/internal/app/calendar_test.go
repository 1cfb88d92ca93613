package app_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/carekeep/carekeep/gen/carekeep/access/v1"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
	"github.com/carekeep/carekeep/libs/errs"
)

func (h *house) scheduling() recordsv1.SchedulingServiceClient {
	return recordsv1.NewSchedulingServiceClient(h.conn)
}

// open gives the practice working hours: every day, the whole day, slots of half an hour.
func (h *house) open(zone string) {
	h.t.Helper()
	w := &recordsv1.WorkingHours{Name: "workingHours/practice", TimeZone: zone, SlotMinutes: 30}
	for d := recordsv1.DayOfWeek_DAY_OF_WEEK_MONDAY; d <= recordsv1.DayOfWeek_DAY_OF_WEEK_SUNDAY; d++ {
		w.Periods = append(w.Periods, &recordsv1.WorkingPeriod{Day: d, Start: "00:00", End: "24:00"})
	}
	_, err := h.scheduling().UpdateWorkingHours(h.as(h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())),
		&recordsv1.UpdateWorkingHoursRequest{WorkingHours: w})
	require.NoError(h.t, err)
}

// tomorrow is a time of the next day in a zone.
func tomorrow(hour, minute int, zone *time.Location) time.Time {
	y, m, d := time.Now().In(zone).AddDate(0, 0, 1).Date()
	return time.Date(y, m, d, hour, minute, 0, 0, zone)
}

// with is the user with more permissions.
func (u *user) with(more ...accessv1.Permission) *user {
	c := *u
	for _, p := range more {
		c.Permissions.Add(p)
	}
	return &c
}

func (u *user) name() string { return "users/" + u.User.String() }

// another is a second service over the same database.
func (h *house) another() *house {
	h.t.Helper()
	twin := &house{t: h.t, db: h.db, database: h.database, settings: h.settings, practice: h.practice, log: h.log}
	twin.start()
	h.t.Cleanup(func() { twin.stop() })
	return twin
}

// Fifty callers book one slot at once through three services: one gets it, the others are told.
func TestOneSlotIsBookedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.open("UTC")
	doctor := h.doctor()
	houses := []*house{h, h.another(), h.another()}
	patient := h.patient(doctor).GetName()
	at := timestamppb.New(tomorrow(9, 0, time.UTC))
	results := make([]error, 50)
	var all sync.WaitGroup
	for i := range results {
		ctx, client := h.as(doctor), houses[i%len(houses)].scheduling()
		all.Go(func() {
			_, results[i] = client.BookAppointment(ctx, &recordsv1.BookAppointmentRequest{Parent: patient, Doctor: doctor.name(), StartTime: at, Reason: "Cough"})
		})
	}
	all.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		require.Equal(t, codes.AlreadyExists, status.Code(err), err)
		require.Equal(t, "SLOT_TAKEN", errs.ReasonOf(err))
	}
	require.Equal(t, 1, won)
	require.Equal(t, [][]any{{int64(1)}}, h.sql("SELECT count(*) FROM documents WHERE type = 'Appointment'"))
}

// Whoever writes appointments in whatever way, those of one doctor that hold time never
// overlap, and whoever asks for free time gets it: a model of intervals agrees after each step.
func TestAppointmentsNeverOverlap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	ctx, patient := h.as(doctor), h.patient(doctor).GetName()
	origin := tomorrow(0, 0, time.UTC)
	type kept struct {
		a          *recordsv1.Appointment
		start, end int // in steps of five minutes
		holds      bool
	}
	var list []*kept
	free := func(self *kept, start, end int) bool {
		for _, k := range list {
			if k != self && k.holds && k.start < end && start < k.end {
				return false
			}
		}
		return true
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 150 {
		start := r.IntN(60)
		end := start + 1 + r.IntN(12)
		times := &recordsv1.Appointment{
			StartTime: timestamppb.New(origin.Add(time.Duration(start) * 5 * time.Minute)), EndTime: timestamppb.New(origin.Add(time.Duration(end) * 5 * time.Minute)),
		}
		switch k := pick(r, list); {
		case k == nil || r.IntN(3) == 0:
			times.Practitioner = doctor.name()
			a, err := h.client.CreateAppointment(ctx, &recordsv1.CreateAppointmentRequest{Parent: patient, Appointment: times})
			require.Equal(t, free(nil, start, end), err == nil, "%v", err)
			if err == nil {
				list = append(list, &kept{a, start, end, true})
			}
		case r.IntN(4) == 0:
			_, err := h.client.DeleteAppointment(ctx, &recordsv1.DeleteAppointmentRequest{Name: k.a.GetName()})
			require.NoError(t, err)
			list = without(list, k)
		case r.IntN(2) == 0:
			status := []string{"cancelled", "noshow", "entered-in-error", "booked", "arrived", "pending"}[r.IntN(6)]
			holds := status == "booked" || status == "arrived" || status == "pending"
			a, err := h.client.UpdateAppointment(ctx, &recordsv1.UpdateAppointmentRequest{Appointment: &recordsv1.Appointment{Name: k.a.GetName(), Etag: k.a.GetEtag(), Status: status}})
			require.Equal(t, !holds || free(k, k.start, k.end), err == nil, "%v", err)
			if err == nil {
				k.a, k.holds = a, holds
			}
		default:
			times.Name, times.Etag = k.a.GetName(), k.a.GetEtag()
			a, err := h.client.UpdateAppointment(ctx, &recordsv1.UpdateAppointmentRequest{
				Appointment: times, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"start_time", "end_time"}},
			})
			require.Equal(t, !k.holds || free(k, start, end), err == nil, "%v", err)
			if err == nil {
				k.a, k.start, k.end = a, start, end
			}
		}
	}
}

func pick[T any](r *rand.Rand, list []*T) *T {
	if len(list) == 0 {
		return nil
	}
	return list[r.IntN(len(list))]
}

func without[T comparable](list []T, x T) []T {
	var out []T
	for _, y := range list {
		if y != x {
			out = append(out, y)
		}
	}
	return out
}

func rawAppointment(id, patient string, doctor *user, status string, start, end time.Time) string {
	return fmt.Sprintf(`{"resourceType":"Appointment","id":%q,"status":%q,"start":%q,"end":%q,"participant":[
		{"actor":{"reference":"Patient/%s"},"status":"accepted"},
		{"actor":{"type":"Practitioner","identifier":{"system":"urn:ietf:rfc:3986","value":"urn:uuid:%s"}},"status":"accepted"}]}`,
		id, status, start.Format(time.RFC3339), end.Format(time.RFC3339), patient, doctor.User)
}

// bring imports into the chart of a patient who is there already, whatever is refused.
func (h *house) bring(u *user, f file, resources ...string) imported {
	h.t.Helper()
	got, err := h.importBundle(h.as(u), &recordsv1.ImportOptions{Patient: f.patient}, strings.NewReader(bundleOf(resources...)))
	require.NoError(h.t, err)
	return got
}

// An import keeps the calendar too: what would book a doctor twice is refused entry by
// entry, within a bundle and against what is there; history and cancelled appointments are let in.
func TestImportBooksNobodyTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, other := h.doctor(), h.doctor()
	chart := file{patient: h.patient(doctor).GetName()}
	p := lastPart(chart.patient)
	nine := tomorrow(9, 0, time.UTC)
	at := func(status string, doctor *user, start time.Time, minutes int) string {
		return rawAppointment(uuid.NewString(), p, doctor, status, start, start.Add(time.Duration(minutes)*time.Minute))
	}
	first := uuid.NewString()
	got := h.bring(doctor, chart,
		rawAppointment(first, p, doctor, "booked", nine, nine.Add(time.Hour)),
		at("booked", doctor, nine.Add(30*time.Minute), 60), // overlaps the first
		at("booked", doctor, nine.Add(time.Hour), 60),      // follows it
		at("booked", other, nine, 60),                      // another doctor
		at("cancelled", doctor, nine, 60),
		at("booked", doctor, nine.AddDate(-1, 0, 0), 60), // history
		at("booked", doctor, nine.AddDate(-1, 0, 0), 60),
		at("booked", doctor, nine.AddDate(0, 0, 2), 25*60),
		at("booked", doctor, nine.AddDate(0, 0, 2), -5),
	)
	require.Equal(t, map[int64]string{1: "ENTRY_SLOT_TAKEN", 7: "ENTRY_MALFORMED", 8: "ENTRY_MALFORMED"}, reasons(got))
	require.EqualValues(t, 6, got.result.GetCreated())

	// Against what is stored; the other entries of the batch are stored all the same, and a denial in it is recorded.
	f := h.file(other)
	note := `{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"contentType":"text/plain"}}],"id":"` + f.noteID + `","subject":{"reference":"Patient/` + p + `"}}`
	var again imported
	events := h.since(func() {
		again = h.bring(doctor, chart, note, at("booked", doctor, nine.Add(-30*time.Minute), 35), at("booked", doctor, nine.Add(2*time.Hour), 30))
	})
	require.Equal(t, map[int64]string{0: "ENTRY_OTHER_PATIENT", 1: "ENTRY_SLOT_TAKEN"}, reasons(again))
	require.EqualValues(t, 1, again.result.GetCreated())
	require.Equal(t, map[string]string{f.patientID + "/notes/" + f.noteID: "ENTRY_OTHER_PATIENT"}, denials(events))

	// The next version of an appointment moves it.
	moved := h.bring(doctor, chart, rawAppointment(first, p, doctor, "booked", nine.Add(-time.Hour), nine))
	require.Empty(t, moved.problems)
	free := h.bring(doctor, chart, at("booked", doctor, nine, 60))
	require.Empty(t, free.problems)
	taken := h.bring(doctor, chart, at("booked", doctor, nine.Add(-15*time.Minute), 5))
	require.Equal(t, map[int64]string{0: "ENTRY_SLOT_TAKEN"}, reasons(taken))
}

// Working hours make slots; booking, moving and cancelling keep them; the calendar shows each day in
// the practice's zone, and only patients whom the caller may see.
func TestSlotsAndCalendar(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor, stranger := h.doctor(), h.doctor()
	s, ctx := h.scheduling(), h.as(doctor)
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	date := tomorrow(0, 0, zone).Format(time.DateOnly)
	_, err = s.ListFreeSlots(ctx, &recordsv1.ListFreeSlotsRequest{Doctor: doctor.name(), Date: date})
	require.Equal(t, "HOURS_MISSING", errs.ReasonOf(err))
	h.open("America/New_York")
	own := &recordsv1.WorkingHours{Name: "workingHours/" + doctor.User.String(), SlotMinutes: 20}
	for d := range 7 {
		own.Periods = append(own.Periods, &recordsv1.WorkingPeriod{Day: recordsv1.DayOfWeek(d + 1), Start: "22:30", End: "24:00"})
	}
	_, err = s.UpdateWorkingHours(h.as(stranger), &recordsv1.UpdateWorkingHoursRequest{WorkingHours: own})
	require.Equal(t, "HOURS_NOT_YOURS", errs.ReasonOf(err))
	own, err = s.UpdateWorkingHours(h.as(h.receptionist(doctor).with(accessv1.Permission_PERMISSION_SCHEDULE_UPDATE)), &recordsv1.UpdateWorkingHoursRequest{WorkingHours: own})
	require.NoError(t, err)
	got, err := s.GetWorkingHours(ctx, &recordsv1.GetWorkingHoursRequest{Name: own.GetName()})
	require.NoError(t, err)
	require.Equal(t, own.String(), got.String())
	list, err := s.ListWorkingHours(ctx, &recordsv1.ListWorkingHoursRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetWorkingHours(), 2)

	slots := func() []string {
		t.Helper()
		free, err := s.ListFreeSlots(ctx, &recordsv1.ListFreeSlotsRequest{Doctor: doctor.name(), Date: date})
		require.NoError(t, err)
		require.Equal(t, "America/New_York", free.GetTimeZone())
		var out []string
		for _, f := range free.GetSlots() {
			out = append(out, f.GetStartTime().AsTime().In(zone).Format("15:04"))
		}
		return out
	}
	require.Equal(t, []string{"22:30", "22:50", "23:10", "23:30"}, slots())

	patient := h.patient(doctor).GetName()
	book := func(hour, minute, long int) (*recordsv1.Appointment, error) {
		start := tomorrow(hour, minute, zone)
		return s.BookAppointment(ctx, &recordsv1.BookAppointmentRequest{
			Parent: patient, Doctor: doctor.name(), StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(time.Duration(long) * time.Minute)),
		})
	}
	late, err := book(23, 10, 40)
	require.NoError(t, err)
	require.Equal(t, []string{"22:30", "22:50"}, slots())
	for name, try := range map[string]func() error{
		"OUTSIDE_HOURS": func() error { _, err := book(22, 35, 20); return err },
		"START_PAST":    func() error { _, err := book(-48, 0, 20); return err },
		"START_TOO_FAR": func() error { _, err := book(24*800, 0, 20); return err },
		"SLOT_TAKEN":    func() error { _, err := book(23, 30, 20); return err },
	} {
		require.Equal(t, name, errs.ReasonOf(try()))
	}
	early, err := book(22, 30, 20)
	require.NoError(t, err)
	day := func(u *user, doctor string) []string {
		t.Helper()
		var out []string
		for token := ""; ; {
			c, err := s.ListCalendar(h.as(u), &recordsv1.ListCalendarRequest{Date: date, Doctor: doctor, PageSize: 1, PageToken: token})
			require.NoError(t, err)
			for _, a := range c.GetAppointments() {
				out = append(out, a.GetStartTime().AsTime().In(zone).Format("15:04")+" "+a.GetStatus())
			}
			if token = c.GetNextPageToken(); token == "" {
				return out
			}
		}
	}
	require.Equal(t, []string{"22:30 booked", "23:10 booked"}, day(doctor, ""))
	early, err = s.MoveAppointment(ctx, &recordsv1.MoveAppointmentRequest{Name: early.GetName(), Etag: early.GetEtag(), StartTime: timestamppb.New(tomorrow(22, 50, zone))})
	require.NoError(t, err)
	require.Equal(t, []string{"22:30"}, slots())
	_, err = s.MoveAppointment(ctx, &recordsv1.MoveAppointmentRequest{Name: early.GetName(), Etag: early.GetEtag(), StartTime: timestamppb.New(tomorrow(23, 10, zone))})
	require.Equal(t, "SLOT_TAKEN", errs.ReasonOf(err))
	late, err = s.CancelAppointment(ctx, &recordsv1.CancelAppointmentRequest{Name: late.GetName(), Etag: late.GetEtag()})
	require.NoError(t, err)
	require.Equal(t, []string{"22:30", "23:10", "23:30"}, slots())
	_, err = s.CancelAppointment(ctx, &recordsv1.CancelAppointmentRequest{Name: late.GetName(), Etag: late.GetEtag()})
	require.Equal(t, "APPOINTMENT_OVER", errs.ReasonOf(err))
	require.Equal(t, []string{"22:50 booked", "23:10 cancelled"}, day(doctor, doctor.name()))
	require.Empty(t, day(stranger, ""))
	require.Empty(t, day(doctor, stranger.name()))

	// Who deletes the patient frees the time.
	_, err = h.client.DeletePatient(ctx, &recordsv1.DeletePatientRequest{Name: patient})
	require.NoError(t, err)
	require.Empty(t, h.sql("SELECT FROM appointment_cells"))
}

// Only doctors who treat a patient are booked for one: those of the care team in their time, and who calls or is acted for.
func TestOnlyDoctorsWhoTreatThePatientAreBooked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.open("UTC")
	doctor, other := h.doctor(), h.doctor()
	patient := h.patient(doctor).GetName()
	hour := 8
	book := func(u *user, name string) (*recordsv1.Appointment, error) {
		hour++
		return h.scheduling().BookAppointment(h.as(u), &recordsv1.BookAppointmentRequest{
			Parent: patient, Doctor: name, StartTime: timestamppb.New(tomorrow(hour, 0, time.UTC)),
		})
	}
	move := func(a *recordsv1.Appointment, name string) (*recordsv1.Appointment, error) {
		hour++
		return h.scheduling().MoveAppointment(h.as(doctor), &recordsv1.MoveAppointmentRequest{
			Name: a.GetName(), Etag: a.GetEtag(), Doctor: name, StartTime: timestamppb.New(tomorrow(hour, 0, time.UTC)),
		})
	}
	refused := func(_ *recordsv1.Appointment, err error) {
		t.Helper()
		require.Equal(t, codes.FailedPrecondition, status.Code(err), err)
		require.Equal(t, "DOCTOR_NOT_TREATING", errs.ReasonOf(err))
	}
	refused(book(doctor, "users/"+uuid.NewString()))
	refused(book(doctor, other.name()))
	refused(book(h.receptionist(doctor), other.name()))
	whole := h.user(accessv1.RoleKind_ROLE_KIND_ADMIN, everything())
	refused(book(whole, whole.name()))
	require.Equal(t, [][]any{{int64(0)}}, h.sql("SELECT count(*) FROM documents WHERE type = 'Appointment'"))

	a, err := book(doctor, doctor.name())
	require.NoError(t, err)
	_, err = book(h.receptionist(doctor), doctor.name())
	require.NoError(t, err)
	_, err = book(whole, doctor.name())
	require.NoError(t, err)
	refused(move(a, other.name()))
	at := func(day int, name string) *recordsv1.Appointment {
		start := tomorrow(hour, 0, time.UTC).AddDate(0, 0, day)
		return &recordsv1.Appointment{StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(time.Minute)), Practitioner: name}
	}
	_, err = h.client.CreateAppointment(h.as(doctor), &recordsv1.CreateAppointmentRequest{Parent: patient, Appointment: at(-9, other.name())})
	require.NoError(t, err, "what is over takes nobody's time")
	refused(h.client.CreateAppointment(h.as(doctor), &recordsv1.CreateAppointmentRequest{Parent: patient, Appointment: at(1, other.name())}))
	typed, err := h.client.CreateAppointment(h.as(doctor), &recordsv1.CreateAppointmentRequest{Parent: patient, Appointment: at(1, doctor.name())})
	require.NoError(t, err)
	refused(h.client.UpdateAppointment(h.as(doctor), &recordsv1.UpdateAppointmentRequest{
		Appointment: &recordsv1.Appointment{Name: typed.GetName(), Etag: typed.GetEtag(), Practitioner: other.name()},
	}))
	_, err = h.client.CreateAppointment(h.as(other), &recordsv1.CreateAppointmentRequest{Parent: patient, Appointment: at(1, other.name())})
	require.Equal(t, codes.NotFound, status.Code(err), "who may not see the patient learns nothing")
	a, err = move(a, doctor.name())
	require.NoError(t, err)

	add := func(from, to *timestamppb.Timestamp) {
		_, err := h.client.AddCareTeamMember(h.as(doctor), &recordsv1.AddCareTeamMemberRequest{Name: patient + "/careTeam", User: other.name(), StartTime: from, EndTime: to})
		require.NoError(t, err)
	}
	add(timestamppb.New(time.Now().Add(-48*time.Hour)), timestamppb.New(time.Now().Add(-24*time.Hour)))
	refused(book(doctor, other.name()))
	add(nil, nil)
	_, err = book(doctor, other.name())
	require.NoError(t, err)
	_, err = move(a, other.name())
	require.NoError(t, err)
}

// The database has no date of an appointment, in no form: neither its tables and indexes nor its log.
func TestCalendarKeepsNoDateOnDisk(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.open("UTC")
	doctor := h.doctor()
	start := time.Date(time.Now().Year()+1, 3, 17, 10, 30, 0, 0, time.UTC)
	a, err := h.scheduling().BookAppointment(h.as(doctor), &recordsv1.BookAppointmentRequest{
		Parent: h.patient(doctor).GetName(), Doctor: doctor.name(), StartTime: timestamppb.New(start),
	})
	require.NoError(t, err)
	stores := h.stores()
	// The search finds what is there: the appointment's id.
	require.True(t, bytes.Contains(stores["file of appointment_cells"], uuidBytes(t, lastPart(a.GetName()))))
	postgres := start.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()
	canaries := map[string][]byte{"date": []byte(start.Format(time.DateOnly)), "doctor": doctor.User[:], "reversed date": []byte(start.Format("02.01.2006"))}
	for name, number := range map[string]int64{"microseconds": postgres, "step": start.Unix() / 300} {
		canaries[name] = binary.LittleEndian.AppendUint64(nil, uint64(number))
		canaries[name+", big-endian"] = binary.BigEndian.AppendUint64(nil, uint64(number))
		canaries[name+", in digits"] = fmt.Append(nil, number)
	}
	canaries["seconds, in digits"] = fmt.Append(nil, start.Unix())
	for file, content := range stores {
		for form, canary := range canaries {
			if form == "doctor" && file != "file of appointment_cells" {
				continue // the care team names doctors
			}
			require.False(t, bytes.Contains(content, canary), "%s in %s", form, file)
		}
	}
	// Two appointments at the same hour of two days, or of two doctors, have no token in common.
	require.Equal(t, h.sql("SELECT count(*) FROM appointment_cells"), h.sql("SELECT count(DISTINCT token) FROM appointment_cells"))
}

// FHIR keeps the calendar as everything else does: one by one, within a transaction and against what is there.
func TestFHIRBooksNobodyTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	doctor := h.doctor()
	patient := lastPart(h.patient(doctor).GetName())
	nine := tomorrow(9, 0, time.UTC)
	at := func(start time.Time) string {
		full := rawAppointment("x", patient, doctor, "booked", start, start.Add(time.Hour))
		return strings.Replace(full, `"id":"x",`, "", 1)
	}
	post := func(start time.Time) string {
		return `{"resource":` + at(start) + `,"request":{"method":"POST","url":"Appointment"}}`
	}
	transaction := func(entries ...string) fhirAnswer {
		return h.fhir(doctor, "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(entries, ",")+`]}`)
	}
	taken := func(got fhirAnswer) {
		t.Helper()
		require.Equal(t, 409, got.status, got.body)
		require.Equal(t, "SLOT_TAKEN", got.reason())
	}
	count := func() any {
		return h.sql("SELECT count(*) FROM documents WHERE type = 'Appointment' AND NOT deleted")[0][0]
	}

	first := h.fhir(doctor, "POST", "/Appointment", at(nine))
	require.Equal(t, 201, first.status, first.body)
	taken(h.fhir(doctor, "POST", "/Appointment", at(nine)))
	taken(h.fhir(doctor, "POST", "/Appointment", at(nine.Add(30*time.Minute))))

	// A transaction books against what is there and within itself, or not at all.
	got := transaction(post(nine.Add(3*time.Hour)), post(nine))
	taken(got)
	require.Contains(t, got.body, `"Bundle.entry[1]"`)
	taken(transaction(post(nine.Add(3*time.Hour)), post(nine.Add(150*time.Minute))))
	require.EqualValues(t, 1, count())
	second := h.fhir(doctor, "POST", "/Appointment", at(nine.Add(time.Hour)))
	require.Equal(t, 201, second.status, second.body)

	// An update holds the new time and frees the old; what is deleted frees its own, in the same transaction too.
	moved := func(a fhirAnswer, start time.Time) string {
		return rawAppointment(a.id(), patient, doctor, "booked", start, start.Add(time.Hour))
	}
	taken(h.fhir(doctor, "PUT", "/Appointment/"+second.id(), moved(second, nine), "If-Match", `W/"1"`))
	put := h.fhir(doctor, "PUT", "/Appointment/"+second.id(), moved(second, nine.Add(2*time.Hour)), "If-Match", `W/"1"`)
	require.Equal(t, 200, put.status, put.body)
	got = transaction(post(nine), `{"request":{"method":"DELETE","url":"Appointment/`+first.id()+`"}}`)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, 204, h.fhir(doctor, "DELETE", "/Appointment/"+second.id(), "").status)
	require.Equal(t, 201, h.fhir(doctor, "POST", "/Appointment", at(nine.Add(2*time.Hour))).status)

	// With the patient goes what the patient held.
	require.Equal(t, 204, h.fhir(doctor, "DELETE", "/Patient/"+patient, "").status)
	require.Empty(t, h.sql("SELECT FROM appointment_cells"))
}

// schedulingCollections name no patient; TestSlotsAndCalendar shows what they show.
var schedulingCollections = []string{"GetWorkingHours", "ListWorkingHours", "UpdateWorkingHours", "ListFreeSlots", "ListCalendar"}

// schedulingCalls are the RPCs that name a patient or an appointment.
func schedulingCalls() map[string]func(*house, *user, file) error {
	at := timestamppb.New(tomorrow(9, 0, time.UTC))
	return map[string]func(*house, *user, file) error{
		"BookAppointment": func(h *house, u *user, f file) error {
			_, err := h.scheduling().BookAppointment(h.as(u), &recordsv1.BookAppointmentRequest{Parent: f.patient, Doctor: u.name(), StartTime: at})
			return err
		},
		"MoveAppointment": func(h *house, u *user, f file) error {
			_, err := h.scheduling().MoveAppointment(h.as(u), &recordsv1.MoveAppointmentRequest{Name: f.appointment, Etag: "v1", StartTime: at})
			return err
		},
		"CancelAppointment": func(h *house, u *user, f file) error {
			_, err := h.scheduling().CancelAppointment(h.as(u), &recordsv1.CancelAppointmentRequest{Name: f.appointment, Etag: "v1"})
			return err
		},
	}
}

// The scheduling of a patient shows a stranger, and another practice, what a random id shows.
func TestDH55_DMD06_SchedulingShowsNothingOfOthers(t *testing.T) {
	t.Parallel()
	h, abroad := newHouse(t), newHouse(t)
	h.open("UTC")
	abroad.open("UTC")
	doctor := h.doctor()
	theirs := h.file(doctor)
	for name, call := range schedulingCalls() {
		for _, house := range []*house{h, abroad} {
			stranger := house.doctor()
			require.Equal(t, codes.NotFound, status.Code(call(house, stranger, theirs)), name)
			require.Equal(t, call(house, stranger, nowhere()).Error(), call(house, stranger, theirs).Error(), name)
		}
	}
	h.unharmed(doctor, theirs)
}
