-- MERGE with all three actions at once.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.customers SELECT generate_series(1, 3);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
INSERT INTO shop.orders VALUES (1, 1, 10, '2026-01-01'), (2, 1, 20, '2026-01-02'), (3, 2, 30, '2026-01-03');
MERGE INTO shop.orders o USING (VALUES (1, 2, 11), (3, NULL, NULL), (4, 3, 40)) n(id, customer_id, total) ON o.id = n.id
	WHEN MATCHED AND n.total IS NULL THEN DELETE
	WHEN MATCHED THEN UPDATE SET customer_id = n.customer_id, total = n.total
	WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.customer_id, n.total, '2026-02-01');
SELECT customer_id, number_of_orders, amount_ordered, first_order_at AT TIME ZONE 'UTC' IS NOT NULL AS dated FROM segment.facts ORDER BY 1;
SELECT * FROM segment.verify();
DROP SCHEMA shop CASCADE;
