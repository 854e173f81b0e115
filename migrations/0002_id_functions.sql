-- The forms in which people meet our ids. The native core computes the same in Rust; these are for
-- a person at a SQL prompt. Bodies are parsed here and now, so no search_path can change them.

-- migrate:up
CREATE FUNCTION event_key(event_id text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(substring(sha256(convert_to(event_id, 'UTF8')) FOR 16), 'hex')::uuid;
COMMENT ON FUNCTION event_key(text) IS
    'Key of an event_id in the ledger: the first 128 bits of the SHA-256 of its UTF-8 text';

-- Numeric because the unsigned value passes bigint. 13 digits hold 64 bits.
CREATE FUNCTION base36(value bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT string_agg(
        substr(
            '0123456789abcdefghijklmnopqrstuvwxyz',
            mod(
                div(
                    CASE WHEN value < 0 THEN value + 18446744073709551616 ELSE value::numeric END,
                    power(36::numeric, place)
                ),
                36
            )::int + 1,
            1
        ),
        '' ORDER BY place DESC
    )
    FROM generate_series(0, 12) AS place
);
COMMENT ON FUNCTION base36(bigint) IS
    'The 64 bits as an unsigned number in 13 base36 characters, which sort as the numbers do';

CREATE FUNCTION base36_to_bigint(digits text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    value numeric := 0;
BEGIN
    IF digits !~ '^[0-9a-z]{13}$' THEN
        RAISE EXCEPTION 'not an id: % (13 characters of 0-9 and a-z are)', quote_literal(digits)
            USING ERRCODE = 'invalid_text_representation';
    END IF;
    FOR place IN 1..13 LOOP
        value := value * 36 + strpos('0123456789abcdefghijklmnopqrstuvwxyz', substr(digits, place, 1)) - 1;
    END LOOP;
    IF value > 18446744073709551615 THEN
        RAISE EXCEPTION 'not an id: % does not fit in 64 bits', quote_literal(digits)
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    RETURN CASE WHEN value > 9223372036854775807 THEN value - 18446744073709551616 ELSE value END;
END
$$;
COMMENT ON FUNCTION base36_to_bigint(text) IS 'The way back from base36(bigint)';

-- migrate:down
-- Forward only.
