-- Columns of the merchant's own: columns "custom.NAME" of the mapping, kept there for conditions to use.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TYPE shop.size AS ENUM ('small', 'large');
CREATE DOMAIN shop.code AS varchar(8) CHECK (value <> '');
CREATE TABLE shop.branches (id int PRIMARY KEY, region text);
CREATE TABLE shop.customers (id int PRIMARY KEY, credit numeric(12,2), vip boolean, plan shop.size, joined date, seen timestamp,
	"Card No" shop.code, token uuid, tags text[], numbers int[], ratio float8, extra jsonb);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz, branch int, extra jsonb);
INSERT INTO shop.branches VALUES (1, 'north'), (2, 'south');
INSERT INTO shop.customers VALUES
	(1, 5000, true, 'large', '2020-02-29', '2026-01-01 00:00', 'A1', '00000000-0000-0000-0000-000000000001', '{a,b}', '{1,2}', 0.25, '{"shoe": 42}'),
	(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO shop.orders VALUES (1, 1, 10, '2026-01-01', 1, '{"gift": true}'), (2, 2, 20, '2026-01-02', 7, NULL);
SET datestyle = 'ISO, YMD';
SET timezone = 'Asia/Ho_Chi_Minh';

-- of customers: columns, expressions, every type
SELECT segment.attach_customers('shop.customers', key => 'id', custom => $$ {
	"credit_limit": "credit", "vip": "vip", "plan": "plan", "joined": "joined", "seen": "seen", "card": "Card No",
	"token": "token", "tags": "tags", "numbers": "numbers", "ratio": "ratio", "shoe": "(extra ->> 'shoe')::int",
	"year": "extract(year FROM joined)", "a1b_2": "id % 2 = 1" } $$);
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = 'segment.source_1'::regclass AND attnum > 0 ORDER BY attnum;
\x on
SELECT * FROM segment.source_1 WHERE key = 1;
\x off
SELECT arguments ->> 'custom' AS custom FROM segment.sources;

-- of orders: a subquery is followed like any other
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at',
	custom => '{"region": "(SELECT b.region FROM shop.branches b WHERE b.id = branch)", "gift": "coalesce((extra ->> ''gift'')::boolean, false)"}');
SELECT key, "custom.region", "custom.gift" FROM segment.source_2 ORDER BY key;
SELECT source, watched FROM segment.sources WHERE role = 'orders';
UPDATE shop.branches SET region = 'centre';
INSERT INTO shop.orders VALUES (3, 2, 30, '2026-01-03', 2, '{"gift": "no idea"}');
SELECT row_key, reason FROM segment.left_out;
SELECT customer_id, number_of_orders, amount_spent FROM segment.customers ORDER BY 1;
SELECT * FROM segment.verify();
-- a rename is followed, what is used cannot be dropped
ALTER TABLE shop.customers RENAME "Card No" TO card_number;
SELECT "custom.card" FROM segment.source_1 WHERE key = 1;
\set VERBOSITY terse
ALTER TABLE shop.customers DROP COLUMN card_number;
ALTER TABLE shop.branches DROP COLUMN region;
\set VERBOSITY default
-- nothing, in the ways it can be said
SELECT segment.detach('shop.orders');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', custom => NULL);
SELECT segment.detach('shop.orders');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', custom => '{}');
SELECT arguments -> 'custom' IS NULL AS none FROM segment.sources WHERE role = 'orders';
SELECT segment.detach('shop.orders');

-- Mistakes are refused when they are made.
CREATE FUNCTION shop.try(custom jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text; context text;
BEGIN
	PERFORM segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', custom => try.custom);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws(E'\n', state || ': ' || message, nullif(detail, ''), 'HINT: ' || nullif(hint, ''),
		substring(context FROM E'argument [^\n]*'));
END $$;
\pset format unaligned
\pset tuples_only on
SELECT shop.try('[]');
SELECT shop.try('"branch"');
SELECT shop.try('null');
SELECT shop.try('{"branch": 1}');
SELECT shop.try('{"branch": null}');
SELECT shop.try('{"branch": {"column": "branch"}}');
SELECT shop.try('{"branch": " "}');
SELECT shop.try('{"": "branch"}');
SELECT shop.try('{"Branch": "branch"}');
SELECT shop.try('{"1st": "branch"}');
SELECT shop.try('{"chi nhánh": "branch"}');
SELECT shop.try('{"branch; DROP TABLE x": "branch"}');
SELECT shop.try(jsonb_build_object(repeat('a', 57), 'branch'));
SELECT shop.try('{"branch": "brunch"}');
SELECT shop.try('{"branch": "branch, total"}');
SELECT shop.try('{"branch": "branch +"}');
SELECT shop.try('{"branch": "count(*)"}');
SELECT shop.try('{"branch": "now()"}');
SELECT shop.try('{"branch": "extra"}');
SELECT shop.try('{"branch": "interval ''1 day''"}');
SELECT shop.try('{"branch": "ARRAY[1.5]"}');
SELECT shop.try('{"branch": "at::text"}');
SELECT shop.try(jsonb_build_object(repeat('a', 56), 'branch'));
SELECT attname FROM pg_attribute a JOIN segment.sources s ON s.mapping = a.attrelid WHERE role = 'orders' AND attname LIKE 'custom.%';
\pset tuples_only off
\pset format aligned
SELECT count(*) FROM segment.sources;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
