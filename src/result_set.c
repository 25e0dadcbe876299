/*
 * result_set.c
 *		Rows that a function returns.
 */
#include "segment.h"

#include "access/tupdesc.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "result_set.h"
#include "utils/memutils.h"

/*
 * Begin the result of a function that returns rows, or a single column of them:
 * whatever the caller puts into the tuplestore, as desc says.  Both belong to
 * the query that calls.
 */
Tuplestorestate *
segment_begin_set(FunctionCallInfo fcinfo, TupleDesc *desc)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext before;
	Tuplestorestate *rows;
	Oid			type;

	if (result == NULL || !IsA(result, ReturnSetInfo) || !(result->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	before = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, &type, desc) == TYPEFUNC_COMPOSITE)
		*desc = CreateTupleDescCopy(*desc);
	else
	{
		*desc = CreateTemplateTupleDesc(1);
		TupleDescInitEntry(*desc, 1, "customer_id", type, -1, 0);
	}
	rows = tuplestore_begin_heap(true, false, work_mem);
	MemoryContextSwitchTo(before);
	result->returnMode = SFRM_Materialize;
	result->setResult = rows;
	result->setDesc = *desc;
	return rows;
}
