-- The condition language as text: every construct, every spelling that is brought to another one, every fault.
CREATE SCHEMA language;
SET search_path = language, public;
\pset format unaligned
\pset tuples_only on

-- What is read is printed in one form; and that, read again, is the same condition.
CREATE FUNCTION read(text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	once segment.condition := $1::segment.condition;
	twice segment.condition := once::text::segment.condition;
BEGIN
	RETURN once::text || CASE WHEN twice OPERATOR(segment.=) once AND twice::text = once::text THEN '' ELSE '   IS NOT ' || twice::text END;
END $$;

-- What is refused says where and why.
CREATE FUNCTION fault(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	RETURN 'ACCEPTED: ' || condition::segment.condition::text;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN rpad(condition, 40) || ' -- ' || state || ': ' || message || E'\n    ' || detail || coalesce(E'\n    ' || nullif(hint, ''), '');
END $$;

-- comparisons
SELECT read('amount_spent >= 5_000_000 AND last_order_date < -90d');
SELECT read(v) FROM unnest(ARRAY['a = 1', 'a != 1', 'a <> 1', 'a < 1', 'a <= 1', 'a > 1', 'a>=1', E'a\n=\t1', 'a = 1 -- a comment', 'a = 5--c', E'a--c\n=-5', E'-- first\na = 1']) v;
SELECT read('amount_returned > 0.3 * amount_ordered');
SELECT read('last_order_date >= member_since AND points > 1 * items_bought AND a > -0.50 * b(x = 1)');

-- joined, and which binds tighter
SELECT read('a = 1 OR b = 2 AND NOT c = 3');
SELECT read('(a = 1 OR b = 2) AND NOT (c = 3 OR d = 4)');
SELECT read('((a = 1) AND (b = 2 AND (c = 3))) OR ((d = 4 OR (e = 5)) OR f = 6)');
SELECT read('NOT NOT a = 1 AND NOT (NOT (NOT (b = 2 AND c = 3)))');
SELECT read('NOT NOT (a = 1 AND b = 2) AND c = 3');
SELECT read('TRUE'), read('false or NOT True');

-- values
SELECT read(v) FROM unnest(ARRAY['a = +007.500', 'a = -0', 'a = .5', 'a = -0.0', 'a = 3_000_000', 'a = 10.00', 'a = -12_3.4_5',
	'a = 0.1234567890123456789012345678901234567890', 'a = 123456789012345678901234567890']) v;
SELECT read(v) FROM unnest(ARRAY[$$a = 'it''s'$$, $$a = 'it\'s'$$, $$a = 'C:\\'$$, $$a = 'a\d'$$, $$a = 'Nguyễn Thị'$$, $$a = '-- no comment'$$, $$a = '2026-01-31'$$, E'a = ''two\nlines''']) v;
SELECT read('a = TRUE or a = false');
SELECT read('d = 2026-01-31 AND d != 2024-02-29 AND d > 0001-01-01 AND d < 9999-12-31');
SELECT read(v) FROM unnest(ARRAY['at >= 2026-01-31T13:00:00', 'at >= 2026-01-31t13:00', 'at < 1999-12-31T23:59:59.5000', 'at < 2026-01-31T00:00:00.000001']) v;
SELECT read('d >= -30d AND d <= +2W AND d > -3m AND d < +1Y AND d = +0d AND d = -0d');
SELECT read('d = today OR d = Yesterday OR d < TOMORROW');
SELECT read('d >= 7_days_ago OR d >= 30_days_ago OR d >= 12_Months_Ago OR d >= 1_year_ago OR d >= 2_weeks_ago');

-- ranges, lists, absence, periods
SELECT read('age BETWEEN 18 AND 25 AND age not between 30 and 40.0');
SELECT read('d BETWEEN 2026-01-01 AND today AND d BETWEEN -7d AND +7d AND d BETWEEN yesterday AND +1d');
SELECT read($$given_name IN ('Dũng', 'An','Lâm') AND birth_month NOT IN (1)$$);
SELECT read('email IS NULL AND phone is not null');
SELECT read('d DURING this_month OR d during LAST_WEEK or d NOT DURING next_half_year');
SELECT read('d DURING month(-2) OR d DURING month(-1) OR d DURING quarter(0) OR d DURING year(1) OR d DURING period(-12)');

-- text, lists
SELECT read($$name CONTAINS 'an' AND name NOT CONTAINS ANY ('x', 'y') AND name contains any 'z'$$);
SELECT read($$phone starts with any ('086', '096') AND email ENDS  WITH '.vn' AND name NOT ENDS WITH ('a')$$);
SELECT read($$address HAS WORD 'Quận 1' AND unaccented(name) NOT HAS WORD ('dung', 'an')$$);
SELECT read($$tags CONTAINS ALL ('vip', 'b2b') OR tags CONTAINS ALL ('vip') OR tags NOT CONTAINS ALL ('a', 'b')$$);

-- events, narrowed figures, days of the year
SELECT read($$orders_placed MATCHES (date >= -30d, amount > 500000 AND channel IN ('pos', 'web'))$$);
SELECT read($$orders_placed NOT MATCHES (date BETWEEN 2026-01-01 AND 2026-01-31) AND orders_placed matches()$$);
SELECT read($$amount_spent(date >= -30d, channel = 'pos') >= 500000 AND number_of_orders(date DURING last_month) = 0$$);
SELECT read($$tier(ladder = 'total') >= 'gold' AND monthly_average(months = 6) > 3 AND points_expiring(date <= +30d) > 0$$);
SELECT read($$amount_spent(date >= -30d) > 0.5 * amount_spent(date >= -60d, date < -30d)$$);
SELECT read('anniversary(birth_date) = today OR anniversary(birth_date) BETWEEN 2000-12-20 AND 2000-01-10 OR Anniversary(birth_date) DURING next_month');

-- names: case does not matter unless quoted; Shopify's longer ones; words that are names where nothing else can stand
SELECT read('Amount_Spent > 1 AND CUSTOM.Credit_Limit > 2');
SELECT read($$điểm_thưởng > 1 AND custom.hạng = 'A'$$);
SELECT read($$'amount_spent' > 1 AND 'Credit Limit' > 2 AND 'in' > 3 AND 'custom.in' > 4 AND a > 1 * 'Credit Limit' AND 'Credit Limit'(x = 1) > 5$$);
SELECT read($$customer_tags CONTAINS 'vip' AND customer_email_domain = 'gmail.com' AND customer_countries CONTAINS 'VN' AND customer_regions CONTAINS 'HN' AND customer_cities CONTAINS 'Huế'$$);
SELECT read($$orders_placed MATCHES (app_id = 'pos', location_id = 'HN1') AND amount_spent(app_id = 'web') > 1$$);
SELECT read($$'metafields.facts.birth_date' = 2000-01-01 AND metafields.custom.size = 'XL' AND 'metafields.custom.nick-name' IS NULL AND metafields.alone = 1$$);
SELECT read('starts = 1 AND any > ends AND word IS NULL AND all IN (1)');

-- Shopify's older spellings
SELECT read('products_purchased(id: 1) = true AND products_purchased(id: (1, 2), date: -30d) = FALSE AND products_purchased(id: [1]) != true');
SELECT read($$orders_placed() = true AND anniversary(date: 'metafields.facts.birth_date') BETWEEN today AND +30d$$);

-- faults: nothing, half of something
SELECT fault(v) FROM unnest(ARRAY['', '   ', '-- nothing', 'amount_spent', 'amount_spent >=', 'amount_spent >= AND a = 1', 'a = 1 AND', 'a = 1 OR OR b = 2', 'NOT', '()', '(a = 1', 'a = 1)',
	'a IN (1, )', 'a IN ()', 'a IN 1', 'a BETWEEN 1', 'a BETWEEN 1 OR 2', 'd DURING', 'd DURING january', 'name CONTAINS', 'name CONTAINS ()', 'orders_placed MATCHES', 'orders_placed MATCHES (date >= )',
	'a IS 5', 'a NOT = 1', 'name STARTS ''a''', 'amount_spent() > 1', 'amount_spent(date) > 1']) v;
-- what is meant is told
SELECT fault(v) FROM unnest(ARRAY['a = NULL', 'a != NULL', 'a == 1', 'a => 1', 'a = 1 && b = 2', 'a = 1 || b = 2', 'a ≥ 1', 'a = "x"', 'a = ‘x’', 'a = ''abc', 'a = ''abc\', 'a = 1;', 'a # 1', 'a ! b',
	'tags CONTAINS vip', 'name LIKE ''a%''', 'amount spent > 1', 'a = 1 b = 2', 'd >= 30d', 'd = 31/12/2026', 'd = 2026-1-5', 'd = 2026-01-31T10:00:00Z', 'a = 1e5', 'a = 1.', 'a = 5abc', 'a = 1,000', 'a = - 5', 'd >= today - 30d', '5 > a',
	'd = last_month', 'custom.nick-name = 1', '_a = 1']) v;
-- what does not exist
SELECT fault(v) FROM unnest(ARRAY['d = 2026-02-30', 'd = 2026-13-01', 'd = 0000-01-01', 'd = 1900-02-29', 'd = 2026-01-31T24:00:00', 'd = 2026-01-31T10:60:00', 'd = 2026-01-31T10:00:00.1234567',
	'd = -366001d', 'd = +1001y', 'd = -99999999999999999999d', 'd DURING month(1.5)', 'd DURING month(-99999999)', 'd DURING month(''a'')']) v;
SELECT regexp_replace(fault('a = ' || repeat('9', 131073)), '9{100,}', '9...');
SELECT fault('a = 0.' || repeat('0', 16383) || '1') ~ 'number is out of range';
-- what can never hold
SELECT fault(v) FROM unnest(ARRAY['name = ''''', 'name != ''  ''', 'name IN (''a'', '''')', 'name NOT IN ('''')', U&'name = ''\00A0\3000\2003 ''', 'name CONTAINS ''''', 'name HAS WORD ANY (''a'', '' '')', ''''' = 1',
	'a BETWEEN 5 AND 3', 'a BETWEEN 5 AND -5', 'a BETWEEN 10 AND 9.99', 'a NOT BETWEEN 0.10 AND 0.09', 'd BETWEEN 2026-02-01 AND 2026-01-31', 'd BETWEEN -1d AND -2d', 'd BETWEEN today AND yesterday', 'd BETWEEN tomorrow AND -1d',
	'orders_placed MATCHES (channel = '''')']) v;
-- what stands where it cannot
SELECT fault(v) FROM unnest(ARRAY['unaccented(name) = ''a''', 'unaccented(a = 1) CONTAINS ''x''', 'unaccented(unaccented(name)) CONTAINS ''x''', 'anniversary(d) IS NULL', 'anniversary(d) = member_since', 'anniversary(d) IN (today)',
	'anniversary(date: 5) = today', 'lower(name) = ''a''', 'phone STARTS WITH ALL (''a'', ''b'')', 'orders_placed(date > -1d) MATCHES ()', 'orders_placed MATCHES (a = 1 OR b = 2)', 'orders_placed MATCHES (NOT a = 1)',
	'orders_placed MATCHES (lines MATCHES ())', 'amount_spent(a(b = 1) = 2) > 1', 'amount_spent(a > b(c = 1)) > 1', 'f(x: 1) > 2', 'f(x: 1) MATCHES ()', 'a > 2 * 3', 'a BETWEEN b AND c']) v;
-- the place is counted in characters
SELECT fault('tên = ''Dũng'' AND tuổi >= ');
SELECT regexp_replace(fault('a = 1 AND b = ''' || repeat('ơ', 100)), 'ơ{100}', 'ơ...');

-- equality, order, hashing
SELECT 'a=1.0'::segment.condition OPERATOR(segment.=) 'A = +1.00'::segment.condition, 'a = 1 AND b = 2'::segment.condition OPERATOR(segment.=) 'b = 2 AND a = 1'::segment.condition,
	   'a = 1'::segment.condition OPERATOR(segment.<>) 'a = 2'::segment.condition;
SET search_path = language, segment, public;
SELECT 'a = 1'::condition < 'a = 2', 'a = 1'::condition <= 'a = 1', 'b = 1'::condition > 'a = 2', 'a = 1'::condition >= 'a = 2';
CREATE TABLE kept (c condition);
INSERT INTO kept VALUES ('b = 1'), ('a = 1'), ('a = 1.0'), ('(a = 1)'), ('NOT NOT b = 01'), (NULL);
SELECT c, count(*) FROM kept GROUP BY c ORDER BY c;
CREATE UNIQUE INDEX kept_c ON kept (c);
DELETE FROM kept WHERE ctid NOT IN (SELECT min(ctid) FROM kept GROUP BY c);
CREATE UNIQUE INDEX kept_c ON kept (c);
CREATE INDEX kept_hash ON kept USING hash (c);
SET enable_seqscan = off;
SELECT c FROM kept WHERE c = 'A = 1';
INSERT INTO kept VALUES ('a = 1.000');
RESET enable_seqscan;

-- composing
SELECT all_of('a = 1 OR b = 2', 'c = 3'), any_of('a = 1 OR b = 2', 'c = 3 AND d = 4'), all_of('a = 1'), negate('a = 1'), negate('a = 1 AND b = 2'), negate(negate('a = 1 OR b = 2'));
SELECT all_of(VARIADIC array_agg(c ORDER BY c)) FROM kept WHERE c IS NOT NULL;
SELECT all_of(VARIADIC NULL::condition[]) IS NULL, negate(NULL) IS NULL;
\set VERBOSITY default
SELECT all_of(VARIADIC '{}');
SELECT any_of('a = 1', NULL);

-- large ones
SELECT length(string_agg('a' || i || ' = ' || i, CASE i % 2 WHEN 0 THEN ' AND ' ELSE ' OR ' END)::condition::text) FROM generate_series(1, 10000) i;
SELECT length((repeat('(a = 1 AND (b = 2 OR ', 5000) || 'c = 3' || repeat('))', 5000))::condition::text);
SELECT length((repeat('NOT (a = 1 AND ', 10000) || 'b = 2' || repeat(')', 10000))::condition::text);
SELECT (repeat('(', 100000) || 'a = 1' || repeat(')', 100000))::condition;
SELECT repeat('(', 5000000)::condition;
SELECT repeat('(', 10000000)::condition;
SELECT (repeat('NOT (a = 1 AND ', 100000) || 'b = 2' || repeat(')', 100000))::condition;
SELECT ('a = ''' || repeat('x', 9000000) || '''')::condition;
-- a long one can be cancelled
SET statement_timeout = '50ms';
SELECT length(('x in (' || repeat('1,', 2500000) || '1)')::condition::text);
RESET statement_timeout;

SET client_min_messages = warning;
DROP SCHEMA language CASCADE;
