/*
 * not_read.c
 *		Customers whose sex, phone or date of birth says something that nothing
 *		can be read from.
 *
 * Asked for by segment.status().  The mapping of customers is read as the owner
 * of their table, with nothing but operators of the server; texts are judged
 * here, so that this owner needs no right on the schema.  One pass over the
 * table each; sexes are grouped, and only phones without an ordinary digit are
 * looked at.
 */
#include "segment.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "configuration.h"
#include "miscadmin.h"
#include "result_set.h"
#include "saved_plan.h"
#include "source.h"
#include "text_fold.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(segment_not_read);

/* rows read at a time */
#define BATCH 1000

typedef struct NotRead
{
	Source	   *customers;
	PhoneRules	rules;			/* whichever: only whether there is a digit matters */
	int64		rows;
	char	   *example;		/* the least key as text */
	MemoryContext context;		/* it is allocated in */
} NotRead;

static void
note(NotRead *found, int64 rows, const char *key)
{
	found->rows += rows;
	if (found->example == NULL || strcmp(key, found->example) < 0)
		found->example = MemoryContextStrdup(found->context, key);
}

/* Rows (text, how many customers, the least key) of which readable() does not know the text. */
static void
judge(NotRead *found, const char *sql, bool (*readable) (const NotRead *found, const char *value, int length))
{
	Identity	caller;
	Portal		portal;
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "segment not read", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before;
	SPITupleTable *table;
	uint64		n;

	segment_become_merchant(found->customers->owner, NULL, &caller);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, true, 0);
	segment_resume(&caller);
	do
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(batch);
		segment_become_merchant(found->customers->owner, NULL, &caller);
		n = segment_fetch_next(portal, BATCH);
		segment_resume(&caller);
		table = SPI_tuptable;
		before = MemoryContextSwitchTo(batch);
		for (uint64 i = 0; i < n; i++)
		{
			HeapTuple	row = table->vals[i];
			char	   *value = SPI_getvalue(row, table->tupdesc, 1);
			bool		isnull;

			if (!readable(found, value, (int) strlen(value)))
				note(found, DatumGetInt64(SPI_getbinval(row, table->tupdesc, 2, &isnull)), SPI_getvalue(row, table->tupdesc, 3));
		}
		MemoryContextSwitchTo(before);
		SPI_freetuptable(table);
	} while (n > 0);
	SPI_cursor_close(portal);
	MemoryContextDelete(batch);
}

static bool
is_blank(const char *value, int length)
{
	return VARSIZE_ANY_EXHDR(segment_fold_text(value, length)) == 0;
}

static bool
sex_is_readable(const NotRead *found, const char *value, int length)
{
	return segment_sex_name(value, length) != NULL || is_blank(value, length);
}

static bool
phone_is_readable(const NotRead *found, const char *value, int length)
{
	return VARSIZE_ANY_EXHDR(segment_phone_text(value, length, &found->rules)) > 0 || is_blank(value, length);
}

static void
read_sexes(void *argument)
{
	NotRead    *found = argument;

	judge(found, psprintf("SELECT m.sex, count(*), min(m.key::text) FROM %s m WHERE m.counts AND m.sex <> '' GROUP BY 1",
						  found->customers->mapping_sql), sex_is_readable);
}

static void
read_phones(void *argument)
{
	NotRead    *found = argument;

	judge(found, psprintf("SELECT m.phone, 1::bigint, m.key::text FROM %s m WHERE m.counts AND m.phone <> '' AND m.phone !~ '[0-9]'",
						  found->customers->mapping_sql), phone_is_readable);
}

static bool
never(const NotRead *found, const char *value, int length)
{
	return false;
}

static void
read_births(void *argument)
{
	NotRead    *found = argument;
	Source	   *customers = found->customers;
	StringInfoData sql;
	bool		day = segment_source_column(customers, "birth_day") != NULL;
	bool		month = segment_source_column(customers, "birth_month") != NULL;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT '', count(*), min(m.key::text) FROM %s m WHERE m.counts AND (false", customers->mapping_sql);
	if (segment_source_column(customers, "birth_date"))
		appendStringInfoString(&sql, " OR NOT isfinite(m.birth_date)");
	if (day)
		appendStringInfoString(&sql, " OR NOT (m.birth_day BETWEEN 1 AND 31 AND m.birth_day = trunc(m.birth_day))");
	if (month)
		appendStringInfoString(&sql, " OR NOT (m.birth_month BETWEEN 1 AND 12 AND m.birth_month = trunc(m.birth_month))");
	if (day && month)
		appendStringInfoString(&sql, " OR m.birth_month IN (4, 6, 9, 11) AND m.birth_day > 30 OR m.birth_month = 2 AND m.birth_day > 29");
	if (segment_source_column(customers, "birth_year"))
		appendStringInfoString(&sql, " OR NOT (m.birth_year BETWEEN 1 AND 9999 AND m.birth_year = trunc(m.birth_year))");
	appendStringInfoString(&sql, ") HAVING count(*) > 0");
	judge(found, sql.data, never);
}

/* One row for each of the three that is mapped and of which something cannot be read. */
Datum
segment_not_read(PG_FUNCTION_ARGS)
{
	static const struct
	{
		const char *what;
		const char *columns[4];
		void		(*read) (void *found);
		const char *detail;
		const char *hint;
	}			kinds[] = {
		{"sex", {"sex"}, read_sexes, "Neither female nor male can be read from it: unknown in conditions",
			"Map what it means: sex => $$CASE gender WHEN 1 THEN 'male' WHEN 2 THEN 'female' END$$."},
		{"phone", {"phone"}, read_phones, "There is no digit in it: nothing asked of a number finds it",
			"Map NULL where there is no number: phone => $$nullif(phone, 'n/a')$$."},
		{"birth date", {"birth_date", "birth_day", "birth_month", "birth_year"}, read_births, "It is no day of the calendar",
		"Map NULL in its place: birth_day => $$nullif(birth_day, 0)$$."},
	};
	MemoryContext context = CurrentMemoryContext;
	Tuplestorestate *rows;
	TupleDesc	desc;
	Oid			left_out;
	Source	   *customers;

	rows = segment_begin_set(fcinfo, &desc);

	/* keys of customers are for whoever may read those of rows left out */
	left_out = get_relname_relid("left_out", get_namespace_oid("segment", false));
	if (pg_class_aclcheck(left_out, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return (Datum) 0;
	segment_connect(0);
	customers = segment_customers_source(segment_sources_acquire());
	for (int i = 0; customers != NULL && i < lengthof(kinds); i++)
	{
		NotRead		found = {.customers = customers, .rules.country_code = segment_setting("country_code"), .context = context};
		bool		mapped = false;
		ErrorData  *error;
		Datum		values[4] = {CStringGetTextDatum(kinds[i].what)};
		bool		nulls[4] = {false};

		for (int j = 0; j < lengthof(kinds[i].columns) && kinds[i].columns[j]; j++)
			mapped |= segment_source_column(customers, kinds[i].columns[j]) != NULL;
		if (!mapped)
			continue;
		error = segment_try(kinds[i].read, &found);
		if (error == NULL && found.rows == 0)
			continue;
		values[1] = Int64GetDatum(found.rows);
		nulls[1] = error != NULL;
		values[2] = CStringGetTextDatum(error ? psprintf("The mapping raises: %s", error->message)
										: psprintf("%s; for example customer %s", kinds[i].detail, found.example));
		values[3] = CStringGetTextDatum(error ? "Attach the table again with an expression that raises for no row." : kinds[i].hint);
		tuplestore_putvalues(rows, desc, values, nulls);
	}
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}
