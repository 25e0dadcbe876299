-- The shop of test/t/online_retail.pl before its first sale: raw lines, customers, empty tables of orders and
-- returns, attached; two ladders; and the proof's own log.  The path of the data comes in ONLINE_RETAIL_FILE.

CREATE SCHEMA raw;
CREATE TABLE raw.lines (
	invoice text,
	product text,
	quantity integer,
	invoiced_at timestamp,
	unit_price numeric,
	customer integer,
	country text
);
\copy raw.lines FROM PROGRAM 'xz -dc "$ONLINE_RETAIL_FILE"' WITH (FORMAT csv, HEADER)

-- What the loading statements take their rows from.  The expected answers never read it: they start at raw.lines.
-- An invoice is the sum of its lines; 43 carry two timestamps, the first one holds.
CREATE TABLE raw.invoices AS
	SELECT invoice AS number, min(customer) AS customer_id, sum(quantity * unit_price) AS amount,
		   min(invoiced_at) AS at, min(invoiced_at)::date AS day, invoice LIKE 'C%' AS is_return
	FROM raw.lines GROUP BY invoice;
CREATE UNIQUE INDEX ON raw.invoices (number);
CREATE INDEX ON raw.invoices (day);

CREATE SCHEMA shop;
CREATE TABLE shop.customers (
	id integer PRIMARY KEY,
	country text,
	deleted_at timestamptz
);
-- No foreign keys: some customers appear after their orders.  Orders carry the clock on the wall, returns an instant.
CREATE TABLE shop.orders (
	number text PRIMARY KEY,
	customer_id integer,
	status text NOT NULL,
	amount numeric,
	placed_at timestamp
);
CREATE INDEX ON shop.orders (customer_id, placed_at);
CREATE TABLE shop.returns (
	number text PRIMARY KEY,
	customer_id integer,
	state text NOT NULL,
	refund numeric,
	settled_at timestamptz
);
CREATE INDEX ON shop.returns (customer_id, settled_at);

INSERT INTO shop.customers
	SELECT customer, min(country) FROM raw.lines WHERE customer IS NOT NULL GROUP BY customer;
ANALYZE;

CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'Europe/London', country_code => '44', currency => 'GBP', money_unit => 0.01);
SELECT segment.attach_customers('shop.customers', key => 'id', country => 'country', counted_when => 'deleted_at IS NULL');
SELECT segment.attach_orders('shop.orders', key => 'number', customer => 'customer_id', amount => 'amount',
	at => 'placed_at', counted_when => $$status = 'completed'$$);
SELECT segment.attach_returns('shop.returns', key => 'number', customer => 'customer_id', amount => 'refund',
	at => 'settled_at', counted_when => $$state = 'settled'$$);

-- Everybody stands on the first ladder, whatever the total; on the second one only who has bought.
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES
	('bronze', 'Bronze', 0, 499.99), ('silver', 'Silver', 500, 1999.99),
	('gold', 'Gold', 2000, 9999.99), ('platinum', 'Platinum', 10000, NULL);
INSERT INTO segment.ladders (code, name, figure, programme) VALUES ('visits', 'Visits', 'number_of_orders', 'visits');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES
	('visits', 'once', 'Came once', 1, 1), ('visits', 'again', 'Came again', 2, 9), ('visits', 'regular', 'Regular', 10, NULL);

-- The proof's own log: what plain SQL says of a customer after a statement, rows without an amount (NULL, NaN) left out.  A statement that is rolled back takes
-- its entries with it, as it must take its tier moves.
CREATE SCHEMA proof;
CREATE TABLE proof.history (
	step integer,
	customer integer,
	counted boolean NOT NULL,
	spent numeric NOT NULL,
	orders numeric NOT NULL,
	PRIMARY KEY (customer, step)
);
CREATE TABLE proof.verified (
	step integer PRIMARY KEY,
	differences bigint NOT NULL
);
-- Planned once, while the tables are still empty: hence no sequential scans.
CREATE FUNCTION proof.note(at_step integer, customers integer[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
BEGIN
	INSERT INTO proof.history
	SELECT at_step, c, EXISTS (SELECT FROM shop.customers WHERE id = c AND deleted_at IS NULL), o.amount - r.amount, o.orders
	FROM unnest(customers) AS c,
		LATERAL (SELECT coalesce(sum(amount), 0) AS amount, count(*) AS orders
				 FROM shop.orders WHERE customer_id = c AND status = 'completed' AND amount < 'Infinity') o,
		LATERAL (SELECT coalesce(sum(refund), 0) AS amount
				 FROM shop.returns WHERE customer_id = c AND state = 'settled' AND refund < 'Infinity') r;
END
$$;
CREATE FUNCTION proof.note_everybody(step integer) RETURNS void LANGUAGE sql AS $$
	INSERT INTO proof.history
	SELECT step, c.customer, EXISTS (SELECT FROM shop.customers WHERE id = c.customer AND deleted_at IS NULL),
		   coalesce(o.amount, 0) - coalesce(r.amount, 0), coalesce(o.orders, 0)
	FROM (SELECT DISTINCT customer FROM raw.lines WHERE customer IS NOT NULL) c
		LEFT JOIN (SELECT customer_id, sum(amount) AS amount, count(*) AS orders
				   FROM shop.orders WHERE status = 'completed' AND amount < 'Infinity' GROUP BY customer_id) o ON o.customer_id = c.customer
		LEFT JOIN (SELECT customer_id, sum(refund) AS amount
				   FROM shop.returns WHERE state = 'settled' AND refund < 'Infinity' GROUP BY customer_id) r ON r.customer_id = c.customer
$$;
CREATE FUNCTION proof.verify(step integer) RETURNS void LANGUAGE sql AS $$
	INSERT INTO proof.verified SELECT step, count(*) FROM segment.verify()
$$;
SELECT proof.note_everybody(0);
