-- The matter of a legal hold is sealed with a data key, so a re-encryption takes it along.

-- +goose Up

-- +goose StatementBegin
-- Puts the matter of a hold under another key of the same patient, where it still has the old one.
CREATE FUNCTION reseal_hold(practice uuid, hold uuid, old_key uuid, new_key uuid, resealed bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE data_keys n SET seals = n.seals + 1 FROM data_keys o
    WHERE n.practice_id = practice AND n.key_id = new_key AND o.practice_id = practice AND o.key_id = old_key
      AND n.patient_id = o.patient_id AND new_key <> old_key AND n.seals < 2147483648;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE legal_holds SET key_id = new_key, sealed = resealed WHERE practice_id = practice AND hold_id = hold AND key_id = old_key;
    RETURN FOUND;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION reseal_hold(uuid, uuid, uuid, uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reseal_hold(uuid, uuid, uuid, uuid, bytea) TO records_app;

-- +goose Down
DROP FUNCTION reseal_hold(uuid, uuid, uuid, uuid, bytea);
