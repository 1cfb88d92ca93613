package cards_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/carekeep/carekeep/services/records/internal/cards"
)

// Numbers that issuers and processors publish for tests.
var published = map[string]string{
	"Visa": "4111111111111111", "Visa, 13 digits": "4222222222222", "Visa debit": "4012888888881881",
	"Visa, 19 digits": "4000000000000000006",
	"Mastercard":      "5555555555554444", "Mastercard, 2 series": "2223003122003222",
	"American Express": "378282246310005", "American Express, 34": "343434343434343",
	"Discover": "6011111111111117", "Diners Club": "30569309025904", "Diners Club, 36": "36227206271667",
	"JCB": "3530111333300000", "UnionPay": "6200000000000005", "UnionPay, 19 digits": "6205500000000000004",
	"Maestro": "6759649826438453", "Maestro, 5018": "5018000000000009", "Mir": "2201382000000013",
	"RuPay": "6521111111111110", "Dankort": "5019717010103742", "Troy": "9792000000000003",
}

func inGroups(number string, size int, by string) string {
	var parts []string
	for len(number) > size {
		parts, number = append(parts, number[:size]), number[size:]
	}
	return strings.Join(append(parts, number), by)
}

func TestDX26_IssuersAndWaysOfWriting(t *testing.T) {
	t.Parallel()
	arabic := strings.NewReplacer("0", "٠", "1", "١", "2", "٢", "3", "٣", "4", "٤", "5", "٥", "6", "٦", "7", "٧", "8", "٨", "9", "٩")
	wide := strings.NewReplacer("0", "０", "1", "１", "2", "２", "3", "３", "4", "４", "5", "５", "6", "６", "7", "７", "8", "８", "9", "９")
	for name, number := range published {
		for way, written := range map[string]string{
			"plain": number, "in a sentence": "pays by card " + number + ", exp. 12/29", "dashed": inGroups(number, 4, "-"),
			"spaced": "no. " + inGroups(number, 4, " ") + " 12/29", "no-break spaces": inGroups(number, 4, "\u00a0"), "points": inGroups(number, 4, "."),
			"en dashes": inGroups(number, 4, " – "), "each digit": inGroups(number, 1, " "), "lines": inGroups(number, 4, "\n"),
			"zero width": inGroups(number, 3, "\u200b"), "arabic": arabic.Replace(number), "full width": wide.Replace(inGroups(number, 4, "　")),
			"after a word": "card:" + number, "quoted": `"` + number + `"`,
		} {
			require.True(t, cards.In(written, cards.Any), "%s, %s: %s", name, way, written)
		}
		require.False(t, cards.In(number, cards.Grouped), name)
		require.True(t, cards.In(inGroups(number, 4, " "), cards.Grouped), name)
	}
}

func TestOtherNumbersAreNoCards(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"wrong check digit": "4111111111111112",
		"no issuer":         "1111111111111117",
		"too short":         "411111111111",
		"too long":          "41111111111111111111111",
		"part of a longer":  "99994111111111111111999",
		"phone":             "+4222222222222",
		"phone in groups":   "+4222 222 222 222",
		"UUID":              "41111111-1111-4111-8111-111111111111",
		"date and time":     "2026-11-26T16:48:24.123456+00:00",
		"measurements":      "120 80 98 36 72 14 5 4 1",
		"decimal":           "4.222222222222",
		"IBAN":              "DE89 3704 0044 0532 0130 00",
		"seeds of Synthea":  ".   Person seed: 4539000000000000003  Population seed: 1559319163074",
		"seeds below zero":  ".   Person seed: -4000000000000000006  Population seed: -4000000000000000006",
		"ISBN":              "978-3-16-148410-0",
		"empty":             "",
	} {
		require.False(t, cards.In(text, cards.Any), name)
	}
}

// Of any text that is taken, no window of digits alone is a card's number.
func TestDX26_NothingInOnePieceGoesThrough(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.SampledFrom([]string{"4111111111111111", "378282246310005", "6759649826438453", "2223003122003222", "4000000000000000006"}).Draw(t, "number")
		text := rapid.StringMatching(`[a-zäß ,;:()]{0,20}`)
		between := rapid.SampledFrom([]string{"", "", " ", "-", "\u2009", "\u2011", "\u200b"}).Draw(t, "between")
		size := rapid.IntRange(1, 8).Draw(t, "size")
		written := text.Draw(t, "before") + inGroups(number, size, between) + text.Draw(t, "after")
		if !cards.In(written, cards.Any) {
			t.Fatalf("taken: %q", written)
		}
	})
}

// Only the line that Synthea writes is taken: neither a number that is called a seed nor one beside the line.
func TestDX26_OnlyTheLineOfSeedsIsTaken(t *testing.T) {
	t.Parallel()
	const number = "4539000000000000003"
	for _, text := range []string{
		number, "-" + number, "seed: " + number, "Person seed: " + number, "Population seed: " + number,
		"Person seed: 1  Population seed: 2 " + number, number + " Person seed: 1  Population seed: 2",
		"Person seed: 4111 1111 1111 1111  Population seed: 1",
	} {
		require.True(t, cards.In(text, cards.Any), text)
	}
}

// An id whose groups are digits by chance is no card.
func TestUUIDsAreNoCards(t *testing.T) {
	t.Parallel()
	const id = "adafa39a-3684-5765-9183-35f8c7366ff5"
	require.False(t, cards.In("urn:uuid:"+id, cards.Any))
	require.True(t, cards.In(id+" 4111 1111 1111 1111", cards.Any), "what stands beside one is looked at")
}
