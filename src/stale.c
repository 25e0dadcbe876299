/*
 * stale.c
 *		Sources whose state may be wrong.
 *
 * Where rows can reach or leave an attached or watched table without a trigger
 * to follow them, its sources are marked stale: durably, in the transaction
 * that changes the rows.  segment.status() and the views show it, verify()
 * names the customers, recalculate() clears the marks that it has seen.
 *
 * In replica sessions (logical replication, session_replication_role) the
 * triggers of fact.c do not fire; segment._unseen() fires there and nowhere else.
 */
#include "segment.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "saved_plan.h"
#include "stale.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(segment_unseen);

/*
 * What this transaction has marked already because of rows that came unseen: a
 * source, or a table all of whose sources are.  A mark that an earlier
 * transaction has left would not do, since a recalculation that does not see
 * our rows may be about to clear it.
 */
typedef struct Marked
{
	struct Marked *next;
	SubTransactionId in;
	int			source;			/* 0 for a table */
	Oid			relid;
} Marked;

static Marked *marked = NULL;	/* in TopTransactionContext */

/*
 * Which sources.
 */

/* A table's name as reasons give it, whatever the search_path. */
char *
segment_table_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		return psprintf("table %u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

/* A table and all tables above it: those it is a partition or a child of. */
List *
segment_with_ancestors(Oid relid)
{
	List	   *found = list_make1_oid(relid);
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);

	for (int i = 0; i < list_length(found); i++)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(list_nth_oid(found, i)));
		scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			found = list_append_unique_oid(found, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
		systable_endscan(scan);
	}
	table_close(inherits, AccessShareLock);
	return found;
}

/* Whether the rows of a table have a part in a source. */
bool
segment_is_or_watches(Source *source, Oid relid)
{
	if (source->relid == relid)
		return true;
	for (int i = 0; i < source->nlinks; i++)
	{
		if (source->links[i].relid == relid)
			return true;
	}
	return false;
}

/* Ids of the sources in which any of the tables has a part. */
List *
segment_sources_of(SourceSet *set, List *relids)
{
	List	   *sources = NIL;
	ListCell   *cell;

	for (int i = 0; i < set->nsources; i++)
	{
		foreach(cell, relids)
		{
			if (segment_is_or_watches(&set->sources[i], lfirst_oid(cell)))
				sources = list_append_unique_int(sources, set->sources[i].id);
		}
	}
	return sources;
}

/*
 * Marks.
 */

/* Write a mark for each of the sources, whether or not there is one. */
void
segment_mark_sources(SourceSet *set, List *sources, const char *reason)
{
	ListCell   *cell;

	foreach(cell, sources)
		segment_mark_stale(set, lfirst_int(cell), reason);
}

/*
 * Mark what is wrong now with the shape of attached and watched tables and has
 * no mark yet; for the sources given, write a new one all the same.
 */
void
segment_mark_faults(SourceSet *set, List *afresh)
{
	Identity	caller;
	SPITupleTable *rows;
	uint64		n;

	segment_become(set->owner, &caller);
	n = segment_execute_latest("SELECT f.source, f.reason, EXISTS (SELECT FROM segment.stale_marks m"
							   " WHERE m.source OPERATOR(pg_catalog.=) f.source AND m.reason OPERATOR(pg_catalog.=) f.reason)"
							   " FROM segment._shape_faults() f");
	segment_resume(&caller);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		int			source = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));

		if (list_member_int(afresh, source) ||
			!DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull)))
			segment_mark_stale(set, source, SPI_getvalue(rows->vals[i], rows->tupdesc, 2));
	}
	SPI_freetuptable(rows);
}

/*
 * Rows that come unseen.
 */

static bool
is_marked(int source, Oid relid)
{
	for (Marked *entry = marked; entry != NULL; entry = entry->next)
	{
		if (entry->source == source && entry->relid == relid)
			return true;
	}
	return false;
}

static void
remember_marked(int source, Oid relid)
{
	Marked	   *entry = MemoryContextAlloc(TopTransactionContext, sizeof(Marked));

	entry->next = marked;
	entry->in = GetCurrentSubTransactionId();
	entry->source = source;
	entry->relid = relid;
	marked = entry;
}

/* Marks were deleted, or something was attached: what comes next is marked again. */
void
segment_marks_cleared(void)
{
	marked = NULL;				/* the entries go with the transaction */
}

/*
 * Write a mark of this transaction's: an earlier one with the same reason is
 * made ours, so that a subscriber does not gather one for each transaction.  One
 * that somebody else is just making theirs, or clearing, is not waited for.
 */
static void
mark_or_renew(SourceSet *set, int source, const char *reason)
{
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2] = {Int32GetDatum(source), CStringGetTextDatum(reason)};
	uint64		n = 0;
	Identity	caller;

	/* where an update could end in 40001 a new one is written */
	if (!IsolationUsesXactSnapshot())
	{
		segment_become(set->owner, &caller);
		n = segment_execute_with("UPDATE segment.stale_marks SET marked_at = clock_timestamp(), xid = pg_current_xact_id()"
								 " WHERE ctid = (SELECT m.ctid FROM segment.stale_marks m WHERE m.source = $1 AND m.reason = $2"
								 " LIMIT 1 FOR UPDATE SKIP LOCKED)",
								 2, types, values, NULL, false, NULL, NULL);
		segment_resume(&caller);
	}
	if (n == 0)
		segment_mark_stale(set, source, reason);
}

/* Once in a transaction for each source in which the table has a part. */
static void
mark_unseen(SourceSet *set, Relation relation)
{
	List	   *relids = segment_with_ancestors(RelationGetRelid(relation));
	bool		attached = false;
	ListCell   *cell;

	for (int i = 0; i < set->nsources; i++)
	{
		Source	   *source = &set->sources[i];
		Oid			part = InvalidOid;

		foreach(cell, relids)
		{
			if (segment_is_or_watches(source, lfirst_oid(cell)))
				part = lfirst_oid(cell);
		}
		if (!OidIsValid(part))
			continue;
		attached = true;
		if (is_marked(source->id, InvalidOid))
			continue;
		mark_or_renew(set, source->id,
					  psprintf("rows of %s were changed by replication, or with session_replication_role = replica",
							   segment_table_name(part)));
		remember_marked(source->id, InvalidOid);
	}
	if (!attached)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" is not attached", RelationGetRelationName(relation)),
				 errdetail("Its trigger calls segment._unseen(), which serves attached tables only."),
				 errhint("Drop the trigger, or attach the table.")));
	remember_marked(0, RelationGetRelid(relation));
}

/* The trigger on attached and watched tables for replica sessions. */
Datum
segment_unseen(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SourceSet  *set;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"segment._unseen\" must be fired AFTER")));
	/* whatever mode somebody gave this trigger: elsewhere rows are followed */
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA ||
		is_marked(0, RelationGetRelid(trigger->tg_relation)))
		return PointerGetDatum(NULL);

	segment_connect(0);
	set = segment_sources_acquire();
	if (set->nsources > 0)		/* else a restore that has not come to them yet */
		mark_unseen(set, trigger->tg_relation);
	segment_sources_release();
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* A mark is there as long as the subtransaction that wrote it has not been rolled back. */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	Marked	  **link = &marked;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*link != NULL)
	{
		if ((*link)->in == mine && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = (*link)->next;
			continue;
		}
		if ((*link)->in == mine)
			(*link)->in = parent;
		link = &(*link)->next;
	}
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		marked = NULL;
}

void
segment_stale_init(void)
{
	RegisterSubXactCallback(subtransaction_ended, NULL);
	RegisterXactCallback(transaction_ended, NULL);
}
