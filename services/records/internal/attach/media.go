package attach

import (
	"github.com/gabriel-vasile/mimetype"

	"github.com/carekeep/carekeep/libs/errs"
)

// sniffBytes is how much of the start of a file is looked at.
const sniffBytes = 3072

// accepted are the media types of documents, and what content may look like to pass as each.
// Nothing that plays (claim DX-01: no recordings), and nothing that a browser runs: HTML, SVG and scripts look
// like none of these.
var accepted = map[string][]string{
	"application/pdf":   {"application/pdf"},
	"image/png":         {"image/png"},
	"image/jpeg":        {"image/jpeg"},
	"image/tiff":        {"image/tiff"},
	"application/dicom": {"application/dicom"},
	"text/plain":        {"text/plain", "text/csv", "text/tab-separated-values"},
}

// checkContent refuses a media type that is not accepted, and content that does not look like its type.
func checkContent(mediaType string, head []byte) error {
	looks, ok := accepted[mediaType]
	if !ok {
		return errs.New(errs.KindInvalid, "MEDIA_TYPE_REFUSED", "Documents are PDF, PNG, JPEG, TIFF, DICOM or plain text; recordings, chats and pages are not kept here.").
			WithField("media_type", "is not accepted")
	}
	found := mimetype.Detect(head)
	for _, like := range looks {
		if found.Is(like) {
			return nil
		}
	}
	return errs.New(errs.KindInvalid, "CONTENT_MISMATCH", "The content is not of the media type that it is said to be.").
		WithField("media_type", "does not fit the content")
}
