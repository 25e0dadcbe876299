-- Stored against recomputed: verify() names what differs, recalculation mends it and says how many.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int, amount numeric, at timestamptz);
INSERT INTO shop.customers SELECT generate_series(1, 12);
INSERT INTO shop.orders SELECT g, g % 12 + 1, 60, '2026-01-01'::timestamptz + g * interval '1 day' FROM generate_series(1, 24) g;
INSERT INTO shop.returns SELECT g, g, 10, '2026-02-01' FROM generate_series(1, 6) g;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount', at => 'at');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('low', 'Low', 0, 119), ('high', 'High', 120, NULL);
SELECT tier, customers FROM segment.tier_sizes;
SELECT segment.recalculate();
SELECT sum(version) AS versions FROM segment.facts \gset before_
-- spoil every kind of thing that is stored
UPDATE segment.facts SET amount_ordered = 0 WHERE customer_id = 1;
UPDATE segment.facts SET last_order_at = NULL, number_of_orders = 7 WHERE customer_id = 2;
UPDATE segment.facts SET is_customer = false WHERE customer_id = 3;
DELETE FROM segment.facts WHERE customer_id = 4;
INSERT INTO segment.facts (customer_id, is_customer) VALUES (99, true);
UPDATE segment.standings SET held = '{}', since = '{}' WHERE customer_id = 5;
UPDATE segment.standings SET held = held || 12345, since = since || now() WHERE customer_id = 6;
INSERT INTO segment.standings VALUES (98, '{1}', ARRAY[now()]);
DELETE FROM segment.counted_3 WHERE key = 1;
UPDATE segment.counted_3 SET amount = 11 WHERE key = 2;
INSERT INTO segment.counted_3 VALUES (77, 7, 5, now());
SELECT customer_id, figure, stored IS NULL AS nothing_stored, expected IS NULL AS nothing_expected FROM segment.verify() ORDER BY 1, 2;
-- only the customers named
SELECT segment.recalculate_customers('{1,2}');
SELECT DISTINCT customer_id FROM segment.verify() ORDER BY 1;
SELECT segment.recalculate_customers('{NULL,1,2,1}');
SELECT segment.recalculate_customers('{}');
-- everyone
SELECT segment.recalculate();
SELECT * FROM segment.verify();
SELECT segment.recalculate();
SELECT customer_id, action, cause FROM segment.changes WHERE cause = 'recalculation' ORDER BY 1, version;
-- in batches, committed one by one; keys without facts are found too
UPDATE segment.facts SET amount_ordered = 1000;
DELETE FROM segment.facts WHERE customer_id = 12;
DO $$ BEGIN
	SET LOCAL client_min_messages = error;
	CALL segment.recalculate_in_batches(5);
END $$;
SELECT * FROM segment.verify();
CALL segment.recalculate_in_batches();
BEGIN;
CALL segment.recalculate_in_batches();
ROLLBACK;
-- what a right state is recalculated to writes nothing
SELECT sum(version) AS versions FROM segment.facts \gset before_
SELECT segment.recalculate();
SELECT sum(version) = :before_versions AS untouched FROM segment.facts;
-- stale marks are cleared by recalculate()
INSERT INTO segment.stale_marks VALUES (2, 'a test');
SELECT item, source, state, detail FROM segment.status() WHERE state = 'stale';
SELECT bool_and(stale) FROM segment.customers;
SELECT source, stale, stale_because FROM segment.sources;
SELECT segment.recalculate();
SELECT bool_or(stale) FROM segment.customer_tiers;
-- not inside a trigger, whose statement's own rows are still to come
CREATE FUNCTION shop.nosy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM segment.recalculate(); RETURN NULL; END $$;
CREATE TRIGGER nosy AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.nosy();
INSERT INTO shop.orders VALUES (100, 1, 5, '2026-01-01');
DROP TRIGGER nosy ON shop.orders;
-- nor by the statement that writes
INSERT INTO shop.orders VALUES (100, 1, 5, '2026-01-01') RETURNING segment.recalculate();
WITH sold AS (INSERT INTO shop.orders VALUES (100, 1, 5, '2026-01-01') RETURNING customer_id)
	SELECT segment.recalculate_customers(array_agg(customer_id)) FROM sold;
SELECT segment.recalculate_customers(array_agg(id)) FROM shop.customers;
-- nor inside a statement of a function; one that only reads is welcome there, too
CREATE FUNCTION shop.sell_and_recalculate() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM segment.recalculate_customers(array_agg(id)) FROM shop.customers;
	WITH sold AS (INSERT INTO shop.orders VALUES (902, 1, 7, '2026-01-01') RETURNING customer_id)
		SELECT segment.recalculate_customers(array_agg(customer_id)) FROM sold;
END
$$;
SELECT shop.sell_and_recalculate();
DO $$ BEGIN PERFORM shop.sell_and_recalculate(); END $$;
DO $$
DECLARE
	customer int;
BEGIN
	FOR customer IN SELECT id FROM shop.customers LOOP
		PERFORM segment.recalculate_customers(ARRAY[customer]);
	END LOOP;
END
$$;
SELECT * FROM segment.verify();
-- what was restored here from another server tells of that one's transactions, not of ours
UPDATE segment.facts SET checked = '9000000000000000000';
UPDATE segment.epoch SET system_identifier = 'another server';
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO shop.orders VALUES (901, 1, 7, '2026-01-01');
COMMIT;
SELECT count(*) FROM segment.customers WHERE stale IS NOT TRUE;
CALL segment.recalculate_in_batches(batch_size => 1000000);
SELECT * FROM segment.verify();
UPDATE segment.facts SET checked = '9000000000000000000';
UPDATE segment.epoch SET system_identifier = 'another server';
SELECT segment.recalculate();
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM shop.orders WHERE id = 901;
COMMIT;
SELECT count(*) FROM segment.customers WHERE stale IS NOT TRUE;
SELECT segment.recalculate();
-- a restore into the very database that was dumped is a restore all the same
CREATE TABLE shop.dump AS TABLE segment.epoch;
DELETE FROM segment.epoch;
INSERT INTO segment.epoch TABLE shop.dump;
SELECT stale, stale_because FROM segment.sources LIMIT 1;
INSERT INTO shop.orders VALUES (903, 1, 7, '2026-01-01');
SELECT segment.recalculate();
SELECT count(*) FROM segment.customers WHERE stale IS NOT FALSE;
DELETE FROM shop.orders WHERE id = 903;
DROP TABLE shop.dump;
SELECT * FROM segment.verify();
-- a date that a function called by the statement changes again
CREATE FUNCTION shop.backdate(order_id int) RETURNS int LANGUAGE sql AS
	$$ UPDATE shop.orders SET at = '2020-01-01' WHERE id = order_id RETURNING id $$;
INSERT INTO shop.orders VALUES (101, 1, 5, '2030-06-01') RETURNING shop.backdate(id);
SELECT * FROM segment.verify();
-- a table dropped with everything that hangs on it is shown, and forgotten by the next recalculation
DROP TABLE shop.returns CASCADE;
SELECT role, stale, stale_because FROM segment.sources;
SELECT item, state FROM segment.status() WHERE item = 'state';
SELECT segment.recalculate() > 0 AS mended;
SELECT role, stale FROM segment.sources;
SELECT to_regclass('segment.counted_3');
SELECT * FROM segment.verify();
-- the customers table, too: another one takes its place, and what is known of the keys goes on
CREATE TABLE shop.people AS TABLE shop.customers;
ALTER TABLE shop.people ADD PRIMARY KEY (id);
DROP TABLE shop.customers CASCADE;
SELECT segment.recalculate() > 0 AS mended;
SELECT count(*) FROM segment.customers;
SELECT segment.attach_customers('shop.people', key => 'id');
SELECT count(*), sum(number_of_orders) > 0 AS with_orders FROM segment.customers;
SELECT * FROM segment.verify();
DROP SCHEMA shop CASCADE;
