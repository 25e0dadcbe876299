/*
 * recalculate.c
 *		All again, from the attached tables, in plain SQL.
 *
 * The full recomputation that stands beside the deltas of fact.c: each source
 * is summed per customer by one query over its mapping, run as the owner of the
 * merchant's table, and only then compared with or written to our tables.  Where
 * a row's expression raises, the source is read row by row instead and that row
 * is left out.
 */
#include "segment.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "recalculate.h"
#include "result_set.h"
#include "row.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "stale.h"
#include "condition_sql.h"
#include "figure.h"
#include "judge.h"
#include "ruleset.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "tcop/pquery.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* a table of that many rows is worth a word before it is read */
#define TELL_ROWS 100000

PG_FUNCTION_INFO_V1(segment_recalculate);
PG_FUNCTION_INFO_V1(segment_recalculate_customers);
PG_FUNCTION_INFO_V1(segment_recalculate_in_batches);
PG_FUNCTION_INFO_V1(segment_verify);

/* one recomputation: what is asked for, and what was found so far */
typedef struct Recomputation
{
	SourceSet  *set;
	Datum		customers;		/* array of keys, or 0 for everyone */
	bool		writes;			/* false: verify() */
	MemoryContext context;
	Tuplestorestate *totals;	/* figures per customer, of each source */
	TupleDesc	totals_desc;
	Tuplestorestate *computed;	/* the same put together */
	Tuplestorestate *differences;	/* verify(): rows to return */
	Tuplestorestate *corrections;	/* in batches: what segment.left_out should say more or less */
} Recomputation;

#define TOTALS_COLUMNS 10

static TupleDesc
totals_desc(SourceSet *set)
{
	TupleDesc	desc = CreateTemplateTupleDesc(TOTALS_COLUMNS);

	TupleDescInitEntry(desc, 1, "customer_id", set->key_type, -1, 0);
	TupleDescInitEntry(desc, 2, "is_customer", BOOLOID, -1, 0);
	TupleDescInitEntry(desc, 3, "number_of_orders", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 4, "amount_ordered", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, 5, "first_order_at", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, 6, "last_order_at", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, 7, "number_of_returns", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 8, "amount_returned", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, 9, "items_bought", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, 10, "items_returned", NUMERICOID, -1, 0);
	return desc;
}

/* rows of one source: (key, customer_id[, parent_key], amount, at, items, reason) */
static TupleDesc
rows_desc(SourceSet *set, Source *source, bool with_parent_key)
{
	TupleDesc	desc = CreateTemplateTupleDesc(with_parent_key ? 7 : 6);
	FieldMapping *key = &source->fields[segment_ledger_field(source)];
	int			n = 1;

	TupleDescInitEntry(desc, n++, "key", key->mapped ? getBaseType(key->type) : TEXTOID, -1, 0);
	TupleDescInitEntry(desc, n++, "customer_id", set->key_type, -1, 0);
	if (with_parent_key)
		TupleDescInitEntry(desc, n++, "parent_key", getBaseType(source->fields[FIELD_PARENT_KEY].type), -1, 0);
	TupleDescInitEntry(desc, n++, "amount", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, n++, "at", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, n++, "items", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, n++, "reason", TEXTOID, -1, 0);
	return desc;
}

static void
begin_recomputation(Recomputation *work, SourceSet *set, Datum customers, bool writes)
{
	memset(work, 0, sizeof(Recomputation));
	work->set = set;
	work->customers = customers;
	work->writes = writes;
	work->context = CurrentMemoryContext;
	work->totals_desc = totals_desc(set);
	work->totals = tuplestore_begin_heap(false, false, work_mem);
}

/* Rows named for statements are done with. */
static void
forget_rows(const char *name, Tuplestorestate *rows)
{
	if (rows == NULL)
		return;
	SPI_unregister_relation(name);
	tuplestore_end(rows);
}

/* Run SQL in which $1, where wanted, is the array of customers, as some role. */
static uint64
run(Recomputation *work, Oid role, const char *sql, Tuplestorestate *into)
{
	/* only TRUNCATE is followed in a transaction with a snapshot of its own */
	bool		latest = work->writes && IsolationUsesXactSnapshot() && strncmp(sql, "SELECT", 6) == 0;
	Identity	caller;
	uint64		n;

	if (role == work->set->owner)
		segment_become(role, &caller);
	else
		segment_become_merchant(role, NULL, &caller);
	if (latest)
	{
		CommandCounterIncrement();
		PushActiveSnapshot(GetLatestSnapshot());
	}
	n = segment_execute_with(sql, work->customers ? 1 : 0, &work->set->key_array_type,
							 &work->customers, NULL, latest || !work->writes, into, work->context);
	if (latest)
		PopActiveSnapshot();
	segment_resume(&caller);
	return n;
}

/* "AND expression is one of the customers asked for" */
static const char *
only_asked(Recomputation *work, const char *expression)
{
	return work->customers ? psprintf(" AND %s OPERATOR(pg_catalog.=) ANY ($1)", expression) : "";
}

static const char *
not_anonymous(SourceSet *set, const char *expression)
{
	return set->nanonymous > 0
		? psprintf(" AND %s OPERATOR(pg_catalog.<>) ALL (%s)", expression, set->anonymous_sql) : "";
}

static char *
customer_sql(SourceSet *set, Source *source)
{
	if (source->role == ROLE_CUSTOMERS)
		return psprintf("s.key::%s", set->key_type_name);
	if (source->fields[FIELD_CUSTOMER].mapped)
		return psprintf("s.customer::%s", set->key_type_name);
	return psprintf("NULL::%s", set->key_type_name);
}

/* Figures that a source's rows give: select list after the customer; items is an expression. */
static char *
figures_sql(Source *source, const char *items)
{
	const char *sum = psprintf("coalesce(sum(%s), 0)::numeric", items);

	switch (source->role)
	{
		case ROLE_CUSTOMERS:
			return "true, 0::bigint, 0::numeric, NULL::timestamptz, NULL::timestamptz, 0::bigint, 0::numeric,"
				" 0::numeric, 0::numeric";
		case ROLE_ORDERS:
			return psprintf("false, count(*), sum(s.amount), min(s.at), max(s.at), 0::bigint, 0::numeric,"
							" %s, 0::numeric", source->counts_items ? sum : "0::numeric");
		case ROLE_RETURNS:
			return psprintf("false, 0::bigint, 0::numeric, NULL::timestamptz, NULL::timestamptz, count(*), sum(s.amount),"
							" 0::numeric, %s", source->counts_items ? sum : "0::numeric");
		case ROLE_ORDER_LINES:
			return psprintf("false, 0::bigint, 0::numeric, NULL::timestamptz, NULL::timestamptz, 0::bigint, 0::numeric,"
							" %s, 0::numeric", sum);
		case ROLE_RETURN_LINES:
			return psprintf("false, 0::bigint, 0::numeric, NULL::timestamptz, NULL::timestamptz, 0::bigint, 0::numeric,"
							" 0::numeric, %s", sum);
		case ROLE_POINTS:
		case ROLE_OFFERS:
		case ROLE_TAGS:
			break;				/* give none */
	}
	return NULL;
}

/*
 * Make segment.left_out say what is left out of a source: rows "left_now" with
 * columns row_key and reason are at hand.
 */
static void
write_left_out(Recomputation *work, Source *source)
{
	run(work, work->set->owner,
		psprintf("DELETE FROM segment.left_out o WHERE o.source = %d AND NOT EXISTS"
				 " (SELECT FROM left_now n WHERE n.row_key = o.row_key AND n.reason = o.reason)",
				 source->id), NULL);
	run(work, work->set->owner,
		psprintf("INSERT INTO segment.left_out AS o (source, row_key, reason, n)"
				 " SELECT %d, n.row_key, n.reason, count(*) FROM left_now n GROUP BY n.row_key, n.reason"
				 " ON CONFLICT (source, row_key, reason) DO UPDATE SET n = excluded.n WHERE o.n <> excluded.n",
				 source->id), NULL);
}

/*
 * The same where only looking: note by how much segment.left_out is wrong.  Both
 * sides are read with one snapshot, and what triggers write meanwhile is added
 * up, so the correction holds whenever it is made.
 */
static void
note_left_out(Recomputation *work, Source *source)
{
	run(work, work->set->owner,
		psprintf("SELECT %1$d, d.row_key, d.reason, sum(d.n)::bigint FROM"
				 " (SELECT n.row_key, n.reason, count(*) AS n FROM left_now n GROUP BY n.row_key, n.reason"
				 " UNION ALL SELECT o.row_key, o.reason, -o.n FROM segment.left_out o WHERE o.source = %1$d) d"
				 " GROUP BY d.row_key, d.reason HAVING sum(d.n) <> 0", source->id), work->corrections);
}

/* Whether what is left out of the sources is listed, too. */
static bool
lists_left_out(const Recomputation *work)
{
	return !work->customers && (work->writes || work->corrections != NULL);
}

static void
list_left_out(Recomputation *work, Source *source)
{
	if (work->writes)
		write_left_out(work, source);
	else
		note_left_out(work, source);
}

static TupleDesc
left_now_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "row_key", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "reason", TEXTOID, -1, 0);
	return desc;
}

/* Figures of a source from its rows "source_rows", and what is left out of it. */
static void
totals_of_rows(Recomputation *work, Source *source)
{
	Tuplestorestate *left;

	run(work, work->set->owner,
		psprintf("SELECT s.customer_id, %s FROM source_rows s WHERE s.reason IS NULL%s GROUP BY s.customer_id",
				 figures_sql(source, "s.items"), only_asked(work, "s.customer_id")), work->totals);
	if (!lists_left_out(work))
		return;
	left = tuplestore_begin_heap(false, false, work_mem);
	run(work, work->set->owner,
		"SELECT left(coalesce(s.key::text, ''), 200), left(s.reason, 200) FROM source_rows s WHERE s.reason IS NOT NULL", left);
	segment_name_rows("left_now", left_now_desc(), left);
	list_left_out(work, source);
	forget_rows("left_now", left);
}

static void
put_row(Recomputation *work, Source *source, Tuplestorestate *rows, TupleDesc desc, const Row *row)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {true, true, true, true, true, true};

	if (!row->counts && row->left_out == NULL)
		return;
	if (row->has_key)
	{
		nulls[0] = false;
		values[0] = row->key;
	}
	if (source->role == ROLE_CUSTOMERS || row->has_customer)
	{
		nulls[1] = source->role == ROLE_CUSTOMERS && !row->has_key;
		values[1] = source->role == ROLE_CUSTOMERS ? row->key : row->customer;
	}
	if (row->counts && row->amount != NULL)
	{
		nulls[2] = nulls[3] = false;
		values[2] = NumericGetDatum(row->amount);
		values[3] = TimestampTzGetDatum(row->at);
	}
	if (row->counts && row->items != NULL)
	{
		nulls[4] = false;
		values[4] = NumericGetDatum(row->items);
	}
	if (row->left_out)
	{
		nulls[5] = false;
		values[5] = CStringGetTextDatum(row->left_out);
	}
	tuplestore_putvalues(rows, desc, values, nulls);
}

typedef struct PutRow
{
	Recomputation *work;
	Source	   *source;
	Tuplestorestate *rows;
	TupleDesc	desc;
} PutRow;

static void
put_scanned_row(const Row *row, void *argument)
{
	PutRow	   *put = argument;

	put_row(put->work, put->source, put->rows, put->desc, row);
}

typedef struct DirectWork
{
	Recomputation *work;
	Source	   *source;
	Tuplestorestate *totals;
	Tuplestorestate *left;
} DirectWork;

/* A source whose rows mean something by themselves, by one query. */
static void
sum_direct(void *argument)
{
	DirectWork *direct = argument;
	Recomputation *work = direct->work;
	Source	   *source = direct->source;
	char	   *customer = customer_sql(work->set, source);
	const char *raw = source->role == ROLE_CUSTOMERS ? "s.key" : "s.customer";

	run(work, source->owner,
		psprintf("SELECT %s, %s FROM %s s WHERE s.counts AND %s IS NOT NULL%s%s%s%s",
				 customer, figures_sql(source, "s.items"), source->mapping_sql, raw,
				 only_asked(work, raw), not_anonymous(work->set, raw),
				 source->role == ROLE_CUSTOMERS ? "" : " GROUP BY ",
				 source->role == ROLE_CUSTOMERS ? "" : customer),
		direct->totals);
	if (lists_left_out(work) && source->role != ROLE_CUSTOMERS)
		run(work, source->owner,
			psprintf("SELECT left(%s, 200), left(%s, 200) FROM %s s"
					 " WHERE s.counted AND NOT s.counts AND %s IS NOT NULL%s",
					 source->fields[FIELD_KEY].mapped ? "coalesce(s.key::text, '')" : "''",
					 segment_reason_sql(source), source->mapping_sql, raw, not_anonymous(work->set, raw)),
			direct->left);
}

static void
append_totals(Recomputation *work, Tuplestorestate *from)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(work->totals_desc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(from, true, false, slot))
		tuplestore_puttupleslot(work->totals, slot);
	ExecDropSingleTupleTableSlot(slot);
}

static void
totals_of_direct(Recomputation *work, Source *source)
{
	DirectWork	direct = {.work = work, .source = source};

	direct.totals = tuplestore_begin_heap(false, false, work_mem);
	direct.left = tuplestore_begin_heap(false, false, work_mem);
	if (!source->may_raise)
		sum_direct(&direct);
	if (!source->may_raise || segment_try(sum_direct, &direct) == NULL)
	{
		append_totals(work, direct.totals);
		if (lists_left_out(work))
		{
			segment_name_rows("left_now", left_now_desc(), direct.left);
			list_left_out(work, source);
			SPI_unregister_relation("left_now");
		}
	}
	else
	{
		TupleDesc	desc = rows_desc(work->set, source, false);
		Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
		PutRow		put = {.work = work, .source = source, .rows = rows, .desc = desc};

		segment_scan_direct(work->set, source, work->customers, !work->writes, put_scanned_row, &put);
		segment_name_rows("source_rows", desc, rows);
		totals_of_rows(work, source);
		forget_rows("source_rows", rows);
	}
	tuplestore_end(direct.totals);
	tuplestore_end(direct.left);
}

typedef struct LinkedWork
{
	Recomputation *work;
	Source	   *source;
	Tuplestorestate *rows;
} LinkedWork;

static void join_linked(void *argument);

/* Type of a field as it is written in SQL. */
static char *
field_type(Source *source, SourceField field)
{
	return format_type_be_qualified(getBaseType(source->fields[field].type));
}

/*
 * Rows "parents" (key, customer_id) of the parent that count, as its owner; with
 * condition those among them for which it holds.
 */
static Tuplestorestate *
name_parents(Recomputation *work, Source *parent, const char *condition)
{
	SourceSet  *set = work->set;
	Tuplestorestate *parents = tuplestore_begin_heap(false, false, work_mem);
	TupleDesc	desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "key", getBaseType(parent->fields[FIELD_KEY].type), -1, 0);
	TupleDescInitEntry(desc, 2, "customer_id", set->key_type, -1, 0);
	if (parent->parent >= 0)
	{
		LinkedWork	linked = {.work = work, .source = parent};
		Tuplestorestate *rows = linked.rows = tuplestore_begin_heap(false, false, work_mem);

		Datum		customers = work->customers;

		/* where a key repeats, the rows of others say whose it is */
		if (parent->key_may_repeat)
			work->customers = (Datum) 0;
		join_linked(&linked);
		work->customers = customers;
		segment_name_rows("parent_rows", rows_desc(set, parent, false), rows);
		run(work, set->owner,
			psprintf("SELECT p.key, p.customer_id FROM (SELECT %s r.key, r.customer_id FROM parent_rows r WHERE r.reason IS NULL%s) p"
					 " WHERE true%s",
					 parent->key_may_repeat ? "DISTINCT ON (r.key)" : "",
					 parent->key_may_repeat ? psprintf(" ORDER BY r.key, r.customer_id%s", set->key_order) : "",
					 only_asked(work, "p.customer_id")), parents);
		forget_rows("parent_rows", rows);
	}
	else
		run(work, parent->owner,
			psprintf("SELECT p.key::%s, p.customer FROM (%s) p", field_type(parent, FIELD_KEY),
					 segment_parents_sql(set, parent, condition)), parents);
	segment_name_rows("parents", desc, parents);
	return parents;
}

/*
 * What a linked source's own rows say, as its owner: rows "raw_rows".  Lines
 * without a key are added up per parent.
 */
static Tuplestorestate *
name_raw_rows(Recomputation *work, Source *source, bool by_parent, const char *asked)
{
	SourceSet  *set = work->set;
	const char *parent_key = segment_field_column(source->role, FIELD_PARENT_KEY);
	const char *items = segment_field_column(source->role, FIELD_ITEMS);
	Tuplestorestate *raw = tuplestore_begin_heap(false, false, work_mem);
	StringInfoData sql;

	initStringInfo(&sql);
	if (source->grouped)
		appendStringInfo(&sql, "SELECT s.%1$s::%2$s, NULL::%3$s, s.%1$s::%2$s, NULL::numeric, NULL::timestamptz,"
						 " sum(s.%4$s), %5$s FROM %6$s s WHERE s.counted AND s.%1$s IS NOT NULL%7$s GROUP BY s.%1$s, 7",
						 parent_key, field_type(source, FIELD_PARENT_KEY), set->key_type_name, items,
						 segment_reason_sql(source), source->mapping_sql, asked);
	else
	{
		appendStringInfo(&sql, "SELECT s.key::%s, %s", field_type(source, FIELD_KEY), customer_sql(set, source));
		if (by_parent)
			appendStringInfo(&sql, ", s.%s::%s", parent_key, field_type(source, FIELD_PARENT_KEY));
		appendStringInfo(&sql, ", %s, %s, %s, %s FROM %s s WHERE s.counted%s",
						 source->fields[FIELD_AMOUNT].mapped ? "s.amount" : "NULL::numeric",
						 source->fields[FIELD_AT].mapped ? "s.at" : "NULL::timestamptz",
						 source->counts_items ? psprintf("s.%s", items) : "NULL::numeric",
						 segment_reason_sql(source), source->mapping_sql, asked);
	}
	run(work, source->owner, sql.data, raw);
	segment_name_rows("raw_rows", rows_desc(set, source, by_parent), raw);
	return raw;
}

/*
 * Rows of a linked source with the meaning that other tables give them: the
 * source's rows as its owner, the parent's rows that they name as the owner of
 * those, and both put together as ourselves.
 */
static void
join_linked(void *argument)
{
	LinkedWork *linked = argument;
	Recomputation *work = linked->work;
	SourceSet  *set = work->set;
	Source	   *source = linked->source;
	bool		by_parent = source->parent >= 0;
	Source	   *parent = by_parent ? &set->sources[source->parent] : NULL;
	const char *keyed = source->role == ROLE_CUSTOMERS ? "s.key"
		: source->fields[FIELD_CUSTOMER].mapped ? "s.customer" : NULL;
	Tuplestorestate *raw;
	Tuplestorestate *parents = NULL;
	const char *asked = "";

	if (segment_is_lines(source->role) && !by_parent)
		return;					/* the table whose rows they name was dropped */
	if (work->customers && !by_parent)
		asked = only_asked(work, keyed);
	else if (by_parent && (work->customers || parent->parent >= 0))
	{
		/* rows of the parent first: those of the customers asked for, or linked themselves */
		parents = name_parents(work, parent, parent->key_may_repeat
							   ? psprintf("o.key IN (SELECT m.key FROM %s m WHERE m.counts AND m.customer = ANY ($1))", parent->mapping_sql)
							   : "o.customer = ANY ($1)");
		if (work->customers)
			asked = psprintf(" AND (s.%s IN (SELECT p.key FROM parents p)%s)",
							 segment_field_column(source->role, FIELD_PARENT_KEY),
							 keyed ? psprintf(" OR %s = ANY ($1)", keyed) : "");
	}
	raw = name_raw_rows(work, source, by_parent, asked);
	if (by_parent && (parents == NULL || (work->customers && keyed && parent->parent < 0)))
	{
		/* a row of its own customer may name a row of somebody else */
		forget_rows("parents", parents);
		parents = name_parents(work, parent, "o.key IN (SELECT r.parent_key FROM raw_rows r)");
	}
	run(work, set->owner,
		psprintf("SELECT * FROM (SELECT r.key, %s AS customer_id, r.amount, r.at, r.items, r.reason FROM raw_rows r%s) s"
				 " WHERE s.customer_id IS NOT NULL%s%s",
				 by_parent ? "coalesce(r.customer_id, p.customer_id)" : "r.customer_id",
				 by_parent ? " LEFT JOIN parents p ON p.key = r.parent_key"
				 " WHERE r.parent_key IS NULL OR p.key IS NOT NULL" : "",
				 only_asked(work, "s.customer_id"), not_anonymous(set, "s.customer_id")),
		linked->rows);
	forget_rows("parents", parents);
	forget_rows("raw_rows", raw);
}

/* Row by row, by key: what raises is left out. */
static void
read_linked_rows(Recomputation *work, Source *source, Tuplestorestate *rows, TupleDesc desc)
{
	SPITupleTable *table;
	Datum	   *keys;
	int			n;
	Rows		read = {0};

	run(work, source->owner,
		psprintf("SELECT DISTINCT t.%1$s FROM %2$s t WHERE t.%1$s IS NOT NULL",
				 quote_identifier(get_attname(source->relid, source->fields[segment_ledger_field(source)].attno, false)),
				 source->name), NULL);
	table = SPI_tuptable;
	n = (int) SPI_processed;
	keys = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		keys[i] = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
	}
	segment_read_linked(work->set, source, keys, n, &read);
	for (int i = 0; i < read.n; i++)
		put_row(work, source, rows, desc, &read.rows[i]);
}

/*
 * The same where a key may repeat: keys of which the rows are not those that
 * count now are written anew.
 */
static void
write_repeating_ledger(Recomputation *work, Source *source)
{
	const char *stored = psprintf("SELECT c.key, c.customer_id, c.amount, c.at, c.items FROM segment.counted_%d c WHERE true%s",
								  source->id, only_asked(work, "c.customer_id"));
	const char *counted = psprintf("SELECT s.key, s.customer_id, s.amount, s.at, s.items FROM source_rows s WHERE s.reason IS NULL%s",
								   only_asked(work, "s.customer_id"));

	run(work, work->set->owner,
		psprintf("DELETE FROM segment.counted_%1$d c WHERE c.key IN (SELECT d.key FROM ((%2$s EXCEPT ALL %3$s)"
				 " UNION ALL (%3$s EXCEPT ALL %2$s)) d)%4$s",
				 source->id, stored, counted, only_asked(work, "c.customer_id")), NULL);
	run(work, work->set->owner,
		psprintf("INSERT INTO segment.counted_%1$d (key, customer_id, amount, at, items) %3$s"
				 " AND s.key NOT IN (SELECT k.key FROM (%2$s) k)", source->id, stored, counted), NULL);
}

/* Make the ledger of a linked source say what its rows count for now. */
static void
write_ledger(Recomputation *work, Source *source)
{
	const char *asked = only_asked(work, "c.customer_id");

	if (source->key_may_repeat && !source->grouped)
	{
		write_repeating_ledger(work, source);
		return;
	}
	run(work, work->set->owner,
		psprintf("DELETE FROM segment.counted_%d c WHERE NOT EXISTS (SELECT FROM source_rows s"
				 " WHERE s.reason IS NULL AND s.key = c.key AND s.customer_id = c.customer_id"
				 " AND (s.amount, s.at, s.items) IS NOT DISTINCT FROM (c.amount, c.at, c.items))%s",
				 source->id, asked), NULL);
	run(work, work->set->owner,
		psprintf("INSERT INTO segment.counted_%1$d AS c (key, customer_id, amount, at, items)"
				 " SELECT s.key, s.customer_id, s.amount, s.at, s.items FROM source_rows s"
				 " WHERE s.reason IS NULL%2$s AND NOT EXISTS (SELECT FROM segment.counted_%1$d c"
				 " WHERE c.key = s.key AND c.customer_id = s.customer_id)"
				 " ON CONFLICT (key) DO UPDATE SET customer_id = excluded.customer_id,"
				 " amount = excluded.amount, at = excluded.at, items = excluded.items",
				 source->id, only_asked(work, "s.customer_id")), NULL);
}

/* verify(): rows of the ledger that are not what they should be. */
static void
compare_ledger(Recomputation *work, Source *source)
{
	run(work, work->set->owner,
		psprintf("SELECT coalesce(c.customer_id, s.customer_id), %2$s || coalesce(c.key, s.key)::text,"
				 " c.%1$s::text, s.%1$s::text"
				 " FROM (SELECT *, row_number() OVER (PARTITION BY k.key ORDER BY k.customer_id, k.amount, k.at, k.items) AS n"
				 " FROM segment.counted_%3$d k) c"
				 " FULL JOIN (SELECT *, row_number() OVER (PARTITION BY r.key ORDER BY r.customer_id, r.amount, r.at, r.items) AS n"
				 " FROM source_rows r WHERE r.reason IS NULL) s ON s.key = c.key AND s.n = c.n"
				 " WHERE (c.customer_id, c.amount, c.at, c.items) IS DISTINCT FROM (s.customer_id, s.amount, s.at, s.items)",
				 segment_is_lines(source->role) ? "items" : "amount",
				 quote_literal_cstr(psprintf(source->grouped ? "rows of %s that name " : "row of %s with key ", source->name)),
				 source->id),
		work->differences);
}

static void
totals_of_linked(Recomputation *work, Source *source)
{
	LinkedWork	linked = {.work = work, .source = source};
	TupleDesc	desc = rows_desc(work->set, source, false);

	linked.rows = tuplestore_begin_heap(false, false, work_mem);
	if (segment_try(join_linked, &linked) != NULL)
	{
		tuplestore_clear(linked.rows);
		read_linked_rows(work, source, linked.rows, desc);
	}
	segment_name_rows("source_rows", desc, linked.rows);
	totals_of_rows(work, source);
	if (source->role != ROLE_CUSTOMERS)
	{
		if (work->writes)
			write_ledger(work, source);
		else
			compare_ledger(work, source);
	}
	forget_rows("source_rows", linked.rows);
}

static void
totals_of_source(Recomputation *work, Source *source)
{
	if (!segment_is_counted(source->role))
		return;
	if (source->linked)
		totals_of_linked(work, source);
	else
		totals_of_direct(work, source);
}

/* Put the sources' totals together: rows "computed", one per customer. */
static void
compute(Recomputation *work)
{
	work->computed = tuplestore_begin_heap(true, false, work_mem);
	segment_name_rows("totals", work->totals_desc, work->totals);
	run(work, work->set->owner,
		"SELECT t.customer_id, bool_or(t.is_customer), sum(t.number_of_orders)::bigint,"
		" sum(t.amount_ordered), min(t.first_order_at), max(t.last_order_at),"
		" sum(t.number_of_returns)::bigint, sum(t.amount_returned), sum(t.items_bought), sum(t.items_returned)"
		" FROM totals t GROUP BY t.customer_id", work->computed);
	forget_rows("totals", work->totals);
	segment_name_rows("computed", work->totals_desc, work->computed);
}

static double
estimated_rows(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	double		rows = relation->rd_rel->reltuples;

	table_close(relation, AccessShareLock);
	return rows;
}

/* Say what attaching found. */
static void
tell_filled(Recomputation *work, Source *source)
{
	SPITupleTable *table;

	run(work, work->set->owner,
		"SELECT count(*), coalesce(sum(c.number_of_orders + c.number_of_returns), 0),"
		" coalesce(sum(c.items_bought + c.items_returned), 0) FROM computed c", NULL);
	table = SPI_tuptable;
	if (source->role == ROLE_CUSTOMERS)
		ereport(NOTICE, (errmsg("attached %s as customers: %s of them count", source->name,
								SPI_getvalue(table->vals[0], table->tupdesc, 1))));
	else if (segment_is_lines(source->role))
		ereport(NOTICE, (errmsg("attached %s as %s: %s items count, of %s customers", source->name,
								segment_role_name(source->role),
								SPI_getvalue(table->vals[0], table->tupdesc, 3),
								SPI_getvalue(table->vals[0], table->tupdesc, 1))));
	else
		ereport(NOTICE, (errmsg("attached %s as %s: %s rows count, of %s customers", source->name,
								segment_role_name(source->role),
								SPI_getvalue(table->vals[0], table->tupdesc, 2),
								SPI_getvalue(table->vals[0], table->tupdesc, 1))));
}

/*
 * Add what an attached table holds already to the figures, and judge those
 * customers.  The caller holds the locks that keep its writers out.
 */
void
segment_fill(SourceSet *set, Source *source)
{
	Recomputation work;
	Tuplestorestate *before;
	double		rows = estimated_rows(source->relid);

	if (rows >= TELL_ROWS)
		ereport(NOTICE, (errmsg("reading %s, about %.0f rows", source->name, rows)));
	begin_recomputation(&work, set, (Datum) 0, true);
	totals_of_source(&work, source);
	compute(&work);
	run(&work, set->owner,
		psprintf("INSERT INTO segment.facts AS f (customer_id, is_customer, number_of_orders, amount_ordered,"
				 " first_order_at, last_order_at, number_of_returns, amount_returned, items_bought, items_returned)"
				 " SELECT c.* FROM computed c ORDER BY c.customer_id%s"
				 " ON CONFLICT (customer_id) DO UPDATE SET version = f.version + 1,"
				 " is_customer = f.is_customer OR excluded.is_customer,"
				 " number_of_orders = f.number_of_orders + excluded.number_of_orders,"
				 " amount_ordered = f.amount_ordered + excluded.amount_ordered,"
				 " first_order_at = least(f.first_order_at, excluded.first_order_at),"
				 " last_order_at = greatest(f.last_order_at, excluded.last_order_at),"
				 " number_of_returns = f.number_of_returns + excluded.number_of_returns,"
				 " amount_returned = f.amount_returned + excluded.amount_returned,"
				 " items_bought = f.items_bought + excluded.items_bought,"
				 " items_returned = f.items_returned + excluded.items_returned", set->key_order), NULL);
	before = tuplestore_begin_heap(true, false, work_mem);
	run(&work, set->owner,
		"SELECT f.customer_id, f.is_customer, f.number_of_orders - c.number_of_orders,"
		" f.amount_ordered - c.amount_ordered, NULL::timestamptz, NULL::timestamptz,"
		" f.number_of_returns - c.number_of_returns, f.amount_returned - c.amount_returned,"
		" f.items_bought - c.items_bought, f.items_returned - c.items_returned"
		" FROM segment.facts f JOIN computed c ON c.customer_id = f.customer_id", before);
	segment_name_rows("facts_before", work.totals_desc, before);
	/* groups that bind from now on are asked about everyone */
	segment_judge_all(set, segment_rules(set, InvalidSnapshot)->ruleset.groups->ngroups > 0 ? NULL
					  : "f.customer_id IN (SELECT c.customer_id FROM computed c)",
					  true, CAUSE_ATTACH, source->name, NULL, NULL, NULL);
	forget_rows("facts_before", before);
	tell_filled(&work, source);
	forget_rows("computed", work.computed);
}

/*
 * Compute figures and standings again, of the customers in an array or, with
 * 0, of everyone, and write what differs; returns how many customers were not
 * right.  The caller holds SHARE ROW EXCLUSIVE on segment.facts, or has written
 * the facts rows of those customers, and is inside SPI.
 */
uint64
segment_recompute(SourceSet *set, Datum customers, Cause cause, const char *source)
{
	Recomputation work;
	Tuplestorestate *wrong = tuplestore_begin_heap(false, false, work_mem);
	Tuplestorestate *before = tuplestore_begin_heap(true, false, work_mem);
	TupleDesc	wrong_desc = CreateTemplateTupleDesc(1);
	const char *asked;
	bool		isnull;

	TupleDescInitEntry(wrong_desc, 1, "customer_id", set->key_type, -1, 0);
	begin_recomputation(&work, set, customers, true);
	for (int i = 0; i < set->nsources; i++)
		totals_of_source(&work, &set->sources[i]);
	compute(&work);
	asked = only_asked(&work, "f.customer_id");
	/* the figures of everyone whose figures are not right */
	run(&work, set->owner,
		psprintf("SELECT coalesce(f.customer_id, c.customer_id), coalesce(f.is_customer, false),"
				 " coalesce(f.number_of_orders, 0), coalesce(f.amount_ordered, 0), f.first_order_at, f.last_order_at,"
				 " coalesce(f.number_of_returns, 0), coalesce(f.amount_returned, 0),"
				 " coalesce(f.items_bought, 0), coalesce(f.items_returned, 0)"
				 " FROM (SELECT * FROM segment.facts f WHERE true%s) f FULL JOIN computed c ON c.customer_id = f.customer_id"
				 " WHERE (coalesce(f.is_customer, false), coalesce(f.number_of_orders, 0), coalesce(f.amount_ordered, 0),"
				 " f.first_order_at, f.last_order_at, coalesce(f.number_of_returns, 0), coalesce(f.amount_returned, 0),"
				 " coalesce(f.items_bought, 0), coalesce(f.items_returned, 0))"
				 " IS DISTINCT FROM"
				 " (coalesce(c.is_customer, false), coalesce(c.number_of_orders, 0), coalesce(c.amount_ordered, 0),"
				 " c.first_order_at, c.last_order_at, coalesce(c.number_of_returns, 0), coalesce(c.amount_returned, 0),"
				 " coalesce(c.items_bought, 0), coalesce(c.items_returned, 0))",
				 asked), before);
	segment_name_rows("facts_before", work.totals_desc, before);
	run(&work, set->owner,
		psprintf("INSERT INTO segment.facts AS f (customer_id, is_customer, number_of_orders, amount_ordered,"
				 " first_order_at, last_order_at, number_of_returns, amount_returned, items_bought, items_returned)"
				 " SELECT b.customer_id, coalesce(c.is_customer, false), coalesce(c.number_of_orders, 0),"
				 " coalesce(c.amount_ordered, 0), c.first_order_at, c.last_order_at,"
				 " coalesce(c.number_of_returns, 0), coalesce(c.amount_returned, 0),"
				 " coalesce(c.items_bought, 0), coalesce(c.items_returned, 0)"
				 " FROM facts_before b LEFT JOIN computed c ON c.customer_id = b.customer_id"
				 " ORDER BY b.customer_id%s"
				 " ON CONFLICT (customer_id) DO UPDATE SET version = f.version + 1, is_customer = excluded.is_customer,"
				 " number_of_orders = excluded.number_of_orders, amount_ordered = excluded.amount_ordered,"
				 " first_order_at = excluded.first_order_at, last_order_at = excluded.last_order_at,"
				 " number_of_returns = excluded.number_of_returns, amount_returned = excluded.amount_returned,"
				 " items_bought = excluded.items_bought, items_returned = excluded.items_returned"
				 " RETURNING f.customer_id", set->key_order), wrong);
	forget_rows("computed", work.computed);

	if (customers)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(set->key_array_type, &output, &varlena);
		segment_judge_all(set, psprintf("f.customer_id = ANY (%s::%s[])",
										quote_literal_cstr(OidOutputFunctionCall(output, customers)),
										set->key_type_name),
						  true, cause, source, NULL, wrong, wrong_desc);
	}
	else
		segment_judge_all(set, NULL, true, cause, source, NULL, wrong, wrong_desc);
	forget_rows("facts_before", before);
	run(&work, set->owner,
		psprintf("DELETE FROM segment.facts f WHERE NOT f.is_customer"
				 " AND f.number_of_orders = 0 AND f.number_of_returns = 0"
				 " AND f.amount_ordered = 0 AND f.amount_returned = 0 AND f.items_bought = 0 AND f.items_returned = 0"
				 " AND NOT EXISTS (SELECT FROM segment.changes h WHERE h.customer_id = f.customer_id)%s", asked), NULL);
	segment_name_rows("wrong", wrong_desc, wrong);
	run(&work, set->owner, "SELECT count(DISTINCT w.customer_id) FROM wrong w", NULL);
	forget_rows("wrong", wrong);
	return (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
require_customers(SourceSet *set)
{
	if (!OidIsValid(set->facts))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers().")));
}

/* Whether the statement that calls us writes rows. */
static bool
caller_writes(void)
{
	ListCell   *cell;

	if (ActivePortal == NULL)
		return false;
	foreach(cell, ActivePortal->stmts)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, cell);

		if (statement->hasModifyingCTE ||
			(statement->commandType != CMD_SELECT && statement->commandType != CMD_UTILITY))
			return true;
	}
	return false;
}

/*
 * Whether the client's statement calls us itself; a statement of a function that
 * it calls is not among what the portal runs.
 */
static bool
is_called_directly(void)
{
	return ActivePortal != NULL && ActivePortal->queryDesc != NULL && ActiveSnapshotSet() &&
		GetActiveSnapshot() == ActivePortal->queryDesc->snapshot;
}

/*
 * A statement that is not finished has changed rows whose deltas are still to
 * come; they would be added to a recomputation that has seen them already.
 * One that only reads, such as the keys to recalculate, is welcome.
 */
void
segment_refuse_in_use(SourceSet *set, const char *doing)
{
	bool		writes = caller_writes();

	if (!writes && is_called_directly())
		return;
	for (int i = 0; i < set->nsources; i++)
	{
		for (int j = -1; j < set->sources[i].nlinks; j++)
		{
			Oid			relid = j < 0 ? set->sources[i].relid : set->sources[i].links[j].relid;
			Relation	relation = table_open(relid, AccessShareLock);

			/* what statement of a function calls us is not known: one that may have written */
			if (writes || CheckRelationLockedByMe(relation, RowExclusiveLock, true))
				CheckTableNotInUse(relation, doing);
			table_close(relation, NoLock);
		}
	}
}

static void
refuse_in_trigger(const char *doing)
{
	if (DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot %s inside a trigger", doing),
				 errhint("Call it after the statement.")));
}

/* Detaching waits for us, or we for it, before what is attached is read. */
static void
keep_detach_out(void)
{
	Oid			facts = segment_facts_relation();

	if (OidIsValid(facts))
		LockRelationOid(facts, RowExclusiveLock);
}

/* After a lock: who attached or detached something while we waited for it is seen. */
static SourceSet *
reacquire(SourceSet *set)
{
	if (segment_sources_current(set))
		return set;
	segment_sources_release();
	return segment_sources_acquire();
}

static void
drop_remains(int id)
{
	segment_execute(psprintf("DELETE FROM segment.attachments WHERE id = %d", id));
	segment_execute(psprintf("DELETE FROM segment.left_out WHERE source = %d", id));
	segment_execute(psprintf("DELETE FROM segment.stale_marks WHERE source = %d", id));
	/* what is pending may have been judged by nobody since */
	segment_execute("UPDATE segment.pending_groups SET done_up_to = NULL");
	if (OidIsValid(get_relname_relid(psprintf("counted_%d", id), get_namespace_oid("segment", false))))
		segment_execute(psprintf("DROP TABLE segment.counted_%d", id));
}

/* Sources whose table or mapping was dropped with CASCADE are detached. */
static void
forget_dropped_sources(SourceSet *set)
{
	Identity	caller;

	segment_become(set->owner, &caller);
	if (segment_execute("SELECT a.id FROM segment.attachments a WHERE to_regclass('segment.source_' || a.id) IS NULL") > 0)
	{
		SPITupleTable *dropped = SPI_tuptable;

		for (uint64 i = 0, n = SPI_processed; i < n; i++)
			drop_remains(atoi(SPI_getvalue(dropped->vals[i], dropped->tupdesc, 1)));
		segment_sources_changed(set->attachments);
	}
	segment_resume(&caller);
}

/*
 * The marks that a recalculation will clear: those seen before it reads its
 * first row.  A mark of a transaction still open then may be about a row that
 * has not been seen.
 */
static Datum
read_stale_marks(SourceSet *set, MemoryContext context)
{
	MemoryContext before;
	Identity	caller;
	Datum		marks;
	bool		isnull;

	segment_become(set->owner, &caller);
	segment_execute("SELECT coalesce(array_agg(m::text), '{}') FROM segment.stale_marks m");
	segment_resume(&caller);
	before = MemoryContextSwitchTo(context);
	marks = PointerGetDatum(DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	MemoryContextSwitchTo(before);
	return marks;
}

static bool
is_filling(SourceSet *set)
{
	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].filling)
			return true;
	}
	return false;
}

/*
 * Attaching locks segment.attachments before segment.facts: so does whoever ends
 * a filling.  Called before what is attached is read.
 */
static void
lock_attachments_if_filling(void)
{
	Identity	caller;
	bool		isnull;

	segment_become(segment_owner(), &caller);
	segment_execute_latest("SELECT EXISTS (SELECT FROM segment.attachments a WHERE a.filling)");
	if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
		segment_execute("LOCK TABLE segment.attachments IN ROW EXCLUSIVE MODE");
	segment_resume(&caller);
}

/*
 * Everything has been computed again: clear the marks seen beforehand, mark
 * what is still amiss, and let sources up to an id that were being filled be
 * followed like the rest; then the caller has locked segment.attachments, and
 * segment.facts in SHARE ROW EXCLUSIVE.
 */
static void
declare_exact(SourceSet *set, Datum marks, int filled)
{
	Oid			types[1] = {TEXTARRAYOID};
	Identity	caller;

	segment_become(set->owner, &caller);
	/* one that a transaction in flight is just making its own is not waited for, and stays */
	segment_execute_with("DELETE FROM segment.stale_marks WHERE ctid = ANY (ARRAY("
						 "SELECT m.ctid FROM segment.stale_marks m WHERE m::text = ANY ($1) FOR UPDATE SKIP LOCKED))",
						 1, types, &marks, NULL, false, NULL, NULL);
	if (filled > 0)
		segment_execute(psprintf("UPDATE segment.attachments SET filling = false WHERE filling AND id <= %d", filled));
	segment_resume(&caller);
	segment_marks_cleared();
	segment_mark_faults(set, NIL);
}

/*
 * Ids of transactions that a restore has brought here are those of another
 * server: one that is still to come here would keep its customer from ever
 * being stale.  Those that are past are older than any mark from now on.
 */
static void
forget_checks(SourceSet *set)
{
	Identity	caller;

	if (set->is_here)
		return;
	segment_become(set->owner, &caller);
	segment_execute("UPDATE segment.facts f SET checked = NULL WHERE f.checked >= pg_snapshot_xmin(pg_current_snapshot())");
	segment_resume(&caller);
}

/*
 * State that a restore has brought here becomes this database's own.  The
 * caller keeps everyone out who judges; see segment_stand_aside().
 */
static void
adopt_state(SourceSet *set)
{
	Identity	caller;

	if (set->is_here)
		return;
	segment_become(set->owner, &caller);
	segment_execute("SELECT segment._adopt()");
	segment_resume(&caller);
}

/* Rules that a restore has loaded are looked at now that they are all here. */
static void
require_valid_rules(SourceSet *set)
{
	const Ruleset *ruleset;
	StringInfoData what,
				detail,
				hint;
	Identity	caller;

	if (set->is_here)
		return;
	segment_become(set->owner, &caller);
	segment_require_ladders();
	segment_resume(&caller);
	initStringInfo(&what);
	initStringInfo(&detail);
	initStringInfo(&hint);
	ruleset = &segment_rules(set, InvalidSnapshot)->ruleset;
	if (segment_ruleset_fault(ruleset, &what, &detail, &hint) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXCLUSION_VIOLATION),
				 errmsg_internal("%s", what.data),
				 errdetail_internal("%s", detail.data),
				 errhint("%s", hint.data)));
}

/* segment.recalculate() */
Datum
segment_recalculate(PG_FUNCTION_ARGS)
{
	SourceSet  *set;
	Datum		marks;
	uint64		n;

	segment_require_read_committed("recalculate");
	refuse_in_trigger("recalculate");
	segment_connect(0);
	lock_attachments_if_filling();
	segment_lock_facts();		/* before what is attached is read: it stays so */
	set = segment_sources_acquire();
	require_customers(set);
	segment_refuse_in_use(set, "recalculate");
	forget_dropped_sources(set);
	set = reacquire(set);
	require_valid_rules(set);
	marks = read_stale_marks(set, CurrentMemoryContext);
	n = segment_recompute(set, (Datum) 0, CAUSE_RECALCULATION, NULL);
	forget_checks(set);
	adopt_state(set);
	declare_exact(set, marks, is_filling(set) ? set->newest : 0);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}

/*
 * Write the facts rows of customers, in key order, so that whoever else is
 * about to judge them waits for us or we for them.  The row says what the
 * computation that follows will have seen: all sources there are now, and every
 * transaction that is not running any more.
 */
static void
bump_customers(SourceSet *set, Datum customers)
{
	Identity	caller;

	segment_recompute_alone(set);
	segment_become(set->owner, &caller);
	segment_execute_with(psprintf("INSERT INTO segment.facts AS f (customer_id, filled, checked)"
								  " SELECT DISTINCT k.k%1$s, %3$d, pg_snapshot_xmin(pg_current_snapshot())"
								  " FROM unnest($1) AS k(k) WHERE k.k IS NOT NULL%2$s ORDER BY 1"
								  " ON CONFLICT (customer_id) DO UPDATE SET version = f.version + 1,"
								  " filled = excluded.filled, checked = excluded.checked",
								  set->key_order, not_anonymous(set, "k.k"), set->newest),
						 1, &set->key_array_type, &customers, NULL, false, NULL, NULL);
	segment_resume(&caller);
}

/*
 * A customer computed while rows can come unseen (a trigger is switched off, a
 * partition is foreign) may be wrong again at once, and stays stale.  Asked
 * after bump_customers(): what becomes amiss later is marked by a transaction
 * that the rows do not say was seen.
 */
static void
leave_stale_where_faulty(SourceSet *set, Datum customers)
{
	Identity	caller;

	segment_become(set->owner, &caller);
	segment_execute_with("UPDATE segment.facts f SET checked = NULL WHERE f.customer_id = ANY ($1)"
						 " AND EXISTS (SELECT FROM segment.stale_marks) AND EXISTS (SELECT FROM segment._shape_faults())",
						 1, &set->key_array_type, &customers, NULL, false, NULL, NULL);
	segment_resume(&caller);
}

/* segment.recalculate_customers(keys) */
Datum
segment_recalculate_customers(PG_FUNCTION_ARGS)
{
	SourceSet  *set;
	Datum		customers = PG_GETARG_DATUM(0);
	uint64		n;

	segment_require_read_committed("recalculate customers");
	refuse_in_trigger("recalculate customers");
	segment_connect(0);
	keep_detach_out();
	set = segment_sources_acquire();
	require_customers(set);
	segment_refuse_in_use(set, "recalculate");
	bump_customers(set, customers);
	leave_stale_where_faulty(set, customers);
	set = reacquire(set);
	n = segment_recompute(set, customers, CAUSE_RECALCULATION, NULL);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}

/* a recalculation in batches */
typedef struct Batches
{
	SourceSet  *set;
	MemoryContext context;		/* outlives the transactions */
	int			size;
	int			filled;			/* customers are to be filled up to this source; 0: nothing is filling */
	bool		resumed;		/* only those whom a mark still concerns */
	Datum		marks;
	Datum	   *missing;		/* keys that sources name and that have no facts row */
	int			nmissing;
	List	   *unlisted;		/* of Unlisted: linked rows to look at again at the end */
	TimestampTz start;
	int64		total;
	int64		done;
	uint64		wrong;
} Batches;

/* a row of a linked source that segment.left_out may be wrong about */
typedef struct Unlisted
{
	int			source;
	char	   *row_key;
} Unlisted;

static TupleDesc
corrections_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(4);

	TupleDescInitEntry(desc, 1, "source", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "row_key", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 3, "reason", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 4, "n", INT8OID, -1, 0);
	return desc;
}

/*
 * Correct what segment.left_out says.  Of rows that mean something by themselves
 * it is a sum, to which the difference is added; what it says of linked rows is
 * written anew by whoever looks at them, so those are left to the end.
 */
static void
correct_left_out(Batches *batches, Recomputation *work)
{
	SourceSet  *set = batches->set;
	StringInfoData linked;
	MemoryContext before;

	initStringInfo(&linked);
	appendStringInfoString(&linked, "'{");
	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].linked)
			appendStringInfo(&linked, "%s%d", linked.len > 2 ? "," : "", set->sources[i].id);
	}
	appendStringInfoString(&linked, "}'::integer[]");
	segment_name_rows("corrections", corrections_desc(), work->corrections);
	work->writes = true;
	run(work, set->owner,
		psprintf("INSERT INTO segment.left_out AS o (source, row_key, reason, n)"
				 " SELECT c.source, c.row_key, c.reason, c.n FROM corrections c WHERE c.source <> ALL (%s)"
				 " ORDER BY 1, 2, 3 ON CONFLICT (source, row_key, reason) DO UPDATE SET n = o.n + excluded.n", linked.data), NULL);
	run(work, set->owner, "DELETE FROM segment.left_out o USING corrections c WHERE o.source = c.source"
		" AND o.row_key = c.row_key AND o.reason = c.reason AND o.n = 0", NULL);
	run(work, set->owner,
		psprintf("SELECT DISTINCT c.source, c.row_key FROM corrections c WHERE c.source = ANY (%s) AND c.row_key <> ''", linked.data), NULL);
	before = MemoryContextSwitchTo(batches->context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Unlisted   *row = palloc(sizeof(Unlisted));

		row->source = atoi(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		row->row_key = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		batches->unlisted = lappend(batches->unlisted, row);
	}
	MemoryContextSwitchTo(before);
	forget_rows("corrections", work->corrections);
}

/* Look at one linked row again, and list it if it is left out. */
static void
list_again(SourceSet *set, Source *source, const char *row_key)
{
	Oid			type = getBaseType(source->fields[segment_ledger_field(source)].type);
	Oid			input;
	Oid			ioparam;
	Datum		key;
	Rows		rows = {0};
	Oid			types[3] = {INT4OID, TEXTOID, TEXTOID};
	Datum		values[3] = {Int32GetDatum(source->id), CStringGetTextDatum(row_key)};
	Identity	caller;

	getTypeInputInfo(type, &input, &ioparam);
	key = OidInputFunctionCall(input, unconstify(char *, row_key), ioparam, -1);
	segment_read_linked(set, source, &key, 1, &rows);
	segment_become(set->owner, &caller);
	segment_execute_with("DELETE FROM segment.left_out WHERE source = $1 AND row_key = $2",
						 2, types, values, NULL, false, NULL, NULL);
	for (int i = 0; i < rows.n; i++)
	{
		if (rows.rows[i].left_out == NULL)
			continue;
		values[2] = CStringGetTextDatum(segment_clip(rows.rows[i].left_out));
		segment_execute_with("INSERT INTO segment.left_out AS o (source, row_key, reason, n) VALUES ($1, $2, $3, 1)"
							 " ON CONFLICT (source, row_key, reason) DO UPDATE SET n = o.n + 1",
							 3, types, values, NULL, false, NULL, NULL);
	}
	segment_resume(&caller);
}

/* The linked rows found at the start; whoever looks at such rows is kept out meanwhile. */
static void
list_unlisted(Batches *batches)
{
	ListCell   *cell;

	foreach(cell, batches->unlisted)
	{
		Unlisted   *row = lfirst(cell);
		Source	   *source = segment_source_by_id(batches->set, row->source);

		CHECK_FOR_INTERRUPTS();
		if (source != NULL && source->linked && strlen(row->row_key) < 200)
			list_again(batches->set, source, row->row_key);
	}
}

/*
 * Keys that any source names and that have no facts row, and what is left out:
 * found without keeping sales out.  Another call like this one is kept out, and
 * what is read is read after that, and after whoever recalculated while we
 * waited to come this far: a correction must not be made twice.
 */
static void
find_missing_customers(Batches *batches)
{
	SourceSet  *set = batches->set;
	Recomputation work;
	SPITupleTable *table;
	MemoryContext before;

	LockRelationOid(get_relname_relid("left_out", get_namespace_oid("segment", false)), ShareUpdateExclusiveLock);
	PushActiveSnapshot(GetLatestSnapshot());
	begin_recomputation(&work, set, (Datum) 0, false);
	work.differences = tuplestore_begin_heap(false, false, work_mem);
	work.corrections = tuplestore_begin_heap(true, false, work_mem);
	for (int i = 0; i < set->nsources; i++)
		totals_of_source(&work, &set->sources[i]);
	compute(&work);
	run(&work, set->owner,
		psprintf("SELECT c.customer_id FROM computed c"
				 " WHERE NOT EXISTS (SELECT FROM segment.facts f WHERE f.customer_id = c.customer_id)"
				 " ORDER BY c.customer_id%s", set->key_order), NULL);
	table = SPI_tuptable;
	batches->nmissing = (int) SPI_processed;
	before = MemoryContextSwitchTo(batches->context);
	batches->missing = MemoryContextAllocHuge(batches->context, sizeof(Datum) * (Size) Max(batches->nmissing, 1));
	for (int i = 0; i < batches->nmissing; i++)
	{
		bool		isnull;

		batches->missing[i] = segment_copy_customer(set, SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
	}
	MemoryContextSwitchTo(before);
	forget_rows("computed", work.computed);
	tuplestore_end(work.differences);
	PopActiveSnapshot();
	correct_left_out(batches, &work);
}

/* "AND the customer is still to be done" */
static const char *
still_to_do(Batches *batches)
{
	StringInfoData sql;

	if (batches->filled == 0 && !batches->resumed)
		return "";
	initStringInfo(&sql);
	appendStringInfoString(&sql, " AND (");
	if (batches->filled > 0)
		appendStringInfo(&sql, "f.filled < %d", batches->filled);
	if (batches->resumed)
		appendStringInfo(&sql, "%sf.checked IS NULL OR f.checked <= (SELECT m.xid FROM segment.stale_marks m"
						 " WHERE m::text = ANY ($3) ORDER BY m.xid DESC LIMIT 1)",
						 batches->filled > 0 ? " OR " : "");
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* The next batch of keys after the last one, as an array; false where there are no more. */
static bool
next_batch(Batches *batches, bool first, Datum last, Datum *batch, int *n)
{
	SourceSet  *set = batches->set;
	Identity	caller;
	bool		isnull;
	Oid			types[3] = {set->key_type, INT4OID, TEXTARRAYOID};
	Datum		values[3] = {last, Int32GetDatum(batches->size), batches->marks};
	char		nulls[4] = {first ? 'n' : ' ', ' ', ' ', '\0'};

	segment_become(set->owner, &caller);
	segment_execute_with(psprintf("SELECT array_agg(k.customer_id), count(*)::integer FROM"
								  " (SELECT f.customer_id FROM segment.facts f WHERE ($1 IS NULL OR f.customer_id > $1)%s"
								  " ORDER BY f.customer_id LIMIT $2) k", still_to_do(batches)),
						 3, types, values, nulls, false, NULL, NULL);
	segment_resume(&caller);
	*batch = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*n = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return *n > 0;
}

static int64
count_to_do(Batches *batches)
{
	Identity	caller;
	bool		isnull;
	Oid			types[3] = {INT4OID, INT4OID, TEXTARRAYOID};
	Datum		values[3] = {0, 0, batches->marks};

	segment_become(batches->set->owner, &caller);
	segment_execute_with(psprintf("SELECT count(*) FROM segment.facts f WHERE $1 = $2%s", still_to_do(batches)),
						 3, types, values, NULL, false, NULL, NULL);
	segment_resume(&caller);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Commit what was done, and go on with what is attached then, and without what was allocated. */
static void
next_transaction(Batches *batches)
{
	segment_sources_release();
	SPI_commit();
	SPI_finish();
	segment_connect(SPI_OPT_NONATOMIC);
	keep_detach_out();
	batches->set = segment_sources_acquire();
	require_customers(batches->set);
}

/* Recalculate one batch and commit it. */
static void
recalculate_batch(Batches *batches, Datum batch, int n)
{
	double		elapsed;

	bump_customers(batches->set, batch);
	leave_stale_where_faulty(batches->set, batch);
	batches->set = reacquire(batches->set);
	batches->wrong += segment_recompute(batches->set, batch, batches->filled > 0 ? CAUSE_ATTACH : CAUSE_RECALCULATION, NULL);
	next_transaction(batches);
	batches->done += n;
	elapsed = (double) (GetCurrentTimestamp() - batches->start) / USECS_PER_SEC;
	ereport(INFO,
			(errmsg("recalculated %lld of %lld customers (%d %%), %llu were not right, about %.0f s remain",
					(long long) batches->done, (long long) Max(batches->total, batches->done),
					(int) (batches->done * 100 / Max(batches->total, batches->done)), (unsigned long long) batches->wrong,
					Max(batches->total - batches->done, 0) * elapsed / batches->done)));
}

/* Largest key of a batch, copied to where it outlives the commit. */
static Datum
last_of(Batches *batches, Datum batch)
{
	SourceSet  *set = batches->set;
	Datum	   *keys;
	int			n;
	MemoryContext before = MemoryContextSwitchTo(batches->context);
	Datum		last;

	deconstruct_array(DatumGetArrayTypeP(batch), set->key_type, set->key_cache->typlen,
					  set->key_cache->typbyval, set->key_cache->typalign, &keys, NULL, &n);
	last = segment_copy_customer(set, keys[n - 1]);
	MemoryContextSwitchTo(before);
	return last;
}

/* Customers without facts rows, a batch at a time. */
static void
recalculate_missing(Batches *batches)
{
	for (int from = 0; from < batches->nmissing; from += batches->size)
	{
		int			n = Min(batches->size, batches->nmissing - from);

		recalculate_batch(batches, PointerGetDatum(segment_array(batches->set->key_type, &batches->missing[from], NULL, n)), n);
	}
}

/* Customers with facts rows that are still to be done, in key order. */
static void
recalculate_present(Batches *batches)
{
	Datum		last = (Datum) 0;
	Datum		batch;
	int			n;
	bool		first = true;

	while (next_batch(batches, first, last, &batch, &n))
	{
		last = last_of(batches, batch);
		first = false;
		recalculate_batch(batches, batch, n);
	}
}

/*
 * The end.  Where something was being filled, with everyone kept out who judges:
 * the few customers who came meanwhile, and then nobody is passed over any more.
 */
static void
finish_batches(Batches *batches)
{
	if (batches->filled > 0 || batches->unlisted != NIL)
	{
		Datum		batch;
		int			n;

		segment_sources_release();
		SPI_commit();			/* locks anew, in their order */
		lock_attachments_if_filling();
		segment_lock_facts();
		batches->set = segment_sources_acquire();
		require_customers(batches->set);
		list_unlisted(batches);
		batches->size = INT_MAX;
		batches->resumed = false;
		if (batches->filled > 0 && next_batch(batches, true, (Datum) 0, &batch, &n))
		{
			bump_customers(batches->set, batch);
			batches->wrong += segment_recompute(batches->set, batch, CAUSE_ATTACH, NULL);
		}
	}
	declare_exact(batches->set, batches->marks, batches->filled);
}

/* What a restore has brought here is followed from now on, and stale until it is done. */
static void
adopt_as_stale(Batches *batches)
{
	if (batches->set->is_here)
		return;
	forget_checks(batches->set);	/* may take a while, so it is done before the lock */
	next_transaction(batches);
	segment_lock_facts();
	batches->set = reacquire(batches->set);
	require_valid_rules(batches->set);
	for (int i = 0; i < batches->set->nsources; i++)
		segment_mark_stale(batches->set, batches->set->sources[i].id, "the state was restored from another database");
	adopt_state(batches->set);
	next_transaction(batches);
}

/* CALL segment.recalculate_in_batches() */
Datum
segment_recalculate_in_batches(PG_FUNCTION_ARGS)
{
	Batches		batches = {.size = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0)};

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("segment.recalculate_in_batches() commits after each batch and cannot run inside a transaction block"),
				 errhint("CALL it on its own, or use segment.recalculate().")));
	if (batches.size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be at least 1, not %d", batches.size),
				 errhint("It is a number of customers, such as 10000.")));
	segment_require_read_committed("recalculate");
	segment_connect(SPI_OPT_NONATOMIC);
	batches.context = AllocSetContextCreate(PortalContext, "segment batches", ALLOCSET_SMALL_SIZES);
	keep_detach_out();
	batches.set = segment_sources_acquire();
	require_customers(batches.set);
	adopt_as_stale(&batches);
	batches.filled = is_filling(batches.set) ? batches.set->newest : 0;
	batches.marks = read_stale_marks(batches.set, batches.context);
	batches.resumed = ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(batches.marks)),
									 ARR_DIMS(DatumGetArrayTypeP(batches.marks))) > 0;
	find_missing_customers(&batches);
	batches.total = batches.nmissing + count_to_do(&batches);
	next_transaction(&batches);
	batches.start = GetCurrentTimestamp();
	recalculate_present(&batches);
	recalculate_missing(&batches);
	finish_batches(&batches);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_VOID();
}

static const char *const verify_facts_sql =
"SELECT coalesce(f.customer_id, c.customer_id), d.figure, d.stored, d.expected"
" FROM segment.facts f FULL JOIN computed c ON c.customer_id = f.customer_id"
" CROSS JOIN LATERAL (VALUES"
" ('is_customer', coalesce(f.is_customer, false)::text, coalesce(c.is_customer, false)::text),"
" ('number_of_orders', coalesce(f.number_of_orders, 0)::text, coalesce(c.number_of_orders, 0)::text),"
" ('amount_ordered', trim_scale(coalesce(f.amount_ordered, 0))::text, trim_scale(coalesce(c.amount_ordered, 0))::text),"
" ('first_order_at', f.first_order_at::text, c.first_order_at::text),"
" ('last_order_at', f.last_order_at::text, c.last_order_at::text),"
" ('number_of_returns', coalesce(f.number_of_returns, 0)::text, coalesce(c.number_of_returns, 0)::text),"
" ('amount_returned', trim_scale(coalesce(f.amount_returned, 0))::text, trim_scale(coalesce(c.amount_returned, 0))::text),"
" ('items_bought', trim_scale(coalesce(f.items_bought, 0))::text, trim_scale(coalesce(c.items_bought, 0))::text),"
" ('items_returned', trim_scale(coalesce(f.items_returned, 0))::text, trim_scale(coalesce(c.items_returned, 0))::text)"
") AS d(figure, stored, expected)"
" WHERE d.stored IS DISTINCT FROM d.expected";

static const char *const verify_tiers_sql =
"WITH expected AS ("
" SELECT v.customer_id, v.ladder, (SELECT t.id FROM segment.tiers t"
"  WHERE t.ladder = v.ladder AND t.active AND (t.min_value <= v.value OR t.min_value = 0"
"   AND NOT EXISTS (SELECT FROM segment.tiers u WHERE u.ladder = t.ladder AND u.min_value < t.min_value))"
"  ORDER BY t.min_value DESC LIMIT 1) AS id"
" FROM (SELECT c.customer_id, l.code AS ladder, CASE l.figure"
"   WHEN 'amount_spent' THEN c.amount_ordered - c.amount_returned"
"   WHEN 'amount_ordered' THEN c.amount_ordered"
"   WHEN 'amount_returned' THEN c.amount_returned"
"   WHEN 'number_of_orders' THEN c.number_of_orders"
"   WHEN 'number_of_returns' THEN c.number_of_returns"
"   WHEN 'items_bought' THEN c.items_bought"
"   WHEN 'items_returned' THEN c.items_returned END AS value"
"  FROM computed c CROSS JOIN segment.ladders l WHERE c.is_customer AND l.active) v"
"), stored AS ("
" SELECT s.customer_id, u.id FROM segment.standings s CROSS JOIN LATERAL unnest(s.held) AS u(id)"
"  WHERE u.id > 0 AND NOT EXISTS (SELECT FROM segment.groups g WHERE g.id = u.id)"
"), pairs AS ("
" SELECT e.customer_id, e.id FROM expected e WHERE e.id IS NOT NULL"
")"
" SELECT coalesce(s.customer_id, p.customer_id),"
"  'tier on ladder ' || coalesce(t.ladder, 'unknown'),"
"  CASE WHEN s.id IS NOT NULL THEN coalesce(t.code, s.id::text) END,"
"  CASE WHEN p.id IS NOT NULL THEN t.code END"
" FROM stored s FULL JOIN pairs p ON p.customer_id = s.customer_id AND p.id = s.id"
"  LEFT JOIN segment.tiers t ON t.id = coalesce(s.id, p.id)"
" WHERE s.id IS NULL OR p.id IS NULL";

/* Members of a group, as rows "shown_members" have them, against what its condition means in plain SQL. */
static void
verify_group(Recomputation *work, const char *code, const Condition *condition, const Shop *shop)
{
	SourceSet  *set = work->set;
	Tuplestorestate *expected = tuplestore_begin_heap(true, false, work_mem);
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	Bound	   *bound = segment_bind(set, 1, &condition);

	TupleDescInitEntry(desc, 1, "customer_id", set->key_type, -1, 0);
	segment_execute_for(set->owner, segment_only_owner(set),
						psprintf("SELECT m.key::%s FROM (%s) m", set->key_type_name, segment_condition_select(set, bound, shop)),
						expected, work->context);
	segment_name_rows("expected_members", desc, expected);
	run(work, set->owner,
		psprintf("SELECT coalesce(m.customer_id, e.customer_id), 'group ' || %1$s,"
				 " CASE WHEN m.customer_id IS NULL THEN 'out' ELSE 'in' END,"
				 " CASE WHEN e.customer_id IS NULL THEN 'out' ELSE 'in' END"
				 " FROM (SELECT m.customer_id FROM shown_members m WHERE m.group_code = %1$s) m"
				 " FULL JOIN expected_members e ON e.customer_id = m.customer_id"
				 " WHERE m.customer_id IS NULL OR e.customer_id IS NULL", quote_literal_cstr(code)), work->differences);
	forget_rows("expected_members", expected);
}

/* A group whose condition does not bind is judged by nobody: status() tells. */
static bool
is_bound(const Ruleset *ruleset, const char *code)
{
	for (int i = 0; i < ruleset->groups->ngroups; i++)
	{
		if (ruleset->groups->groups[i]->instead_of == 0 && strcmp(ruleset->groups->groups[i]->code, code) == 0)
			return ruleset->groups->groups[i]->root != NULL && ruleset->groups->groups[i]->active;
	}
	return false;
}

static void
verify_groups(Recomputation *work)
{
	Rules	   *rules = segment_rules(work->set, GetActiveSnapshot());
	Shop		shop = segment_rules_shop(rules, segment_rules_instant(rules));
	Tuplestorestate *shown = tuplestore_begin_heap(true, false, work_mem);
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	SPITupleTable *table;
	uint64		n;

	/* once for all groups: whoever is due is judged for that */
	TupleDescInitEntry(desc, 1, "group_code", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, 1, C_COLLATION_OID);
	TupleDescInitEntry(desc, 2, "customer_id", work->set->key_type, -1, 0);
	run(work, work->set->owner, "SELECT m.group_code, m.customer_id FROM segment.members m", shown);
	segment_name_rows("shown_members", desc, shown);

	run(work, work->set->owner, "SELECT g.code, g.condition FROM segment.groups g WHERE g.kind = 'automatic' ORDER BY g.code", NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		char	   *code = SPI_getvalue(table->vals[i], table->tupdesc, 1);
		Datum		condition = SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (is_bound(&rules->ruleset, code))
			verify_group(work, code, DatumGetConditionP(condition), &shop);
	}
	SPI_freetuptable(table);
	forget_rows("shown_members", shown);
}

/* segment.verify() */
Datum
segment_verify(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Tuplestorestate *differences = segment_begin_set(fcinfo, &desc);
	MemoryContext per_query = ((ReturnSetInfo *) fcinfo->resultinfo)->econtext->ecxt_per_query_memory;
	SourceSet  *set;
	Recomputation work;

	segment_connect(0);
	set = segment_sources_acquire();
	require_customers(set);
	begin_recomputation(&work, set, (Datum) 0, false);
	work.context = per_query;
	work.differences = differences;
	for (int i = 0; i < set->nsources; i++)
		totals_of_source(&work, &set->sources[i]);
	compute(&work);
	run(&work, set->owner, verify_facts_sql, differences);
	run(&work, set->owner, verify_tiers_sql, differences);
	verify_groups(&work);
	forget_rows("computed", work.computed);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}
