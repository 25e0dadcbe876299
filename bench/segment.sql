-- Side "segment": the extension, three sources, a ladder of four tiers.

CREATE EXTENSION segment;

SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh', country_code => '84', currency => 'VND', money_unit => 1);

SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', added_at => 'created_at',
                                counted_when => 'deleted_at IS NULL');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total',
                             at => 'created_at', counted_when => $$status = 'completed'$$);
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund',
                              at => 'created_at', counted_when => $$state = 'settled'$$);

INSERT INTO segment.tiers (code, name, min_value, max_value, points_floor) VALUES
    ('member',  'Thành viên',        0,  2999999,   0),
    ('silver',  'Bạc',         3000000,  9999999,  50),
    ('gold',    'Vàng',       10000000, 29999999, 100),
    ('diamond', 'Kim cương',  30000000,     NULL, 200);
