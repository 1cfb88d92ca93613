module github.com/carekeep/carekeep/services/gateway

go 1.26.0

require (
	github.com/carekeep/carekeep/gen v0.0.0
	github.com/carekeep/carekeep/libs v0.0.0
)

require google.golang.org/protobuf v1.36.12 // indirect

replace (
	github.com/carekeep/carekeep/gen => ../../gen
	github.com/carekeep/carekeep/libs => ../../libs
)
