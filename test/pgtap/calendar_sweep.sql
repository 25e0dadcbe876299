-- Every day from 1900 to 2100, in zones with every kind of midnight, and every
-- form of date in a condition, against PostgreSQL's own dates and intervals.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
BEGIN;
SET LOCAL jit = off;
SET LOCAL timezone = 'America/Los_Angeles';		-- no answer may depend on it
SELECT plan(17);

CREATE TEMP TABLE days AS
	SELECT d::date, extract(year FROM d)::int AS y, extract(month FROM d)::int AS m
	FROM generate_series(timestamp '1900-01-01', '2100-12-31', '1 day') d;
ANALYZE days;
CREATE TEMP TABLE counts (what text, n bigint);

-- instants: where clocks say this date, and where they said it first

CREATE TEMP TABLE zones (zone text);
INSERT INTO zones VALUES ('Asia/Ho_Chi_Minh'), ('America/Sao_Paulo'), ('Europe/Lisbon'), ('Pacific/Apia'), ('Africa/Cairo'), ('Atlantic/Azores'), ('America/St_Johns');
CREATE TEMP TABLE begins AS
	SELECT zone, d, segment._begin_of_day(d, zone) AS at FROM zones CROSS JOIN days;
INSERT INTO counts SELECT 'first instants of days', count(*) FROM begins;
SELECT is((SELECT min(zone || ' ' || d) FROM begins WHERE at IS NULL), NULL, 'every day begins');
SELECT is((SELECT min(zone || ' ' || d) FROM begins
		   WHERE (at AT TIME ZONE zone)::date < d
			  OR (at AT TIME ZONE zone)::date > d AND NOT (zone = 'Pacific/Apia' AND d = '2011-12-30')), NULL,
	'at its first instant clocks say that day, or the next where it was skipped');
SELECT is((SELECT min(zone || ' ' || d) FROM begins,
			unnest('{1 microsecond,1 minute,29 minutes,61 minutes,5 hours,23 hours,25 hours}'::interval[]) i
		   WHERE ((at - i) AT TIME ZONE zone)::date >= d), NULL, 'at none before');
SELECT is((SELECT min(zone || ' ' || d) FROM (SELECT *, lead(at) OVER (PARTITION BY zone ORDER BY d) AS next FROM begins) b
		   WHERE next < at OR next = at AND NOT (zone = 'Pacific/Apia' AND d = '2011-12-30')), NULL, 'days begin one after the other');
SELECT is((SELECT min(zone || ' ' || d) FROM begins,
			unnest('{-1 microsecond,0,30 minutes,1 hour,13:37:59.5}'::interval[]) i
		   WHERE segment._day_of(at + i, zone) <> greatest(((at + i) AT TIME ZONE zone)::date, CASE WHEN i >= '0' THEN (at AT TIME ZONE zone)::date END)), NULL,
	'the day of an instant is what clocks say, but a day that has begun does not end again');
INSERT INTO counts SELECT 'days of instants', count(*) * 5 FROM begins;
SELECT diag(format('%s: %s days do not begin where AT TIME ZONE puts their midnight; on %s an hour before midnight comes again after it',
	zone, count(*) FILTER (WHERE at <> d::timestamp AT TIME ZONE zone),
	count(*) FILTER (WHERE EXISTS (SELECT FROM unnest('{1 minute,30 minutes,59 minutes,89 minutes}'::interval[]) i
								   WHERE ((at + i) AT TIME ZONE zone)::date < d))))
FROM begins GROUP BY zone ORDER BY zone;

-- offsets

CREATE TEMP TABLE offsets AS
	SELECT format('%s%s%s', CASE WHEN n < 0 THEN '' ELSE '+' END, n, u) AS o,
		   make_interval(years => CASE u WHEN 'y' THEN n ELSE 0 END, months => CASE u WHEN 'm' THEN n ELSE 0 END,
						 days => CASE u WHEN 'd' THEN n WHEN 'w' THEN 7 * n ELSE 0 END) AS i
	FROM unnest('{0,1,-1,6,-7,12,-13,-90}'::int[]) n, unnest('{d,w,m,y}'::text[]) u;
SELECT is((SELECT min(d || ' ' || o) FROM days, offsets WHERE segment._add_offset(d, o) IS DISTINCT FROM (d + i)::date), NULL,
	'offsets are intervals');
SELECT is((SELECT min(d || ' ' || o) FROM days, offsets, LATERAL (SELECT segment._day_reaching(d, o) AS r OFFSET 0) r
		   WHERE r IS NULL OR (r + i)::date < d OR (r - 1 + i)::date >= d), NULL, 'the first day whose offset day is there');
INSERT INTO counts SELECT 'offsets, there and back', count(*) * 2 FROM days, offsets;

-- periods

CREATE TEMP TABLE shifts AS
	SELECT n, v.form FROM (VALUES (-1, 'last_%s'), (0, 'this_%s'), (1, 'next_%s'), (-2, '%s(-2)'), (5, '%s(5)'), (-14, '%s(-14)')) v(n, form);
SELECT is((SELECT min(d || ' ' || form) FROM days, shifts
		   WHERE segment._period(d, format(form, 'week')) <> ARRAY[date_trunc('week', d)::date + 7 * n, date_trunc('week', d)::date + 7 * n + 6]), NULL,
	'weeks, Monday to Sunday');
SELECT is((SELECT min(d || ' ' || form || ' ' || unit) FROM days, shifts,
			(VALUES ('month', 1), ('quarter', 3), ('half_year', 6), ('year', 12)) u(unit, months),
			LATERAL (SELECT make_date(y, (m - 1) / months * months + 1, 1) + make_interval(months => months * n) AS first OFFSET 0) p
		   WHERE segment._period(d, format(form, unit)) <> ARRAY[first::date, (first + make_interval(months => months))::date - 1]), NULL,
	'months, quarters, half years, years');
INSERT INTO counts SELECT 'periods', count(*) * 5 FROM days, shifts;

-- a ladder's blocks: all that begin at a start plus whole numbers of blocks, day by day
CREATE TEMP TABLE blocks AS
	SELECT months, starts_on, first, lead(first) OVER w - 1 AS last, lag(first) OVER w AS before
	FROM unnest('{1,2,3,4,6,12}'::int[]) months,
		 unnest('{2000-01-01,2024-04-15,2023-08-31,1999-01-30,2024-02-29}'::date[]) starts_on,
		 LATERAL (SELECT (starts_on + make_interval(months => months * k))::date AS first FROM generate_series(-1700 / months, 1400 / months) k) f
	WINDOW w AS (PARTITION BY months, starts_on ORDER BY first);
CREATE TEMP TABLE in_blocks AS
	SELECT b.*, first + i AS d FROM blocks b, generate_series(0, last - first) i
	WHERE first + i BETWEEN '1900-01-01' AND '2100-12-31';
SELECT is((SELECT min(format('%s %s %s', d, months, starts_on)) FROM in_blocks
		   WHERE segment._period(d, 'this_period', months, starts_on) IS DISTINCT FROM ARRAY[first, last]
			  OR segment._period(d, 'last_period', months, starts_on) IS DISTINCT FROM ARRAY[before, first - 1]), NULL,
	'blocks of months from any day');
INSERT INTO counts SELECT 'blocks', count(*) * 2 FROM in_blocks;

-- when "day DURING period" changes: walk through the days and see
CREATE TEMP TABLE walks AS
	SELECT f, p, months, starts_on, t, verdict,
		   min(t) FILTER (WHERE verdict <> before) OVER (PARTITION BY f, p, months, starts_on ORDER BY t DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS next
	FROM (SELECT w.*, lag(verdict, 1, verdict) OVER (PARTITION BY f, p, months, starts_on ORDER BY t) AS before
		  FROM (SELECT f, p, months, starts_on, f + i AS t,
					   f BETWEEN (segment._period(f + i, p, months, starts_on))[1] AND (segment._period(f + i, p, months, starts_on))[2] AS verdict
				FROM (SELECT d AS f FROM days WHERE d - '1900-01-01' BETWEEN 43000 AND 47000 AND (d - date '1900-01-01') % 83 = 0
					  UNION SELECT unnest('{2024-02-28,2024-02-29,2024-03-01,2024-12-31,2025-01-01}'::date[])) f,
					 (VALUES ('this_week', 12, date '2000-01-01'), ('last_month', 12, '2000-01-01'), ('next_month', 12, '2000-01-01'), ('quarter(-2)', 12, '2000-01-01'),
							 ('this_year', 12, '2000-01-01'), ('last_half_year', 12, '2000-01-01'), ('last_period', 4, '2023-08-31'), ('next_period', 1, '1999-01-30')) p(p, months, starts_on),
					 generate_series(-800, 800) i) w) w;
SELECT is((SELECT min(format('%s %s, seen on %s: %s, not %s', f, p, t, segment._during_change(f, p, months, starts_on, t), next)) FROM walks
		   WHERE segment._during_change(f, p, months, starts_on, t) IS DISTINCT FROM next), NULL, 'a day is in a period until the day that is foretold');
INSERT INTO counts SELECT 'changes of DURING', count(*) FROM walks;

-- birthdays

CREATE FUNCTION pg_temp.birthday(birth date, year int) RETURNS date LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN to_char(birth, 'MM-DD') = '02-29' AND NOT (year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0)) THEN make_date(year, 2, 28)
		   ELSE make_date(year, extract(month FROM birth)::int, extract(day FROM birth)::int) END
$$;
SELECT is((SELECT min(d || ' ' || year) FROM days, unnest('{1900,1999,2000,2023,2024,2100}'::int[] || y) year
		   WHERE segment._anniversary(d, year) <> pg_temp.birthday(d, year)), NULL, 'birthdays');
SELECT is((SELECT count(*) FROM days, unnest('{1900,2000,2023,2024}'::int[]) year
		   WHERE extract(month FROM segment._anniversary(d, year)) <> m), 0::bigint, 'a birthday never leaves its month');
INSERT INTO counts SELECT 'birthdays', count(*) * 7 FROM days;

CREATE TEMP TABLE births AS
	SELECT b, y, pg_temp.birthday(b, y) AS birthday
	FROM unnest('{1900-01-01,1904-02-29,1930-12-31,1968-02-28,1975-03-01,2000-02-29,2001-11-25}'::date[]) b, generate_series(1898, 2104) y;
CREATE INDEX ON births (b, birthday);
ANALYZE births;
CREATE TEMP TABLE lives AS
	SELECT b, d, y - extract(year FROM b)::int - CASE WHEN pg_temp.birthday(b, y) > d THEN 1 ELSE 0 END AS age
	FROM (SELECT DISTINCT b FROM births) b, days;
SELECT is((SELECT min(format('%s on %s', b, d)) FROM lives
		   WHERE segment._age(b, d) IS DISTINCT FROM CASE WHEN d >= b THEN age END), NULL, 'age counts birthdays');
INSERT INTO counts SELECT 'ages', count(*) FROM lives;

-- birthdays in a window that moves with today, and when that changes
CREATE TEMP TABLE windows AS
	SELECT b, from_offset, to_offset, d, d + from_days AS from_day, d + to_days AS to_day,
		   EXISTS (SELECT FROM births x WHERE x.b = b.b AND x.birthday BETWEEN d + from_days AND d + to_days) AS verdict
	FROM (SELECT DISTINCT b FROM births) b, days,
		 (VALUES ('+0d', '+0d', 0, 0), ('+0d', '+30d', 0, 30), ('-7d', '+2w', -7, 14), ('+1d', '+365d', 1, 365)) o(from_offset, to_offset, from_days, to_days);
SELECT is((SELECT min(format('%s from %s to %s', b, from_day, to_day)) FROM windows
		   WHERE segment._anniversary_between(b, from_day, to_day) IS DISTINCT FROM verdict), NULL, 'birthdays from one day to another');
INSERT INTO counts SELECT 'birthdays in windows', count(*) FROM windows;
SELECT is((SELECT min(format('%s from %s to %s', b, from_day, to_day)) FROM windows
		   WHERE to_day < from_day + 300 AND extract(year FROM to_day) > extract(year FROM from_day) AND to_char(to_day, 'MM-DD') <> '02-29'
			 AND segment._anniversary_between(b, from_day, pg_temp.birthday(to_day, extract(year FROM from_day)::int)) IS DISTINCT FROM verdict), NULL,
	'over the year''s end, with the year of the second day left out');
SELECT is((SELECT min(format('%s from %s to %s, seen on %s: %s, not %s', b, from_offset, to_offset, d, segment._anniversary_change(b, from_offset, to_offset, d), next))
		   FROM (SELECT c.*, min(d) FILTER (WHERE verdict <> before) OVER (PARTITION BY b, from_offset, to_offset ORDER BY d DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS next
				 FROM (SELECT w.*, lag(verdict, 1, verdict) OVER (PARTITION BY b, from_offset, to_offset ORDER BY d) AS before FROM windows w) c) c
		   WHERE d < '2098-01-01' AND (segment._anniversary_change(b, from_offset, to_offset, d) <= d
			OR to_offset <> '+365d' AND segment._anniversary_change(b, from_offset, to_offset, d) <> next
			OR segment._anniversary_change(b, from_offset, to_offset, d) > next)), NULL, 'it changes on the day that is foretold');
INSERT INTO counts SELECT 'changes of such windows', count(*) FROM windows;

SELECT diag(format('compared: %s %s', n, what)) FROM counts;
SELECT diag(format('compared in all: %s', sum(n))) FROM counts;
SELECT * FROM finish();
ROLLBACK;
