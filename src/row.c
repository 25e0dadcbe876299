/*
 * row.c
 *		What one row of an attached table means.
 *
 * A row that should count but holds what cannot be added up (NULL, NaN,
 * infinity, another currency, an expression that raises) is left out, with the
 * reason: odd values are data, never a failed sale.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "optimizer/optimizer.h"
#include "row.h"
#include "saved_plan.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* rows read at a time when they are read one by one */
#define SCAN_BATCH 1000

Row *
segment_rows_add(Rows *rows)
{
	if (rows->n == rows->size)
	{
		rows->size = rows->size == 0 ? 8 : rows->size * 2;
		rows->rows = rows->rows == NULL
			? MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Row) * (Size) rows->size)
			: repalloc_huge(rows->rows, sizeof(Row) * (Size) rows->size);
	}
	memset(&rows->rows[rows->n], 0, sizeof(Row));
	return &rows->rows[rows->n++];
}

/* An array of values of a type, nulls may be NULL. */
ArrayType *
segment_array(Oid type, Datum *values, const bool *nulls, int n)
{
	int16		length;
	bool		by_value;
	char		align;
	int			dims[1] = {n};
	int			lower[1] = {1};

	get_typlenbyvalalign(type, &length, &by_value, &align);
	if (n == 0)
		return construct_empty_array(type);
	return construct_md_array(values, unconstify(bool *, nulls), 1, dims, lower,
							  type, length, by_value, align);
}

/* Make the expressions of a source's fields ready for rows; ends with _close(). */
void
segment_row_reader_open(RowReader *reader, SourceSet *set, Source *source)
{
	MemoryContext before;

	memset(reader, 0, sizeof(RowReader));
	reader->set = set;
	reader->source = source;
	reader->context = CurrentMemoryContext;
	reader->estate = CreateExecutorState();
	reader->econtext = GetPerTupleExprContext(reader->estate);
	before = MemoryContextSwitchTo(reader->estate->es_query_cxt);
	for (int i = 0; i < FIELD_COUNT; i++)
	{
		if (source->fields[i].mapped && source->fields[i].attno == 0)
			reader->states[i] = ExecInitExpr(expression_planner(copyObject(source->fields[i].expr)), NULL);
	}
	MemoryContextSwitchTo(before);
}

void
segment_row_reader_close(RowReader *reader)
{
	FreeExecutorState(reader->estate);
}

static Datum
read_field(RowReader *reader, TupleTableSlot *slot, SourceField field, bool *isnull)
{
	const FieldMapping *mapping = &reader->source->fields[field];

	if (!mapping->mapped)
	{
		*isnull = true;
		return (Datum) 0;
	}
	if (mapping->attno != 0)
		return slot_getattr(slot, mapping->attno, isnull);
	return ExecEvalExprSwitchContext(reader->states[field], reader->econtext, isnull);
}

/* A copy in the current context. */
static Datum
copy_value(Datum value, Oid type)
{
	int16		length;
	bool		by_value;

	get_typlenbyval(type, &length, &by_value);
	if (length == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return datumCopy(value, by_value, length);
}

/* Why an amount or a number of items cannot be added up, NULL where it can. */
static char *
number_fault(const char *name, Numeric amount)
{
	static const char *const limits[] = {"-1e30", "1e30"};
	Datum		outside;

	if (numeric_is_nan(amount))
		return psprintf("%s is NaN", name);
	if (numeric_is_inf(amount))
		return psprintf("%s is infinite", name);
	for (int i = 0; i < 2; i++)
	{
		Datum		limit = DirectFunctionCall3(numeric_in, CStringGetDatum(limits[i]),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

		outside = i == 0 ? DirectFunctionCall2(numeric_le, NumericGetDatum(amount), limit)
			: DirectFunctionCall2(numeric_ge, NumericGetDatum(amount), limit);
		if (DatumGetBool(outside))
			return psprintf("%s is not between -1e30 and 1e30", name);
	}
	return NULL;
}

static char *
instant_fault(TimestampTz at)
{
	/* 0001-01-01 and 10000-01-01, in UTC */
	static const TimestampTz first = ((TimestampTz) 1721426 - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
	static const TimestampTz end = ((TimestampTz) 5373485 - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;

	if (TIMESTAMP_NOT_FINITE(at))
		return "at is infinite";
	if (at < first || at >= end)
		return "at is not between the years 1 and 9999";
	return NULL;
}

/* Judge the items of a row that should count; none are no fault, but of lines. */
static void
judge_items(Source *source, Row *row, Datum items, bool items_null)
{
	const char *name = segment_field_column(source->role, FIELD_ITEMS);

	if (!items_null)
	{
		row->left_out = number_fault(name, DatumGetNumeric(items));
		if (source->counts_items)
			row->items = DatumGetNumericCopy(items);
	}
	else if (segment_is_lines(source->role))
		row->left_out = psprintf("%s is NULL", name);
}

/* Judge the values of a row that should count. */
static void
judge_values(RowReader *reader, Row *row, Datum amount, bool amount_null,
			 Datum at, bool at_null, Datum currency, bool currency_null,
			 Datum items, bool items_null)
{
	Source	   *source = reader->source;

	if (segment_is_lines(source->role))
	{
		judge_items(source, row, items, items_null);
		row->counts = row->left_out == NULL;
		return;
	}
	if (source->fields[FIELD_CURRENCY].mapped &&
		(currency_null || strcmp(TextDatumGetCString(currency), source->currency) != 0))
	{
		row->left_out = currency_null ? "currency is NULL"
			: segment_clip(psprintf("currency is %s", TextDatumGetCString(currency)));
		return;
	}
	if (amount_null || at_null)
	{
		row->left_out = amount_null ? "amount is NULL" : "at is NULL";
		return;
	}
	row->amount = DatumGetNumericCopy(amount);
	row->at = DatumGetTimestampTz(at);
	row->left_out = number_fault("amount", row->amount);
	if (row->left_out == NULL)
		row->left_out = instant_fault(row->at);
	if (row->left_out == NULL)
		judge_items(source, row, items, items_null);
	row->counts = row->left_out == NULL;
}

/* May raise what the merchant's expressions raise. */
static void
read_row(RowReader *reader, TupleTableSlot *slot, Row *row)
{
	Source	   *source = reader->source;
	MemoryContext before;
	Datum		value;
	bool		isnull;
	Datum		amount,
				at,
				currency,
				items;
	bool		amount_null,
				at_null,
				currency_null,
				items_null;

	memset(row, 0, sizeof(Row));
	ResetExprContext(reader->econtext);
	reader->econtext->ecxt_scantuple = slot;
	before = MemoryContextSwitchTo(reader->context);

	value = read_field(reader, slot, FIELD_KEY, &isnull);
	if (!isnull)
	{
		row->has_key = true;
		row->key = copy_value(value, source->fields[FIELD_KEY].type);
	}
	value = read_field(reader, slot, FIELD_COUNTED, &isnull);
	if (!isnull && DatumGetBool(value))
	{
		if (source->role == ROLE_CUSTOMERS)
			row->counts = row->has_key && !segment_is_anonymous(reader->set, row->key);
		else
		{
			value = read_field(reader, slot, FIELD_CUSTOMER, &isnull);
			if (!isnull && !segment_is_anonymous(reader->set, value))
			{
				row->has_customer = true;
				row->customer = segment_copy_customer(reader->set, value);
				amount = read_field(reader, slot, FIELD_AMOUNT, &amount_null);
				at = read_field(reader, slot, FIELD_AT, &at_null);
				currency = read_field(reader, slot, FIELD_CURRENCY, &currency_null);
				items = read_field(reader, slot, FIELD_ITEMS, &items_null);
				judge_values(reader, row, amount, amount_null, at, at_null, currency, currency_null,
							 items, items_null);
			}
		}
	}
	MemoryContextSwitchTo(before);
}

/* The message of an error caught, for a list of rows left out. */
static char *
raised(ErrorData *error)
{
	return segment_clip(psprintf("raised: %s", error->message));
}

typedef struct ReadRow
{
	RowReader  *reader;
	TupleTableSlot *slot;
	Row		   *row;
} ReadRow;

static void
read_row_work(void *argument)
{
	ReadRow    *work = argument;

	read_row(work->reader, work->slot, work->row);
}

/*
 * What a row at hand means; the result is allocated in the context in which
 * the reader was opened.  The caller acts as the owner of the merchant's table.
 */
void
segment_read_row(RowReader *reader, TupleTableSlot *slot, Row *row)
{
	ReadRow		work = {.reader = reader, .slot = slot, .row = row};
	ErrorData  *error;

	if (!reader->source->may_raise)
	{
		read_row(reader, slot, row);
		return;
	}
	error = segment_try(read_row_work, &work);
	if (error != NULL)
	{
		row->counts = false;
		row->left_out = raised(error);
	}
}

/*
 * Read the rows of a direct source one by one, those of some customers (an
 * array of keys) or, with 0, all; each is handed to take() and gone afterwards.
 * This is the slow way, for tables in which some row's expression raises.
 */
void
segment_scan_direct(SourceSet *set, Source *source, Datum customers, bool read_only,
					void (*take) (const Row *row, void *argument), void *argument)
{
	AttrNumber	attno = source->role == ROLE_CUSTOMERS
		? source->fields[FIELD_KEY].attno : source->fields[FIELD_CUSTOMER].attno;
	bool		filtered = customers && attno != 0;
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "segment rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before;
	RowReader	reader;
	Portal		portal;
	Identity	caller;

	segment_become_merchant(source->owner, NULL, &caller);
	portal = SPI_cursor_open_with_args(NULL,
									   psprintf("SELECT t.* FROM %s t%s", source->name, filtered
												? psprintf(" WHERE t.%s = ANY ($1)",
														   quote_identifier(get_attname(source->relid, attno, false))) : ""),
									   filtered ? 1 : 0, &set->key_array_type, &customers, NULL, read_only, 0);
	before = MemoryContextSwitchTo(batch);
	for (;;)
	{
		SPITupleTable *table;
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(batch);
		if (segment_fetch_next(portal, SCAN_BATCH) == 0)
			break;
		table = SPI_tuptable;
		slot = MakeSingleTupleTableSlot(table->tupdesc, &TTSOpsHeapTuple);
		segment_row_reader_open(&reader, set, source);
		for (uint64 i = 0, n = SPI_processed; i < n; i++)
		{
			Row			row;

			ExecStoreHeapTuple(table->vals[i], slot, false);
			segment_read_row(&reader, slot, &row);
			take(&row, argument);
		}
		segment_row_reader_close(&reader);
		ExecDropSingleTupleTableSlot(slot);
		SPI_freetuptable(table);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(batch);
	SPI_cursor_close(portal);
	segment_resume(&caller);
}

static bool
same_number(Numeric a, Numeric b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Whether two rows count for the same: nothing to do for an update between them. */
bool
segment_same_row(SourceSet *set, const Row *a, const Row *b)
{
	if (a->counts != b->counts)
		return false;
	if ((a->left_out == NULL) != (b->left_out == NULL) ||
		(a->left_out && strcmp(a->left_out, b->left_out) != 0))
		return false;
	if (!a->counts)
		return a->left_out == NULL;
	return segment_compare_customers(set, a->customer, b->customer) == 0 &&
		a->at == b->at && same_number(a->amount, b->amount) && same_number(a->items, b->items);
}

/* The items that a row counts for. */
Numeric
segment_items(const Row *row)
{
	return row->items ? row->items : int64_to_numeric(0);
}

/* At most 200 characters of a text, as left() in SQL. */
char *
segment_clip(const char *text)
{
	return pnstrdup(text, pg_mbcharcliplen(text, strlen(text), 200));
}

/* A row's key as text; empty where it has none. */
char *
segment_key_text(Source *source, const Row *row)
{
	Oid			output;
	bool		varlena;

	if (!row->has_key)
		return "";
	getTypeOutputInfo(source->fields[segment_ledger_field(source)].type, &output, &varlena);
	return OidOutputFunctionCall(output, row->key);
}

/*
 * Linked sources: their rows are read through the mapping, by key.
 */

static const char *
field_sql(Source *source, SourceField field, const char *type)
{
	return source->fields[field].mapped
		? psprintf("s.%s", segment_field_column(source->role, field)) : psprintf("NULL::%s", type);
}

/*
 * Why a row that should count does not, in the same words and order as above:
 * an expression over the mapping "s", NULL where the row counts.  Every name in
 * it is found with the pinned path.
 */
const char *
segment_reason_sql(Source *source)
{
	const char *items = segment_field_column(source->role, FIELD_ITEMS);
	StringInfoData sql;

	if (source->role == ROLE_CUSTOMERS)
		return "NULL::text";
	initStringInfo(&sql);
	appendStringInfoString(&sql, "CASE WHEN s.counts THEN NULL");
	if (source->fields[FIELD_CURRENCY].mapped)
		appendStringInfo(&sql, " WHEN s.currency IS NULL THEN 'currency is NULL'"
						 " WHEN s.currency <> %s THEN 'currency is ' || s.currency",
						 quote_literal_cstr(source->currency));
	if (!segment_is_lines(source->role))
		appendStringInfoString(&sql,
							   " WHEN s.amount IS NULL THEN 'amount is NULL'"
							   " WHEN s.at IS NULL THEN 'at is NULL'"
							   " WHEN s.amount = 'NaN' THEN 'amount is NaN'"
							   " WHEN s.amount = 'Infinity' OR s.amount = '-Infinity' THEN 'amount is infinite'"
							   " WHEN s.amount <= -1e30 OR s.amount >= 1e30 THEN 'amount is not between -1e30 and 1e30'"
							   " WHEN NOT isfinite(s.at) THEN 'at is infinite'"
							   " WHEN s.at < '0001-01-01 00:00:00+00' OR s.at >= '10000-01-01 00:00:00+00'"
							   " THEN 'at is not between the years 1 and 9999'");
	if (source->fields[FIELD_ITEMS].mapped)
		appendStringInfo(&sql,
						 " WHEN s.%1$s IS NULL THEN '%1$s is NULL'"
						 " WHEN s.%1$s = 'NaN' THEN '%1$s is NaN'"
						 " WHEN s.%1$s = 'Infinity' OR s.%1$s = '-Infinity' THEN '%1$s is infinite'"
						 " ELSE '%1$s is not between -1e30 and 1e30'", items);
	appendStringInfoString(&sql, " END");
	return sql.data;
}

/*
 * Rows by key.  Lines without a key of their own are added up per parent; what
 * is left out of them makes a row for each reason.
 */
static char *
read_rows_sql(SourceSet *set, Source *source)
{
	const char *no_customer = psprintf("NULL::%s", set->key_type_name);

	if (source->grouped)
		return psprintf("SELECT s.%1$s, %2$s, true, s.%1$s, NULL::numeric, NULL::timestamptz, NULL::text,"
						" sum(s.quantity), %3$s FROM %4$s s WHERE s.%1$s OPERATOR(pg_catalog.=) ANY ($1) AND s.counted"
						" GROUP BY s.%1$s, 9",
						segment_field_column(source->role, FIELD_PARENT_KEY), no_customer,
						segment_reason_sql(source), source->mapping_sql);
	return psprintf("SELECT s.key, %s, s.counted, %s, %s, %s, %s, %s, NULL::text FROM %s s"
					" WHERE s.key OPERATOR(pg_catalog.=) ANY ($1)",
					source->fields[FIELD_CUSTOMER].mapped ? psprintf("(s.customer)::%s", set->key_type_name) : no_customer,
					field_sql(source, FIELD_PARENT_KEY, "text"),
					field_sql(source, FIELD_AMOUNT, "numeric"),
					field_sql(source, FIELD_AT, "timestamptz"),
					field_sql(source, FIELD_CURRENCY, "text"),
					field_sql(source, FIELD_ITEMS, "numeric"),
					source->mapping_sql);
}

/* Turn the rows that a query gave into Rows. */
static void
take_rows(SourceSet *set, Source *source, Rows *rows)
{
	SPITupleTable *table = SPI_tuptable;
	RowReader	reader = {.set = set, .source = source};
	Oid			key_type = source->fields[segment_ledger_field(source)].type;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[9];
		bool		nulls[9];
		Row		   *row = segment_rows_add(rows);

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		row->has_key = !nulls[0];
		if (row->has_key)
			row->key = copy_value(values[0], key_type);
		if (nulls[2] || !DatumGetBool(values[2]))
			continue;
		if (source->role == ROLE_CUSTOMERS)
		{
			row->counts = row->has_key && !segment_is_anonymous(set, row->key);
			continue;
		}
		row->has_customer = !nulls[1];
		if (row->has_customer)
			row->customer = segment_copy_customer(set, values[1]);
		row->has_parent_key = !nulls[3];
		if (row->has_parent_key)
			row->parent_key = copy_value(values[3], source->fields[FIELD_PARENT_KEY].type);
		if (nulls[8])
			judge_values(&reader, row, values[4], nulls[4], values[5], nulls[5], values[6], nulls[6],
						 values[7], nulls[7]);
		else
			row->left_out = segment_clip(TextDatumGetCString(values[8]));
	}
	SPI_freetuptable(table);
}

/* a query over an array of keys, run as the owner of a merchant's table */
typedef struct Fetch
{
	Oid			owner;
	SPIPlanPtr *kept;
	const char *sql;
	Oid			type;			/* of a key */
	Datum	   *keys;
	int			n;
} Fetch;

static void
fetch_work(void *argument)
{
	Fetch	   *fetch = argument;
	Oid			array_type = get_array_type(fetch->type);
	Datum		array = PointerGetDatum(segment_array(fetch->type, fetch->keys, NULL, fetch->n));
	Identity	caller;

	segment_become_merchant(fetch->owner, NULL, &caller);
	segment_fetch(segment_merchant_plan(fetch->kept, fetch->sql, 1, &array_type), &array, NULL);
	segment_resume(&caller);
}

/* Run it in a subtransaction for some of its keys: NULL, or why it raised. */
static char *
try_fetch(Fetch *fetch, Datum *keys, int n)
{
	ErrorData  *error;

	fetch->keys = keys;
	fetch->n = n;
	error = segment_try(fetch_work, fetch);
	return error == NULL ? NULL : raised(error);
}

/* A key as text, the same for all values that are equal: 1 and 1.0. */
char *
segment_value_text(Oid type, Datum value)
{
	Oid			output;
	bool		varlena;

	if (getBaseType(type) == NUMERICOID)
		value = DirectFunctionCall1(numeric_trim_scale, value);
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/* a row of the parent that counts, as rows name it */
typedef struct Parent
{
	char	   *key;
	bool		has_customer;
	Datum		customer;
} Parent;

static int
compare_parents(const void *a, const void *b)
{
	return strcmp(((const Parent *) a)->key, ((const Parent *) b)->key);
}

typedef struct Parents
{
	int			n;
	Parent	   *parents;		/* sorted by key */
} Parents;

static void
add_parents(Parents *list, uint64 n)
{
	list->parents = list->parents == NULL
		? MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Parent) * (Size) (n + 1))
		: repalloc_huge(list->parents, sizeof(Parent) * (Size) (list->n + n + 1));
}

static void
take_parents(SourceSet *set, Source *parent, Parents *list)
{
	SPITupleTable *table = SPI_tuptable;

	add_parents(list, SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[2];
		bool		nulls[2];
		Parent	   *item = &list->parents[list->n++];

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		item->key = segment_value_text(parent->fields[FIELD_KEY].type, values[0]);
		item->has_customer = !nulls[1];
		if (!nulls[1])
			item->customer = segment_copy_customer(set, values[1]);
	}
	SPI_freetuptable(table);
}

/* Keys as the parent's own type has them; one that does not fit names nothing. */
static Datum *
parent_keys(Source *source, Source *parent, Datum *keys, int *n)
{
	Oid			from = getBaseType(source->fields[FIELD_PARENT_KEY].type);
	Oid			to = getBaseType(parent->fields[FIELD_KEY].type);
	Datum	   *converted = palloc(sizeof(Datum) * *n);
	int			kept = 0;

	if (from == to || (to != INT2OID && to != INT4OID && to != INT8OID))
		return keys;
	for (int i = 0; i < *n; i++)
	{
		int64		value = from == INT2OID ? DatumGetInt16(keys[i])
			: from == INT4OID ? DatumGetInt32(keys[i]) : DatumGetInt64(keys[i]);

		if (to == INT8OID)
			converted[kept++] = Int64GetDatum(value);
		else if (to == INT4OID && value >= PG_INT32_MIN && value <= PG_INT32_MAX)
			converted[kept++] = Int32GetDatum((int32) value);
		else if (to == INT2OID && value >= PG_INT16_MIN && value <= PG_INT16_MAX)
			converted[kept++] = Int16GetDatum((int16) value);
	}
	*n = kept;
	return converted;
}

static int
compare_parents_and_customers(const void *a, const void *b, void *set)
{
	int			order = compare_parents(a, b);

	return order != 0 ? order
		: segment_compare_customers(set, ((const Parent *) a)->customer, ((const Parent *) b)->customer);
}

/*
 * Rows of a parent that itself names rows of another source: returns of return
 * lines.  Where a key repeats, the least of their customers stands for it.
 */
static void
read_linked_parents(SourceSet *set, Source *parent, Datum *keys, int nkeys, Parents *list)
{
	Rows		rows = {0};
	int			n = 0;

	segment_read_linked(set, parent, keys, nkeys, &rows);
	add_parents(list, rows.n);
	for (int i = 0; i < rows.n; i++)
	{
		if (!rows.rows[i].counts)
			continue;
		list->parents[list->n].key = segment_key_text(parent, &rows.rows[i]);
		list->parents[list->n].has_customer = true;
		list->parents[list->n++].customer = rows.rows[i].customer;
	}
	if (!parent->key_may_repeat || list->n < 2)
		return;
	qsort_arg(list->parents, list->n, sizeof(Parent), compare_parents_and_customers, set);
	for (int i = 0; i < list->n; i++)
	{
		if (i == 0 || compare_parents(&list->parents[n - 1], &list->parents[i]) != 0)
			list->parents[n++] = list->parents[i];
	}
	list->n = n;
}

/*
 * Where several rows bear one key, as only a partitioned table allows, it counts
 * while any of them does, for the least of their customers; a walk-in one only
 * where there is no other.
 */
char *
segment_parents_sql(SourceSet *set, Source *parent, const char *condition)
{
	if (!parent->key_may_repeat)
		return psprintf("SELECT o.key, (o.customer)::%s FROM %s o WHERE o.counts AND %s",
						set->key_type_name, parent->mapping_sql, condition);
	return psprintf("SELECT DISTINCT ON (o.key) o.key, (o.customer)::%s FROM %s o WHERE o.counts AND %s"
					" ORDER BY o.key,%s o.customer%s",
					set->key_type_name, parent->mapping_sql, condition,
					set->nanonymous > 0 ? psprintf(" o.customer OPERATOR(pg_catalog.=) ANY (%s),", set->anonymous_sql) : "",
					set->key_order);
}

/* Rows of the parent that count, among those with the given keys. */
static void
read_parents(SourceSet *set, Source *source, Datum *keys, int nkeys, Parents *list)
{
	Source	   *parent = &set->sources[source->parent];
	Fetch		fetch = {
		.owner = parent->owner,
		.kept = &source->plans[PLAN_READ_PARENTS],
		.type = getBaseType(source->fields[FIELD_PARENT_KEY].type),
	};

	if (nkeys == 0)
		return;
	if (parent->parent >= 0)
	{
		keys = parent_keys(source, parent, keys, &nkeys);
		read_linked_parents(set, parent, keys, nkeys, list);
	}
	else
	{
		fetch.sql = segment_parents_sql(set, parent, "o.key OPERATOR(pg_catalog.=) ANY ($1)");
		if (try_fetch(&fetch, keys, nkeys) == NULL)
			take_parents(set, parent, list);
		else
		{
			/* a row that raises does not count; it is listed as left out itself */
			for (int i = 0; i < nkeys; i++)
			{
				if (try_fetch(&fetch, &keys[i], 1) == NULL)
					take_parents(set, parent, list);
			}
		}
	}
	qsort(list->parents, list->n, sizeof(Parent), compare_parents);
}

/* A row that names a row of the parent counts while that one counts, for its customer. */
static void
apply_parents(SourceSet *set, Source *source, Rows *rows)
{
	Datum	   *keys = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * (Size) Max(rows->n, 1));
	int			nkeys = 0;
	Parents		parents = {0};

	for (int i = 0; i < rows->n; i++)
	{
		if (rows->rows[i].has_parent_key && (rows->rows[i].counts || rows->rows[i].left_out))
			keys[nkeys++] = rows->rows[i].parent_key;
	}
	read_parents(set, source, keys, nkeys, &parents);
	for (int i = 0; i < rows->n; i++)
	{
		Row		   *row = &rows->rows[i];
		Parent		wanted;
		Parent	   *found;

		if (!row->has_parent_key)
			continue;
		wanted.key = segment_value_text(source->fields[FIELD_PARENT_KEY].type, row->parent_key);
		found = parents.n == 0 ? NULL
			: bsearch(&wanted, parents.parents, parents.n, sizeof(Parent), compare_parents);
		if (found == NULL)
		{
			row->counts = false;
			row->left_out = NULL;
		}
		else if (!row->has_customer && found->has_customer)
		{
			row->has_customer = true;
			row->customer = found->customer;
		}
	}
}

/*
 * What rows of a linked source mean now, by their keys; a row that is gone is
 * not among the result.  Must run inside SPI, by whoever holds the locks that
 * make "now" final (see fact.c).
 */
void
segment_read_linked(SourceSet *set, Source *source, Datum *keys, int nkeys, Rows *rows)
{
	Oid			type = getBaseType(source->fields[segment_ledger_field(source)].type);
	Fetch		fetch = {
		.owner = source->owner,
		.kept = &source->plans[PLAN_READ_ROWS],
		.sql = read_rows_sql(set, source),
		.type = type,
	};
	char	   *message;

	if (nkeys == 0)
		return;
	if (try_fetch(&fetch, keys, nkeys) == NULL)
		take_rows(set, source, rows);
	else
	{
		for (int i = 0; i < nkeys; i++)
		{
			message = try_fetch(&fetch, &keys[i], 1);
			if (message == NULL)
				take_rows(set, source, rows);
			else
			{
				Row		   *row = segment_rows_add(rows);

				row->has_key = true;
				row->key = copy_value(keys[i], type);
				row->left_out = message;
				row->raised = true;
			}
		}
	}
	if (source->role == ROLE_CUSTOMERS)
		return;
	if (source->parent >= 0)
		apply_parents(set, source, rows);
	for (int i = 0; i < rows->n; i++)
	{
		Row		   *row = &rows->rows[i];

		if (row->has_customer && segment_is_anonymous(set, row->customer))
			row->has_customer = false;
		if (!row->has_customer)
		{
			row->counts = false;
			if (!row->raised)
				row->left_out = NULL;
		}
	}
}

static void
old_customers_work(void *argument)
{
	Source	   *source = argument;
	Identity	caller;

	segment_become_merchant(source->owner, NULL, &caller);
	segment_fetch(segment_merchant_plan(&source->plans[PLAN_READ_OLD_CUSTOMERS], source->old_customers_sql, 0, NULL),
				  NULL, NULL);
	segment_resume(&caller);
}

/*
 * For whom rows "old_rows" of a linked source may have counted before the
 * statement, as far as other tables say so now; false where that raises.
 */
bool
segment_read_old_customers(SourceSet *set, Source *source, Rows *rows)
{
	SPITupleTable *table;

	if (segment_try(old_customers_work, source) != NULL)
		return false;
	table = SPI_tuptable;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[2];
		bool		nulls[2];
		Row		   *row = segment_rows_add(rows);

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		row->counts = true;
		row->has_customer = !nulls[0];
		if (row->has_customer)
			row->customer = segment_copy_customer(set, values[0]);
		row->has_parent_key = !nulls[1];
		if (row->has_parent_key)
			row->parent_key = copy_value(values[1], source->fields[FIELD_PARENT_KEY].type);
	}
	SPI_freetuptable(table);
	if (source->parent >= 0)
		apply_parents(set, source, rows);
	return true;
}
