-- Before the check, not timed: the other ways that rows change, so that the check looks at more than INSERT.
UPDATE shop.orders SET status = 'cancelled' WHERE status = 'completed' AND id % 97 = 0;
UPDATE shop.orders SET status = 'completed' WHERE status = 'cancelled' AND id % 89 = 0;
UPDATE shop.orders SET total = total + 2500000 WHERE id % 83 = 0;
UPDATE shop.orders SET customer_id = 1 + (customer_id + 7) % :customers WHERE id % 79 = 0;
DELETE FROM shop.orders AS o
 WHERE o.id % 73 = 0 AND NOT EXISTS (SELECT FROM shop.returns AS r WHERE r.order_id = o.id);
UPDATE shop.returns SET state = 'refused' WHERE id % 3 = 0;
DELETE FROM shop.returns WHERE id % 5 = 0;
UPDATE shop.customers SET deleted_at = now() WHERE id % 71 = 0;
INSERT INTO shop.orders (customer_id, total, status, created_at)
SELECT :customers + i, 4000000, 'completed', now() FROM generate_series(1, 10) AS i;       -- of customers yet to come
INSERT INTO shop.customers (id, full_name, created_at)
SELECT :customers + i, 'Khách hàng ' || :customers + i, now() FROM generate_series(1, 10) AS i;
