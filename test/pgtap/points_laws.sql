-- Ledgers of points: random ledgers against a model that walks the clock hour
-- by hour and moves points one by one, and laws that hold whatever the rows.
-- A failing run is repeated with: pg_prove --set seed=0.123 ... test/pgtap/points_laws.sql
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
BEGIN;
SET LOCAL search_path = segment, public;
\if :{?seed}
\else
	SELECT round(random()::numeric, 6) AS seed \gset
\endif
\echo # seed :seed
SELECT setseed(:seed) IS NULL AS seeded \gset

SELECT plan(16);

-- Hours 0 to 30, so that rows often fall on one instant; asked about at hours
-- -1 to 31. Every ledger has a character: does anything expire, wait, lie ahead?
CREATE FUNCTION pg_temp.hour(h int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2026-11-25 00:00Z' + h * interval '1 hour' $$;
CREATE FUNCTION pg_temp.n(most int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * (most + 1))::int $$;

CREATE TEMP TABLE ledger AS
	SELECT l, random() < 0.85 AS expires, random() < 0.5 AS waits, random() < 0.5 AS spends_much, pg_temp.n(12) AS size
	FROM generate_series(1, 400) l;
CREATE TEMP TABLE entry AS
	SELECT l.l, e, CASE WHEN pg_temp.n(19) = 0 THEN 0 WHEN random() < CASE WHEN spends_much THEN 0.5 ELSE 0.25 END THEN -pg_temp.n(15) ELSE pg_temp.n(12) END AS points,
		pg_temp.n(30) AS at,
		CASE WHEN waits AND random() < 0.5 THEN pg_temp.n(30) END AS valid_from,
		CASE WHEN expires AND random() < 0.8 THEN pg_temp.n(30) END AS expires_at
	FROM ledger l, generate_series(1, size + 1) e;
CREATE INDEX ON entry (l);
ANALYZE ledger, entry;

-- The model. At each hour what expires goes, what is earned comes, and each
-- single point spent or owed takes one of those that expire soonest.
-- lost: what has gone by expiry, per hour.
CREATE FUNCTION pg_temp.lost(ledger_id int) RETURNS TABLE (hour int, gone int) LANGUAGE plpgsql AS $$
DECLARE
	purse int[] := '{}';	-- of each single point, the hour at which it expires
	owed int := 0;
	row record;
BEGIN
	FOR h IN 0..30 LOOP
		hour := h;
		gone := cardinality(array_positions(purse, h));
		purse := array_remove(purse, h);
		FOR row IN SELECT * FROM entry e WHERE e.l = ledger_id AND e.points > 0 AND greatest(e.at, e.valid_from) = h LOOP
			IF row.expires_at > h OR row.expires_at IS NULL THEN
				purse := purse || array_fill(coalesce(row.expires_at, 999), ARRAY[row.points]);
			END IF;
		END LOOP;
		-- gone before they came: nothing could use them
		gone := gone + coalesce((SELECT sum(e.points) FROM entry e WHERE e.l = ledger_id AND e.points > 0
			AND e.expires_at = h AND e.at >= h AND coalesce(e.valid_from, -2) < h), 0);
		owed := owed - coalesce((SELECT sum(e.points) FROM entry e WHERE e.l = ledger_id AND e.points < 0 AND e.at = h), 0);
		purse := ARRAY(SELECT p FROM unnest(purse) p ORDER BY p);
		WHILE owed > 0 AND cardinality(purse) > 0 LOOP
			purse := purse[2:];
			owed := owed - 1;
		END LOOP;
		RETURN NEXT;
	END LOOP;
END $$;
CREATE TEMP TABLE lost AS SELECT l.l, m.hour, m.gone AS points FROM ledger l, pg_temp.lost(l.l) m;
CREATE INDEX ON lost (l, hour);
ANALYZE lost;

-- What the model says: all that ever counted less what was lost.
CREATE TEMP TABLE expected AS
	SELECT l.l, now,
		(SELECT sum(e.points) FROM entry e WHERE e.l = l.l AND (e.points < 0 OR coalesce(e.valid_from, -2) <= now AND coalesce(e.expires_at, 999) > coalesce(e.valid_from, -2)))
			- (SELECT coalesce(sum(m.points), 0) FROM lost m WHERE m.l = l.l AND m.hour <= now) AS balance
	FROM ledger l, generate_series(-1, 31) now;
CREATE TEMP TABLE answered AS
	SELECT e.l, now, points_balance(e.points, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now)) AS balance,
		points_expiring(e.points, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now), NULL, pg_temp.hour(now + 8)) AS expiring,
		_points_change(e.points, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now)) AS changes,
		_points_expiry(e.points, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now)) AS expiry
	FROM generate_series(-1, 31) now, entry e GROUP BY e.l, now;
CREATE INDEX ON answered (l, now);
ANALYZE answered;

SELECT cmp_ok((SELECT count(*) FROM lost WHERE points > 0), '>', 120::bigint, 'much expires');
SELECT cmp_ok((SELECT count(DISTINCT l) FROM answered WHERE balance < 0), '>', 25::bigint, 'many owe');
SELECT cmp_ok((SELECT count(DISTINCT l) FROM answered WHERE balance > 0), '>', 100::bigint, 'many own');

SELECT is_empty('SELECT l, now, a.balance, e.balance FROM answered a FULL JOIN expected e USING (l, now) WHERE a.balance IS DISTINCT FROM coalesce(e.balance, 0)',
	'the balance is the model''s at every hour');
SELECT is_empty('SELECT l, now, expiring, (SELECT sum(points) FROM lost m WHERE m.l = a.l AND m.hour > a.now AND m.hour < a.now + 8) FROM answered a
	WHERE expiring <> coalesce((SELECT sum(points) FROM lost m WHERE m.l = a.l AND m.hour > a.now AND m.hour < a.now + 8), 0)',
	'what expires is what the model loses');
SELECT is_empty('SELECT l, now FROM answered a
	WHERE expiry IS DISTINCT FROM pg_temp.hour((SELECT min(hour) FROM lost m WHERE m.l = a.l AND m.hour >= a.now AND m.points > 0))',
	'the next expiry is the model''s');

-- laws
SELECT is_empty('SELECT l, now, a.balance FROM answered a JOIN ledger USING (l)
	WHERE NOT EXISTS (SELECT FROM entry e WHERE e.l = a.l AND e.points > 0 AND (e.expires_at IS NOT NULL OR e.valid_from > a.now))
		AND balance <> (SELECT sum(points) FROM entry e WHERE e.l = a.l)',
	'where nothing expires or waits the balance is the sum');
SELECT is_empty('SELECT a.l, a.now, b.now, a.balance, b.balance FROM answered a JOIN answered b USING (l)
	WHERE a.now < b.now AND b.balance > a.balance
		AND NOT EXISTS (SELECT FROM entry e WHERE e.l = a.l AND e.points > 0 AND e.valid_from > a.now AND e.valid_from <= b.now)',
	'by time alone the balance never rises, but where a row becomes valid');
SELECT is_empty('SELECT a.l, a.now, b.now, a.balance, b.balance FROM answered a JOIN answered b USING (l)
	WHERE a.now < b.now AND b.balance < least(a.balance, 0)
		AND NOT EXISTS (SELECT FROM entry e WHERE e.l = a.l AND e.at > a.now)',
	'and never falls below 0, nor where it is below: only a spend does that');
SELECT is_empty('SELECT a.l, a.now, b.now, a.balance, b.balance FROM answered a JOIN answered b USING (l)
	WHERE b.now = a.now + 7
		AND b.balance <> a.balance - a.expiring
			+ (SELECT coalesce(sum(points), 0) FROM entry e WHERE e.l = a.l AND e.points > 0 AND e.valid_from > a.now AND e.valid_from <= b.now AND coalesce(e.expires_at, 999) > e.valid_from)',
	'a later balance is the earlier one, less what expires, more what becomes valid');
SELECT is_empty('SELECT a.l, a.now, b.now FROM answered a JOIN answered b USING (l)
	WHERE a.now < b.now AND a.balance <> b.balance AND (a.changes IS NULL OR a.changes > pg_temp.hour(b.now))',
	'nothing changes before the next change');
SELECT is_empty('SELECT a.l, a.now FROM answered a JOIN answered b ON b.l = a.l AND pg_temp.hour(b.now) = a.changes JOIN answered c ON c.l = a.l AND c.now = b.now - 1
	WHERE b.balance = c.balance
		AND NOT EXISTS (SELECT FROM entry e WHERE e.l = a.l AND e.points > 0 AND e.valid_from = b.now)',
	'and something does then, unless what becomes valid is just what expires');
SELECT is_empty('SELECT a.l, a.now FROM answered a WHERE a.changes <= pg_temp.hour(a.now)', 'the next change is later than now');

-- the order of the rows does not matter, nor does how a row is cut
CREATE TEMP TABLE reordered AS
	SELECT e.l, now, points_balance(e.points, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now) ORDER BY random()) AS balance,
		points_expiring(e.points, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now), NULL, pg_temp.hour(now + 8) ORDER BY random()) AS expiring
	FROM generate_series(-1, 31) now, entry e GROUP BY e.l, now;
SELECT is_empty('SELECT l, now FROM answered a JOIN reordered r USING (l, now) WHERE (a.balance, a.expiring) <> (r.balance, r.expiring)',
	'rows may come in any order');
CREATE TEMP TABLE cut AS
	SELECT e.l, now, points_balance(points / 8.0, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now) ORDER BY random()) AS balance,
		points_expiring(e.points / 8.0, pg_temp.hour(e.at), pg_temp.hour(e.valid_from), pg_temp.hour(e.expires_at), pg_temp.hour(now), NULL, pg_temp.hour(now + 8) ORDER BY random()) AS expiring
	FROM generate_series(0, 30, 6) now, entry e, generate_series(1, 8) GROUP BY e.l, now;
SELECT is_empty('SELECT l, now FROM answered a JOIN cut c USING (l, now) WHERE (a.balance, a.expiring) <> (c.balance, c.expiring)',
	'eight eighths of every row are as good as the rows');
-- a plan with sorted groups, one with hashed ones
SET LOCAL enable_hashagg = off;
SELECT is_empty('SELECT a.l FROM answered a JOIN (SELECT l, points_balance(points, pg_temp.hour(at), pg_temp.hour(valid_from), pg_temp.hour(expires_at), pg_temp.hour(15)) AS balance FROM entry GROUP BY l) s USING (l)
	WHERE a.now = 15 AND a.balance <> s.balance', 'sorted or hashed groups are the same');

SELECT * FROM finish();
ROLLBACK;
