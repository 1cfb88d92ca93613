module github.com/carekeep/carekeep/deploy/local

go 1.26.0

require (
	github.com/carekeep/carekeep/gen v0.0.0
	github.com/carekeep/carekeep/libs v0.0.0
)

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
)

replace (
	github.com/carekeep/carekeep/gen => ../../gen
	github.com/carekeep/carekeep/libs => ../../libs
)
