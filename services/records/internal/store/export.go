package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ChartDocuments reads a patient's current documents by type and id, from after on;
// none where the viewer may not see the patient.
func ChartDocuments(b *pgx.Batch, v Viewer, patient uuid.UUID, afterType string, after uuid.UUID, limit int, out *[]Document) {
	many(b, out, scanDocument, `SELECT `+documentColumns+` FROM documents d`+joins+`
		WHERE d.practice_id = $1 AND d.patient_id = $4 AND NOT d.deleted AND p.deleted_at IS NULL AND v.visible
		  AND (d.type, d.id) > ($5, $6) ORDER BY d.type, d.id LIMIT $7`, v.args(patient, afterType, after, limit)...)
}
