-- What the extension keeps, in the shape of "expected".
CREATE TEMPORARY VIEW kept AS
SELECT f.customer_id, f.number_of_orders, trim_scale(f.amount_ordered) AS amount_ordered, f.first_order_at,
       f.last_order_at, f.number_of_returns, trim_scale(f.amount_returned) AS amount_returned, t.tier
  FROM segment.facts AS f
  LEFT JOIN segment.customer_tiers AS t ON t.customer_id = f.customer_id AND t.ladder = 'total'
 WHERE f.is_customer;

CREATE TEMPORARY VIEW logged AS
SELECT customer_id, row_number() OVER (PARTITION BY customer_id ORDER BY version) AS nth, kind, action, old_tier, new_tier,
       trim_scale(old_value) AS old_value, trim_scale(new_value) AS new_value, cause
  FROM segment.changes
 WHERE cause IN ('order', 'return');
