-- The shop of test/t/adventureworks.pl before its first sale: raw rows, empty tables, attached; two ladders.
-- The directory of the data comes in ADVENTUREWORKS, the customers' key in two variables:
--   key_type   text or uuid
--   key        what it is made of, an expression over raw.customers.id

CREATE SCHEMA raw;
CREATE TABLE raw.customers (
	id integer, store integer, title text, first_name text, middle_name text, last_name text, email text, phone text,
	birth_date date, gender text, marital text, promo text, first_purchase date, address text, city text, state text, country text);
CREATE TABLE raw.orders (
	id integer, at timestamp, online integer, number text, customer integer, subtotal numeric, tax numeric, freight numeric, total numeric);
\copy raw.customers FROM PROGRAM 'xz -dc "$ADVENTUREWORKS/customers.csv.xz"' WITH (FORMAT csv, HEADER)
\copy raw.orders FROM PROGRAM 'xz -dc "$ADVENTUREWORKS/orders.csv.xz"' WITH (FORMAT csv, HEADER)
CREATE FUNCTION raw.key(id integer) RETURNS :key_type LANGUAGE sql IMMUTABLE AS :'key';

CREATE SCHEMA shop;
CREATE TABLE shop.customers (
	id :key_type PRIMARY KEY, store integer, first_name text, last_name text, email text, phone text, gender text,
	birth_date date, first_purchase date, address text, city text, state text, country text, deleted boolean NOT NULL DEFAULT false);
-- No foreign key: some customers appear after their orders.
CREATE TABLE shop.orders (
	number text, placed_at timestamp, customer :key_type, online boolean, total numeric, status text NOT NULL DEFAULT 'complete',
	PRIMARY KEY (number, placed_at, online)) PARTITION BY RANGE (placed_at);
CREATE TABLE shop.orders_2011 PARTITION OF shop.orders FOR VALUES FROM ('2011-01-01') TO ('2012-01-01');
CREATE TABLE shop.orders_2012 PARTITION OF shop.orders FOR VALUES FROM ('2012-01-01') TO ('2013-01-01');
-- This year was kept elsewhere: its columns come in another order, one of them is gone.
CREATE TABLE shop.orders_2013 (
	total numeric, former_number text, customer :key_type, status text NOT NULL DEFAULT 'complete', number text NOT NULL,
	online boolean NOT NULL, placed_at timestamp NOT NULL);
ALTER TABLE shop.orders_2013 DROP COLUMN former_number;
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_2013 FOR VALUES FROM ('2013-01-01') TO ('2014-01-01');
CREATE TABLE shop.orders_2014 PARTITION OF shop.orders FOR VALUES FROM ('2014-01-01') TO ('2015-01-01') PARTITION BY LIST (online);
CREATE TABLE shop.orders_2014_online PARTITION OF shop.orders_2014 FOR VALUES IN (true);
CREATE TABLE shop.orders_2014_stores PARTITION OF shop.orders_2014 FOR VALUES IN (false);
CREATE TABLE shop.orders_rest PARTITION OF shop.orders DEFAULT;
CREATE INDEX ON shop.orders (customer, placed_at);

CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'America/Los_Angeles', country_code => '1', currency => 'USD', money_unit => 0.0001);
SELECT segment.attach_customers('shop.customers', key => 'id', name => $$first_name || ' ' || last_name$$, given_name => 'first_name',
	phone => 'phone', email => 'email', sex => 'gender', birth_date => 'birth_date', address => 'address', country => 'country',
	region => 'state', city => 'city', member_since => 'first_purchase', counted_when => 'NOT deleted',
	custom => '{"store": "store IS NOT NULL"}');
SELECT segment.attach_orders('shop.orders', key => 'number', customer => 'customer', amount => 'total', at => 'placed_at',
	counted_when => $$status = 'complete'$$,
	custom => $${"online": "online", "channel": "CASE WHEN online THEN 'web' ELSE 'sales' END"}$$);
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES
	('member', 'Member', 0, 999.9999), ('silver', 'Silver', 1000, 4999.9999), ('gold', 'Gold', 5000, 49999.9999), ('platinum', 'Platinum', 50000, NULL);
INSERT INTO segment.ladders (code, name, figure, programme) VALUES ('visits', 'Visits', 'number_of_orders', 'visits');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES
	('visits', 'once', 'Came once', 1, 1), ('visits', 'again', 'Came again', 2, 9), ('visits', 'regular', 'Regular', 10, NULL);

-- What must be true at any moment; proof.expected_* read the shop's tables and nothing of schema segment.
CREATE SCHEMA proof;
CREATE VIEW proof.expected_figures AS
	SELECT c.id AS customer_id, coalesce(o.number_of_orders, 0) AS number_of_orders, 0::bigint AS number_of_returns,
		   coalesce(o.amount, 0) AS amount_spent, coalesce(o.amount, 0) AS amount_ordered, 0::numeric AS amount_returned,
		   0::numeric AS items_bought, 0::numeric AS items_returned, round(o.amount / o.number_of_orders, 6) AS average_order_value,
		   o.first_order_date, o.last_order_date,
		   (now() AT TIME ZONE 'America/Los_Angeles')::date - o.last_order_date AS days_since_last_order, false AS stale
	FROM shop.customers c
		LEFT JOIN (SELECT customer, count(*) AS number_of_orders, sum(total) AS amount, min(placed_at)::date AS first_order_date,
						  max(placed_at)::date AS last_order_date
				   FROM shop.orders WHERE status = 'complete' AND total > '-Infinity' AND total < 'Infinity' GROUP BY customer) o ON o.customer = c.id
	WHERE NOT c.deleted;
CREATE VIEW proof.figures AS
	SELECT customer_id, number_of_orders, number_of_returns, amount_spent, amount_ordered, amount_returned, items_bought, items_returned,
		   round(average_order_value, 6) AS average_order_value, first_order_date, last_order_date, days_since_last_order, stale
	FROM segment.customers;
CREATE VIEW proof.expected_tiers AS
	SELECT customer_id, 'total' AS ladder,
		   CASE WHEN amount_spent >= 50000 THEN 'platinum' WHEN amount_spent >= 5000 THEN 'gold'
				WHEN amount_spent >= 1000 THEN 'silver' ELSE 'member' END AS tier,
		   CASE WHEN amount_spent >= 50000 THEN 4 WHEN amount_spent >= 5000 THEN 3 WHEN amount_spent >= 1000 THEN 2 ELSE 1 END AS rank,
		   amount_spent AS value,
		   CASE WHEN amount_spent < 1000 THEN 1000 WHEN amount_spent < 5000 THEN 5000 WHEN amount_spent < 50000 THEN 50000 END
			- amount_spent AS to_next, false AS stale
	FROM proof.expected_figures
	UNION ALL
	SELECT customer_id, 'visits',
		   CASE WHEN number_of_orders >= 10 THEN 'regular' WHEN number_of_orders >= 2 THEN 'again' WHEN number_of_orders >= 1 THEN 'once' END,
		   CASE WHEN number_of_orders >= 10 THEN 3 WHEN number_of_orders >= 2 THEN 2 WHEN number_of_orders >= 1 THEN 1 END,
		   number_of_orders,
		   CASE WHEN number_of_orders < 1 THEN 1 WHEN number_of_orders < 2 THEN 2 WHEN number_of_orders < 10 THEN 10 END - number_of_orders,
		   false
	FROM proof.expected_figures;
CREATE VIEW proof.tiers AS
	SELECT customer_id, ladder, tier, rank, value, to_next, stale FROM segment.customer_tiers;

-- What is written where: an UPDATE that changes nothing shows here all the same.
CREATE VIEW proof.rows AS
	SELECT 'facts' AS "table", customer_id::text AS key, ctid::text AS place, xmin::text AS written_by, f::text AS row FROM segment.facts f
	UNION ALL SELECT 'standings', customer_id::text, ctid::text, xmin::text, s::text FROM segment.standings s
	UNION ALL SELECT 'changes', customer_id::text, ctid::text, xmin::text, c::text FROM segment.changes c
	UNION ALL SELECT 'left out', row_key, ctid::text, xmin::text, l::text FROM segment.left_out l;
