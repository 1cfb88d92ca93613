package validate

import (
	"net/http"
	"slices"
	"strings"

	"github.com/carekeep/carekeep/services/records/internal/cards"
)

// attachment is what an Attachment or a Binary says of its content.
type attachment struct {
	contentType string
	data        []byte
}

func (a *attachment) note(name string, text []byte) {
	switch name {
	case "contentType":
		a.contentType = string(text)
	case "data":
		a.data = text
	}
}

// recordings are media types of sound and film beside audio/* and video/*.
var recordings = []string{
	"application/ogg", "application/mp4", "application/x-mpegurl", "application/vnd.apple.mpegurl",
	"application/dash+xml", "application/vnd.rn-realmedia", "application/x-shockwave-flash",
}

// Recording reports whether a media type is one of sound or film, of which nothing
// is stored here (claim DX-01).
func Recording(mediaType string) bool {
	mediaType, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(mediaType)), ";")
	mediaType = strings.TrimSpace(mediaType)
	return strings.HasPrefix(mediaType, "audio/") || strings.HasPrefix(mediaType, "video/") || slices.Contains(recordings, mediaType)
}

// attachment checks content that stands in the resource itself.
func (c *checker) attachment(o *object) {
	a := o.media
	if Recording(a.contentType) {
		c.issue(ReasonMedia, "is a recording of sound or film, which is not stored here: leave it out")
		return
	}
	if a.data == nil {
		return
	}
	data, err := decodeBase64(a.data)
	switch {
	case err != nil: // told already
	case Recording(http.DetectContentType(data)):
		c.issue(ReasonMedia, "its data is a recording of sound or film, which is not stored here: leave it out")
	case strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.contentType)), "text/") && cards.In(string(data), cards.Any):
		c.issue(ReasonCard, cardText)
	}
}
