-- An order of 5,000,000 of one mover after the other, in scattered order: moves each one up a tier.  In: :i, :steady, :movers, :seed.
\set customer :steady + 1 + permute(:i % :movers, :movers, :seed)
\set i :i + 1
\set total 5000000
INSERT INTO shop.orders (customer_id, total, status, created_at) VALUES (:customer, :total, 'completed', now());
