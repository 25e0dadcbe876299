-- DDL that lets rows reach or leave an attached or watched table unseen marks its
-- sources stale, and DDL that does not marks nothing.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int, customer_id int, total numeric, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2024 PARTITION OF shop.orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2025_h1 PARTITION OF shop.orders_2025 FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
CREATE TABLE shop.orders_2025_h2 PARTITION OF shop.orders_2025 FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');
CREATE TABLE shop.rates (currency text PRIMARY KEY, rate numeric) PARTITION BY LIST (currency);
CREATE TABLE shop.rates_usd PARTITION OF shop.rates FOR VALUES IN ('USD');
CREATE TABLE shop.returns (id int PRIMARY KEY, customer_id int, refund numeric, currency text, at timestamptz);
INSERT INTO shop.customers SELECT generate_series(1, 3);
INSERT INTO shop.orders VALUES (1, 1, 100, '2024-03-01'), (2, 2, 200, '2025-03-01'), (3, 3, 300, '2025-09-01');
INSERT INTO shop.rates VALUES ('USD', 25000);
INSERT INTO shop.returns VALUES (1, 1, 1, 'USD', '2025-04-01');
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_returns('shop.returns', key => 'id', customer => 'customer_id', at => 'at',
	amount => 'refund * (SELECT r.rate FROM shop.rates r WHERE r.currency = returns.currency)');
CREATE VIEW shop.told AS
	SELECT a.relation AS source, m.reason, count(*)
	FROM segment.stale_marks m JOIN segment.attachments a ON a.id = m.source GROUP BY a.id, 1, 2 ORDER BY a.id, 2;
CREATE VIEW shop.triggers AS
	SELECT t.tgrelid::regclass AS "table", string_agg(t.tgname || ' ' || t.tgenabled::text, ', ' ORDER BY t.tgname) AS triggers
	FROM pg_trigger t WHERE t.tgname LIKE '\_segment%' AND t.tgrelid::regclass::text LIKE 'shop%'
	GROUP BY t.tgrelid ORDER BY t.tgrelid::regclass::text;
TABLE shop.triggers;
SELECT * FROM segment._shape_faults();
TABLE shop.told;

-- A partition made later has all triggers at once, on every level.
CREATE TABLE shop.orders_2026 PARTITION OF shop.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2026_h1 PARTITION OF shop.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE shop.orders_2026_h2 (LIKE shop.orders);
ALTER TABLE shop.orders_2026 ATTACH PARTITION shop.orders_2026_h2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE SCHEMA shop_archive
	CREATE TABLE orders_2023 PARTITION OF shop.orders FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
SELECT * FROM shop.triggers WHERE "table"::text ~ '2026|2023';
SELECT * FROM segment._shape_faults();
TABLE shop.told;

-- Empty ones come and go unnoticed; their triggers go with them.
ALTER TABLE shop.orders_2026 DETACH PARTITION shop.orders_2026_h2;
ALTER TABLE shop.orders DETACH PARTITION shop.orders_2026;
SELECT * FROM shop.triggers WHERE "table"::text ~ '2026';
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT * FROM shop.triggers WHERE "table"::text ~ '2026';
ALTER TABLE shop.orders DETACH PARTITION shop.orders_2026 CONCURRENTLY;
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
DROP TABLE shop.orders_2026;
DROP SCHEMA shop_archive CASCADE;
TABLE shop.told;

-- With rows they mark: those attached ...
INSERT INTO shop.orders_2026_h2 VALUES (4, 1, 400, '2026-09-01');
CREATE TABLE shop.orders_2026 (LIKE shop.orders) PARTITION BY RANGE (at);
ALTER TABLE shop.orders_2026 ATTACH PARTITION shop.orders_2026_h2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
TABLE shop.told;
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
TABLE shop.told;
SELECT source, stale, stale_because FROM segment.sources ORDER BY mapping;
SELECT customer_id, figure, stored, expected FROM segment.verify() WHERE figure = 'amount_ordered';
SELECT segment.recalculate();
TABLE shop.told;
-- ... and detached, at whatever level, in whatever way ...
ALTER TABLE shop.orders_2026 DETACH PARTITION shop.orders_2026_h2;
TABLE shop.told;
SELECT segment.recalculate();
ALTER TABLE shop.orders DETACH PARTITION shop.orders_2025 CONCURRENTLY;
SELECT source, reason FROM shop.told;
SELECT * FROM shop.triggers WHERE "table"::text ~ '2025';
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
SELECT segment.recalculate();
-- ... and dropped; what was rolled back was not.
BEGIN;
DROP TABLE shop.orders_2024;
TABLE shop.told;
ROLLBACK;
TABLE shop.told;
BEGIN;
SAVEPOINT s;
DROP TABLE shop.orders_2024;
ROLLBACK TO s;
CREATE TEMP TABLE gone (); DROP TABLE gone;
TABLE shop.told;
DROP TABLE shop.orders_2025_h1;
COMMIT;
TABLE shop.told;
SELECT segment.recalculate();
DROP TABLE shop.orders_2025 CASCADE;
TABLE shop.told;
SELECT segment.recalculate();
-- emptied and dropped by one transaction
BEGIN;
CREATE TABLE shop.orders_2027 PARTITION OF shop.orders FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
SET LOCAL session_replication_role = replica;
INSERT INTO shop.orders VALUES (7, 1, 1, '2027-01-01');
DELETE FROM shop.orders;
SELECT segment.recalculate();
DROP TABLE shop.orders_2027;
TABLE shop.told;
ROLLBACK;
-- by way of its schema or its owner
CREATE SCHEMA shop_archive;
ALTER TABLE shop.orders_2024 SET SCHEMA shop_archive;
BEGIN;
DROP SCHEMA shop_archive CASCADE;
TABLE shop.told;
ROLLBACK;
CREATE ROLE shop_archivist;
ALTER TABLE shop_archive.orders_2024 OWNER TO shop_archivist;
BEGIN;
DROP OWNED BY shop_archivist;
TABLE shop.told;
ROLLBACK;
-- a watched table marks those that watch it
DROP TABLE shop.rates_usd;
TABLE shop.told;
SELECT segment.recalculate();
-- whoever does it, without a right on schema segment
ALTER TABLE shop.orders OWNER TO shop_archivist;
GRANT USAGE, CREATE ON SCHEMA shop TO shop_archivist;
GRANT USAGE ON SCHEMA shop_archive TO shop_archivist;
SET ROLE shop_archivist;
CREATE TABLE shop.orders_2028 PARTITION OF shop.orders FOR VALUES FROM ('2028-01-01') TO ('2029-01-01');
DROP TABLE shop_archive.orders_2024;
RESET ROLE;
SELECT * FROM shop.triggers WHERE "table"::text ~ '2028';
TABLE shop.told;
SELECT segment.recalculate();
-- also under a name that reads like a trigger
CREATE TABLE shop."every FOR EACH ROW one" PARTITION OF shop.orders FOR VALUES FROM ('2048-01-01') TO ('2049-01-01');
SELECT * FROM segment._shape_faults();
DROP TABLE shop."every FOR EACH ROW one";
-- it is followed from its first row on, once, whatever triggers others add
SET ROLE shop_archivist;
INSERT INTO shop.orders VALUES (8, 2, 80, '2028-01-01');
INSERT INTO shop.orders_2028 VALUES (9, 3, 90, '2028-01-01');
RESET ROLE;
CREATE TRIGGER another AFTER INSERT OR UPDATE OR DELETE ON shop.orders FOR EACH ROW EXECUTE FUNCTION segment._row_changed();
CREATE TRIGGER "A first" AFTER INSERT OR UPDATE OR DELETE ON shop.orders FOR EACH ROW EXECUTE FUNCTION segment._row_changed();
CREATE TRIGGER "A before" AFTER INSERT OR UPDATE OR DELETE ON shop.orders FOR EACH ROW WHEN (false) EXECUTE FUNCTION segment._row_changed();
CREATE TRIGGER "A some" AFTER INSERT OR UPDATE OF total OR DELETE ON shop.orders FOR EACH ROW EXECUTE FUNCTION segment._row_changed();
CREATE TRIGGER "A few" AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION segment._row_changed();
INSERT INTO shop.orders VALUES (10, 2, 20, '2028-02-01');
UPDATE shop.orders SET total = total + 1 WHERE id IN (8, 10);
DELETE FROM shop.orders WHERE id = 9;
DROP TRIGGER "A first" ON shop.orders;
DROP TRIGGER "A before" ON shop.orders;
DROP TRIGGER "A some" ON shop.orders;
DROP TRIGGER "A few" ON shop.orders;
DROP TRIGGER another ON shop.orders;
SELECT number_of_orders, amount_ordered FROM segment.facts WHERE customer_id = 2;
SELECT * FROM segment.verify();
TABLE shop.told;
SELECT segment.recalculate();
-- the function that makes this possible is of no use on other tables
GRANT USAGE ON SCHEMA segment TO shop_archivist;
SET ROLE shop_archivist;
CREATE TABLE shop.mine (id int);
CREATE TRIGGER mine AFTER INSERT ON shop.mine FOR EACH ROW EXECUTE FUNCTION segment._row_changed();
INSERT INTO shop.mine VALUES (1);
DROP TRIGGER mine ON shop.mine;
CREATE TRIGGER mine AFTER INSERT ON shop.mine FOR EACH STATEMENT EXECUTE FUNCTION segment._row_changed();
INSERT INTO shop.mine VALUES (1);
DROP TABLE shop.mine;
RESET ROLE;
REVOKE USAGE ON SCHEMA segment FROM shop_archivist;

-- Triggers switched off and on.
ALTER TABLE shop.customers DISABLE TRIGGER _segment_insert;
TABLE shop.told;
ALTER TABLE shop.customers DISABLE TRIGGER _segment_insert;
ALTER TABLE shop.customers ENABLE TRIGGER _segment_insert;
TABLE shop.told;
SELECT segment.recalculate();
ALTER TABLE shop.customers ENABLE TRIGGER _segment_insert;
TABLE shop.told;
ALTER TABLE shop.customers ENABLE ALWAYS TRIGGER _segment_insert;
ALTER TABLE shop.customers ENABLE TRIGGER _segment_insert;
TABLE shop.told;
SELECT segment.recalculate();
-- while it is off nobody is exact, however lately computed; afterwards those are who were computed since
INSERT INTO shop.customers VALUES (901), (902);
SELECT segment.recalculate();
ALTER TABLE shop.customers DISABLE TRIGGER _segment_insert;
SELECT segment.recalculate_customers('{901}');
SELECT stale, count(*) FROM segment.customers WHERE customer_id > 900 GROUP BY 1;
ALTER TABLE shop.customers ENABLE TRIGGER _segment_insert;
SELECT segment.recalculate_customers('{901}');
SELECT customer_id, stale FROM segment.customers WHERE customer_id > 900 ORDER BY 1;
DELETE FROM shop.customers WHERE id > 900;
SELECT segment.recalculate();
-- all of them, as bulk loads do; the pair for replica sessions gets its mode back
ALTER TABLE shop.customers DISABLE TRIGGER ALL;
SELECT source, stale, stale_because FROM segment.sources WHERE stale;
ALTER TABLE shop.customers ENABLE TRIGGER ALL;
SELECT * FROM shop.triggers WHERE "table" = 'shop.customers'::regclass;
SELECT * FROM segment._shape_faults();
SELECT reason FROM shop.told WHERE reason LIKE '%enabled%';
SELECT segment.recalculate();
ALTER TABLE shop.orders DISABLE TRIGGER USER;
SELECT reason FROM shop.told;
ALTER TABLE shop.orders ENABLE TRIGGER USER;
SELECT * FROM segment._shape_faults();
SELECT segment.recalculate();
-- on one partition
ALTER TABLE shop.orders_2028 DISABLE TRIGGER _segment_row;
TABLE shop.told;
ALTER TABLE shop.orders_2028 ENABLE TRIGGER _segment_row;
SELECT segment.recalculate();
-- triggers of others do not matter
CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER mine AFTER INSERT ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.nothing();
ALTER TABLE shop.customers DISABLE TRIGGER mine;
DROP TRIGGER mine ON shop.customers;
TABLE shop.told;
-- renamed it still fires, and is not put a second time
ALTER TRIGGER _segment_insert ON shop.customers RENAME TO something;
SELECT * FROM segment._shape_faults();
SELECT segment.attach_orders('shop.customers', customer => 'id', amount => '1', at => '''2026-01-01''::timestamptz');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'shop.customers'::regclass ORDER BY 1;
SELECT segment.detach('shop.customers', 'orders');
TABLE shop.told;
-- replaced or dropped it does not
CREATE OR REPLACE TRIGGER something AFTER INSERT ON shop.customers FOR EACH ROW EXECUTE FUNCTION shop.nothing();
TABLE shop.told;
DROP TRIGGER something ON shop.customers;
DROP TRIGGER _segment_delete ON shop.customers;
TABLE shop.told;
SELECT segment._put_triggers('shop.customers');
SELECT * FROM segment._shape_faults();
SELECT segment.recalculate();

-- A restore puts them back one by one: nobody has switched anything.
BEGIN;
SELECT segment._take_triggers('shop.returns');
DELETE FROM segment.stale_marks;
CREATE TRIGGER _segment_unseen AFTER INSERT OR DELETE OR UPDATE ON shop.returns FOR EACH ROW EXECUTE FUNCTION segment._unseen();
ALTER TABLE shop.returns ENABLE REPLICA TRIGGER _segment_unseen;
SELECT * FROM shop.triggers WHERE "table" = 'shop.returns'::regclass;
TABLE shop.told;
-- but somebody did here
ALTER TABLE shop.returns DISABLE TRIGGER _segment_unseen;
DELETE FROM segment.stale_marks;
ALTER TABLE shop.returns ENABLE REPLICA TRIGGER _segment_unseen;
SELECT reason FROM shop.told WHERE reason LIKE '%was enabled%';
ROLLBACK;

-- Tables that take another shape.
CREATE TABLE shop.vip_customers () INHERITS (shop.customers);
TABLE shop.told;
DROP TABLE shop.vip_customers;
SELECT segment.recalculate();
CREATE TABLE shop.vip_customers (LIKE shop.customers INCLUDING ALL);
ALTER TABLE shop.vip_customers INHERIT shop.customers;
ALTER TABLE shop.vip_customers NO INHERIT shop.customers;
TABLE shop.told;
SELECT segment.recalculate();
ALTER TABLE shop.customers INHERIT shop.vip_customers;
TABLE shop.told;
ALTER TABLE shop.customers NO INHERIT shop.vip_customers;
SELECT segment.recalculate();
ALTER TABLE shop.returns SET UNLOGGED;
TABLE shop.told;
ALTER TABLE shop.returns SET LOGGED;
SELECT segment.recalculate();
CREATE TABLE shop.all_returns (LIKE shop.returns) PARTITION BY RANGE (at);
ALTER TABLE shop.all_returns ATTACH PARTITION shop.returns DEFAULT;
TABLE shop.told;
ALTER TABLE shop.all_returns DETACH PARTITION shop.returns;
TABLE shop.told;
SELECT segment.recalculate();
CREATE FOREIGN DATA WRAPPER shop_far;
CREATE SERVER shop_far FOREIGN DATA WRAPPER shop_far;
CREATE FOREIGN TABLE shop.orders_far PARTITION OF shop.orders DEFAULT SERVER shop_far;
TABLE shop.told;
DROP FOREIGN TABLE shop.orders_far;
TABLE shop.told;
SELECT segment.recalculate();
-- the extension's own event triggers
ALTER EVENT TRIGGER segment_ddl_end DISABLE;
SELECT * FROM segment._shape_faults() ORDER BY 1, 2;
ALTER EVENT TRIGGER segment_ddl_end ENABLE ALWAYS;

-- What cannot be followed is marked, and the command passes.
ALTER FUNCTION segment._put_triggers(regclass) RENAME TO elsewhere;
CREATE TABLE shop.orders_2029 PARTITION OF shop.orders FOR VALUES FROM ('2029-01-01') TO ('2030-01-01');
TABLE shop.told;
SET segment.on_error = abort;
CREATE TABLE shop.orders_2030 PARTITION OF shop.orders FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
RESET segment.on_error;
ALTER FUNCTION segment.elsewhere(regclass) RENAME TO _put_triggers;
SELECT * FROM segment._shape_faults();
SELECT segment._put_triggers('shop.orders');
SELECT segment.recalculate();

-- Watched by name alone, and dropped.
CREATE TABLE shop.weights (weight numeric);
CREATE FUNCTION shop.weight() RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE TABLE shop.more_orders (id int PRIMARY KEY, customer_id int, at timestamptz);
SELECT segment.attach_orders('shop.more_orders', key => 'id', customer => 'customer_id', amount => 'shop.weight()', at => 'at',
	watch => '{shop.weights}');
ALTER TABLE shop.weights ALTER weight TYPE numeric(10, 2);
TABLE shop.told;
SELECT segment.recalculate();
DROP TABLE shop.weights;
TABLE shop.told;
SELECT segment.recalculate();

-- Functions in the expressions, also of operators and of other functions: the same again does not matter.
CREATE OR REPLACE FUNCTION shop.weight() RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE OR REPLACE FUNCTION shop.unused() RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE OR REPLACE FUNCTION shop.unused() RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 2; END $$;
TABLE shop.told;
CREATE OR REPLACE FUNCTION shop.weight() RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 2; END $$;
TABLE shop.told;
SELECT segment.recalculate();
ALTER FUNCTION shop.weight() SET extra_float_digits = 0;
TABLE shop.told;
SELECT segment.detach('shop.more_orders');
CREATE FUNCTION shop.one(int) RETURNS numeric IMMUTABLE LANGUAGE sql RETURN 1;
CREATE FUNCTION shop.two(int, int) RETURNS numeric IMMUTABLE LANGUAGE sql RETURN shop.one($1) + 1;
CREATE OPERATOR shop.%% (LEFTARG = int, RIGHTARG = int, FUNCTION = shop.two);
SELECT segment.attach_orders('shop.more_orders', key => 'id', customer => 'customer_id', amount => 'id OPERATOR(shop.%%) id', at => 'at');
CREATE OR REPLACE FUNCTION shop.one(int) RETURNS numeric IMMUTABLE LANGUAGE sql RETURN 5;
TABLE shop.told;
SELECT segment.detach('shop.more_orders');

-- Detached, tables are as they were; and so they are without the extension.
SELECT segment.detach('shop.orders');
TABLE shop.triggers;
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at');
SELECT count(*) FROM shop.triggers;
DROP EXTENSION segment CASCADE;
TABLE shop.triggers;
SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'segment%';
CREATE TABLE shop.orders_2031 PARTITION OF shop.orders FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
DROP TABLE shop.orders_2031;
BEGIN;
CREATE EXTENSION segment;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at');
CREATE TABLE shop.orders_2031 PARTITION OF shop.orders FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
SELECT * FROM segment._shape_faults();
ROLLBACK;
TABLE shop.triggers;
CREATE TABLE shop.orders_2031 PARTITION OF shop.orders FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
CREATE EXTENSION segment;
-- nothing attached: nothing to follow
ALTER TABLE shop.orders DETACH PARTITION shop.orders_2031;
ALTER TABLE segment.settings DISABLE TRIGGER ALL;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at');
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2031 FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
SELECT * FROM segment._shape_faults();
SELECT count(*) FROM segment.stale_marks;
DROP SCHEMA shop, shop_archive CASCADE;
DROP FOREIGN DATA WRAPPER shop_far CASCADE;
DROP ROLE shop_archivist;
