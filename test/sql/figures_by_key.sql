-- Figures of some customers, by key: those of the whole reading, and when time
-- may change them. Random shops and conditions: test/t/random_figures.pl.
\pset format unaligned
\pset tuples_only on
\pset null none
SET datestyle = 'ISO, DMY';
SET timezone = 'Asia/Ho_Chi_Minh';
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh');

-- the owner of the shop has no right on the schema "segment"
CREATE ROLE regress_figures_merchant;
CREATE SCHEMA shop AUTHORIZATION regress_figures_merchant;
SET ROLE regress_figures_merchant;
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, born date, tags text[], deleted boolean NOT NULL DEFAULT false);
CREATE TABLE shop.orders (id int, part int, customer_id int, total numeric, at timestamptz, channel varchar(20), flags text[], promised date, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE shop.orders_1 PARTITION OF shop.orders FOR VALUES IN (1);
CREATE TABLE shop.orders_2 PARTITION OF shop.orders FOR VALUES IN (2);
CREATE TABLE shop.lines (id int PRIMARY KEY, order_id int, sku text, kind text, qty int);
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int, customer_id int, amount numeric, at timestamptz);
CREATE TABLE shop.points (id int PRIMARY KEY, customer_id int, points int, at timestamptz, usable timestamptz, gone timestamptz);
INSERT INTO shop.customers SELECT i, 'Customer ' || i, date '1990-03-01' + i, ARRAY['t' || i % 3], i = 3 FROM generate_series(0, 40) i;
-- every tenth key is there in both partitions, with another customer
INSERT INTO shop.orders SELECT i, 1, i % 41, i, timestamptz '2026-01-01' + i * interval '5 hours',
	(ARRAY['POS', 'pos ', 'Web', NULL, ''])[1 + i % 5], CASE i % 3 WHEN 0 THEN ARRAY['Gift', 'a,"b'] WHEN 1 THEN ARRAY[NULL, 'x'] END, date '2026-03-01' + i % 90
	FROM generate_series(1, 400) i;
INSERT INTO shop.orders SELECT i * 10, 2, (i * 10 + 7) % 41, i, timestamptz '2026-01-15' + i * interval '2 days', 'pos', NULL, NULL FROM generate_series(1, 40) i;
INSERT INTO shop.lines SELECT i, 1 + i % 400, 'sku' || i % 9, (ARRAY['Trà', 'cà phê'])[1 + i % 2], 1 + i % 3 FROM generate_series(1, 900) i;
INSERT INTO shop.returns SELECT i, CASE WHEN i % 4 > 0 THEN i * 3 END, CASE WHEN i % 3 = 0 THEN i % 41 END, 5, timestamptz '2026-02-01' + i * interval '1 day' FROM generate_series(1, 130) i;
INSERT INTO shop.points VALUES
	(1, 1, 100, '2026-01-01 10:00', NULL, '2026-05-10 08:30'), (2, 1, 50, '2026-03-01', '2026-05-02 12:00', NULL), (3, 1, -30, '2026-02-01', NULL, NULL),
	(4, 2, 10, '2026-01-01', NULL, '2026-01-31'), (5, 4, 7, '2027-01-01', NULL, NULL);
RESET ROLE;
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', birth_date => 'born', tags => 'tags', counted_when => 'NOT deleted', anonymous => '{0}');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', channel => 'channel', custom => '{"flags": "flags", "promised": "promised"}');
SELECT segment.attach_order_lines('shop.lines', key => 'id', order_key => 'order_id', product => 'sku', category => 'kind', quantity => 'qty');
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', customer => 'customer_id', amount => 'amount', at => 'at');
SELECT segment.attach_points('shop.points', customer => 'customer_id', points => 'points', at => 'at', valid_from => 'usable', expires_at => 'gone');
SELECT has_schema_privilege('regress_figures_merchant', 'segment', 'USAGE');
CREATE FUNCTION by_key(condition text, at timestamptz, keys text[] DEFAULT '{0,1,2,3,4,5,77}') RETURNS TABLE (key text, figure text, value text, next_change timestamptz) LANGUAGE sql AS
	$$ SELECT f.key, f.figure, f.value, f.next_change FROM segment._figures_of(condition::segment.condition, keys, at) f $$;

-- who does not count is not there; 2 February is 30 days before 4 March
SELECT * FROM by_key('number_of_orders(date >= -30d) > 0 AND name = ''x'' AND tags CONTAINS ''x''', '2026-03-04 09:00');
-- a text is compared folded, a list by its elements, a missing one as the clause says
SELECT * FROM by_key('number_of_orders(channel = ''pos'') > 0', '2026-03-04 09:00', '{1}');
SELECT * FROM by_key('number_of_orders(channel = ''pos'') > 0 OR number_of_orders(channel != ''pos'') > 0 OR number_of_orders(channel IS NULL) > 0 OR number_of_orders(channel HAS WORD ''web'') > 0', '2026-03-04', '{1,2}');
SELECT * FROM by_key('number_of_orders(flags CONTAINS ''gift'') > 0 OR number_of_orders(flags NOT CONTAINS ''A,"B'') > 0 OR number_of_orders(flags IS NULL) > 0', '2026-03-04', '{1,2}');
SELECT * FROM by_key('products_purchased MATCHES (category = ''tra'') OR products_purchased MATCHES (unaccented(category) HAS WORD ''tra'', sum_quantity >= 2) OR products_purchased MATCHES (id = ''sku3'')', '2026-03-04', '{1,2}');

-- to the instant: what may be used, what expires; windows that move over what expires
SELECT * FROM by_key('points > 0 AND points_expiring(date <= +30d) > 0 AND points_expiring(date DURING this_month) > 0', '2026-04-01 10:00', '{1,2,4,5}');
SELECT * FROM by_key('points > 0 AND points_expiring(date <= +30d) > 0', '2026-05-02 12:00', '{1}');
SELECT * FROM by_key('points > 0 AND points_expiring(date <= +30d) > 0', '2026-05-10 08:30', '{1}');
-- other things that move
SELECT * FROM by_key('monthly_total > 0 AND monthly_average > 0 AND monthly_average(months = 2) > 0 AND age > 1 AND number_of_orders(promised BETWEEN today AND +7d) > 0 AND number_of_orders(date IN (-1d, -2d, -3d, -4d, -5d, -6d, -7d, -8d, -9d, today)) > 0', '2026-03-04 09:00', '{1,2}');
-- and what does not
SELECT * FROM by_key('number_of_orders(date >= 2026-02-01) > 0 AND amount_spent > 0 AND first_order_date < -1d AND days_since_last_order > 1 AND number_of_orders(date >= -3d) > 0', '2026-08-01', '{1}');

-- days that come again are no plain SQL
SELECT segment.configure(timezone => 'America/St_Johns');
SELECT * FROM by_key('number_of_orders(anniversary(date) = today) > 0 OR number_of_orders(anniversary(date) BETWEEN -3d AND +3d, date >= -30d) > 0', '2026-03-04 18:00', '{1,2}');
SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh');

-- more than one query, more texts than are remembered; keys that repeat over partitions; each as in the whole reading
GRANT USAGE ON SCHEMA segment TO regress_figures_merchant;
CREATE FUNCTION differences(condition text, at timestamptz) RETURNS TABLE (figures bigint, different bigint) LANGUAGE sql AS $$
	SELECT count(*), count(*) FILTER (WHERE a.value IS DISTINCT FROM b.value OR a.key IS NULL OR b.key IS NULL)
	FROM segment._figures_of(condition::segment.condition, (SELECT array_agg(i::text) FROM generate_series(0, 45) i), at) a
		FULL JOIN segment._figures_of(condition::segment.condition, NULL, at) b USING (key, slot) $$;
SELECT d.* FROM (SELECT string_agg(format('amount_spent(date >= -%sd%s) > 1', i, CASE WHEN i % 3 = 0 THEN ', channel = ''web''' END), ' OR ') AS c FROM generate_series(1, 210) i) t, differences(c, '2026-03-04') d;
SELECT * FROM differences('items_bought(channel = ''pos'') > 1 OR items_bought > 1 OR items_bought(id = ''sku3'', date >= -30d) > 1 OR number_of_returns(flags CONTAINS ''gift'') > 1 OR amount_returned > 1 OR amount_spent(channel = ''pos'') > 1 OR amount_spent > 1', '2026-03-04');
UPDATE shop.orders SET channel = 'c' || id, flags = ARRAY['f' || id];
INSERT INTO shop.orders SELECT i, 1, i % 41, 1, '2026-03-01', 'd' || i, ARRAY['g' || i], NULL FROM generate_series(1001, 2200) i;
SELECT * FROM differences('number_of_orders(channel ENDS WITH ''7'') > 1 OR number_of_orders(flags CONTAINS ''g2000'') > 0 OR items_bought(channel = ''c17'') > 0', '2026-03-04');

-- one owner reads for all; where there are several nobody does
CREATE ROLE regress_figures_other;
ALTER TABLE shop.points OWNER TO regress_figures_other;
SELECT * FROM by_key('points > 0', '2026-04-01 10:00', '{1}');

DROP FUNCTION by_key, differences;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP ROLE regress_figures_merchant, regress_figures_other;
CREATE EXTENSION segment;
