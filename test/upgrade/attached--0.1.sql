--
-- PostgreSQL database dump
--


-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: segment; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS segment WITH SCHEMA pg_catalog;


--
-- Name: EXTENSION segment; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION segment IS 'customer groups and tiers kept exactly true in the same transaction as the sale';


--
-- Name: shop; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA shop;


--
-- Name: recalculate_customers(bigint[]); Type: FUNCTION; Schema: segment; Owner: -
--

CREATE FUNCTION segment.recalculate_customers(customer_ids bigint[]) RETURNS bigint
    LANGUAGE c STRICT
    AS '$libdir/segment', 'segment_recalculate_customers';


--
-- Name: FUNCTION recalculate_customers(customer_ids bigint[]); Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON FUNCTION segment.recalculate_customers(customer_ids bigint[]) IS 'compute figures and tiers of the named customers again; returns how many were not right';


--
-- Name: verify(); Type: FUNCTION; Schema: segment; Owner: -
--

CREATE FUNCTION segment.verify(OUT customer_id bigint, OUT figure text, OUT stored text, OUT expected text) RETURNS SETOF record
    LANGUAGE c STABLE
    AS '$libdir/segment', 'segment_verify';


--
-- Name: FUNCTION verify(OUT customer_id bigint, OUT figure text, OUT stored text, OUT expected text); Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON FUNCTION segment.verify(OUT customer_id bigint, OUT figure text, OUT stored text, OUT expected text) IS 'stored against recomputed by plain SQL from the attached tables: one row per difference, writes nothing';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: changes; Type: TABLE; Schema: segment; Owner: -
--

CREATE TABLE segment.changes (
    at timestamp with time zone NOT NULL,
    customer_id bigint NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    code text NOT NULL COLLATE pg_catalog."C",
    ladder text COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    old_tier text COLLATE pg_catalog."C",
    new_tier text COLLATE pg_catalog."C",
    old_value numeric,
    new_value numeric,
    cause text NOT NULL COLLATE pg_catalog."C",
    source text,
    source_key text,
    changed_by text NOT NULL,
    version bigint NOT NULL
);


--
-- Name: TABLE changes; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON TABLE segment.changes IS 'every tier move: when it became true, from what to what, and why; version orders the changes of one customer';


--
-- Name: counted_3; Type: TABLE; Schema: segment; Owner: -
--

CREATE TABLE segment.counted_3 (
    key bigint NOT NULL,
    customer_id bigint NOT NULL,
    amount numeric NOT NULL,
    at timestamp with time zone NOT NULL
);


--
-- Name: TABLE counted_3; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON TABLE segment.counted_3 IS 'what each row of returns counts for now (internal)';


--
-- Name: facts; Type: TABLE; Schema: segment; Owner: -
--

CREATE TABLE segment.facts (
    customer_id bigint NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    is_customer boolean DEFAULT false NOT NULL,
    number_of_orders bigint DEFAULT 0 NOT NULL,
    amount_ordered numeric DEFAULT 0 NOT NULL,
    first_order_at timestamp with time zone,
    last_order_at timestamp with time zone,
    number_of_returns bigint DEFAULT 0 NOT NULL,
    amount_returned numeric DEFAULT 0 NOT NULL
)
WITH (fillfactor='70');


--
-- Name: TABLE facts; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON TABLE segment.facts IS 'figures kept per customer key; is_customer is false for keys that orders name but the customers table does not (or no longer) count';


--
-- Name: standings; Type: TABLE; Schema: segment; Owner: -
--

CREATE TABLE segment.standings (
    customer_id bigint NOT NULL,
    held integer[] NOT NULL,
    since timestamp with time zone[] NOT NULL
);


--
-- Name: TABLE standings; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON TABLE segment.standings IS 'what a customer is in now: ids of tiers, and since when, side by side';


--
-- Name: customer_tiers; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.customer_tiers AS
 SELECT v.customer_id,
    v.ladder,
    h.code AS tier,
    h.name AS tier_name,
    h.rank,
    v.value,
    h.since,
    n.code AS next_tier,
    (n.min_value - v.value) AS to_next,
    h.points_floor,
        CASE
            WHEN (h.code IS NOT NULL) THEN 'rule'::text
            ELSE NULL::text
        END AS source,
    v.stale
   FROM ((( SELECT f.customer_id,
            l.code AS ladder,
            z.stale,
                CASE l.figure
                    WHEN 'amount_spent'::text THEN (f.amount_ordered - f.amount_returned)
                    WHEN 'amount_ordered'::text THEN f.amount_ordered
                    WHEN 'amount_returned'::text THEN f.amount_returned
                    WHEN 'number_of_orders'::text THEN (f.number_of_orders)::numeric
                    WHEN 'number_of_returns'::text THEN (f.number_of_returns)::numeric
                    ELSE NULL::numeric
                END AS value
           FROM ((segment.facts f
             CROSS JOIN segment._active_ladders() l(code, figure, programme, is_default))
             CROSS JOIN ( SELECT segment._stale() AS stale
                 OFFSET 0) z)
          WHERE f.is_customer) v
     LEFT JOIN ( SELECT s.customer_id,
            t.ladder,
            t.code,
            t.name,
            t.min_value,
            t.rank,
            t.points_floor,
            u.since
           FROM ((segment.standings s
             CROSS JOIN LATERAL UNNEST(s.held, s.since) u(id, since))
             JOIN segment._ranked_tiers() t(id, ladder, code, name, min_value, points_floor, active, rank) ON ((t.id = u.id)))) h ON (((h.customer_id = v.customer_id) AND (h.ladder = v.ladder))))
     LEFT JOIN LATERAL ( SELECT t.code,
            t.min_value
           FROM segment._ranked_tiers() t(id, ladder, code, name, min_value, points_floor, active, rank)
          WHERE ((t.ladder = v.ladder) AND t.active AND (t.min_value > v.value) AND ((h.code IS NULL) OR (t.min_value > h.min_value)))
          ORDER BY t.min_value
         LIMIT 1) n ON (true));


--
-- Name: VIEW customer_tiers; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.customer_tiers IS 'one row per counted customer and active ladder: tier held (NULL: none), value, since when, what is missing to the next';


--
-- Name: customer_tier; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.customer_tier AS
 SELECT DISTINCT ON (c.customer_id, l.programme) c.customer_id,
    l.programme,
    c.ladder,
    c.tier,
    c.tier_name,
    c.rank,
    c.value,
    c.since,
    c.stale
   FROM (segment.customer_tiers c
     JOIN segment._active_ladders() l(code, figure, programme, is_default) ON ((l.code = c.ladder)))
  ORDER BY c.customer_id, l.programme, c.rank DESC NULLS LAST, l.is_default DESC, l.code;


--
-- Name: VIEW customer_tier; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.customer_tier IS 'one row per counted customer and programme: the tier of the greatest rank over its ladders';


--
-- Name: customers; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.customers AS
 SELECT f.customer_id,
    f.number_of_orders,
    f.number_of_returns,
    (f.amount_ordered - f.amount_returned) AS amount_spent,
    f.amount_ordered,
    f.amount_returned,
    (f.amount_ordered / (NULLIF(f.number_of_orders, 0))::numeric) AS average_order_value,
    ((f.first_order_at AT TIME ZONE z.zone))::date AS first_order_date,
    ((f.last_order_at AT TIME ZONE z.zone))::date AS last_order_date,
    (((now() AT TIME ZONE z.zone))::date - ((f.last_order_at AT TIME ZONE z.zone))::date) AS days_since_last_order,
    z.stale
   FROM (segment.facts f
     CROSS JOIN ( SELECT segment._setting('timezone'::text) AS zone,
            segment._stale() AS stale
         OFFSET 0) z)
  WHERE f.is_customer;


--
-- Name: VIEW customers; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.customers IS 'every counted customer with the figures kept for them; money in the shop''s currency, dates in the shop''s zone';


--
-- Name: customers; Type: TABLE; Schema: shop; Owner: -
--

CREATE TABLE shop.customers (
    id bigint NOT NULL
);


--
-- Name: source_1; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.source_1 AS
 SELECT m.key,
    m.counted,
    m.counted AS counts
   FROM ( SELECT customers.id AS key,
            true AS counted
           FROM shop.customers) m;


--
-- Name: VIEW source_1; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.source_1 IS 'what segment reads of customers as customers';


--
-- Name: orders; Type: TABLE; Schema: shop; Owner: -
--

CREATE TABLE shop.orders (
    id bigint NOT NULL,
    customer_id bigint,
    total numeric,
    at timestamp with time zone
);


--
-- Name: source_2; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.source_2 AS
 SELECT m.customer,
    m.amount,
    m.at,
    m.key,
    m.counted,
    COALESCE((m.counted AND (m.amount > '-1000000000000000000000000000000'::numeric) AND (m.amount < '1000000000000000000000000000000'::numeric) AND (m.at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (m.at < '10000-01-01 00:00:00+00'::timestamp with time zone)), false) AS counts
   FROM ( SELECT orders.customer_id AS customer,
            orders.total AS amount,
            orders.at,
            orders.id AS key,
            true AS counted
           FROM shop.orders) m;


--
-- Name: VIEW source_2; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.source_2 IS 'what segment reads of orders as orders';


--
-- Name: returns; Type: TABLE; Schema: shop; Owner: -
--

CREATE TABLE shop.returns (
    id bigint NOT NULL,
    order_id bigint,
    amount numeric,
    at timestamp with time zone
);


--
-- Name: source_3; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.source_3 AS
 SELECT m.amount,
    m.at,
    m.order_key,
    m.key,
    m.counted,
    COALESCE((m.counted AND (m.amount > '-1000000000000000000000000000000'::numeric) AND (m.amount < '1000000000000000000000000000000'::numeric) AND (m.at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (m.at < '10000-01-01 00:00:00+00'::timestamp with time zone)), false) AS counts
   FROM ( SELECT returns.amount,
            returns.at,
            returns.order_id AS order_key,
            returns.id AS key,
            true AS counted
           FROM shop.returns) m;


--
-- Name: VIEW source_3; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.source_3 IS 'what segment reads of returns as returns';


--
-- Name: tier_sizes; Type: VIEW; Schema: segment; Owner: -
--

CREATE VIEW segment.tier_sizes AS
 WITH held AS (
         SELECT u.id,
            count(*) AS customers
           FROM (segment.standings s
             CROSS JOIN LATERAL unnest(s.held) u(id))
          GROUP BY u.id
        ), total AS (
         SELECT count(*) AS customers
           FROM segment.facts f
          WHERE f.is_customer
        ), sizes AS (
         SELECT t.ladder,
            t.code,
            t.name,
            t.rank,
            COALESCE(h.customers, (0)::bigint) AS customers
           FROM (segment._ranked_tiers() t(id, ladder, code, name, min_value, points_floor, active, rank)
             LEFT JOIN held h ON ((h.id = t.id)))
        UNION ALL
         SELECT l_1.code,
            NULL::text,
            NULL::text,
            NULL::integer,
            ((total_1.customers)::numeric - COALESCE(( SELECT sum(h.customers) AS sum
                   FROM (held h
                     JOIN segment._ranked_tiers() t(id, ladder, code, name, min_value, points_floor, active, rank) ON ((t.id = h.id)))
                  WHERE (t.ladder = l_1.code)), (0)::numeric))
           FROM (segment._active_ladders() l_1(code, figure, programme, is_default)
             CROSS JOIN total total_1)
        )
 SELECT z.ladder,
    z.code AS tier,
    z.name AS tier_name,
    z.rank,
    (z.customers)::bigint AS customers,
    round((z.customers / (NULLIF(total.customers, 0))::numeric), 4) AS share,
    segment._stale() AS stale
   FROM ((sizes z
     JOIN segment._active_ladders() l(code, figure, programme, is_default) ON ((l.code = z.ladder)))
     CROSS JOIN total)
  ORDER BY z.ladder, z.rank DESC NULLS LAST;


--
-- Name: VIEW tier_sizes; Type: COMMENT; Schema: segment; Owner: -
--

COMMENT ON VIEW segment.tier_sizes IS 'how many customers hold each tier of each active ladder, and their share; the row without a tier counts those who hold none';


--
-- Data for Name: attachments; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.attachments (id, relation, role, arguments, order_source, watch, attached_at, attached_by) FROM stdin;
1	shop.customers	customers	{"key": "id", "anonymous": []}	\N	{}	2026-11-25 04:11:56.756552+00	postgres
2	shop.orders	orders	{"at": "at", "key": "id", "amount": "total", "customer": "customer_id"}	\N	{}	2026-11-25 04:11:56.768163+00	postgres
3	shop.returns	returns	{"at": "at", "key": "id", "amount": "amount", "order_key": "order_id"}	2	{}	2026-11-25 04:11:56.770908+00	postgres
\.


--
-- Data for Name: changes; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.changes (at, customer_id, kind, code, ladder, action, old_tier, new_tier, old_value, new_value, cause, source, source_key, changed_by, version) FROM stdin;
2026-11-25 04:11:56.774957+00	1	tier	gold	total	enter	\N	gold	30000000	30000000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	2	tier	gold	total	enter	\N	gold	20450000	20450000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	3	tier	gold	total	enter	\N	gold	21000000	21000000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	4	tier	gold	total	enter	\N	gold	21450000	21450000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	5	tier	gold	total	enter	\N	gold	21950000	21950000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	6	tier	gold	total	enter	\N	gold	22500000	22500000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	7	tier	gold	total	enter	\N	gold	22950000	22950000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	8	tier	gold	total	enter	\N	gold	23450000	23450000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	9	tier	gold	total	enter	\N	gold	24000000	24000000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	10	tier	gold	total	enter	\N	gold	24450000	24450000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	11	tier	gold	total	enter	\N	gold	24950000	24950000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	12	tier	gold	total	enter	\N	gold	25500000	25500000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	13	tier	gold	total	enter	\N	gold	25950000	25950000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	14	tier	gold	total	enter	\N	gold	26500000	26500000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	15	tier	gold	total	enter	\N	gold	27000000	27000000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	16	tier	gold	total	enter	\N	gold	27450000	27450000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	17	tier	gold	total	enter	\N	gold	28000000	28000000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	18	tier	gold	total	enter	\N	gold	28500000	28500000	rule	\N	\N	postgres	3
2026-11-25 04:11:56.774957+00	19	tier	gold	total	enter	\N	gold	28950000	28950000	rule	\N	\N	postgres	4
2026-11-25 04:11:56.774957+00	20	tier	gold	total	enter	\N	gold	29500000	29500000	rule	\N	\N	postgres	3
\.


--
-- Data for Name: counted_3; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.counted_3 (key, customer_id, amount, at) FROM stdin;
1	4	50000	2026-05-01 00:00:00+00
2	7	50000	2026-05-01 00:00:00+00
3	10	50000	2026-05-01 00:00:00+00
4	13	50000	2026-05-01 00:00:00+00
5	16	50000	2026-05-01 00:00:00+00
6	19	50000	2026-05-01 00:00:00+00
7	2	50000	2026-05-01 00:00:00+00
8	5	50000	2026-05-01 00:00:00+00
9	8	50000	2026-05-01 00:00:00+00
10	11	50000	2026-05-01 00:00:00+00
\.


--
-- Data for Name: facts; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.facts (customer_id, version, is_customer, number_of_orders, amount_ordered, first_order_at, last_order_at, number_of_returns, amount_returned) FROM stdin;
1	3	t	5	30000000	2026-01-21 00:00:00+00	2026-04-11 00:00:00+00	0	0
3	3	t	5	21000000	2026-01-03 00:00:00+00	2026-03-24 00:00:00+00	0	0
6	3	t	5	22500000	2026-01-06 00:00:00+00	2026-03-27 00:00:00+00	0	0
9	3	t	5	24000000	2026-01-09 00:00:00+00	2026-03-30 00:00:00+00	0	0
12	3	t	5	25500000	2026-01-12 00:00:00+00	2026-04-02 00:00:00+00	0	0
14	3	t	5	26500000	2026-01-14 00:00:00+00	2026-04-04 00:00:00+00	0	0
15	3	t	5	27000000	2026-01-15 00:00:00+00	2026-04-05 00:00:00+00	0	0
17	3	t	5	28000000	2026-01-17 00:00:00+00	2026-04-07 00:00:00+00	0	0
18	3	t	5	28500000	2026-01-18 00:00:00+00	2026-04-08 00:00:00+00	0	0
20	3	t	5	29500000	2026-01-20 00:00:00+00	2026-04-10 00:00:00+00	0	0
2	4	t	5	20500000	2026-01-02 00:00:00+00	2026-03-23 00:00:00+00	1	50000
4	4	t	5	21500000	2026-01-04 00:00:00+00	2026-03-25 00:00:00+00	1	50000
5	4	t	5	22000000	2026-01-05 00:00:00+00	2026-03-26 00:00:00+00	1	50000
7	4	t	5	23000000	2026-01-07 00:00:00+00	2026-03-28 00:00:00+00	1	50000
8	4	t	5	23500000	2026-01-08 00:00:00+00	2026-03-29 00:00:00+00	1	50000
10	4	t	5	24500000	2026-01-10 00:00:00+00	2026-03-31 00:00:00+00	1	50000
11	4	t	5	25000000	2026-01-11 00:00:00+00	2026-04-01 00:00:00+00	1	50000
13	4	t	5	26000000	2026-01-13 00:00:00+00	2026-04-03 00:00:00+00	1	50000
16	4	t	5	27500000	2026-01-16 00:00:00+00	2026-04-06 00:00:00+00	1	50000
19	4	t	5	29000000	2026-01-19 00:00:00+00	2026-04-09 00:00:00+00	1	50000
\.


--
-- Data for Name: ladders; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.ladders (code, name, figure, unit, programme, is_default, active, id) FROM stdin;
total	Total accumulated	amount_spent	\N	default	t	t	1
\.


--
-- Data for Name: left_out; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.left_out (source, row_key, reason, n) FROM stdin;
\.


--
-- Data for Name: settings; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.settings (name, value) FROM stdin;
\.


--
-- Data for Name: stale_marks; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.stale_marks (source, reason, marked_at) FROM stdin;
\.


--
-- Data for Name: standings; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.standings (customer_id, held, since) FROM stdin;
1	{4}	{"2026-11-25 04:11:56.774957+00"}
2	{4}	{"2026-11-25 04:11:56.774957+00"}
3	{4}	{"2026-11-25 04:11:56.774957+00"}
4	{4}	{"2026-11-25 04:11:56.774957+00"}
5	{4}	{"2026-11-25 04:11:56.774957+00"}
6	{4}	{"2026-11-25 04:11:56.774957+00"}
7	{4}	{"2026-11-25 04:11:56.774957+00"}
8	{4}	{"2026-11-25 04:11:56.774957+00"}
9	{4}	{"2026-11-25 04:11:56.774957+00"}
10	{4}	{"2026-11-25 04:11:56.774957+00"}
11	{4}	{"2026-11-25 04:11:56.774957+00"}
12	{4}	{"2026-11-25 04:11:56.774957+00"}
13	{4}	{"2026-11-25 04:11:56.774957+00"}
14	{4}	{"2026-11-25 04:11:56.774957+00"}
15	{4}	{"2026-11-25 04:11:56.774957+00"}
16	{4}	{"2026-11-25 04:11:56.774957+00"}
17	{4}	{"2026-11-25 04:11:56.774957+00"}
18	{4}	{"2026-11-25 04:11:56.774957+00"}
19	{4}	{"2026-11-25 04:11:56.774957+00"}
20	{4}	{"2026-11-25 04:11:56.774957+00"}
\.


--
-- Data for Name: tiers; Type: TABLE DATA; Schema: segment; Owner: -
--

COPY segment.tiers (ladder, code, name, description, min_value, max_value, points_floor, rank, active, id) FROM stdin;
total	member	Member	\N	0	9999999	0	\N	t	3
total	gold	Gold	\N	10000000	\N	0	\N	t	4
\.


--
-- Data for Name: customers; Type: TABLE DATA; Schema: shop; Owner: -
--

COPY shop.customers (id) FROM stdin;
1
2
3
4
5
6
7
8
9
10
11
12
13
14
15
16
17
18
19
20
\.


--
-- Data for Name: orders; Type: TABLE DATA; Schema: shop; Owner: -
--

COPY shop.orders (id, customer_id, total, at) FROM stdin;
1	2	100000	2026-01-02 00:00:00+00
2	3	200000	2026-01-03 00:00:00+00
3	4	300000	2026-01-04 00:00:00+00
4	5	400000	2026-01-05 00:00:00+00
5	6	500000	2026-01-06 00:00:00+00
6	7	600000	2026-01-07 00:00:00+00
7	8	700000	2026-01-08 00:00:00+00
8	9	800000	2026-01-09 00:00:00+00
9	10	900000	2026-01-10 00:00:00+00
10	11	1000000	2026-01-11 00:00:00+00
11	12	1100000	2026-01-12 00:00:00+00
12	13	1200000	2026-01-13 00:00:00+00
13	14	1300000	2026-01-14 00:00:00+00
14	15	1400000	2026-01-15 00:00:00+00
15	16	1500000	2026-01-16 00:00:00+00
16	17	1600000	2026-01-17 00:00:00+00
17	18	1700000	2026-01-18 00:00:00+00
18	19	1800000	2026-01-19 00:00:00+00
19	20	1900000	2026-01-20 00:00:00+00
20	1	2000000	2026-01-21 00:00:00+00
21	2	2100000	2026-01-22 00:00:00+00
22	3	2200000	2026-01-23 00:00:00+00
23	4	2300000	2026-01-24 00:00:00+00
24	5	2400000	2026-01-25 00:00:00+00
25	6	2500000	2026-01-26 00:00:00+00
26	7	2600000	2026-01-27 00:00:00+00
27	8	2700000	2026-01-28 00:00:00+00
28	9	2800000	2026-01-29 00:00:00+00
29	10	2900000	2026-01-30 00:00:00+00
30	11	3000000	2026-01-31 00:00:00+00
31	12	3100000	2026-02-01 00:00:00+00
32	13	3200000	2026-02-02 00:00:00+00
33	14	3300000	2026-02-03 00:00:00+00
34	15	3400000	2026-02-04 00:00:00+00
35	16	3500000	2026-02-05 00:00:00+00
36	17	3600000	2026-02-06 00:00:00+00
37	18	3700000	2026-02-07 00:00:00+00
38	19	3800000	2026-02-08 00:00:00+00
39	20	3900000	2026-02-09 00:00:00+00
40	1	4000000	2026-02-10 00:00:00+00
41	2	4100000	2026-02-11 00:00:00+00
42	3	4200000	2026-02-12 00:00:00+00
43	4	4300000	2026-02-13 00:00:00+00
44	5	4400000	2026-02-14 00:00:00+00
45	6	4500000	2026-02-15 00:00:00+00
46	7	4600000	2026-02-16 00:00:00+00
47	8	4700000	2026-02-17 00:00:00+00
48	9	4800000	2026-02-18 00:00:00+00
49	10	4900000	2026-02-19 00:00:00+00
50	11	5000000	2026-02-20 00:00:00+00
51	12	5100000	2026-02-21 00:00:00+00
52	13	5200000	2026-02-22 00:00:00+00
53	14	5300000	2026-02-23 00:00:00+00
54	15	5400000	2026-02-24 00:00:00+00
55	16	5500000	2026-02-25 00:00:00+00
56	17	5600000	2026-02-26 00:00:00+00
57	18	5700000	2026-02-27 00:00:00+00
58	19	5800000	2026-02-28 00:00:00+00
59	20	5900000	2026-03-01 00:00:00+00
60	1	6000000	2026-03-02 00:00:00+00
61	2	6100000	2026-03-03 00:00:00+00
62	3	6200000	2026-03-04 00:00:00+00
63	4	6300000	2026-03-05 00:00:00+00
64	5	6400000	2026-03-06 00:00:00+00
65	6	6500000	2026-03-07 00:00:00+00
66	7	6600000	2026-03-08 00:00:00+00
67	8	6700000	2026-03-09 00:00:00+00
68	9	6800000	2026-03-10 00:00:00+00
69	10	6900000	2026-03-11 00:00:00+00
70	11	7000000	2026-03-12 00:00:00+00
71	12	7100000	2026-03-13 00:00:00+00
72	13	7200000	2026-03-14 00:00:00+00
73	14	7300000	2026-03-15 00:00:00+00
74	15	7400000	2026-03-16 00:00:00+00
75	16	7500000	2026-03-17 00:00:00+00
76	17	7600000	2026-03-18 00:00:00+00
77	18	7700000	2026-03-19 00:00:00+00
78	19	7800000	2026-03-20 00:00:00+00
79	20	7900000	2026-03-21 00:00:00+00
80	1	8000000	2026-03-22 00:00:00+00
81	2	8100000	2026-03-23 00:00:00+00
82	3	8200000	2026-03-24 00:00:00+00
83	4	8300000	2026-03-25 00:00:00+00
84	5	8400000	2026-03-26 00:00:00+00
85	6	8500000	2026-03-27 00:00:00+00
86	7	8600000	2026-03-28 00:00:00+00
87	8	8700000	2026-03-29 00:00:00+00
88	9	8800000	2026-03-30 00:00:00+00
89	10	8900000	2026-03-31 00:00:00+00
90	11	9000000	2026-04-01 00:00:00+00
91	12	9100000	2026-04-02 00:00:00+00
92	13	9200000	2026-04-03 00:00:00+00
93	14	9300000	2026-04-04 00:00:00+00
94	15	9400000	2026-04-05 00:00:00+00
95	16	9500000	2026-04-06 00:00:00+00
96	17	9600000	2026-04-07 00:00:00+00
97	18	9700000	2026-04-08 00:00:00+00
98	19	9800000	2026-04-09 00:00:00+00
99	20	9900000	2026-04-10 00:00:00+00
100	1	10000000	2026-04-11 00:00:00+00
\.


--
-- Data for Name: returns; Type: TABLE DATA; Schema: shop; Owner: -
--

COPY shop.returns (id, order_id, amount, at) FROM stdin;
1	3	50000	2026-05-01 00:00:00+00
2	6	50000	2026-05-01 00:00:00+00
3	9	50000	2026-05-01 00:00:00+00
4	12	50000	2026-05-01 00:00:00+00
5	15	50000	2026-05-01 00:00:00+00
6	18	50000	2026-05-01 00:00:00+00
7	21	50000	2026-05-01 00:00:00+00
8	24	50000	2026-05-01 00:00:00+00
9	27	50000	2026-05-01 00:00:00+00
10	30	50000	2026-05-01 00:00:00+00
\.


--
-- Name: rule_id; Type: SEQUENCE SET; Schema: segment; Owner: -
--

SELECT pg_catalog.setval('segment.rule_id', 5, true);


--
-- Name: source_id; Type: SEQUENCE SET; Schema: segment; Owner: -
--

SELECT pg_catalog.setval('segment.source_id', 3, true);


--
-- Name: counted_3 counted_3_pkey; Type: CONSTRAINT; Schema: segment; Owner: -
--

ALTER TABLE ONLY segment.counted_3
    ADD CONSTRAINT counted_3_pkey PRIMARY KEY (key);


--
-- Name: facts facts_pkey; Type: CONSTRAINT; Schema: segment; Owner: -
--

ALTER TABLE ONLY segment.facts
    ADD CONSTRAINT facts_pkey PRIMARY KEY (customer_id);


--
-- Name: standings standings_pkey; Type: CONSTRAINT; Schema: segment; Owner: -
--

ALTER TABLE ONLY segment.standings
    ADD CONSTRAINT standings_pkey PRIMARY KEY (customer_id);


--
-- Name: customers customers_pkey; Type: CONSTRAINT; Schema: shop; Owner: -
--

ALTER TABLE ONLY shop.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);


--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: shop; Owner: -
--

ALTER TABLE ONLY shop.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);


--
-- Name: returns returns_pkey; Type: CONSTRAINT; Schema: shop; Owner: -
--

ALTER TABLE ONLY shop.returns
    ADD CONSTRAINT returns_pkey PRIMARY KEY (id);


--
-- Name: changes_customer; Type: INDEX; Schema: segment; Owner: -
--

CREATE INDEX changes_customer ON segment.changes USING btree (customer_id, version);


--
-- Name: counted_3_customer; Type: INDEX; Schema: segment; Owner: -
--

CREATE INDEX counted_3_customer ON segment.counted_3 USING btree (customer_id);


--
-- Name: customers _segment_delete; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_delete AFTER DELETE ON shop.customers REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: orders _segment_delete; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_delete AFTER DELETE ON shop.orders REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: returns _segment_delete; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_delete AFTER DELETE ON shop.returns REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: customers _segment_insert; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_insert AFTER INSERT ON shop.customers REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: orders _segment_insert; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_insert AFTER INSERT ON shop.orders REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: returns _segment_insert; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_insert AFTER INSERT ON shop.returns REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: customers _segment_truncate; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_truncate AFTER TRUNCATE ON shop.customers FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: orders _segment_truncate; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_truncate AFTER TRUNCATE ON shop.orders FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: returns _segment_truncate; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_truncate AFTER TRUNCATE ON shop.returns FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: customers _segment_update; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_update AFTER UPDATE ON shop.customers REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: orders _segment_update; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_update AFTER UPDATE ON shop.orders REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: returns _segment_update; Type: TRIGGER; Schema: shop; Owner: -
--

CREATE TRIGGER _segment_update AFTER UPDATE ON shop.returns REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();


--
-- Name: FUNCTION recalculate_customers(customer_ids bigint[]); Type: ACL; Schema: segment; Owner: -
--

REVOKE ALL ON FUNCTION segment.recalculate_customers(customer_ids bigint[]) FROM PUBLIC;


--
-- Name: FUNCTION verify(OUT customer_id bigint, OUT figure text, OUT stored text, OUT expected text); Type: ACL; Schema: segment; Owner: -
--

REVOKE ALL ON FUNCTION segment.verify(OUT customer_id bigint, OUT figure text, OUT stored text, OUT expected text) FROM PUBLIC;


--
-- PostgreSQL database dump complete
--


