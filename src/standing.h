/*
 * standing.h
 *		What a customer is in now.
 */
#ifndef SEGMENT_STANDING_H
#define SEGMENT_STANDING_H

#include "classify.h"
#include "source.h"
#include "utils/snapshot.h"

/* tiers and groups that a customer holds, and since when */
typedef struct Standing
{
	int			n;
	int		   *held;
	TimestampTz *since;
} Standing;

/* why a standing changes, and at which instant it became true */
typedef struct Reason
{
	TimestampTz at;
	Cause		cause;
	const char *source;			/* table that caused it, NULL for none */
	const char *source_key;
} Reason;

/* one customer to be judged: facts as they were and as they are now */
typedef struct Judgement
{
	Facts		before;
	Facts		after;
	Cause		cause;
	const char *source;			/* table that caused it, NULL for none */
	char	   *source_key;
	bool		without_facts;	/* of a standing that has no facts */

	/* filled in by judging */
	Standing	standing;
	TimestampTz due;
	bool		moved;			/* the standing is another one */
	bool		shows;			/* and others can see that it is */
} Judgement;

typedef struct Judgements
{
	int			n;
	int			size;
	Judgement  *items;
	int			touched;		/* what their rows are about, see ruleset.h */
} Judgements;

/* moves gathered before they are written */
typedef struct Moves
{
	SourceSet  *set;
	MemoryContext context;		/* of what is below */
	Datum		changed_by;
	TupleDesc	changes_desc;
	Tuplestorestate *changes;	/* NULL until there are some */
} Moves;

extern Judgement *segment_judgements_add(Judgements *judgements);
extern void segment_read_facts(SourceSet *set, HeapTuple row, TupleDesc desc, Facts *facts);
extern void segment_read_standing(Datum held, bool held_null, Datum since, bool since_null, Standing *standing);
extern void segment_read_standings(SourceSet *set, Judgements *judgements, Snapshot snapshot);
extern bool segment_holds(const Standing *standing, int id, TimestampTz *since);
extern void segment_moves_begin(Moves *moves, SourceSet *set);
extern bool segment_move(Moves *moves, const Ruleset *ruleset, Judgement *judgement,
						 const Verdict *verdict, const Reason *reason);
extern void segment_put_standing(Tuplestorestate *rows, TupleDesc desc, Datum customer, const Standing *standing);
extern uint64 segment_moves_end(Moves *moves, Judgements *judgements);

/* columns of segment.facts in the order that segment_read_facts() expects */
#define FACTS_COLUMNS(f) \
	f ".customer_id, " f ".version, " f ".is_customer, " f ".number_of_orders, " \
	f ".amount_ordered, " f ".first_order_at, " f ".last_order_at, " \
	f ".number_of_returns, " f ".amount_returned, " f ".items_bought, " f ".items_returned, " f ".due"

#define FACTS_NCOLUMNS 12

/* those of them that a delta moves, in the order that judging expects "before" */
#define MOVING_COLUMNS(f) \
	f ".number_of_orders, " f ".amount_ordered, " f ".number_of_returns, " f ".amount_returned, " \
	f ".items_bought, " f ".items_returned"

#define MOVING_NCOLUMNS 6

#endif							/* SEGMENT_STANDING_H */
