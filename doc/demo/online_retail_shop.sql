-- A real wholesaler: the "Online Retail" invoices (D. Chen, UCI 2015, CC BY 4.0) as the tables of a shop.
-- The path of the file comes in the environment variable DEMO_FILE.
\set ECHO none
\pset numericlocale on
\pset footer off
\pset null '·'

\echo '== 1. A shop ===================================================================================='
\echo
\echo '-- A year of a British wholesaler is being read: 541,909 invoice lines …'

SET client_min_messages = warning;
SET timezone = 'Europe/London';
CREATE SCHEMA shop;

CREATE TABLE shop.invoice_lines (
	invoice     text,
	product     text,
	quantity    integer,
	invoiced_at timestamp,
	unit_price  numeric,
	customer    integer,
	country     text
);
\copy shop.invoice_lines FROM PROGRAM 'xz -dc "$DEMO_FILE"' WITH (FORMAT csv, HEADER)

CREATE TABLE shop.customers (
	id      integer PRIMARY KEY,
	country text NOT NULL
);
CREATE TABLE shop.invoices (
	number      text PRIMARY KEY,
	customer_id integer REFERENCES shop.customers,           -- NULL: sold over the counter
	amount      numeric NOT NULL,
	invoiced_at timestamptz NOT NULL
);
CREATE TABLE shop.credit_notes (LIKE shop.invoices INCLUDING ALL);

-- sixteen customers have two countries: the latest is taken
INSERT INTO shop.customers
	SELECT DISTINCT ON (customer) customer, country
	  FROM shop.invoice_lines WHERE customer IS NOT NULL ORDER BY customer, invoiced_at DESC, country;

-- An invoice is the sum of its lines; 43 carry two timestamps, the first one holds.  An invoice whose number begins
-- with C takes goods back.  The last day is kept for later.
CREATE TABLE shop.ledger AS
	SELECT invoice AS number, min(customer) AS customer_id, sum(quantity * unit_price) AS amount,
	       min(invoiced_at) AT TIME ZONE 'Europe/London' AS invoiced_at, starts_with(invoice, 'C') AS is_return
	  FROM shop.invoice_lines GROUP BY invoice;

INSERT INTO shop.invoices
	SELECT number, customer_id, amount, invoiced_at FROM shop.ledger
	 WHERE NOT is_return AND invoiced_at < '2011-12-09' ORDER BY invoiced_at, number;
INSERT INTO shop.credit_notes
	SELECT number, customer_id, -amount, invoiced_at FROM shop.ledger
	 WHERE is_return AND invoiced_at < '2011-12-09' ORDER BY invoiced_at, number;

CREATE INDEX ON shop.invoices (customer_id, invoiced_at);
CREATE INDEX ON shop.credit_notes (customer_id, invoiced_at);
ANALYZE shop.customers, shop.invoices, shop.credit_notes;

\echo
\set ECHO queries
SELECT (SELECT count(*) FROM shop.customers) AS customers,
	(SELECT count(*) FROM shop.invoices) AS invoices,
	(SELECT sum(amount) FROM shop.invoices) AS sold,
	(SELECT count(*) FROM shop.credit_notes) AS credit_notes,
	(SELECT sum(amount) FROM shop.credit_notes) AS taken_back;
