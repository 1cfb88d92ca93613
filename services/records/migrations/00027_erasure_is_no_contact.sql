-- A request for erasure is no contact: counted as one, it would begin the years anew that it asks to be over.

-- +goose Up

-- Whether the row counts as a contact. The kind of a request is sealed, so this column shows in the clear which
-- requests are about erasure. Rows from before this migration stay contacts: nothing in the clear tells them apart,
-- and that keeps a chart longer than need be, never shorter.
ALTER TABLE rights_rows ADD COLUMN contact boolean NOT NULL DEFAULT true;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION last_contact(practice uuid, patient uuid) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT greatest(p.created_at, p.deleted_at,
        (SELECT max(d.updated_at) FROM documents d WHERE d.practice_id = practice AND d.patient_id = patient),
        (SELECT max(h.updated_at) FROM document_history h WHERE h.practice_id = practice AND h.patient_id = patient),
        (SELECT max(r.updated_at) FROM rights_rows r WHERE r.practice_id = practice AND r.patient_id = patient AND r.contact),
        (SELECT max(g.opened_at) FROM glass_openings g WHERE g.practice_id = practice AND g.patient_id = patient),
        (SELECT max(f.created_at) FROM referrals f WHERE f.practice_id = practice AND f.patient_id = patient))
    FROM patients p WHERE p.practice_id = practice AND p.patient_id = patient
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION last_contact(practice uuid, patient uuid) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT greatest(p.created_at, p.deleted_at,
        (SELECT max(d.updated_at) FROM documents d WHERE d.practice_id = practice AND d.patient_id = patient),
        (SELECT max(h.updated_at) FROM document_history h WHERE h.practice_id = practice AND h.patient_id = patient),
        (SELECT max(r.updated_at) FROM rights_rows r WHERE r.practice_id = practice AND r.patient_id = patient),
        (SELECT max(g.opened_at) FROM glass_openings g WHERE g.practice_id = practice AND g.patient_id = patient),
        (SELECT max(f.created_at) FROM referrals f WHERE f.practice_id = practice AND f.patient_id = patient))
    FROM patients p WHERE p.practice_id = practice AND p.patient_id = patient
$$;
-- +goose StatementEnd
ALTER TABLE rights_rows DROP COLUMN contact;
