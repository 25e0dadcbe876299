-- From PostgreSQL 16 on a condition can be tried without an error.
\pset format unaligned
\pset tuples_only on
SELECT pg_input_is_valid('a = 1 AND b IN (1, 2)', 'segment.condition');
SELECT v, pg_input_is_valid(v, 'segment.condition') FROM unnest(ARRAY['', 'a', 'a = ''x', 'a = 30d', 'd = 2026-02-30', 'name = ''''', 'a BETWEEN 2 AND 1', 'f(x) = 1', 'a = 1 AND (', 'd DURING x', 'a(b(c = 1) = 2) = 3']) v;
SELECT * FROM pg_input_error_info('amount_spent >=', 'segment.condition');
SELECT * FROM pg_input_error_info('a = 1 AND d = 2026-02-30', 'segment.condition');
SELECT message, sql_error_code FROM pg_input_error_info(repeat('(', 5000000), 'segment.condition');
