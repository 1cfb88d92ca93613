-- +goose Up

-- A permission that is granted may have any number that a set holds.
ALTER TABLE grants DROP CONSTRAINT grants_permission_check;
ALTER TABLE grants ADD CONSTRAINT grants_permission_check CHECK (permission BETWEEN 1 AND 511);

-- +goose Down
ALTER TABLE grants DROP CONSTRAINT grants_permission_check;
ALTER TABLE grants ADD CONSTRAINT grants_permission_check CHECK (permission BETWEEN 1 AND 255);
