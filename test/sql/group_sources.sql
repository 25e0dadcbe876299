-- Groups and every kind of row that can change them: rows that count, columns beside what counts, profiles, tags,
-- points and offers, tables that expressions look things up in; and what conditions compare by.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'Asia/Ho_Chi_Minh';
CREATE SCHEMA shop;
CREATE TABLE shop.regions (id int PRIMARY KEY, name text);
CREATE TABLE shop.customers (id bigint PRIMARY KEY, name text, phone text, region_id int, level int);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz, status text DEFAULT 'completed', channel text);
CREATE TABLE shop.order_lines (order_id bigint, sku text, qty int);
CREATE TABLE shop.returns (id bigint PRIMARY KEY, order_id bigint, refund numeric, at timestamptz);
CREATE TABLE shop.tags (customer_id bigint, tag text);
CREATE TABLE shop.points (order_id bigint, delta int, at timestamptz, expires timestamptz);
CREATE TABLE shop.vouchers (customer_id bigint, code text, used_at timestamptz) PARTITION BY RANGE (used_at);
CREATE TABLE shop.vouchers_2026 PARTITION OF shop.vouchers FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO shop.regions VALUES (1, 'Hà Nội'), (2, 'Bình Dương');
INSERT INTO shop.customers SELECT i, 'customer ' || i, '+8490123456' || i, 1 + i % 2, i FROM generate_series(1, 4) i;
SET segment.at = '2026-05-01 12:00+07';
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', phone => 'phone',
	region => '(SELECT r.name FROM shop.regions r WHERE r.id = region_id)', custom => '{"level": "level"}') IS NOT NULL AS attached;
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', channel => 'channel',
	counted_when => $$status = 'completed'$$) IS NOT NULL AS attached;
SELECT segment.attach_order_lines('shop.order_lines', order_key => 'order_id', product => 'sku', quantity => 'qty') IS NOT NULL AS attached;
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'at') IS NOT NULL AS attached;
SELECT segment.attach_tags('shop.tags', customer => 'customer_id', tag => 'tag') IS NOT NULL AS attached;
SELECT segment.attach_points('shop.points', customer => '(SELECT o.customer_id FROM shop.orders o WHERE o.id = order_id)',
	points => 'delta', at => 'at', expires_at => 'expires') IS NOT NULL AS attached;
SELECT segment.attach_offers('shop.vouchers', customer => 'customer_id', offer => 'code', at => 'used_at') IS NOT NULL AS attached;

INSERT INTO segment.groups (code, name, condition) VALUES
	('rich', 'Rich', 'amount_spent >= 1_000_000'), ('pos', 'At the till', $$amount_spent(channel = 'pos') >= 100_000$$),
	('tea', 'Tea', $$products_purchased MATCHES (id = 'TEA', sum_quantity >= 2)$$), ('back', 'Brings back', 'returns_made MATCHES (date >= -30d)'),
	('vip', 'VIP', $$tags CONTAINS 'vip'$$), ('points', 'Points', 'points >= 100'), ('tet', 'Tết', $$offers_used MATCHES (offer = 'TET')$$),
	('south', 'South', $$region CONTAINS 'Bình Dương'$$), ('level', 'Level 3', 'level >= 3'), ('phone', 'Viettel', $$phone STARTS WITH '0901'$$),
	('both', 'Both', $$groups CONTAINS 'vip' AND groups CONTAINS 'points'$$);
CREATE VIEW shop.state AS
	SELECT (SELECT string_agg(c.customer_id || ': ' || array_to_string(c.groups, ' '), ', ' ORDER BY c.customer_id) FROM segment.customer_groups c) AS groups,
		   (SELECT count(*) FROM segment.verify()) AS wrong, (SELECT s.state FROM segment.status() s LIMIT 1) AS state;
\pset tuples_only on
TABLE shop.state;
-- sales, with lines and returns, in either order
INSERT INTO shop.order_lines VALUES (1, 'TEA', 2), (2, 'tea', 5);
INSERT INTO shop.orders VALUES (1, 1, 150000, '2026-05-01 10:00+07', 'completed', 'web'), (2, 2, 1200000, '2026-05-01 10:00+07', 'completed', 'pos');
INSERT INTO shop.returns VALUES (1, 2, 300000, '2026-05-01 11:00+07');
TABLE shop.state;
-- a column beside what counts, a line's product, the order's customer
UPDATE shop.orders SET channel = 'pos' WHERE id = 1;
UPDATE shop.order_lines SET sku = 'TEA' WHERE order_id = 2;
TABLE shop.state;
UPDATE shop.orders SET customer_id = 3 WHERE id = 1;
UPDATE shop.orders SET status = 'cancelled' WHERE id = 2;
TABLE shop.state;
-- tags, points by way of the order, offers in partitions
INSERT INTO shop.tags VALUES (3, 'VIP'), (4, 'vip'), (777, 'vip'), (NULL, 'vip');
INSERT INTO shop.points VALUES (1, 120, '2026-05-01 10:30+07', '2026-05-20 15:00+07'), (999, 500, '2026-05-01', NULL);
INSERT INTO shop.vouchers_2026 VALUES (4, 'tet', '2026-05-01 09:00+07');
TABLE shop.state;
UPDATE shop.orders SET customer_id = 4 WHERE id = 1;
DELETE FROM shop.tags WHERE customer_id = 3;
TRUNCATE shop.vouchers;
TABLE shop.state;
-- profiles: a column, and a table that an expression reads
UPDATE shop.customers SET level = 3, phone = '0901000000' WHERE id = 1;
UPDATE shop.customers SET name = 'nothing that a group asks for' WHERE id = 2;
UPDATE shop.regions SET name = CASE id WHEN 1 THEN 'Bình Dương' ELSE 'Đồng Nai' END;
TABLE shop.state;
-- customers come and go
INSERT INTO shop.customers VALUES (5, 'new', '0901', 1, 9);
DELETE FROM shop.customers WHERE id = 4;
TABLE shop.state;
INSERT INTO shop.customers VALUES (4, 'again', '0905', 2, 1);
TABLE shop.state;
-- what time does: points expire in the middle of the day
SET segment.at = '2026-05-20 14:59:59+07';
TABLE shop.state;
SET segment.at = '2026-05-20 15:00+07';
TABLE shop.state;
SELECT segment.tick();
TABLE shop.state;
SELECT at, customer_id, code, action, cause FROM segment.changes WHERE kind = 'group' AND cause = 'time' ORDER BY at, customer_id, code;
-- what conditions compare by
INSERT INTO segment.region_aliases (region, alias) VALUES ('Bình Dương', 'Đồng Nai');
TABLE shop.state;
DELETE FROM segment.region_aliases;
SELECT segment.configure(country_code => '66');
TABLE shop.state;
SELECT segment.configure(country_code => '84');
TABLE shop.state;
SELECT count(*), count(source_key), min(cause), max(cause) FROM segment.changes WHERE cause IN ('rule', 'profile', 'tag', 'points', 'offers');
\pset tuples_only off
-- what a group needs is not detached
SELECT segment.detach('shop.tags');
UPDATE segment.groups SET active = false WHERE code IN ('vip', 'both');
SELECT segment.detach('shop.tags');
SELECT item, state, detail FROM segment.status() WHERE item = 'group';
-- every owner's tables, or no automatic group
CREATE ROLE segment_other;
CREATE TABLE shop.more_orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
GRANT USAGE ON SCHEMA shop TO segment_other;
ALTER TABLE shop.more_orders OWNER TO segment_other;
SELECT segment.attach_orders('shop.more_orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
TABLE shop.state;

RESET segment.at;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP ROLE segment_other;
CREATE EXTENSION segment;
