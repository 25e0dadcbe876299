-- Prints the customers whose kept state is not the right one, at most ten; prints nothing when all are right.
(SELECT 'kept' AS side, k.* FROM (TABLE kept EXCEPT ALL TABLE expected) AS k
 UNION ALL
 SELECT 'right', e.* FROM (TABLE expected EXCEPT ALL TABLE kept) AS e)
ORDER BY customer_id, side
LIMIT 10;
