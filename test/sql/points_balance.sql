-- Ledgers of points: worked timelines. Random ledgers against a model that
-- replays them hour by hour: test/pgtap/points_laws.sql.
\pset format unaligned
\pset tuples_only on
SET datestyle = 'ISO, DMY';
SET timezone = 'Asia/Ho_Chi_Minh';

CREATE TABLE ledger (points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz);
-- day by day: balance, what expires on that day or in the 30 after it, when the balance changes next
CREATE FUNCTION walk(VARIADIC days timestamptz[]) RETURNS TABLE (day date, points numeric, expiring numeric, changes timestamp) LANGUAGE sql AS $$
	SELECT d::date, segment.points_balance(l.points, l.at, l.valid_from, l.expires_at, d),
		segment.points_expiring(l.points, l.at, l.valid_from, l.expires_at, d, d, d + interval '31 days'),
		segment._points_change(l.points, l.at, l.valid_from, l.expires_at, d)::timestamp
	FROM unnest(days) d, ledger l GROUP BY d ORDER BY d
$$;
\pset null none

-- nothing expires: the plain sum, with as many decimals
INSERT INTO ledger VALUES (100, '2026-01-01'), (-30, '2026-01-05'), (12.50, '2026-02-01'), (0, '2026-02-02');
SELECT * FROM walk('2025-01-01', '2026-03-01');

-- spending uses up what expires first, not what came first; at its instant a row is gone
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', NULL, '2027-01-01'), (50, '2026-01-10', NULL, '2026-03-01'), (-60, '2026-01-20', NULL, NULL);
SELECT * FROM walk('2026-02-01', '2026-02-28 23:59:59.999999', '2026-03-01', '2026-12-31', '2027-01-01');
-- what expired before could not be used
UPDATE ledger SET at = '2026-03-01' WHERE points < 0;
SELECT * FROM walk('2026-02-28', '2026-03-01', '2026-12-31', '2027-01-01');
-- spent just before: as above
UPDATE ledger SET at = '2026-02-28 23:59:59.999999' WHERE points < 0;
SELECT * FROM walk('2026-03-01', '2027-01-01');
-- what was earned after the spending was not there to be used, though it expires sooner
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', NULL, '2027-01-01'), (-100, '2026-01-15', NULL, NULL), (100, '2026-02-01', NULL, '2026-06-01');
SELECT * FROM walk('2026-05-31', '2026-06-01', '2026-12-31');
-- at one instant expiry comes first, then earning, then spending, in whatever order they are written
TRUNCATE ledger;
INSERT INTO ledger VALUES (-100, '2026-02-01', NULL, NULL), (40, '2026-01-01', NULL, '2026-02-01'), (70, '2026-02-01', NULL, '2026-06-01'), (50, '2026-02-01', NULL, '2026-04-01'), (-5, '2026-02-01', NULL, NULL);
SELECT * FROM walk('2026-02-01', '2026-04-01', '2026-06-01');

-- more spent than there is is owed, and what comes next pays it
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', NULL, '2026-06-01'), (-150, '2026-02-01', NULL, NULL), (30, '2026-03-01', NULL, '2026-04-01'), (80, '2026-03-15', NULL, '2026-08-01');
SELECT * FROM walk('2026-03-31', '2026-04-01', '2026-06-01', '2026-08-01');
DELETE FROM ledger WHERE at >= '2026-03-01';
SELECT * FROM walk('2026-02-01', '2026-06-01', '2030-01-01');

-- not yet valid: not in the balance, not to be used up, but counted among what expires
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', '2026-02-01', '2026-03-01'), (40, '2026-01-01', NULL, '2026-12-31'), (-30, '2026-01-15', NULL, NULL);
SELECT * FROM walk('2026-01-31', '2026-02-01', '2026-03-01', '2026-12-31');
-- where it was owed, it pays once it is valid
UPDATE ledger SET points = -90 WHERE points < 0;
SELECT * FROM walk('2026-01-31', '2026-02-01', '2026-03-01', '2026-12-31');
-- never valid
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', '2026-03-01', '2026-02-01'), (100, '2026-01-01', '2026-03-01', '2026-03-01'), (7, '2026-01-01', 'infinity', NULL), (5, '2026-01-01', NULL, NULL);
SELECT * FROM walk('2026-01-31', '2026-02-01', '2026-03-01');
-- valid before it was earned: usable from when it was earned
TRUNCATE ledger;
INSERT INTO ledger VALUES (10, '2026-01-01', NULL, '2027-01-01'), (10, '2026-01-01 10:00', '2026-01-01', '2026-01-31'), (-10, '2026-01-01 09:00', NULL, NULL);
SELECT * FROM walk('2026-01-30', '2026-01-31', '2027-01-01');

-- a row counts from the moment it is written, also when it is dated ahead
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-06-01', NULL, '2026-12-31');
SELECT * FROM walk('2026-01-01', '2026-12-31');
-- a spend dated ahead lowers the balance at once, but uses nothing that is gone by its day
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', NULL, '2026-03-01'), (100, '2026-01-01', NULL, '2026-12-31'), (-50, '2026-04-01', NULL, NULL);
SELECT * FROM walk('2026-02-15', '2026-03-01', '2026-04-01', '2026-12-31');

-- validity and expiry of a row that spends mean nothing
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', NULL, '2027-01-01'), (-40, '2026-02-01', '2026-05-01', '2026-03-01');
SELECT * FROM walk('2026-01-15', '2026-04-01', '2026-12-31');

-- windows: the first instant belongs to it, the last does not; NULL is no bound; never is in none
TRUNCATE ledger;
INSERT INTO ledger VALUES (1, '2026-01-01', NULL, '2026-02-01'), (2, '2026-01-01', NULL, '2026-03-01'), (4, '2026-01-01', NULL, '2026-04-01'), (8, '2026-01-01', NULL, NULL), (16, '2026-01-01', NULL, 'infinity');
SELECT f, u, segment.points_expiring(points, at, valid_from, expires_at, '2026-01-15', f, u)
FROM ledger, (VALUES (timestamptz '2026-02-01', timestamptz '2026-03-01'), ('2026-02-01', '2026-03-01 00:00:00.000001'), ('2026-02-02', NULL), (NULL, '2026-04-01'), (NULL, NULL), ('-infinity', 'infinity'), ('2026-03-01', '2026-02-01')) w(f, u)
GROUP BY f, u ORDER BY 3, 2;
-- and what is gone already does not expire again
SELECT segment.points_expiring(points, at, valid_from, expires_at, '2026-03-01', NULL, NULL) FROM ledger;
SELECT segment._points_expiry(points, at, valid_from, expires_at, '2026-03-01'), segment._points_expiry(points, at, valid_from, expires_at, '2026-03-02'), segment._points_expiry(points, at, valid_from, expires_at, '2026-04-02') FROM ledger;

-- no rows, no instant; infinite instants
SELECT segment.points_balance(points, at, valid_from, expires_at, '2026-01-01'), segment.points_expiring(points, at, valid_from, expires_at, '2026-01-01', NULL, NULL) FROM ledger WHERE false;
SELECT segment.points_balance(points, at, valid_from, expires_at, NULL) FROM ledger;
SELECT segment.points_balance(points, at, valid_from, expires_at, 'infinity'), segment.points_balance(points, at, valid_from, expires_at, '-infinity') FROM ledger;
-- odd rows are left out; without others there are no rows
TRUNCATE ledger;
INSERT INTO ledger VALUES ('NaN', '2026-01-01'), ('Infinity', '2026-01-01'), ('-Infinity', '2026-01-01'), (NULL, '2026-01-01'), (5, NULL);
SELECT segment.points_balance(points, at, valid_from, expires_at, '2026-01-01') FROM ledger;
INSERT INTO ledger VALUES (0, '2026-01-01', NULL, '2026-02-01');
SELECT * FROM walk('2026-01-01', '2026-03-01');
INSERT INTO ledger VALUES (3, '-infinity', '-infinity', 'infinity'), (2, '2026-01-01', NULL, '-infinity'), (-1, 'infinity', NULL, NULL);
SELECT * FROM walk('2026-01-01', '2026-03-01');

-- as a window function: what the rows so far come to on one day
TRUNCATE ledger;
INSERT INTO ledger VALUES (100, '2026-01-01', NULL, '2026-02-01'), (-30, '2026-01-10', NULL, NULL), (20, '2026-02-10', NULL, '2026-12-31');
SELECT at::date, points, segment.points_balance(points, at, valid_from, expires_at, '2026-03-01') OVER (ORDER BY at) FROM ledger ORDER BY at;
-- exact, however long
TRUNCATE ledger;
INSERT INTO ledger SELECT v, '2026-01-01'::timestamptz + n * interval '1 hour', NULL, '2026-12-01' FROM unnest('{123456789012345678901234567890.1,0.000000000000000000000000000002}'::numeric[]) WITH ORDINALITY t(v, n);
INSERT INTO ledger VALUES (-0.1, '2026-02-01');
SELECT * FROM walk('2026-03-01', '2026-12-01');

-- instants that are asked about are the same for all rows
SELECT segment.points_balance(points, at, valid_from, expires_at, at) FROM ledger;
DROP FUNCTION walk(timestamptz[]);
DROP TABLE ledger;

-- points_expiring in conditions: days on which something is left that expires, each with a power of ten of its own; it is
-- noon on 15 January in the shop, and what expired before that is gone
SET client_min_messages = warning;
SET timezone = 'UTC';
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY);
INSERT INTO shop.customers VALUES (1);
CREATE TABLE shop.points (customer_id bigint, delta numeric, at timestamptz, expires timestamptz);
INSERT INTO shop.points SELECT 1, power(10::numeric, n)::bigint, '2026-01-01 03:00Z', (d || ' Asia/Ho_Chi_Minh')::timestamptz FROM (VALUES
	(0, '2026-01-14 12:00'), (1, '2026-01-15 00:00'), (2, '2026-01-15 13:00'), (3, '2026-01-16 00:00'), (4, '2026-01-16 23:59:59.999999'),
	(5, '2026-01-17 00:00'), (6, '2026-01-31 10:00'), (7, '2026-02-01 00:00'), (8, '2026-02-28 23:00'), (9, '2026-03-01 00:00')) AS e(n, d);
INSERT INTO shop.points VALUES (1, -100, '2026-01-02 03:00Z', NULL), (1, 5, '2026-01-02 03:00Z', NULL);	-- spends of what expires first; never expires
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_points('shop.points', customer => 'customer_id', points => 'delta', at => 'at', expires_at => 'expires');
\pset format unaligned
\pset tuples_only on
SELECT narrow, (SELECT string_agg(value, ',') FROM segment.preview(format('points_expiring%s >= 0', narrow)::segment.condition, at => '2026-01-15 05:00Z'), jsonb_each_text(figures)) AS left_of_them
FROM unnest(ARRAY['', '(date = today)', '(date < today)', '(date <= today)', '(date > today)', '(date >= today)', '(date = tomorrow)', '(date BETWEEN +1d AND +2d)', '(date DURING this_month)', '(date DURING next_month)',
	'(date <= 2026-02-01)', '(date < 2026-02-01)', '(date = ''2026-03-01'')', '(date >= +1m)', '(date > today, date < +2d)', '(date > +2d, date < today)', '(date DURING last_month)', '(date >= +300000d)']) narrow;
SELECT count(*) = 2 AS same FROM (SELECT segment.preview_count(c, '2026-01-15 05:00Z') FROM unnest(ARRAY['points_expiring(date DURING next_month) = 110_000_000', 'NOT points_expiring(date DURING next_month) = 110_000_001']::segment.condition[]) c) p(n) WHERE n = 1;
\pset tuples_only off
\pset format aligned
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
