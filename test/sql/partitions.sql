-- Partitioned tables: a row counts exactly once whichever name it is written by, and wherever it moves.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int, at timestamptz, customer_id int, total numeric, state text NOT NULL DEFAULT 'done', PRIMARY KEY (id, at))
	PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2024 PARTITION OF shop.orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
-- a leaf whose columns come in another order, one of them gone
CREATE TABLE shop.orders_2025 (total numeric, gone text, state text NOT NULL DEFAULT 'done', customer_id int, id int NOT NULL, at timestamptz NOT NULL);
ALTER TABLE shop.orders_2025 DROP COLUMN gone;
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
-- partitions of a partition
CREATE TABLE shop.orders_2026 PARTITION OF shop.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at, id);
CREATE TABLE shop.orders_2026_spring PARTITION OF shop.orders_2026 FOR VALUES FROM ('2026-01-01', 0) TO ('2026-07-01', 0);
CREATE TABLE shop.orders_2026_rest PARTITION OF shop.orders_2026 DEFAULT;
INSERT INTO shop.customers SELECT generate_series(1, 3);
INSERT INTO shop.orders VALUES (1, '2024-06-01', 1, 10), (2, '2025-06-01', 1, 20), (3, '2026-06-01', 2, 30);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', at_zone => 'UTC',
	counted_when => $$state = 'done'$$);
CREATE VIEW shop.figures AS
	SELECT customer_id AS customer, number_of_orders AS orders, amount_spent AS spent, first_order_date AS first, last_order_date AS last, stale
	FROM segment.customers ORDER BY 1;
CREATE VIEW shop.wrong AS
	SELECT * FROM (SELECT c.id AS customer, count(o.total) AS orders, coalesce(sum(o.total), 0) AS spent
				   FROM shop.customers c LEFT JOIN shop.orders o ON o.customer_id = c.id AND o.state = 'done' GROUP BY c.id) t
		FULL JOIN shop.figures f USING (customer, orders, spent)
	WHERE t IS NULL OR f IS NULL;
TABLE shop.figures;
SELECT source, role, watched FROM segment.sources;
SELECT tgrelid::regclass, tgname, tgenabled, tgparentid <> 0 AS cloned FROM pg_trigger WHERE tgname LIKE '\_segment%'
	AND tgrelid <> 'shop.customers'::regclass AND tgrelid::regclass::text LIKE 'shop.%' ORDER BY tgrelid::regclass::text, tgname;

-- written by the name of the whole, of a leaf, of a partition between
INSERT INTO shop.orders VALUES (4, '2024-07-01', 1, 1, 'done'), (5, '2025-07-01', 2, 2, 'done'), (6, '2026-03-01', 3, 3, 'done'), (7, '2026-07-01', 3, 1000, 'cart');
INSERT INTO shop.orders_2024 VALUES (8, '2024-08-01', 3, 4);
INSERT INTO shop.orders_2025 (id, at, customer_id, total) VALUES (9, '2025-08-01', 3, 5);
INSERT INTO shop.orders_2026 VALUES (10, '2026-03-01', 3, 6, 'done'), (11, '2026-08-01', 3, 7, 'cart');
INSERT INTO shop.orders_2026_rest VALUES (12, '2026-08-01', 3, 8, 'lost');
COPY shop.orders (id, at, customer_id, total) FROM stdin;
13	2024-09-01	1	100
14	2025-09-01	2	200
15	2026-09-01	2	300
\.
COPY shop.orders_2025 (total, state, customer_id, id, at) FROM stdin;
400	done	1	16	2025-09-02
\.
TABLE shop.figures;
TABLE shop.wrong;

-- moved from one partition to another, within one, to another customer on the way
UPDATE shop.orders SET at = '2025-01-15' WHERE id = 13;
UPDATE shop.orders SET at = at + interval '1 year', total = total + 0.5, customer_id = 3 WHERE id IN (1, 2);
UPDATE shop.orders_2026 SET state = 'done' WHERE id IN (7, 12);
UPDATE shop.orders_2026 SET state = 'lost', at = '2026-02-15' WHERE id = 15;
UPDATE shop.orders_2026 SET at = at + interval '6 months' WHERE id IN (6, 10);
UPDATE shop.orders_2024 SET total = 5 WHERE id = 8;
TABLE shop.figures;
TABLE shop.wrong;
-- one statement with everything in it
WITH gone AS (DELETE FROM shop.orders WHERE id = 16 RETURNING *)
	INSERT INTO shop.orders SELECT id + 100, at - interval '1 year', customer_id, total, state FROM gone;
INSERT INTO shop.orders VALUES (7, '2026-07-01', 3, 0), (17, '2024-01-02', 2, 17)
	ON CONFLICT (id, at) DO UPDATE SET total = excluded.total, state = 'cart';
TABLE shop.figures;
TABLE shop.wrong;
-- rolled back
BEGIN;
SAVEPOINT s;
DELETE FROM shop.orders;
SELECT sum(orders) FROM shop.figures;
ROLLBACK TO s;
UPDATE shop.orders SET at = '2024-12-31' WHERE id = 3;
ROLLBACK;
TABLE shop.wrong;
SELECT * FROM segment.verify();

-- a partition made later, and one made for what came before it
CREATE TABLE shop.orders_2027 PARTITION OF shop.orders FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
INSERT INTO shop.orders VALUES (20, '2027-02-01', 1, 20);
INSERT INTO shop.orders_2027 VALUES (21, '2027-02-01', 1, 21);
CREATE TABLE shop.orders_2023 PARTITION OF shop.orders FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
UPDATE shop.orders SET at = '2023-03-01' WHERE id = 20;
TABLE shop.figures;
TABLE shop.wrong;
SELECT item, state, detail FROM segment.status() WHERE item IN ('state', 'source');

-- TRUNCATE of a leaf, of a partition with partitions, of the whole, rolled back and for good
TRUNCATE shop.orders_2025;
TABLE shop.figures;
TABLE shop.wrong;
BEGIN;
TRUNCATE shop.orders_2026;
TABLE shop.wrong;
INSERT INTO shop.orders VALUES (22, '2026-05-05', 2, 22);
TRUNCATE shop.orders_2026_spring, shop.orders_2024;
TABLE shop.figures;
TABLE shop.wrong;
ROLLBACK;
TABLE shop.wrong;
-- one leaf, then another: two statements of one transaction
BEGIN;
TRUNCATE shop.orders_2024;
TRUNCATE shop.orders_2026_spring;
TRUNCATE shop.orders_2026_rest;
TABLE shop.wrong;
ROLLBACK;
TRUNCATE shop.orders;
TABLE shop.figures;
TABLE shop.wrong;
SELECT * FROM segment.verify();
SELECT item, state, detail FROM segment.status() WHERE item IN ('state', 'source');

-- the key of a partitioned table is unique within a partition only: both rows count, and a return of theirs once
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int, refund numeric, at timestamptz);
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'at');
INSERT INTO shop.orders VALUES (1, '2024-01-01', 1, 10), (1, '2025-01-01', 1, 20), (1, '2026-01-01', 2, 40), (2, '2026-01-01', 3, 80);
INSERT INTO shop.returns VALUES (1, 1, 3, '2026-02-01'), (2, 2, 5, '2026-02-01');
TABLE shop.figures;
UPDATE shop.orders SET state = 'lost' WHERE id = 1 AND customer_id = 1;
TABLE shop.figures;
UPDATE shop.orders SET state = 'lost', at = at + interval '1 year' WHERE id = 1 AND state = 'done';
TABLE shop.figures;
UPDATE shop.orders SET at = '2023-01-01' WHERE id = 2;
DELETE FROM shop.orders WHERE id = 2;
TABLE shop.figures;
SELECT * FROM segment.verify();
SELECT segment.recalculate();

-- rows that are left out
INSERT INTO shop.orders VALUES (30, '2024-01-01', 1, 'NaN'), (31, '2025-01-01', 1, NULL);
SELECT row_key, reason, n FROM segment.left_out ORDER BY 1;
UPDATE shop.orders SET at = '2026-01-01', total = 1 WHERE id = 30;
DELETE FROM shop.orders_2025 WHERE id = 31;
SELECT row_key, reason, n FROM segment.left_out ORDER BY 1;
SELECT * FROM segment.verify();

-- detached, the triggers are gone from every leaf
SELECT segment.detach('shop.returns');
SELECT segment.detach('shop.orders');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\_segment%' AND tgrelid::regclass::text LIKE 'shop.orders%';
INSERT INTO shop.orders VALUES (40, '2024-01-01', 1, 1);
TABLE shop.figures;

-- customers and lines, partitioned too
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE TABLE shop.people (id text, country text, PRIMARY KEY (id, country)) PARTITION BY LIST (country);
CREATE TABLE shop.people_vn PARTITION OF shop.people FOR VALUES IN ('vn');
CREATE TABLE shop.people_de PARTITION OF shop.people FOR VALUES IN ('de');
CREATE TABLE shop.sales (id int, who text, total numeric, day date) PARTITION BY HASH (id);
CREATE TABLE shop.sales_0 PARTITION OF shop.sales FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE shop.sales_1 PARTITION OF shop.sales FOR VALUES WITH (modulus 2, remainder 1);
ALTER TABLE shop.sales ADD PRIMARY KEY (id);
CREATE TABLE shop.lines (sale int, qty int) PARTITION BY HASH (sale);
CREATE TABLE shop.lines_0 PARTITION OF shop.lines FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE shop.lines_1 PARTITION OF shop.lines FOR VALUES WITH (modulus 2, remainder 1);
SELECT segment.attach_customers('shop.people', key => 'id');
SELECT segment.attach_orders('shop.sales', key => 'id', customer => 'who', amount => 'total', at => 'day', at_zone => 'UTC');
SELECT segment.attach_order_lines('shop.lines', order_key => 'sale', quantity => 'qty');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('low', 'Low', 0, 99), ('high', 'High', 100, NULL);
INSERT INTO shop.people VALUES ('an', 'vn'), ('eva', 'de');
INSERT INTO shop.lines SELECT g % 10, g FROM generate_series(1, 100) g;
INSERT INTO shop.sales SELECT g, CASE WHEN g % 3 = 0 THEN 'an' ELSE 'eva' END, g * 10, '2026-01-01'::date + g FROM generate_series(1, 10) g;
SELECT customer_id, number_of_orders, amount_spent, items_bought, stale FROM segment.customers ORDER BY 1;
-- a person moves to another country: the same customer, whose tier does not move
UPDATE shop.people SET country = 'de' WHERE id = 'an';
-- the same person in two countries is one customer, until the last row goes
INSERT INTO shop.people VALUES ('eva', 'vn');
SELECT customer_id, tier, value FROM segment.customer_tiers ORDER BY 1;
DELETE FROM shop.people WHERE country = 'vn';
SELECT customer_id, tier, value FROM segment.customer_tiers ORDER BY 1;
DELETE FROM shop.people_de WHERE id = 'eva';
SELECT customer_id, tier, value FROM segment.customer_tiers ORDER BY 1;
SELECT customer_id, action, old_tier, new_tier, cause FROM segment.changes ORDER BY customer_id, version;
UPDATE shop.sales SET id = id + 1, who = 'an' WHERE id IN (10);
UPDATE shop.lines SET sale = sale + 1 WHERE sale >= 8;
SELECT customer_id, number_of_orders, amount_spent, items_bought, stale FROM segment.customers ORDER BY 1;
SELECT * FROM segment.verify();
TRUNCATE shop.lines_1;
SELECT * FROM segment.verify();
DROP EXTENSION segment CASCADE;
SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\_segment%';
DROP SCHEMA shop CASCADE;

-- What is refused.
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE FUNCTION shop.try(tab text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	PERFORM segment.attach_orders(tab, key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', state || ': ' || message, nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;
CREATE TABLE shop.customers (id int PRIMARY KEY);
SELECT segment.attach_customers('shop.customers', key => 'id');
CREATE TABLE shop.orders (id int, at timestamptz, customer_id int, total numeric) PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.orders_2026 PARTITION OF shop.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (customer_id);
CREATE TABLE shop.parent (id int PRIMARY KEY, at timestamptz, customer_id int, total numeric);
CREATE TABLE shop.child (PRIMARY KEY (id)) INHERITS (shop.parent);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE TABLE shop.far (id int, at timestamptz, customer_id int, total numeric) PARTITION BY RANGE (at);
CREATE FOREIGN TABLE shop.far_2025 PARTITION OF shop.far FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') SERVER nowhere;
CREATE FOREIGN TABLE shop.further (id int, at timestamptz, customer_id int, total numeric) SERVER nowhere;
CREATE TABLE shop.fleeting (id int, at timestamptz, customer_id int, total numeric) PARTITION BY RANGE (at);
CREATE UNLOGGED TABLE shop.fleeting_2025 PARTITION OF shop.fleeting FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
\pset format unaligned
\pset tuples_only on
SELECT shop.try('shop.orders_2025');
SELECT shop.try('shop.orders_2026');
SELECT shop.try('shop.parent');
SELECT shop.try('shop.child');
SELECT shop.try('shop.far');
SELECT shop.try('shop.further');
SELECT shop.try('shop.fleeting');
SELECT shop.try('shop.orders');
-- returns by order_key need a key that is unique but for the columns of the partitioning
SELECT segment.detach('shop.orders');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int, refund numeric, at timestamptz);
CREATE FUNCTION shop.try_returns() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'at');
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT shop.try_returns();
CREATE UNIQUE INDEX ON shop.orders (id, at, customer_id, total);
SELECT shop.try_returns();
CREATE UNIQUE INDEX ON shop.orders (id, at, customer_id);
SELECT shop.try_returns();
\pset tuples_only off
\pset format aligned
-- rows that are read again by a key that several of them bear: all of them count, and are followed
CREATE TABLE shop.refunds (id int, customer_id int, order_id int, refund numeric, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE shop.refunds_old PARTITION OF shop.refunds FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE shop.refunds_new PARTITION OF shop.refunds DEFAULT;
INSERT INTO shop.customers VALUES (1) ON CONFLICT DO NOTHING;
INSERT INTO shop.refunds VALUES (1, 1, NULL, 1, '2025-01-01'), (1, 1, NULL, 1, '2026-01-01');
SELECT segment.attach_returns('shop.refunds', key => 'id', customer => '(SELECT c.id FROM shop.customers c WHERE c.id = customer_id)', amount => 'refund', at => 'at');
SELECT stale_because FROM segment.sources WHERE source = 'shop.refunds'::regclass;
SELECT segment.recalculate();
SELECT stale_because FROM segment.sources WHERE source = 'shop.refunds'::regclass;
DELETE FROM shop.refunds_old;
SELECT * FROM segment.verify();
SELECT stale_because FROM segment.sources WHERE source = 'shop.refunds'::regclass;
SELECT * FROM segment.verify();
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP FOREIGN DATA WRAPPER nothing CASCADE;
CREATE EXTENSION segment;
