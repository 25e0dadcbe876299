-- Points, offers and tags: what a row means can be read at any time, its changes are followed, and nothing is kept of it.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, tags text[], balance integer, deleted_at timestamptz);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz, sold_by smallint, voucher text);
CREATE TABLE shop.channels (id smallint PRIMARY KEY, code text);
CREATE TABLE shop.points (id bigint PRIMARY KEY, customer_id bigint, delta integer, made_at timestamptz, valid_from timestamp, expires date, void boolean NOT NULL DEFAULT false, branch text);
CREATE TABLE shop.vouchers_used (customer_id bigint, code uuid, used_at timestamptz);
CREATE TABLE shop.labels (id int PRIMARY KEY, name text);
CREATE TABLE shop.customer_labels (customer_id bigint, label int);
INSERT INTO shop.customers VALUES (1, '{vip}', 150), (2, NULL, NULL);
INSERT INTO shop.channels VALUES (1, 'pos'), (2, 'web');
INSERT INTO shop.orders VALUES (1, 1, 500000, '2026-01-01 03:00+00', 1, 'TET'), (2, 2, 70000, '2026-01-02 03:00+00', 2, NULL);
INSERT INTO shop.points VALUES
	(1, 1, 100, '2026-01-01 03:00+00', '2026-01-02 00:00', '2027-01-01', false, 'HN1'),
	(2, 1, -30, '2026-01-05 03:00+00', NULL, NULL, false, NULL),
	(3, 2, 50, '2026-01-05 03:00+00', NULL, '2027-01-01', true, 'HN2'),		-- void
	(4, 2, NULL, '2026-01-06 03:00+00', NULL, NULL, false, NULL),			-- odd values
	(5, 2, 10, NULL, NULL, NULL, false, NULL),
	(6, 2, 10, 'infinity', NULL, NULL, false, NULL),
	(7, 2, 10, '2026-01-06 03:00+00', '-infinity', NULL, false, NULL),
	(8, 2, 10, '2026-01-06 03:00+00', NULL, 'infinity', false, NULL),
	(9, NULL, 10, '2026-01-06 03:00+00', NULL, NULL, false, NULL);			-- nobody's: counts for nobody
INSERT INTO shop.vouchers_used VALUES (1, '00000000-0000-0000-0000-00000000000a', '2026-01-03 03:00+00'), (2, NULL, '2026-01-03 03:00+00');
INSERT INTO shop.labels VALUES (1, 'wholesale'), (2, 'late payer');
INSERT INTO shop.customer_labels VALUES (1, 1), (1, 2), (2, NULL);

-- customers come first
SELECT segment.attach_points('shop.points', customer => 'customer_id', points => 'delta', at => 'made_at');
SELECT segment.attach_customers('shop.customers', key => 'id', tags => 'tags', counted_when => 'deleted_at IS NULL');
-- channel of an order: a text, a number or a uuid, as text; followed like the rest of the order
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at',
	channel => '(SELECT c.code FROM shop.channels c WHERE c.id = sold_by)');
SELECT key, amount, channel, counts FROM segment.source_3 ORDER BY key;

-- a ledger of points: timestamps without zone and dates are the shop's
SELECT segment.attach_points('shop.points', key => 'id', customer => 'customer_id', points => 'delta', at => 'made_at',
	valid_from => 'valid_from', expires_at => 'expires', counted_when => 'NOT void', custom => '{"branch": "branch"}');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = 'segment.source_4'::regclass AND attnum > 0 ORDER BY attnum;
SELECT * FROM segment.source_4 ORDER BY key;

-- several tables may play one role, and one table several; nothing but the arguments required
SELECT segment.attach_points('shop.orders', customer => 'customer_id', points => 'trunc(total / 10000)', at => 'at');
SELECT * FROM segment.source_5 ORDER BY at;
SELECT segment.attach_offers('shop.vouchers_used', customer => 'customer_id', offer => 'code', at => 'used_at');
SELECT * FROM segment.source_6 ORDER BY customer;
SELECT segment.attach_offers('shop.orders', key => 'id', customer => 'customer_id', offer => 'voucher', at => 'at');
SELECT * FROM segment.source_7 ORDER BY key;
-- a link table without a key, even with a subquery; beside a column of tags
SELECT segment.attach_tags('shop.customer_labels', customer => 'customer_id',
	tag => '(SELECT l.name FROM shop.labels l WHERE l.id = label)', fill => false);
SELECT * FROM segment.source_8 ORDER BY customer, tag;

-- triggers as on other tables, and on what an expression reads; no ledger, since nothing is kept
SELECT tgrelid::regclass AS table, count(*) FROM pg_trigger WHERE tgfoid::regproc::text LIKE 'segment.\_%' AND tgrelid::regclass::text LIKE 'shop.%'
	GROUP BY 1 ORDER BY 1;
SELECT c.oid::regclass AS ledger FROM pg_class c WHERE c.relnamespace = 'segment'::regnamespace AND c.relname LIKE 'counted%' AND c.relkind = 'r';
SELECT source, role, mapping, arguments, watched, stale FROM segment.sources ORDER BY mapping;
SELECT source, role, advice FROM segment.sources WHERE role IN ('points', 'offers', 'tags') ORDER BY mapping;
SELECT item, source, state, detail FROM segment.status();
CREATE INDEX ON shop.points (customer_id, made_at);
CREATE INDEX ON shop.customer_labels (customer_id);
SELECT source, role FROM segment.sources WHERE advice IS NULL AND role IN ('points', 'offers', 'tags') ORDER BY mapping;

-- rows come, change and go: the mapping shows them; what comes unseen is noticed as elsewhere
INSERT INTO shop.points VALUES (10, 1, 5, '2026-02-01 03:00+00');
UPDATE shop.points SET delta = 20 WHERE id = 4;
DELETE FROM shop.points WHERE id = 2;
UPDATE shop.labels SET name = 'pays late' WHERE id = 2;
SELECT customer, sum(points) FROM segment.source_4 WHERE counts AND customer IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT customer, tag FROM segment.source_8 WHERE counts ORDER BY customer, tag;
TRUNCATE shop.customer_labels;
SET session_replication_role = replica;
INSERT INTO shop.customer_labels VALUES (2, 1);
RESET session_replication_role;
ALTER TABLE shop.points DISABLE TRIGGER ALL;
ALTER TABLE shop.points ENABLE TRIGGER ALL;
ALTER TABLE shop.points SET UNLOGGED;
ALTER TABLE shop.points SET LOGGED;
CREATE FUNCTION shop.worth(text) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';
SELECT segment.attach_points('shop.vouchers_used', customer => 'customer_id', points => 'shop.worth(code::text)', at => 'used_at');
CREATE OR REPLACE FUNCTION shop.worth(text) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2';
-- partitions that come with rows, on any level
CREATE TABLE shop.stamps (customer_id bigint, n integer, at timestamptz) PARTITION BY RANGE (at);
SELECT segment.attach_points('shop.stamps', customer => 'customer_id', points => 'n', at => 'at', watch => '{shop.channels}');
CREATE TABLE shop.stamps_2026 (customer_id bigint, n integer, at timestamptz);
INSERT INTO shop.stamps_2026 VALUES (1, 1, '2026-03-01');
ALTER TABLE shop.stamps ATTACH PARTITION shop.stamps_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT customer, points FROM segment.source_10 WHERE counts;
DROP TABLE shop.stamps_2026;
SELECT source, reason FROM segment.stale_marks;
SELECT segment.upgrade();
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('shop.points'::regclass, 'shop.vouchers_used'::regclass, 'shop.stamps'::regclass);
SELECT * FROM segment._shape_faults();
-- where everything is stale, they are too
BEGIN;
ALTER EVENT TRIGGER segment_ddl_end DISABLE;
SELECT DISTINCT s.role FROM segment._shape_faults() f JOIN segment.sources s ON s.mapping = to_regclass('segment.source_' || f.source) ORDER BY 1;
DELETE FROM segment.epoch;
SELECT source, role, stale_because FROM segment.sources WHERE stale ORDER BY mapping;
ROLLBACK;
SELECT segment.detach('shop.stamps');
SELECT * FROM segment.verify();
SELECT segment.recalculate();
CALL segment.recalculate_in_batches();
SELECT segment.recalculate_customers('{1,2}');
-- what becomes of the orders is followed all the same, whatever else their table is
INSERT INTO shop.orders VALUES (3, 1, 30000, '2026-02-02 03:00+00', 2, 'TET');
UPDATE shop.channels SET code = 'online' WHERE id = 2;
SELECT customer_id, number_of_orders, amount_spent, stale FROM segment.customers ORDER BY 1;
SELECT customer, points FROM segment.source_5 WHERE counts ORDER BY at;
SELECT customer, offer FROM segment.source_7 WHERE counts ORDER BY key;
SELECT key, channel FROM segment.source_3 ORDER BY key;
SELECT * FROM segment.verify();

-- the mapping follows renames, and what it reads can neither be dropped nor retyped
ALTER TABLE shop.points RENAME COLUMN delta TO change;
ALTER TABLE shop.points RENAME TO ledger;
SELECT key, points FROM segment.source_4 WHERE key = 1;
SELECT source, role FROM segment.sources WHERE mapping = 'segment.source_4'::regclass;
\set VERBOSITY terse
ALTER TABLE shop.ledger DROP COLUMN change;
ALTER TABLE shop.ledger ALTER COLUMN change TYPE text;
DROP TABLE shop.ledger;
\set VERBOSITY default

-- a column of the customers or a ledger, not both
CREATE FUNCTION shop.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text; context text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws(E'\n', state || ': ' || message, nullif(detail, ''), 'HINT: ' || nullif(hint, ''),
		substring(context FROM E'argument [^\n]*'));
END $$;
CREATE FUNCTION shop.try_points(arguments text) RETURNS text LANGUAGE sql
	AS $$ SELECT shop.try('SELECT segment.attach_points(''shop.more'', ' || arguments || ')') $$;
\pset format unaligned
\pset tuples_only on
-- customers whose table was dropped are attached anew beside what is attached still
CREATE TABLE shop.people AS TABLE shop.customers;
ALTER TABLE shop.people ADD PRIMARY KEY (id);
SET client_min_messages = error;
DROP TABLE shop.customers CASCADE;
RESET client_min_messages;
SELECT shop.try($$SELECT segment.attach_customers('shop.people', key => 'id', points => 'balance')$$);
SELECT shop.try($$SELECT segment.attach_customers('shop.people', key => 'id')$$);
SELECT segment.recalculate();
SELECT shop.try($$SELECT segment.detach('shop.people')$$);

-- detaching: the view goes and nothing else
SELECT shop.try($$SELECT segment.detach('shop.orders')$$);
SELECT segment.detach('shop.orders', role => 'points');
SELECT segment.detach('shop.orders', role => 'offers');
SELECT segment.detach('shop.ledger');
SELECT shop.try($$SELECT segment.detach('shop.ledger')$$);
SELECT segment.detach('shop.vouchers_used', role => 'points');
SELECT segment.detach('shop.vouchers_used');
-- a table that is dropped is forgotten by recalculate()
SET client_min_messages = error;
DROP TABLE shop.customer_labels CASCADE;
RESET client_min_messages;
SELECT role, mapping, stale_because FROM segment.sources WHERE stale;
SELECT DISTINCT stale FROM segment.customers;
SELECT segment.recalculate();
SELECT source, role, stale FROM segment.sources ORDER BY mapping;
SELECT * FROM segment.verify();
SELECT customer_id, number_of_orders, amount_spent FROM segment.customers ORDER BY 1;
SELECT segment.detach('shop.orders');
SELECT segment.detach('shop.people');
SELECT segment.attach_customers('shop.people', key => 'id', points => 'balance');
SELECT key, points FROM segment.source_13 ORDER BY key;
SELECT shop.try($$SELECT segment.attach_points('shop.ledger', customer => 'customer_id', points => 'change', at => 'made_at')$$);

-- mistakes are refused when they are made
SELECT segment.detach('shop.people');
SELECT shop.try($$SELECT segment.attach_customers('shop.people', key => 'id', points => 'tags')$$);
SELECT shop.try($$SELECT segment.attach_customers('shop.people', key => 'id', points => 'balance::float8')$$);
SELECT segment.attach_customers('shop.people', key => 'id', tags => 'tags');
SELECT shop.try($$SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at', channel => 'at')$$);
CREATE TABLE shop.more (id int, customer_id bigint, name text, rough float8, delta numeric, at timestamptz, code jsonb, made timestamp, status text);
CREATE FUNCTION shop.multiplier() RETURNS numeric LANGUAGE sql STABLE AS 'SELECT 1.0';
SELECT shop.try_points('customer => NULL, points => ''delta'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => NULL, at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => NULL');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta''');
SELECT shop.try_points('customer => ''name'', points => ''delta'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''rough'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''name'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''dleta'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''sum(delta)'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => '' '', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta * random()::int'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta * shop.multiplier()'', at => ''at''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''name''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', expires_at => ''id''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', expires_at => ''now()''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', valid_from => ''name::timestamptz''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', counted_when => ''status''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', at_zone => ''Hanoi''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', watch => ''{NULL}''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', custom => ''[]''');
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at'', currency => ''name''');
SELECT shop.try('SELECT segment.attach_offers(''shop.more'', customer => ''customer_id'', offer => ''code'', at => ''at'')');
SELECT shop.try('SELECT segment.attach_offers(''shop.more'', customer => ''customer_id'', offer => NULL, at => ''at'')');
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => NULL)');
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => ''id'')');
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => ''ARRAY[name]'')');
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => ''ctid::text'')');
SELECT shop.try('SELECT segment.attach_tags(NULL, customer => ''customer_id'', tag => ''name'')');
CREATE VIEW shop.named AS TABLE shop.more;
SELECT shop.try('SELECT segment.attach_tags(''shop.named'', customer => ''customer_id'', tag => ''name'')');
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => ''(SELECT n.name FROM shop.named n LIMIT 1)'')');
SELECT shop.try('SELECT segment.attach_tags(''pg_class'', customer => ''oid::bigint'', tag => ''relname'')');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => ''name'')');
ROLLBACK;
SELECT shop.try('SELECT segment.detach(''shop.more'', role => ''tag'')');
SELECT shop.try('SELECT segment.detach(''shop.more'', role => ''tags'')');
-- whoever owns neither the table nor what it reads
CREATE ROLE segment_clerk;
GRANT USAGE ON SCHEMA segment, shop TO segment_clerk;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO segment_clerk;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA segment, shop TO segment_clerk;
CREATE TABLE shop.clerks (customer_id bigint, tag text, more int);
ALTER TABLE shop.clerks OWNER TO segment_clerk;
SET ROLE segment_clerk;
SELECT shop.try('SELECT segment.attach_tags(''shop.more'', customer => ''customer_id'', tag => ''name'')');
SELECT shop.try('SELECT segment.attach_tags(''shop.clerks'', customer => ''customer_id'', tag => ''(SELECT m.name FROM shop.more m WHERE m.id = more)'')');
SELECT shop.try('SELECT segment.attach_tags(''shop.clerks'', customer => ''customer_id'', tag => ''tag'')');
SELECT shop.try('SELECT segment.detach(''shop.clerks'')');
RESET ROLE;
-- notices as for other tables: zone, states
INSERT INTO shop.more VALUES (1, 1, 'a', 1, 10, '2026-01-01', NULL, '2026-01-01 10:00', 'done'), (2, 2, 'b', 1, 10, '2026-01-02', NULL, '2026-01-03 10:00', 'void');
SELECT segment.attach_points('shop.more', customer => 'customer_id', points => 'delta', at => 'made', fill => NULL);
SELECT shop.try_points('customer => ''customer_id'', points => ''delta'', at => ''at''');
-- what was read in the shop's zone keeps it
SELECT shop.try('SELECT segment.configure(timezone => ''UTC'')');
SELECT segment.detach('shop.more');
\pset tuples_only off
\pset format aligned
SELECT source, role FROM segment.sources;
SET client_min_messages = error;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP ROLE segment_clerk;
CREATE EXTENSION segment;
