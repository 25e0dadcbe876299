/*
 * group.c
 *		What the merchant decides: groups.
 *
 * Plain DML on segment.groups.  The statement that saves a group is refused where
 * something in it does not fit; what was right once and no longer binds, because
 * a table was detached, is in nobody's way.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/twophase.h"
#include "bound.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "group.h"
#include "miscadmin.h"
#include "result_set.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(segment_group_faults);

/* whether we ourselves are writing new codes into conditions */
static bool renaming = false;

/* the condition that we ourselves are putting into force, NULL for none */
static Coming *coming_now = NULL;

static char *
value_of(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/*
 * Faults of a row by itself.
 */

static void
check_kinds(void)
{
	if (segment_execute("SELECT n.code FROM new_rows n WHERE n.kind = 'automatic' AND n.condition IS NULL"
						" ORDER BY n.id LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("automatic group \"%s\" has no condition", value_of(0, 1)),
				 errhint("Give a condition; for a group that people fill set kind to 'fixed'.")));
	if (segment_execute("SELECT n.code FROM new_rows n WHERE n.kind = 'fixed' AND n.condition IS NOT NULL"
						" ORDER BY n.id LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("fixed group \"%s\" has a condition", value_of(0, 1)),
				 errhint("Leave the condition out; a group that it fills has kind 'automatic'.")));
}

static void
check_percents(void)
{
	if (segment_execute("SELECT n.code, v.name, v.value FROM new_rows n,"
						" LATERAL (VALUES ('tax_percent', n.tax_percent), ('discount_percent', n.discount_percent)) AS v(name, value)"
						" WHERE v.value < 0 OR v.value = 'NaN' OR v.value = 'Infinity' ORDER BY n.id, v.name LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of group \"%s\" must be a number not below 0, not %s",
						value_of(0, 2), value_of(0, 1), value_of(0, 3)),
				 errhint("It is a percentage: 8 for 8 percent; leave it NULL where the group has none.")));
}

/* A transaction that has announced something cannot be prepared. */
static void
check_notify(void)
{
	if (max_prepared_xacts > 0 && segment_execute("SELECT n.code FROM new_rows n WHERE n.notify ORDER BY n.id LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("group \"%s\" cannot notify where prepared transactions are enabled", value_of(0, 1)),
				 errdetail("max_prepared_transactions is %d, and a transaction that has executed NOTIFY cannot be prepared.", max_prepared_xacts),
				 errhint("Leave notify false and read segment.changes instead, or set max_prepared_transactions to 0.")));
}

static void
check_names(void)
{
	if (segment_execute("SELECT n.code FROM new_rows n WHERE segment.fold(n.name) = '' ORDER BY n.id LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of group \"%s\" is empty", value_of(0, 1)),
				 errhint("Give a name.")));
	if (segment_execute("SELECT n.code, n.name, g.code, g.name FROM new_rows n JOIN segment.groups g"
						" ON segment.fold(g.name) = segment.fold(n.name) AND g.id <> n.id"
						" ORDER BY n.id DESC, g.id LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("group \"%s\" cannot have the name \"%s\": group \"%s\" has it",
						value_of(0, 1), value_of(0, 2), value_of(0, 3)),
				 errdetail("Names are compared without regard to case and spacing; its name is \"%s\".", value_of(0, 4)),
				 errhint("Give another name.")));
}

/*
 * Groups that conditions of others name.
 */

/* a group's condition, as it is stored, or one that is pending */
typedef struct Stored
{
	int			id;
	bool		pending;
	char	   *code;
	const Condition *condition;
} Stored;

static List *
stored_conditions(const char *but)
{
	List	   *stored = NIL;
	SPITupleTable *table;
	uint64		n;

	n = segment_execute(psprintf("SELECT g.id, g.code, g.condition, false FROM segment.groups g"
								 " WHERE g.condition IS NOT NULL AND %s UNION ALL"
								 " SELECT g.id, g.code, p.condition, true FROM segment.pending_groups p"
								 " JOIN segment.groups g ON g.id = p.group_id ORDER BY 2, 4", but));
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		Stored	   *its = palloc(sizeof(Stored));
		bool		isnull;

		its->id = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		its->code = SPI_getvalue(table->vals[i], table->tupdesc, 2);
		its->condition = (Condition *) PG_DETOAST_DATUM_COPY(SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull));
		its->pending = DatumGetBool(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull));
		stored = lappend(stored, its);
	}
	SPI_freetuptable(table);
	return stored;
}

static bool
names_group(const Condition *condition, const char *code)
{
	ListCell   *cell;

	foreach(cell, segment_named_groups(condition))
	{
		if (strcmp(lfirst(cell), code) == 0)
			return true;
	}
	return false;
}

/* What is left may not name what is gone. */
static void
refuse_used(void)
{
	uint64		n = segment_execute("SELECT o.code FROM old_rows o ORDER BY o.code");
	char	  **codes = palloc(sizeof(char *) * Max(n, 1));
	List	   *stored;

	for (uint64 i = 0; i < n; i++)
		codes[i] = value_of(i, 1);
	stored = stored_conditions("true");
	for (uint64 i = 0; i < n; i++)
	{
		StringInfoData users;
		int			nusers = 0;
		ListCell   *cell;

		initStringInfo(&users);
		foreach(cell, stored)
		{
			Stored	   *its = lfirst(cell);

			if (names_group(its->condition, codes[i]))
				appendStringInfo(&users, "%s\"%s\"", nusers++ > 0 ? ", " : "", its->code);
		}
		if (nusers > 0)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot delete group \"%s\" because conditions of other groups use it", codes[i]),
					 errdetail_plural("Its user is group %s.", "Its users are groups %s.", nusers, users.data),
					 errhint("Change their conditions first, or set active to false: an inactive group is false in conditions.")));
	}
}

/* Write new codes into every condition that names the old ones, but for those that the statement has just set. */
static void
rename_in_conditions(const char **from, const char **to, int n)
{
	List	   *stored = stored_conditions("NOT EXISTS (SELECT FROM old_rows o JOIN new_rows n ON n.id = o.id"
										   " WHERE n.id = g.id AND n.condition OPERATOR(segment.<>) o.condition)");
	Oid			types[2] = {TEXTOID, INT4OID};
	ListCell   *cell;

	foreach(cell, stored)
	{
		Stored	   *its = lfirst(cell);
		const Condition *renamed = segment_condition_rename_groups(its->condition, from, to, n);
		Datum		values[2];

		if (renamed == its->condition)
			continue;
		values[0] = CStringGetTextDatum(segment_condition_text(renamed));
		values[1] = Int32GetDatum(its->id);
		segment_execute_with(its->pending
							 ? "UPDATE segment.pending_groups SET condition = $1::segment.condition WHERE group_id = $2"
							 : "UPDATE segment.groups SET condition = $1::segment.condition WHERE id = $2",
							 2, types, values, NULL, false, NULL, NULL);
	}
}

/* Let the conditions of other groups, and what has been logged, follow the codes that the statement has changed. */
static void
follow_codes(SourceSet *set)
{
	uint64		n = segment_execute("SELECT o.code, n.code FROM old_rows o JOIN new_rows n ON n.id = o.id"
									" WHERE n.code <> o.code ORDER BY n.id");
	const char **from = palloc(sizeof(char *) * Max(n, 1));
	const char **to = palloc(sizeof(char *) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
	{
		from[i] = value_of(i, 1);
		to[i] = value_of(i, 2);
	}
	if (n == 0)
		return;
	if (OidIsValid(set->facts))
		segment_execute("UPDATE segment.changes c SET code = r.became"
						" FROM (SELECT o.code AS was, n.code AS became FROM old_rows o JOIN new_rows n ON n.id = o.id"
						" WHERE n.code <> o.code) r WHERE c.kind = 'group' AND c.code = r.was");
	renaming = true;
	PG_TRY();
	{
		rename_in_conditions(from, to, (int) n);
	}
	PG_FINALLY();
	{
		renaming = false;
	}
	PG_END_TRY();
}

/*
 * Saving.
 */

/* What was pending for groups that the statement decides about is not any more. */
static void
drop_pending(TriggerData *trigger)
{
	const char *which = "NOT EXISTS (SELECT FROM segment.groups g WHERE g.id = p.group_id)";
	uint64		n;

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		which = "EXISTS (SELECT FROM old_rows o JOIN new_rows n ON n.id = o.id WHERE n.id = p.group_id"
			" AND (n.condition::text, n.kind, n.active) IS DISTINCT FROM (o.condition::text, o.kind, o.active))";
	n = segment_execute(psprintf("WITH dropped AS (DELETE FROM segment.pending_groups p WHERE %s RETURNING p.group_id)"
								 " SELECT g.code FROM dropped d JOIN segment.groups g ON g.id = d.group_id ORDER BY g.code", which));
	for (uint64 i = 0; i < n && coming_now == NULL; i++)
		ereport(NOTICE,
				(errmsg("the pending activation of group \"%s\" is dropped", value_of(i, 1)),
				 errdetail("The group itself has been changed.")));
}

/* Conditions that are new, or are to be judged by from now on, must bind. */
static void
check_conditions(SourceSet *set, bool inserted)
{
	uint64		n = segment_execute(inserted ? "SELECT n.id FROM new_rows n"
									: "SELECT n.id FROM old_rows o JOIN new_rows n ON n.id = o.id"
									" WHERE n.condition::text IS DISTINCT FROM o.condition::text OR n.kind <> o.kind OR n.active > o.active");
	int		   *ids = palloc(sizeof(int) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
		ids[i] = atoi(value_of(i, 1));
	segment_bind_saved(set, ids, (int) n);
}

/* Whether the statement may change who is in a group. */
static bool
moves_anybody(TriggerData *trigger)
{
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return segment_execute("SELECT FROM new_rows n WHERE n.active LIMIT 1") > 0;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return segment_execute("SELECT FROM old_rows o WHERE o.active LIMIT 1") > 0;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return segment_execute("SELECT FROM old_rows o JOIN new_rows n ON n.id = o.id WHERE (o.active OR n.active)"
							   " AND (n.condition::text, n.kind, n.active) IS DISTINCT FROM"
							   " (o.condition::text, o.kind, o.active) LIMIT 1") > 0;
	return true;
}

/*
 * After a statement on groups whose history is written: refuse what does not
 * fit, and let conditions follow codes.  Returns whether everyone is to be judged.
 */
bool
segment_groups_saved(SourceSet *set, TriggerData *trigger)
{
	bool		inserted = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	bool		updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	bool		result;
	Identity	caller;

	if (renaming)
		return false;			/* the conditions say what they said before */
	segment_become(set->owner, &caller);
	if (!inserted)
		drop_pending(trigger);
	if (inserted || updated)
	{
		check_kinds();
		check_percents();
		check_notify();
		check_names();
	}
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		refuse_used();
		segment_execute("INSERT INTO segment.former_groups SELECT o.id, o.code FROM old_rows o");
	}
	if (updated)
		follow_codes(set);
	result = moves_anybody(trigger);
	segment_resume(&caller);
	if (inserted || updated)
		check_conditions(set, inserted);
	return result;
}

/* What of the statement everyone has been judged by, NULL for nothing. */
Coming *
segment_group_coming(void)
{
	return coming_now;
}

/*
 * Put a pending condition into force.  It is saved as if somebody had changed
 * the group, but only those whom it moves are judged.  The caller is the owner of
 * our tables.
 */
void
segment_group_activate(Coming *coming)
{
	Oid			type = INT4OID;
	Datum		value = Int32GetDatum(coming->marker);

	coming_now = coming;
	PG_TRY();
	{
		segment_execute_with("UPDATE segment.groups g SET condition = p.condition, active = true"
							 " FROM segment.pending_groups p WHERE p.group_id = g.id AND p.marker = $1",
							 1, &type, &value, NULL, false, NULL, NULL);
	}
	PG_FINALLY();
	{
		coming_now = NULL;
	}
	PG_END_TRY();
}

/*
 * segment._group_faults(): groups whose condition does not bind, for whoever may
 * read them.
 */
Datum
segment_group_faults(PG_FUNCTION_ARGS)
{
	Tuplestorestate *rows;
	TupleDesc	desc;
	Bound	   *bound;
	Oid			groups = get_relname_relid("groups", get_namespace_oid("segment", false));

	rows = segment_begin_set(fcinfo, &desc);
	if (pg_class_aclcheck(groups, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return (Datum) 0;
	segment_connect(0);
	bound = segment_bind_groups(segment_sources_acquire(), NULL, NULL);
	for (int i = 0; i < bound->ngroups; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false};

		if (bound->groups[i]->fault == NULL)
			continue;
		values[0] = CStringGetTextDatum(bound->groups[i]->code);
		values[1] = CStringGetTextDatum(bound->groups[i]->fault);
		tuplestore_putvalues(rows, desc, values, nulls);
	}
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}
