-- For test/t/random_figures.pl, in a shop of condition_shop.sql: figures read by
-- key against those of the whole reading, today and later.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET timezone = 'UTC';

-- points that wait and expire
SELECT :'shape' <> 'b' AS has_ledgers, CASE :'shape' WHEN 'c' THEN 'text' ELSE 'bigint' END AS key_type \gset
\if :has_ledgers
	CREATE TABLE shop.points3 AS
		SELECT n AS id, base.key(customer):::key_type AS customer_id, points, at,
			CASE WHEN base.maybe(0.3) THEN at + base.n(-20, 60) * interval '13 hours' WHEN base.maybe(0.1) THEN base.pick('infinity', '-infinity')::timestamptz END AS usable,
			CASE WHEN base.maybe(0.6) THEN at + base.n(0, 120) * interval '17 hours' WHEN base.maybe(0.1) THEN base.pick('infinity', '-infinity')::timestamptz END AS gone
		FROM base.points;
	SELECT segment.attach_points('shop.points3', customer => 'customer_id', points => 'points', at => 'at', valid_from => 'usable', expires_at => 'gone');
\endif

CREATE TABLE truth.everybody AS SELECT array_agg(key) AS keys FROM base.customers;
CREATE FUNCTION truth.zone() RETURNS text LANGUAGE sql STABLE AS $$ SELECT zone FROM truth.shop $$;

-- Instants after one: midnights to come and others, nearer ones oftener.
CREATE FUNCTION truth.later(at timestamptz, many int) RETURNS SETOF timestamptz LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN random() < 0.7 THEN (truth.day(at) + 1 + (random() ^ 4 * 800)::int)::timestamp AT TIME ZONE truth.zone()
		ELSE at + random() ^ 4 * interval '800 days' END
	FROM generate_series(1, many) $$;

CREATE FUNCTION truth.figures_wrong(source text, at timestamptz, steps int,
	OUT wrong text, OUT figures int, OUT changing int, OUT woken int, OUT early int) LANGUAGE plpgsql AS $$
DECLARE
	c segment.condition;
	keys constant text[] := (SELECT e.keys FROM truth.everybody e);
	few constant text[] := ARRAY(SELECT k FROM unnest(keys) k WHERE random() < 0.1);
	then_at timestamptz;
	found text;
BEGIN
	BEGIN
		c := source;
		PERFORM segment.to_sql(c, at);
	EXCEPTION WHEN OTHERS THEN
		RETURN;		-- bounds that are the wrong way round, a column that this shop has not
	END;
	DROP TABLE IF EXISTS read_by_key;
	CREATE TEMP TABLE read_by_key AS SELECT * FROM segment._figures_of(c, keys, at);
	SELECT string_agg(d::text, E'\n') INTO found FROM (
		(SELECT 'by key', key, slot, figure, value FROM read_by_key EXCEPT ALL SELECT 'by key', key, slot, figure, value FROM segment._figures_of(c, NULL, at))
		UNION ALL
		(SELECT 'of all', key, slot, figure, value FROM segment._figures_of(c, NULL, at) EXCEPT ALL SELECT 'of all', key, slot, figure, value FROM read_by_key) LIMIT 6) d;
	IF found IS NOT NULL THEN wrong := 'readings differ: ' || found; RETURN; END IF;
	SELECT string_agg(d::text, E'\n') INTO found FROM (
		(SELECT * FROM segment._figures_of(c, few, at) EXCEPT ALL SELECT * FROM read_by_key WHERE key = ANY (few))
		UNION ALL
		(SELECT * FROM read_by_key WHERE key = ANY (few) EXCEPT ALL SELECT * FROM segment._figures_of(c, few, at)) LIMIT 6) d;
	IF found IS NOT NULL THEN wrong := 'some read alone differ: ' || found; RETURN; END IF;
	IF EXISTS (SELECT FROM read_by_key r WHERE r.next_change <= figures_wrong.at) THEN wrong := 'changes before now'; RETURN; END IF;
	-- these are made of others, or counted from their value
	DELETE FROM read_by_key WHERE figure LIKE 'tier%' OR figure LIKE 'days_since%';
	SELECT count(*), count(next_change) INTO figures, changing FROM read_by_key;
	FOR then_at IN SELECT l FROM truth.later(at, steps) l UNION ALL
		(SELECT r.next_change - interval '1 us' FROM (SELECT DISTINCT next_change FROM read_by_key WHERE next_change IS NOT NULL) r ORDER BY random() LIMIT 3)
	LOOP
		SELECT string_agg(d::text, E'\n') INTO found FROM (
			SELECT r.key, r.figure, r.value AS value_now, r.next_change, then_at AS at, l.value FROM read_by_key r JOIN segment._figures_of(c, NULL, then_at) l USING (key, slot)
			WHERE (r.next_change IS NULL OR then_at < r.next_change) AND r.value IS DISTINCT FROM l.value LIMIT 6) d;
		IF found IS NOT NULL THEN wrong := 'changed before told: ' || found; RETURN; END IF;
	END LOOP;
	-- how often nothing has changed by then
	early := 0; woken := 0;
	FOR then_at IN SELECT r.next_change FROM (SELECT DISTINCT next_change FROM read_by_key WHERE next_change < '9000-01-01') r ORDER BY random() LIMIT 2
	LOOP
		woken := woken + (SELECT count(*) FROM read_by_key r WHERE r.next_change = then_at);
		early := early + (SELECT count(*) FROM read_by_key r JOIN segment._figures_of(c, NULL, then_at) l USING (key, slot) WHERE r.next_change = then_at AND r.value IS NOT DISTINCT FROM l.value);
	END LOOP;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS found = PG_EXCEPTION_CONTEXT;
	wrong := format('%s: %s', SQLERRM, found);
END $$;
