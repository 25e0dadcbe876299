-- A small shop in whatever schema the variable "schema" names, for test/t/dump_restore.pl: every role, a partitioned
-- source, a watched table, rows that are left out, two ladders whose tiers follow in another table, groups
-- that name others which come later.

CREATE SCHEMA IF NOT EXISTS :"schema";
SET search_path = :"schema";
CREATE TABLE customers (id bigint PRIMARY KEY, "Name" text NOT NULL, deleted_at timestamptz);
CREATE TABLE branches (code text PRIMARY KEY, open boolean NOT NULL);
CREATE TABLE orders (id integer PRIMARY KEY, customer_id bigint, total numeric, placed_at timestamptz NOT NULL, status text NOT NULL);
CREATE TABLE lines (order_id integer REFERENCES orders ON DELETE CASCADE, product text, quantity integer NOT NULL);
CREATE TABLE till (id integer, day date, customer_id bigint, total numeric, branch text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE till_2025 PARTITION OF till FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE till_2026 (branch text, total numeric, customer_id bigint, id integer NOT NULL, day date NOT NULL);
ALTER TABLE till ATTACH PARTITION till_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE returns (id integer PRIMARY KEY, order_id integer, refund numeric NOT NULL, at timestamp NOT NULL);
INSERT INTO customers SELECT g, 'customer ' || g, CASE WHEN g % 9 = 0 THEN timestamptz '2026-01-01 00:00+00' END FROM generate_series(1, 20) g;
INSERT INTO branches VALUES ('north', true), ('south', false);
INSERT INTO orders SELECT g, CASE WHEN g % 7 > 0 THEN g % 23 END, CASE WHEN g % 31 = 0 THEN 'NaN' ELSE g * 10.5 END,
	timestamptz '2025-06-01 10:00+00' + g * interval '3 days', CASE WHEN g % 5 = 0 THEN 'cart' ELSE 'done' END FROM generate_series(1, 80) g;
INSERT INTO lines SELECT 1 + g % 80, 'product ' || g % 6, g % 4 FROM generate_series(1, 200) g;
INSERT INTO till SELECT g, date '2025-09-01' + 3 * g, 1 + g % 19, g, CASE WHEN g % 4 = 0 THEN 'south' ELSE 'north' END FROM generate_series(1, 80) g;
INSERT INTO returns SELECT g, g * 2, g, timestamp '2026-01-01' + g * interval '1 day' FROM generate_series(1, 30) g;

CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'Europe/Berlin', country_code => '49', currency => 'EUR', money_unit => 0.01);
SELECT segment.attach_customers('customers', key => 'id', name => 'Name', counted_when => 'deleted_at IS NULL', anonymous => '{0}',
	custom => '{"letters": "length(\"Name\")"}');
SELECT segment.attach_orders('orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'placed_at', counted_when => $$status = 'done'$$);
SELECT segment.attach_orders('till', key => 'id', customer => 'customer_id', amount => 'total', at => 'day',
	counted_when => '(SELECT b.open FROM branches b WHERE b.code = branch)');
SELECT segment.attach_order_lines('lines', order_key => 'order_id', quantity => 'quantity', product => 'product', orders => 'orders');
SELECT segment.attach_returns('returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'at', orders => 'orders', fill => :fill);
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('low', 'Low', 0, 499.99), ('middle', 'Middle', 500, 1999.99), ('high', 'High', 2000, NULL);
INSERT INTO segment.ladders (code, name, figure, programme) VALUES ('a items', 'Items', 'items_bought', 'items');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES ('a items', 'some', 'Some', 1, 19), ('a items', 'many', 'Many', 20, NULL);
INSERT INTO segment.groups (code, name, condition, active) VALUES ('a best', 'Best', 'groups CONTAINS ''z spent'' AND NOT groups = ''off''', true),
	('z spent', 'Spent', 'amount_spent >= 500 AND letters > 1', true), ('off', 'Off', 'amount_spent > 5', false);
INSERT INTO segment.groups (name, discount_percent) VALUES ('Staff', 5);

-- What plain SQL says, and where segment says otherwise; nobody needs to know the schema.
CREATE VIEW expected AS
	SELECT c.id AS customer_id, coalesce(o.n, 0) + coalesce(t.n, 0) AS number_of_orders, coalesce(r.n, 0) AS number_of_returns,
		   coalesce(o.amount, 0) + coalesce(t.amount, 0) AS amount_ordered, coalesce(r.amount, 0) AS amount_returned, coalesce(l.items, 0) AS items_bought
	FROM customers c
		LEFT JOIN (SELECT customer_id, count(*) AS n, sum(total) AS amount FROM orders
				   WHERE status = 'done' AND total < 'Infinity' GROUP BY 1) o ON o.customer_id = c.id
		LEFT JOIN (SELECT customer_id, count(*) AS n, sum(total) AS amount FROM till JOIN branches ON code = branch
				   WHERE open AND total < 'Infinity' GROUP BY 1) t ON t.customer_id = c.id
		LEFT JOIN (SELECT customer_id, count(*) AS n, sum(refund) AS amount FROM returns JOIN orders o ON o.id = order_id
				   WHERE status = 'done' AND total < 'Infinity' GROUP BY 1) r ON r.customer_id = c.id
		LEFT JOIN (SELECT customer_id, sum(quantity) AS items FROM lines JOIN orders o ON o.id = order_id
				   WHERE status = 'done' AND total < 'Infinity' GROUP BY 1) l ON l.customer_id = c.id
	WHERE deleted_at IS NULL;
CREATE VIEW wrong AS
	SELECT * FROM expected e FULL JOIN (SELECT customer_id, number_of_orders, number_of_returns, amount_ordered, amount_returned, items_bought
										FROM segment.customers) f
		USING (customer_id, number_of_orders, number_of_returns, amount_ordered, amount_returned, items_bought)
	WHERE e IS NULL OR f IS NULL;
