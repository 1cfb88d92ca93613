-- Sets of permissions grew from 255 to 511: numbers are grouped by area and never reused.

-- +goose Up
ALTER TABLE roles DROP CONSTRAINT roles_permissions_check, ADD CONSTRAINT roles_permissions_check CHECK (length(permissions) <= 64);
ALTER TABLE grants DROP CONSTRAINT grants_permission_check, ADD CONSTRAINT grants_permission_check CHECK (permission BETWEEN 1 AND 511);

-- +goose Down
ALTER TABLE grants DROP CONSTRAINT grants_permission_check, ADD CONSTRAINT grants_permission_check CHECK (permission BETWEEN 1 AND 255);
ALTER TABLE roles DROP CONSTRAINT roles_permissions_check, ADD CONSTRAINT roles_permissions_check CHECK (length(permissions) <= 32);
