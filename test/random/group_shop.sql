-- A shop of test/t/random_groups.pl: the one of condition_shop.sql with what it
-- lacks (points that expire, a table of tags beside the column), a clock of its
-- own, and the questions with which it is checked.
--
-- Variables: shape (a, b, c or d), zone, seed. The session's segment.at stands for now.

\ir condition_shop.sql
SET client_min_messages = warning;
SET timezone = 'UTC';

SELECT :'shape' = 'a' AS shape_a, :'shape' <> 'b' AS has_ledger,
	CASE :'shape' WHEN 'b' THEN 'uuid' WHEN 'c' THEN 'text' ELSE 'bigint' END AS key_type \gset
\if :has_ledger
	CREATE TABLE shop.vouchers (id bigint PRIMARY KEY, customer_id :key_type, points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz);
	INSERT INTO shop.vouchers
		SELECT i, base.key(base.n(1, 140)):::key_type, base.n(-15, 60), d.at, CASE WHEN base.maybe(0.3) THEN d.at + base.n(0, 40) * interval '1 day' END,
			CASE WHEN base.maybe(0.8) THEN d.at + base.n(1, 200) * interval '1 day' END
		FROM generate_series(1, 300) i CROSS JOIN LATERAL (SELECT base.about(base.some_day() + 0 * i, :'zone') AS at) d;
	SELECT segment.attach_points('shop.vouchers', customer => 'customer_id', points => 'points', at => 'at', valid_from => 'valid_from', expires_at => 'expires_at');
\endif
\if :shape_a
	CREATE TABLE shop.labels AS SELECT base.key(customer):::key_type AS customer_id, tag FROM base.tags;
	SELECT segment.attach_tags('shop.labels', customer => 'customer_id', tag => 'tag');
\endif
DO $$
DECLARE
	a record;
BEGIN
	FOR a IN SELECT c.oid::regclass AS relation, t.attname FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
			WHERE c.relnamespace = 'shop'::regnamespace AND c.relkind = 'r' AND t.attname IN ('customer_id', 'order_id', 'return_id') LOOP
		EXECUTE format('CREATE INDEX ON %s (%I)', a.relation, a.attname);
	END LOOP;
END $$;

-- the clock, in the shop's zone
CREATE FUNCTION shop.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT current_setting('segment.at')::timestamptz $$;
CREATE FUNCTION shop.day(days int) RETURNS date LANGUAGE sql STABLE AS
	$$ SELECT (current_setting('segment.at')::timestamptz AT TIME ZONE (SELECT zone FROM truth.shop))::date + days $$;
CREATE FUNCTION shop.midnight(days int) RETURNS timestamptz LANGUAGE sql STABLE AS
	$$ SELECT shop.day(days)::timestamp AT TIME ZONE (SELECT zone FROM truth.shop) $$;

GRANT USAGE ON SCHEMA shop, truth TO till;
GRANT SELECT ON truth.shop TO till;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO till;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA shop TO till;

-- What may be written: columns with their types, values that are there.
CREATE FUNCTION truth.tables() RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	a record;
	result jsonb = '{}';
	own_key boolean;
	columns jsonb;
	biggest bigint;
BEGIN
	FOR a IN SELECT c.oid::regclass AS relation, c.relname FROM pg_class c WHERE c.relnamespace = 'shop'::regnamespace AND c.relkind = 'r' ORDER BY c.relname LOOP
		own_key := EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.relation AND i.indisprimary);
		EXECUTE format('SELECT count(*) FROM %s', a.relation) INTO biggest;
		columns := '[]';
		SELECT jsonb_agg(jsonb_build_object('name', t.attname, 'type', format_type(t.atttypid, NULL), 'values', truth.some(format('SELECT %I FROM %s', t.attname, a.relation))) ORDER BY t.attnum)
			INTO columns FROM pg_attribute t WHERE t.attrelid = a.relation AND t.attnum > 0 AND NOT t.attisdropped;
		result := result || jsonb_build_object(a.relname, jsonb_build_object('has_key', own_key, 'rows', biggest, 'columns', columns));
	END LOOP;
	RETURN result;
END $$;

-- What is wrong: views against what the conditions mean, and the log against the
-- standings. Nothing is to be in flight.
CREATE FUNCTION truth.wrong(thorough boolean) RETURNS TABLE (what text, detail text) LANGUAGE plpgsql
SET client_min_messages = error
AS $$
DECLARE
	g record;
	now timestamptz := segment._now();
	zone text := (SELECT s.zone FROM truth.shop s);
	missing text;
	surplus text;
	query text;
BEGIN
	DROP TABLE IF EXISTS m;
	CREATE TEMP TABLE m AS SELECT v.group_code, v.customer_id, v.since, v.stale FROM segment.members v;
	FOR g IN SELECT * FROM segment.groups x WHERE x.active AND x.kind = 'automatic' ORDER BY x.id LOOP
		BEGIN
			query := segment.to_sql(g.condition, now);
			EXECUTE format('SELECT string_agg(k::text, '' '' ORDER BY k::text) FROM ((%s) EXCEPT ALL SELECT customer_id FROM m WHERE group_code = $1) x(k)', query || E'\n') INTO missing USING g.code;
			EXECUTE format('SELECT string_agg(k::text, '' '' ORDER BY k::text) FROM (SELECT customer_id FROM m WHERE group_code = $1 EXCEPT ALL (%s)) x(k)', query || E'\n') INTO surplus USING g.code;
			IF missing IS NOT NULL OR surplus IS NOT NULL THEN
				what := 'members'; detail := format('of %s at %s: missing {%s}, surplus {%s}: %s', g.code, now, missing, surplus, g.condition); RETURN NEXT;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			what := 'error'; detail := format('%s of %s: %s', SQLERRM, g.code, g.condition); RETURN NEXT;
		END;
	END LOOP;
	what := 'members of a group that is fixed or not active';
	FOR detail IN SELECT DISTINCT v.group_code FROM m v JOIN segment.groups x ON x.code = v.group_code WHERE NOT x.active OR x.kind = 'fixed' LOOP
		RETURN NEXT;
	END LOOP;
	what := 'customer_groups';
	FOR detail IN
		WITH a AS (SELECT v.customer_id::text, array_agg(v.group_code ORDER BY v.group_code) AS groups FROM m v GROUP BY 1),
			b AS (SELECT v.customer_id::text, v.groups FROM segment.customer_groups v WHERE v.groups <> '{}')
		SELECT x::text FROM ((TABLE a EXCEPT ALL TABLE b) UNION ALL (TABLE b EXCEPT ALL TABLE a)) x LIMIT 5 LOOP
		RETURN NEXT;
	END LOOP;
	what := 'group_sizes';
	FOR detail IN SELECT format('%s says %s of %s', v.group_code, v.customers, (SELECT count(*) FROM m w WHERE w.group_code = v.group_code))
			FROM segment.group_sizes v WHERE v.customers <> (SELECT count(*) FROM m w WHERE w.group_code = v.group_code) LOOP
		RETURN NEXT;
	END LOOP;
	what := 'stale';
	FOR detail IN SELECT v.customer_id::text FROM m v WHERE v.stale LIMIT 1 LOOP
		RETURN NEXT;
	END LOOP;
	what := 'the log ends otherwise than the standings';
	FOR detail IN
		WITH last AS (SELECT DISTINCT ON (c.customer_id, c.code) c.customer_id, c.code, c.action, c.at FROM segment.changes c WHERE c.kind = 'group'
				ORDER BY c.customer_id, c.code, c.version DESC, c.at DESC, c.ctid DESC),
			held AS (SELECT s.customer_id, x.code, u.since FROM segment.standings s CROSS JOIN LATERAL unnest(s.held, s.since) u(id, since) JOIN segment.groups x ON x.id = u.id)
		SELECT format('customer %s group %s: the log says %s at %s, the standing since %s', coalesce(l.customer_id, h.customer_id), coalesce(l.code, h.code), l.action, l.at, h.since)
		FROM last l FULL JOIN held h ON h.customer_id = l.customer_id AND h.code = l.code
		WHERE h.code IS NULL AND l.action <> 'leave' OR h.code IS NOT NULL AND (l.action IS DISTINCT FROM 'enter' OR l.at IS DISTINCT FROM h.since) LIMIT 5 LOOP
		RETURN NEXT;
	END LOOP;
	IF thorough THEN
		what := 'the log does not alternate';
		FOR detail IN
			SELECT format('customer %s group %s: %s after %s, version %s at %s', c.customer_id, c.code, c.action, c.before, c.version, c.at)
			FROM (SELECT h.*, lag(h.action) OVER (PARTITION BY h.customer_id, h.code ORDER BY h.version, h.at, h.ctid) AS before FROM segment.changes h WHERE h.kind = 'group') c
			WHERE c.action = coalesce(c.before, 'leave') LIMIT 5 LOOP
			RETURN NEXT;
		END LOOP;
		what := 'time that passes between two midnights';
		FOR detail IN SELECT format('customer %s group %s %s at %s', c.customer_id, c.code, c.action, c.at) FROM segment.changes c
				-- points expire at an instant, and groups may follow from such groups
				WHERE c.cause = 'time' AND NOT EXISTS (SELECT FROM segment.rule_changes r
					WHERE replace(r.code, 'new_', '') = replace(c.code, 'new_', '') AND r.new_values ->> 'condition' ~ 'points|groups') AND date_trunc('day', c.at AT TIME ZONE zone) AT TIME ZONE zone <> c.at LIMIT 5 LOOP
			RETURN NEXT;
		END LOOP;
		what := 'verify()';
		FOR detail IN SELECT v::text FROM segment.verify() v LIMIT 5 LOOP
			RETURN NEXT;
		END LOOP;
	END IF;
END $$;
