/*
 * vocabulary.c
 *		Names of the condition language: their types and what each needs.
 *
 * One table serves binding, the view segment.figures and rule builders.  The
 * meaning of a name is in condition_sql.c, which defines it.
 */
#include "segment.h"

#include "utils/varlena.h"
#include "vocabulary.h"

static const Word words[] = {
	/* personal */
	{WORD_NAME, "name", VALUE_TEXT, NARROW_NOT, 0, "name", "Name", "Tên"},
	{WORD_GIVEN_NAME, "given_name", VALUE_TEXT, NARROW_NOT, 0, "given_name", "Given name", "Tên gọi"},
	{WORD_EMAIL, "email", VALUE_TEXT, NARROW_NOT, 0, "email", "E-mail", "Email"},
	{WORD_EMAIL_DOMAIN, "email_domain", VALUE_TEXT, NARROW_NOT, 0, "email", "E-mail domain", "Tên miền email"},
	{WORD_PHONE, "phone", VALUE_TEXT, NARROW_NOT, 0, "phone", "Phone", "Số điện thoại"},
	{WORD_ADDRESS, "address", VALUE_TEXT, NARROW_NOT, 0, "address", "Address", "Địa chỉ"},
	{WORD_SEX, "sex", VALUE_TEXT, NARROW_NOT, 0, "sex", "Sex", "Giới tính"},
	{WORD_BIRTH_DATE, "birth_date", VALUE_DATE, NARROW_NOT, 0, "birth_date", "Date of birth", "Ngày tháng năm sinh"},
	{WORD_BIRTH_DAY, "birth_day", VALUE_NUMBER, NARROW_NOT, 0, "birth_day", "Day of birth", "Ngày sinh"},
	{WORD_BIRTH_MONTH, "birth_month", VALUE_NUMBER, NARROW_NOT, 0, "birth_month", "Month of birth", "Tháng sinh"},
	{WORD_BIRTH_YEAR, "birth_year", VALUE_NUMBER, NARROW_NOT, 0, "birth_year", "Year of birth", "Năm sinh"},
	{WORD_AGE, "age", VALUE_NUMBER, NARROW_NOT, 0, "birth_date", "Age", "Tuổi"},
	{WORD_COUNTRY, "country", VALUE_LIST, NARROW_NOT, 0, "country", "Country", "Quốc gia"},
	{WORD_REGION, "region", VALUE_LIST, NARROW_NOT, 0, "region", "Region", "Khu vực"},
	{WORD_CITY, "city", VALUE_LIST, NARROW_NOT, 0, "city", "City", "Thành phố"},
	{WORD_WARD, "ward", VALUE_LIST, NARROW_NOT, 0, "ward", "Ward", "Phường xã"},
	{WORD_TAGS, "tags", VALUE_LIST, NARROW_NOT, NEEDS_TAGS, "tags", "Tags", "Tag"},
	{WORD_MEMBER_SINCE, "member_since", VALUE_DATE, NARROW_NOT, 0, "member_since", "Member since", "Ngày bắt đầu thành viên"},
	{WORD_ADDED_DATE, "customer_added_date", VALUE_DATE, NARROW_NOT, 0, "added_at", "Record made on", "Ngày tạo khách hàng"},
	/* purchases */
	{WORD_NUMBER_OF_ORDERS, "number_of_orders", VALUE_NUMBER, NARROW_ORDERS, NEEDS_ORDERS, NULL, "Number of orders", "Tổng số đơn hàng đã mua"},
	{WORD_ITEMS_BOUGHT, "items_bought", VALUE_NUMBER, NARROW_LINES, NEEDS_ORDERS, NULL, "Items bought", "Số lượng sản phẩm đã mua"},
	{WORD_ITEMS_RETURNED, "items_returned", VALUE_NUMBER, NARROW_RETURN_LINES, NEEDS_RETURNS, NULL, "Items returned", "Số lượng sản phẩm trả"},
	{WORD_NUMBER_OF_RETURNS, "number_of_returns", VALUE_NUMBER, NARROW_RETURN_LINES, NEEDS_RETURNS, NULL, "Number of returns", "Số lần trả hàng"},
	{WORD_AMOUNT_SPENT, "amount_spent", VALUE_NUMBER, NARROW_SPENT, NEEDS_ORDERS, NULL, "Amount spent", "Tổng chi tiêu"},
	{WORD_AMOUNT_ORDERED, "amount_ordered", VALUE_NUMBER, NARROW_ORDERS, NEEDS_ORDERS, NULL, "Amount ordered", "Tổng tiền đặt hàng"},
	{WORD_AMOUNT_RETURNED, "amount_returned", VALUE_NUMBER, NARROW_RETURN_LINES, NEEDS_RETURNS, NULL, "Amount returned", "Tổng tiền trả hàng"},
	{WORD_AVERAGE_ORDER_VALUE, "average_order_value", VALUE_NUMBER, NARROW_ORDERS, NEEDS_ORDERS, NULL, "Average order value", "Giá trị trung bình đơn hàng"},
	{WORD_MONTHLY_TOTAL, "monthly_total", VALUE_NUMBER, NARROW_NOT, NEEDS_ORDERS, NULL, "Spent this month", "Tổng tiền tháng này"},
	{WORD_MONTHLY_AVERAGE, "monthly_average", VALUE_NUMBER, NARROW_MONTHS, NEEDS_ORDERS, NULL, "Average spent a month", "Mức trung bình theo tháng"},
	{WORD_FIRST_ORDER_DATE, "first_order_date", VALUE_DATE, NARROW_NOT, NEEDS_ORDERS, NULL, "First order", "Lần đầu mua hàng"},
	{WORD_LAST_ORDER_DATE, "last_order_date", VALUE_DATE, NARROW_NOT, NEEDS_ORDERS, NULL, "Last order", "Lần cuối mua hàng"},
	{WORD_DAYS_SINCE_LAST_ORDER, "days_since_last_order", VALUE_NUMBER, NARROW_NOT, NEEDS_ORDERS, NULL, "Days since the last order", "Số ngày từ lần mua cuối"},
	/* loyalty */
	{WORD_POINTS, "points", VALUE_NUMBER, NARROW_NOT, NEEDS_POINTS, "points", "Points", "Số điểm"},
	{WORD_POINTS_EXPIRING, "points_expiring", VALUE_NUMBER, NARROW_EXPIRY, NEEDS_POINTS, NULL, "Points expiring", "Điểm sắp hết hạn"},
	{WORD_TIER, "tier", VALUE_TIER, NARROW_LADDER, 0, NULL, "Tier", "Hạng thành viên"},
	{WORD_GROUPS, "groups", VALUE_LIST, NARROW_NOT, 0, NULL, "Groups", "Nhóm khách hàng"},
	/* events */
	{WORD_ORDERS_PLACED, "orders_placed", VALUE_EVENT, NARROW_ORDERS, NEEDS_ORDERS, NULL, "Orders placed", "Có mua hàng"},
	{WORD_PRODUCTS_PURCHASED, "products_purchased", VALUE_EVENT, NARROW_LINES, NEEDS_LINES, NULL, "Products purchased", "Sản phẩm đã mua"},
	{WORD_RETURNS_MADE, "returns_made", VALUE_EVENT, NARROW_RETURN_LINES, NEEDS_RETURNS, NULL, "Returns made", "Có trả hàng"},
	{WORD_OFFERS_USED, "offers_used", VALUE_EVENT, NARROW_OFFERS, NEEDS_OFFERS, NULL, "Offers used", "Đã sử dụng ưu đãi"},
	{WORD_POINTS_EARNED, "points_earned", VALUE_EVENT, NARROW_POINTS, NEEDS_POINTS, NULL, "Points earned", "Đã tích điểm"},
	/* of the order at hand, in promotions */
	{WORD_OF_ORDER, "order.amount", VALUE_NUMBER, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_OF_ORDER, "order.items", VALUE_NUMBER, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_OF_ORDER, "order.channel", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_OF_ORDER, "order.at", VALUE_DATE, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_OF_ORDER, "order.products", VALUE_LIST, NARROW_NOT, 0, NULL, NULL, NULL},
	/* Shopify's, for which there is no rule here but a column may be mapped; numbers are ids */
	{WORD_SHOPIFY_COLUMN, "abandoned_checkout_date", VALUE_DATE, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "companies", VALUE_NUMBER, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "created_by_app_id", VALUE_NUMBER, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "customer_account_status", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "customer_language", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "email_subscription_status", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "last_abandoned_order_date", VALUE_DATE, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "product_subscription_status", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY_COLUMN, "sms_subscription_status", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	/* Shopify's, which only its own platform can feed */
	{WORD_SHOPIFY, "shopify_email.bounced", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "shopify_email.clicked", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "shopify_email.delivered", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "shopify_email.marked_as_spam", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "shopify_email.opened", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "shopify_email.unsubscribed", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "storefront.collection_viewed", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "storefront.product_viewed", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "storefront_event.collection_viewed", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "storefront_event.product_viewed", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "predicted_spend_tier", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "rfm_group", VALUE_TEXT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "customer_within_distance", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
	{WORD_SHOPIFY, "store_credit_accounts", VALUE_EVENT, NARROW_NOT, 0, NULL, NULL, NULL},
};

static const EventField order_fields[] = {
	{"date", VALUE_DATE, "Date", "Ngày"},
	{"amount", VALUE_NUMBER, "Amount", "Giá trị đơn hàng"},
	{"items", VALUE_NUMBER, "Items", "Số sản phẩm"},
	{"channel", VALUE_TEXT, "Channel", "Kênh bán hàng"},
	{"count", VALUE_NUMBER, "Number of them", "Số đơn hàng"},
	{"sum_amount", VALUE_NUMBER, "Sum of amounts", "Tổng giá trị"},
	{NULL},
};

static const EventField line_fields[] = {
	{"date", VALUE_DATE, "Date", "Ngày"},
	{"id", VALUE_TEXT, "Product", "Sản phẩm"},
	{"category", VALUE_TEXT, "Category", "Danh mục"},
	{"channel", VALUE_TEXT, "Channel", "Kênh bán hàng"},
	{"count", VALUE_NUMBER, "Orders that hold it", "Số đơn hàng có sản phẩm"},
	{"sum_quantity", VALUE_NUMBER, "Sum of quantities", "Tổng số lượng"},
	{"sum_amount", VALUE_NUMBER, "Sum of amounts", "Tổng giá trị"},
	{NULL},
};

static const EventField return_fields[] = {
	{"date", VALUE_DATE, "Date", "Ngày"},
	{"amount", VALUE_NUMBER, "Amount", "Giá trị trả hàng"},
	{"count", VALUE_NUMBER, "Number of them", "Số lần trả hàng"},
	{"sum_quantity", VALUE_NUMBER, "Sum of quantities", "Tổng số lượng"},
	{"sum_amount", VALUE_NUMBER, "Sum of amounts", "Tổng giá trị"},
	{"id", VALUE_TEXT, "Product", "Sản phẩm"},
	{"category", VALUE_TEXT, "Category", "Danh mục"},
	{NULL},
};

static const EventField offer_fields[] = {
	{"date", VALUE_DATE, "Date", "Ngày"},
	{"offer", VALUE_TEXT, "Offer", "Ưu đãi"},
	{"count", VALUE_NUMBER, "Number of times", "Số lần"},
	{NULL},
};

static const EventField point_fields[] = {
	{"date", VALUE_DATE, "Date", "Ngày"},
	{"points", VALUE_NUMBER, "Points", "Số điểm"},
	{"count", VALUE_NUMBER, "Number of times", "Số lần"},
	{"sum_points", VALUE_NUMBER, "Sum of points", "Tổng điểm"},
	{NULL},
};

static const EventField expiry_fields[] = {
	{"date", VALUE_DATE, "Date", "Ngày"},
	{NULL},
};

static const char *const type_names[] = {
	[VALUE_TEXT] = "text",
	[VALUE_NUMBER] = "number",
	[VALUE_DATE] = "date",
	[VALUE_BOOLEAN] = "boolean",
	[VALUE_LIST] = "list",
	[VALUE_TIER] = "tier",
	[VALUE_EVENT] = "event",
};

/* The word of that name, NULL where the language has none. */
const Word *
segment_word_find(const char *name)
{
	for (int i = 0; i < lengthof(words); i++)
	{
		if (strcmp(words[i].name, name) == 0)
			return &words[i];
	}
	return NULL;
}

/* All words one after the other; NULL after the last. */
const Word *
segment_word_at(int i)
{
	return i < lengthof(words) ? &words[i] : NULL;
}

/* The fields of the events that a narrowing is over, one after the other; NULL after the last. */
const EventField *
segment_event_field(Narrowing event, int i)
{
	const EventField *fields;

	switch (event)
	{
		case NARROW_ORDERS:
		case NARROW_SPENT:
			fields = order_fields;
			break;
		case NARROW_LINES:
			fields = line_fields;
			break;
		case NARROW_RETURN_LINES:
			fields = return_fields;
			break;
		case NARROW_OFFERS:
			fields = offer_fields;
			break;
		case NARROW_POINTS:
			fields = point_fields;
			break;
		case NARROW_EXPIRY:
			fields = expiry_fields;
			break;
		default:
			return NULL;
	}
	return fields[i].name ? &fields[i] : NULL;
}

const char *
segment_value_type_name(ValueType type)
{
	return type_names[type];
}

/* The name most like the one wanted, NULL where none is like it. */
const char *
segment_nearest(const char *wanted, const char *const *names, int n)
{
	const char *nearest = NULL;
	int			length = (int) strlen(wanted);
	int			best = Min((length + 1) / 3, 4) + 1;

	if (length > 255)			/* more than the server compares */
		return NULL;
	for (int i = 0; i < n; i++)
	{
		int			distance;

		if (strlen(names[i]) > 255)
			continue;
		distance = varstr_levenshtein_less_equal(wanted, length, names[i], (int) strlen(names[i]),
												 1, 1, 1, best, true);
		if (distance < best)
		{
			best = distance;
			nearest = names[i];
		}
	}
	return nearest;
}
