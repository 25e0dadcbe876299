-- What the hand-written triggers keep, in the shape of "expected".
CREATE TEMPORARY VIEW kept AS
SELECT customer_id, number_of_orders, trim_scale(amount_ordered) AS amount_ordered, first_order_at,
       last_order_at, number_of_returns, trim_scale(amount_returned) AS amount_returned, tier
  FROM crm.customer_totals
 WHERE is_customer;

CREATE TEMPORARY VIEW logged AS
SELECT customer_id, row_number() OVER (PARTITION BY customer_id ORDER BY version) AS nth, kind, action, old_tier, new_tier,
       trim_scale(old_value) AS old_value, trim_scale(new_value) AS new_value, cause
  FROM crm.changes
 WHERE cause IN ('order', 'return');
