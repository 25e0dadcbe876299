-- MERGE on a partitioned table, with rows that move: every action, by the whole and by a leaf.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int, at date, customer_id int, total numeric, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.orders_2026 (total numeric, customer_id int, gone text, at date NOT NULL, id int NOT NULL);
ALTER TABLE shop.orders_2026 DROP COLUMN gone;
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO shop.customers SELECT generate_series(1, 4);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', at_zone => 'UTC');
INSERT INTO shop.orders VALUES (1, '2025-01-01', 1, 10), (2, '2025-01-02', 1, 20), (3, '2026-01-03', 2, 30), (4, '2026-01-04', 3, 40);
CREATE VIEW shop.figures AS SELECT customer_id, number_of_orders, amount_ordered, stale FROM segment.customers ORDER BY 1;
-- only updates that move rows
MERGE INTO shop.orders o USING (VALUES (1), (3)) n(id) ON o.id = n.id
	WHEN MATCHED THEN UPDATE SET at = CASE WHEN o.at < '2026-01-01' THEN o.at + 365 ELSE o.at - 365 END, total = total + 1;
TABLE shop.figures;
SELECT * FROM segment.verify();
-- moves and inserts, with a change of customer
MERGE INTO shop.orders o USING (VALUES (2, 4, 21), (5, 4, 50), (6, 1, 60)) n(id, customer_id, total) ON o.id = n.id
	WHEN MATCHED THEN UPDATE SET at = '2026-02-02', customer_id = n.customer_id, total = n.total
	WHEN NOT MATCHED THEN INSERT VALUES (n.id, CASE n.id WHEN 5 THEN '2025-05-05'::date ELSE '2026-06-06' END, n.customer_id, n.total);
TABLE shop.figures;
SELECT * FROM segment.verify();
-- moves, inserts, deletes and nothing
MERGE INTO shop.orders o USING (VALUES (1, 1), (4, 2), (5, 3), (7, 4)) n(id, what) ON o.id = n.id
	WHEN MATCHED AND n.what = 1 THEN DELETE
	WHEN MATCHED AND n.what = 2 THEN UPDATE SET at = '2025-12-31'
	WHEN MATCHED THEN DO NOTHING
	WHEN NOT MATCHED THEN INSERT VALUES (n.id, '2025-07-07', 3, 70);
TABLE shop.figures;
SELECT * FROM segment.verify();
-- a leaf by its own name
MERGE INTO shop.orders_2026 o USING (VALUES (2, 0), (3, 100), (6, 66), (8, 80)) n(id, total) ON o.id = n.id
	WHEN MATCHED AND n.total = 0 THEN DELETE
	WHEN MATCHED THEN UPDATE SET total = n.total
	WHEN NOT MATCHED THEN INSERT (id, at, customer_id, total) VALUES (n.id, '2026-08-08', 4, n.total);
TABLE shop.figures;
SELECT * FROM segment.verify();
SELECT segment.recalculate();
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
