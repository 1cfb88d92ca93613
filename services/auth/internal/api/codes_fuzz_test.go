package api

import (
	"regexp"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/carekeep/carekeep/gen/carekeep/auth/v1"
	"github.com/carekeep/carekeep/libs/caller"
)

var digits = regexp.MustCompile(`\A[0-9]{8}\z`)

// What the server lets through to the operations is one challenge in one spelling, and
// eight digits: no sign, space, other script or second line.
func FuzzCodesAndChallenges(f *testing.F) {
	const id = "01900000-0000-7000-8000-000000000001"
	for _, challenge := range []string{id, "", "{" + id + "}", "urn:uuid:" + id, "01900000000070008000000000000001", id + "\n", id + "/../x", "\xff"} {
		for _, code := range []string{"12345678", "1234567", "123456789", "12345678\n", "+2345678", "1234 678", "１２３４５６７８", "12345678\x00", ""} {
			f.Add(challenge, code)
		}
	}
	ctx := caller.With(f.Context(), &caller.Caller{})
	f.Fuzz(func(t *testing.T, challenge, code string) {
		valid := protovalidate.Validate(&authv1.VerifySmsCodeRequest{Challenge: challenge, Code: code}) == nil
		require.Equal(t, valid, protovalidate.Validate(&authv1.VerifyEmailCodeRequest{Challenge: challenge, Code: code}) == nil)
		require.Equal(t, valid, protovalidate.Validate(&authv1.ConfirmPhoneRequest{Challenge: challenge, Code: code}) == nil)
		if valid {
			require.Regexp(t, digits, code)
		}
		for _, request := range []proto.Message{
			&authv1.VerifySmsCodeRequest{Challenge: challenge, Code: "12345678"}, &authv1.GetQrRequestRequest{Request: challenge},
			&authv1.ApproveQrSignInRequest{Request: challenge, Number: 10}, &authv1.DenyQrSignInRequest{Request: challenge},
			&authv1.PollQrSignInRequest{Request: challenge, BrowserSecret: "x"},
		} {
			if protovalidate.Validate(request) != nil {
				continue
			}
			_, read, err := codeRequest(ctx, challenge)
			require.NoError(t, err)
			other, err := uuid.Parse(challenge)
			require.NoError(t, err)
			require.Equal(t, other, read)
			require.Len(t, challenge, len(id), "one spelling: %q", challenge)
		}
	})
}
