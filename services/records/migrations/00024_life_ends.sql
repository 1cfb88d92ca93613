-- The end of records, mended: what counts as a contact, and a practice that leaves loses no write.

-- +goose Up

-- When something was last stored about a patient: in the chart, in a request, disclosure or consent, or by somebody
-- who broke the glass or referred the patient. An imported document counts from the import: that keeps it longer than
-- need be, never shorter.
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

-- How many versions the newest export has. The destruction compares: one that was stored by a slower transaction is
-- in no export, whatever its time says.
ALTER TABLE practice_exits ADD COLUMN exported_versions bigint NOT NULL DEFAULT 0;
GRANT UPDATE (exported_versions) ON practice_exits TO records_app;

-- +goose StatementBegin
-- Nothing is stored for a practice from the moment on in which its destruction is decided, on whatever replica. That
-- moment takes the lock alone: it waits for writes that are under way, and sees them.
CREATE FUNCTION refuse_leaving() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE practice uuid := nullif(current_setting('carekeep.practice', true), '')::uuid;
BEGIN
    IF practice IS NULL THEN -- a restore; to the service's role row-level security shows no row then
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('carekeep.exit.' || practice, 0));
    IF EXISTS (SELECT FROM practice_exits WHERE practice_id = practice AND state IN (4, 5)) THEN
        RAISE EXCEPTION 'the practice has left' USING ERRCODE = 'CK004';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION refuse_leaving() FROM PUBLIC;
-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['documents', 'rights_rows', 'legal_holds', 'glass_openings', 'referrals', 'care_team'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_leaving BEFORE INSERT OR UPDATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_leaving()', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION refuse_leaving() CASCADE;
ALTER TABLE practice_exits DROP COLUMN exported_versions;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION last_contact(practice uuid, patient uuid) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT greatest(p.created_at, p.deleted_at,
        (SELECT max(d.updated_at) FROM documents d WHERE d.practice_id = practice AND d.patient_id = patient),
        (SELECT max(h.updated_at) FROM document_history h WHERE h.practice_id = practice AND h.patient_id = patient))
    FROM patients p WHERE p.practice_id = practice AND p.patient_id = patient
$$;
-- +goose StatementEnd
