/*
 * saved_plan.c
 *		SPI plans kept for the session, and the two identities they run under.
 *
 * The merchant's expressions run as the owner of the merchant's table, writes
 * to our tables as the owner of ours.  Both switches are undone by the server
 * itself when an error aborts the (sub)transaction.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_namespace.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "saved_plan.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "nodes/parsenodes.h"
#include "utils/guc.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define PINNED_PATH "pg_catalog, pg_temp"

static void
become(Oid role, int security_context, const char *path, Identity *before)
{
	GetUserIdAndSecContext(&before->user, &before->security_context);
	SetUserIdAndSecContext(role, before->security_context | security_context);
	before->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Who owns the schema "segment", and with it everything of ours. */
Oid
segment_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum("segment"));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"segment\" does not exist"),
				 errhint("CREATE EXTENSION segment;")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Act as the owner of our tables until segment_resume().  Nothing but the
 * server's own functions and operators is found without a schema.
 */
void
segment_become(Oid owner, Identity *before)
{
	become(owner, SECURITY_LOCAL_USERID_CHANGE, PINNED_PATH, before);
	/* costs of unanalysed tables of ours would have small statements compiled */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Act as the owner of a merchant's table until segment_resume(), to evaluate
 * expressions of theirs and for nothing else.  No session's search_path decides
 * what an order is worth; path is given where an expression is first read.
 */
void
segment_become_merchant(Oid owner, const char *path, Identity *before)
{
	become(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION |
		   SECURITY_NOFORCE_RLS, path ? path : PINNED_PATH, before);
}

/* Whatever settings a merchant's function has changed are put back as well. */
void
segment_resume(const Identity *before)
{
	AtEOXact_GUC(false, before->guc_level);
	SetUserIdAndSecContext(before->user, before->security_context);
}

/*
 * Connect to SPI.  The environment that names rows for statements is made now,
 * while SPI's own memory context is the current one: made later, it would live
 * in whatever context happens to be.
 */
void
segment_connect(int options)
{
	EphemeralNamedRelationData nothing = {.md.name = "nothing"};

	SPI_connect_ext(options);
	(void) SPI_register_relation(&nothing);
	(void) SPI_unregister_relation("nothing");
}

static SPIPlanPtr
keep_plan(SPIPlanPtr *kept, const char *sql, int nargs, const Oid *argtypes, int options)
{
	if (*kept == NULL)
	{
		MemoryContext context = CurrentMemoryContext;
		SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, unconstify(Oid *, argtypes), options);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		*kept = plan;
		MemoryContextSwitchTo(context);
	}
	return *kept;
}

/*
 * The kept plan of a statement on our own tables, made from sql the first time.
 * It is planned once: such statements go by primary key, whatever the values.
 * The caller owns *kept and frees it with SPI_freeplan().  Must run inside SPI.
 */
SPIPlanPtr
segment_plan(SPIPlanPtr *kept, const char *sql, int nargs, const Oid *argtypes)
{
	return keep_plan(kept, sql, nargs, argtypes, CURSOR_OPT_GENERIC_PLAN);
}

/* The same for the merchant's tables, planned as the server thinks best. */
SPIPlanPtr
segment_merchant_plan(SPIPlanPtr *kept, const char *sql, int nargs, const Oid *argtypes)
{
	return keep_plan(kept, sql, nargs, argtypes, 0);
}

/* The same, planned anew for the values of each execution. */
SPIPlanPtr
segment_plan_each_time(SPIPlanPtr *kept, const char *sql, int nargs, const Oid *argtypes)
{
	return keep_plan(kept, sql, nargs, argtypes, CURSOR_OPT_CUSTOM_PLAN);
}

/*
 * SPI leaves its own memory context as the current one; the functions below
 * put the caller's back, so that what is allocated after them lives where the
 * caller meant it to.
 */

/*
 * Run a query that reads what others may just have committed.  Whoever calls
 * has written the customer's facts row or holds a lock first; a transaction
 * snapshot taken before that would not show what the other side did, so in
 * REPEATABLE READ and SERIALIZABLE the latest snapshot is used, as referential
 * integrity does.
 */
uint64
segment_fetch(SPIPlanPtr plan, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	int			rc;

	if (IsolationUsesXactSnapshot())
	{
		Snapshot	latest;

		CommandCounterIncrement();
		latest = RegisterSnapshot(GetLatestSnapshot());
		rc = SPI_execute_snapshot(plan, values, nulls, latest, InvalidSnapshot,
								  false, false, 0);
		UnregisterSnapshot(latest);
	}
	else
		rc = SPI_execute_plan(plan, values, nulls, false, 0);
	MemoryContextSwitchTo(context);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

/* Run a query under a snapshot as it is: nothing that it does not show, nothing written. */
uint64
segment_fetch_as_of(SPIPlanPtr plan, Datum *values, const char *nulls, Snapshot snapshot)
{
	MemoryContext context = CurrentMemoryContext;
	int			rc = SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot, true, false, 0);

	MemoryContextSwitchTo(context);
	if (rc < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

/*
 * Run a statement that writes, under the transaction's own snapshot, so that a
 * row changed since then raises 40001 where the isolation level says so.
 */
uint64
segment_write(SPIPlanPtr plan, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	int			rc = SPI_execute_plan(plan, values, nulls, false, 0);

	MemoryContextSwitchTo(context);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

/* Run a statement once. */
uint64
segment_execute(const char *sql)
{
	return segment_execute_with(sql, 0, NULL, NULL, NULL, false, NULL, NULL);
}

/*
 * Run a statement once with parameters; where into is given its rows go there
 * (it may spill to disk) and not to SPI_tuptable.
 */
uint64
segment_execute_with(const char *sql, int nargs, const Oid *argtypes,
					 Datum *values, const char *nulls, bool read_only,
					 Tuplestorestate *into, MemoryContext into_context)
{
	MemoryContext context = CurrentMemoryContext;
	SPIExecuteOptions options;
	ParamListInfo params = NULL;
	int			rc;

	if (nargs > 0)
	{
		params = makeParamList(nargs);
		for (int i = 0; i < nargs; i++)
		{
			params->params[i].value = values[i];
			params->params[i].isnull = nulls && nulls[i] == 'n';
			params->params[i].pflags = PARAM_FLAG_CONST;
			params->params[i].ptype = argtypes[i];
		}
	}
	memset(&options, 0, sizeof(options));
	options.params = params;
	options.read_only = read_only;
	if (into != NULL)
	{
		options.dest = CreateDestReceiver(DestTuplestore);
		SetTuplestoreDestReceiverParams(options.dest, into, into_context,
										true, NULL, NULL);
	}
	rc = SPI_execute_extended(sql, &options);
	MemoryContextSwitchTo(context);
	if (rc < 0)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

/*
 * Run a query over a merchant's tables that calls functions of ours: names are
 * looked up as our owner, because the merchant need have no right on our
 * schema, and everything is planned and run as the merchant.
 */
void
segment_execute_for(Oid owner, Oid merchant, const char *sql, Tuplestorestate *into, MemoryContext into_context)
{
	MemoryContext context = CurrentMemoryContext;
	SPIExecuteOptions options;
	SPIPlanPtr	plan;
	Identity	caller;
	int			rc;

	segment_become(owner, &caller);
	plan = SPI_prepare(sql, 0, NULL);
	segment_resume(&caller);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	memset(&options, 0, sizeof(options));
	options.read_only = true;
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, into, into_context, true, NULL, NULL);
	segment_become_merchant(merchant, NULL, &caller);
	rc = SPI_execute_plan_extended(plan, &options);
	segment_resume(&caller);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(rc));
	SPI_freeplan(plan);
	MemoryContextSwitchTo(context);
}

/* what segment_execute_latest() reads instead, where somebody wants an earlier state of ours */
static Snapshot pinned = InvalidSnapshot;

/* From now on; InvalidSnapshot ends it.  The caller does so also when something raises. */
void
segment_pin_snapshot(Snapshot snapshot)
{
	pinned = snapshot;
}

/*
 * Run a query once that reads what has been committed by now, whatever the
 * transaction's own snapshot shows.
 */
uint64
segment_execute_latest(const char *sql)
{
	if (pinned == InvalidSnapshot)
		CommandCounterIncrement();
	PushActiveSnapshot(pinned != InvalidSnapshot ? pinned : GetLatestSnapshot());
	(void) segment_execute_with(sql, 0, NULL, NULL, NULL, true, NULL, NULL);
	PopActiveSnapshot();
	return SPI_processed;
}

/* The next rows of a cursor, in SPI_tuptable; returns how many. */
uint64
segment_fetch_next(Portal portal, long count)
{
	MemoryContext context = CurrentMemoryContext;

	SPI_cursor_fetch(portal, true, count);
	MemoryContextSwitchTo(context);
	return SPI_processed;
}

/*
 * Let statements of this SPI connection read the tuplestore by name, as a
 * trigger's statements read its transition tables.
 */
void
segment_name_rows(const char *name, TupleDesc tupdesc, Tuplestorestate *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	int			rc;

	(void) SPI_unregister_relation(name);
	enr->md.name = pstrdup(name);
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = tupdesc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(rows);
	enr->reldata = rows;
	rc = SPI_register_relation(enr);
	if (rc != SPI_OK_REL_REGISTER)
		elog(ERROR, "SPI_register_relation failed: %s", SPI_result_code_string(rc));
}

/*
 * Errors that a sale shares with every other statement of the server: they go
 * to the client, who retries or calls the administrator.
 */
static bool
is_passed_through(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:	/* 40: serialization, deadlock */
		case ERRCODE_INSUFFICIENT_RESOURCES:	/* 53 */
		case ERRCODE_OPERATOR_INTERVENTION: /* 57: cancel, shutdown */
		case ERRCODE_SYSTEM_ERROR:	/* 58: input or output */
			return true;
		default:
			return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
				sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX ||
				sqlstate == ERRCODE_DATA_CORRUPTED ||
				sqlstate == ERRCODE_INDEX_CORRUPTED;
	}
}

/*
 * Do some work in a subtransaction.  NULL where it was done; where it raised,
 * all of it is undone and the error is returned, in the current context.
 */
ErrorData *
segment_attempt(void (*work) (void *), void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(argument);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return error;
}

/* The same, but errors that every statement shares are passed on. */
ErrorData *
segment_try(void (*work) (void *), void *argument)
{
	ErrorData  *error = segment_attempt(work, argument);

	if (error != NULL && is_passed_through(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
