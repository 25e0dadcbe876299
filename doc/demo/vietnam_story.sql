-- What the merchant types, and what happens: the reader sees every statement and its answer.
\set ECHO none
\pset numericlocale on
\pset footer off
\pset null '·'
\set SHOW_CONTEXT never

\echo
\echo '== 2. segment is attached to it ================================================================='
\echo
\set ECHO queries
CREATE EXTENSION segment;

\o /dev/null
SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh', country_code => '84',
	currency => 'VND', money_unit => 1);

\echo
\echo '-- No column is added to the shop\'s tables, no line to its application. Arguments are columns of'
\echo '-- the table or expressions over its row.'
\echo
\timing on
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name',
	phone => 'phone', email => 'email', sex => 'sex', birth_date => 'birth_date',
	address => 'address', region => 'province', tags => 'tags', member_since => 'joined_at',
	added_at => 'created_at', counted_when => 'deleted_at IS NULL');

SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id',
	amount => 'total', at => 'created_at', counted_when => $$status = 'completed'$$);

\echo
\echo '-- A return names its order, and the order its customer: no trigger to write, no join to remember.'
\echo
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id',
	amount => 'refund', at => 'created_at', counted_when => $$state = 'settled'$$);

\o

\echo
\echo '-- Tiers are rows. Everybody is ranked when the statement ends.'
\echo
INSERT INTO segment.tiers (code, name, min_value, max_value, points_floor) VALUES
	('member',  'Thành viên',         0,  2999999,   0),
	('silver',  'Bạc',          3000000,  9999999,  50),
	('gold',    'Vàng',        10000000, 29999999, 100),
	('diamond', 'Kim cương',   30000000,     NULL, 200);
\timing off

SELECT tier_name, rank, customers, round(100 * share, 2) AS percent
  FROM segment.tier_sizes WHERE tier IS NOT NULL ORDER BY rank;

\echo
\echo '== 3. One customer, tier by tier ================================================================'
\echo
\echo '-- A new customer stands on the ladder at once, before the first order.'
\echo
INSERT INTO shop.customers (full_name, sex, province)
VALUES ('Nguyễn Thị Hương Giang', 'nữ', 'Cần Thơ');
\set ECHO none
SELECT currval('shop.customers_id_seq') AS giang \gset
\set ECHO queries
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- Two orders, 9,500,000 in all: Silver (Bạc), 500,000 short of Gold.'
\echo
INSERT INTO shop.orders (customer_id, total) VALUES (:giang, 3500000);
INSERT INTO shop.orders (customer_id, total) VALUES (:giang, 6000000);
\set ECHO none
SELECT currval('shop.orders_id_seq') AS second \gset
\set ECHO queries
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- An order of 1,000,000 makes it 10,500,000: Gold (Vàng), in the same transaction as the order.'
\echo
INSERT INTO shop.orders (customer_id, total) VALUES (:giang, 1000000);
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- The next day goods of the second order come back, 2,000,000: 8,500,000, Silver again.'
\echo
INSERT INTO shop.returns (order_id, refund) VALUES (:second, 2000000);
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = :giang;

\echo
\echo '== 4. What a shop does all day =================================================================='
\echo
\echo '-- A sale that is rolled back takes its tier with it.'
\echo
BEGIN;
INSERT INTO shop.orders (customer_id, total) VALUES (:giang, 25000000);
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = :giang;
ROLLBACK;
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- A cart is not an order …'
\echo
INSERT INTO shop.orders (customer_id, total, status, channel)
VALUES (:giang, 4000000, 'cart', 'web');
\set ECHO none
SELECT currval('shop.orders_id_seq') AS cart \gset
\set ECHO queries
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- … until it becomes one …'
\echo
UPDATE shop.orders SET status = 'completed' WHERE id = :cart;
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- … and when it is cancelled and refunded, nothing is taken off twice.'
\echo
UPDATE shop.orders SET status = 'cancelled' WHERE id = :cart;
INSERT INTO shop.returns (order_id, refund) VALUES (:cart, 4000000);
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = :giang;

\echo '-- Everything that moved her, newest last. It is one table: segment.changes.'
\echo
SELECT action, old_tier, new_tier, old_value, new_value, cause, source
  FROM segment.changes WHERE customer_id = :giang ORDER BY version;

\echo
\echo '== 5. The rules change =========================================================================='
\echo
\echo '-- Silver is switched off: its range falls to the tier below, everybody moves at once.'
\echo
\timing on
UPDATE segment.tiers SET active = false WHERE code = 'silver';
\timing off
SELECT tier_name, rank, customers, round(100 * share, 2) AS percent
  FROM segment.tier_sizes WHERE tier IS NOT NULL ORDER BY rank;

\echo '-- And on again.'
\echo
\timing on
UPDATE segment.tiers SET active = true WHERE code = 'silver';
\timing off
SELECT tier_name, rank, customers, round(100 * share, 2) AS percent
  FROM segment.tier_sizes WHERE tier IS NOT NULL ORDER BY rank;

\echo '-- A gap between two tiers is refused when it is made, with what was given and what is allowed.'
\echo
\set ON_ERROR_STOP off
UPDATE segment.tiers SET min_value = 12000000 WHERE code = 'gold';
\set ON_ERROR_STOP on
\if :ERROR
\else
	DO $$BEGIN RAISE EXCEPTION 'demo: a gap between tiers was accepted'; END$$;
\endif

\echo
\echo '== 6. Can it be trusted? ========================================================================'
\echo
\echo '-- Kept apart: orders of customers who are deleted. They count again if the customer comes back.'
\echo
SELECT item, source, state, rows FROM segment.status();

\echo '-- verify() computes every figure and tier again from the shop\'s tables, in plain SQL that shares'
\echo '-- no code with the triggers. No row means no difference.'
\echo
\timing on
SELECT * FROM segment.verify();
\timing off
\set ECHO none
SELECT count(*) AS differences FROM segment.verify() \gset
SELECT :differences = 0 AS exact \gset
\if :exact
	\echo
	\echo '-- No difference: 20,000 customers, 200,000 orders, and every tier is where it belongs.'
\else
	DO $$BEGIN RAISE EXCEPTION 'demo: stored and recomputed state differ'; END$$;
\endif
