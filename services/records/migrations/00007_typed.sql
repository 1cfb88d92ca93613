-- The calendar, without a date in the clear: which steps of time an appointment
-- covers, as HMACs under the practice's index key.

-- +goose Up

-- token is an HMAC of doctor and five minutes, or, for the calendar of the whole practice, of a
-- quarter of an hour. holds marks those that the doctor has for nobody else.
CREATE TABLE appointment_cells (
    practice_id    uuid    NOT NULL,
    token          bytea   NOT NULL,
    appointment_id uuid    NOT NULL,
    patient_id     uuid    NOT NULL,
    holds          boolean NOT NULL,
    PRIMARY KEY (practice_id, token, appointment_id)
);
-- This index is what makes a double booking impossible.
CREATE UNIQUE INDEX appointment_cells_held ON appointment_cells (practice_id, token) WHERE holds;
CREATE INDEX appointment_cells_by_appointment ON appointment_cells (practice_id, appointment_id);
CREATE INDEX appointment_cells_by_patient ON appointment_cells (practice_id, patient_id);

ALTER TABLE appointment_cells ENABLE ROW LEVEL SECURITY;
ALTER TABLE appointment_cells FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON appointment_cells USING (practice_id = current_setting('carekeep.practice')::uuid);
GRANT SELECT, INSERT, DELETE ON appointment_cells TO records_app;

-- +goose Down
DROP TABLE appointment_cells;
