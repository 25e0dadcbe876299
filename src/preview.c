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
#include "condition_sql.h"
#include "figure.h"
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
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(segment_to_sql);
PG_FUNCTION_INFO_V1(segment_preview);
PG_FUNCTION_INFO_V1(segment_preview_count);
PG_FUNCTION_INFO_V1(segment_judge_condition);
PG_FUNCTION_INFO_V1(segment_figures_of);
PG_FUNCTION_INFO_V1(segment_figures);

/* customers read at a time */
#define BATCH 1000

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

/* Bind the condition, for an instant or now; must run inside SPI. */
static void
begin_inquiry(Inquiry *inquiry, FunctionCallInfo fcinfo, int condition, int at)
{
	const Condition *its;

	memset(inquiry, 0, sizeof(Inquiry));
	inquiry->limit = -1;
	inquiry->set = segment_sources_acquire();
	if (segment_customers_source(inquiry->set) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers().")));
	segment_shop_at(&inquiry->shop, PG_ARGISNULL(at) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(at));
	its = PG_GETARG_CONDITION_P(condition);
	inquiry->bound = segment_bind(inquiry->set, 1, &its);
}

/*
 * Reading figures.
 */

/* Hand those who satisfy the condition to take(), until it has enough; work for the batch after each. */
static void
inquire(Inquiry *inquiry, void (*after_batch) (Inquiry *))
{
	SourceSet  *set = inquiry->set;
	Oid			owner = segment_only_owner(set);
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
				segment_read_figure(set, inquiry->bound->figures[j], values[j + 1], nulls[j + 1],
									TupleDescAttr(table->tupdesc, j + 1)->atttypid, &figures[j]);
			if (inquiry->bound->ngroups > 0)
				segment_judge_groups(inquiry->bound, figures, &inquiry->shop, NULL,
									 palloc0(sizeof(bool) * inquiry->bound->ngroups));
			if (!segment_condition_holds(inquiry->bound->roots[0], figures, &inquiry->shop))
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
	for (int i = 0; i < inquiry->bound->nasked; i++)
	{
		BoundFigure *figure = inquiry->bound->figures[i];
		FigureValue value = segment_derived_figure(inquiry->bound, figures, i, &inquiry->shop);

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

/* values of one figure, each as a clause of its own, until some customer has it */
typedef struct Wanted
{
	BoundFigure figure;			/* alone in its vector */
	BoundFigure *vector[1];
	BoundNode  *clauses;
	bool	   *found;
	int			n;
	int			missing;
} Wanted;

static void
look_for_values(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	Wanted	   *wanted = inquiry->wanted;

	for (int i = 0; i < wanted->n; i++)
	{
		if (wanted->found[i] || !segment_condition_holds(&wanted->clauses[i], figures, &inquiry->shop))
			continue;
		wanted->found[i] = true;
		if (--wanted->missing == 0)
			inquiry->limit = inquiry->found;	/* enough */
	}
}

/* A value that no customer has is mostly a mistake in writing it: told as such. */
static void
warn_of_unused_values(Inquiry *inquiry, const BoundNode *node)
{
	Wanted		wanted = {.figure = *node->figure};
	BoundNode	everybody = {.kind = CONDITION_TRUE};
	BoundNode  *root = &everybody;
	Bound		bound = {.nroots = 1, .roots = &root, .nfigures = 1, .figures = wanted.vector};
	Inquiry		look = *inquiry;
	ListCell   *cell;

	wanted.figure.slot = 0;
	wanted.vector[0] = &wanted.figure;
	wanted.clauses = palloc0(sizeof(BoundNode) * list_length(node->values));
	wanted.found = palloc0(sizeof(bool) * list_length(node->values));
	foreach(cell, node->values)
	{
		BoundNode  *clause = &wanted.clauses[wanted.n++];

		*clause = *node;
		clause->kind = node->type == VALUE_LIST || node->kind == CONDITION_CONTAINS ? CONDITION_CONTAINS : CONDITION_COMPARE;
		clause->detail = node->type == VALUE_LIST || node->kind == CONDITION_CONTAINS ? CONDITION_ONE : CONDITION_EQ;
		clause->negated = false;
		clause->figure = &wanted.figure;
		clause->values = list_make1(lfirst(cell));
	}
	wanted.missing = wanted.n;
	look.bound = &bound;
	look.wanted = &wanted;
	look.take = look_for_values;
	look.limit = -1;
	inquire(&look, NULL);
	for (int i = 0; i < wanted.n; i++)
	{
		if (!wanted.found[i])
			ereport(WARNING,
					(errmsg("no customer has %s '%s'", node->figure->text, ((BoundValue *) list_nth(node->values, i))->text),
					 errhint("See how it is written in the shop's table.")));
	}
}

/* Clauses that name values of a text or a list, wherever they stand. */
static void
warn_of_unused(Inquiry *inquiry, const BoundNode *node)
{
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, node->children)
		warn_of_unused(inquiry, lfirst(cell));
	if (node->figure != NULL && node->figure->word->id != WORD_GROUPS && (node->type == VALUE_TEXT || node->type == VALUE_LIST) && node->values != NIL &&
		(node->kind == CONDITION_COMPARE || node->kind == CONDITION_IN || node->kind == CONDITION_CONTAINS))
		warn_of_unused_values(inquiry, node);
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
	warn_of_unused(&inquiry, inquiry.bound->roots[0]);
	inquire(&inquiry, put_members);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}

/*
 * segment._figures_of(): figures that a condition names, with all that can be
 * told of them, for tests.
 */

static char *
list_text(const FigureValue *value)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(value->nelements, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(value->nelements, 1));
	Oid			output;
	bool		varlena;

	for (int i = 0; i < value->nelements; i++)
	{
		nulls[i] = value->elements[i] == NULL;
		elements[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(value->elements[i]);
	}
	getTypeOutputInfo(TEXTARRAYOID, &output, &varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(segment_array(TEXTOID, elements, nulls, value->nelements)));
}

static char *
figure_text(const BoundFigure *figure, const FigureValue *value)
{
	switch (figure->type)
	{
		case VALUE_NUMBER:
			return numeric_normalize(value->number);
		case VALUE_DATE:
			if (figure->instant)
				return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(value->instant)));
			return DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(value->date)));
		case VALUE_BOOLEAN:
			return pstrdup(value->boolean ? "true" : "false");
		case VALUE_LIST:
			return list_text(value);
		default:
			return value->text;
	}
}

static void
put_figures(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	Oid			output;
	bool		varlena;
	Datum		values[5];

	getTypeOutputInfo(inquiry->set->key_type, &output, &varlena);
	values[0] = CStringGetTextDatum(OidOutputFunctionCall(output, key));
	for (int i = 0; i < inquiry->bound->nfigures; i++)
	{
		const BoundFigure *figure = inquiry->bound->figures[i];
		FigureValue value = segment_derived_figure(inquiry->bound, figures, i, &inquiry->shop);
		bool		nulls[5] = {false, false, false, value.isnull, TIMESTAMP_IS_NOEND(value.next_change)};

		values[1] = Int32GetDatum(i);
		values[2] = CStringGetTextDatum(figure->text);
		values[3] = value.isnull ? (Datum) 0 : CStringGetTextDatum(figure_text(figure, &value));
		values[4] = TimestampTzGetDatum(value.next_change);
		tuplestore_putvalues(inquiry->rows, inquiry->desc, values, nulls);
	}
}

/* Keys from texts, each read as its type reads it. */
static Datum *
read_keys(SourceSet *set, Datum array, int *n)
{
	Datum	   *keys;
	Oid			input;
	Oid			ioparam;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &keys, NULL, n);
	getTypeInputInfo(set->key_type, &input, &ioparam);
	for (int i = 0; i < *n; i++)
		keys[i] = OidInputFunctionCall(input, TextDatumGetCString(keys[i]), ioparam, -1);
	return keys;
}

Datum
segment_figures_of(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;
	TupleDesc	desc;
	Tuplestorestate *rows = begin_set(fcinfo, &desc);
	BoundNode	everybody = {.kind = CONDITION_TRUE};

	if (PG_ARGISNULL(0))
		return (Datum) 0;
	segment_connect(0);
	begin_inquiry(&inquiry, fcinfo, 0, 2);
	inquiry.rows = rows;
	inquiry.desc = desc;
	inquiry.take = put_figures;
	if (PG_ARGISNULL(1))
	{
		inquiry.bound->roots[0] = &everybody;
		inquire(&inquiry, NULL);
	}
	else
	{
		FigureReader reader;
		int			n;
		int			found;
		Datum	   *keys = read_keys(inquiry.set, PG_GETARG_DATUM(1), &n);
		CustomerFigures *read;

		segment_figures_open(&reader, inquiry.set, inquiry.bound, NULL);
		read = segment_figures_read(&reader, &inquiry.shop, keys, n, GetActiveSnapshot(), &found);
		for (int i = 0; i < found; i++)
			put_figures(&inquiry, read[i].customer, read[i].figures);
		segment_figures_close(&reader);
	}
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

	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];

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
