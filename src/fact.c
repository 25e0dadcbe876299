/*
 * fact.c
 *		Figures kept per customer: what a statement on an attached table changes.
 *
 * One firing handles one statement on one table, in whatever roles the table
 * plays and for whatever sources watch it:
 *
 *	- Rows that mean something by themselves ("direct" sources) give deltas: the
 *	  old rows are taken off, the new ones added.  Deltas commute, so nested
 *	  statements, several CTEs and cascades may fire in any order.
 *
 *	- Rows whose meaning depends on other tables ("linked" sources) are read
 *	  again by key and compared with the ledger segment.counted_<id>, which says
 *	  what each row counts for now.  The difference is the delta, so a row may be
 *	  looked at any number of times, by any table's trigger.
 *
 *	- First and last order dates cannot be taken off; where one may have gone
 *	  they are looked up after the facts row was written.
 *
 * Locks are taken in one order: link values (so that whoever changes a return
 * and whoever changes the order it names see each other), then facts rows by
 * customer key.  Whatever is read from other tables is read after its lock, in
 * a new statement.
 *
 * All of it runs in a subtransaction.  A failure of ours marks the source stale
 * and lets the sale pass, unless segment.on_error says abort.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "recalculate.h"
#include "row.h"
#include "saved_plan.h"
#include "stale.h"
#include "judge.h"
#include "ruleset.h"
#include "utils/snapmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(segment_source_changed);

/* these keep our locks on link values apart from pg_advisory_lock() */
#define LINK_VALUE_CLASS 0x5E68

/* from how many values on a transaction locks them all at once */
#define MANY_LINK_VALUES 200

/* what one row takes off or adds */
typedef struct Contribution
{
	Datum		customer;		/* first, for sorting */
	int			sign;
	Source	   *source;
	bool		has_key;
	Datum		key;
	Numeric		amount;			/* NULL for lines */
	TimestampTz at;
	Numeric		items;			/* NULL where none are counted */
} Contribution;

typedef struct Contributions
{
	int			n;
	int			size;
	Contribution *items;
} Contributions;

/* what one statement changes for one customer */
typedef struct Delta
{
	Datum		customer;
	int64		number_of_orders;
	int64		number_of_returns;
	Datum		amount_ordered;
	Datum		amount_returned;
	Datum		items_bought;
	Datum		items_returned;
	TimestampTz first_new;		/* orders that came */
	TimestampTz last_new;
	TimestampTz first_gone;		/* orders that went */
	TimestampTz last_gone;
	bool		orders_came;
	bool		orders_went;
	bool		lines_moved;
	const Contribution *reason; /* of source */
	Source	   *source;
	char	   *source_key;
} Delta;

/* values gathered one by one */
typedef struct Values
{
	int			n;
	int			size;
	Datum	   *values;
} Values;

typedef struct Firing
{
	SourceSet  *set;
	TriggerEvent event;
	Oid			relid;			/* the table: of a partition, the whole */
	TupleDesc	desc;			/* of that table */
	Tuplestorestate *changed[2];	/* its rows: old, new */
	Contributions contributions;
	Rows		left_out[2];	/* rows of a direct source left out: old, new */
	Values	   *touched;		/* keys of linked rows to look at, per source */
	Values		customers;		/* keys of customers rows that came, went or changed */
	Values		bumped;			/* customers whose facts rows were written beforehand */
	Rules	   *rules;			/* once somebody has looked at them */
	Judgements	judgements;
} Firing;

/*
 * The transaction in which an order has gone, or a statement inside a trigger
 * has fired: rows that come later may not be the last word on dates, because
 * what changed them again may have been followed before.  Being too careful
 * harms nobody.
 */
static LocalTransactionId careful_in = InvalidLocalTransactionId;

static void
add_value(Values *values, Datum value)
{
	if (values->n == values->size)
	{
		values->size = values->size == 0 ? 8 : values->size * 2;
		values->values = values->values == NULL
			? MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * (Size) values->size)
			: repalloc_huge(values->values, sizeof(Datum) * (Size) values->size);
	}
	values->values[values->n++] = value;
}

static void
contribute(Firing *firing, Source *source, int sign, const Row *row)
{
	Contributions *list = &firing->contributions;
	Contribution *item;

	if (list->n == list->size)
	{
		list->size = list->size == 0 ? 8 : list->size * 2;
		list->items = list->items == NULL
			? MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Contribution) * (Size) list->size)
			: repalloc_huge(list->items, sizeof(Contribution) * (Size) list->size);
	}
	firing->judgements.touched |= segment_role_touches(source->role);
	item = &list->items[list->n++];
	item->customer = row->customer;
	item->sign = sign;
	item->source = source;
	item->has_key = row->has_key;
	item->key = row->key;
	item->amount = row->amount;
	item->at = row->at;
	item->items = row->items;
}

/*
 * Reading the statement's rows.
 */

/* Walks the old and new rows of a statement; an UPDATE's come in pairs. */
typedef struct RowPairs
{
	Tuplestorestate *stores[2]; /* old, new */
	int			pointers[2];
	TupleTableSlot *slots[2];
} RowPairs;

static void
pairs_open(RowPairs *pairs, Firing *firing)
{
	for (int i = 0; i < 2; i++)
	{
		pairs->stores[i] = firing->changed[i];
		if (pairs->stores[i] == NULL)
			continue;
		pairs->pointers[i] = tuplestore_alloc_read_pointer(pairs->stores[i], EXEC_FLAG_REWIND);
		tuplestore_select_read_pointer(pairs->stores[i], pairs->pointers[i]);
		tuplestore_rescan(pairs->stores[i]);
		pairs->slots[i] = MakeSingleTupleTableSlot(firing->desc, &TTSOpsMinimalTuple);
	}
}

/* The next old and new row; a slot is NULL where there is none of its kind. */
static bool
pairs_next(RowPairs *pairs, TupleTableSlot *row[2])
{
	bool		any = false;

	for (int i = 0; i < 2; i++)
	{
		row[i] = NULL;
		if (pairs->stores[i] == NULL)
			continue;
		tuplestore_select_read_pointer(pairs->stores[i], pairs->pointers[i]);
		if (tuplestore_gettupleslot(pairs->stores[i], true, false, pairs->slots[i]))
		{
			row[i] = pairs->slots[i];
			any = true;
		}
	}
	return any;
}

static void
pairs_close(RowPairs *pairs)
{
	for (int i = 0; i < 2; i++)
	{
		if (pairs->slots[i])
			ExecDropSingleTupleTableSlot(pairs->slots[i]);
	}
}

/* Whether two rows agree in the columns given, or with NULL in every column. */
static bool
same_columns(const Bitmapset *columns, TupleTableSlot *a, TupleTableSlot *b)
{
	TupleDesc	desc = a->tts_tupleDescriptor;
	bool		every = columns == NULL || bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns);

	slot_getallattrs(a);
	slot_getallattrs(b);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped ||
			(!every && !bms_is_member(attribute->attnum - FirstLowInvalidHeapAttributeNumber, columns)))
			continue;
		if (a->tts_isnull[i] != b->tts_isnull[i])
			return false;
		if (!a->tts_isnull[i] &&
			!datum_image_eq(a->tts_values[i], b->tts_values[i], attribute->attbyval, attribute->attlen))
			return false;
	}
	return true;
}

/*
 * Whether some group may change with rows of a source, beyond the figures that
 * they add up to.  Looking at the rules takes the lock that keeps changes of
 * them out: a group saved from now on sees this statement's rows.
 */
static bool
concerns_groups(Firing *firing, Source *source)
{
	int			touched = segment_role_touches(source->role);
	Concerned  *concerned;

	if (firing->rules == NULL)
	{
		LockRelationOid(firing->set->facts, RowExclusiveLock);
		firing->rules = segment_rules(firing->set, InvalidSnapshot);
	}
	concerned = segment_concerned(firing->rules, touched);
	return concerned->n > 0 && (concerned->reads || !segment_is_counted(source->role));
}

/* A customer who is to be judged though no figure of theirs moves. */
static void
concern(Firing *firing, Source *source, Datum customer, const Row *row)
{
	Row			its = {.customer = customer};

	if (row != NULL && row->has_key)
	{
		its.has_key = true;
		its.key = row->key;
	}
	contribute(firing, source, 0, &its);
}

/* Deltas of a source whose rows mean something by themselves. */
static void
collect_direct(Firing *firing, Source *source)
{
	RowReader	reader;
	RowPairs	pairs = {0};
	TupleTableSlot *slots[2];
	Identity	caller;

	segment_become_merchant(source->owner, NULL, &caller);
	segment_row_reader_open(&reader, firing->set, source);
	pairs_open(&pairs, firing);
	while (pairs_next(&pairs, slots))
	{
		Row			rows[2];
		static const Row nothing = {0};

		for (int i = 0; i < 2; i++)
		{
			rows[i] = nothing;
			if (slots[i])
				segment_read_row(&reader, slots[i], &rows[i]);
		}
		if (slots[0] && slots[1] && segment_same_row(firing->set, &rows[0], &rows[1]) &&
			rows[0].left_out == NULL)
		{
			if (rows[1].counts && concerns_groups(firing, source) && !same_columns(source->reads, slots[0], slots[1]))
				concern(firing, source, rows[1].customer, &rows[1]);
			continue;
		}
		for (int i = 0; i < 2; i++)
		{
			if (rows[i].counts)
				contribute(firing, source, i == 0 ? -1 : 1, &rows[i]);
			if (rows[i].left_out)
				*segment_rows_add(&firing->left_out[i]) = rows[i];
		}
	}
	pairs_close(&pairs);
	segment_row_reader_close(&reader);
	segment_resume(&caller);
}

/* Values of a column in the rows that the statement changed, old and new. */
static void
collect_column(Firing *firing, AttrNumber attno, Values *values)
{
	RowPairs	pairs = {0};
	TupleTableSlot *slots[2];
	Form_pg_attribute attribute = TupleDescAttr(firing->desc, attno - 1);

	pairs_open(&pairs, firing);
	while (pairs_next(&pairs, slots))
	{
		if (slots[0] && slots[1] && same_columns(NULL, slots[0], slots[1]))
			continue;
		for (int i = 0; i < 2; i++)
		{
			Datum		value;
			bool		isnull;

			if (slots[i] == NULL)
				continue;
			value = slot_getattr(slots[i], attno, &isnull);
			if (isnull)
				continue;
			if (attribute->attlen == -1)
				value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
			else
				value = datumCopy(value, attribute->attbyval, attribute->attlen);
			add_value(values, value);
		}
	}
	pairs_close(&pairs);
}

/*
 * Keys of customers rows that came, went or changed what they are.
 */
static void
collect_customers(Firing *firing, Source *source)
{
	RowReader	reader;
	RowPairs	pairs = {0};
	TupleTableSlot *slots[2];
	Identity	caller;

	segment_become_merchant(source->owner, NULL, &caller);
	segment_row_reader_open(&reader, firing->set, source);
	pairs_open(&pairs, firing);
	while (pairs_next(&pairs, slots))
	{
		Row			rows[2];
		static const Row nothing = {0};

		for (int i = 0; i < 2; i++)
		{
			rows[i] = nothing;
			if (slots[i])
				segment_read_row(&reader, slots[i], &rows[i]);
			if (rows[i].left_out)
				*segment_rows_add(&firing->left_out[i]) = rows[i];
		}
		if (slots[0] && slots[1] && rows[0].counts == rows[1].counts &&
			rows[0].has_key && rows[1].has_key &&
			segment_compare_customers(firing->set, rows[0].key, rows[1].key) == 0)
		{
			if (rows[1].counts && !segment_is_anonymous(firing->set, rows[1].key) &&
				concerns_groups(firing, source) && !same_columns(source->reads, slots[0], slots[1]))
				concern(firing, source, rows[1].key, &rows[1]);
			continue;
		}
		for (int i = 0; i < 2; i++)
		{
			if (slots[i] && rows[i].has_key && !segment_is_anonymous(firing->set, rows[i].key))
				add_value(&firing->customers, rows[i].key);
		}
	}
	pairs_close(&pairs);
	segment_row_reader_close(&reader);
	segment_resume(&caller);
}

/*
 * Links.
 */

/*
 * Make those who write a source's rows (LOOKERS) and those who write the rows
 * that are looked up (LOOKED_UP) wait for each other where they meet in a
 * value, but neither kind for its own: the two lock modes conflict with each
 * other and not with themselves.  A transaction of many values takes one lock
 * that keeps out everybody of the other kind, so that a bulk load does not fill
 * the server's lock table.  Locks are taken in one order, the same for all.
 */
typedef enum LinkSide
{
	LOOKERS,
	LOOKED_UP
} LinkSide;

/* how many this transaction has locked; too high after a rollback, which harms nobody */
static int	link_values_locked = 0;
static LocalTransactionId link_values_locked_in = InvalidLocalTransactionId;

static void
lock_link(Source *source, uint32 value, uint16 class, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, source->id, value, class);
	(void) LockAcquire(&tag, mode, false, false);
}

static int
compare_hashes(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

static void
lock_link_values(Source *source, LinkSide side, Oid type, Values *values)
{
	uint32	   *hashes;
	bool		many;
	int			n = 0;

	if (values->n == 0)
		return;
	hashes = palloc(sizeof(uint32) * values->n);
	for (int i = 0; i < values->n; i++)
	{
		char	   *text = segment_value_text(type, values->values[i]);

		hashes[i] = DatumGetUInt32(hash_any((unsigned char *) text, strlen(text)));
		pfree(text);
	}
	qsort(hashes, values->n, sizeof(uint32), compare_hashes);
	for (int i = 0; i < values->n; i++)
	{
		if (n == 0 || hashes[n - 1] != hashes[i])
			hashes[n++] = hashes[i];
	}

	if (link_values_locked_in != my_local_xid())
		link_values_locked = 0;
	link_values_locked_in = my_local_xid();
	link_values_locked += n;
	many = link_values_locked > MANY_LINK_VALUES;

	/* our own kind's door is held ajar; many values shut the other kind's */
	for (int door = LOOKERS; door <= LOOKED_UP; door++)
	{
		if (door == side)
			lock_link(source, door, LINK_DOOR_CLASS, RowExclusiveLock);
		else if (many)
			lock_link(source, door, LINK_DOOR_CLASS, ShareLock);
	}
	for (int i = 0; i < n && !many; i++)
		lock_link(source, hashes[i], LINK_VALUE_CLASS, side == LOOKERS ? ShareLock : RowExclusiveLock);
}

/* Type of the keys of a linked source's ledger. */
static Oid
ledger_key_type(Source *source)
{
	return getBaseType(source->fields[segment_ledger_field(source)].type);
}

typedef struct ReadLinks
{
	Source	   *source;
	SourcePlan	plan;
	const char *relation;		/* whose rows, in the place of the source's */
	Datum		keys;
} ReadLinks;

static void
read_links_work(void *argument)
{
	ReadLinks  *work = argument;
	Source	   *source = work->source;
	Identity	caller;

	segment_become_merchant(source->owner, NULL, &caller);
	if (source->plans[work->plan] == NULL)
	{
		SourceField by = segment_ledger_field(source);
		Oid			array_type = get_array_type(getBaseType(source->fields[by].type));
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfoString(&sql, "SELECT NULL::pg_catalog.text[]");
		for (int i = 0; i < source->nlinks; i++)
		{
			if (source->links[i].traceable)
				appendStringInfo(&sql, ", %s", source->links[i].values_sql);
		}
		appendStringInfo(&sql, " FROM %s t WHERE t.%s OPERATOR(pg_catalog.=) ANY ($1)", work->relation,
						 quote_identifier(get_attname(source->relid, source->fields[by].attno, false)));
		(void) segment_merchant_plan(&source->plans[work->plan], sql.data, 1, &array_type);
	}
	segment_fetch(source->plans[work->plan], &work->keys, NULL);
	segment_resume(&caller);
}

/* What rows with some keys look up, as text; false where that raises. */
static bool
read_links(Source *source, SourcePlan plan, const char *relation, Datum *keys, int n, Values *looked_up)
{
	ReadLinks	work = {.source = source, .plan = plan, .relation = relation};
	SPITupleTable *table;

	work.keys = PointerGetDatum(segment_array(ledger_key_type(source), keys, NULL, n));
	if (segment_try(read_links_work, &work) != NULL)
		return false;
	table = SPI_tuptable;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int column = 2; column <= table->tupdesc->natts; column++)
		{
			bool		isnull;
			Datum		values = SPI_getbinval(table->vals[i], table->tupdesc, column, &isnull);
			Datum	   *elements;
			bool	   *nulls;
			int			n_elements;

			if (isnull)
				continue;
			deconstruct_array(DatumGetArrayTypePCopy(values), TEXTOID, -1, false, TYPALIGN_INT,
							  &elements, &nulls, &n_elements);
			for (int j = 0; j < n_elements; j++)
			{
				if (!nulls[j])
					add_value(looked_up, elements[j]);
			}
		}
	}
	SPI_freetuptable(table);
	return true;
}

/* The same, where a row that raises is left out and looks up nothing. */
static void
collect_looked_up(Source *source, SourcePlan plan, const char *relation, Values *keys, Values *looked_up)
{
	if (read_links(source, plan, relation, keys->values, keys->n, looked_up))
		return;
	for (int i = 0; i < keys->n; i++)
		(void) read_links(source, plan, relation, &keys->values[i], 1, looked_up);
}

/*
 * Lock what the touched rows of a linked source look up now, and what they
 * looked up before the statement: whoever changes that must not go on counting
 * a row that is about to leave.
 */
static void
lock_looked_up(Firing *firing, Source *source, Values *keys)
{
	Values		looked_up = {0};

	if (keys->n == 0 || source->nlinks == 0)
		return;
	if (source->grouped && source->nlinks == 1 && source->parent >= 0)
	{
		/* the keys themselves are all that is looked up */
		lock_link_values(source, LOOKERS, ledger_key_type(source), keys);
		return;
	}
	collect_looked_up(source, PLAN_READ_LINKS, source->name, keys, &looked_up);
	if (firing->changed[0] != NULL && firing->relid == source->relid)
	{
		segment_name_rows("old_rows", firing->desc, firing->changed[0]);
		collect_looked_up(source, PLAN_READ_OLD_LINKS, "old_rows", keys, &looked_up);
		SPI_unregister_relation("old_rows");
	}
	lock_link_values(source, LOOKERS, TEXTOID, &looked_up);
}

typedef struct FindRows
{
	Source	   *source;
	Link	   *link;
	Datum		values;
} FindRows;

static void
find_rows_work(void *argument)
{
	FindRows   *work = argument;
	Oid			array_type = get_array_type(getBaseType(work->link->type));
	Identity	caller;

	segment_become_merchant(work->source->owner, NULL, &caller);
	segment_fetch(segment_merchant_plan(&work->link->rows_plan, work->link->rows_sql, 1, &array_type), &work->values, NULL);
	segment_resume(&caller);
}

/* Add the keys of a source's rows that look up any of the values. */
static void
collect_linked_rows(Firing *firing, Source *source, Link *link, Values *values)
{
	Values	   *touched = &firing->touched[source - firing->set->sources];
	Oid			key_type = ledger_key_type(source);
	FindRows	work = {.source = source, .link = link};
	ErrorData  *error;
	SPITupleTable *table;

	if (values->n == 0)
		return;
	work.values = PointerGetDatum(segment_array(getBaseType(link->type), values->values, NULL, values->n));
	error = segment_try(find_rows_work, &work);
	if (error != NULL)
	{
		segment_mark_stale(firing->set, source->id,
						   segment_clip(psprintf("what rows of %s look up raised: %s", source->name, error->message)));
		return;
	}
	table = SPI_tuptable;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		key = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);

		if (isnull)
			continue;
		add_value(touched, get_typlen(key_type) == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(key))
				  : datumCopy(key, get_typbyval(key_type), get_typlen(key_type)));
	}
	SPI_freetuptable(table);
}

/* A watched table changed, and nobody can tell what rows depend on it: a mark, if anything did change. */
static void
mark_untraceable(Firing *firing, Source *source)
{
	RowPairs	pairs = {0};
	TupleTableSlot *slots[2];
	bool		changed = false;

	pairs_open(&pairs, firing);
	while (!changed && pairs_next(&pairs, slots))
		changed = !(slots[0] && slots[1] && same_columns(NULL, slots[0], slots[1]));
	pairs_close(&pairs);
	if (changed)
		segment_mark_stale(firing->set, source->id,
						   psprintf("%s changed, and the rows of %s that depend on it cannot be found from it",
									get_rel_name(firing->relid), source->name));
}

/* A watched table changed: find the rows that look up what changed. */
static void
follow_link(Firing *firing, Source *source, Link *link)
{
	Values		values = {0};
	bool		inserted = TRIGGER_FIRED_BY_INSERT(firing->event);

	if (!link->traceable)
	{
		mark_untraceable(firing, source);
		return;
	}
	if (link->guarded && inserted)
		return;					/* nothing could name a row that was not there */
	collect_column(firing, link->attno, &values);
	lock_link_values(source, LOOKED_UP, link->type, &values);
	collect_linked_rows(firing, source, link, &values);
}

/*
 * Rows that add up to nothing we keep: whom they concern is judged again.
 */

/* Customers of the statement's rows, old and new, of such a source. */
static void
collect_concerned(Firing *firing, Source *source)
{
	SourceSet  *set = firing->set;

	for (int i = 0; i < 2; i++)
	{
		Rows		rows = {0};
		bool		read;

		if (firing->changed[i] == NULL)
			continue;
		segment_name_rows("old_rows", firing->desc, firing->changed[i]);
		read = segment_read_old_customers(set, source, &rows);
		SPI_unregister_relation("old_rows");
		if (!read)
			segment_mark_stale(set, source->id, psprintf("whom rows of %s concern raises", source->name));
		for (int j = 0; j < rows.n; j++)
		{
			if (rows.rows[j].has_customer && !segment_is_anonymous(set, rows.rows[j].customer))
				concern(firing, source, rows.rows[j].customer, NULL);
		}
	}
}

typedef struct FindConcerned
{
	SourceSet  *set;
	Source	   *source;
	Link	   *link;
	Datum		values;
	Values		found;
} FindConcerned;

/* Whom rows that look up a value concern: as it is now, and as it was before this transaction. */
static void
find_concerned_work(void *argument)
{
	FindConcerned *work = argument;
	Oid			array_type = get_array_type(getBaseType(work->link->type));
	SPIPlanPtr	plan;
	Identity	caller;

	segment_become_merchant(work->source->owner, NULL, &caller);
	plan = segment_merchant_plan(&work->link->rows_plan, work->link->rows_sql, 1, &array_type);
	for (int i = 0; i < 2; i++)
	{
		Snapshot	past = i == 0 ? InvalidSnapshot : segment_past_snapshot();
		uint64		n = i == 0 ? segment_fetch(plan, &work->values, NULL)
			: segment_fetch_as_of(plan, &work->values, NULL, past);
		SPITupleTable *table = SPI_tuptable;

		for (uint64 j = 0; j < n; j++)
		{
			bool		isnull;
			Datum		customer = SPI_getbinval(table->vals[j], table->tupdesc, 1, &isnull);

			if (!isnull && !segment_is_anonymous(work->set, customer))
				add_value(&work->found, segment_copy_customer(work->set, customer));
		}
		SPI_freetuptable(table);
		if (past != InvalidSnapshot)
			UnregisterSnapshot(past);
	}
	segment_resume(&caller);
}

/* A table changed that such a source's expressions read. */
static void
follow_concerned_link(Firing *firing, Source *source, Link *link)
{
	FindConcerned work = {.set = firing->set, .source = source, .link = link};
	Values		values = {0};

	if (!link->traceable)
	{
		mark_untraceable(firing, source);
		return;
	}
	if (link->guarded && TRIGGER_FIRED_BY_INSERT(firing->event))
		return;					/* nothing could name a row that was not there */
	collect_column(firing, link->attno, &values);
	if (values.n == 0)
		return;
	work.values = PointerGetDatum(segment_array(getBaseType(link->type), values.values, NULL, values.n));
	if (segment_try(find_concerned_work, &work) != NULL)
		segment_mark_stale(firing->set, source->id, psprintf("whom rows of %s concern raises", source->name));
	else
	{
		for (int i = 0; i < work.found.n; i++)
			concern(firing, source, work.found.values[i], NULL);
	}
}

/*
 * Facts.
 */

static int
compare_data(const void *a, const void *b, void *set)
{
	return segment_compare_customers(set, *(const Datum *) a, *(const Datum *) b);
}

/* Sort customers and leave each once. */
static void
sort_customers(SourceSet *set, Values *customers)
{
	int			n = 0;

	if (customers->n == 0)
		return;
	qsort_arg(customers->values, customers->n, sizeof(Datum), compare_data, set);
	for (int i = 0; i < customers->n; i++)
	{
		if (n == 0 || segment_compare_customers(set, customers->values[n - 1], customers->values[i]) != 0)
			customers->values[n++] = customers->values[i];
	}
	customers->n = n;
}

static bool
contains_customer(SourceSet *set, Values *sorted, Datum customer)
{
	return sorted->n > 0 &&
		bsearch_arg(&customer, sorted->values, sorted->n, sizeof(Datum), compare_data, set) != NULL;
}

/* Write the facts rows of sorted customers, so that what is read next is final. */
static void
bump_facts(SourceSet *set, Values *customers)
{
	Datum		array = PointerGetDatum(segment_array(set->key_type, customers->values, NULL, customers->n));
	Identity	caller;

	if (customers->n == 0)
		return;
	segment_become(set->owner, &caller);
	segment_write(segment_plan(&set->plans[PLAN_FACTS_BUMP],
							   "INSERT INTO segment.facts AS f (customer_id)"
							   " SELECT k.k FROM pg_catalog.unnest($1) AS k(k)"
							   " ON CONFLICT (customer_id) DO UPDATE"
							   " SET version = f.version OPERATOR(pg_catalog.+) 1",
							   1, &set->key_array_type), &array, NULL);
	segment_resume(&caller);
}

/* What the ledger says that rows count for. */
static void
read_ledger(SourceSet *set, Source *source, Datum keys, Rows *rows)
{
	Oid			key_type = ledger_key_type(source);
	Oid			array_type = get_array_type(key_type);
	SPITupleTable *table;
	Identity	caller;
	uint64		n;

	segment_become(set->owner, &caller);
	n = segment_fetch(segment_plan(&source->plans[PLAN_LEDGER_READ],
								   psprintf("SELECT c.key, c.customer_id, c.amount, c.at, c.items FROM segment.counted_%d c"
											" WHERE c.key OPERATOR(pg_catalog.=) ANY ($1)", source->id),
								   1, &array_type), &keys, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		Datum		values[5];
		bool		nulls[5];
		Row		   *row = segment_rows_add(rows);

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		row->counts = row->has_key = row->has_customer = true;
		row->key = get_typlen(key_type) == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(values[0]))
			: datumCopy(values[0], get_typbyval(key_type), get_typlen(key_type));
		row->customer = segment_copy_customer(set, values[1]);
		if (!nulls[2])
			row->amount = DatumGetNumericCopy(values[2]);
		if (!nulls[3])
			row->at = DatumGetTimestampTz(values[3]);
		if (!nulls[4])
			row->items = DatumGetNumericCopy(values[4]);
	}
	SPI_freetuptable(table);
}

#define LEDGER_COLUMNS 5

/* Take rows off the ledger and put others on it. */
static void
write_ledger(SourceSet *set, Source *source, Rows *gone, Rows *come)
{
	Oid			key_type = ledger_key_type(source);
	Oid			types[LEDGER_COLUMNS] = {get_array_type(key_type), set->key_array_type, NUMERICARRAYOID,
	TIMESTAMPTZARRAYOID, NUMERICARRAYOID};
	Identity	caller;

	segment_become(set->owner, &caller);
	if (gone->n > 0)
	{
		Datum	   *keys = palloc(sizeof(Datum) * gone->n);
		Datum		array;

		for (int i = 0; i < gone->n; i++)
			keys[i] = gone->rows[i].key;
		array = PointerGetDatum(segment_array(key_type, keys, NULL, gone->n));
		if (segment_write(segment_plan(&source->plans[PLAN_LEDGER_DELETE],
									   psprintf("DELETE FROM segment.counted_%d c"
												" WHERE c.key OPERATOR(pg_catalog.=) ANY ($1)", source->id),
									   1, types), &array, NULL) != (uint64) gone->n)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update"),
					 errhint("The transaction might succeed if retried.")));
	}
	if (come->n > 0)
	{
		Datum	   *columns[LEDGER_COLUMNS];
		bool	   *nulls[LEDGER_COLUMNS];
		Datum		arrays[LEDGER_COLUMNS];
		Oid			elements[LEDGER_COLUMNS] = {key_type, set->key_type, NUMERICOID, TIMESTAMPTZOID, NUMERICOID};

		for (int i = 0; i < LEDGER_COLUMNS; i++)
		{
			columns[i] = palloc(sizeof(Datum) * come->n);
			nulls[i] = palloc0(sizeof(bool) * come->n);
		}
		for (int i = 0; i < come->n; i++)
		{
			const Row  *row = &come->rows[i];

			columns[0][i] = row->key;
			columns[1][i] = row->customer;
			columns[2][i] = NumericGetDatum(row->amount);
			columns[3][i] = TimestampTzGetDatum(row->at);
			columns[4][i] = NumericGetDatum(row->items);
			nulls[2][i] = nulls[3][i] = row->amount == NULL;
			nulls[4][i] = row->items == NULL;
		}
		for (int i = 0; i < LEDGER_COLUMNS; i++)
			arrays[i] = PointerGetDatum(segment_array(elements[i], columns[i], nulls[i], come->n));
		segment_write(segment_plan(&source->plans[PLAN_LEDGER_INSERT],
								   psprintf("INSERT INTO segment.counted_%d (key, customer_id, amount, at, items)"
											" SELECT r.k, r.c, r.a, r.t, r.i"
											" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
											" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"
											" AS r(k, c, a, t, i)", source->id),
								   LEDGER_COLUMNS, types), arrays, NULL);
	}
	segment_resume(&caller);
}

/* how often a row is left out for a reason, more or less than before */
typedef struct LeftOut
{
	char	   *key;
	char	   *reason;
	int			n;
} LeftOut;

static int
compare_left_out(const void *a, const void *b)
{
	int			order = strcmp(((const LeftOut *) a)->key, ((const LeftOut *) b)->key);

	return order != 0 ? order : strcmp(((const LeftOut *) a)->reason, ((const LeftOut *) b)->reason);
}

/*
 * Additive, like the figures: +1 for a row left out now, -1 for one that was;
 * in the order of their keys, so that two statements do not deadlock.
 */
static void
write_left_out(SourceSet *set, Source *source, Rows *before, Rows *now)
{
	int			n = before->n + now->n;
	LeftOut    *list = palloc(sizeof(LeftOut) * Max(n, 1));
	Oid			types[4] = {INT4OID, TEXTOID, TEXTOID, INT8OID};
	Identity	caller;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		Row		   *row = i < before->n ? &before->rows[i] : &now->rows[i - before->n];

		list[i].key = segment_clip(segment_key_text(source, row));
		list[i].reason = row->left_out;
		list[i].n = i < before->n ? -1 : 1;
	}
	qsort(list, n, sizeof(LeftOut), compare_left_out);
	LockRelationOid(set->facts, RowExclusiveLock);	/* recalculate() waits for us */
	segment_become(set->owner, &caller);
	for (int from = 0, to = 0; from < n; from = to)
	{
		int			sum = 0;
		Datum		values[4];

		for (to = from; to < n && compare_left_out(&list[from], &list[to]) == 0; to++)
			sum += list[to].n;
		if (sum == 0)
			continue;
		values[0] = Int32GetDatum(source->id);
		values[1] = CStringGetTextDatum(list[from].key);
		values[2] = CStringGetTextDatum(list[from].reason);
		values[3] = Int64GetDatum(sum);
		segment_write(segment_plan(&set->plans[PLAN_LEFT_OUT_ADD],
								   "INSERT INTO segment.left_out AS o (source, row_key, reason, n)"
								   " VALUES ($1, $2, $3, $4) ON CONFLICT (source, row_key, reason)"
								   " DO UPDATE SET n = o.n OPERATOR(pg_catalog.+) excluded.n",
								   4, types), values, NULL);
		segment_write(segment_plan(&set->plans[PLAN_LEFT_OUT_PRUNE],
								   "DELETE FROM segment.left_out o WHERE o.source OPERATOR(pg_catalog.=) $1"
								   " AND o.row_key OPERATOR(pg_catalog.=) $2 AND o.reason OPERATOR(pg_catalog.=) $3"
								   " AND o.n OPERATOR(pg_catalog.=) 0", 3, types), values, NULL);
	}
	segment_resume(&caller);
}

/* List anew which of the rows of a linked source just looked at are left out. */
static void
write_linked_left_out(SourceSet *set, Source *source, Values *keys, Rows *left_out)
{
	static Rows none = {0};
	Oid			output;
	bool		varlena;
	Oid			types[2] = {INT4OID, TEXTARRAYOID};
	Datum	   *texts = palloc(sizeof(Datum) * Max(keys->n, 1));
	Datum		values[2];
	Identity	caller;

	getTypeOutputInfo(ledger_key_type(source), &output, &varlena);
	for (int i = 0; i < keys->n; i++)
		texts[i] = CStringGetTextDatum(segment_clip(OidOutputFunctionCall(output, keys->values[i])));
	values[0] = Int32GetDatum(source->id);
	values[1] = PointerGetDatum(segment_array(TEXTOID, texts, NULL, keys->n));
	segment_become(set->owner, &caller);
	segment_write(segment_plan(&set->plans[PLAN_LEFT_OUT_FORGET],
							   "DELETE FROM segment.left_out o WHERE o.source OPERATOR(pg_catalog.=) $1"
							   " AND o.row_key OPERATOR(pg_catalog.=) ANY ($2)", 2, types), values, NULL);
	segment_resume(&caller);
	write_left_out(set, source, &none, left_out);
}

static int
compare_row_keys(const void *a, const void *b, void *source)
{
	return strcmp(segment_key_text(source, a), segment_key_text(source, b));
}

/* Rows that a parent's bring along: those that name a row just looked at. */
static void
follow_parent(Firing *firing, Source *parent, Values *keys)
{
	SourceSet  *set = firing->set;

	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];

		if (source->parent < 0 || &set->sources[source->parent] != parent ||
			source->nlinks == 0 || !source->links[0].traceable)
			continue;
		lock_link_values(source, LOOKED_UP, source->links[0].type, keys);
		collect_linked_rows(firing, source, &source->links[0], keys);
	}
}

static int
compare_values(const void *a, const void *b, void *type)
{
	return DatumGetInt32(FunctionCall2Coll(&((TypeCacheEntry *) type)->cmp_proc_finfo, C_COLLATION_OID,
										   *(const Datum *) a, *(const Datum *) b));
}

/* Leave each value once: an UPDATE names the keys of its rows twice. */
static void
leave_once(Values *values, Oid type)
{
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO);
	int			n = 0;

	qsort_arg(values->values, values->n, sizeof(Datum), compare_values, cache);
	for (int i = 0; i < values->n; i++)
	{
		if (n == 0 || compare_values(&values->values[n - 1], &values->values[i], cache) != 0)
			values->values[n++] = values->values[i];
	}
	values->n = n;
}

/* Leave the rows that count, and list those left out. */
static void
set_aside_left_out(Rows *rows, Rows *left_out)
{
	int			n = 0;

	for (int i = 0; i < rows->n; i++)
	{
		if (rows->rows[i].left_out)
			*segment_rows_add(left_out) = rows->rows[i];
		else if (rows->rows[i].counts)
			rows->rows[n++] = rows->rows[i];
	}
	rows->n = n;
}

/* a linked source being settled: what its touched rows mean now, and did before */
typedef struct Settling
{
	Source	   *source;
	Values	   *keys;
	Rows		now;
	Rows		before;
} Settling;

static void
add_missing(SourceSet *set, Values *missing, Values *bumped, Datum customer)
{
	if (!contains_customer(set, bumped, customer))
		add_value(missing, customer);
}

/* Read what touched rows mean; customers whose facts rows are not written yet are missing. */
static void
read_settling(SourceSet *set, Settling *item, Values *missing, Values *bumped)
{
	Source	   *source = item->source;

	memset(&item->now, 0, sizeof(Rows));
	memset(&item->before, 0, sizeof(Rows));
	segment_read_linked(set, source, item->keys->values, item->keys->n, &item->now);
	read_ledger(set, source,
				PointerGetDatum(segment_array(ledger_key_type(source), item->keys->values, NULL, item->keys->n)),
				&item->before);
	for (int i = 0; i < item->now.n; i++)
	{
		if (item->now.rows[i].counts)
			add_missing(set, missing, bumped, item->now.rows[i].customer);
	}
	for (int i = 0; i < item->before.n; i++)
		add_missing(set, missing, bumped, item->before.rows[i].customer);
}

/* Whether rows of a source look up the changed table otherwise than as their parent. */
static bool
is_watched(Firing *firing, Source *source)
{
	for (int i = source->parent >= 0 ? 1 : 0; i < source->nlinks; i++)
	{
		if (source->links[i].relid == firing->relid)
			return true;
	}
	return false;
}

/*
 * A row of which the ledger knows nothing may count for a customer who is just
 * being computed by somebody else, from the row as it was: while a source is
 * being filled, or after rows came unseen.  That customer is missing, too.
 */
static void
add_old_customers(Firing *firing, Settling *item, Values *missing, Values *bumped)
{
	SourceSet  *set = firing->set;
	Source	   *source = item->source;
	Rows		rows = {0};

	if (TRIGGER_FIRED_BY_INSERT(firing->event) || item->before.n >= item->keys->n)
		return;
	if (firing->changed[0] == NULL || firing->relid != source->relid)
		return;
	segment_name_rows("old_rows", firing->desc, firing->changed[0]);
	if (!segment_read_old_customers(set, source, &rows) && source->filling)
		segment_mark_stale(set, source->id, psprintf("rows of %s that raise changed before they were filled", source->name));
	SPI_unregister_relation("old_rows");
	for (int i = 0; i < rows.n; i++)
	{
		if (rows.rows[i].counts && rows.rows[i].has_customer && !segment_is_anonymous(set, rows.rows[i].customer))
			add_missing(set, missing, bumped, rows.rows[i].customer);
	}
}

/* Write facts rows beforehand, in key order, and remember that they were. */
static void
bump_missing(Firing *firing, Values *missing, Values *bumped)
{
	SourceSet  *set = firing->set;

	sort_customers(set, missing);
	bump_facts(set, missing);
	for (int i = 0; i < missing->n; i++)
	{
		add_value(bumped, missing->values[i]);
		add_value(&firing->bumped, missing->values[i]);
	}
	sort_customers(set, bumped);
}

/* How many rows from the first one on bear its key; mostly one. */
static int
rows_of_key(Source *source, const Rows *rows, int first)
{
	int			n = 1;

	while (source->key_may_repeat && first + n < rows->n &&
		   compare_row_keys(&rows->rows[first], &rows->rows[first + n], source) == 0)
		n++;
	return n;
}

/* Whether rows of one key count for the same now as before, in whatever order. */
static bool
same_rows(SourceSet *set, const Row *now, int nnow, const Row *before, int nbefore)
{
	bool	   *matched;

	if (nnow != nbefore)
		return false;
	if (nnow == 1)
		return segment_same_row(set, now, before);
	matched = palloc0(sizeof(bool) * nbefore);
	for (int i = 0; i < nnow; i++)
	{
		int			j = 0;

		while (j < nbefore && (matched[j] || !segment_same_row(set, &now[i], &before[j])))
			j++;
		if (j == nbefore)
			return false;
		matched[j] = true;
	}
	return true;
}

/*
 * The difference between now and before: to the ledger, and as contributions.
 * The ledger is written key by key, so rows that share one go and come together.
 */
static void
book_difference(Firing *firing, Settling *item)
{
	SourceSet  *set = firing->set;
	Source	   *source = item->source;
	Rows	   *now = &item->now;
	Rows	   *before = &item->before;
	Rows		gone = {0},
				come = {0},
				left_out = {0};

	set_aside_left_out(now, &left_out);
	if (now->n > 1)
		qsort_arg(now->rows, now->n, sizeof(Row), compare_row_keys, source);
	if (before->n > 1)
		qsort_arg(before->rows, before->n, sizeof(Row), compare_row_keys, source);
	for (int i = 0, j = 0; i < now->n || j < before->n;)
	{
		int			order = i == now->n ? 1 : j == before->n ? -1
			: compare_row_keys(&now->rows[i], &before->rows[j], source);
		int			nis = order <= 0 ? rows_of_key(source, now, i) : 0;
		int			nwas = order >= 0 ? rows_of_key(source, before, j) : 0;
		bool		same = same_rows(set, &now->rows[i], nis, &before->rows[j], nwas);

		for (int end = j + nwas; j < end; j++)
		{
			if (same)
				continue;
			*segment_rows_add(&gone) = before->rows[j];
			contribute(firing, source, -1, &before->rows[j]);
		}
		for (int end = i + nis; i < end; i++)
		{
			if (same)
			{
				/* a column that no figure of ours is about may be another */
				if (concerns_groups(firing, source))
					concern(firing, source, now->rows[i].customer, &now->rows[i]);
				continue;
			}
			*segment_rows_add(&come) = now->rows[i];
			contribute(firing, source, 1, &now->rows[i]);
		}
	}
	write_ledger(set, source, &gone, &come);
	write_linked_left_out(set, source, item->keys, &left_out);
}

/* in which order linked sources are looked at: parents first */
static const SourceRole linked_roles[] = {ROLE_ORDERS, ROLE_RETURNS, ROLE_ORDER_LINES, ROLE_RETURN_LINES};

/*
 * Lock what the touched rows of linked sources look up, once everything touched
 * is known: whoever names a row just looked at is looked at too.
 */
static int
begin_settling(Firing *firing, Settling *settling)
{
	SourceSet  *set = firing->set;
	int			n = 0;

	for (int i = 0; i < lengthof(linked_roles); i++)
	{
		for (int j = 0; j < set->nsources; j++)
		{
			Source	   *source = &set->sources[j];

			if (!source->linked || source->role != linked_roles[i] || firing->touched[j].n == 0)
				continue;
			LockRelationOid(set->facts, RowExclusiveLock);	/* recalculate() waits for us */
			leave_once(&firing->touched[j], ledger_key_type(source));
			follow_parent(firing, source, &firing->touched[j]);
			lock_looked_up(firing, source, &firing->touched[j]);
			if (is_watched(firing, source))
				segment_keep_recomputation_out(source);
			settling[n].source = source;
			settling[n++].keys = &firing->touched[j];
		}
	}
	return n;
}

/*
 * Bring the ledgers of linked sources up to date for the rows touched; the
 * differences become contributions.  Facts rows of everyone concerned are
 * written first, and rows are then read again: the loop ends when a reading
 * names nobody new.
 */
static void
settle_linked(Firing *firing)
{
	SourceSet  *set = firing->set;
	Settling   *settling = palloc0(sizeof(Settling) * Max(set->nsources, 1));
	int			n = begin_settling(firing, settling);
	Values		bumped = {0};
	Values		missing = {0};
	bool		first = true;

	if (n == 0)
		return;
	for (int i = 0; i < firing->contributions.n; i++)
		add_value(&missing, firing->contributions.items[i].customer);
	do
	{
		CHECK_FOR_INTERRUPTS();
		bump_missing(firing, &missing, &bumped);
		missing.n = 0;
		for (int i = 0; i < n; i++)
			read_settling(set, &settling[i], &missing, &bumped);
		for (int i = 0; i < n && first; i++)
			add_old_customers(firing, &settling[i], &missing, &bumped);
		first = false;
	} while (missing.n > 0);
	for (int i = 0; i < n; i++)
		book_difference(firing, &settling[i]);
}

static void
add_signed(Datum *sum, int sign, Numeric value)
{
	if (value != NULL)
		*sum = DirectFunctionCall2(sign > 0 ? numeric_add : numeric_sub, *sum, NumericGetDatum(value));
}

static void
add_order(Delta *delta, const Contribution *item)
{
	delta->number_of_orders += item->sign;
	if (item->sign > 0)
	{
		delta->orders_came = true;
		delta->first_new = Min(delta->first_new, item->at);
		delta->last_new = Max(delta->last_new, item->at);
	}
	else
	{
		delta->orders_went = true;
		delta->first_gone = Min(delta->first_gone, item->at);
		delta->last_gone = Max(delta->last_gone, item->at);
	}
	add_signed(&delta->amount_ordered, item->sign, item->amount);
	add_signed(&delta->items_bought, item->sign, item->items);
}

/* Add what one row takes off or adds to its customer's delta. */
static void
add_contribution(Delta *delta, const Contribution *item)
{
	if (item->sign == 0)
		return;
	switch (item->source->role)
	{
		case ROLE_ORDERS:
			add_order(delta, item);
			break;
		case ROLE_RETURNS:
			delta->number_of_returns += item->sign;
			add_signed(&delta->amount_returned, item->sign, item->amount);
			add_signed(&delta->items_returned, item->sign, item->items);
			break;
		case ROLE_ORDER_LINES:
			delta->lines_moved = true;
			add_signed(&delta->items_bought, item->sign, item->items);
			break;
		case ROLE_RETURN_LINES:
			add_signed(&delta->items_returned, item->sign, item->items);
			break;
		case ROLE_CUSTOMERS:
		case ROLE_POINTS:
		case ROLE_OFFERS:
		case ROLE_TAGS:
			break;
	}
}

/* Fold contributions, sorted by customer, into one delta each. */
static Delta *
fold(Firing *firing, int *ndeltas)
{
	Contributions *list = &firing->contributions;
	Delta	   *deltas = palloc(sizeof(Delta) * Max(list->n, 1));
	Datum		zero = NumericGetDatum(int64_to_numeric(0));
	int			n = 0;

	if (list->n > 1)
		qsort_arg(list->items, list->n, sizeof(Contribution), compare_data, firing->set);
	for (int i = 0; i < list->n; i++)
	{
		Contribution *item = &list->items[i];
		Delta	   *delta;

		if (n == 0 || segment_compare_customers(firing->set, deltas[n - 1].customer, item->customer) != 0)
		{
			delta = &deltas[n++];
			memset(delta, 0, sizeof(Delta));
			delta->customer = item->customer;
			delta->amount_ordered = delta->amount_returned = zero;
			delta->items_bought = delta->items_returned = zero;
			delta->first_new = delta->first_gone = DT_NOEND;
			delta->last_new = delta->last_gone = DT_NOBEGIN;
		}
		delta = &deltas[n - 1];
		/* what moves figures is the reason before what does not */
		if (delta->reason == NULL || item->sign != 0 ||
			(delta->reason->sign == 0 && segment_is_counted(item->source->role)))
			delta->reason = item;
		add_contribution(delta, item);
	}
	for (int i = 0; i < n; i++)
	{
		Row			row = {.has_key = true, .key = deltas[i].reason->key};

		deltas[i].source = deltas[i].reason->source;
		if (deltas[i].reason->has_key)
			deltas[i].source_key = segment_key_text(deltas[i].source, &row);
	}
	*ndeltas = n;
	return deltas;
}

static Cause
cause_of(Firing *firing, const Delta *delta)
{
	if (delta->orders_came && !delta->orders_went)
		return CAUSE_ORDER;
	if (delta->orders_went && !delta->orders_came)
		return CAUSE_CANCELLATION;
	if (delta->orders_went || delta->lines_moved)
		return CAUSE_EDIT;
	switch (delta->source->role)
	{
		case ROLE_CUSTOMERS:
			return CAUSE_PROFILE;
		case ROLE_POINTS:
			return CAUSE_POINTS;
		case ROLE_OFFERS:
			return CAUSE_OFFERS;
		case ROLE_TAGS:
			return CAUSE_TAG;
		case ROLE_ORDERS:
		case ROLE_ORDER_LINES:
			return CAUSE_EDIT;
		default:
			return CAUSE_RETURN;
	}
}

/* what a delta adds, as columns of a statement on segment.facts */
#define DELTA_COLUMNS 9

#define FACTS_ADD \
	"version = f.version OPERATOR(pg_catalog.+) 1," \
	" number_of_orders = f.number_of_orders OPERATOR(pg_catalog.+) %1$s," \
	" amount_ordered = f.amount_ordered OPERATOR(pg_catalog.+) %2$s," \
	" first_order_at = LEAST(f.first_order_at, %3$s)," \
	" last_order_at = GREATEST(f.last_order_at, %4$s)," \
	" number_of_returns = f.number_of_returns OPERATOR(pg_catalog.+) %5$s," \
	" amount_returned = f.amount_returned OPERATOR(pg_catalog.+) %6$s," \
	" items_bought = f.items_bought OPERATOR(pg_catalog.+) %7$s," \
	" items_returned = f.items_returned OPERATOR(pg_catalog.+) %8$s" \
	" RETURNING " FACTS_COLUMNS("f")

/* One customer, whose facts row mostly exists. */
static void
add_one(SourceSet *set, const Oid *types, Datum *values, const char *nulls)
{
	if (set->plans[PLAN_FACTS_UPDATE] == NULL)
		(void) segment_plan(&set->plans[PLAN_FACTS_UPDATE],
							psprintf("UPDATE segment.facts AS f SET " FACTS_ADD,
									 "$2", "$3", "$4", "$5", "$6", "$7", "$8",
									 "$9 WHERE f.customer_id OPERATOR(pg_catalog.=) $1"),
							DELTA_COLUMNS, types);
	segment_write(set->plans[PLAN_FACTS_UPDATE], values, nulls);
}

/* Any number of customers in key order, with facts rows or without. */
static void
add_many(SourceSet *set, const Oid *types, Datum *arrays)
{
	if (set->plans[PLAN_FACTS_UPSERT] == NULL)
	{
		Oid			array_types[DELTA_COLUMNS];

		for (int i = 0; i < DELTA_COLUMNS; i++)
			array_types[i] = i == 0 ? set->key_array_type : get_array_type(types[i]);
		(void) segment_plan(&set->plans[PLAN_FACTS_UPSERT],
							psprintf("INSERT INTO segment.facts AS f (customer_id, number_of_orders, amount_ordered,"
									 " first_order_at, last_order_at, number_of_returns, amount_returned,"
									 " items_bought, items_returned)"
									 " SELECT r.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
									 " pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
									 " pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
									 " pg_catalog.unnest($9)) AS r"
									 " ON CONFLICT (customer_id) DO UPDATE SET " FACTS_ADD,
									 "excluded.number_of_orders", "excluded.amount_ordered",
									 "excluded.first_order_at", "excluded.last_order_at",
									 "excluded.number_of_returns", "excluded.amount_returned",
									 "excluded.items_bought", "excluded.items_returned"),
							DELTA_COLUMNS, array_types);
	}
	segment_write(set->plans[PLAN_FACTS_UPSERT], arrays, NULL);
}

/* first and last order dates being looked up */
typedef struct Dates
{
	SourceSet  *set;
	Source	   *source;
	Values	   *customers;		/* sorted */
	Datum		array;
	TimestampTz *first;
	TimestampTz *last;
} Dates;

static void
widen_dates(Dates *dates, Datum customer, TimestampTz first, TimestampTz last)
{
	Values	   *customers = dates->customers;
	Datum	   *found = bsearch_arg(&customer, customers->values, customers->n, sizeof(Datum),
									compare_data, dates->set);
	int			i;

	if (found == NULL)
		return;
	i = (int) (found - customers->values);
	dates->first[i] = Min(dates->first[i], first);
	dates->last[i] = Max(dates->last[i], last);
}

/* Ask one source, or its ledger, by one query. */
static void
read_dates_work(void *argument)
{
	Dates	   *dates = argument;
	SourceSet  *set = dates->set;
	Source	   *source = dates->source;
	SPITupleTable *table;
	Identity	caller;
	uint64		n;

	if (source->linked)
		segment_become(set->owner, &caller);
	else
		segment_become_merchant(source->owner, NULL, &caller);
	if (source->plans[PLAN_DATES] == NULL)
		(void) segment_merchant_plan(&source->plans[PLAN_DATES],
									 source->linked
									 ? psprintf("SELECT c.customer_id, pg_catalog.min(c.at), pg_catalog.max(c.at)"
												" FROM segment.counted_%d c"
												" WHERE c.customer_id OPERATOR(pg_catalog.=) ANY ($1) GROUP BY 1", source->id)
									 : psprintf("SELECT (s.customer)::%s, pg_catalog.min(s.at), pg_catalog.max(s.at) FROM %s s"
												" WHERE s.customer OPERATOR(pg_catalog.=) ANY ($1) AND s.counts GROUP BY 1",
												set->key_type_name, source->mapping_sql),
									 1, &set->key_array_type);
	n = segment_fetch(source->plans[PLAN_DATES], &dates->array, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3];

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		if (!nulls[1])
			widen_dates(dates, values[0], DatumGetTimestampTz(values[1]), DatumGetTimestampTz(values[2]));
	}
	SPI_freetuptable(table);
}

static void
take_dates(const Row *row, void *argument)
{
	if (row->counts)
		widen_dates(argument, row->customer, row->at, row->at);
}

/* Look up first and last order dates of customers whose facts rows are written. */
static void
write_dates(Firing *firing, Values *customers)
{
	SourceSet  *set = firing->set;
	TimestampTz *first = palloc(sizeof(TimestampTz) * customers->n);
	TimestampTz *last = palloc(sizeof(TimestampTz) * customers->n);
	Datum		array = PointerGetDatum(segment_array(set->key_type, customers->values, NULL, customers->n));
	Dates		dates = {.set = set, .customers = customers, .array = array, .first = first, .last = last};
	Datum	   *columns[2];
	bool	   *nulls;
	Datum		arrays[3];
	Oid			types[3] = {set->key_array_type, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID};
	Identity	caller;

	for (int i = 0; i < customers->n; i++)
	{
		first[i] = DT_NOEND;
		last[i] = DT_NOBEGIN;
	}
	for (int i = 0; i < set->nsources; i++)
	{
		dates.source = &set->sources[i];
		if (dates.source->role != ROLE_ORDERS)
			continue;
		if (dates.source->linked || !dates.source->may_raise)
			read_dates_work(&dates);
		else if (segment_try(read_dates_work, &dates) != NULL)
			segment_scan_direct(set, dates.source, array, false, take_dates, &dates);
	}

	nulls = palloc(sizeof(bool) * customers->n);
	for (int i = 0; i < 2; i++)
		columns[i] = palloc(sizeof(Datum) * customers->n);
	for (int i = 0; i < customers->n; i++)
	{
		nulls[i] = first[i] == DT_NOEND;
		columns[0][i] = TimestampTzGetDatum(first[i]);
		columns[1][i] = TimestampTzGetDatum(last[i]);
	}
	arrays[0] = array;
	arrays[1] = PointerGetDatum(segment_array(TIMESTAMPTZOID, columns[0], nulls, customers->n));
	arrays[2] = PointerGetDatum(segment_array(TIMESTAMPTZOID, columns[1], nulls, customers->n));
	segment_become(set->owner, &caller);
	segment_write(segment_plan(&set->plans[PLAN_FACTS_DATES],
							   "UPDATE segment.facts f SET first_order_at = d.first, last_order_at = d.last"
							   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
							   " AS d(customer_id, first, last)"
							   " WHERE f.customer_id OPERATOR(pg_catalog.=) d.customer_id"
							   " AND (f.first_order_at IS DISTINCT FROM d.first OR f.last_order_at IS DISTINCT FROM d.last)",
							   3, types), arrays, NULL);
	segment_resume(&caller);

	/* groups are judged by them */
	for (int i = 0; i < firing->judgements.n; i++)
	{
		Facts	   *after = &firing->judgements.items[i].after;
		Datum	   *found = bsearch_arg(&after->customer, customers->values, customers->n, sizeof(Datum),
										compare_data, set);

		if (found == NULL)
			continue;
		after->first_order_at = first[found - customers->values];
		after->last_order_at = last[found - customers->values];
	}
}

/*
 * Drop facts rows of keys that are no customers and for which nothing counts.
 * One with a history stays: its version goes on where the history ended.
 */
static void
prune_facts(SourceSet *set, Values *customers)
{
	Datum		array;
	Identity	caller;

	if (customers->n == 0)
		return;
	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].filling)
			return;				/* the row says that its customer is to be filled */
	}
	array = PointerGetDatum(segment_array(set->key_type, customers->values, NULL, customers->n));
	segment_become(set->owner, &caller);
	segment_write(segment_plan(&set->plans[PLAN_FACTS_PRUNE],
							   "DELETE FROM segment.facts f WHERE f.customer_id OPERATOR(pg_catalog.=) ANY ($1)"
							   " AND NOT f.is_customer AND f.number_of_orders OPERATOR(pg_catalog.=) 0"
							   " AND f.number_of_returns OPERATOR(pg_catalog.=) 0"
							   " AND f.amount_ordered OPERATOR(pg_catalog.=) 0"
							   " AND f.amount_returned OPERATOR(pg_catalog.=) 0"
							   " AND f.items_bought OPERATOR(pg_catalog.=) 0"
							   " AND f.items_returned OPERATOR(pg_catalog.=) 0"
							   " AND NOT EXISTS (SELECT FROM segment.changes h"
							   " WHERE h.customer_id OPERATOR(pg_catalog.=) f.customer_id)",
							   1, &set->key_array_type), &array, NULL);
	segment_resume(&caller);
}

/* Facts as they were before a delta. */
static Facts
before_delta(const Facts *after, const Delta *delta)
{
	Facts		before = *after;

	before.number_of_orders -= delta->number_of_orders;
	before.number_of_returns -= delta->number_of_returns;
	before.amount_ordered = DatumGetNumeric(DirectFunctionCall2(numeric_sub,
																NumericGetDatum(after->amount_ordered), delta->amount_ordered));
	before.amount_returned = DatumGetNumeric(DirectFunctionCall2(numeric_sub,
																 NumericGetDatum(after->amount_returned), delta->amount_returned));
	before.items_bought = DatumGetNumeric(DirectFunctionCall2(numeric_sub,
															  NumericGetDatum(after->items_bought), delta->items_bought));
	before.items_returned = DatumGetNumeric(DirectFunctionCall2(numeric_sub,
																NumericGetDatum(after->items_returned), delta->items_returned));
	return before;
}

/* Whether the dates just written may be those of an order that is not there any more. */
static bool
needs_dates(const Delta *delta, const Facts *after, bool nested)
{
	if (delta->orders_came && nested)
		return true;
	return delta->orders_went &&
		(delta->last_gone >= after->last_order_at || delta->first_gone <= after->first_order_at);
}

static int
compare_delta(const void *a, const void *b, void *set)
{
	return segment_compare_customers(set, ((const Delta *) a)->customer, ((const Delta *) b)->customer);
}

/* Up to which source the facts rows of customers, whom we have written, are filled. */
static Values
read_filled(SourceSet *set, Values *customers, Datum **filled)
{
	Datum		array = PointerGetDatum(segment_array(set->key_type, customers->values, NULL, customers->n));
	Values		found = {0};
	SPITupleTable *table;
	Identity	caller;
	uint64		n;

	segment_become(set->owner, &caller);
	n = segment_fetch(segment_plan(&set->plans[PLAN_FACTS_FILLED],
								   "SELECT f.customer_id, f.filled FROM segment.facts f"
								   " WHERE f.customer_id OPERATOR(pg_catalog.=) ANY ($1)"
								   " ORDER BY f.customer_id",
								   1, &set->key_array_type), &array, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	*filled = palloc(sizeof(Datum) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		add_value(&found, segment_copy_customer(set, SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull)));
		(*filled)[i] = SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull);
	}
	SPI_freetuptable(table);
	return found;
}

/*
 * What a source that is still being filled gives to customers who are not
 * filled yet is passed over: filling will read it with all the rest.
 */
static void
pass_over_unfilled(Firing *firing)
{
	SourceSet  *set = firing->set;
	Contributions *list = &firing->contributions;
	Values		customers = {0};
	Values		found;
	Values		bumped = {0};
	Datum	   *filled;
	int			n = 0;

	for (int i = 0; i < list->n; i++)
	{
		if (list->items[i].source->filling)
			add_value(&customers, list->items[i].customer);
	}
	if (customers.n == 0)
		return;
	bump_missing(firing, &customers, &bumped);
	found = read_filled(set, &customers, &filled);
	for (int i = 0; i < list->n; i++)
	{
		Contribution *item = &list->items[i];
		Datum	   *its = item->source->filling
			? bsearch_arg(&item->customer, found.values, found.n, sizeof(Datum), compare_data, set) : NULL;

		if (item->source->filling &&
			(its == NULL || DatumGetInt32(filled[its - found.values]) < item->source->id))
			continue;
		list->items[n++] = *item;
	}
	list->n = n;
}

/* Add the deltas to the facts rows, in key order, and note whom to judge. */
static void
apply_contributions(Firing *firing, bool nested)
{
	SourceSet  *set = firing->set;
	int			n;
	Delta	   *deltas;
	const Oid	types[DELTA_COLUMNS] = {set->key_type, INT8OID, NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	INT8OID, NUMERICOID, NUMERICOID, NUMERICOID};
	Datum	   *columns[DELTA_COLUMNS];
	bool	   *undated_orders;
	SPITupleTable *table;
	uint64		nrows;
	Values		undated = {0};
	Values		orphans = {0};
	Identity	caller;

	pass_over_unfilled(firing);
	deltas = fold(firing, &n);
	if (n == 0)
		return;
	for (int i = 0; i < DELTA_COLUMNS; i++)
		columns[i] = palloc(sizeof(Datum) * n);
	undated_orders = palloc(sizeof(bool) * n);
	for (int i = 0; i < n; i++)
	{
		columns[0][i] = deltas[i].customer;
		columns[1][i] = Int64GetDatum(deltas[i].number_of_orders);
		columns[2][i] = deltas[i].amount_ordered;
		columns[3][i] = TimestampTzGetDatum(deltas[i].first_new);
		columns[4][i] = TimestampTzGetDatum(deltas[i].last_new);
		columns[5][i] = Int64GetDatum(deltas[i].number_of_returns);
		columns[6][i] = deltas[i].amount_returned;
		columns[7][i] = deltas[i].items_bought;
		columns[8][i] = deltas[i].items_returned;
		undated_orders[i] = !deltas[i].orders_came;
	}
	segment_become(set->owner, &caller);
	nrows = 0;
	if (n == 1)
	{
		Datum		values[DELTA_COLUMNS];
		char		nulls[DELTA_COLUMNS + 1] = "         ";

		for (int i = 0; i < DELTA_COLUMNS; i++)
			values[i] = columns[i][0];
		nulls[3] = nulls[4] = undated_orders[0] ? 'n' : ' ';
		add_one(set, types, values, nulls);
		nrows = SPI_processed;
	}
	if (nrows == 0)
	{
		Datum		arrays[DELTA_COLUMNS];

		for (int i = 0; i < DELTA_COLUMNS; i++)
			arrays[i] = PointerGetDatum(segment_array(types[i], columns[i],
													  i == 3 || i == 4 ? undated_orders : NULL, n));
		add_many(set, types, arrays);
		nrows = SPI_processed;
	}
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < nrows; i++)
	{
		Judgement  *item = segment_judgements_add(&firing->judgements);
		Delta		wanted;
		Delta	   *delta;

		segment_read_facts(set, table->vals[i], table->tupdesc, &item->after);
		wanted.customer = item->after.customer;
		delta = bsearch_arg(&wanted, deltas, n, sizeof(Delta), compare_delta, set);
		item->before = before_delta(&item->after, delta);
		item->cause = cause_of(firing, delta);
		item->source = delta->source->name;
		item->source_key = delta->source_key;
		if (delta->orders_went)
			careful_in = my_local_xid();
		if (needs_dates(delta, &item->after, nested))
			add_value(&undated, item->after.customer);
		if (!item->after.is_customer && item->after.number_of_orders == 0 && item->after.number_of_returns == 0)
			add_value(&orphans, item->after.customer);
	}
	SPI_freetuptable(table);
	if (undated.n > 0)
	{
		sort_customers(set, &undated);
		write_dates(firing, &undated);
	}
	prune_facts(set, &orphans);
}

/*
 * Customers rows came, went or changed: their facts rows are written first,
 * then the customers table is asked who is one now.
 */
static void
settle_customers(Firing *firing, Source *source)
{
	SourceSet  *set = firing->set;
	Values	   *customers = &firing->customers;
	Rows		rows = {0};
	Values		present = {0};
	Datum		arrays[2];
	Datum	   *is_customer;
	Oid			types[2] = {set->key_array_type, BOOLARRAYOID};
	Identity	caller;
	SPITupleTable *table;
	uint64		n;

	for (int i = 0; source->linked && i < firing->touched[source - set->sources].n; i++)
		add_value(customers, firing->touched[source - set->sources].values[i]);
	if (customers->n == 0)
		return;
	/* what other tables say of them may be another thing now */
	for (int i = 0; source->linked && concerns_groups(firing, source) && i < customers->n; i++)
	{
		if (!segment_is_anonymous(set, customers->values[i]))
			concern(firing, source, customers->values[i], NULL);
	}
	if (source->linked)
		lock_looked_up(firing, source, customers);
	sort_customers(set, customers);
	bump_facts(set, customers);
	segment_read_linked(set, source, customers->values, customers->n, &rows);
	for (int i = 0; i < rows.n; i++)
	{
		if (rows.rows[i].counts)
			add_value(&present, rows.rows[i].key);
	}
	sort_customers(set, &present);
	is_customer = palloc(sizeof(Datum) * customers->n);
	for (int i = 0; i < customers->n; i++)
		is_customer[i] = BoolGetDatum(contains_customer(set, &present, customers->values[i]));
	arrays[0] = PointerGetDatum(segment_array(set->key_type, customers->values, NULL, customers->n));
	arrays[1] = PointerGetDatum(segment_array(BOOLOID, is_customer, NULL, customers->n));
	segment_become(set->owner, &caller);
	n = segment_write(segment_plan(&set->plans[PLAN_FACTS_EXISTENCE],
								   "UPDATE segment.facts AS f SET is_customer = e.is_customer"
								   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS e(customer_id, is_customer)"
								   " WHERE f.customer_id OPERATOR(pg_catalog.=) e.customer_id"
								   " AND f.is_customer OPERATOR(pg_catalog.<>) e.is_customer"
								   " RETURNING " FACTS_COLUMNS("f"), 2, types), arrays, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		Judgement  *item = segment_judgements_add(&firing->judgements);

		segment_read_facts(set, table->vals[i], table->tupdesc, &item->after);
		item->before = item->after;
		item->before.is_customer = !item->after.is_customer;
		item->cause = CAUSE_PROFILE;
		item->source = source->name;
	}
	SPI_freetuptable(table);
	prune_facts(set, customers);
	if (source->linked)
	{
		Rows		left_out = {0};

		for (int i = 0; i < rows.n; i++)
		{
			if (rows.rows[i].left_out)
				*segment_rows_add(&left_out) = rows.rows[i];
		}
		write_linked_left_out(set, source, customers, &left_out);
	}
}

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* TRUNCATE gives no rows: everything is computed again. */
static void
source_truncated(Firing *firing, const char *name, SourceRole role)
{
	SourceSet  *set = firing->set;
	Cause		cause = role == ROLE_ORDERS ? CAUSE_CANCELLATION
		: role == ROLE_RETURNS || role == ROLE_RETURN_LINES ? CAUSE_RETURN
		: role == ROLE_ORDER_LINES ? CAUSE_EDIT
		: role == ROLE_POINTS ? CAUSE_POINTS
		: role == ROLE_OFFERS ? CAUSE_OFFERS
		: role == ROLE_TAGS ? CAUSE_TAG : CAUSE_PROFILE;

	segment_lock_facts();
	segment_recompute(set, (Datum) 0, cause, name);
	if (trigger_depth() > 1)
	{
		/* statements around this one have rows pending that were seen already */
		for (int i = 0; i < set->nsources; i++)
			segment_mark_stale(set, set->sources[i].id, psprintf("%s was truncated inside a trigger", name));
	}
}

/* All that one statement changes. */
static void
process(Firing *firing, bool nested)
{
	SourceSet  *set = firing->set;
	Oid			relid = firing->relid;
	Source	   *customers = segment_customers_source(set);

	firing->touched = palloc0(sizeof(Values) * Max(set->nsources, 1));
	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];

		if (source->relid != relid)
			continue;
		if (!segment_is_counted(source->role))
		{
			if (concerns_groups(firing, source))
				collect_concerned(firing, source);
			continue;
		}
		if (source->linked)
			collect_column(firing, source->fields[segment_ledger_field(source)].attno, &firing->touched[i]);
		else if (source->role == ROLE_CUSTOMERS)
			collect_customers(firing, source);
		else
			collect_direct(firing, source);
		if (!source->linked)
		{
			write_left_out(set, source, &firing->left_out[0], &firing->left_out[1]);
			firing->left_out[0].n = firing->left_out[1].n = 0;
		}
	}
	for (int i = 0; i < set->nsources; i++)
	{
		for (int j = 0; j < set->sources[i].nlinks; j++)
		{
			if (set->sources[i].links[j].relid != relid)
				continue;
			if (segment_is_counted(set->sources[i].role))
				follow_link(firing, &set->sources[i], &set->sources[i].links[j]);
			else if (concerns_groups(firing, &set->sources[i]))
				follow_concerned_link(firing, &set->sources[i], &set->sources[i].links[j]);
		}
	}
	settle_linked(firing);
	if (customers != NULL)
		settle_customers(firing, customers);
	apply_contributions(firing, nested);
	prune_facts(set, &firing->bumped);	/* for some of them nothing may have come of it */
	segment_judge(set, &firing->judgements);
}

/* Whether any source is, or watches, this table; role and name for the log. */
static bool
is_attached(SourceSet *set, Oid relid, SourceRole *role, const char **name)
{
	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];

		*role = source->role;
		*name = source->name;
		if (source->relid == relid)
			return true;
	}
	for (int i = 0; i < set->nsources; i++)
	{
		for (int j = 0; j < set->sources[i].nlinks; j++)
		{
			*role = set->sources[i].role;
			*name = set->sources[i].name;
			if (set->sources[i].links[j].relid == relid)
				return true;
		}
	}
	return false;
}

/* how often a statement is followed anew because what is attached has changed */
#define ATTEMPTS 10

/* how rows of a partition become rows of the whole; kept while a query runs */
typedef struct Shape
{
	Oid			root;
	TupleDesc	desc;			/* of the whole */
	TupleConversionMap *map;	/* NULL where the two are alike */
} Shape;

typedef struct Work
{
	FunctionCallInfo fcinfo;
	TriggerData *trigger;
	SourceSet  *set;
	Oid			relid;			/* the table: of a partition, the whole */
	bool		nested;
	bool		refused;		/* the table is not ours to follow */
	SubTransactionId subtransaction;
} Work;

/* The partitioned table that a table is part of, InvalidOid where it is none. */
static Oid
root_of(Relation relation)
{
	List	   *ancestors;

	if (!relation->rd_rel->relispartition)
		return InvalidOid;
	ancestors = get_partition_ancestors(RelationGetRelid(relation));
	return ancestors == NIL ? InvalidOid : llast_oid(ancestors);
}

/* The shape of the table that a trigger's rows belong to, made once a query. */
static Shape *
get_shape(FunctionCallInfo fcinfo, Relation relation, Oid root)
{
	Shape	   *shape = fcinfo->flinfo->fn_extra;
	MemoryContext before;
	Relation	whole;

	if (shape != NULL && shape->root == root)
		return shape;
	before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	shape = palloc0(sizeof(Shape));
	shape->root = root;
	whole = relation_open(root, AccessShareLock);
	shape->desc = CreateTupleDescCopy(RelationGetDescr(whole));
	relation_close(whole, NoLock);
	if (root != RelationGetRelid(relation))
		shape->map = convert_tuples_by_name(CreateTupleDescCopy(RelationGetDescr(relation)), shape->desc);
	MemoryContextSwitchTo(before);
	fcinfo->flinfo->fn_extra = shape;
	return shape;
}

/* A row at hand as the only row of a tuplestore. */
static Tuplestorestate *
store_row(Shape *shape, TupleTableSlot *row)
{
	Tuplestorestate *store = tuplestore_begin_heap(true, false, work_mem);

	if (shape->map == NULL)
		tuplestore_puttupleslot(store, row);
	else
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(shape->desc, &TTSOpsVirtual);

		tuplestore_puttupleslot(store, execute_attr_map_slot(shape->map->attrMap, row, slot));
		ExecDropSingleTupleTableSlot(slot);
	}
	return store;
}

/* Take the rows that the trigger was fired for, one or a statement's. */
static void
take_changed_rows(Firing *firing, Work *work)
{
	TriggerData *trigger = work->trigger;

	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
	{
		Shape	   *shape = get_shape(work->fcinfo, trigger->tg_relation, work->relid);
		bool		inserted = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
		bool		updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);

		firing->desc = shape->desc;
		if (!inserted)
			firing->changed[0] = store_row(shape, trigger->tg_trigslot);
		if (inserted || updated)
			firing->changed[1] = store_row(shape, inserted ? trigger->tg_trigslot : trigger->tg_newslot);
	}
	else
	{
		firing->desc = RelationGetDescr(trigger->tg_relation);
		firing->changed[0] = trigger->tg_oldtable;
		firing->changed[1] = trigger->tg_newtable;
	}
}

/*
 * TRUNCATE of a partitioned table fires there and then for everything below it,
 * with nothing written between: once is enough.  Of the table itself, that is:
 * what comes after a leaf's may be the same statement's or the next one's.
 */
static struct
{
	LocalTransactionId transaction;
	SubTransactionId subtransaction;
	Oid			relid;
}			truncated;

static bool
is_whole(Work *work)
{
	return RelationGetRelid(work->trigger->tg_relation) == work->relid;
}

static bool
is_truncated_already(Work *work)
{
	return OidIsValid(truncated.relid) && truncated.relid == work->relid && !is_whole(work) &&
		truncated.transaction == my_local_xid() &&
		truncated.subtransaction == work->subtransaction;
}

/* tgtype of a trigger AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW */
#define EVERY_ROW (TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_UPDATE)

/*
 * Whether a row trigger that somebody has put there besides ours is to be passed
 * over: everybody may execute the function.  Rows of a table that is no
 * partition are seen by its statement triggers, those of a partition by the
 * trigger that sees every row.
 */
static bool
is_superfluous(TriggerData *data)
{
	return TRIGGER_FIRED_FOR_ROW(data->tg_event) &&
		(!data->tg_relation->rd_rel->relispartition ||
		 data->tg_trigger->tgtype != EVERY_ROW || data->tg_trigger->tgnattr > 0 ||
		 data->tg_trigger->tgqual != NULL);
}

/* What a statement changed is followed, or there is nothing to follow. */
static void
follow(Work *work)
{
	Firing		firing = {.set = work->set, .event = work->trigger->tg_event};
	SourceRole	role;
	const char *name;

	work->relid = RelationGetRelid(work->trigger->tg_relation);
	if (!is_attached(work->set, work->relid, &role, &name) &&
		OidIsValid(root_of(work->trigger->tg_relation)))
		work->relid = root_of(work->trigger->tg_relation);
	work->refused = !is_attached(work->set, work->relid, &role, &name);
	if (work->refused && segment_sources_of(work->set, segment_with_ancestors(work->relid)) != NIL)
	{
		work->refused = false;	/* being detached concurrently: its rows have left already */
		return;
	}
	if (work->refused)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" is not attached", RelationGetRelationName(work->trigger->tg_relation)),
				 errdetail("Its trigger \"%s\" calls segment._source_changed(), which serves attached tables only.",
						   work->trigger->tg_trigger->tgname),
				 errhint("Drop the trigger, or attach the table.")));
	if (is_superfluous(work->trigger))
		return;
	if (!OidIsValid(work->set->facts))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"segment.facts\" does not exist"),
				 errhint("Restore it, or create the extension anew: DROP EXTENSION segment CASCADE; CREATE EXTENSION segment;")));
	firing.relid = work->relid;
	if (!TRIGGER_FIRED_BY_TRUNCATE(firing.event))
	{
		truncated.relid = InvalidOid;
		take_changed_rows(&firing, work);
		process(&firing, work->nested);
	}
	else if (!is_truncated_already(work))
	{
		source_truncated(&firing, name, role);
		truncated.transaction = my_local_xid();
		truncated.subtransaction = work->subtransaction;
		truncated.relid = is_whole(work) ? work->relid : InvalidOid;
	}
}

static void
fire(void *argument)
{
	Work	   *work = argument;

	segment_connect(0);
	work->set = segment_sources_acquire();
	if (!work->set->is_here || work->set->nsources == 0)
		segment_stand_aside();	/* what a restore brought here is stale until it is recalculated */
	else
		follow(work);

	/*
	 * While we waited for a row somebody may have attached a table that has a
	 * part in what we computed: then all is done again, with that table.
	 */
	if (!segment_sources_current(work->set))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("what is attached changes all the time")));
	segment_sources_release();
	SPI_finish();
}

/* Mark every source that the table has a part in; called after fire() was undone. */
static void
mark_failed(void *argument)
{
	Work	   *work = argument;

	segment_connect(0);
	work->set = segment_sources_acquire();
	segment_mark_sources(work->set, segment_sources_of(work->set, list_make1_oid(work->relid)),
						 "a change could not be followed, see the server's log");
	segment_sources_release();
	SPI_finish();
}

/*
 * Mark all sources, where what is attached cannot even be read: a view that is
 * broken, or the library is newer than the extension that was created.
 */
static void
mark_all_failed(void *argument)
{
	Identity	caller;

	segment_connect(0);
	segment_become(segment_owner(), &caller);
	segment_execute("INSERT INTO segment.stale_marks (source, reason)"
					" SELECT a.id, 'changes could not be followed, see the server''s log' FROM segment.attachments a");
	segment_resume(&caller);
	SPI_finish();
}

/* Whether a statement changed no row at all. */
static bool
is_empty(TriggerData *trigger)
{
	return TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) && !TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) &&
		(trigger->tg_newtable == NULL || tuplestore_tuple_count(trigger->tg_newtable) == 0) &&
		(trigger->tg_oldtable == NULL || tuplestore_tuple_count(trigger->tg_oldtable) == 0);
}

/*
 * The trigger on attached and watched tables: for each statement with its rows,
 * or, on a partitioned table, for each row.
 */
Datum
segment_source_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Work		work = {.fcinfo = fcinfo, .trigger = trigger};
	ErrorData  *error = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"segment._source_changed\" must be fired AFTER a statement or a row")));
	if (is_empty(trigger))
		return PointerGetDatum(NULL);

	if (trigger_depth() > 1)
		careful_in = my_local_xid();
	work.nested = careful_in == my_local_xid();
	work.subtransaction = GetCurrentSubTransactionId();
	for (int attempt = 0; attempt < ATTEMPTS; attempt++)
	{
		work.set = NULL;
		error = segment_try(fire, &work);
		if (error == NULL)
			return PointerGetDatum(NULL);
		if (work.set == NULL)
			continue;			/* what is attached could not even be read */
		segment_sources_release();
		if (segment_sources_current(work.set))
			break;
	}
	if (segment_abort_on_error || work.refused)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("segment could not follow a change of table \"%s\": %s",
					RelationGetRelationName(trigger->tg_relation), error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("The change itself stands; the source is marked stale until segment.recalculate().")));
	if (segment_try(work.set == NULL ? mark_all_failed : mark_failed, &work) != NULL)
		ReThrowError(error);	/* not even a mark: better no sale than silently wrong */
	return PointerGetDatum(NULL);
}
