-- What the merchant types, and what happens: the reader sees every statement and its answer.
\set ECHO none
\pset numericlocale on
\pset footer off
\pset null '·'
\set SHOW_CONTEXT never
SET timezone = 'Europe/London';

\echo
\echo '== 2. segment is attached to it ================================================================='
\echo
\set ECHO queries
CREATE EXTENSION segment;

\o /dev/null
SELECT segment.configure(timezone => 'Europe/London', country_code => '44',
	currency => 'GBP', money_unit => 0.01);

\echo
\echo '-- No column is added to the shop\'s tables, no line to its application. Arguments are columns of'
\echo '-- the table or expressions over its row.'
\echo
\timing on
SELECT segment.attach_customers('shop.customers', key => 'id', country => 'country');
SELECT segment.attach_orders('shop.invoices', key => 'number', customer => 'customer_id',
	amount => 'amount', at => 'invoiced_at');
SELECT segment.attach_returns('shop.credit_notes', key => 'number', customer => 'customer_id',
	amount => 'amount', at => 'invoiced_at');

\o

\echo
\echo '-- Tiers are rows. Everybody is ranked when the statement ends.'
\echo
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES
	('bronze',   'Bronze',       0,  499.99),
	('silver',   'Silver',     500, 1999.99),
	('gold',     'Gold',      2000, 9999.99),
	('platinum', 'Platinum', 10000,    NULL);
\timing off

SELECT tier_name, rank, customers, round(100 * share, 2) AS percent
  FROM segment.tier_sizes WHERE tier IS NOT NULL ORDER BY rank;

\echo
\echo '== 3. The morning of 9 December 2011 ============================================================'
\echo
\echo '-- Customer 16446 has bought for 2.90 so far.'
\echo
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = 16446;

\echo '-- 09:15, the largest invoice of the year: 80,995 paper birdies.'
\echo
INSERT INTO shop.invoices
	SELECT number, customer_id, amount, invoiced_at FROM shop.ledger WHERE number = '581483';
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = 16446;

\echo '-- 09:27, all of them come back.'
\echo
INSERT INTO shop.credit_notes
	SELECT number, customer_id, -amount, invoiced_at FROM shop.ledger WHERE number = 'C581484';
SELECT tier_name, value, next_tier, to_next FROM segment.customer_tiers WHERE customer_id = 16446;

\echo '-- Both moves are on record, with the invoice that caused them.'
\echo
SELECT action, old_tier, new_tier, old_value, new_value, cause, source, source_key
  FROM segment.changes WHERE customer_id = 16446 AND cause IN ('order', 'return') ORDER BY version;

\echo '-- The rest of the day, in two statements.'
\echo
\timing on
INSERT INTO shop.invoices
	SELECT number, customer_id, amount, invoiced_at FROM shop.ledger
	 WHERE invoiced_at >= '2011-12-09' AND NOT is_return AND number <> '581483';
INSERT INTO shop.credit_notes
	SELECT number, customer_id, -amount, invoiced_at FROM shop.ledger
	 WHERE invoiced_at >= '2011-12-09' AND is_return AND number <> 'C581484';
\timing off
SELECT action, old_tier, new_tier, count(*) AS customers
  FROM segment.changes WHERE cause IN ('order', 'return') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

\echo
\echo '== 4. What a shop does all day =================================================================='
\echo
\echo '-- 12346 bought 74,215 jars and took every one back. Somebody deletes the credit note, and'
\echo '-- thinks better of it.'
\echo
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = 12346;
BEGIN;
DELETE FROM shop.credit_notes WHERE customer_id = 12346;
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = 12346;
ROLLBACK;
SELECT tier_name, value FROM segment.customer_tiers WHERE customer_id = 12346;

\echo '-- Amounts are exact: the best customers, to the penny.'
\echo
SELECT customer_id::text, number_of_orders, amount_ordered, amount_returned, amount_spent,
	last_order_date
  FROM segment.customers ORDER BY amount_spent DESC LIMIT 5;

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
UPDATE segment.tiers SET active = true WHERE code = 'silver';
SELECT tier_name, rank, customers, round(100 * share, 2) AS percent
  FROM segment.tier_sizes WHERE tier IS NOT NULL ORDER BY rank;

\echo
\echo '== 6. Can it be trusted? ========================================================================'
\echo
SELECT item, source, state, rows FROM segment.status();

\echo '-- Plain SQL over the 541,909 lines against what was kept: two answers that must not differ.'
\echo
SELECT customer AS customer_id, sum(quantity * unit_price) AS spent FROM shop.invoice_lines
 WHERE customer IS NOT NULL GROUP BY customer
EXCEPT ALL
SELECT customer_id, amount_spent FROM segment.customers;

\echo '-- verify() computes every figure and tier again from the shop\'s tables. No row means no difference.'
\echo
SELECT * FROM segment.verify();
\set ECHO none
SELECT count(*) AS differences FROM segment.verify() \gset
SELECT :differences = 0 AS exact \gset
\if :exact
	\echo
	\echo '-- No difference: 4,372 customers, 25,900 invoices, and every tier is where it belongs.'
\else
	DO $$BEGIN RAISE EXCEPTION 'demo: stored and recomputed state differ'; END$$;
\endif
