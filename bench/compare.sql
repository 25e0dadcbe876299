-- Prints the customers whose kept state is not the right one, at most ten; prints nothing when all are right.
SET work_mem = '128MB';
CREATE TEMPORARY TABLE kept_now AS TABLE kept;
CREATE TEMPORARY TABLE expected_now AS TABLE expected;
(SELECT 'kept' AS side, k.* FROM (TABLE kept_now EXCEPT ALL TABLE expected_now) AS k
 UNION ALL
 SELECT 'right', e.* FROM (TABLE expected_now EXCEPT ALL TABLE kept_now) AS e)
ORDER BY customer_id, side
LIMIT 10;
