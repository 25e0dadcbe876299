/*
 * preview.c
 *		Conditions asked of a shop: who satisfies one, who would, what it says in
 *		SQL, and what the language knows here.
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
#include "result_set.h"
#include "row.h"
#include "ruleset.h"
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
PG_FUNCTION_INFO_V1(segment_what_if_group);
PG_FUNCTION_INFO_V1(segment_forecast);

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
	Tuplestorestate *rows;		/* preview(), what_if_group(), forecast() */
	TupleDesc	desc;
	List	   *members;		/* the same: those of the batch */
	struct Wanted *wanted;		/* preview(): values looked for */
	const BoundNode *present;	/* what_if_group(): NULL where nobody is in */
	const BoundNode *proposed;
} Inquiry;

/* Must run inside SPI, like all that follows. */
static void
open_inquiry(Inquiry *inquiry)
{
	memset(inquiry, 0, sizeof(Inquiry));
	inquiry->limit = -1;
	inquiry->set = segment_sources_acquire();
	if (segment_customers_source(inquiry->set) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers().")));
}

/* One query reads them all, and has so many columns. */
static void
require_few_figures(const Bound *bound)
{
	if (bound->nfigures > MAX_FIGURES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("condition asks for %d different figures, more than %d", bound->nfigures, MAX_FIGURES),
				 errhint("However many clauses may ask for the same figures, narrowed alike; else divide the condition.")));
}

/* Bind the condition, for an instant or now. */
static void
begin_inquiry(Inquiry *inquiry, FunctionCallInfo fcinfo, int condition, int at)
{
	const Condition *its;

	open_inquiry(inquiry);
	segment_shop_at(&inquiry->shop, PG_ARGISNULL(at) ? segment_now() : PG_GETARG_TIMESTAMPTZ(at));
	its = PG_GETARG_CONDITION_P(condition);
	inquiry->bound = segment_bind(inquiry->set, 1, &its);
	segment_bound_prepare(inquiry->bound, &inquiry->shop);
	require_few_figures(inquiry->bound);
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
	char	   *sql;
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "segment inquiry", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before;
	Portal		portal;
	Identity	caller;
	int			n = inquiry->bound->nfigures;

	require_few_figures(inquiry->bound);
	sql = psprintf("%s\nORDER BY c.key%s", segment_figures_select(set, inquiry->bound, &inquiry->shop), set->key_order);
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
	Inquiry		inquiry;
	TupleDesc	desc;
	Tuplestorestate *rows = segment_begin_set(fcinfo, &desc);

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

/* a customer found: the key, and the figures that the condition names, or where the customer would go */
typedef struct Member
{
	Datum		key;
	const char *action;
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
		FigureValue value = segment_shown_figure(inquiry->bound, figures, i, &inquiry->shop);

		append_json(segment_is_personal(figure) ? &member->personal : &member->figures, inquiry, figure, &value);
	}
	inquiry->members = lappend(inquiry->members, member);
}

/* Name, phone and e-mail of the batch's customers, as whoever asks. */
typedef struct Personal
{
	Inquiry    *inquiry;
	bool		readable;		/* whoever asks may read them */
	bool		restricted;		/* of some customers only */
	uint64		n;
	uint64		at;
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

static void
look_up_personal(Personal *personal, Inquiry *inquiry)
{
	memset(personal, 0, sizeof(Personal));
	personal->inquiry = inquiry;
	if (inquiry->members == NIL)
		return;
	personal->readable = segment_try(read_personal, personal) == NULL;
	personal->restricted = personal->readable &&
		check_enable_rls(segment_customers_source(inquiry->set)->relid, InvalidOid, true) == RLS_ENABLED;
}

/* Go on to the row of a customer, which is there unless hidden; keys are asked in their order. */
static bool
find_personal(Personal *personal, Datum customer)
{
	while (personal->readable && personal->at < personal->n)
	{
		bool		isnull;
		Datum		key = SPI_getbinval(personal->table->vals[personal->at], personal->table->tupdesc, 1, &isnull);
		int			order = segment_compare_customers(personal->inquiry->set, key, customer);

		if (order >= 0)
			return order == 0;
		personal->at++;
	}
	return false;
}

/* Return the batch's members, with their personal columns where the caller may read them. */
static void
put_members(Inquiry *inquiry)
{
	Personal	personal;
	ListCell   *cell;

	look_up_personal(&personal, inquiry);
	foreach(cell, inquiry->members)
	{
		Member	   *member = lfirst(cell);
		Datum		values[5] = {member->key};
		bool		nulls[5] = {false, true, true, true, false};
		bool		found = find_personal(&personal, member->key);

		if (personal.restricted && !found)
		{
			inquiry->found--;
			continue;			/* hidden from whoever asks */
		}
		for (int i = 1; found && i < 4; i++)
			values[i] = SPI_getbinval(personal.table->vals[personal.at], personal.table->tupdesc, i + 1, &nulls[i]);
		values[4] = DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("{%s%s%s}", member->figures.data,
																		   found && member->figures.len > 0 && member->personal.len > 0 ? ", " : "",
																		   found ? member->personal.data : "")));
		tuplestore_putvalues(inquiry->rows, inquiry->desc, values, nulls);
	}
}

/* Return the batch's members with what they would do, where the caller may see them. */
static void
put_movers(Inquiry *inquiry)
{
	Personal	personal;
	ListCell   *cell;

	look_up_personal(&personal, inquiry);
	foreach(cell, inquiry->members)
	{
		Member	   *member = lfirst(cell);
		Datum		values[2] = {member->key};
		bool		nulls[2] = {false, member->action == NULL};

		if (personal.restricted && !find_personal(&personal, member->key))
			continue;
		if (member->action != NULL)
			values[1] = CStringGetTextDatum(member->action);
		tuplestore_putvalues(inquiry->rows, inquiry->desc, values, nulls);
	}
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
	if (node->keys == NULL || node->figure->word->id == WORD_GROUPS ||
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
	BoundNode  *root = &everybody;
	Bound		bound = {.nroots = 1, .roots = &root};
	Inquiry		look = *inquiry;
	ListCell   *cell;

	want_values(inquiry, &wanted, inquiry->bound->roots[0]);
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
	Tuplestorestate *rows = segment_begin_set(fcinfo, &desc);

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
 * segment.what_if_group(), segment.forecast()
 */

static const BoundNode everybody = {.kind = CONDITION_TRUE};

/* Whether anybody can be in a group now: it is active and its condition binds. */
static bool
is_judged(SourceSet *set, const char *code)
{
	Bound	   *all = segment_bind_groups(set, NULL, NULL);

	for (int i = 0; i < all->ngroups; i++)
	{
		if (strcmp(all->groups[i]->code, code) == 0)
			return all->groups[i]->root != NULL;
	}
	return false;
}

/* Bind the group's condition and the one that is to take its place over one vector of figures. */
static void
bind_both(Inquiry *inquiry, const char *code, const Condition *proposed)
{
	const Condition *conditions[2] = {proposed};
	BoundNode **roots;
	bool		active;
	bool		judged;

	conditions[1] = segment_group_condition(inquiry->set, code, &active);
	(void) segment_bind_groups(inquiry->set, code, proposed);	/* raises what could not be saved */
	judged = active && conditions[1] != NULL && is_judged(inquiry->set, code);
	inquiry->bound = segment_bind(inquiry->set, judged ? 2 : 1, conditions);
	segment_bound_prepare(inquiry->bound, &inquiry->shop);
	roots = inquiry->bound->roots;
	inquiry->proposed = roots[0];
	inquiry->present = judged ? roots[1] : NULL;
	roots[0] = unconstify(BoundNode *, &everybody);
}

static void
note_mover(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	bool		is_in = inquiry->present && segment_condition_holds(inquiry->present, figures, &inquiry->shop);
	bool		would_be = segment_condition_holds(inquiry->proposed, figures, &inquiry->shop);
	Member	   *member;

	if (is_in == would_be)
		return;
	member = palloc0(sizeof(Member));
	member->key = key;
	member->action = would_be ? "enter" : "leave";
	inquiry->members = lappend(inquiry->members, member);
}

static void
note_key(Inquiry *inquiry, Datum key, const FigureValue *figures)
{
	Member	   *member = palloc0(sizeof(Member));

	member->key = key;
	inquiry->members = lappend(inquiry->members, member);
}

Datum
segment_what_if_group(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;
	TupleDesc	desc;
	Tuplestorestate *rows = segment_begin_set(fcinfo, &desc);
	char	   *code;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	code = text_to_cstring(PG_GETARG_TEXT_PP(0));
	segment_connect(0);
	open_inquiry(&inquiry);
	segment_shop_at(&inquiry.shop, segment_judging_instant(GetActiveSnapshot()));
	bind_both(&inquiry, code, PG_GETARG_CONDITION_P(1));
	inquiry.rows = rows;
	inquiry.desc = desc;
	inquiry.take = note_mover;
	inquire(&inquiry, put_movers);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}

/* The shop as a day begins that is not past. */
static void
shop_of_day(Shop *shop, DateADT day)
{
	TimestampTz at;

	segment_shop_at(shop, segment_judging_instant(GetActiveSnapshot()));
	if (day < shop->today)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a day that is past cannot be forecast"),
				 errdetail("In the shop it is already %s.",
						   DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(shop->today)))),
				 errhint("segment.members_at() tells who was in a group.")));
	if (DATE_NOT_FINITE(day) || !segment_day_begins_at(day, shop->zone, &at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("argument \"date\" is not a day of the calendar"),
				 errhint("Give a day from today on.")));
	segment_shop_at(shop, at);
}

Datum
segment_forecast(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;
	TupleDesc	desc;
	Tuplestorestate *rows = segment_begin_set(fcinfo, &desc);
	const Condition *condition;
	bool		active;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	segment_connect(0);
	open_inquiry(&inquiry);
	condition = segment_group_condition(inquiry.set, text_to_cstring(PG_GETARG_TEXT_PP(0)), &active);
	shop_of_day(&inquiry.shop, PG_GETARG_DATEADT(1));
	if (active && condition != NULL)
	{
		inquiry.bound = segment_bind(inquiry.set, 1, &condition);
		segment_bound_prepare(inquiry.bound, &inquiry.shop);
		inquiry.rows = rows;
		inquiry.desc = desc;
		inquiry.take = note_key;
		inquire(&inquiry, put_movers);
	}
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
		FigureValue value = segment_shown_figure(inquiry->bound, figures, i, &inquiry->shop);
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
	Tuplestorestate *rows = segment_begin_set(fcinfo, &desc);
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
	Tuplestorestate *rows = segment_begin_set(fcinfo, &desc);
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
