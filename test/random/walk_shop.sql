-- The shop of test/t/clock_walk.pl: 200 customers and 60 groups whose members
-- change by time alone. Variables: zone, seed; segment.at stands for now.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION segment;
SELECT segment.configure(timezone => :'zone');
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, dob date, tags text[], joined timestamptz, added timestamptz);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz, status text NOT NULL DEFAULT 'completed', channel text);
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int, customer_id int, refund numeric, at timestamptz);
CREATE TABLE shop.points (id int PRIMARY KEY, customer_id int, points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz);
CREATE TABLE shop.vouchers (id int PRIMARY KEY, customer_id int, code text, at timestamptz);
CREATE INDEX ON shop.orders (customer_id);
CREATE INDEX ON shop.returns (customer_id);
CREATE INDEX ON shop.points (customer_id);
CREATE INDEX ON shop.vouchers (customer_id);

SELECT setseed(:seed / 1000003.0);
CREATE FUNCTION shop.n(low int, high int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT low + floor(random() * (high - low + 1))::int $$;
-- instants up to some days after now, often next to a midnight
CREATE FUNCTION shop.some_instant(before int, after int) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
	SELECT (((current_setting('segment.at')::timestamptz AT TIME ZONE segment._setting('timezone'))::date + shop.n(-before, after)) + m.t) AT TIME ZONE segment._setting('timezone')
	FROM (SELECT ('{00:00,00:00:00.000001,23:59:59.999999,00:30,12:00,18:45}'::time[])[shop.n(1, 6)] AS t) m $$;
INSERT INTO shop.customers
	SELECT i, 'C ' || i, CASE WHEN i % 17 = 0 THEN NULL WHEN i % 9 = 0 THEN make_date(1960 + 4 * (i % 10), 2, 29) ELSE make_date(1955 + i % 50, shop.n(1, 12), shop.n(1, 28)) END,
		CASE i % 3 WHEN 0 THEN '{vip}'::text[] WHEN 1 THEN '{b2b}' END, CASE WHEN i % 5 <> 0 THEN shop.some_instant(900, 200) END, shop.some_instant(900, 0)
	FROM generate_series(1, 200) i;
INSERT INTO shop.orders SELECT i, shop.n(1, 190), 25 * shop.n(1, 40), shop.some_instant(900, 120), CASE WHEN i % 11 = 0 THEN 'draft' ELSE 'completed' END, (ARRAY['pos', 'web'])[shop.n(1, 2)]
	FROM generate_series(1, 1200) i;
INSERT INTO shop.returns SELECT i, CASE WHEN i % 4 <> 0 THEN o.id END, o.customer_id, round(o.total / shop.n(1, 3)), o.at + shop.n(0, 40) * interval '1 day'
	FROM generate_series(1, 200) i JOIN shop.orders o ON o.id = i * 5;
INSERT INTO shop.points SELECT i, shop.n(1, 180), shop.n(-20, 60), p.at, CASE WHEN i % 3 = 0 THEN p.at + shop.n(1, 60) * interval '1 day' END, CASE WHEN i % 5 <> 0 THEN p.at + shop.n(1, 400) * interval '1 day' END
	FROM (SELECT i, shop.some_instant(600, 30) AS at FROM generate_series(1, 600) i) p;
INSERT INTO shop.vouchers SELECT i, shop.n(1, 180), (ARRAY['TET', 'SN', 'HE'])[shop.n(1, 3)], shop.some_instant(600, 60) FROM generate_series(1, 300) i;

SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', birth_date => 'dob', tags => 'tags', member_since => 'joined', added_at => 'added');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', counted_when => $$status = 'completed'$$, channel => 'channel');
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', customer => 'customer_id', amount => 'refund', at => 'at');
SELECT segment.attach_points('shop.points', customer => 'customer_id', points => 'points', at => 'at', valid_from => 'valid_from', expires_at => 'expires_at');
SELECT segment.attach_offers('shop.vouchers', customer => 'customer_id', offer => 'code', at => 'at');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('member', 'Member', 0, 1999), ('silver', 'Silver', 2000, 4999), ('gold', 'Gold', 5000, NULL);

INSERT INTO segment.groups (code, name, condition)
SELECT 'w' || lpad(n::text, 2, '0'), 'Walk ' || n, c::segment.condition
FROM unnest(ARRAY[
	'last_order_date < -90d',
	'last_order_date < -365d AND amount_spent >= 2000',
	'last_order_date >= -30d',
	'last_order_date >= -6m',
	'last_order_date BETWEEN -1y AND -3m',
	'last_order_date DURING this_month',
	'last_order_date DURING last_quarter',
	'last_order_date DURING week(-2)',
	'last_order_date > today',
	'last_order_date = yesterday',
	'NOT last_order_date >= -14d',
	'first_order_date >= -180d',
	'first_order_date DURING this_year',
	'first_order_date DURING next_month',
	'days_since_last_order BETWEEN 30 AND 60',
	'days_since_last_order > 365 OR days_since_last_order < 0',
	'amount_spent(date >= -30d) >= 500',
	'amount_spent(date >= -90d) > 1000',
	'amount_spent(date >= -1y) BETWEEN 500 AND 3000',
	'amount_spent(date BETWEEN -60d AND -30d) >= 400',
	'amount_spent(date DURING last_month) = 0',
	'amount_spent(date DURING this_quarter) >= 800',
	'amount_spent(date <= today) < 0',
	'amount_spent(date < -1y) >= 1500',
	'amount_ordered(date >= -90d, channel = ''pos'') >= 300',
	'number_of_orders(date DURING last_month) = 0',
	'number_of_orders(date >= -180d) >= 3',
	'number_of_orders(date <= -2y) IN (1, 3, 5)',
	'number_of_orders(date > today) >= 1',
	'number_of_orders(date DURING half_year(-1), amount >= 300) >= 2',
	'average_order_value(date >= -6m) >= 500',
	'amount_returned(date >= -60d) > 0.3 * amount_ordered(date >= -60d)',
	'amount_spent(date >= -30d) > 0.5 * amount_spent(date >= -180d)',
	'number_of_returns(date >= -90d) != 0',
	'monthly_total >= 300',
	'monthly_average >= 100',
	'monthly_average(months = 3) BETWEEN 50 AND 250',
	'orders_placed MATCHES (date >= -30d, amount >= 700)',
	'orders_placed NOT MATCHES (date BETWEEN -120d AND -60d)',
	'orders_placed MATCHES (date DURING last_week, count >= 1)',
	'returns_made MATCHES (date >= -45d, sum_amount >= 200)',
	'offers_used MATCHES (date >= -60d, offer = ''TET'')',
	'offers_used NOT MATCHES (date DURING this_half_year)',
	'points_earned MATCHES (date >= -90d, sum_points >= 40)',
	'points >= 60',
	'points_expiring(date <= +30d) > 20',
	'points_expiring(date BETWEEN +7d AND +60d) >= 15',
	'anniversary(birth_date) = today',
	'anniversary(birth_date) BETWEEN today AND +30d',
	'anniversary(birth_date) DURING next_month',
	'anniversary(birth_date) BETWEEN 2020-12-20 AND 2020-01-10 AND last_order_date >= -1y',
	'age >= 40',
	'age BETWEEN 18 AND 30',
	'member_since >= -1y',
	'member_since > today OR member_since < -1000d',
	'customer_added_date < -2y AND NOT last_order_date >= -2y',
	'tier = ''gold'' AND last_order_date < -60d',
	'groups CONTAINS ''w01'' AND tags CONTAINS ''vip''',
	'groups CONTAINS ANY (''w48'', ''w58'') OR groups CONTAINS ALL (''w01'', ''w45'')',
	'NOT groups CONTAINS ''w59'' AND amount_spent(date >= -7d) > 0'
]) WITH ORDINALITY AS x(c, n);

CREATE SCHEMA walk;
-- who is in what, and since when, as views show it
CREATE FUNCTION walk.members() RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(concat_ws(' ', m.group_code, m.customer_id, m.since), E'\n' ORDER BY m.group_code, m.customer_id)) FROM segment.members m $$;
-- groups whose members are not those whom their conditions mean; NULL: all groups
CREATE FUNCTION walk.wrong(codes text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	g record;
	at timestamptz := segment._now();
	missing text;
	surplus text;
BEGIN
	DROP TABLE IF EXISTS m;
	CREATE TEMP TABLE m AS SELECT v.group_code, v.customer_id FROM segment.members v;
	FOR g IN SELECT * FROM segment.groups x WHERE codes IS NULL OR x.code = ANY (codes) ORDER BY x.id LOOP
		EXECUTE format('WITH meant AS (%s), stored AS (SELECT customer_id FROM m WHERE group_code = $1)
			SELECT (SELECT string_agg(k::text, '' '') FROM (TABLE meant EXCEPT ALL TABLE stored) x(k)), (SELECT string_agg(k::text, '' '') FROM (TABLE stored EXCEPT ALL TABLE meant) x(k))',
			segment.to_sql(g.condition, at)) INTO missing, surplus USING g.code;
		IF missing IS NOT NULL OR surplus IS NOT NULL THEN
			RETURN NEXT format('%s at %s: missing {%s}, surplus {%s}: %s', g.code, at, missing, surplus, g.condition);
		END IF;
	END LOOP;
END $$;
ANALYZE;
