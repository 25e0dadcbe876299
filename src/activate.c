/*
 * activate.c
 *		A condition put into force on a big live shop.
 *
 * Saving a group judges everyone while sales wait.  Here the condition is first
 * published as pending: from then on whoever judges a customer judges by it, too,
 * and marks in segment.standings those whom it would move.  Nobody else looks at
 * the marks.  Then everyone is judged in batches, each of them committed, and at
 * last the condition takes the place of the group's, which moves those who are
 * marked and nobody else.  Wherever this ends before that, the group is what it
 * was; called again, it goes on.
 */
#include "segment.h"

#include "bound.h"
#include "catalog/pg_type.h"
#include "group.h"
#include "judge.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "row.h"
#include "rule.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"

PG_FUNCTION_INFO_V1(segment_activate);
PG_FUNCTION_INFO_V1(segment_cancel_activation);

/* an activation on its way */
typedef struct Activation
{
	SourceSet  *set;
	MemoryContext context;		/* outlives the transactions */
	char	   *code;			/* of the group */
	Condition  *condition;		/* NULL until it is known which */
	int			size;			/* of a batch */
	Coming		coming;
	char	   *done;			/* key of the last customer judged, NULL for none */
	TimestampTz start;
	int64		judged;			/* by this call */
	int64		total;			/* to be judged by it */
} Activation;

/* a group, and what is pending for it */
typedef struct GroupNow
{
	int			id;
	bool		active;
	Condition  *condition;		/* NULL for none */
	int			marker;			/* 0: nothing is pending */
	Condition  *pending;
	char	   *done;
} GroupNow;

/* One value of the first row; NULL where it is null. */
static char *
value_of(int column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

static Condition *
condition_of(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? NULL : (Condition *) PG_DETOAST_DATUM_COPY(value);
}

static bool
is_same(const Condition *a, const Condition *b)
{
	return a != NULL && b != NULL && strcmp(segment_condition_text(a), segment_condition_text(b)) == 0;
}

/* Run a statement on our own tables, with $1 where it has a type. */
static uint64
execute_as_owner(const char *sql, Oid type, Datum value)
{
	Identity	caller;
	uint64		n;

	segment_become(segment_owner(), &caller);
	n = segment_execute_with(sql, OidIsValid(type) ? 1 : 0, &type, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
	return n;
}

/*
 * Transactions.
 */

static void
require_nonatomic(FunctionCallInfo fcinfo, const char *name)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("segment.%s() commits on the way and cannot run inside a transaction block", name),
				 errhint("CALL it on its own.")));
	segment_require_read_committed("change groups, ladders, tiers or settings");
}

/* What is attached; the caller holds a lock on segment.facts that keeps it so. */
static void
acquire(Activation *activation)
{
	activation->set = segment_sources_acquire();
	if (segment_customers_source(activation->set) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers().")));
	if (!activation->set->is_here)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the state of customers was restored and is not exact yet"),
				 errhint("Call segment.recalculate() first.")));
}

/* Commit, and begin anew without what was allocated. */
static void
commit(Activation *activation)
{
	if (activation->set != NULL)
		segment_sources_release();
	activation->set = NULL;
	SPI_commit();
	SPI_finish();
	segment_connect(SPI_OPT_NONATOMIC);
}

/* A transaction that writes facts rows of some customers. */
static void
begin_batch(Activation *activation)
{
	segment_stand_aside();
	acquire(activation);
}

/* A transaction that changes the rules. */
static void
begin_change(Activation *activation)
{
	segment_rules_begin();
	acquire(activation);
}

/*
 * What is asked for.
 */

static GroupNow
read_group(const char *code)
{
	GroupNow	now = {0};

	if (execute_as_owner("SELECT g.id, g.active, g.condition, p.marker, p.condition, p.done_up_to FROM segment.groups g"
						 " LEFT JOIN segment.pending_groups p ON p.group_id = g.id WHERE g.code = $1",
						 TEXTOID, CStringGetTextDatum(code)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no group \"%s\"", code),
				 errhint("segment.groups has them.")));
	now.id = atoi(value_of(1));
	now.active = strcmp(value_of(2), "t") == 0;
	now.condition = condition_of(3);
	now.marker = value_of(4) ? atoi(value_of(4)) : 0;
	now.pending = condition_of(5);
	now.done = value_of(6);
	return now;
}

/* Go on with what is pending, if that is what is asked for. */
static bool
resume_pending(Activation *activation, const GroupNow *now)
{
	MemoryContext before;

	if (now->marker == 0 || (activation->condition != NULL && !is_same(activation->condition, now->pending)))
		return false;
	before = MemoryContextSwitchTo(activation->context);
	activation->condition = (Condition *) PG_DETOAST_DATUM_COPY(PointerGetDatum(now->pending));
	activation->done = now->done ? pstrdup(now->done) : NULL;
	MemoryContextSwitchTo(before);
	activation->coming.group = now->id;
	activation->coming.marker = now->marker;
	return true;
}

/* Whether the group is judged by that condition already, without anything that is pending. */
static bool
is_in_force(const Activation *activation, const GroupNow *now)
{
	return now->active && now->condition != NULL &&
		(activation->condition == NULL || is_same(activation->condition, now->condition));
}

/* Nobody is judged by what was pending, nor by the same rules as before. */
static void
drop_pending(int group)
{
	Oid			type = INT4OID;
	Datum		value = Int32GetDatum(group);
	Identity	caller;

	segment_become(segment_owner(), &caller);
	segment_execute_with("DELETE FROM segment.pending_groups WHERE group_id = $1", 1, &type, &value, NULL, false, NULL, NULL);
	segment_ruleset_bump();
	segment_resume(&caller);
}

/* From the commit of this on whoever judges judges by the condition, too. */
static void
publish(Activation *activation, const GroupNow *now)
{
	const Condition *condition = activation->condition ? activation->condition : now->condition;
	Oid			types[3] = {INT4OID, TEXTOID, TEXTOID};
	Datum		values[3];
	Identity	caller;

	(void) segment_bind_groups(activation->set, activation->code, condition);	/* raises what does not fit */
	drop_pending(now->id);
	values[0] = Int32GetDatum(now->id);
	values[1] = CStringGetTextDatum(segment_condition_text(condition));
	values[2] = CStringGetTextDatum(GetUserNameFromId(GetOuterUserId(), false));
	segment_become(activation->set->owner, &caller);
	segment_execute_with("INSERT INTO segment.pending_groups (group_id, condition, started_by)"
						 " VALUES ($1, $2::segment.condition, $3)", 3, types, values, NULL, false, NULL, NULL);
	segment_resume(&caller);
	(void) resume_pending(activation, (GroupNow[]) {read_group(activation->code)});
}

/* Make the condition pending, or find it so; false where it is in force already. */
static bool
begin(Activation *activation)
{
	GroupNow	now = read_group(activation->code);

	/* what goes on is not published again: nobody need wait for that */
	if (resume_pending(activation, &now))
	{
		ereport(NOTICE, (errmsg("the activation of group \"%s\" goes on", activation->code)));
		return true;
	}
	begin_change(activation);
	now = read_group(activation->code);
	if (resume_pending(activation, &now))
		return true;
	if (!is_in_force(activation, &now))
	{
		publish(activation, &now);
		return true;
	}
	if (now.marker != 0)
		drop_pending(now.id);
	return false;
}

/*
 * Batches.
 */

/* Whether it is still pending; until we commit nobody else goes on with it, nor drops it. */
static bool
is_pending(Activation *activation)
{
	MemoryContext before;

	if (execute_as_owner("SELECT p.done_up_to FROM segment.pending_groups p WHERE p.marker = $1 FOR UPDATE",
						 INT4OID, Int32GetDatum(activation->coming.marker)) == 0)
		return false;
	before = MemoryContextSwitchTo(activation->context);
	activation->done = value_of(1);
	MemoryContextSwitchTo(before);
	return true;
}

static void
require_bound(Activation *activation)
{
	const Bound *bound = segment_rules(activation->set, InvalidSnapshot)->ruleset.groups;

	for (int i = 0; i < bound->ngroups; i++)
	{
		if (bound->groups[i]->id != activation->coming.marker || bound->groups[i]->root != NULL)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the condition that is pending for group \"%s\" does not bind any more", activation->code),
				 errdetail_internal("%s", bound->groups[i]->fault),
				 errhint("Mend that and CALL segment.activate() again, or CALL segment.cancel_activation().")));
	}
}

/* "AND the customer comes after those who are done" */
static char *
still_to_do(const Activation *activation)
{
	if (activation->done == NULL)
		return "";
	return psprintf(" AND f.customer_id > %s::%s", quote_literal_cstr(activation->done), activation->set->key_type_name);
}

static Datum
array_or_null(int column)
{
	bool		isnull;
	Datum		array = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? (Datum) 0 : array;
}

/* Run a query for an array of keys in which $1 is one, too; 0 where it gives none. */
static Datum
keys_of(Activation *activation, const char *sql, Datum keys)
{
	(void) execute_as_owner(sql, activation->set->key_array_type, keys);
	return array_or_null(1);
}

/* The next customers in the order of their keys, as an array, and the last of them; 0 where there are no more. */
static Datum
next_keys(Activation *activation, char **last)
{
	MemoryContext before;

	execute_as_owner(psprintf("SELECT array_agg(k.customer_id), (array_agg(k.customer_id ORDER BY k.customer_id DESC))[1]::text"
							  " FROM (SELECT f.customer_id FROM segment.facts f WHERE true%s"
							  " ORDER BY f.customer_id LIMIT $1) AS k", still_to_do(activation)),
					 INT4OID, Int32GetDatum(activation->size));
	before = MemoryContextSwitchTo(activation->context);
	*last = value_of(2);
	MemoryContextSwitchTo(before);
	return array_or_null(1);
}

/*
 * Lock the facts rows of customers and judge them by what is pending.  Who is
 * being sold to is passed over: whoever waits while holding the rows of others
 * may be waited for.
 */
static Datum
judge_free(Activation *activation, int judged, Datum keys)
{
	SourceSet  *set = activation->set;
	Oid			output;
	bool		varlena;
	Datum		taken = keys_of(activation,
								psprintf("SELECT array_agg(k.customer_id) FROM (SELECT f.customer_id FROM segment.facts f"
										 " WHERE f.customer_id = ANY ($1) ORDER BY f.customer_id%s FOR UPDATE SKIP LOCKED) AS k",
										 set->key_order), keys);

	if (!taken)
		return taken;
	getTypeOutputInfo(set->key_array_type, &output, &varlena);
	segment_judge_group(set, judged,
						psprintf("f.customer_id = ANY (%s::%s[])",
								 quote_literal_cstr(OidOutputFunctionCall(output, taken)), set->key_type_name), NULL);
	return taken;
}

/* Those keys that are not among the others. */
static Datum
without(Activation *activation, Datum keys, Datum others)
{
	Oid			types[2] = {activation->set->key_array_type, activation->set->key_array_type};
	Datum		values[2] = {keys, others};
	Identity	caller;

	if (!others)
		return keys;
	segment_become(activation->set->owner, &caller);
	segment_execute_with("SELECT array_agg(k) FROM unnest($1) AS k WHERE NOT EXISTS (SELECT FROM unnest($2) AS o(o) WHERE o = k)",
						 2, types, values, NULL, false, NULL, NULL);
	segment_resume(&caller);
	return array_or_null(1);
}

static int
count_keys(Datum keys)
{
	return ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(keys)), ARR_DIMS(DatumGetArrayTypeP(keys)));
}

static void
note_done(Activation *activation, const char *last)
{
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2] = {CStringGetTextDatum(last), Int32GetDatum(activation->coming.marker)};
	Identity	caller;

	segment_become(activation->set->owner, &caller);
	segment_execute_with("UPDATE segment.pending_groups SET done_up_to = $1 WHERE marker = $2",
						 2, types, values, NULL, false, NULL, NULL);
	segment_resume(&caller);
}

/*
 * Judge one customer after the other, each in a transaction of its own, in which
 * it can do no harm to wait.  False where the activation was dropped meanwhile.
 */
static bool
judge_busy(Activation *activation, Datum keys)
{
	Datum	   *elements;
	int			n;
	MemoryContext before = MemoryContextSwitchTo(activation->context);

	deconstruct_array(DatumGetArrayTypePCopy(keys), activation->set->key_type, activation->set->key_cache->typlen,
					  activation->set->key_cache->typbyval, activation->set->key_cache->typalign, &elements, NULL, &n);
	MemoryContextSwitchTo(before);
	for (int i = 0; i < n; i++)
	{
		Datum		key;

		commit(activation);
		begin_batch(activation);
		if (!is_pending(activation))
			return false;
		key = PointerGetDatum(segment_array(activation->set->key_type, &elements[i], NULL, 1));
		(void) keys_of(activation, "SELECT array_agg(k.customer_id) FROM (SELECT f.customer_id FROM segment.facts f"
					   " WHERE f.customer_id = ANY ($1) FOR UPDATE) AS k", key);
		(void) judge_free(activation, activation->coming.marker, key);
	}
	return true;
}

static void
tell_progress(Activation *activation, int64 n)
{
	double		elapsed;

	activation->judged += n;
	activation->total = Max(activation->total, activation->judged);
	elapsed = (double) (GetCurrentTimestamp() - activation->start) / USECS_PER_SEC;
	ereport(NOTICE,
			(errmsg("judged %lld of %lld customers (%d %%), about %.0f s remain",
					(long long) activation->judged, (long long) activation->total,
					(int) (activation->judged * 100 / activation->total),
					(activation->total - activation->judged) * elapsed / activation->judged)));
}

/* Judge the next customers and commit; false where there are no more, or what is pending is not any more. */
static bool
judge_batch(Activation *activation, bool *pending)
{
	Datum		keys;
	Datum		busy;
	char	   *last;
	int			n = 0;

	begin_batch(activation);
	*pending = is_pending(activation);
	keys = *pending ? next_keys(activation, &last) : (Datum) 0;
	if (keys)
	{
		n = count_keys(keys);
		require_bound(activation);
		busy = without(activation, keys, judge_free(activation, activation->coming.marker, keys));
		*pending = !busy || judge_busy(activation, busy);
		if (*pending)
			note_done(activation, last);
	}
	commit(activation);
	if (n > 0 && *pending)
		tell_progress(activation, n);
	return n > 0 && *pending;
}

static int64
count_to_do(Activation *activation)
{
	execute_as_owner(psprintf("SELECT count(*) FROM segment.facts f WHERE true%s", still_to_do(activation)), InvalidOid, (Datum) 0);
	return strtoi64(value_of(1), NULL, 10);
}

/* Everybody who was there when it was published; whoever came later was judged by it at once. */
static bool
judge_everyone(Activation *activation)
{
	bool		pending;

	begin_batch(activation);
	activation->total = count_to_do(activation);
	commit(activation);
	activation->start = GetCurrentTimestamp();
	while (judge_batch(activation, &pending))
		CHECK_FOR_INTERRUPTS();
	return pending;
}

/*
 * The end.
 */

/* Whether somebody has found, after the last batch, that everyone is to be judged again. */
static bool
is_begun_anew(Activation *activation)
{
	return activation->done == NULL && count_to_do(activation) > 0;
}

/*
 * Once everyone is judged: move those whom it moves.  False where it is pending
 * no more.
 */
static bool
put_into_force(Activation *activation)
{
	Identity	caller;

	do
	{
		if (!judge_everyone(activation))
			return false;
		begin_change(activation);
		if (!is_pending(activation))
			return false;
		if (is_begun_anew(activation))
			commit(activation);
	} while (activation->set == NULL);
	segment_become(activation->set->owner, &caller);
	segment_group_activate(&activation->coming);
	segment_resume(&caller);
	return true;
}

/* It was ended by somebody else: by another call like this one, or not as we were told. */
static void
tell_ended(Activation *activation)
{
	GroupNow	now = read_group(activation->code);

	if (!is_in_force(activation, &now))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the activation of group \"%s\" was dropped meanwhile", activation->code),
				 errdetail("It was cancelled, or the group itself was changed."),
				 errhint("The group is what it was saved as last.")));
	ereport(NOTICE, (errmsg("another session has put the condition of group \"%s\" into force", activation->code)));
}

/*
 * Marks that stand for nothing any more are in nobody's way, and go when their
 * customers are judged.  Take away those that are left, some at a time, but not
 * from customers who are being sold to.
 */
static void
clean_up(Activation *activation)
{
	Datum		keys;

	activation->done = NULL;
	do
	{
		char	   *last;
		MemoryContext before;

		begin_batch(activation);
		execute_as_owner(psprintf("SELECT array_agg(k.customer_id), (array_agg(k.customer_id ORDER BY k.customer_id DESC))[1]::text"
								  " FROM (SELECT f.customer_id FROM segment.standings f WHERE 0 > ANY (f.held) AND EXISTS"
								  " (SELECT FROM unnest(f.held) AS h(id) WHERE h.id < 0 AND h.id NOT IN"
								  " (SELECT p.marker FROM segment.pending_groups p))%s"
								  " ORDER BY f.customer_id LIMIT $1) AS k", still_to_do(activation)),
						 INT4OID, Int32GetDatum(activation->size));
		before = MemoryContextSwitchTo(activation->context);
		last = value_of(2);
		MemoryContextSwitchTo(before);
		keys = array_or_null(1);
		if (keys)
			(void) judge_free(activation, 0, keys);
		activation->done = last;
		commit(activation);
	} while (keys);
}

/* CALL segment.activate(group_code, condition, batch_size) */
Datum
segment_activate(PG_FUNCTION_ARGS)
{
	Activation	activation = {.size = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2)};
	MemoryContext before;

	require_nonatomic(fcinfo, "activate");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("group_code must not be NULL"),
				 errhint("Give the code of a group.")));
	if (activation.size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be at least 1, not %d", activation.size),
				 errhint("It is a number of customers, such as 1000.")));
	segment_connect(SPI_OPT_NONATOMIC);
	activation.context = AllocSetContextCreate(PortalContext, "segment activation", ALLOCSET_SMALL_SIZES);
	before = MemoryContextSwitchTo(activation.context);
	activation.code = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		activation.condition = (Condition *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(1));
	MemoryContextSwitchTo(before);

	if (!begin(&activation))
		ereport(NOTICE, (errmsg("group \"%s\" is active with that condition already", activation.code)));
	else
	{
		bool		ours;

		commit(&activation);
		ours = put_into_force(&activation);
		if (ours)
			ereport(NOTICE, (errmsg("group \"%s\" is active: %llu customers moved", activation.code,
									(unsigned long long) activation.coming.moved)));
		else
			tell_ended(&activation);
	}
	commit(&activation);
	clean_up(&activation);
	SPI_finish();
	PG_RETURN_VOID();
}

/* CALL segment.cancel_activation(group_code) */
Datum
segment_cancel_activation(PG_FUNCTION_ARGS)
{
	Activation	activation = {.size = 1000};
	GroupNow	now;

	require_nonatomic(fcinfo, "cancel_activation");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("group_code must not be NULL"),
				 errhint("Give the code of a group.")));
	segment_connect(SPI_OPT_NONATOMIC);
	activation.context = AllocSetContextCreate(PortalContext, "segment activation", ALLOCSET_SMALL_SIZES);
	activation.code = MemoryContextStrdup(activation.context, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	segment_rules_begin();
	now = read_group(activation.code);
	if (now.marker == 0)
		ereport(NOTICE, (errmsg("no activation of group \"%s\" is pending", activation.code)));
	else
		drop_pending(now.id);
	commit(&activation);
	if (OidIsValid(segment_facts_relation()) && !segment_is_restored())
		clean_up(&activation);
	SPI_finish();
	PG_RETURN_VOID();
}
