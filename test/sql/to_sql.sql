-- The SELECT that a condition means: runs by copy and paste whatever the session's settings, quotes every value, and lets
-- the shop's own indexes serve it.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, full_name text, phone text, born date, joined timestamptz, city text, credit numeric, renewal date, tags text[]);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz, branch text, delivered date);
CREATE TABLE shop.lines (order_id bigint, sku text);
INSERT INTO shop.customers SELECT i, 'Nguyễn Văn ' || i, '0912' || i, date '1960-01-01' + 3 * i, timestamptz '2020-01-01 00:00Z' + i * interval '6 hours', 'c' || i % 50, i, date '2026-01-01' + i, ARRAY['t' || i] FROM generate_series(1, 2000) i;
INSERT INTO shop.customers VALUES (9001, 'forever', NULL, 'infinity', 'infinity', NULL, 'Infinity', 'infinity', NULL), (9002, 'never', NULL, '-infinity', '-infinity', NULL, '-Infinity', '-infinity', NULL),
	(9003, 'nothing', NULL, NULL, NULL, NULL, 'NaN', NULL, NULL), (9004, '''); DROP TABLE shop.customers; --', '0912''345', NULL, NULL, '\'') OR (true', NULL, NULL, '{"''","\\","\\''","$q$"}');
INSERT INTO shop.orders SELECT i, i % 2000 + 1, i, timestamptz '2026-01-01 00:00Z' - i * interval '1 hour', 'b' || i, date '2026-01-01' - i / 24 FROM generate_series(1, 4000) i;
INSERT INTO shop.lines SELECT i, 'sku' || i FROM generate_series(1, 4000) i;
CREATE INDEX customers_born ON shop.customers (born);
CREATE INDEX customers_joined ON shop.customers (joined);
CREATE INDEX customers_credit ON shop.customers (credit);
CREATE INDEX customers_renewal ON shop.customers (renewal);
CREATE INDEX orders_at ON shop.orders (at);
CREATE INDEX orders_delivered ON shop.orders (delivered);
CREATE INDEX orders_customer ON shop.orders (customer_id, at);
CREATE INDEX lines_sku ON shop.lines (sku);
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', phone => 'phone', birth_date => 'born', member_since => 'joined', city => 'city', tags => 'tags', custom => '{"credit": "credit", "renewal": "renewal"}');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', custom => '{"branch": "branch", "delivered": "delivered"}');
SELECT segment.attach_order_lines('shop.lines', order_key => 'order_id', product => 'sku');
CREATE INDEX customers_name ON shop.customers (segment.fold(full_name));
ANALYZE shop.customers, shop.orders, shop.lines;

-- Runs in any session, and gives whom preview() gives.
CREATE FUNCTION shop.keys(condition segment.condition, asked timestamptz) RETURNS text LANGUAGE plpgsql
SET search_path = '' SET timezone = 'America/New_York' SET datestyle = 'SQL, DMY' SET intervalstyle = 'postgres_verbose' SET standard_conforming_strings = off AS $$
DECLARE
	selected bigint[];
	previewed bigint[];
BEGIN
	EXECUTE pg_catalog.format('SELECT pg_catalog.array_agg(x.key ORDER BY x.key) FROM (%s) x', segment.to_sql(condition, asked)) INTO selected;
	SELECT pg_catalog.array_agg(p.customer_id ORDER BY p.customer_id) INTO previewed FROM segment.preview(condition, asked) p;
	RETURN CASE WHEN selected IS DISTINCT FROM previewed THEN 'DIFFERS ' || coalesce(previewed::text, '-') || ' ' ELSE '' END
		|| CASE WHEN pg_catalog.cardinality(selected) > 8 THEN pg_catalog.cardinality(selected) || ' customers' ELSE coalesce(selected::text, 'nobody') END;
END
$$;
-- values that are like SQL
SET client_min_messages = error;
SELECT condition, shop.keys(condition, '2026-01-15 05:00Z') FROM unnest(ARRAY[
	$$name = '\'); DROP TABLE shop.customers; --'$$, $$city CONTAINS '\\\') OR (true'$$, $$tags CONTAINS ALL ('\'', '\\', '\\\'', '$q$')$$, $$phone = '0912\'345'$$, $$phone STARTS WITH '0912\'3'$$,
	$$name HAS WORD 'drop table shop customers'$$, $$unaccented(name) ENDS WITH '--'$$, $$orders_placed MATCHES (branch = '\') OR (true')$$, $$products_purchased MATCHES (id IN ('\'', '\\'))$$]::segment.condition[]) AS condition;
RESET client_min_messages;

-- Infinite values are none: in no clause, in every negative.
SELECT condition, shop.keys(condition, '2026-01-15 05:00Z') FROM unnest(ARRAY['birth_date > 1976-06-01', 'birth_date < 1960-01-10', 'birth_date >= +300000d', 'birth_date <= -300000d', 'birth_date = 1976-06-03', 'birth_date BETWEEN 1960-01-01 AND 1960-01-07',
	'birth_date NOT BETWEEN 1960-01-07 AND 1976-06-03', 'birth_date != 1976-06-03 AND birth_date > 1976-06-01', 'birth_date IS NULL', 'NOT (birth_date < 2050-01-01)', 'member_since > 2021-05-14', 'member_since < 2020-01-02', 'NOT (member_since <= 2050-01-01)', 'member_since IN (2020-01-02)',
	'credit > 1998', 'credit < 2', 'credit IN (5, 6)', 'NOT (credit < 100_000)', 'credit != 5 AND credit <= 7', 'renewal DURING this_week', 'renewal NOT DURING this_week AND renewal < 2026-01-15', 'NOT renewal > 2020-01-01',
	'amount_spent > 5990', 'amount_spent < 1', 'number_of_orders = 0', 'number_of_orders != 2', 'NOT number_of_orders >= 1', 'amount_ordered(date < 2020-01-01) BETWEEN -5 AND 5 AND name HAS WORD ''nothing''', 'number_of_orders IN (0, 7)', 'number_of_orders IN (2, 7) AND amount_spent >= 5996',
	'orders_placed MATCHES (delivered = 2025-12-31, date >= 2026-01-01)', 'orders_placed MATCHES (delivered >= 2026-01-01)']::segment.condition[]) AS condition;

-- Indexes, where there is one to use; who has no events is not looked at where a sum must be more than 0.
CREATE FUNCTION shop.plan(condition segment.condition) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = 'force_custom_plan' AS $$
DECLARE
	line text;
	used text[] := '{}';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || segment.to_sql(condition, '2026-01-15 05:00Z') LOOP
		used := used || coalesce(substring(line FROM 'Index.* (?:using|on) ((?:customers|orders|lines)_(?:born|joined|credit|renewal|name|at|delivered|sku))'), '{}');
		IF line ~ '(Left|Right|Full) Join' THEN
			used := used || 'outer join'::text;
		END IF;
	END LOOP;
	RETURN array_to_string(ARRAY(SELECT DISTINCT u FROM unnest(used) u WHERE u <> '{}' ORDER BY u), ', ');
END
$$;
SELECT condition, shop.plan(condition) FROM unnest(ARRAY['birth_date = 1976-06-01', 'birth_date BETWEEN 1976-06-01 AND 1976-06-09', 'birth_date >= 1976-06-01', 'birth_date DURING year(-50)', 'member_since = 2021-05-01', 'member_since > 2021-05-14', 'credit = 5', 'credit < 5',
	'renewal < -10d', 'name = ''nguyễn văn 77''', 'orders_placed MATCHES (date >= -15d)', 'orders_placed NOT MATCHES (date >= -15d)', 'amount_spent(date >= -15d) > 0', 'amount_spent(date >= -15d) < 5', 'monthly_total >= 1', 'orders_placed MATCHES (delivered = 2026-01-01)',
	'products_purchased MATCHES (id = ''sku77'')']::segment.condition[]) AS condition;

SET client_min_messages = error;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
