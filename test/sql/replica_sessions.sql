-- Replica sessions (logical replication, session_replication_role = replica) fire
-- no ordinary triggers: what they write to attached and watched tables marks the
-- sources stale, once in a transaction.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int, customer_id int, total numeric, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.rates (currency text PRIMARY KEY, rate numeric);
CREATE TABLE shop.returns (id int PRIMARY KEY, customer_id int, refund numeric, currency text, at timestamptz);
INSERT INTO shop.customers SELECT generate_series(1, 3);
INSERT INTO shop.rates VALUES ('USD', 25000);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_returns('shop.returns', key => 'id', customer => 'customer_id', at => 'at',
	amount => 'refund * (SELECT r.rate FROM shop.rates r WHERE r.currency = returns.currency)');
CREATE VIEW shop.told AS
	SELECT a.relation AS source, m.reason, count(*)
	FROM segment.stale_marks m JOIN segment.attachments a ON a.id = m.source GROUP BY a.id, 1, 2 ORDER BY a.id, 2;

-- a statement that changes nothing marks nothing
SET session_replication_role = replica;
DELETE FROM shop.orders;
UPDATE shop.customers SET id = id WHERE id > 100;
TABLE shop.told;
-- rows, by the name of the table and of a partition; each source once
BEGIN;
INSERT INTO shop.orders SELECT n, 1, 10, '2025-01-01' FROM generate_series(1, 100) n;
INSERT INTO shop.orders_2025 VALUES (101, 2, 10, '2025-02-01');
UPDATE shop.orders SET total = total + 1 WHERE id = 101;
UPDATE shop.rates SET rate = 26000;
COMMIT;
TABLE shop.told;
SELECT source, stale, stale_because FROM segment.sources ORDER BY mapping;
SELECT customer_id, figure, stored, expected FROM segment.verify() WHERE figure = 'amount_ordered' ORDER BY 1;
-- the next transaction marks again, whatever is marked already
DELETE FROM shop.orders WHERE id = 1;
TABLE shop.told;
SELECT segment.recalculate();
TABLE shop.told;
SELECT * FROM segment.verify();
-- TRUNCATE of a table, of a partition
TRUNCATE shop.returns;
TABLE shop.told;
SELECT segment.recalculate();
TRUNCATE shop.orders_2025;
TABLE shop.told;
SELECT segment.recalculate();
-- a partition made later, in a replica session or not, and those below it
CREATE TABLE shop.orders_2026 PARTITION OF shop.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2026_h1 PARTITION OF shop.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
TABLE shop.told;
INSERT INTO shop.orders_2026_h1 VALUES (1, 1, 10, '2026-01-01');
TABLE shop.told;
SELECT segment.recalculate();
TRUNCATE shop.orders_2026_h1;
TABLE shop.told;
SELECT segment.recalculate();

-- What is rolled back is forgotten, and marked when it comes again.
BEGIN;
SAVEPOINT s;
INSERT INTO shop.customers VALUES (4);
ROLLBACK TO s;
TABLE shop.told;
INSERT INTO shop.customers VALUES (5);
SAVEPOINT t;
INSERT INTO shop.customers VALUES (6);
ROLLBACK TO t;
COMMIT;
TABLE shop.told;
SELECT segment.recalculate();
BEGIN;
SAVEPOINT s;
INSERT INTO shop.customers VALUES (7);
RELEASE s;
INSERT INTO shop.customers VALUES (8);
SAVEPOINT t;
INSERT INTO shop.customers VALUES (9);
ROLLBACK TO t;
INSERT INTO shop.customers VALUES (10);
COMMIT;
TABLE shop.told;
SELECT segment.recalculate();
DO $$
BEGIN
	FOR i IN 11 .. 13 LOOP
		BEGIN
			INSERT INTO shop.customers VALUES (i);
			IF i < 13 THEN
				RAISE 'no';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
END $$;
TABLE shop.told;
SELECT segment.recalculate();
-- recalculated, or attached once more, in the same transaction
BEGIN;
INSERT INTO shop.customers VALUES (14);
SELECT segment.recalculate();
TABLE shop.told;
INSERT INTO shop.customers VALUES (15);
SELECT segment.attach_orders('shop.customers', customer => 'id', amount => '1', at => '''2026-01-01''::timestamptz');
INSERT INTO shop.customers VALUES (16);
COMMIT;
TABLE shop.told;
SELECT segment.recalculate();
SELECT segment.detach('shop.customers', 'orders');
SELECT * FROM segment.verify();

-- A role without rights on schema segment, as an apply worker may be.
CREATE ROLE shop_replicator;
GRANT USAGE ON SCHEMA shop TO shop_replicator;
GRANT INSERT ON shop.customers TO shop_replicator;
SET ROLE shop_replicator;
INSERT INTO shop.customers VALUES (17);
RESET ROLE;
TABLE shop.told;
SELECT segment.recalculate();

-- In other sessions the pair does nothing, whatever mode it is in.
RESET session_replication_role;
INSERT INTO shop.customers VALUES (18);
TABLE shop.told;
BEGIN;
ALTER TABLE shop.customers ENABLE ALWAYS TRIGGER _segment_unseen;
SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'shop.customers'::regclass AND tgname = '_segment_unseen';
ROLLBACK;
SELECT * FROM segment.verify();

-- It serves attached tables only; where nothing is attached yet a restore goes on.
CREATE TABLE shop.not_attached (id int);
CREATE TRIGGER t AFTER INSERT ON shop.not_attached FOR EACH ROW EXECUTE FUNCTION segment._unseen();
ALTER TABLE shop.not_attached ENABLE ALWAYS TRIGGER t;
SET session_replication_role = replica;
INSERT INTO shop.not_attached VALUES (1);
CREATE TABLE shop.attachments AS TABLE segment.attachments;
DELETE FROM segment.attachments;
INSERT INTO shop.customers VALUES (19);
INSERT INTO segment.attachments TABLE shop.attachments;
RESET session_replication_role;
SELECT count(*) FROM segment.stale_marks;
SELECT segment._unseen();
DROP SCHEMA shop CASCADE;
DROP ROLE shop_replicator;
