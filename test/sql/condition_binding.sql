-- What a condition asks is looked up when it is used: every name, operator and value that does not fit this shop is
-- refused with the place in the condition's text, the clause, and what to write or to map instead.
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';

-- no shop yet
SELECT segment.preview_count('TRUE');

-- a shop that has customers and nothing else
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, full_name text, born date, joined timestamptz, gender text, province text, labels text[],
	credit integer, vip boolean, spoken text);
INSERT INTO shop.customers VALUES (1, 'Nguyễn Văn An', '1990-02-28', '2026-01-01', 'nam', 'Hà Nội', '{vip}', 5, true, 'vi');
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', birth_date => 'born', member_since => 'joined', sex => 'gender',
	region => 'province', tags => 'labels', custom => '{"credit_limit": "credit", "is_vip": "vip", "customer_language": "spoken"}');

-- names
SELECT segment.preview_count('amount_spnt > 5');
SELECT segment.preview_count('custom.credit_limt > 5');
SELECT segment.preview_count('credit_limt > 5');
SELECT segment.preview_count('quite_something_else > 5');
SELECT segment.preview_count('age >= 18 AND (sex = ''male'' OR NOT agee < 65)');
SELECT segment.preview_count('''Credit Limit'' > 5');
SELECT segment.preview_count('age > 2 * yars');
SELECT segment.preview_count('orders_plcaed MATCHES (date >= -30d)');
SELECT segment.preview_count('anniversary(birthdate) = today');
SELECT segment.preview_count('credit_limit = 5 AND custom.credit_limit = 5 AND is_vip = TRUE');

-- what nothing feeds, and what to map
SELECT segment.preview_count('email IS NULL');
SELECT segment.preview_count('email_domain = ''gmail.com''');
SELECT segment.preview_count('customer_cities CONTAINS ''Huế''');
SELECT segment.preview_count('customer_added_date > -30d');
SELECT segment.preview_count('number_of_orders = 0');
SELECT segment.preview_count('amount_returned > 5');
SELECT segment.preview_count('points > 5');
SELECT segment.preview_count('points_expiring(date <= +30d) > 5');
SELECT segment.preview_count('offers_used MATCHES ()');
SELECT segment.preview_count('products_purchased MATCHES (id = ''A'')');
SELECT segment.preview_count('tier >= ''gold''');
SELECT segment.to_sql('orders_placed MATCHES ()');
SELECT * FROM segment.preview('orders_placed MATCHES ()');

-- Shopify's names: what a shop can have is mapped, what only Shopify has is refused
SELECT segment.preview_count('customer_language = ''VI''');
SELECT segment.preview_count('email_subscription_status = ''SUBSCRIBED''');
SELECT segment.preview_count('abandoned_checkout_date >= -7d');
SELECT segment.preview_count('companies IS NOT NULL');
SELECT segment.preview_count('shopify_email.opened MATCHES (activity_id = 5240029206)');
SELECT segment.preview_count('predicted_spend_tier = ''HIGH''');
SELECT segment.preview_count('rfm_group = ''CHAMPIONS''');
SELECT segment.preview_count('store_credit_accounts MATCHES (balance > 0)');
SELECT segment.preview_count('customer_within_distance(coordinates: (21.0, 105.8), distance_km: 10) = true');
SELECT segment.preview_count('''metafields.loyalty.card'' = ''A1''');

-- of the order at hand: in promotions only
SELECT segment.preview_count('order.amount >= 500000');
SELECT segment.preview_count('order.products CONTAINS ''A''');

-- operators that are not for this type
SELECT segment.preview_count('age CONTAINS ''1''');
SELECT segment.preview_count('name >= ''N''');
SELECT segment.preview_count('birth_date STARTS WITH ''19''');
SELECT segment.preview_count('age DURING this_month');
SELECT segment.preview_count('tags HAS WORD ''vip''');
SELECT segment.preview_count('tags BETWEEN ''a'' AND ''b''');
SELECT segment.preview_count('name CONTAINS ALL (''a'', ''b'')');
SELECT segment.preview_count('is_vip > FALSE');
SELECT segment.preview_count('is_vip IN (TRUE, FALSE)');
SELECT segment.preview_count('unaccented(tags) CONTAINS ''vip''');
SELECT segment.preview_count('anniversary(age) = today');
SELECT segment.preview_count('age MATCHES (date >= -30d)');
SELECT segment.preview_count('credit_limit MATCHES (date >= -30d)');
SELECT segment.preview_count('anniversary(member_since) = 2026-02-28T13:00:00');

-- values that are not of this type
SELECT segment.preview_count('age > ''18''');
SELECT segment.preview_count('age = today');
SELECT segment.preview_count('name = 5');
SELECT segment.preview_count('name = TRUE');
SELECT segment.preview_count('is_vip = ''yes''');
SELECT segment.preview_count('is_vip = 1');
SELECT segment.preview_count('birth_date > 1990');
SELECT segment.preview_count('birth_date > ''in May''');
SELECT segment.preview_count('birth_date > ''1990-02-30''');
SELECT segment.preview_count('birth_date > ''1990-01-31''');
SELECT segment.preview_count('birth_date > 1990-01-31T13:00:00');
SELECT segment.preview_count('member_since > 2025-12-31T17:00:00');
SELECT segment.preview_count('name = 2026-01-31');
SELECT segment.preview_count('tags CONTAINS -30d');
SELECT segment.preview_count('sex = ''other''');
SELECT segment.preview_count('sex IN (''Nam'', ''f'')');
SELECT segment.preview_count('groups CONTAINS ''wholesale''');
SELECT segment.preview_count('age > birth_date');
SELECT segment.preview_count('name = given_name');
SELECT segment.preview_count('birth_date > 2 * member_since');

-- parentheses
SELECT segment.preview_count('age(date >= -30d) > 5');
SELECT segment.preview_count('custom.credit_limit(date >= -30d) > 5');

-- the rest of the shop
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz, branch text);
CREATE TABLE shop.lines (order_id bigint, sku text, qty integer);
CREATE TABLE shop.returns (id bigint PRIMARY KEY, order_id bigint, amount numeric, at timestamptz);
CREATE TABLE shop.points (id bigint PRIMARY KEY, customer_id bigint, delta integer, at timestamptz);
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', custom => '{"branch": "branch"}');
SELECT segment.preview_count('items_bought > 5');
SELECT segment.attach_order_lines('shop.lines', order_key => 'order_id', quantity => 'qty');
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount', at => 'at');
SELECT segment.attach_points('shop.points', key => 'id', customer => 'customer_id', points => 'delta', at => 'at');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('silver', 'Silver', 100, 999), ('gold', 'Gold', 1000, NULL);

-- tiers and ladders
SELECT segment.preview_count('tier = ''god''');
SELECT segment.preview_count('tier IN (''silver'', ''platinum'')');
SELECT segment.preview_count('tier = 5');
SELECT segment.preview_count('tier STARTS WITH ''g''');
SELECT segment.preview_count('tier(ladder = ''totl'') = ''gold''');
SELECT segment.preview_count('tier(''total'') = ''gold''');
SELECT segment.preview_count('tier(ladder = 5) = ''gold''');
SELECT segment.preview_count('tier(ladder = ''total'', ladder = ''total'') = ''gold''');
BEGIN;
UPDATE segment.ladders SET is_default = false;
SELECT segment.preview_count('tier = ''gold''');
ROLLBACK;

-- figures that add up events, and their fields
SELECT segment.preview_count('amount_spent(day >= -30d) > 5');
SELECT segment.preview_count('amount_spent(chanel = ''pos'') > 5');
SELECT segment.preview_count('amount_spent(channel = ''pos'') > 5');
SELECT segment.preview_count('amount_spent(count >= 3) > 5');
SELECT segment.preview_count('amount_spent(amount > ''5'') > 5');
SELECT segment.preview_count('amount_spent(date CONTAINS ''5'') > 5');
SELECT segment.preview_count('first_order_date(branch = ''HN1'') > -30d');
SELECT segment.preview_count('monthly_total(date >= -30d) > 5');
SELECT segment.preview_count('monthly_average(months = 0) > 5');
SELECT segment.preview_count('monthly_average(months = 2.5) > 5');
SELECT segment.preview_count('monthly_average(date >= -30d) > 5');
SELECT segment.preview_count('items_returned > 5');
SELECT segment.preview_count('points_expiring(points > 5) > 5');
-- one span of days: nothing that leaves some out, no time of day
SELECT segment.preview_count('points_expiring(date != today) > 5');
SELECT segment.preview_count('points_expiring(date IN (today, tomorrow)) > 5');
SELECT segment.preview_count('points_expiring(date NOT BETWEEN today AND +30d) > 5');
SELECT segment.preview_count('points_expiring(date NOT DURING this_month) > 5');
SELECT segment.preview_count('points_expiring(date IS NULL) > 5');
SELECT segment.preview_count('points_expiring(date IS NOT NULL) > 5');
SELECT segment.preview_count('points_expiring(date >= today, anniversary(date) = today) > 5');
SELECT segment.preview_count('points_expiring(date < 2026-12-31T12:00:00) > 5');
SELECT segment.preview_count('points_expiring > 5 OR points_expiring(date > today, date <= +30d) > 5 OR points_expiring(date DURING next_month) > 5');

-- events
SELECT segment.preview_count('orders_placed > 5');
SELECT segment.preview_count('orders_placed IS NULL');
SELECT segment.preview_count('age > orders_placed');
SELECT segment.preview_count('age >= 18 AND orders_placed MATCHES (date >= -30d, amont > 500000)');
SELECT segment.preview_count('orders_placed MATCHES (items > 3)');
SELECT segment.preview_count('orders_placed MATCHES (location_id = ''HN1'', color = ''red'')');
SELECT segment.preview_count('channel = ''pos''');
SELECT segment.preview_count('branch = ''HN1''');
SELECT segment.preview_count('orders_placed MATCHES (amount > number_of_orders)');
SELECT segment.preview_count('orders_placed MATCHES (sum_amount CONTAINS ''5'')');
SELECT segment.preview_count('orders_placed MATCHES (anniversary(amount) = today)');
SELECT segment.preview_count('orders_placed MATCHES (anniversary(branch) = today)');
SELECT segment.preview_count('orders_placed MATCHES (date < today, anniversary(date) BETWEEN -3d AND +3d) OR amount_spent(anniversary(date) NOT DURING this_month) > 5');
SELECT segment.preview_count('products_purchased MATCHES (id = 7)');
SELECT segment.preview_count('products_purchased MATCHES (category = ''shoes'')');
SELECT segment.preview_count('products_purchased MATCHES (tag = ''sale'')');
SELECT segment.preview_count('products_purchased MATCHES (quantity > 5)');
SELECT segment.preview_count('products_purchased MATCHES (sum_amount > 5)');
SELECT segment.preview_count('returns_made MATCHES (sum_quantity > 5)');
SELECT segment.preview_count('returns_made MATCHES (id = 7)');
SELECT segment.preview_count('points_earned MATCHES (sum_points > 5, expires > today)');

-- A figure shows as it is written, also one that is derived; sexes show as they are read.
UPDATE shop.customers SET full_name = 'Nguyễn Văn  ÂN';
SELECT figures FROM segment.preview('given_name = ''ân'' AND name ENDS WITH ''văn ân'' AND sex = ''male'' AND region IS NOT NULL');
SELECT segment.configure(given_name => 'first');
SELECT figures FROM segment.preview('given_name = ''nguyen'' OR given_name = ''NGUYỄN''');
SELECT name, value, given FROM segment.configuration WHERE name = 'given_name';
SELECT segment.configure(given_name => 'last');

-- any number of clauses, but not of different figures
SELECT segment.preview_count(string_agg('amount_spent(date >= -' || i % 50 || 'd) >= ' || i, ' OR ')::segment.condition) FROM generate_series(1, 10000) i;
SELECT segment.preview_count(string_agg('amount_spent(date >= -' || i || 'd) >= 0', ' AND ')::segment.condition) FROM generate_series(1, 1601) i;

-- periods of a ladder
SELECT segment.preview_count('last_order_date DURING last_period');
SELECT segment.preview_count('amount_spent(date DURING period(-2)) > 5');

-- The place is counted in the condition's one form, wherever it came from: text typed otherwise, or a rule tree.
SELECT segment.preview_count('  AGE>=18   and   ((chanel = 1))');
SELECT segment.preview_count('{"combinator": "and", "rules": [{"field": "age", "operator": ">=", "value": 18}, {"field": "chanel", "operator": "=", "value": 1}]}'::jsonb::segment.condition);
SELECT segment.preview_count('name = ''Nguyễn Đình Hoà'' AND chanel = 1');

DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
