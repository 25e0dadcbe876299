/*
 * standing.h
 *		What a customer is in now.
 */
#ifndef SEGMENT_STANDING_H
#define SEGMENT_STANDING_H

#include "source.h"

/* one customer to be judged: facts as they were and as they are now */
typedef struct Judgement
{
	Facts		before;
	Facts		after;
	Cause		cause;
	const char *source;			/* table that caused it, NULL for none */
	char	   *source_key;
} Judgement;

typedef struct Judgements
{
	int			n;
	int			size;
	Judgement  *items;
} Judgements;

extern Judgement *segment_judgements_add(Judgements *judgements);
extern void segment_read_facts(SourceSet *set, HeapTuple row, TupleDesc desc, Facts *facts);
extern uint64 segment_judge(SourceSet *set, Judgements *judgements, bool everything);
extern uint64 segment_judge_all(SourceSet *set, const char *filter, bool with_before,
								Cause cause, const char *source,
								Tuplestorestate *moved, TupleDesc moved_desc);

/* columns of segment.facts in the order that segment_read_facts() expects */
#define FACTS_COLUMNS(f) \
	f ".customer_id, " f ".version, " f ".is_customer, " f ".number_of_orders, " \
	f ".amount_ordered, " f ".first_order_at, " f ".last_order_at, " \
	f ".number_of_returns, " f ".amount_returned, " f ".items_bought, " f ".items_returned"

#define FACTS_NCOLUMNS 11

/* those of them that a delta moves, in the order that judging expects "before" */
#define MOVING_COLUMNS(f) \
	f ".number_of_orders, " f ".amount_ordered, " f ".number_of_returns, " f ".amount_returned, " \
	f ".items_bought, " f ".items_returned"

#define MOVING_NCOLUMNS 6

#endif							/* SEGMENT_STANDING_H */
