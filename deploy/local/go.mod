module github.com/carekeep/carekeep/deploy/local

go 1.26.0

require (
	github.com/carekeep/carekeep/gen v0.0.0
	github.com/carekeep/carekeep/libs v0.0.0
)

require (
	github.com/alecthomas/kong v1.17.0 // indirect
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6 // indirect
	github.com/emersion/go-smtp v0.25.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
)

replace (
	github.com/carekeep/carekeep/gen => ../../gen
	github.com/carekeep/carekeep/libs => ../../libs
)
