-- Between rounds, not timed: the movers return what they bought, and stand where they stood.
INSERT INTO shop.returns (order_id, refund, state, created_at)
SELECT o.id, o.total, 'settled', now()
  FROM shop.orders AS o
 WHERE o.customer_id > :steady AND o.total = 5000000 AND o.status = 'completed'
   AND NOT EXISTS (SELECT FROM shop.returns AS r WHERE r.order_id = o.id)
 ORDER BY o.id;
