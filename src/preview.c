/*
 * preview.c
 *		Conditions asked of a shop: who satisfies one, what it says in SQL, and
 *		what the language knows here.
 *
 * Figures are read by one query as the owner of the merchant's tables; where
 * they have several owners, as whoever asks.  The condition is then judged in C.
 * Personal columns are read apart, as whoever asks.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "condition_eval.h"
#include "condition_sql.h"
#include "configuration.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "row.h"
#include "saved_plan.h"
#include "text_fold.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"

PG_FUNCTION_INFO_V1(segment_to_sql);
PG_FUNCTION_INFO_V1(segment_preview);
PG_FUNCTION_INFO_V1(segment_preview_count);
PG_FUNCTION_INFO_V1(segment_judge_condition);
PG_FUNCTION_INFO_V1(segment_figures);

/* customers read at a time */
#define BATCH 1000

/* figures of one condition: with the key they must fit a target list of the server, which has 1,664 entries */
#define MAX_FIGURES 1600

/* a condition being asked */
typedef struct Inquiry
{
	SourceSet  *set;
	Bound	   *bound;
	Shop		shop;
	int64		limit;			/* -1: all */
	int64		found;
	void		(*take) (struct Inquiry *inquiry, Datum key, const FigureValue *figures);
	Tuplestorestate *rows;		/* preview() */
	TupleDesc	desc;
	List	   *members;		/* preview(): keys and figures of the batch */
	struct Wanted *wanted;		/* preview(): values looked for */
} Inquiry;

/*
 * The shop's clock.
 */

static void
read_shop(Shop *shop, TimestampTz at)
{
	SPITupleTable *table;
	Identity	caller;
	Datum		value;
	Oid			type = TEXTOID;

	shop->at = at;
	shop->zone_name = segment_setting("timezone");
	shop->zone = pg_tzset(shop->zone_name);
	if (shop->zone == NULL || !segment_day_of_instant(at, shop->zone, &shop->today))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("argument \"at\" is not a day of the calendar"),
				 errhint("Give an instant between the years 1 and 9999, or leave it out for now.")));
	shop->given_name_first = strcmp(segment_setting("given_name"), "first") == 0;
	value = CStringGetTextDatum(segment_setting("country_code"));
	segment_become(segment_owner(), &caller);
	segment_execute_with("SELECT segment._phone_rules_of($1)", 1, &type, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	shop->phone_rules = SPI_getvalue(table->vals[0], table->tupdesc, 1);
	shop->phones = segment_parse_phone_rules(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(shop->phone_rules))));
}

/* Bind the condition, for an instant or now; must run inside SPI. */
static void
begin_inquiry(Inquiry *inquiry, FunctionCallInfo fcinfo, int condition, int at)
{
	memset(inquiry, 0, sizeof(Inquiry));
	inquiry->limit = -1;
	inquiry->set = segment_sources_acquire();
	if (segment_customers_source(inquiry->set) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers().")));
	read_shop(&inquiry->shop, PG_ARGISNULL(at) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(at));
	inquiry->bound = segment_bind(inquiry->set, PG_GETARG_CONDITION_P(condition));
	segment_condition_prepare(inquiry->bound->root, &inquiry->shop);
	if (inquiry->bound->nfigures > MAX_FIGURES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("condition asks for %d different figures, more than %d", inquiry->bound->nfigures, MAX_FIGURES),
				 errhint("However many clauses may ask for the same figures, narrowed alike; else divide the condition.")));
}

/*
 * Reading figures.
 */

/* The owner of all tables that the language reads here, InvalidOid where there are several. */
static Oid
only_owner(SourceSet *set)
{
	Oid			owner = segment_customers_source(set)->owner;

	for (int i = 0; segment_every_source(set, i) != NULL; i++)
	{
		if (segment_every_source(set, i)->owner != owner)
			return InvalidOid;
	}
	return owner;
}

static void
read_list(Datum value, FigureValue *figure)
{
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &figure->nelements);
	figure->elements = palloc0(sizeof(char *) * Max(figure->nelements, 1));
	for (int i = 0; i < figure->nelements; i++)
	{
		if (!nulls[i])
			figure->elements[i] = TextDatumGetCString(elements[i]);
	}
}

/* One figure of a row; the query gives whatever type its SQL has. */
static void
read_figure(SourceSet *set, const BoundFigure *figure, Datum value, bool isnull, Oid type, FigureValue *result)
{
	memset(result, 0, sizeof(FigureValue));
	result->isnull = isnull;
	result->derived = figure->word->id == WORD_GIVEN_NAME &&
		segment_source_column(segment_customers_source(set), "given_name") != NULL;
	if (isnull)
		return;
	switch (figure->type)
	{
		case VALUE_NUMBER:
			result->number = type == INT8OID ? int64_to_numeric(DatumGetInt64(value))
				: type == INT4OID ? int64_to_numeric(DatumGetInt32(value)) : DatumGetNumericCopy(value);
			break;
		case VALUE_DATE:
			if (type == TIMESTAMPTZOID)
				result->instant = DatumGetTimestampTz(value);
			else
				result->date = DatumGetDateADT(value);
			break;
		case VALUE_BOOLEAN:
			result->boolean = DatumGetBool(value);
			break;
		case VALUE_LIST:
			read_list(value, result);
			break;
		default:
			result->text = TextDatumGetCString(value);
	}
}

/* Hand those who satisfy the condition to take(), until it has enough; work for the batch after each. */
static void
inquire(Inquiry *inquiry, void (*after_batch) (Inquiry *))
{
	SourceSet  *set = inquiry->set;
	Oid			owner = only_owner(set);
	char	   *sql = psprintf("%s\nORDER BY c.key%s", segment_figures_select(set, inquiry->bound, &inquiry->shop), set->key_order);
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "segment inquiry", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before;
	Portal		portal;
	Identity	caller;
	int			n = inquiry->bound->nfigures;

	segment_become_merchant(OidIsValid(owner) ? owner : GetUserId(), NULL, &caller);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, true, 0);
	segment_resume(&caller);
	before = MemoryContextSwitchTo(batch);
	while (inquiry->limit < 0 || inquiry->found < inquiry->limit)
	{
		SPITupleTable *table;
		uint64		rows;
		FigureValue *figures;
		Datum	   *values;
		bool	   *nulls;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(batch);
		inquiry->members = NIL;
		segment_become_merchant(OidIsValid(owner) ? owner : GetUserId(), NULL, &caller);
		rows = segment_fetch_next(portal, BATCH);
		segment_resume(&caller);
		if (rows == 0)
			break;
		table = SPI_tuptable;
		figures = palloc(sizeof(FigureValue) * Max(n, 1));
		values = palloc(sizeof(Datum) * (n + 1));
		nulls = palloc(sizeof(bool) * (n + 1));
		for (uint64 i = 0; i < rows && (inquiry->limit < 0 || inquiry->found < inquiry->limit); i++)
		{
			heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
			for (int j = 0; j < n; j++)
				read_figure(set, inquiry->bound->figures[j], values[j + 1], nulls[j + 1],
							TupleDescAttr(table->tupdesc, j + 1)->atttypid, &figures[j]);
			if (!segment_condition_holds(inquiry->bound, figures, &inquiry->shop))
				continue;
			inquiry->found++;
			if (inquiry->take)
				inquiry->take(inquiry, segment_copy_customer(set, values[0]), figures);
		}
		if (after_batch)
			after_batch(inquiry);
		SPI_freetuptable(table);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(batch);
	SPI_cursor_close(portal);
}

/*
 * segment.to_sql(), segment.preview_count().
 */

Datum
segment_to_sql(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext before;
	text	   *result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	segment_connect(0);
	begin_inquiry(&inquiry, fcinfo, 0, 1);
	before = MemoryContextSwitchTo(context);
	result = cstring_to_text(segment_condition_select(inquiry.set, inquiry.bound, &inquiry.shop));
	MemoryContextSwitchTo(before);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_TEXT_P(result);
}

Datum
segment_preview_count(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	segment_connect(0);
	begin_inquiry(&inquiry, fcinfo, 0, 1);
	inquire(&inquiry, NULL);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_INT64(inquiry.found);
}

/*
 * segment._judge(): keys of those who satisfy a condition, as judged in C.
 */

static void
put_key(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	Oid			output;
	bool		varlena;
	Datum		value;
	bool		isnull = false;

	getTypeOutputInfo(inquiry->set->key_type, &output, &varlena);
	value = CStringGetTextDatum(OidOutputFunctionCall(output, key));
	tuplestore_putvalues(inquiry->rows, inquiry->desc, &value, &isnull);
}

Datum
segment_judge_condition(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext before;
	Inquiry		inquiry;
	Tuplestorestate *rows;
	TupleDesc	desc;

	if (result == NULL || !IsA(result, ReturnSetInfo) || !(result->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	before = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(desc, 1, "key", TEXTOID, -1, 0);
	rows = tuplestore_begin_heap(true, false, work_mem);
	MemoryContextSwitchTo(before);
	result->returnMode = SFRM_Materialize;
	result->setResult = rows;
	result->setDesc = desc;
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	segment_connect(0);
	begin_inquiry(&inquiry, fcinfo, 0, 1);
	inquiry.rows = rows;
	inquiry.desc = desc;
	inquiry.take = put_key;
	inquire(&inquiry, NULL);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}

/*
 * segment.preview()
 */

/* a customer found: the key, and the figures that the condition names */
typedef struct Member
{
	Datum		key;
	StringInfoData figures;		/* members of a JSON object, personal ones apart */
	StringInfoData personal;
} Member;

static void
append_json(StringInfo json, const Inquiry *inquiry, const BoundFigure *figure, const FigureValue *value)
{
	DateADT		day;

	appendStringInfoString(json, json->len > 0 ? ", " : "");
	escape_json(json, figure->text);
	appendStringInfoString(json, ": ");
	if (value->isnull)
	{
		appendStringInfoString(json, "null");
		return;
	}
	switch (figure->type)
	{
		case VALUE_NUMBER:
			appendStringInfoString(json, numeric_normalize(value->number));
			break;
		case VALUE_DATE:
			day = value->date;
			if (figure->instant)
				(void) segment_day_of_instant(value->instant, inquiry->shop.zone, &day);
			{
				int			year = 0,
							month = 0,
							of_month = 0;

				(void) segment_date_parts(day, &year, &month, &of_month);
				appendStringInfo(json, "\"%04d-%02d-%02d\"", year, month, of_month);
			}
			break;
		case VALUE_BOOLEAN:
			appendStringInfoString(json, value->boolean ? "true" : "false");
			break;
		case VALUE_LIST:
			appendStringInfoChar(json, '[');
			for (int i = 0; i < value->nelements; i++)
			{
				appendStringInfoString(json, i > 0 ? ", " : "");
				if (value->elements[i] == NULL)
					appendStringInfoString(json, "null");
				else
					escape_json(json, value->elements[i]);
			}
			appendStringInfoChar(json, ']');
			break;
		default:
			escape_json(json, value->text);
	}
}

static bool
is_personal(const BoundFigure *figure)
{
	return figure->word->column != NULL || figure->word->id == WORD_CUSTOM;
}

static void
note_member(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	Member	   *member = palloc0(sizeof(Member));

	member->key = key;
	initStringInfo(&member->figures);
	initStringInfo(&member->personal);
	for (int i = 0; i < inquiry->bound->nfigures; i++)
	{
		BoundFigure *figure = inquiry->bound->figures[i];
		FigureValue value = segment_shown_figure(inquiry->bound, figures, i, &inquiry->shop);

		append_json(is_personal(figure) ? &member->personal : &member->figures, inquiry, figure, &value);
	}
	inquiry->members = lappend(inquiry->members, member);
}

/* Name, phone and e-mail of the batch's customers, as whoever asks. */
typedef struct Personal
{
	Inquiry    *inquiry;
	uint64		n;
	SPITupleTable *table;
} Personal;

static void
read_personal(void *argument)
{
	Personal   *personal = argument;
	Inquiry    *inquiry = personal->inquiry;
	SourceSet  *set = inquiry->set;
	Source	   *customers = segment_customers_source(set);
	Datum	   *keys = palloc(sizeof(Datum) * list_length(inquiry->members));
	Datum		array;
	int			n = 0;
	ListCell   *cell;
	Identity	caller;
	static const char *const columns[] = {"name", "phone", "email"};
	StringInfoData sql;

	foreach(cell, inquiry->members)
		keys[n++] = ((Member *) lfirst(cell))->key;
	array = PointerGetDatum(segment_array(set->key_type, keys, NULL, n));
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT m.key::%s", set->key_type_name);
	for (int i = 0; i < lengthof(columns); i++)
		appendStringInfo(&sql, ", %s", segment_source_column(customers, columns[i])
						 ? psprintf("m.%s", columns[i]) : "NULL::pg_catalog.text");
	appendStringInfo(&sql, " FROM %s m WHERE m.key OPERATOR(pg_catalog.=) ANY ($1) ORDER BY m.key%s", customers->mapping_sql, set->key_order);
	segment_become_merchant(GetUserId(), NULL, &caller);
	segment_execute_with(sql.data, 1, &set->key_array_type, &array, NULL, true, NULL, NULL);
	segment_resume(&caller);
	personal->n = SPI_processed;
	personal->table = SPI_tuptable;
}

/* Return the batch's members, with their personal columns where the caller may read them. */
static void
put_members(Inquiry *inquiry)
{
	SourceSet  *set = inquiry->set;
	Personal	personal = {.inquiry = inquiry};
	bool		readable;
	bool		restricted;
	uint64		at = 0;
	ListCell   *cell;

	if (inquiry->members == NIL)
		return;
	readable = segment_try(read_personal, &personal) == NULL;
	restricted = readable && check_enable_rls(segment_customers_source(set)->relid, InvalidOid, true) == RLS_ENABLED;
	foreach(cell, inquiry->members)
	{
		Member	   *member = lfirst(cell);
		Datum		values[5] = {member->key};
		bool		nulls[5] = {false, true, true, true, false};
		bool		found = false;

		while (readable && at < personal.n && !found)
		{
			bool		isnull;
			Datum		key = SPI_getbinval(personal.table->vals[at], personal.table->tupdesc, 1, &isnull);
			int			order = segment_compare_customers(set, key, member->key);

			if (order > 0)
				break;
			found = order == 0;
			for (int i = 1; found && i < 4; i++)
				values[i] = SPI_getbinval(personal.table->vals[at], personal.table->tupdesc, i + 1, &nulls[i]);
			at++;
		}
		if (restricted && !found)
		{
			inquiry->found--;
			continue;			/* hidden from whoever asks */
		}
		values[4] = DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("{%s%s%s}", member->figures.data,
																		   found && member->figures.len > 0 && member->personal.len > 0 ? ", " : "",
																		   found ? member->personal.data : "")));
		tuplestore_putvalues(inquiry->rows, inquiry->desc, values, nulls);
	}
}

static Tuplestorestate *
begin_set(FunctionCallInfo fcinfo, TupleDesc *desc)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext before;
	Tuplestorestate *rows;

	if (result == NULL || !IsA(result, ReturnSetInfo) || !(result->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	before = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	*desc = CreateTupleDescCopy(*desc);
	rows = tuplestore_begin_heap(true, false, work_mem);
	MemoryContextSwitchTo(before);
	result->returnMode = SFRM_Materialize;
	result->setResult = rows;
	result->setDesc = *desc;
	return rows;
}

/* values of a clause on a text or a list, until some customer has them */
typedef struct WantedValues
{
	const BoundNode *node;
	BoundFigure *figure;		/* as it is read here */
	bool	   *found;
	int			missing;
} WantedValues;

typedef struct Wanted
{
	List	   *clauses;		/* of WantedValues */
	BoundFigure **figures;		/* that they are about, by slot */
	int			nfigures;
	int			missing;
} Wanted;

static void
look_for_values(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	Wanted	   *wanted = inquiry->wanted;
	ListCell   *cell;

	foreach(cell, wanted->clauses)
	{
		WantedValues *values = lfirst(cell);
		int			found = values->missing == 0 ? 0
			: segment_find_values(values->node, values->figure, figures, &inquiry->shop, values->found);

		values->missing -= found;
		wanted->missing -= found;
	}
	if (wanted->missing == 0)
		inquiry->limit = inquiry->found;	/* enough */
}

/* A figure in the vector of what is looked for. */
static BoundFigure *
wanted_figure(Inquiry *inquiry, Wanted *wanted, const BoundFigure *figure)
{
	BoundFigure *copy;

	for (int i = 0; i < wanted->nfigures; i++)
	{
		if (strcmp(wanted->figures[i]->text, figure->text) == 0)
			return wanted->figures[i];
	}
	if (wanted->figures == NULL)
		wanted->figures = palloc(sizeof(BoundFigure *) * inquiry->bound->nfigures);
	copy = palloc(sizeof(BoundFigure));
	*copy = *figure;
	copy->slot = wanted->nfigures;
	wanted->figures[wanted->nfigures++] = copy;
	return copy;
}

/* Clauses that name values of a text or a list, wherever they stand. */
static void
want_values(Inquiry *inquiry, Wanted *wanted, const BoundNode *node)
{
	WantedValues *values;
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, node->children)
		want_values(inquiry, wanted, lfirst(cell));
	if (node->keys == NULL ||
		(node->kind != CONDITION_COMPARE && node->kind != CONDITION_IN && node->kind != CONDITION_CONTAINS))
		return;
	values = palloc0(sizeof(WantedValues));
	values->node = node;
	values->figure = wanted_figure(inquiry, wanted, node->figure);
	values->missing = list_length(node->values);
	values->found = palloc0(sizeof(bool) * values->missing);
	wanted->missing += values->missing;
	wanted->clauses = lappend(wanted->clauses, values);
}

/* A value that no customer has is mostly a mistake in writing it: told as such. */
static void
warn_of_unused(Inquiry *inquiry)
{
	Wanted		wanted = {NIL};
	BoundNode	everybody = {.kind = CONDITION_TRUE};
	Bound		bound = {.root = &everybody};
	Inquiry		look = *inquiry;
	ListCell   *cell;

	want_values(inquiry, &wanted, inquiry->bound->root);
	if (wanted.clauses == NIL)
		return;
	bound.nfigures = wanted.nfigures;
	bound.figures = wanted.figures;
	look.bound = &bound;
	look.wanted = &wanted;
	look.take = look_for_values;
	look.limit = -1;
	inquire(&look, NULL);
	foreach(cell, wanted.clauses)
	{
		WantedValues *values = lfirst(cell);

		for (int i = 0; i < list_length(values->node->values); i++)
		{
			if (!values->found[i])
				ereport(WARNING,
						(errmsg("no customer has %s '%s'", values->node->figure->text,
								((BoundValue *) list_nth(values->node->values, i))->text),
						 errhint("See how it is written in the shop's table.")));
		}
	}
}

Datum
segment_preview(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;
	TupleDesc	desc;
	Tuplestorestate *rows = begin_set(fcinfo, &desc);

	if (PG_ARGISNULL(0))
		return (Datum) 0;
	segment_connect(0);
	begin_inquiry(&inquiry, fcinfo, 0, 1);
	if (!PG_ARGISNULL(2))
		inquiry.limit = PG_GETARG_INT64(2);
	if (inquiry.limit < 0 && !PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must not be below 0, but is %lld", (long long) inquiry.limit),
				 errhint("Leave it out for all.")));
	inquiry.rows = rows;
	inquiry.desc = desc;
	inquiry.take = note_member;
	warn_of_unused(&inquiry);
	inquire(&inquiry, put_members);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}

/*
 * segment._figures(): what the language knows here.
 */

/* The operators of the language for a type, as an array of texts. */
static Datum
operators_of(ValueType type)
{
	static const char *const operators[][12] = {
		[VALUE_TEXT] = {"=", "!=", "IN", "CONTAINS", "STARTS WITH", "ENDS WITH", "HAS WORD", "IS NULL", NULL},
		[VALUE_NUMBER] = {"=", "!=", "<", "<=", ">", ">=", "BETWEEN", "IN", "IS NULL", NULL},
		[VALUE_DATE] = {"=", "!=", "<", "<=", ">", ">=", "BETWEEN", "IN", "DURING", "IS NULL", NULL},
		[VALUE_BOOLEAN] = {"=", "!=", "IS NULL", NULL},
		[VALUE_LIST] = {"CONTAINS", "CONTAINS ANY", "CONTAINS ALL", "=", "!=", "IN", "IS NULL", NULL},
		[VALUE_TIER] = {"=", "!=", "<", "<=", ">", ">=", "BETWEEN", "IN", "IS NULL", NULL},
		[VALUE_EVENT] = {"MATCHES", NULL},
	};
	Datum		elements[12];
	int			n = 0;

	for (; operators[type][n] != NULL; n++)
		elements[n] = CStringGetTextDatum(operators[type][n]);
	return PointerGetDatum(segment_array(TEXTOID, elements, NULL, n));
}

static void
put_figure(Tuplestorestate *rows, TupleDesc desc, const char *name, const char *of, ValueType type,
		   const char *english, const char *vietnamese, const char *missing)
{
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = CStringGetTextDatum(name);
	values[1] = of ? CStringGetTextDatum(of) : (Datum) 0;
	nulls[1] = of == NULL;
	values[2] = CStringGetTextDatum(segment_value_type_name(type));
	values[3] = operators_of(type);
	values[4] = CStringGetTextDatum(english);
	values[5] = CStringGetTextDatum(vietnamese);
	values[6] = BoolGetDatum(missing == NULL);
	values[7] = missing ? CStringGetTextDatum(missing) : (Datum) 0;
	nulls[7] = missing == NULL;
	tuplestore_putvalues(rows, desc, values, nulls);
}

/* Columns of the merchant's own that an event, or with NARROW_NOT the customer, has. */
static void
put_customs(SourceSet *set, Tuplestorestate *rows, TupleDesc desc, Narrowing event, const char *of)
{
	List	   *seen = NIL;

	for (int i = 0; segment_every_source(set, i) != NULL; i++)
	{
		Source	   *source = segment_every_source(set, i);

		for (int j = 0; j < source->ncolumns; j++)
		{
			const SourceColumn *column = &source->columns[j];
			bool		instant;
			ListCell   *cell;
			bool		known = false;

			if (strncmp(column->name, "custom.", 7) != 0 ||
				segment_custom_source(set, event, column->name) == NULL ||
				(event == NARROW_NOT && source->role != ROLE_CUSTOMERS))
				continue;
			foreach(cell, seen)
				known |= strcmp(lfirst(cell), column->name) == 0;
			if (known)
				continue;
			seen = lappend(seen, column->name);
			put_figure(rows, desc, column->name, of, segment_column_type(column, &instant),
					   column->name + 7, column->name + 7, NULL);
		}
	}
}

Datum
segment_figures(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Tuplestorestate *rows = begin_set(fcinfo, &desc);
	SourceSet  *set;
	const Word *word;

	segment_connect(0);
	set = segment_sources_acquire();
	for (int i = 0; (word = segment_word_at(i)) != NULL; i++)
	{
		const EventField *field;

		if (word->english == NULL)
			continue;
		put_figure(rows, desc, word->name, NULL, word->type, word->english, word->vietnamese,
				   segment_missing_feed(set, word));
		if (word->type != VALUE_EVENT)
			continue;
		for (int j = 0; (field = segment_event_field(word->narrowing, j)) != NULL; j++)
		{
			const char *missing = segment_missing_feed(set, word);

			put_figure(rows, desc, field->name, word->name, field->type, field->english, field->vietnamese,
					   missing ? missing : segment_missing_field(set, word->narrowing, field->name));
		}
		put_customs(set, rows, desc, word->narrowing, word->name);
	}
	put_customs(set, rows, desc, NARROW_NOT, NULL);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}
