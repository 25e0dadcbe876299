/*
 * vocabulary.h
 *		Names of the condition language: their types and what each needs.
 */
#ifndef SEGMENT_VOCABULARY_H
#define SEGMENT_VOCABULARY_H

#include "segment.h"

typedef enum ValueType
{
	VALUE_TEXT,
	VALUE_NUMBER,
	VALUE_DATE,
	VALUE_BOOLEAN,
	VALUE_LIST,					/* of texts */
	VALUE_TIER,					/* code of a tier, ordered by rank */
	VALUE_EVENT					/* for MATCHES alone */
} ValueType;

typedef enum WordId
{
	WORD_NAME,
	WORD_GIVEN_NAME,
	WORD_EMAIL,
	WORD_EMAIL_DOMAIN,
	WORD_PHONE,
	WORD_ADDRESS,
	WORD_SEX,
	WORD_BIRTH_DATE,
	WORD_BIRTH_DAY,
	WORD_BIRTH_MONTH,
	WORD_BIRTH_YEAR,
	WORD_AGE,
	WORD_COUNTRY,
	WORD_REGION,
	WORD_CITY,
	WORD_WARD,
	WORD_TAGS,
	WORD_MEMBER_SINCE,
	WORD_ADDED_DATE,
	WORD_NUMBER_OF_ORDERS,
	WORD_ITEMS_BOUGHT,
	WORD_ITEMS_RETURNED,
	WORD_NUMBER_OF_RETURNS,
	WORD_AMOUNT_SPENT,
	WORD_AMOUNT_ORDERED,
	WORD_AMOUNT_RETURNED,
	WORD_AVERAGE_ORDER_VALUE,
	WORD_MONTHLY_TOTAL,
	WORD_MONTHLY_AVERAGE,
	WORD_FIRST_ORDER_DATE,
	WORD_LAST_ORDER_DATE,
	WORD_DAYS_SINCE_LAST_ORDER,
	WORD_POINTS,
	WORD_POINTS_EXPIRING,
	WORD_TIER,
	WORD_GROUPS,
	WORD_ORDERS_PLACED,
	WORD_PRODUCTS_PURCHASED,
	WORD_RETURNS_MADE,
	WORD_OFFERS_USED,
	WORD_POINTS_EARNED,
	WORD_OF_ORDER,				/* order.amount and its like: in promotions only */
	WORD_CUSTOM,				/* a column of the merchant's own */
	WORD_SHOPIFY_COLUMN,		/* Shopify's, fed by a column of the merchant's own of that name */
	WORD_SHOPIFY				/* Shopify's, which no table of a shop can feed */
} WordId;

/* what a name may have in parentheses */
typedef enum Narrowing
{
	NARROW_NOT,
	NARROW_ORDERS,				/* clauses over the fields of orders */
	NARROW_LINES,				/* of orders and their lines */
	NARROW_RETURN_LINES,		/* of returns and their lines */
	NARROW_SPENT,				/* of orders, which returns share */
	NARROW_OFFERS,
	NARROW_POINTS,
	NARROW_MONTHS,				/* months = n */
	NARROW_LADDER,				/* ladder = 'code' */
	NARROW_EXPIRY				/* clauses over date */
} Narrowing;

/* whatever a name needs to be fed, as bits */
#define NEEDS_ORDERS		(1 << 0)
#define NEEDS_LINES			(1 << 1)
#define NEEDS_RETURNS		(1 << 2)
#define NEEDS_OFFERS		(1 << 3)
#define NEEDS_POINTS		(1 << 4)
#define NEEDS_TAGS			(1 << 5)

typedef struct Word
{
	WordId		id;
	const char *name;
	ValueType	type;
	Narrowing	narrowing;
	int			needs;
	const char *column;			/* of the customers' mapping that feeds it */
	const char *english;
	const char *vietnamese;
} Word;

/* a field of an event */
typedef struct EventField
{
	const char *name;
	ValueType	type;
	const char *english;
	const char *vietnamese;
} EventField;

extern const Word *segment_word_find(const char *name);
extern const Word *segment_word_at(int i);
extern const EventField *segment_event_field(Narrowing event, int i);
extern const char *segment_value_type_name(ValueType type);
extern const char *segment_nearest(const char *wanted, const char *const *names, int n);

#endif							/* SEGMENT_VOCABULARY_H */
