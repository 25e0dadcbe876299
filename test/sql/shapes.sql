-- Tables as they are: keys of every type, quoted and reserved names, minor units, zones, subqueries, renames.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'America/New_York';

-- uuid keys, camelCase and reserved names, a sum of minor units, a cart that is an order once a timestamp is set
CREATE SCHEMA "My Shop";
SET search_path = "My Shop", public;
CREATE TABLE "customer" ("Id" uuid PRIMARY KEY, "select" text, "isGone" boolean NOT NULL DEFAULT false);
CREATE TABLE "order" ("order" int PRIMARY KEY, "customerId" uuid, "net" int, "tax" int, "placedAt" timestamp);
CREATE TABLE "unit" (id int PRIMARY KEY, "order" int);
CREATE TABLE "return" (id int PRIMARY KEY, unit int, amount numeric, at date);
SELECT segment.attach_customers('customer', key => 'Id', name => 'select', counted_when => 'NOT "isGone"');
SELECT segment.attach_orders('"order"', key => 'order', customer => 'customerId', amount => '("net" + "tax") / 100.0',
	at => 'placedAt', at_zone => 'UTC', counted_when => '"placedAt" IS NOT NULL');
-- a return reaches its customer over two tables
SELECT segment.attach_returns('"return"', key => 'id', amount => 'amount', at => 'at',
	customer => '(SELECT o."customerId" FROM "order" o WHERE o."order" = (SELECT u."order" FROM unit u WHERE u.id = unit))');
RESET search_path;
SELECT source, role, watched FROM segment.sources;
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('low', 'Low', 0, 99), ('high', 'High', 100, NULL);
INSERT INTO "My Shop".customer SELECT format('00000000-0000-0000-0000-00000000000%s', g)::uuid, 'c' || g FROM generate_series(1, 2) g;
INSERT INTO "My Shop"."order" VALUES
	(1, '00000000-0000-0000-0000-000000000001', 10000, 1000, '2026-01-31 18:30'),
	(2, '00000000-0000-0000-0000-000000000002', 20000, 2000, '2026-02-01 10:00'),
	(3, '00000000-0000-0000-0000-000000000002', 20000, 2000, NULL);
INSERT INTO "My Shop"."return" VALUES (1, 1, 20, '2026-02-02');
SELECT right(customer_id::text, 1) AS customer, number_of_orders, number_of_returns, amount_spent::numeric(9,2), first_order_date FROM segment.customers ORDER BY 1;
INSERT INTO "My Shop".unit VALUES (1, 1);
SELECT right(customer_id::text, 1) AS customer, tier, value::numeric(9,2) FROM segment.customer_tiers ORDER BY 1;
UPDATE "My Shop".unit SET "order" = 2;
SELECT right(customer_id::text, 1) AS customer, tier, value::numeric(9,2) FROM segment.customer_tiers ORDER BY 1;
UPDATE "My Shop"."order" SET "customerId" = '00000000-0000-0000-0000-000000000001' WHERE "order" = 2;
SELECT right(customer_id::text, 1) AS customer, tier, value::numeric(9,2) FROM segment.customer_tiers ORDER BY 1;
DELETE FROM "My Shop".unit;
SELECT right(customer_id::text, 1) AS customer, tier, value::numeric(9,2) FROM segment.customer_tiers ORDER BY 1;
SELECT * FROM segment.verify();
-- renames are followed; what is used cannot be dropped or retyped
ALTER TABLE "My Shop"."order" RENAME "net" TO "netMinor";
ALTER TABLE "My Shop"."order" RENAME "order" TO "number";
ALTER TABLE "My Shop"."order" RENAME TO "orders";
ALTER SCHEMA "My Shop" RENAME TO shop;
INSERT INTO shop.unit VALUES (1, 2);
INSERT INTO shop.orders VALUES (4, '00000000-0000-0000-0000-000000000002', 100, 0, '2026-02-03 10:00');
SELECT right(customer_id::text, 1) AS customer, number_of_orders, amount_spent::numeric(9,2) FROM segment.customers ORDER BY 1;
SELECT * FROM segment.verify();
\set VERBOSITY terse
ALTER TABLE shop.orders DROP COLUMN "netMinor";
ALTER TABLE shop.orders ALTER COLUMN "netMinor" TYPE bigint;
DROP TABLE shop.unit;
\set VERBOSITY default
-- typed functions take literals, untyped parameters and the merchant's columns
SELECT segment.recalculate_customers('{00000000-0000-0000-0000-000000000001}');
SELECT segment.recalculate_customers(array_agg("Id")) FROM shop.customer;
SELECT count(*) FROM segment.customer_tiers t JOIN shop.customer c ON c."Id" = t.customer_id;
-- all gone with the extension, the shop's tables as they were
DROP EXTENSION segment CASCADE;
INSERT INTO shop.orders VALUES (5, '00000000-0000-0000-0000-000000000002', 100, 0, '2026-02-03 10:00');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\_segment%';
DROP SCHEMA shop CASCADE;

-- text keys (varchar in the orders), soft delete by smallint, cents by expression, another currency left out
CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'Europe/London', currency => 'GBP', money_unit => 0.01);
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id text PRIMARY KEY, gone smallint NOT NULL DEFAULT 0);
CREATE TABLE shop.orders (id varchar(20) PRIMARY KEY, who varchar(40), cents bigint, day date, money char(3));
CREATE TABLE shop.refunds (id int PRIMARY KEY, order_id varchar(20), cents int, day date);
SELECT segment.attach_customers('shop.customers', key => 'id', counted_when => 'gone = 0', anonymous => '{guest,walk-in}');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'who', amount => 'cents / 100.0', at => 'day', currency => 'money');
SELECT segment.attach_returns('shop.refunds', key => 'id', order_key => 'order_id', amount => 'cents / 100.0', at => 'day');
INSERT INTO shop.customers VALUES ('cus_b'), ('cus_A'), ('Ngọc');
INSERT INTO shop.orders VALUES ('o1', 'cus_A', 1050, '2026-03-29', 'GBP'), ('o2', 'Ngọc', 2000, '2026-06-01', 'GBP'),
	('o3', 'cus_A', 999, '2026-06-01', 'EUR'), ('o4', 'guest', 100, '2026-06-01', 'GBP'), ('o5', 'cus_b', 7, '2026-06-01', NULL);
INSERT INTO shop.refunds VALUES (1, 'o1', 50, '2026-07-01'), (2, 'o3', 999, '2026-07-01'), (3, 'nowhere', 5, '2026-07-01');
SELECT customer_id, amount_spent::numeric(9,2), first_order_date FROM segment.customers ORDER BY customer_id COLLATE "C";
SELECT first_order_at AT TIME ZONE 'UTC' AS midnight_in_london FROM segment.facts WHERE customer_id = 'Ngọc';
SELECT item, source, state, rows, detail FROM segment.status() WHERE item = 'left out';
UPDATE shop.orders SET money = 'GBP' WHERE id IN ('o3', 'o5');
SELECT customer_id, amount_spent::numeric(9,2) FROM segment.customers ORDER BY customer_id COLLATE "C";
SELECT count(*) FROM segment.left_out;
SELECT segment.configure(currency => 'EUR');
SELECT * FROM segment.verify();
SELECT segment.recalculate();
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;

-- int keys, orders in bigint; one table in two roles: refunds as negative orders; two order tables
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id smallint PRIMARY KEY);
CREATE TABLE shop.web_orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
CREATE TABLE shop.till_orders (id bigint PRIMARY KEY, customer_id int, total numeric, at timestamptz);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.web_orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', counted_when => 'total >= 0');
SELECT segment.attach_returns('shop.web_orders', key => 'id', customer => 'customer_id', amount => '-total', at => 'at', counted_when => 'total < 0');
SELECT segment.attach_orders('shop.till_orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
INSERT INTO shop.customers VALUES (1), (2);
INSERT INTO shop.web_orders VALUES (1, 1, 100, '2026-01-01'), (2, 1, -30, '2026-01-02'), (3, 5000000000, 1, '2026-01-02');
INSERT INTO shop.till_orders VALUES (1, 1, 7, '2025-01-01'), (2, 2, 8, '2026-01-03');
UPDATE shop.web_orders SET total = -total WHERE id IN (1, 2);
DELETE FROM shop.till_orders WHERE id = 1;
SELECT customer_id, number_of_orders, amount_ordered, number_of_returns, amount_returned,
	(first_order_at AT TIME ZONE 'UTC')::date AS first, pg_typeof(customer_id) FROM segment.facts ORDER BY 1;
SELECT item, source, state, rows, detail FROM segment.status() WHERE item = 'left out';
SELECT segment.detach('shop.web_orders');
SELECT * FROM segment.verify();
SELECT segment.recalculate();
-- a return that reaches its customer by a join of three tables is traced through all of them
CREATE TABLE shop.shipments (id int PRIMARY KEY, till_order bigint);
CREATE TABLE shop.parcels (id int PRIMARY KEY, shipment int);
CREATE TABLE shop.parcel_returns (id int PRIMARY KEY, parcel int, amount numeric, at timestamptz);
SET client_min_messages = notice;
SELECT segment.attach_returns('shop.parcel_returns', key => 'id', amount => 'amount', at => 'at', customer =>
	'(SELECT o.customer_id FROM shop.parcels p JOIN shop.shipments s ON s.id = p.shipment, shop.till_orders o
		WHERE p.id = parcel AND o.id = s.till_order)');
SET client_min_messages = warning;
SELECT watched FROM segment.sources WHERE source = 'shop.parcel_returns'::regclass;
INSERT INTO shop.parcel_returns VALUES (1, 11, 3, '2026-01-05');
INSERT INTO shop.parcels VALUES (11, 111);
INSERT INTO shop.shipments VALUES (111, 2);
SELECT customer_id, number_of_returns, amount_returned FROM segment.facts ORDER BY 1;
UPDATE shop.till_orders SET customer_id = 1 WHERE id = 2;
SELECT customer_id, number_of_returns, amount_returned FROM segment.facts ORDER BY 1;
DELETE FROM shop.shipments;
SELECT customer_id, number_of_returns, amount_returned FROM segment.facts ORDER BY 1;
SELECT * FROM segment.verify();
SELECT count(*) FROM segment.stale_marks;
TRUNCATE shop.web_orders;
SELECT customer_id, number_of_orders, amount_ordered, number_of_returns FROM segment.facts ORDER BY 1;
SELECT * FROM segment.verify();
DROP SCHEMA shop CASCADE;
