// Package openapi holds the OpenAPI 3.1 document of the REST API, which
// services/gateway/spec generates beside this file.
package openapi

import _ "embed"

// Document is the JSON document.
//
//go:embed carekeep.openapi.json
var Document []byte
