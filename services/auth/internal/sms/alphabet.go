package sms

import "strings"

// MaxSeptets is what fits into one message (47 CFR 64.1200(a)(9)(iv)(D)).
const MaxSeptets = 160

// The alphabet of GSM 03.38; a character of the extension takes two places.
const (
	basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	extension = "\f^{}\\[~]|€"
)

// Septets is how long a text is in a message; -1 where a character is outside the
// alphabet, so that the whole message would be sent in a wider one with 70 to a segment.
func Septets(text string) int {
	n := 0
	for _, r := range text {
		switch {
		case strings.ContainsRune(basic, r):
			n++
		case strings.ContainsRune(extension, r):
			n += 2
		default:
			return -1
		}
	}
	return n
}
