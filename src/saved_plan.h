/*
 * saved_plan.h
 *		SPI plans kept for the session, and the two identities they run under.
 */
#ifndef SEGMENT_SAVED_PLAN_H
#define SEGMENT_SAVED_PLAN_H

#include "executor/spi.h"
#include "segment.h"

/* who we were before segment_become() */
typedef struct Identity
{
	Oid			user;
	int			security_context;
	int			guc_level;
} Identity;

extern Oid	segment_owner(void);
extern void segment_become(Oid owner, Identity *before);
extern void segment_become_merchant(Oid owner, const char *path, Identity *before);
extern void segment_resume(const Identity *before);

extern void segment_connect(int options);
extern SPIPlanPtr segment_merchant_plan(SPIPlanPtr *kept, const char *sql,
										int nargs, const Oid *argtypes);
extern SPIPlanPtr segment_plan(SPIPlanPtr *kept, const char *sql,
							   int nargs, const Oid *argtypes);
extern SPIPlanPtr segment_plan_each_time(SPIPlanPtr *kept, const char *sql,
										 int nargs, const Oid *argtypes);
extern uint64 segment_fetch(SPIPlanPtr plan, Datum *values, const char *nulls);
extern uint64 segment_fetch_as_of(SPIPlanPtr plan, Datum *values, const char *nulls, Snapshot snapshot);
extern uint64 segment_write(SPIPlanPtr plan, Datum *values, const char *nulls);
extern uint64 segment_execute(const char *sql);
extern uint64 segment_execute_with(const char *sql, int nargs, const Oid *argtypes,
								   Datum *values, const char *nulls,
								   bool read_only, Tuplestorestate *into,
								   MemoryContext into_context);
extern void segment_execute_for(Oid owner, Oid merchant, const char *sql,
								Tuplestorestate *into, MemoryContext into_context);
extern uint64 segment_fetch_next(Portal portal, long count);
extern void segment_pin_snapshot(Snapshot snapshot);
extern uint64 segment_execute_latest(const char *sql);
extern void segment_name_rows(const char *name, TupleDesc tupdesc,
							  Tuplestorestate *rows);
extern ErrorData *segment_attempt(void (*work) (void *), void *argument);
extern ErrorData *segment_try(void (*work) (void *), void *argument);

#endif							/* SEGMENT_SAVED_PLAN_H */
