-- A merchant attaches real tables, and every order and return moves the tier.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
RESET client_min_messages;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, full_name text, deleted_at timestamptz);
CREATE TABLE shop.orders (
	id bigint PRIMARY KEY,
	customer_id bigint,
	total numeric(12,2),
	created_at timestamptz NOT NULL,
	status text NOT NULL DEFAULT 'completed');
CREATE TABLE shop.returns (
	id bigint PRIMARY KEY,
	order_id bigint REFERENCES shop.orders (id) ON DELETE CASCADE,
	refund numeric NOT NULL,
	created_at timestamptz NOT NULL);
INSERT INTO shop.customers SELECT g, 'customer ' || g FROM generate_series(1, 4) g;
INSERT INTO shop.orders VALUES
	(1, 1, 9500000, '2026-01-10 10:00+07', 'completed'), (2, 2, 2999999.50, '2026-01-11 10:00+07', 'completed'),
	(3, 3, 10000000, '2026-01-12 10:00+07', 'completed'), (4, 3, 5000000, '2026-01-13 10:00+07', 'cart'),
	(5, NULL, 700000, '2026-01-14 10:00+07', 'completed'), (6, 0, 800000, '2026-01-14 10:00+07', 'completed');

-- before customers are attached, status says which call is due
SELECT item, state, hint FROM segment.status();
SET datestyle = 'ISO, YMD';
SELECT segment.configure(timezone => 'asia/ho_chi_minh', country_code => '84', currency => 'VND', money_unit => 1);
TABLE segment.configuration;
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name',
	anonymous => '{0}', counted_when => 'deleted_at IS NULL');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total',
	at => 'created_at', counted_when => $$status = 'completed'$$);
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'created_at');
SELECT source, role, mapping, arguments, watched, rows_left_out, advice, stale FROM segment.sources;

-- rows that were there already count
INSERT INTO segment.tiers (code, name, min_value, max_value, points_floor) VALUES
	('member', 'Thành viên', 0, 2999999, 0), ('silver', 'Bạc', 3000000, 9999999, 50), ('gold', 'Vàng', 10000000, NULL, 100);
SELECT customer_id, ladder, tier, tier_name, rank, value, next_tier, to_next, points_floor, source, stale
	FROM segment.customer_tiers ORDER BY customer_id;
SELECT customer_id, programme, ladder, tier, rank, value FROM segment.customer_tier ORDER BY customer_id;
TABLE segment.tier_sizes;
SELECT customer_id, number_of_orders, number_of_returns, amount_spent, amount_ordered, amount_returned,
	average_order_value, first_order_date, last_order_date, stale
	FROM segment.customers ORDER BY customer_id;

-- the story of the seed: 9,500,000 silver; + 1,000,000 gold; - 2,000,000 silver
INSERT INTO shop.orders VALUES (10, 1, 1000000, '2026-02-01 09:00+07');
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;
INSERT INTO shop.returns VALUES (1, 1, 2000000, '2026-02-02 09:00+07');
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;
SELECT customer_id, kind, code, ladder, action, old_tier, new_tier, old_value, new_value, cause, source, source_key
	FROM segment.changes WHERE customer_id = 1 ORDER BY version;

-- the tier moves with the transaction and rolls back with it
BEGIN;
INSERT INTO shop.orders VALUES (11, 1, 5000000, '2026-02-03 09:00+07');
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;
SAVEPOINT before_more;
UPDATE shop.orders SET total = 1 WHERE id IN (1, 11);
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;
ROLLBACK TO before_more;
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;
ROLLBACK;
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;

-- a cart becomes an order by UPDATE and stops by UPDATE
UPDATE shop.orders SET status = 'completed' WHERE id = 4;
SELECT amount_spent, number_of_orders, last_order_date FROM segment.customers WHERE customer_id = 3;
UPDATE shop.orders SET status = 'cart' WHERE id = 4;
SELECT amount_spent, number_of_orders, last_order_date FROM segment.customers WHERE customer_id = 3;

-- an order cancelled and refunded is zero, in either order of the two writes
INSERT INTO shop.orders VALUES (20, 4, 4000000, '2026-02-04 09:00+07'), (21, 4, 4000000, '2026-02-04 09:00+07');
INSERT INTO shop.returns VALUES (20, 20, 4000000, '2026-02-05 09:00+07');
UPDATE shop.orders SET status = 'cancelled' WHERE id = 20;
UPDATE shop.orders SET status = 'cancelled' WHERE id = 21;
INSERT INTO shop.returns VALUES (21, 21, 4000000, '2026-02-05 09:00+07');
SELECT number_of_orders, number_of_returns, amount_spent FROM segment.customers WHERE customer_id = 4;
UPDATE shop.orders SET status = 'completed' WHERE id = 20;
SELECT number_of_orders, number_of_returns, amount_spent FROM segment.customers WHERE customer_id = 4;

-- a new customer stands on the ladder from the row's insert
INSERT INTO shop.customers VALUES (5, 'new');
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 5;

-- orders of a key that is no customer yet are kept apart and count once the customer appears
INSERT INTO shop.orders VALUES (30, 77, 3500000, '2026-02-06 09:00+07');
SELECT count(*) FROM segment.customer_tiers WHERE customer_id = 77;
SELECT item, source, state, rows FROM segment.status() WHERE item = 'kept apart';
INSERT INTO shop.customers VALUES (77, 'late');
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 77;
UPDATE shop.customers SET deleted_at = '2026-02-07' WHERE id = 77;
SELECT count(*) FROM segment.customer_tiers WHERE customer_id = 77;
UPDATE shop.customers SET deleted_at = NULL WHERE id = 77;
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 77;
DELETE FROM shop.orders WHERE customer_id = 77;
DELETE FROM shop.customers WHERE id = 77;
SELECT count(*) FROM segment.facts WHERE customer_id = 77;
-- the history goes on where it ended when the key comes back
INSERT INTO shop.customers VALUES (77, 'again');
SELECT action, old_tier, new_tier, cause FROM segment.changes WHERE customer_id = 77 ORDER BY version;
DELETE FROM shop.customers WHERE id = 77;

-- walk-ins take no row
SELECT count(*) FROM segment.facts WHERE customer_id = 0;

-- an update of a column that is not mapped writes nothing
SELECT version FROM segment.facts WHERE customer_id = 1 \gset before_
UPDATE shop.orders SET status = status || '' WHERE customer_id = 1;
SELECT version = :before_version AS untouched FROM segment.facts WHERE customer_id = 1;

-- truncation is logged with what was there before
BEGIN;
TRUNCATE shop.returns;
SELECT action, old_tier, new_tier, old_value, new_value, cause FROM segment.changes WHERE customer_id = 1 ORDER BY version DESC LIMIT 1;
ROLLBACK;
SELECT * FROM segment.verify();
SELECT item, source, state, rows, detail FROM segment.status();

-- detaching is refused while a ladder needs the figure, and takes everything off again
SELECT segment.detach('shop.returns');
SELECT segment.detach('shop.orders');
SELECT segment.detach('shop.orders', role => 'order');
UPDATE segment.ladders SET active = false WHERE code = 'total';
SELECT segment.detach('shop.returns');
SELECT number_of_returns, amount_spent FROM segment.customers WHERE customer_id = 1;
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'created_at');
UPDATE segment.ladders SET active = true WHERE code = 'total';
SELECT tier, value FROM segment.customer_tiers WHERE customer_id = 1;
SELECT * FROM segment.verify();
UPDATE segment.ladders SET active = false WHERE code = 'total';
SELECT segment.detach('shop.customers');
SELECT segment.detach('shop.orders');
SELECT segment.detach('shop.returns');
SELECT segment.detach('shop.orders');
SELECT segment.detach('shop.customers');
SELECT tgrelid::regclass, tgname FROM pg_trigger
	WHERE tgrelid IN ('shop.customers'::regclass, 'shop.orders'::regclass, 'shop.returns'::regclass) AND NOT tgisinternal;
SELECT count(*) FROM pg_class WHERE relnamespace = 'segment'::regnamespace AND relname ~ '^(source|counted)_[0-9]|^facts$';
DROP SCHEMA shop CASCADE;
