-- Shopify's published segment queries, as they stand: the examples of the "Segment query language reference", of the
-- filters' reference guide, of the customer segment templates of its admin extensions, and of ShopifyQL's MATCHES.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
\pset format unaligned
\pset footer off

-- a shop that has in its tables what they ask; its names are its own
CREATE SCHEMA shop;
CREATE TABLE shop.people (id bigint PRIMARY KEY, mail text, labels text[], nation text, province text, town text, born date, made_at timestamptz,
	left_cart_at timestamptz, account text, mails text, texts text, plan text, speaks text, works_for bigint[], made_by bigint, card text);
CREATE TABLE shop.sales (id bigint PRIMARY KEY, person bigint, total numeric, at timestamptz, app bigint, place bigint);
CREATE TABLE shop.sold (sale bigint, product bigint, labels text[], kind text, n integer, amount numeric);
INSERT INTO shop.people VALUES
	(1, 'ann@example.com', '{vip,Wholesale}', 'US', 'US-CA', 'US-CA-LosAngeles', '1990-05-15', '2020-01-01 12:00-05', NULL, 'ENABLED', 'SUBSCRIBED', 'SUBSCRIBED', 'SUBSCRIBER', 'en', NULL, 129785, 'gold'),
	(2, 'bob@gmail.com', '{''VIP''}', 'CA', 'CA-QC', 'CA-QC-Montreal', '1985-05-20', '2020-06-01 12:00-04', '2021-05-10 12:00-04', 'DISABLED', 'SUBSCRIBED', NULL, NULL, 'fr', '{7,8}', NULL, NULL),
	(3, 'cyd@gmail.com', NULL, 'CA', NULL, 'US-NY-NewYorkCity', '1970-06-10', '2021-05-01 12:00-04', '2020-10-01 12:00-04', NULL, 'UNSUBSCRIBED', NULL, NULL, NULL, NULL, NULL, NULL),
	(4, NULL, NULL, 'MX', NULL, NULL, NULL, '2021-05-15 01:00-04', '2021-05-15 09:00-04', 'INVITED', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(5, 'eve@example.com', '{}', NULL, NULL, NULL, '2000-02-29', '2019-01-01 12:00-05', NULL, 'ENABLED', 'SUBSCRIBED', NULL, NULL, NULL, NULL, NULL, NULL),
	(6, 'fay@example.org', NULL, 'FR', NULL, NULL, NULL, '2019-01-01 12:00-05', NULL, 'ENABLED', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO shop.sales VALUES
	(1, 1, 10.99, '2020-05-30 18:00-04', 129785, 1),
	(2, 3, 200, '2021-02-01 10:00-05', 580111, 2), (3, 3, 300, '2021-05-14 10:00-04', 129785, 2),
	(4, 5, 1000.99, '2022-01-01 10:00-05', NULL, NULL),
	(5, 6, 50, '2021-04-15 10:00-04', 129785, 1);
INSERT INTO shop.sales SELECT 10 + g, 2, 100, timestamptz '2021-05-15 10:00-04' - g * interval '20 days', 580111, 1 FROM generate_series(0, 9) g;
INSERT INTO shop.sold VALUES
	(1, 2012162031638, '{Sports wear,sale}', 'shoes', 1, 10.99), (2, 1234, '{}', NULL, 5, 200), (3, 1234, NULL, NULL, 6, 300),
	(4, 1012132033639, '{sports wear}', 'coats', 1, 1000.99), (5, 32421429314657, NULL, NULL, 1, 50), (10, 1012132033639, NULL, 'coats', 1, 100), (11, 1234, NULL, NULL, 1, 100);

-- what is mapped, with a place for every name of Shopify's that a shop can have
SELECT segment.configure(timezone => 'America/New_York', currency => 'USD', country_code => '1', money_unit => 0.01);
SELECT segment.attach_customers('shop.people', key => 'id', email => 'mail', tags => 'labels', country => 'nation', region => 'province', city => 'town',
	birth_date => 'born', added_at => 'made_at', custom => '{"abandoned_checkout_date": "left_cart_at", "customer_account_status": "account",
	"email_subscription_status": "mails", "sms_subscription_status": "texts", "product_subscription_status": "plan", "customer_language": "speaks",
	"companies": "works_for", "created_by_app_id": "made_by::text", "tier": "card"}');
SELECT segment.attach_orders('shop.sales', key => 'id', customer => 'person', amount => 'total', at => 'at', channel => 'app', custom => '{"branch": "place::text"}');
SELECT segment.attach_order_lines('shop.sold', order_key => 'sale', product => 'product', category => 'kind', quantity => 'n', amount => 'amount',
	custom => '{"tag": "labels", "quantity": "n"}');

-- the customers of a query, as C and as SQL find them, or why it is refused; asked on May 15th 2021, as the reference does
CREATE FUNCTION shop.ask(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	asked timestamptz := '2021-05-15 12:00-04';
	condition segment.condition;
	judged text;
	selected text;
	hint text;
BEGIN
	condition := query;
	IF condition::jsonb::segment.condition::text <> condition::text THEN
		RETURN 'comes back from JSON as ' || condition::jsonb::segment.condition;
	END IF;
	judged := (SELECT string_agg(customer_id::text, ' ' ORDER BY customer_id) FROM segment.preview(condition, asked));
	EXECUTE format('SELECT string_agg(x.key::text, '' '' ORDER BY x.key) FROM (%s) x', segment.to_sql(condition, asked)) INTO selected;
	IF judged IS DISTINCT FROM selected OR segment.preview_count(condition, asked) <> coalesce(cardinality(string_to_array(judged, ' ')), 0) THEN
		RETURN format('judged %s, selected %s', judged, selected);
	END IF;
	RETURN coalesce(judged, 'nobody');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN format('%s: %s. %s', SQLSTATE, SQLERRM, hint);
END $$;

CREATE TABLE shop.published (n integer GENERATED ALWAYS AS IDENTITY, source text, query text);
\copy shop.published (source, query) FROM stdin
reference	email_subscription_status = 'SUBSCRIBED'
reference	last_order_date = 2020-05-30
reference	last_order_date >= 2020-05-30T04:00:00 AND last_order_date < 2020-05-31T04:00:00
reference	last_order_date > 2020-05-30
reference	last_order_date != 2020-05-30
reference	last_order_date >= 2020-05-30
reference	last_order_date < 2020-05-30
reference	last_order_date <= 2020-05-30
reference	last_order_date > -7d
reference	last_order_date >= -2w
reference	last_order_date = -1m
reference	last_order_date < -1y
reference	last_order_date BETWEEN 2021-01-01 AND today
reference	last_order_date BETWEEN 2020-01-01 AND -7d
reference	last_order_date = today
reference	last_order_date = yesterday
reference	last_order_date > 2020-05-30T16:00:00
reference	last_order_date > 2020-05-30T20:00:00
reference	customer_account_status = 'DISABLED'
reference	customer_account_status != 'DISABLED'
reference	amount_spent = 10.99
reference	amount_spent != 10.99
reference	amount_spent > 10.99
reference	amount_spent >= 10.99
reference	amount_spent < 10.99
reference	amount_spent <= 10.99
reference	amount_spent BETWEEN 100 AND 1000.99
reference	products_purchased MATCHES (id = 1234, count > 1)
reference	products_purchased (id: 1234) = true
reference	anniversary ('metafields.facts.birth_date') = today
reference	products_purchased NOT MATCHES ()
reference	products_purchased MATCHES (id = 2012162031638)
reference	products_purchased MATCHES (tag = 'Sports wear')
reference	products_purchased MATCHES (id IN (2012162031638, 1012132033639))
reference	products_purchased MATCHES (id = 1012132033639)
reference	products_purchased MATCHES (id IN (1012132033639, 2012162031638, 32421429314657))
reference	products_purchased MATCHES (id NOT IN (1012132033639))
reference	products_purchased MATCHES (id = 1012132033639, date = 2022-01-01)
reference	products_purchased NOT MATCHES (date > -3m)
reference	products_purchased MATCHES (tag = 'Sports wear', date >= -12m)
reference	products_purchased MATCHES (id = 1012132033639, date BETWEEN -12m AND today)
reference	number_of_orders = 10
reference	number_of_orders != 10
reference	number_of_orders > 10
reference	number_of_orders >= 10
reference	number_of_orders < 10
reference	number_of_orders <= 10
reference	number_of_orders BETWEEN 100 AND 1000
reference	customer_tags CONTAINS 'vip'
reference	customer_cities CONTAINS 'US-CA-LosAngeles'
reference	customer_tags NOT CONTAINS 'vip'
reference	customer_cities NOT CONTAINS 'US-CA-LosAngeles'
reference	customer_tags CONTAINS '\\'VIP\\''
reference	customer_email_domain = 'example.com'
reference	customer_email_domain != 'example.com'
reference	email_subscription_status = 'SUBSCRIBED' AND customer_countries CONTAINS 'CA'
reference	email_subscription_status = 'SUBSCRIBED' OR customer_countries CONTAINS 'CA'
reference	email_subscription_status = 'SUBSCRIBED' AND customer_countries CONTAINS 'CA' OR amount_spent > 999.99
reference	(email_subscription_status = 'SUBSCRIBED' AND customer_countries CONTAINS 'CA') OR amount_spent > 999.99
reference	email_subscription_status = 'SUBSCRIBED' AND (customer_countries CONTAINS 'CA' OR amount_spent > 999.99)
filters	abandoned_checkout_date >= 7_days_ago
filters	abandoned_checkout_date > -8m
filters	abandoned_checkout_date = today
filters	abandoned_checkout_date = yesterday
filters	abandoned_checkout_date >= 30_days_ago
filters	abandoned_checkout_date >= 90_days_ago
filters	abandoned_checkout_date >= 12_months_ago
filters	abandoned_checkout_date IS NULL
filters	abandoned_checkout_date IS NOT NULL
filters	anniversary(date: 'metafields.facts.birth_date') = today
filters	anniversary(date: 'metafields.facts.birth_date') BETWEEN today AND +7d
filters	anniversary(date: 'metafields.facts.birth_date') BETWEEN today AND +30d
filters	amount_spent BETWEEN 1 AND 999.99
filters	amount_spent BETWEEN 1 AND 100
filters	customer_cities CONTAINS 'US-NY-NewYorkCity'
templates	number_of_orders > 0
templates	companies IS NOT NULL
templates	customer_cities CONTAINS 'US-NY-NewYorkCity'
MATCHES	products_purchased(quantity: 5) = true
MATCHES	products_purchased MATCHES (quantity = 5)
MATCHES	products_purchased MATCHES (quantity != 5)
MATCHES	products_purchased MATCHES (quantity > 5)
MATCHES	orders_placed MATCHES (date > '2021-01-01')
MATCHES	products_purchased NOT MATCHES (date > '2021-01-01')
MATCHES	orders_placed MATCHES (date > '2021-01-01', count >= 5)
\.
SELECT source, query, shop.ask(query) AS customers FROM shop.published ORDER BY n;

-- refused there, good here: more than ten clauses, one parameter twice
SELECT shop.ask($$customer_countries CONTAINS 'CA' OR customer_countries CONTAINS 'FR' OR customer_countries CONTAINS 'MX' OR customer_countries CONTAINS 'AU' OR customer_countries CONTAINS 'AX' OR customer_countries CONTAINS 'AZ' OR customer_countries CONTAINS 'FI' OR customer_countries CONTAINS 'BE' OR customer_countries CONTAINS 'TH' OR customer_countries CONTAINS 'ES' OR customer_countries CONTAINS 'BR'$$);
SELECT shop.ask($$orders_placed MATCHES (date > '2020-01-01', date < '2020-06-01')$$);

-- other names and parameters of Shopify's
\copy shop.published (source, query) FROM stdin
names	companies = 7
names	companies CONTAINS 8
names	created_by_app_id = 129785
names	customer_language = 'fr'
names	customer_regions CONTAINS 'CA-QC'
names	customer_added_date > -30d
names	first_order_date < 2021-01-01
names	product_subscription_status = 'SUBSCRIBER'
names	sms_subscription_status = 'SUBSCRIBED'
names	orders_placed MATCHES (app_id = 129785, sum_amount >= 50)
names	orders_placed MATCHES (location_id = 2, amount >= 300)
names	orders_placed MATCHES (location_id IN (2, 3), count >= 2)
names	products_purchased MATCHES (category = 'coats', sum_quantity >= 1, location_id = 1)
names	'metafields.loyalty.tier' = 'gold'
\.
SELECT query, shop.ask(query) AS customers FROM shop.published WHERE source = 'names' ORDER BY n;

-- What cannot run, and why: a day that does not exist; no time alone; placeholders of templates; mails, visits, distances,
-- predictions, credit: only Shopify knows those; no query of segments (double quotes, anniversary with MATCHES).
\copy shop.published (source, query) FROM stdin
refused	last_order_date BETWEEN 2020-02-30 AND 2020-03-30
refused	last_order_date BETWEEN 1pm AND 3pm
refused	boolean_attribute = true
refused	products_purchased(id: (product_id)) = true
refused	products_purchased(tag: (product_tag)) = true
refused	number_of_orders = 1 AND products_purchased(id: (product_id)) = true
refused	customer_within_distance(coordinates: (40.7, -74.0), distance_mi: 6.2) = true
refused	shopify_email.opened MATCHES ()
refused	shopify_email.opened() = true
refused	shopify_email.opened MATCHES (activity_id = 5240029206)
refused	shopify_email.opened NOT MATCHES (activity_id = 5240029206)
refused	shopify_email.delivered MATCHES (activity_id = 5240029206)
refused	shopify_email.opened MATCHES (activity_id IN (5240029206, 1932881090, 3250045832))
refused	shopify_email.unsubscribed MATCHES (activity_id IN (5240029206))
refused	shopify_email.delivered MATCHES (activity_id = 5240029206, date = 2022-01-01)
refused	shopify_email.marked_as_spam MATCHES (activity_id = 5240029206, date > -3m)
refused	shopify_email.bounced NOT MATCHES (activity_id = 5240029206, date BETWEEN -12m AND today)
refused	shopify_email.opened MATCHES (activity_id = 5240029206, date > '2025-01-01')
refused	shopify_email.clicked MATCHES (date > -30d)
refused	storefront_event.product_viewed MATCHES (id = 1234567890, date > -7d)
refused	storefront_event.collection_viewed MATCHES (id = 987654321)
refused	storefront.product_viewed MATCHES (count > 3)
refused	storefront.collection_viewed MATCHES ()
refused	store_credit_accounts MATCHES (balance > 0)
refused	predicted_spend_tier = 'HIGH'
refused	rfm_group = 'CHAMPIONS'
refused	last_abandoned_order_date > -7d
refused	anniversary MATCHES ('metafields.facts.birth_date') BETWEEN today AND +30d
refused	customer.metafields.loyalty.tier = "gold"
\.
SELECT query, shop.ask(query) AS why FROM shop.published WHERE source = 'refused' ORDER BY n;

-- A template whose placeholder is filled runs.
SELECT shop.ask('number_of_orders = 1 AND products_purchased(id: (2012162031638)) = true');

-- Without those columns each name is refused with what to map.
SELECT segment.detach('shop.sold'), segment.detach('shop.sales'), segment.detach('shop.people');
SELECT segment.attach_customers('shop.people', key => 'id');
SELECT segment.attach_orders('shop.sales', key => 'id', customer => 'person', amount => 'total', at => 'at');
SELECT segment.attach_order_lines('shop.sold', order_key => 'sale');
SELECT q AS query, shop.ask(q) AS why FROM unnest(ARRAY['abandoned_checkout_date IS NULL', 'companies IS NULL', 'created_by_app_id = 1', 'customer_account_status = ''ENABLED''',
	'customer_added_date = today', 'customer_cities IS NULL', 'customer_countries IS NULL', 'customer_email_domain IS NULL', 'customer_language = ''en''',
	'customer_regions IS NULL', 'customer_tags IS NULL', 'email_subscription_status = ''SUBSCRIBED''', 'product_subscription_status = ''SUBSCRIBER''',
	'sms_subscription_status = ''SUBSCRIBED''', 'anniversary(date: ''metafields.facts.birth_date'') = today', 'orders_placed MATCHES (app_id = 1)',
	'orders_placed MATCHES (location_id = 1)', 'products_purchased MATCHES (id = 1)', 'products_purchased MATCHES (tag = ''a'')',
	'products_purchased MATCHES (quantity = 1)', 'products_purchased MATCHES (sum_amount > 1)', 'products_purchased MATCHES (location_id = 1)']) q;

DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
