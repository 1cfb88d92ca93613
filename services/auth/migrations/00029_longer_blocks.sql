-- +goose Up

-- blame as before, but it never shortens a block: one that a superadmin or a rule of audit made may last a week,
-- and whoever is blocked could otherwise bring it down to half an hour with four probes. Where the block in force
-- lasts longer, it stays as it was but for its strikes, and blame answers NULL: it made none.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION blame(p_network text, p_points integer, p_threshold integer, p_reason text, p_now timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    total double precision;
    made timestamptz;
BEGIN
    INSERT INTO reputation (network, score, at) VALUES (p_network, p_points, clock)
    ON CONFLICT (network) DO UPDATE SET at = clock, score = p_points +
        greatest(0, reputation.score - p_threshold * extract(epoch FROM clock - reputation.at) / 600)
    RETURNING score INTO total;
    IF total < p_threshold THEN
        RETURN NULL;
    END IF;
    UPDATE reputation SET score = 0 WHERE network = p_network;
    SELECT clock + CASE WHEN b.until > clock - interval '24 hours'
        THEN least(interval '24 hours', interval '15 minutes' * power(2, least(b.strikes, 7))) ELSE interval '15 minutes' END
    INTO made FROM blocks b WHERE b.network = p_network FOR UPDATE;
    INSERT INTO blocks (network, until, reason, score, created)
    VALUES (p_network, coalesce(made, clock + interval '15 minutes'), p_reason, total, clock)
    ON CONFLICT (network) DO UPDATE SET
        strikes = CASE WHEN blocks.until > clock - interval '24 hours' THEN blocks.strikes + 1 ELSE 1 END,
        until = greatest(blocks.until, excluded.until),
        reason = CASE WHEN blocks.until >= excluded.until THEN blocks.reason ELSE excluded.reason END,
        score = CASE WHEN blocks.until >= excluded.until THEN blocks.score ELSE excluded.score END,
        created = CASE WHEN blocks.until >= excluded.until THEN blocks.created ELSE excluded.created END
    RETURNING CASE WHEN created = clock THEN until END INTO made;
    RETURN made;
END
$$;
-- +goose StatementEnd
