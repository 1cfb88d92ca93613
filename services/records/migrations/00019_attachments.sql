-- Files of documents: the pieces of their ciphertext. The key that opens them stands in the
-- document's own sealed row, so erasing the patient's data key erases the files as well.

-- +goose Up

-- Uploads that are not complete. Their pieces belong to no document yet, and nobody has their key.
CREATE TABLE uploads (
    practice_id uuid        NOT NULL,
    document_id uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    started_at  timestamptz NOT NULL,
    PRIMARY KEY (practice_id, document_id)
);

-- Pieces in order: AES-256-GCM segments of one stream, bound to practice, patient and document.
CREATE TABLE document_pieces (
    practice_id uuid    NOT NULL,
    document_id uuid    NOT NULL,
    piece       integer NOT NULL CHECK (piece >= 0),
    patient_id  uuid    NOT NULL,
    sealed      bytea   NOT NULL,
    PRIMARY KEY (practice_id, document_id, piece)
);
ALTER TABLE document_pieces ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX document_pieces_by_patient ON document_pieces (practice_id, patient_id);

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['uploads', 'document_pieces'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT, DELETE ON uploads, document_pieces TO records_app;

-- +goose Down
DROP TABLE document_pieces, uploads;
