-- +goose Up

-- A set of permissions may hold numbers up to 511 (libs/access), so its bytes may be 64.
ALTER TABLE roles DROP CONSTRAINT roles_permissions_check;
ALTER TABLE roles ADD CONSTRAINT roles_permissions_check CHECK (length(permissions) <= 64);

-- +goose Down
ALTER TABLE roles DROP CONSTRAINT roles_permissions_check;
ALTER TABLE roles ADD CONSTRAINT roles_permissions_check CHECK (length(permissions) <= 32);
