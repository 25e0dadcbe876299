-- The rows that COPY loads: any customer, one order in twenty large.  In: :customers, :copied, :seed.
COPY (SELECT 1 + shop.pick(i, :seed + 6, :customers),
             CASE WHEN i % 20 = 0 THEN 5000000 ELSE 1000 * (1 + i % 20) END,
             'completed',
             timestamptz '2026-01-01 00:00+07' + i * interval '1 second'
        FROM generate_series(1, :copied) AS i
       ORDER BY i) TO STDOUT;
