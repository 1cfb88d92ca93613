package demo

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/carekeep/carekeep/deploy/local/seed"
	recordsv1 "github.com/carekeep/carekeep/gen/carekeep/records/v1"
)

// written is what dr.smith adds to the chart. The words occur nowhere else, so
// that finding them in a file means that they were left there.
type written struct {
	note, appointment string
}

const (
	noteTitle = "Follow-up zephyrwort tincture"
	noteText  = "Reports vertiginous quokka dreams since the marmalade incident; advised larkspur abstinence."
	visitWhy  = "Recheck of the vertiginous quokka dreams"
)

func (s *story) write(ctx context.Context) (string, error) {
	smith, err := s.as(ctx, seed.Smith)
	if err != nil {
		return "", err
	}
	name := "/v1/patients/" + s.chart.id
	var note recordsv1.Note
	var appointment recordsv1.Appointment
	start := time.Now().AddDate(0, 0, 14).Truncate(time.Hour)
	if err := errors.Join(
		smith.Call(ctx, http.MethodPost, name+"/notes", &recordsv1.Note{Title: noteTitle, Text: noteText}, &note),
		smith.Call(ctx, http.MethodPost, name+"/appointments", &recordsv1.Appointment{
			StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(30 * time.Minute)), Status: "booked",
			Practitioner: s.People.Person(seed.Smith).User, Reason: visitWhy,
		}, &appointment),
	); err != nil {
		return "", err
	}
	var again recordsv1.Note
	if err := smith.Call(ctx, http.MethodGet, "/v1/"+note.GetName(), nil, &again); err != nil {
		return "", err
	}
	if again.GetText() != noteText {
		return "", errors.New("the note reads back differently")
	}
	s.written = written{note: note.GetName(), appointment: appointment.GetName()}
	return note.GetName() + ", " + appointment.GetName(), nil
}
