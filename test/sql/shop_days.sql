-- Days of the shop: what a day is, offsets, periods, birthdays. Every day of two
-- centuries against PostgreSQL's own dates: test/pgtap/calendar_sweep.sql.
\pset format unaligned
\pset tuples_only on
SET datestyle = 'ISO, DMY';
SET timezone = 'America/Los_Angeles';

-- 18:30 in London is the next day, and month, in Vietnam, whatever the session's zone
SELECT segment._day_of('2026-11-30 18:30Z', 'Asia/Ho_Chi_Minh'), segment._day_of('2026-11-30 18:30Z', 'UTC');
-- a day begins at midnight, or when clocks jump over it, or at the first of two midnights
CREATE FUNCTION begins(day date, zone text) RETURNS text LANGUAGE sql AS $$
	SELECT to_char(segment._begin_of_day(day, zone) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' = '
		|| to_char(segment._begin_of_day(day, zone) AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI')
$$;
SELECT begins('2026-11-30', 'Asia/Ho_Chi_Minh');
SELECT begins('2018-11-04', 'America/Sao_Paulo');
SELECT begins('2018-02-18', 'America/Sao_Paulo');
SELECT begins('2023-10-29', 'Atlantic/Azores');
SELECT begins('2023-04-28', 'Africa/Cairo');
SELECT begins('2011-12-29', 'Pacific/Apia'), begins('2011-12-30', 'Pacific/Apia'), begins('2011-12-31', 'Pacific/Apia');
-- where clocks went back from 00:01 to 23:01, the day that had begun did not end again
SELECT begins('2010-11-07', 'America/St_Johns');
SELECT to_char(at AT TIME ZONE 'America/St_Johns', 'YYYY-MM-DD HH24:MI:SS') AS clocks, segment._day_of(at, 'America/St_Johns')
FROM unnest('{2010-11-07 02:29:59Z,2010-11-07 02:30Z,2010-11-07 02:30:59Z,2010-11-07 02:31Z,2010-11-07 03:29:59Z,2010-11-07 03:30Z}'::timestamptz[]) at;

-- months and years clamp to the month's end, and count from the day itself
SELECT segment._add_offset('2026-03-31', '-1m'), segment._add_offset('2024-03-31', '-1m'), segment._add_offset('2026-03-31', '-2m'), segment._add_offset('2024-02-29', '+1y'), segment._add_offset('2026-11-25', '-30d'), segment._add_offset('2026-11-25', '+2w'), segment._add_offset('2026-11-25', '+0d');
-- the first day from which an offset reaches a day
SELECT segment._day_reaching('2026-03-31', '+1m'), segment._day_reaching('2026-02-28', '-1m'), segment._day_reaching('2026-03-01', '-1m'), segment._day_reaching('2026-12-25', '-30d');

-- periods
SELECT p, segment._period('2026-11-25', p)
FROM unnest('{this_week,last_week,next_week,this_month,last_month,next_month,month(-2),this_quarter,last_quarter,this_half_year,half_year(1),this_year,year(-1),week(+2),THIS_MONTH}'::text[]) p;
SELECT segment._period('2026-01-01', 'this_week'), segment._period('2026-02-28', 'next_month'), segment._period('2026-01-31', 'last_quarter');
-- a ladder's own blocks: from January, from a day, from a day that not every month has
SELECT m, segment._period('2026-11-25', 'this_period', m), segment._period('2026-11-25', 'last_period', m, '2024-04-15'), segment._period('2026-02-28', 'this_period', m, '2025-08-31')
FROM unnest('{1,2,3,4,6,12}'::int[]) m;
-- when "day DURING last_month" changes: begins with the month after, ends with that month, then never
SELECT segment._during_change('2026-10-15', 'last_month', 12, '2000-01-01', t)
FROM unnest('{2026-10-20,2026-11-01,2026-11-25,2026-12-01}'::date[]) t;

-- birthdays: 29 February never leaves its month
SELECT segment._anniversary('2004-02-29', 2025), segment._anniversary('2004-02-29', 2028), segment._anniversary('1990-12-31', 2026);
SELECT segment._age('2004-02-29', '2025-02-27'), segment._age('2004-02-29', '2025-02-28'), segment._age('2004-02-29', '2028-02-28'), segment._age('2004-02-29', '2028-02-29'), segment._age('2000-06-15', '2000-06-15');
-- in the next days, over the year's end, or anything
SELECT segment._anniversary_between('1990-01-05', '2026-12-20', '2027-01-10'), segment._anniversary_between('1990-01-05', '2026-12-20', '2026-01-10'), segment._anniversary_between('1990-01-11', '2026-12-20', '2026-01-10'), segment._anniversary_between('1990-07-01', '2026-12-20', '2027-12-20');
SELECT segment._anniversary_between('2004-02-29', '2025-02-28', '2025-02-28'), segment._anniversary_between('2004-02-29', '2028-02-28', '2028-02-28'), segment._anniversary_between('2004-02-29', '2025-03-01', '2025-03-07');
SELECT segment._anniversary_change('1990-01-05', '+0d', '+30d', t) FROM unnest('{2026-11-25,2026-12-06,2027-01-05,2027-01-06}'::date[]) t;

-- whatever is infinite or out of range is unknown, never an error
\pset null unknown
SELECT segment._day_of('infinity', 'UTC'), segment._day_of('-infinity', 'UTC'), segment._begin_of_day('infinity', 'UTC'), segment._begin_of_day('-infinity', 'UTC'), segment._begin_of_day('5874897-12-31', 'UTC'), segment._begin_of_day('4714-11-24 BC', 'Asia/Ho_Chi_Minh');
SELECT segment._add_offset('infinity', '-1m'), segment._add_offset('5874897-12-31', '+1d'), segment._add_offset('4714-11-24 BC', '-1d'), segment._add_offset('5874897-12-31', '+1m'), segment._add_offset('2026-01-01', '+2147483647y'), segment._add_offset('2026-01-01', '-2147483647w');
SELECT segment._day_reaching('infinity', '+1d'), segment._day_reaching('5874897-12-31', '-2147483647d'), segment._period('infinity', 'this_month'), segment._period('-infinity', 'this_week'), segment._period('2026-01-01', 'year(2147483647)'), segment._period('5874897-12-31', 'this_month'), segment._period('2026-01-01', 'this_period', 5);
SELECT segment._age('infinity', '2026-01-01'), segment._age('2026-01-02', '2026-01-01'), segment._age('2000-01-01', 'infinity'), segment._anniversary('infinity', 2026), segment._anniversary('2000-01-01', 2147483647), segment._anniversary_between('infinity', '2026-01-01', '2026-01-02'), segment._anniversary_between('2000-01-01', '-infinity', 'infinity'), segment._anniversary_change('2000-01-01', '+0d', '+1d', 'infinity');
SELECT segment._age('0044-03-15 BC', '2026-01-01'), segment._add_offset('0001-01-01', '-1d');

-- mistakes of whoever calls them
SELECT segment._day_of('2026-01-01', 'Mars/Base');
SELECT segment._add_offset('2026-01-01', '7d');
SELECT segment._add_offset('2026-01-01', '+7h');
SELECT segment._period('2026-01-01', 'this_decade');
SELECT segment._period('2026-01-01', 'month()');
DROP FUNCTION begins(date, text);
