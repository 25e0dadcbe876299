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
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "recalculate.h"
#include "row.h"
#include "saved_plan.h"
#include "stale.h"
#include "standing.h"
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
} Recomputation;

#define TOTALS_COLUMNS 8

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
	return desc;
}

/* rows of one source: (key, customer_id, order_key, amount, at, reason) or without order_key */
static TupleDesc
rows_desc(SourceSet *set, Source *source, bool with_order_key)
{
	TupleDesc	desc = CreateTemplateTupleDesc(with_order_key ? 6 : 5);
	int			n = 1;

	TupleDescInitEntry(desc, n++, "key", source->fields[FIELD_KEY].mapped
					   ? getBaseType(source->fields[FIELD_KEY].type) : TEXTOID, -1, 0);
	TupleDescInitEntry(desc, n++, "customer_id", set->key_type, -1, 0);
	if (with_order_key)
		TupleDescInitEntry(desc, n++, "order_key", getBaseType(source->fields[FIELD_ORDER_KEY].type), -1, 0);
	TupleDescInitEntry(desc, n++, "amount", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, n++, "at", TIMESTAMPTZOID, -1, 0);
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

/* Why a row that should count does not, in the words of row.c. */
static char *
reason_sql(Source *source)
{
	StringInfoData sql;

	if (source->role == ROLE_CUSTOMERS)
		return "NULL::text";
	initStringInfo(&sql);
	appendStringInfoString(&sql, "CASE WHEN s.counts THEN NULL");
	if (source->fields[FIELD_CURRENCY].mapped)
		appendStringInfo(&sql, " WHEN s.currency IS NULL THEN 'currency is NULL'"
						 " WHEN s.currency <> %s THEN 'currency is ' || s.currency",
						 quote_literal_cstr(source->currency));
	appendStringInfoString(&sql,
						   " WHEN s.amount IS NULL THEN 'amount is NULL'"
						   " WHEN s.at IS NULL THEN 'at is NULL'"
						   " WHEN s.amount = 'NaN' THEN 'amount is NaN'"
						   " WHEN s.amount = 'Infinity' OR s.amount = '-Infinity' THEN 'amount is infinite'"
						   " WHEN s.amount <= -1e30 OR s.amount >= 1e30 THEN 'amount is not between -1e30 and 1e30'"
						   " WHEN NOT isfinite(s.at) THEN 'at is infinite'"
						   " ELSE 'at is not between the years 1 and 9999' END");
	return sql.data;
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

/* Figures that a source's rows give: select list after the customer. */
static const char *
figures_sql(SourceRole role)
{
	switch (role)
	{
		case ROLE_CUSTOMERS:
			return "true, 0::bigint, 0::numeric, NULL::timestamptz, NULL::timestamptz, 0::bigint, 0::numeric";
		case ROLE_ORDERS:
			return "false, count(*), sum(s.amount), min(s.at), max(s.at), 0::bigint, 0::numeric";
		case ROLE_RETURNS:
			return "false, 0::bigint, 0::numeric, NULL::timestamptz, NULL::timestamptz, count(*), sum(s.amount)";
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
				 figures_sql(source->role), only_asked(work, "s.customer_id")), work->totals);
	if (!work->writes || work->customers)
		return;
	left = tuplestore_begin_heap(false, false, work_mem);
	run(work, work->set->owner,
		"SELECT left(coalesce(s.key::text, ''), 200), left(s.reason, 200) FROM source_rows s WHERE s.reason IS NOT NULL", left);
	segment_name_rows("left_now", left_now_desc(), left);
	write_left_out(work, source);
	forget_rows("left_now", left);
}

static void
put_row(Recomputation *work, Source *source, Tuplestorestate *rows, TupleDesc desc, const Row *row)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {true, true, true, true, true};

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
	if (row->counts && source->role != ROLE_CUSTOMERS)
	{
		nulls[2] = nulls[3] = false;
		values[2] = NumericGetDatum(row->amount);
		values[3] = TimestampTzGetDatum(row->at);
	}
	if (row->left_out)
	{
		nulls[4] = false;
		values[4] = CStringGetTextDatum(row->left_out);
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
				 customer, figures_sql(source->role), source->mapping_sql, raw,
				 only_asked(work, raw), not_anonymous(work->set, raw),
				 source->role == ROLE_CUSTOMERS ? "" : " GROUP BY ",
				 source->role == ROLE_CUSTOMERS ? "" : customer),
		direct->totals);
	if (work->writes && !work->customers && source->role != ROLE_CUSTOMERS)
		run(work, source->owner,
			psprintf("SELECT left(%s, 200), left(%s, 200) FROM %s s"
					 " WHERE s.counted AND NOT s.counts AND %s IS NOT NULL%s",
					 source->fields[FIELD_KEY].mapped ? "coalesce(s.key::text, '')" : "''",
					 reason_sql(source), source->mapping_sql, raw, not_anonymous(work->set, raw)),
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
		if (work->writes && !work->customers)
		{
			segment_name_rows("left_now", left_now_desc(), direct.left);
			write_left_out(work, source);
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

/*
 * Rows of a linked source with the meaning that other tables give them: the
 * source's rows as its owner, the orders they name as the owner of those, and
 * both put together as ourselves.
 */
static void
join_linked(void *argument)
{
	LinkedWork *linked = argument;
	Recomputation *work = linked->work;
	SourceSet  *set = work->set;
	Source	   *source = linked->source;
	bool		by_order = source->order_source >= 0;
	Source	   *orders = by_order ? &set->sources[source->order_source] : NULL;
	TupleDesc	raw_desc = rows_desc(set, source, by_order);
	Tuplestorestate *raw = tuplestore_begin_heap(false, false, work_mem);
	Tuplestorestate *named = NULL;
	Tuplestorestate *asked_orders = NULL;
	bool		keyed = source->role == ROLE_CUSTOMERS || source->fields[FIELD_CUSTOMER].mapped;
	const char *asked = "";

	if (work->customers && !by_order)
		asked = only_asked(work, source->role == ROLE_CUSTOMERS ? "s.key" : "s.customer");
	else if (work->customers)
	{
		TupleDesc	asked_desc = CreateTemplateTupleDesc(1);

		asked_orders = tuplestore_begin_heap(false, false, work_mem);
		TupleDescInitEntry(asked_desc, 1, "key", getBaseType(orders->fields[FIELD_KEY].type), -1, 0);
		run(work, orders->owner,
			psprintf("SELECT o.key::%s FROM %s o WHERE o.customer = ANY ($1)",
					 format_type_be_qualified(getBaseType(orders->fields[FIELD_KEY].type)),
					 orders->mapping_sql), asked_orders);
		segment_name_rows("asked_orders", asked_desc, asked_orders);
		asked = psprintf(" AND (s.order_key IN (SELECT a.key FROM asked_orders a)%s)",
						 keyed ? " OR s.customer = ANY ($1)" : "");
	}
	run(work, source->owner,
		psprintf("SELECT s.key::%s, %s, %s%s, %s, %s FROM %s s WHERE s.counted%s",
				 format_type_be_qualified(getBaseType(source->fields[FIELD_KEY].type)),
				 customer_sql(set, source),
				 by_order ? psprintf("s.order_key::%s, ", format_type_be_qualified(getBaseType(source->fields[FIELD_ORDER_KEY].type))) : "",
				 source->role == ROLE_CUSTOMERS ? "NULL::numeric" : "s.amount",
				 source->role == ROLE_CUSTOMERS ? "NULL::timestamptz" : "s.at",
				 reason_sql(source), source->mapping_sql, asked),
		raw);
	segment_name_rows("raw_rows", raw_desc, raw);

	if (by_order)
	{
		TupleDesc	named_desc = CreateTemplateTupleDesc(2);

		named = tuplestore_begin_heap(false, false, work_mem);
		TupleDescInitEntry(named_desc, 1, "key", getBaseType(orders->fields[FIELD_KEY].type), -1, 0);
		TupleDescInitEntry(named_desc, 2, "customer_id", set->key_type, -1, 0);
		run(work, orders->owner,
			psprintf("SELECT o.key::%s, o.customer::%s FROM %s o"
					 " WHERE o.counts AND o.key IN (SELECT r.order_key FROM raw_rows r)",
					 format_type_be_qualified(getBaseType(orders->fields[FIELD_KEY].type)),
					 set->key_type_name, orders->mapping_sql), named);
		segment_name_rows("named_orders", named_desc, named);
	}
	run(work, set->owner,
		psprintf("SELECT * FROM (SELECT r.key, %s AS customer_id, r.amount, r.at, r.reason FROM raw_rows r%s) s"
				 " WHERE s.customer_id IS NOT NULL%s%s",
				 by_order ? "coalesce(r.customer_id, o.customer_id)" : "r.customer_id",
				 by_order ? " LEFT JOIN named_orders o ON o.key = r.order_key"
				 " WHERE r.order_key IS NULL OR o.key IS NOT NULL" : "",
				 only_asked(work, "s.customer_id"), not_anonymous(set, "s.customer_id")),
		linked->rows);
	forget_rows("named_orders", named);
	forget_rows("asked_orders", asked_orders);
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
		psprintf("SELECT t.%s FROM %s t",
				 quote_identifier(get_attname(source->relid, source->fields[FIELD_KEY].attno, false)),
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

/* Make the ledger of a linked source say what its rows count for now. */
static void
write_ledger(Recomputation *work, Source *source)
{
	const char *asked = only_asked(work, "c.customer_id");

	run(work, work->set->owner,
		psprintf("DELETE FROM segment.counted_%d c WHERE NOT EXISTS (SELECT FROM source_rows s"
				 " WHERE s.reason IS NULL AND s.key = c.key AND s.customer_id = c.customer_id"
				 " AND s.amount = c.amount AND s.at = c.at)%s", source->id, asked), NULL);
	run(work, work->set->owner,
		psprintf("INSERT INTO segment.counted_%1$d AS c (key, customer_id, amount, at)"
				 " SELECT s.key, s.customer_id, s.amount, s.at FROM source_rows s"
				 " WHERE s.reason IS NULL%2$s AND NOT EXISTS (SELECT FROM segment.counted_%1$d c"
				 " WHERE c.key = s.key AND c.customer_id = s.customer_id)"
				 " ON CONFLICT (key) DO UPDATE SET customer_id = excluded.customer_id,"
				 " amount = excluded.amount, at = excluded.at",
				 source->id, only_asked(work, "s.customer_id")), NULL);
}

/* verify(): rows of the ledger that are not what they should be. */
static void
compare_ledger(Recomputation *work, Source *source)
{
	run(work, work->set->owner,
		psprintf("SELECT coalesce(c.customer_id, s.customer_id), %s || coalesce(c.key, s.key)::text,"
				 " c.amount::text, s.amount::text"
				 " FROM segment.counted_%d c FULL JOIN (SELECT * FROM source_rows r WHERE r.reason IS NULL) s"
				 " ON s.key = c.key"
				 " WHERE (c.customer_id, c.amount, c.at) IS DISTINCT FROM (s.customer_id, s.amount, s.at)",
				 quote_literal_cstr(psprintf("row of %s with key ", source->name)), source->id),
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
		" sum(t.number_of_returns)::bigint, sum(t.amount_returned)"
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
		"SELECT count(*), coalesce(sum(c.number_of_orders + c.number_of_returns), 0) FROM computed c", NULL);
	table = SPI_tuptable;
	if (source->role == ROLE_CUSTOMERS)
		ereport(NOTICE, (errmsg("attached %s as customers: %s of them count", source->name,
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
				 " first_order_at, last_order_at, number_of_returns, amount_returned)"
				 " SELECT c.* FROM computed c ORDER BY c.customer_id%s"
				 " ON CONFLICT (customer_id) DO UPDATE SET version = f.version + 1,"
				 " is_customer = f.is_customer OR excluded.is_customer,"
				 " number_of_orders = f.number_of_orders + excluded.number_of_orders,"
				 " amount_ordered = f.amount_ordered + excluded.amount_ordered,"
				 " first_order_at = least(f.first_order_at, excluded.first_order_at),"
				 " last_order_at = greatest(f.last_order_at, excluded.last_order_at),"
				 " number_of_returns = f.number_of_returns + excluded.number_of_returns,"
				 " amount_returned = f.amount_returned + excluded.amount_returned", set->key_order), NULL);
	before = tuplestore_begin_heap(true, false, work_mem);
	run(&work, set->owner,
		"SELECT f.customer_id, f.is_customer, f.number_of_orders - c.number_of_orders,"
		" f.amount_ordered - c.amount_ordered, NULL::timestamptz, NULL::timestamptz,"
		" f.number_of_returns - c.number_of_returns, f.amount_returned - c.amount_returned"
		" FROM segment.facts f JOIN computed c ON c.customer_id = f.customer_id", before);
	segment_name_rows("facts_before", work.totals_desc, before);
	segment_judge_all(set, "f.customer_id IN (SELECT c.customer_id FROM computed c)", true,
					  CAUSE_ATTACH, source->name, NULL, NULL);
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
				 " coalesce(f.number_of_returns, 0), coalesce(f.amount_returned, 0)"
				 " FROM (SELECT * FROM segment.facts f WHERE true%s) f FULL JOIN computed c ON c.customer_id = f.customer_id"
				 " WHERE (coalesce(f.is_customer, false), coalesce(f.number_of_orders, 0), coalesce(f.amount_ordered, 0),"
				 " f.first_order_at, f.last_order_at, coalesce(f.number_of_returns, 0), coalesce(f.amount_returned, 0))"
				 " IS DISTINCT FROM"
				 " (coalesce(c.is_customer, false), coalesce(c.number_of_orders, 0), coalesce(c.amount_ordered, 0),"
				 " c.first_order_at, c.last_order_at, coalesce(c.number_of_returns, 0), coalesce(c.amount_returned, 0))",
				 asked), before);
	segment_name_rows("facts_before", work.totals_desc, before);
	run(&work, set->owner,
		psprintf("INSERT INTO segment.facts AS f (customer_id, is_customer, number_of_orders, amount_ordered,"
				 " first_order_at, last_order_at, number_of_returns, amount_returned)"
				 " SELECT b.customer_id, coalesce(c.is_customer, false), coalesce(c.number_of_orders, 0),"
				 " coalesce(c.amount_ordered, 0), c.first_order_at, c.last_order_at,"
				 " coalesce(c.number_of_returns, 0), coalesce(c.amount_returned, 0)"
				 " FROM facts_before b LEFT JOIN computed c ON c.customer_id = b.customer_id"
				 " ORDER BY b.customer_id%s"
				 " ON CONFLICT (customer_id) DO UPDATE SET version = f.version + 1, is_customer = excluded.is_customer,"
				 " number_of_orders = excluded.number_of_orders, amount_ordered = excluded.amount_ordered,"
				 " first_order_at = excluded.first_order_at, last_order_at = excluded.last_order_at,"
				 " number_of_returns = excluded.number_of_returns, amount_returned = excluded.amount_returned"
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
						  true, cause, source, wrong, wrong_desc);
	}
	else
		segment_judge_all(set, NULL, true, cause, source, wrong, wrong_desc);
	forget_rows("facts_before", before);
	run(&work, set->owner,
		psprintf("DELETE FROM segment.facts f WHERE NOT f.is_customer"
				 " AND f.number_of_orders = 0 AND f.number_of_returns = 0"
				 " AND f.amount_ordered = 0 AND f.amount_returned = 0"
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
 * A statement that is not finished has changed rows whose deltas are still to
 * come; they would be added to a recomputation that has seen them already.
 * One that only reads, such as the keys to recalculate, is welcome.
 */
void
segment_refuse_in_use(SourceSet *set, const char *doing)
{
	if (!caller_writes())
		return;
	for (int i = 0; i < set->nsources; i++)
	{
		for (int j = -1; j < set->sources[i].nlinks; j++)
		{
			Oid			relid = j < 0 ? set->sources[i].relid : set->sources[i].links[j].relid;
			Relation	relation = table_open(relid, AccessShareLock);

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

/* segment.recalculate() */
Datum
segment_recalculate(PG_FUNCTION_ARGS)
{
	SourceSet  *set;
	uint64		n;

	segment_require_read_committed("recalculate");
	refuse_in_trigger("recalculate");
	segment_connect(0);
	segment_lock_facts();		/* before what is attached is read: it stays so */
	set = segment_sources_acquire();
	require_customers(set);
	segment_refuse_in_use(set, "recalculate");
	forget_dropped_sources(set);
	set = reacquire(set);
	n = segment_recompute(set, (Datum) 0, CAUSE_RECALCULATION, NULL);
	{
		Identity	caller;

		segment_become(set->owner, &caller);
		segment_execute("DELETE FROM segment.stale_marks");
		segment_marks_cleared();
		segment_resume(&caller);
	}
	segment_sources_release();
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}

/*
 * Write the facts rows of customers, in key order, so that whoever else is
 * about to judge them waits for us or we for them.
 */
static void
bump_customers(SourceSet *set, Datum customers)
{
	Identity	caller;

	segment_become(set->owner, &caller);
	segment_execute_with(psprintf("INSERT INTO segment.facts AS f (customer_id)"
								  " SELECT DISTINCT k.k%1$s FROM unnest($1) AS k(k) WHERE k.k IS NOT NULL%2$s ORDER BY 1"
								  " ON CONFLICT (customer_id) DO UPDATE SET version = f.version + 1",
								  set->key_order, not_anonymous(set, "k.k")),
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
	set = reacquire(set);
	n = segment_recompute(set, customers, CAUSE_RECALCULATION, NULL);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}

/* Give every key that any source names a facts row, so that batches cover them all. */
static void
add_missing_customers(SourceSet *set)
{
	Recomputation work;

	begin_recomputation(&work, set, (Datum) 0, true);
	work.writes = false;		/* only look */
	work.differences = tuplestore_begin_heap(false, false, work_mem);
	for (int i = 0; i < set->nsources; i++)
		totals_of_source(&work, &set->sources[i]);
	work.writes = true;
	compute(&work);
	run(&work, set->owner,
		psprintf("INSERT INTO segment.facts (customer_id) SELECT c.customer_id FROM computed c"
				 " WHERE NOT EXISTS (SELECT FROM segment.facts f WHERE f.customer_id = c.customer_id)"
				 " ORDER BY c.customer_id%s ON CONFLICT DO NOTHING", set->key_order), NULL);
	forget_rows("computed", work.computed);
	tuplestore_end(work.differences);
}

/* The next batch of keys after the last one, as an array; false where there are no more. */
static bool
next_batch(SourceSet *set, bool first, Datum last, int size, Datum *batch, int *n)
{
	Identity	caller;
	bool		isnull;
	Oid			types[2] = {set->key_type, INT4OID};
	Datum		values[2] = {last, Int32GetDatum(size)};
	char		nulls[2] = {first ? 'n' : ' ', ' '};

	segment_become(set->owner, &caller);
	segment_execute_with("SELECT array_agg(k.customer_id), count(*)::integer FROM"
						 " (SELECT f.customer_id FROM segment.facts f WHERE $1 IS NULL OR f.customer_id > $1"
						 " ORDER BY f.customer_id LIMIT $2) k",
						 2, types, values, nulls, false, NULL, NULL);
	segment_resume(&caller);
	*batch = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*n = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return *n > 0;
}

static int64
count_facts(SourceSet *set)
{
	Identity	caller;
	bool		isnull;

	segment_become(set->owner, &caller);
	segment_execute("SELECT count(*) FROM segment.facts");
	segment_resume(&caller);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * The marks that a run in batches will clear: those seen before its first
 * batch.  A mark of a transaction still open then may be about a customer whose
 * batch is done.
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

static void
clear_stale_marks(SourceSet *set, Datum marks)
{
	Oid			types[1] = {TEXTARRAYOID};
	Identity	caller;

	segment_become(set->owner, &caller);
	segment_execute_with("DELETE FROM segment.stale_marks m WHERE m::text = ANY ($1)",
						 1, types, &marks, NULL, false, NULL, NULL);
	segment_marks_cleared();
	segment_resume(&caller);
}

/* Recalculate one batch and commit it. */
static uint64
recalculate_batch(SourceSet **set, Datum batch)
{
	uint64		wrong;

	bump_customers(*set, batch);
	*set = reacquire(*set);
	wrong = segment_recompute(*set, batch, CAUSE_RECALCULATION, NULL);
	segment_sources_release();
	SPI_commit();
	keep_detach_out();
	*set = segment_sources_acquire();
	return wrong;
}

/* Largest key of a batch, copied to where it outlives the commit. */
static Datum
last_of(SourceSet *set, Datum batch, MemoryContext context)
{
	Datum	   *keys;
	int			n;
	MemoryContext before = MemoryContextSwitchTo(context);
	Datum		last;

	deconstruct_array(DatumGetArrayTypeP(batch), set->key_type, set->key_cache->typlen,
					  set->key_cache->typbyval, set->key_cache->typalign, &keys, NULL, &n);
	last = segment_copy_customer(set, keys[n - 1]);
	MemoryContextSwitchTo(before);
	return last;
}

/* CALL segment.recalculate_in_batches() */
Datum
segment_recalculate_in_batches(PG_FUNCTION_ARGS)
{
	int			size = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	MemoryContext context;
	SourceSet  *set;
	TimestampTz start;
	Datum		last = (Datum) 0;
	Datum		marks;
	Datum		batch;
	int			n;
	int64		total;
	int64		done = 0;
	uint64		wrong = 0;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("segment.recalculate_in_batches() commits after each batch and cannot run inside a transaction block"),
				 errhint("CALL it on its own, or use segment.recalculate().")));
	if (size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be at least 1, not %d", size)));
	segment_require_read_committed("recalculate");
	segment_connect(SPI_OPT_NONATOMIC);
	context = AllocSetContextCreate(PortalContext, "segment batches", ALLOCSET_SMALL_SIZES);
	keep_detach_out();
	set = segment_sources_acquire();
	require_customers(set);
	add_missing_customers(set);
	marks = read_stale_marks(set, context);
	total = count_facts(set);
	segment_sources_release();
	SPI_commit();
	keep_detach_out();
	set = segment_sources_acquire();
	start = GetCurrentTimestamp();
	while (next_batch(set, done == 0, last, size, &batch, &n))
	{
		double		elapsed;

		last = last_of(set, batch, context);
		wrong += recalculate_batch(&set, batch);
		done += n;
		elapsed = (double) (GetCurrentTimestamp() - start) / USECS_PER_SEC;
		ereport(INFO,
				(errmsg("recalculated %lld of %lld customers (%d %%), %llu were not right, about %.0f s remain",
						(long long) done, (long long) Max(total, done),
						(int) (done * 100 / Max(total, done)), (unsigned long long) wrong,
						Max(total - done, 0) * elapsed / done)));
	}
	clear_stale_marks(set, marks);
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
" ('amount_returned', trim_scale(coalesce(f.amount_returned, 0))::text, trim_scale(coalesce(c.amount_returned, 0))::text)"
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
"   WHEN 'number_of_returns' THEN c.number_of_returns END AS value"
"  FROM computed c CROSS JOIN segment.ladders l WHERE c.is_customer AND l.active) v"
"), stored AS ("
" SELECT s.customer_id, u.id FROM segment.standings s CROSS JOIN LATERAL unnest(s.held) AS u(id)"
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

/* segment.verify() */
Datum
segment_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext before;
	SourceSet  *set;
	Recomputation work;
	Tuplestorestate *differences;
	TupleDesc	desc;

	if (result == NULL || !IsA(result, ReturnSetInfo) || !(result->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	before = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	differences = tuplestore_begin_heap(true, false, work_mem);
	desc = CreateTemplateTupleDesc(4);
	MemoryContextSwitchTo(before);

	segment_connect(0);
	set = segment_sources_acquire();
	require_customers(set);
	TupleDescInitEntry(desc, 1, "customer_id", set->key_type, -1, 0);
	TupleDescInitEntry(desc, 2, "figure", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 3, "stored", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 4, "expected", TEXTOID, -1, 0);
	begin_recomputation(&work, set, (Datum) 0, false);
	work.context = result->econtext->ecxt_per_query_memory;
	work.differences = differences;
	for (int i = 0; i < set->nsources; i++)
		totals_of_source(&work, &set->sources[i]);
	compute(&work);
	run(&work, set->owner, verify_facts_sql, differences);
	run(&work, set->owner, verify_tiers_sql, differences);
	forget_rows("computed", work.computed);
	segment_sources_release();
	SPI_finish();

	result->returnMode = SFRM_Materialize;
	result->setResult = differences;
	result->setDesc = desc;
	return (Datum) 0;
}
