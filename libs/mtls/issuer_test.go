package mtls_test

import (
	"testing"

	"github.com/carekeep/carekeep/libs/devkit/ca"
	"github.com/carekeep/carekeep/libs/mtls"
)

func init() {
	mtls.SetIssuer(func(t *testing.T) mtls.Issuer { return ca.ForTest(t) })
}
