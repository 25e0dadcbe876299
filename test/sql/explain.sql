-- Why a customer satisfies a condition or does not, clause by clause, with the value found and the instant at which
-- time alone may change that; who would enter or leave a group; who is in on a day to come.
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'Asia/Ho_Chi_Minh';
SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh');

CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, full_name text, born date, joined timestamptz, labels text[], vip boolean, renewal date, deleted boolean NOT NULL DEFAULT false);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz, channel text);
INSERT INTO shop.customers VALUES
	(0, 'Walk-in', NULL, NULL, NULL, NULL, NULL, false),
	(1, 'Nguyễn Văn An', '1990-02-28', '2026-01-01 09:30+07', '{vip,b2b}', true, '2026-06-10', false),
	(2, 'Trần Thị Dũng', '2004-02-29', '2024-03-31 00:00+07', '{}', NULL, '2026-12-31', false),
	(3, 'Lê Lâm', NULL, NULL, NULL, false, NULL, false),
	(4, 'Gone', '1990-01-01', NULL, NULL, NULL, NULL, true);
INSERT INTO shop.orders VALUES
	(1, 1, 100, '2026-05-01 10:00+07', 'pos'), (2, 1, 250.50, '2026-05-20 23:30+07', 'web'),
	(3, 2, 40, '2026-03-31 12:00+07', 'pos'), (4, 0, 9, '2026-05-05 12:00+07', 'pos');
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', birth_date => 'born', member_since => 'joined', tags => 'labels',
	anonymous => '{0}', counted_when => 'NOT deleted', custom => '{"is_vip": "vip", "renewal": "renewal"}');
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at', key => 'id', channel => 'channel');
CREATE FUNCTION pg_temp.shown(c segment.condition, who bigint, at timestamptz) RETURNS TABLE (clause text, holds boolean, value text, changes_at timestamptz)
LANGUAGE sql AS $$ SELECT repeat('  ', e.depth) || e.clause, e.holds, e.value, e.changes_at FROM segment.explain_condition(c, who, at) e $$;

-- a tree: what is combined comes before its parts, each clause in its one form, with the value found
SELECT * FROM segment.explain_condition($$amount_spent >= 300 AND NOT (name HAS WORD 'dũng' OR tags CONTAINS 'blocked') AND orders_placed MATCHES (date >= -30d, count >= 2)$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$TRUE$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$given_name = 'an' OR FALSE OR tags = 'none' OR is_vip = TRUE OR renewal DURING this_month OR member_since < 2026-01-01T10:00:00 OR average_order_value > 3$$, 1, '2026-05-30 12:00+07');
-- missing values hold nothing, and are shown as NULL; counts and sums over nothing are 0
SELECT * FROM pg_temp.shown($$age >= 18 OR renewal > today OR tags IS NULL OR last_order_date IS NULL OR number_of_orders = 0 OR days_since_last_order > 30 OR average_order_value IS NULL OR is_vip != TRUE$$, 3, '2026-05-30 12:00+07');
-- what MATCHES adds up, and two figures side by side
SELECT * FROM pg_temp.shown($$orders_placed MATCHES (channel = 'pos') OR orders_placed NOT MATCHES (channel = 'pos', count >= 2) OR orders_placed MATCHES (sum_amount > 300, count = 2) OR amount_spent > 2 * amount_ordered(channel = 'web') OR renewal > first_order_date$$, 1, '2026-05-30 12:00+07');
-- tiers
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES ('total', 'member', 'Member', 0, 349), ('total', 'gold', 'Gold', 350, NULL);
SELECT * FROM pg_temp.shown($$tier >= 'gold' OR tier = 'member'$$, 1, NULL);
SELECT * FROM pg_temp.shown($$tier >= 'gold' OR tier = 'member'$$, 3, NULL);

-- who decides when: all parts of an AND that holds, the last to turn of those that fail one
SELECT * FROM pg_temp.shown($$last_order_date >= -30d AND renewal >= today$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$last_order_date < -30d AND renewal < today$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$last_order_date < -30d OR renewal < today$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$last_order_date >= -30d OR renewal >= today$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$NOT (last_order_date >= -30d AND name = 'x')$$, 1, '2026-05-30 12:00+07');

-- clauses over dates: the day on which the verdict turns
CREATE TABLE pg_temp.asked (n serial, condition segment.condition, who bigint, at timestamptz);
INSERT INTO pg_temp.asked (condition, who, at) VALUES
	('renewal = today', 1, '2026-05-30 12:00+07'), ('renewal = today', 1, '2026-06-10 00:00+07'), ('renewal = today', 1, '2026-06-11 00:00+07'),
	('renewal != tomorrow', 1, '2026-05-30 12:00+07'), ('renewal > yesterday', 1, '2026-05-30 12:00+07'), ('renewal <= +7d', 1, '2026-05-30 12:00+07'),
	('renewal <= +7d', 1, '2026-06-03 12:00+07'), ('renewal BETWEEN today AND +7d', 1, '2026-05-30 12:00+07'), ('renewal BETWEEN today AND +7d', 1, '2026-06-05 12:00+07'),
	('renewal IN (today, 2026-06-10)', 1, '2026-05-30 12:00+07'), ('renewal IN (today, +2w, -1m)', 1, '2026-05-30 12:00+07'), ('renewal IN (today, tomorrow)', 1, '2026-06-09 12:00+07'),
	('renewal DURING next_month', 1, '2026-04-30 12:00+07'), ('renewal DURING this_month', 1, '2026-05-30 12:00+07'), ('renewal NOT DURING last_month', 1, '2026-07-31 23:59+07'),
	('renewal DURING this_week', 1, '2026-06-07 23:59+07'), ('renewal DURING this_week', 1, '2026-06-14 12:00+07'), ('renewal DURING last_week', 1, '2026-06-14 12:00+07'),
	('renewal DURING next_year', 2, '2024-12-31 12:00+07'), ('renewal DURING this_year', 2, '2026-12-31 12:00+07'), ('renewal DURING last_quarter', 2, '2026-12-31 12:00+07'),
	('renewal > -1m', 2, '2027-01-30 12:00+07'), ('renewal >= -1m', 2, '2027-01-30 12:00+07'), ('member_since < -1m', 2, '2024-04-29 12:00+07'), ('member_since <= -1m', 2, '2024-04-29 12:00+07'),
	('member_since <= -1m', 2, '2024-04-30 12:00+07'), ('member_since < -2y', 2, '2026-03-30 12:00+07'), ('birth_date <= -18y', 2, '2022-02-27 12:00+07'), ('birth_date <= -18y', 2, '2022-02-28 12:00+07'),
	('renewal > 2026-06-09', 1, '2026-05-30 12:00+07'), ('renewal IS NULL', 1, '2026-05-30 12:00+07'), ('renewal > today', 3, '2026-05-30 12:00+07'), ('renewal > +1000y', 1, '2026-05-30 12:00+07'),
	('member_since BETWEEN -5m AND 2026-01-01T09:00:00', 1, '2026-05-30 12:00+07'), ('member_since BETWEEN -5m AND 2026-01-01T10:00:00', 1, '2026-05-30 12:00+07');
SELECT a.condition, a.who, a.at, e.holds, e.changes_at FROM pg_temp.asked a, segment.explain_condition(a.condition, a.who, a.at) e ORDER BY a.n;

-- anniversaries: 29 February is the 28th in other years; over the year's end; periods; never
TRUNCATE pg_temp.asked;
INSERT INTO pg_temp.asked (condition, who, at) VALUES
	('anniversary(birth_date) = today', 1, '2026-05-30 12:00+07'), ('anniversary(birth_date) = today', 1, '2027-02-28 12:00+07'), ('anniversary(birth_date) = today', 2, '2026-05-30 12:00+07'),
	('anniversary(birth_date) = today', 2, '2027-05-30 12:00+07'), ('anniversary(birth_date) = today', 2, '2028-02-29 12:00+07'), ('anniversary(birth_date) = -1d', 2, '2027-05-30 12:00+07'),
	('anniversary(birth_date) BETWEEN today AND +30d', 2, '2026-12-20 12:00+07'), ('anniversary(birth_date) BETWEEN today AND +30d', 2, '2028-01-30 12:00+07'),
	('anniversary(birth_date) BETWEEN today AND +1m', 2, '2027-01-20 12:00+07'), ('anniversary(birth_date) BETWEEN -60d AND -58d', 1, '2026-04-20 12:00+07'),
	('anniversary(birth_date) DURING next_month', 1, '2026-05-30 12:00+07'), ('anniversary(birth_date) DURING this_week', 2, '2027-02-28 12:00+07'), ('anniversary(birth_date) DURING this_year', 2, '2026-05-30 12:00+07'),
	('anniversary(birth_date) DURING last_year', 2, '2026-05-30 12:00+07'), ('anniversary(birth_date) DURING next_half_year', 2, '2026-05-30 12:00+07'),
	('anniversary(birth_date) >= today', 1, '2026-02-28 12:00+07'), ('anniversary(birth_date) >= today', 1, '2026-05-30 12:00+07'), ('anniversary(birth_date) < +1w', 2, '2026-12-20 12:00+07'),
	('anniversary(birth_date) BETWEEN 2000-02-20 AND 2000-02-28', 2, '2026-05-30 12:00+07'), ('anniversary(birth_date) BETWEEN 2000-02-20 AND 2000-03-31', 2, '2026-05-30 12:00+07'),
	('anniversary(birth_date) BETWEEN 2000-12-20 AND 2000-02-28', 2, '2026-05-30 12:00+07'), ('anniversary(birth_date) = 2000-02-29', 1, '2027-05-30 12:00+07'), ('anniversary(birth_date) = 2000-05-05', 1, '2027-05-30 12:00+07'),
	('anniversary(birth_date) BETWEEN today AND 2000-12-31', 1, '2026-12-30 12:00+07'), ('anniversary(member_since) = today', 1, '2026-05-30 12:00+07'), ('anniversary(birth_date) = today', 3, '2026-05-30 12:00+07');
SELECT a.condition, a.who, a.at, e.holds, e.changes_at FROM pg_temp.asked a, segment.explain_condition(a.condition, a.who, a.at) e ORDER BY a.n;

-- ages, days since, sums over a moving window
TRUNCATE pg_temp.asked;
INSERT INTO pg_temp.asked (condition, who, at) VALUES
	('age >= 40', 1, '2026-05-30 12:00+07'), ('age < 40', 1, '2030-02-27 12:00+07'), ('age >= 18', 1, '2026-05-30 12:00+07'), ('age BETWEEN 30 AND 36', 1, '2026-05-30 12:00+07'), ('age IN (35, 37)', 1, '2026-05-30 12:00+07'),
	('age >= 36.5', 1, '2026-05-30 12:00+07'), ('age >= 18', 2, '2022-02-27 12:00+07'), ('age IS NULL', 1, '2026-05-30 12:00+07'), ('age IS NULL', 2, '2004-02-27 12:00+07'), ('age >= 0', 2, '2004-02-27 12:00+07'), ('age >= 18', 3, '2026-05-30 12:00+07'),
	('days_since_last_order > 30', 1, '2026-05-30 12:00+07'), ('days_since_last_order <= 30', 2, '2026-04-20 12:00+07'), ('days_since_last_order = 10', 1, '2026-05-30 12:00+07'), ('days_since_last_order = 10', 1, '2026-05-31 12:00+07'),
	('days_since_last_order BETWEEN 20.5 AND 25.5', 1, '2026-05-30 12:00+07'), ('days_since_last_order NOT IN (-3, 12)', 1, '2026-05-30 12:00+07'), ('days_since_last_order > 999999999999999999999', 1, '2026-05-30 12:00+07'), ('days_since_last_order >= -3', 1, '2026-05-01 12:00+07'),
	('days_since_last_order > 5', 3, '2026-05-30 12:00+07'), ('days_since_last_order IS NULL', 1, '2026-05-30 12:00+07'), ('amount_spent > 300', 1, '2026-05-30 12:00+07'),
	('amount_spent(date >= -30d) > 300', 1, '2026-05-30 12:00+07'), ('amount_spent(date DURING this_month) > 300', 1, '2026-05-30 12:00+07'), ('monthly_total > 300', 1, '2026-05-30 12:00+07'), ('number_of_orders(date >= 2026-05-02) = 1', 1, '2026-05-30 12:00+07');
SELECT a.condition, a.who, a.at, e.holds, e.value, e.changes_at FROM pg_temp.asked a, segment.explain_condition(a.condition, a.who, a.at) e ORDER BY a.n;

-- groups
INSERT INTO segment.groups (code, name, condition) VALUES ('recent', 'Recent', 'last_order_date >= 2026-05-01'), ('spenders', 'Spenders', 'amount_spent >= 300'), ('both', 'Both', 'groups CONTAINS ALL (''recent'', ''spenders'') AND name IS NOT NULL');
INSERT INTO segment.groups (code, name, condition, active) VALUES ('asleep', 'Asleep', 'TRUE', false);
INSERT INTO segment.groups (code, name) VALUES ('hand', 'By hand');
SELECT * FROM segment.explain('spenders', 1);
SELECT * FROM segment.explain('both', 1);
SELECT * FROM segment.explain('both', 2);
SELECT * FROM pg_temp.shown('groups IS NULL AND groups NOT CONTAINS ''asleep''', 3, NULL);
SELECT * FROM segment.explain('asleep', 1);
-- a clause over groups changes with those that it names, through others too
INSERT INTO segment.groups (code, name, condition) VALUES ('soon', 'Soon', 'renewal BETWEEN today AND +7d'), ('later', 'Later', 'groups NOT CONTAINS ''soon'' AND renewal > today');
SELECT * FROM pg_temp.shown($$groups CONTAINS 'spenders' AND (groups CONTAINS 'soon' OR groups CONTAINS ALL ('later', 'soon') OR groups IN ('asleep', 'hand') OR groups IS NULL)$$, 1, '2026-05-30 12:00+07');
SELECT * FROM pg_temp.shown($$groups CONTAINS 'later'$$, 1, '2026-06-05 12:00+07');

-- what is wrong
SELECT * FROM segment.explain('spender', 1);
SELECT * FROM segment.explain('hand', 1);
SELECT * FROM segment.explain('spenders', 5);
SELECT * FROM segment.explain('spenders', 4);
SELECT * FROM segment.explain('spenders', 0);
SELECT * FROM segment.explain_condition('amont_spent > 3', 1);
SELECT * FROM segment.explain_condition('TRUE', 1, 'infinity');
SELECT * FROM segment.explain(NULL, 1);
SELECT * FROM segment.explain_condition('TRUE', NULL);

-- another condition for a group: who would enter, who would leave; nothing is written
SELECT * FROM segment.what_if_group('spenders', 'amount_spent < 300');
SELECT * FROM segment.what_if_group('spenders', 'number_of_orders >= 1');
SELECT * FROM segment.what_if_group('spenders', 'amount_spent >= 300');
SELECT * FROM segment.what_if_group('asleep', 'number_of_orders >= 1');
SELECT code, condition FROM segment.groups ORDER BY code;
SELECT * FROM segment.what_if_group('spender', 'TRUE');
SELECT * FROM segment.what_if_group('hand', 'TRUE');
SELECT * FROM segment.what_if_group('spenders', 'amont_spent >= 300');
SELECT * FROM segment.what_if_group('spenders', 'groups CONTAINS ''both''');
SELECT * FROM segment.what_if_group('spenders', NULL);

-- who is in as a day begins
INSERT INTO segment.groups (code, name, condition) VALUES ('grown', 'Grown', 'age >= 100'), ('years', 'Years', 'anniversary(birth_date) = 2000-02-28');
SELECT * FROM segment.forecast('grown', '2090-02-27');
SELECT * FROM segment.forecast('grown', '2090-02-28');
SELECT * FROM segment.forecast('grown', '2104-02-29');
SELECT * FROM segment.forecast('years', '2096-05-05');
SELECT * FROM segment.forecast('years', '2097-05-05');
SELECT count(*) FROM segment.forecast('spenders', (now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date);
SELECT * FROM segment.forecast('asleep', '2090-01-01');
SELECT * FROM segment.forecast('grwon', '2090-01-01');
\set VERBOSITY terse
SELECT * FROM segment.forecast('grown', '2020-01-01');
SELECT * FROM segment.forecast('grown', 'infinity');
\set VERBOSITY default

-- whoever may not read the customers' table learns what holds, not what it says there; whom row-level security hides is nobody
CREATE ROLE segment_explain_reader;
GRANT USAGE ON SCHEMA segment, shop TO segment_explain_reader;
GRANT EXECUTE ON FUNCTION segment.explain(text, bigint), segment.explain_condition(segment.condition, bigint, timestamptz), segment.what_if_group(text, segment.condition), segment.forecast(text, date) TO segment_explain_reader;
SET ROLE segment_explain_reader;
SELECT * FROM segment.explain_condition('name IS NOT NULL AND birth_date < today AND amount_spent > 5', 1, '2026-05-30 12:00+07');
SELECT * FROM segment.what_if_group('spenders', 'number_of_orders >= 1');
RESET ROLE;
GRANT SELECT ON shop.customers TO segment_explain_reader;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON shop.customers USING (id % 2 = 1);
SET ROLE segment_explain_reader;
SELECT * FROM segment.explain_condition('name IS NOT NULL', 1, '2026-05-30 12:00+07');
SELECT * FROM segment.explain_condition('name IS NOT NULL', 2, '2026-05-30 12:00+07');
SELECT * FROM segment.what_if_group('spenders', 'TRUE');
SELECT * FROM segment.forecast('grown', '2104-02-29');
RESET ROLE;
DROP OWNED BY segment_explain_reader;
DROP ROLE segment_explain_reader;

-- a shop whose clocks jump over midnight, and one that left out a day
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'America/Sao_Paulo');
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id text PRIMARY KEY, renewal date, seen timestamptz);
INSERT INTO shop.customers VALUES ('a', '2018-11-04', '2018-11-04 03:00Z'), ('b', '2011-12-30', '2011-12-30 09:59Z');
SELECT segment.attach_customers('shop.customers', key => 'id', custom => '{"renewal": "renewal", "seen": "seen"}');
SET timezone = 'America/Sao_Paulo';
SELECT holds, value, changes_at FROM segment.explain_condition('renewal = today', 'a', '2018-11-03 23:59-03');
SELECT holds, value, changes_at FROM segment.explain_condition('renewal = today', 'a', '2018-11-04 01:00-02');
SELECT holds, value, changes_at FROM segment.explain_condition('seen < today', 'a', '2018-11-04 01:00-02');
SELECT holds, value, changes_at FROM segment.explain_condition('renewal > -1m', 'a', '2018-11-04 12:00-02');
SELECT segment.detach('shop.customers');
SELECT segment.configure(timezone => 'Pacific/Apia');
SELECT segment.attach_customers('shop.customers', key => 'id', custom => '{"renewal": "renewal", "seen": "seen"}');
SET timezone = 'Pacific/Apia';
SELECT holds, value, changes_at FROM segment.explain_condition('renewal <= today', 'b', '2011-12-29 12:00-10');
SELECT holds, value, changes_at FROM segment.explain_condition('renewal = today', 'b', '2011-12-29 12:00-10');
SELECT holds, value, changes_at FROM segment.explain_condition('seen = today', 'b', '2011-12-29 12:00-10');

DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
