/*
 * ddl.c
 *		DDL on attached and watched tables: partitions that come and go, triggers
 *		switched off, tables that take another shape.
 *
 * DDL fires no row triggers, so rows that a partition brings or takes along
 * would go unseen.  Event triggers follow it: a new partition gets the triggers
 * that the server does not clone, one that brought or took rows along has its
 * sources marked stale.  What a DROP takes along is looked at by a hook while it
 * is still there; the event trigger that comes after it writes the mark.
 *
 * DDL that concerns no attached table is told from the parse tree, or from the
 * triggers that the table carries, and costs next to nothing.  None fails
 * because of us, but for what every statement shares: where it cannot be
 * followed the sources are marked stale.
 */
#include "segment.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "ddl.h"
#include "fact.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "saved_plan.h"
#include "source.h"
#include "stale.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(segment_ddl);
PG_FUNCTION_INFO_V1(segment_row_changed);

/* what a command does to a table that may concern us */
typedef enum ChangeKind
{
	TABLE_MADE,					/* below other tables */
	PARTITION_ATTACHED,
	PARTITION_DETACHING,		/* concurrently: about to leave */
	PARTITION_DETACHED,
	PARENT_GIVEN_UP,			/* NO INHERIT */
	SHAPE_CHANGED,				/* INHERIT, UNLOGGED, CREATE OR REPLACE TRIGGER */
	TRIGGERS_OFF,
	TRIGGERS_ON,
	TRIGGER_FOR_REPLICA,		/* ENABLE REPLICA */
	COLUMN_RETYPED,
	COLUMN_COMPUTED_ANEW,		/* SET EXPRESSION of a generated one */
	FUNCTION_CHANGED			/* of no table: expressions may call it */
} ChangeKind;

typedef struct Change
{
	ChangeKind	kind;
	RangeVar   *table;
	RangeVar   *other;			/* the partition, or the parent given up */
	char	   *trigger;		/* NULL: all, or all of the user */
} Change;

/* something dropped that concerns us, remembered until the event trigger comes */
typedef struct Drop
{
	struct Drop *next;
	SubTransactionId in;
	SubTransactionId followed_in;	/* invalid: not yet followed */
	List	   *tables;			/* those that lost rows; a trigger's table and those above it */
	Oid			relid;			/* a trigger's table */
	char	   *reason;
} Drop;

/* work for segment_try() */
typedef struct Following
{
	List	   *changes;		/* NIL: drops */
	List	   *tables;			/* that concern us, as far as known */
	MemoryContext context;		/* of tables */
	Snapshot	before;			/* as things were before the command */
	SourceSet  *set;
} Following;

static Drop *drops = NULL;		/* in TopTransactionContext */
static int	own_ddl = 0;		/* what we are doing ourselves */
static object_access_hook_type previous_hook = NULL;

/*
 * Our triggers.
 */

static void
run_own_ddl(Oid owner, const char *sql, Oid relid)
{
	Oid			types[1] = {REGCLASSOID};
	Datum		value = ObjectIdGetDatum(relid);
	Identity	caller;

	segment_become(owner, &caller);
	own_ddl++;
	PG_TRY();
	{
		segment_execute_with(sql, 1, types, &value, NULL, false, NULL, NULL);
	}
	PG_FINALLY();
	{
		own_ddl--;
	}
	PG_END_TRY();
	segment_resume(&caller);
}

/* Put what is missing of our triggers on a table and the partitions below it. */
void
segment_put_triggers(Oid owner, Oid relid)
{
	run_own_ddl(owner, "SELECT segment._put_triggers($1)", relid);
}

/* Take our triggers off a table and the partitions below it. */
void
segment_take_triggers(Oid owner, Oid relid)
{
	run_own_ddl(owner, "SELECT segment._take_triggers($1)", relid);
}

/* Whether a trigger fires in this session, for whatever rows. */
static bool
fires_always(const Trigger *trigger)
{
	return trigger->tgqual == NULL && trigger->tgnattr == 0 &&
		(trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
		 trigger->tgenabled == (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA
								? TRIGGER_FIRES_ON_REPLICA : TRIGGER_FIRES_ON_ORIGIN));
}

/*
 * The row trigger of partitioned tables.  Everybody may execute it, so that
 * everybody may make a partition; but of several such triggers on a table, ours
 * and one that somebody has put there besides, only the first counts.
 */
Datum
segment_row_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TriggerDesc *all;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"segment._row_changed\" must be fired AFTER, FOR EACH ROW")));
	all = data->tg_relation->trigdesc;
	for (int i = 0; all != NULL && i < all->numtriggers; i++)
	{
		Trigger    *trigger = &all->triggers[i];

		if (trigger->tgoid == data->tg_trigger->tgoid)
			break;
		if (trigger->tgfoid == data->tg_trigger->tgfoid && trigger->tgtype == data->tg_trigger->tgtype &&
			fires_always(trigger))
			return PointerGetDatum(NULL);
	}
	return segment_source_changed(fcinfo);
}

/* Whether a trigger calls a function of ours. */
static bool
is_ours(Form_pg_trigger trigger, Oid namespace)
{
	return strncmp(NameStr(trigger->tgname), "RI_", 3) != 0 &&
		get_func_namespace(trigger->tgfoid) == namespace;
}

typedef struct OurTrigger
{
	char		mode;			/* tgenabled */
	Oid			function;
} OurTrigger;

/* A trigger of ours that a table carries, or carried by a snapshot: that name, or any. */
static bool
find_trigger(Oid relid, const char *name, Snapshot snapshot, OurTrigger *found)
{
	Oid			namespace = get_namespace_oid("segment", true);
	Relation	triggers;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		any = false;

	if (!OidIsValid(namespace) || !OidIsValid(relid))
		return false;
	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	if (name != NULL)
		ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, snapshot, name != NULL ? 2 : 1, keys);
	while (!any && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		any = is_ours(trigger, namespace);
		found->mode = trigger->tgenabled;
		found->function = trigger->tgfoid;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return any;
}

static bool
carries_trigger(Oid relid, const char *name)
{
	OurTrigger	trigger;

	return find_trigger(relid, name, NULL, &trigger);
}

/* Those of the tables that carry triggers of ours. */
static List *
that_concern_us(List *relids)
{
	List	   *concerned = NIL;
	ListCell   *cell;

	foreach(cell, relids)
	{
		if (carries_trigger(lfirst_oid(cell), NULL))
			concerned = lappend_oid(concerned, lfirst_oid(cell));
	}
	return concerned;
}

/*
 * Rows that a table brings or takes along.
 */

/*
 * Whether a table holds a row.  One that somebody else is just adding or
 * removing counts as well: our triggers have seen it, or will.
 */
static bool
table_holds_rows(Oid relid, LOCKMODE lock)
{
	Relation	relation = table_open(relid, lock);
	bool		found;

	if (relation->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		found = true;			/* not ours to ask */
	else if (relation->rd_rel->relkind != RELKIND_RELATION)
		found = false;
	else
	{
		SnapshotData dirty;
		TableScanDesc scan;
		TupleTableSlot *slot = table_slot_create(relation, NULL);

		InitDirtySnapshot(dirty);
		scan = table_beginscan(relation, &dirty, 0, NULL);
		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(relation, NoLock);
	return found;
}

/* The same for a table and all partitions below it. */
static bool
holds_rows(Oid relid, LOCKMODE lock)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, lock, NULL))
	{
		if (table_holds_rows(lfirst_oid(cell), lock))
			return true;
	}
	return false;
}

/*
 * Drops.
 */

static void
remember_drop(List *tables, Oid relid, const char *reason)
{
	MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
	Drop	   *drop = palloc0(sizeof(Drop));

	drop->next = drops;
	drop->in = GetCurrentSubTransactionId();
	drop->tables = list_copy(tables);
	drop->relid = relid;
	drop->reason = reason ? pstrdup(reason) : NULL;
	drops = drop;
	MemoryContextSwitchTo(before);
}

typedef struct Look
{
	Oid			relid;
	bool		holds_rows;
} Look;

static void
look(void *argument)
{
	Look	   *work = argument;

	work->holds_rows = table_holds_rows(work->relid, NoLock);
}

/*
 * A table is about to be dropped, and locked.  Its indexes, triggers and toast
 * table may be gone already; reading through its heap needs none of them.
 */
static void
table_dropped(Oid relid)
{
	Look		work = {.relid = relid};
	char		kind = get_rel_relkind(relid);
	List	   *concerned;
	ErrorData  *error;

	if (kind != RELKIND_RELATION && kind != RELKIND_FOREIGN_TABLE)
		return;
	concerned = that_concern_us(list_delete_first(segment_with_ancestors(relid)));
	if (concerned == NIL)
		return;
	error = segment_attempt(look, &work);
	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	/* one that cannot be read, because it is damaged, must be dropped all the more */
	if (error == NULL && !work.holds_rows)
		return;
	remember_drop(concerned, InvalidOid,
				  psprintf("%s was dropped with its rows from %s", segment_table_name(relid),
						   segment_table_name(llast_oid(concerned))));
}

/* Whether this command has dropped a trigger of that table already: one stands for all. */
static bool
is_remembered(Oid relid)
{
	for (Drop *drop = drops; drop != NULL; drop = drop->next)
	{
		if (drop->relid == relid && drop->in == GetCurrentSubTransactionId() &&
			drop->followed_in == InvalidSubTransactionId)
			return true;
	}
	return false;
}

/* A trigger is about to be dropped, its table maybe after it. */
static void
trigger_dropped(Oid trigger)
{
	Oid			namespace = get_namespace_oid("segment", true);
	Relation	triggers;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(namespace))
		return;
	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && is_ours((Form_pg_trigger) GETSTRUCT(tuple), namespace))
	{
		Oid			relid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;

		if (!is_remembered(relid))
			remember_drop(segment_with_ancestors(relid), relid,
						  psprintf("%s was dropped", segment_table_name(relid)));
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int column, void *argument)
{
	if (previous_hook)
		previous_hook(access, class, object, column, argument);
	if (access != OAT_DROP || column != 0 || own_ddl > 0 || IsBinaryUpgrade ||
		(((ObjectAccessDrop *) argument)->dropflags & PERFORM_DELETION_INTERNAL) != 0)
		return;
	if (class == RelationRelationId)
		table_dropped(object);
	else if (class == TriggerRelationId)
		trigger_dropped(object);
}

/* What was dropped is dropped only as long as the subtransaction that did it stands. */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	Drop	  **link = &drops;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*link != NULL)
	{
		Drop	   *drop = *link;

		if (drop->followed_in == mine)
			drop->followed_in = event == SUBXACT_EVENT_ABORT_SUB ? InvalidSubTransactionId : parent;
		if (drop->in == mine && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = drop->next;
			continue;
		}
		if (drop->in == mine)
			drop->in = parent;
		link = &drop->next;
	}
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		drops = NULL;
}

static bool
drops_to_follow(void)
{
	for (Drop *drop = drops; drop != NULL; drop = drop->next)
	{
		if (drop->followed_in == InvalidSubTransactionId)
			return true;
	}
	return false;
}

static void
follow_drops(SourceSet *set)
{
	List	   *afresh = NIL;

	for (Drop *drop = drops; drop != NULL; drop = drop->next)
	{
		if (drop->followed_in != InvalidSubTransactionId)
			continue;
		if (!OidIsValid(drop->relid))
			segment_mark_sources(set, segment_sources_of(set, drop->tables), drop->reason);
		else if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(drop->relid)))
			afresh = list_concat_unique_int(afresh, segment_sources_of(set, drop->tables));
		else					/* an empty partition, or a watched table */
			segment_mark_sources(set, segment_sources_of(set, list_make1_oid(drop->relid)), drop->reason);
		drop->followed_in = GetCurrentSubTransactionId();
	}
	segment_mark_faults(set, afresh);
}

/*
 * Commands.
 */

static List *
add_change(List *changes, ChangeKind kind, RangeVar *table, RangeVar *other, char *trigger)
{
	Change	   *change = palloc0(sizeof(Change));

	change->kind = kind;
	change->table = table;
	change->other = other;
	change->trigger = trigger;
	return lappend(changes, change);
}

/* What a subcommand of ALTER TABLE does that may concern us. */
static List *
add_subcommand(List *changes, RangeVar *table, AlterTableCmd *command, bool start)
{
	PartitionCmd *partition;

	switch (command->subtype)
	{
		case AT_AttachPartition:
			partition = castNode(PartitionCmd, command->def);
			return add_change(changes, PARTITION_ATTACHED, table, partition->name, NULL);
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			partition = castNode(PartitionCmd, command->def);
			/* commits once on its way, when the rows have left and we have not come yet */
			if (start && partition->concurrent)
				return add_change(changes, PARTITION_DETACHING, table, partition->name, NULL);
			return add_change(changes, PARTITION_DETACHED, table, partition->name, NULL);
		case AT_AlterColumnType:
			return add_change(changes, COLUMN_RETYPED, table, NULL, NULL);
#if PG_VERSION_NUM >= 170000
		case AT_SetExpression:
			return add_change(changes, COLUMN_COMPUTED_ANEW, table, NULL, NULL);
#endif
		case AT_DropInherit:
			return add_change(changes, PARENT_GIVEN_UP, table, castNode(RangeVar, command->def), NULL);
		case AT_AddInherit:
		case AT_SetLogged:
		case AT_SetUnLogged:
			return add_change(changes, SHAPE_CHANGED, table, NULL, NULL);
		case AT_DisableTrig:
			return add_change(changes, TRIGGERS_OFF, table, NULL, command->name);
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			return add_change(changes, TRIGGERS_OFF, table, NULL, NULL);
		case AT_EnableReplicaTrig:
			return add_change(changes, TRIGGER_FOR_REPLICA, table, NULL, command->name);
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
			return add_change(changes, TRIGGERS_ON, table, NULL, command->name);
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return add_change(changes, TRIGGERS_ON, table, NULL, NULL);
		default:
			return changes;
	}
}

/* What a command does that may concern us; mostly nothing. */
static List *
changes_of(Node *parsetree, bool start)
{
	List	   *changes = NIL;
	ListCell   *cell;

	if (parsetree == NULL)
		return NIL;
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			if (((CreateStmt *) parsetree)->inhRelations != NIL)
				return add_change(NIL, TABLE_MADE, ((CreateStmt *) parsetree)->relation, NULL, NULL);
			return NIL;
		case T_CreateSchemaStmt:
			foreach(cell, ((CreateSchemaStmt *) parsetree)->schemaElts)
			{
				CreateStmt *element = lfirst(cell);

				/* the parents: the new table's own name may lack its schema */
				if (!IsA(element, CreateStmt))
					continue;
				for (int i = 0; i < list_length(element->inhRelations); i++)
					changes = add_change(changes, TABLE_MADE, list_nth(element->inhRelations, i), NULL, NULL);
			}
			return changes;
		case T_AlterTableStmt:
			foreach(cell, ((AlterTableStmt *) parsetree)->cmds)
				changes = add_subcommand(changes, ((AlterTableStmt *) parsetree)->relation,
										 lfirst_node(AlterTableCmd, cell), start);
			return changes;
		case T_CreateFunctionStmt:
			if (((CreateFunctionStmt *) parsetree)->replace)
				return add_change(NIL, FUNCTION_CHANGED, NULL, NULL, NULL);
			return NIL;
		case T_AlterFunctionStmt:
			return add_change(NIL, FUNCTION_CHANGED, NULL, NULL, NULL);
		case T_CreateTrigStmt:
			if (((CreateTrigStmt *) parsetree)->replace)
				return add_change(NIL, SHAPE_CHANGED, ((CreateTrigStmt *) parsetree)->relation, NULL, NULL);
			return NIL;
		default:
			return NIL;
	}
}

/* The topmost of the tables that concern us, for the reason; tables is not NIL. */
static char *
name_of_top(List *tables)
{
	return segment_table_name(llast_oid(tables));
}

/* A partition of a table that concerns us came: triggers, and a mark if it has rows. */
static void
partition_came(SourceSet *set, Oid partition, List *above)
{
	segment_put_triggers(set->owner, partition);
	if (holds_rows(partition, AccessShareLock))
		segment_mark_sources(set, segment_sources_of(set, above),
							 psprintf("%s was attached with its rows to %s",
									  segment_table_name(partition), name_of_top(above)));
}

/*
 * It goes: a mark if it has rows.  Who writes to a table below it by that
 * table's own name is waited for, since such rows still count as ours.
 */
static void
partition_goes(SourceSet *set, Oid partition, List *above, LOCKMODE lock)
{
	if (holds_rows(partition, lock))
		segment_mark_sources(set, segment_sources_of(set, above),
							 psprintf("%s was detached with its rows from %s",
									  segment_table_name(partition), name_of_top(above)));
}

/* It has gone: its triggers go too, unless it is attached itself. */
static void
partition_gone(SourceSet *set, Oid partition, Oid parent)
{
	List	   *sources = segment_sources_of(set, list_make1_oid(partition));

	if (sources == NIL)
		segment_take_triggers(set->owner, partition);
	else
		segment_mark_sources(set, sources, psprintf("%s is no partition of %s any more",
													segment_table_name(partition), segment_table_name(parent)));
}

/* Whether a partition is of the kind that nothing can be wrong with. */
static bool
is_ordinary_partition(Oid relid)
{
	return get_rel_relispartition(relid) && get_rel_persistence(relid) == RELPERSISTENCE_PERMANENT &&
		get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE;
}

/*
 * The server refuses to retype a column that a mapping reads, but does not know
 * what a function reads of a table named in watch.
 */
static void
mark_untraceable(SourceSet *set, Oid relid)
{
	for (int i = 0; i < set->nsources; i++)
	{
		for (int j = 0; j < set->sources[i].nlinks; j++)
		{
			Link	   *link = &set->sources[i].links[j];

			if (link->relid == relid && !link->traceable)
			{
				segment_mark_stale(set, set->sources[i].id,
								   psprintf("a column of %s was given another type", segment_table_name(relid)));
				break;
			}
		}
	}
}

/* Follow a change that concerns us; above: the tables of ours it was made to, or that are above those. */
static void
follow_ours(SourceSet *set, Change *change, Oid relid, Oid other, List *above, List *sources)
{
	List	   *afresh = NIL;	/* sources that get new marks of faults that have one */

	switch (change->kind)
	{
		case TABLE_MADE:
			/* an inheritance child gets none: that is a fault */
			if (get_rel_relispartition(relid) || get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
				segment_put_triggers(set->owner, relid);
			if (is_ordinary_partition(relid))
				return;
			break;
		case PARTITION_ATTACHED:
			if (above != NIL)
				partition_came(set, other, above);
			break;
		case PARTITION_DETACHING:
			if (above != NIL)
				partition_goes(set, other, above, AccessShareLock);
			return;
		case PARTITION_DETACHED:
			if (above != NIL)
				partition_goes(set, other, above, ShareRowExclusiveLock);
			partition_gone(set, other, relid);
			break;
		case PARENT_GIVEN_UP:
			segment_mark_sources(set, sources, psprintf("%s is no inheritance child of %s any more",
														segment_table_name(relid), segment_table_name(other)));
			break;
		case COLUMN_RETYPED:
			mark_untraceable(set, relid);
			return;
		case COLUMN_COMPUTED_ANEW:
			segment_mark_sources(set, sources, psprintf("a generated column of %s was given another expression",
														segment_table_name(relid)));
			return;
		case SHAPE_CHANGED:
		case TRIGGERS_OFF:
			afresh = sources;
			break;
		case TRIGGERS_ON:
		case TRIGGER_FOR_REPLICA:
			/* not those that are missing: a restore is about to make them */
			run_own_ddl(set->owner, "SELECT segment._set_trigger_modes($1)", relid);
			segment_mark_sources(set, sources, change->trigger
								 ? psprintf("trigger \"%s\" of %s was enabled; rows may have come unseen before",
											change->trigger, segment_table_name(relid))
								 : psprintf("triggers of %s were enabled; rows may have come unseen before",
											segment_table_name(relid)));
			afresh = sources;
			break;
		case FUNCTION_CHANGED:
			break;				/* follow_functions() */
	}
	segment_mark_faults(set, afresh);
}

static bool
switches_triggers(Change *change)
{
	return change->kind == TRIGGERS_OFF || change->kind == TRIGGERS_ON || change->kind == TRIGGER_FOR_REPLICA;
}

/*
 * Whether a trigger for replica sessions has only just been made: before the
 * command it was in the mode in which CREATE TRIGGER leaves it.  That is how
 * pg_dump puts it back; we do not leave one so.
 */
static bool
is_restored(Oid relid, const char *name, Snapshot before)
{
	OurTrigger	trigger;
	char	   *function;

	if (!find_trigger(relid, name, before, &trigger) || trigger.mode != TRIGGER_FIRES_ON_ORIGIN)
		return false;
	function = get_func_name(trigger.function);
	return function != NULL && strcmp(function, "_unseen") == 0;
}

static void
acquire_sources(Following *following)
{
	if (following->set == NULL)
	{
		segment_connect(0);
		following->set = segment_sources_acquire();
	}
}

/* A function's definition as a snapshot sees it, NULL where it does not. */
static HeapTuple
function_definition(Oid function, Snapshot snapshot)
{
	Relation	functions = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_proc_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(function));
	scan = systable_beginscan(functions, ProcedureOidIndexId, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(functions, AccessShareLock);
	return tuple;
}

/* Whether a function is what it was before the command, as a script that runs again leaves it. */
static bool
same_function(Oid function, Snapshot snapshot)
{
	HeapTuple	before = function_definition(function, snapshot);
	HeapTuple	after = function_definition(function, NULL);

	return before != NULL && after != NULL && before->t_len == after->t_len &&
		before->t_data->t_hoff == after->t_data->t_hoff &&
		memcmp((char *) before->t_data + offsetof(HeapTupleHeaderData, t_bits),
			   (char *) after->t_data + offsetof(HeapTupleHeaderData, t_bits),
			   before->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0;
}

/* Rows count for what functions in the mappings say: another body, other figures. */
static void
follow_functions(Following *following)
{
	SPITupleTable *rows;
	uint64		n;
	Identity	caller;

	acquire_sources(following);
	if (following->set->nsources == 0)
		return;
	segment_become(following->set->owner, &caller);
	n = segment_execute_latest("SELECT f.source, f.function, f.name FROM segment._functions_changed() f");
	segment_resume(&caller);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Oid			function = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));

		if (!same_function(function, following->before))
			segment_mark_stale(following->set, DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull)),
							   psprintf("function %s was changed", SPI_getvalue(rows->vals[i], rows->tupdesc, 3)));
	}
	SPI_freetuptable(rows);
}

/* Follow a change, if it concerns us. */
static void
follow_change(Following *following, Change *change)
{
	Oid			relid;
	Oid			other;
	List	   *above;
	List	   *tables;
	List	   *sources;
	MemoryContext before;

	if (change->kind == FUNCTION_CHANGED)
	{
		follow_functions(following);
		return;
	}
	relid = RangeVarGetRelid(change->table, NoLock, true);
	other = change->other ? RangeVarGetRelid(change->other, NoLock, true) : InvalidOid;
	if (!OidIsValid(relid) || (change->other && !OidIsValid(other)))
		return;
	if (switches_triggers(change) && !carries_trigger(relid, change->trigger))
		return;
	if (change->kind == TRIGGER_FOR_REPLICA && is_restored(relid, change->trigger, following->before))
		return;
	above = that_concern_us(segment_with_ancestors(relid));
	tables = list_copy(above);
	if (change->other)
		tables = list_concat_unique_oid(tables, that_concern_us(segment_with_ancestors(other)));
	if (tables == NIL)
		return;

	before = MemoryContextSwitchTo(following->context);
	following->tables = list_concat_unique_oid(following->tables, tables);
	MemoryContextSwitchTo(before);
	acquire_sources(following);
	sources = segment_sources_of(following->set, tables);
	if (sources != NIL)
		follow_ours(following->set, change, relid, other, above, sources);
	else if (change->kind == TRIGGERS_ON)	/* a restore that has not come to what is attached yet */
		run_own_ddl(following->set->owner, "SELECT segment._set_trigger_modes($1)", relid);
}

static void
follow(void *argument)
{
	Following  *following = argument;
	ListCell   *cell;

	following->set = NULL;
	if (following->changes == NIL)
	{
		acquire_sources(following);
		follow_drops(following->set);
	}
	foreach(cell, following->changes)
		follow_change(following, lfirst(cell));
	if (following->set != NULL)
	{
		segment_sources_release();
		SPI_finish();
	}
}

/* What could not be followed: mark the sources concerned, or all where they are not known. */
static void
mark_failed(void *argument)
{
	Following  *following = argument;
	SourceSet  *set;

	segment_connect(0);
	set = segment_sources_acquire();
	for (int i = 0; i < set->nsources; i++)
	{
		bool		concerned = following->tables == NIL;
		ListCell   *cell;

		foreach(cell, following->tables)
			concerned |= segment_is_or_watches(&set->sources[i], lfirst_oid(cell));
		if (concerned)
			segment_mark_stale(set, set->sources[i].id, "a change of its table could not be followed, see the server's log");
	}
	for (Drop *drop = drops; drop != NULL; drop = drop->next)
	{
		if (drop->followed_in == InvalidSubTransactionId)
			drop->followed_in = GetCurrentSubTransactionId();
	}
	segment_sources_release();
	SPI_finish();
}

/* how often a command is followed anew because what is attached has changed */
#define ATTEMPTS 10

static void
follow_or_mark(List *changes)
{
	Following	following = {.changes = changes, .context = CurrentMemoryContext,
	.before = GetActiveSnapshot()};
	ErrorData  *error = NULL;

	/* somebody may detach a table while we read what is attached */
	for (int attempt = 0; attempt < ATTEMPTS; attempt++)
	{
		error = segment_try(follow, &following);
		if (error == NULL)
			return;
		if (following.set == NULL)
			continue;
		segment_sources_release();
		if (segment_sources_current(following.set))
			break;
	}
	if (segment_abort_on_error)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("segment could not follow this command: %s", error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("The command itself stands; the sources concerned are marked stale until segment.recalculate().")));
	if (segment_try(mark_failed, &following) != NULL)
		ReThrowError(error);	/* not even a mark */
}

/* Event trigger: before and after DDL commands, and after drops. */
Datum
segment_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;
	List	   *changes = NIL;
	bool		start;
	bool		pushed = false;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"segment._ddl\" must be fired as an event trigger")));
	if (own_ddl > 0 || IsBinaryUpgrade ||
		(creating_extension && CurrentExtensionObject == get_extension_oid("segment", true)))
		return PointerGetDatum(NULL);
	start = strcmp(event->event, "ddl_command_start") == 0;
	if (strcmp(event->event, "sql_drop") == 0)
	{
		if (!drops_to_follow())
			return PointerGetDatum(NULL);
	}
	else
	{
		changes = changes_of(event->parsetree, start);
		if (start)
		{
			ListCell   *cell;

			foreach(cell, changes)
			{
				if (((Change *) lfirst(cell))->kind != PARTITION_DETACHING)
					changes = foreach_delete_current(changes, cell);
			}
		}
		if (changes == NIL)
			return PointerGetDatum(NULL);
	}

	/* DETACH … CONCURRENTLY comes back from its second transaction without one */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	follow_or_mark(changes);
	if (pushed)
		PopActiveSnapshot();
	return PointerGetDatum(NULL);
}

void
segment_ddl_init(void)
{
	RegisterSubXactCallback(subtransaction_ended, NULL);
	RegisterXactCallback(transaction_ended, NULL);
	previous_hook = object_access_hook;
	object_access_hook = object_access;
}
