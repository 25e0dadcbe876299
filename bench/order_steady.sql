-- A small order of a random steady customer: moves nobody.  In: :steady.
\set customer random(1, :steady)
\set total random(1, 20) * 1000
INSERT INTO shop.orders (customer_id, total, status, created_at) VALUES (:customer, :total, 'completed', now());
